"""What pages and pictures show of a recording, made where it was enhanced: small, and picklable."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np

from slimclean.batch.trace import Comparison
from slimclean.dsp.spectrogram import LOWEST_DB, SHOWN_DB, Spectrogram, reduce_columns
from slimclean.scoring.tables import fixed
from slimclean.show import player, png

THUMBNAIL = (64, 640)
"""Pixels of a small spectrogram, height and width."""
UF_COLUMNS = 300


@dataclass(frozen=True)
class Strip:
    """One side of a recording: its spectrogram as a data URI, how high that reaches, and its length."""

    image: str
    top_khz: float
    duration_s: float


@dataclass(frozen=True)
class View:
    """A recording before and after, as a page shows it; without `before`, there is nothing to show."""

    before: Strip | None = None
    after: Strip | None = None
    removed: str = ""
    """How far the level fell, in words; "" where that is not to be told (see the function)."""
    sides: tuple[str, str] = ("before", "after")
    """What both are called."""
    uf_svg: str = ""
    """The UF over time; "" where it is not known."""
    mean_uf: float | None = None
    ufs: tuple[float, ...] = ()
    start_s: float = 0.0
    """Where an excerpt should begin."""
    problem: str = ""
    """Why the view or a picture could not be made."""


def view_of(comparison: Comparison) -> View:
    """Reduce a comparison to what a page shows of it."""
    top = top_db(comparison)
    before, after = (
        Strip(thumbnail(s, top), s.sample_rate / 2000, s.duration_s)
        for s in (comparison.before, comparison.after)
    )
    return View(
        before,
        after,
        removed(comparison),
        comparison.sides,
        uf_timeline(comparison) if len(comparison.uf) else "",
        comparison.mean_uf,
        comparison.ufs,
        player.most_audible_s(comparison.after.dbfs, comparison.after.column_s),
    )


def top_db(comparison: Comparison) -> float:
    """Return the level of the brightest colour: that of the loudest there is, but silence stays dark."""
    loudest = max(float(s.level_db.max()) for s in (comparison.before, comparison.after))
    return max(loudest, LOWEST_DB + SHOWN_DB)  # no level lies lower than the darkest colour


def removed(comparison: Comparison) -> str:
    """Say in words how far the level fell; "" where there was nothing to hear, and of a residual."""
    if comparison.residual:
        return ""
    fell = comparison.removed_db[np.isfinite(comparison.removed_db)]
    if not len(fell):
        return ""
    median, most = np.percentile(fell, [50, 95])
    return f"median {fixed(median, 1)} dB, 95 % of the time below {fixed(most, 1)} dB"


def thumbnail(spectrogram: Spectrogram, top_db: float, size: tuple[int, int] = THUMBNAIL) -> str:
    """Draw a small spectrogram from `top_db` down to 80 dB below it, as a data URI."""
    height, width = size
    power = reduce_columns(reduce_columns(spectrogram.power, width).T, height).T
    level = 10 * np.log10(np.maximum(power, 1e-12))
    steps = len(png.MAGMA)
    indices = np.clip((level - top_db + SHOWN_DB) / SHOWN_DB * steps, 0, steps - 1).astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(png.encode(indices[::-1])).decode()


def uf_timeline(comparison: Comparison) -> str:
    """Draw the UF over time as inline SVG, logarithmic up to 1, with lines at candidates and mean."""
    uf = reduce_columns(comparison.uf, UF_COLUMNS)
    lowest = min(min(comparison.ufs), float(uf.min())) * 0.7

    def y(value: float) -> int:
        return round(1000 * float(np.log(value) / np.log(lowest)))

    points = "".join(f"H{k}V{y(v)}H{k + 1}" for k, v in enumerate(uf))
    grid = "".join(f"M0 {y(v)}H{len(uf)}" for v in comparison.ufs[:-1])
    mean = y(float(comparison.uf.mean()))
    thin = "vector-effect='non-scaling-stroke' fill='none'"
    return (
        f"<svg viewBox='0 0 {len(uf)} 1000' preserveAspectRatio='none' role='img' aria-label='UF over time'>"
        f"<path d='M0 1000{points}V1000Z' fill='var(--accent)'/>"
        f"<path d='{grid}' stroke='var(--line)' stroke-width='1' {thin}/>"
        f"<path d='M0 {mean}H{len(uf)}' stroke='var(--mean)' stroke-width='2' {thin}/></svg>"
    )
