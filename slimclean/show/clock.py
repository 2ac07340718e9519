"""Times as pages write them."""

from __future__ import annotations

import math

QUARTERS = 4


def decimals_of(span_s: float) -> int:
    """Return how many decimals of a second tell times apart that lie so far apart: none from ten seconds on."""
    return max(0, math.ceil(-math.log10(span_s)) + 1) if span_s > 0 else 1


def clock(seconds: float, decimals: int) -> str:
    """Write a time as 1:02:03.4 or 2:03.4, with so many decimals."""
    unit = 10**decimals
    whole, part = divmod(round(seconds * unit), unit)
    minutes, rest = divmod(whole, 60)
    text = f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
    return f"{text}.{part:0{decimals}d}" if decimals else text


def span(start_s: float, duration_s: float) -> str:
    """Write from when to when something lasts."""
    decimals = decimals_of(duration_s)
    return f"{clock(start_s, decimals)} to {clock(start_s + duration_s, decimals)}"


def scale(start_s: float, duration_s: float) -> str:
    """Return the marks of a time axis at its quarters, as elements of a page."""
    step_s = duration_s / QUARTERS
    marks = (clock(start_s + step_s * k, decimals_of(step_s)) for k in range(QUARTERS + 1))
    return "".join(f"<span>{mark}</span>" for mark in marks)
