"""`slimclean models`."""

from __future__ import annotations

from slimclean.cli.common import one_line_errors


def models() -> None:
    """List the packaged checkpoints.

    Name, size, licence, scores and sha256 of each. What is listed first is
    what the other commands use.

    Example: slimclean models
    """
    with one_line_errors():
        from slimclean.model import checkpoint

        for entry in checkpoint.packaged():
            print(f"{entry.name}  {entry.bytes / 1e6:.1f} MB  {entry.info.get('licence', '')}")
            for line in entry.info.get("scores", []):
                print(f"  {line}")
            print(f"  sha256 {entry.sha256()}")
