"""Values of options that are text on the command line: a UF, a loudness, a bit rate, numbers."""

from __future__ import annotations

import math
import re
import sys
from typing import Any, Literal

import typer

from slimclean.cli.common import is_given

Uf = float | Literal["auto"]
BATCH_LUFS = -16.0


def parse_uf(text: str, ctx: Any = None) -> Uf:
    """Read --uf. Raises where --target-uf, beside it on the command line of `ctx`, would have no effect."""
    if text == "auto":
        return "auto"
    if ctx is not None and is_given(ctx, "uf", "target_uf"):
        raise typer.BadParameter(f"--target-uf goes with --uf auto, not {text}")
    try:
        return float(text)
    except ValueError as error:
        wanted = f"auto or a number above 0 and at most 1, not {text!r}"
        raise typer.BadParameter(wanted, param_hint="--uf") from error


def parse_bit_rate(text: str | None) -> int | None:
    """Return bit/s of "96k", "96000" or None."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(k?)", text.strip().lower())
    if found is None:
        raise typer.BadParameter(f"a bit rate such as 96k, not {text!r}", param_hint="--bitrate")
    rate = float(found[1]) * (1000 if found[2] else 1)
    return round(rate) if rate < math.inf else sys.maxsize


def parse_numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{option} takes numbers between commas, not {text!r}") from error


def parse_loudness(text: str, per: str, ctx: Any) -> tuple[float | None, str]:
    """Read --loudness and --loudness-per: the target in LUFS, None for off, and whether of each file or of all.

    Raises where the command line of `ctx` says what contradicts itself, or has no effect without a loudness.
    """
    if text == "off":
        for name in ("true_peak", "loudness_per"):
            if is_given(ctx, name):
                raise typer.BadParameter(f"--{name.replace('_', '-')} goes with --loudness")
        return None, per
    if text == "batch":
        if per != "batch" and is_given(ctx, "loudness", "loudness_per"):
            raise typer.BadParameter(f"--loudness batch goes with --loudness-per batch, not {per}")
        return BATCH_LUFS, "batch"
    try:
        return float(text), per
    except ValueError as error:
        raise typer.BadParameter(f"--loudness takes a number in LUFS, batch or off, not {text!r}") from error
