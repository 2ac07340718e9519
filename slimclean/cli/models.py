"""`slimclean models`."""

from __future__ import annotations

from slimclean.cli.common import one_line_errors


def models() -> None:
    """List the packaged checkpoints.

    Name, size, licence, scores and sha256 of each. The other commands use the
    one marked as default, or what their --model names.

    Example: slimclean models
    """
    with one_line_errors():
        from slimclean.model import checkpoint

        default = checkpoint.default_name()
        for entry in checkpoint.packaged():
            mark = "  (default)" if entry.name == default else ""
            print(f"{entry.name}  {entry.bytes / 1e6:.1f} MB  {entry.info.get('licence', '')}{mark}")
            for line in entry.info.get("scores", []):
                print(f"  {line}")
            print(f"  sha256 {entry.sha256()}")
