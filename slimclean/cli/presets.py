"""`slimclean presets`."""

from __future__ import annotations

from slimclean.cli.settings import PRESETS


def presets() -> None:
    """List the presets of `slimclean enhance` and their options.

    Options on the command line and in slimclean.toml go before those of a
    preset.

    Example: slimclean enhance ./takes --preset podcast
    """
    from slimclean.scoring.tables import aligned

    for name, preset in PRESETS.items():
        rows = [("  " + option, f"{value}".lower(), why) for option, (value, why) in preset.options.items()]
        print(f"{name}: {preset.purpose}\n{aligned(rows)}\n")
