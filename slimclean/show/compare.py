"""A page for one recording, before and after: one click switches between the two at the same instant.

The stretch that is shown lies in the page as FLAC of 16 bits, so that the file opens without a network.
Glossary: C channels, T samples.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from slimclean.audio.atomic import replacing, writing
from slimclean.audio.mixdown import Mixdown
from slimclean.batch.trace import Comparison
from slimclean.dsp.level import FLOOR_DBFS, Level
from slimclean.dsp.loudness import Loudness, LoudnessMeter
from slimclean.dsp.resample import resample
from slimclean.dsp.spectrogram import SHOWN_DB, Spectrogram, reduce_columns, spectrogram
from slimclean.errors import MissingDependencyError, UsageError
from slimclean.show.assets import asset, escaped
from slimclean.show.clock import clock, decimals_of, scale, span
from slimclean.show.comparison import LENGTHS_AGREE_S
from slimclean.show.page import check_page
from slimclean.show.stretch import Stretch
from slimclean.show.view import removed, thumbnail, top_db, uf_timeline

if TYPE_CHECKING:
    from slimclean.enhancer import Enhancer

PICTURE = (170, 1100)
"""Pixels of a spectrogram, height and width."""
MOST_HZ = 48_000
"""What was recorded at more is played at this."""
LEVEL_COLUMNS = 500
LOWEST_DBFS = -90.0
MINUS = "\N{MINUS SIGN}"
SIDES = ("before", "after")


@dataclass(frozen=True)
class _Side:
    """What the page tells of one side; the loudness is None where PyAV is not installed."""

    sound: str
    level: Level
    loudness: Loudness | None
    spectrogram: Spectrogram

    @property
    def loud_db(self) -> float:
        """How loud it is, for making both sides equally loud; -inf for silence."""
        return self.level.dbfs if self.loudness is None else self.loudness.integrated_lufs


def write_comparison(
    page: Path,
    title: str,
    before: Stretch,
    after: Stretch | Enhancer,
    *,
    mode: int = 0o666,
) -> None:
    """Write the page on one recording; where `after` is an enhancer, it makes that side of `before`.

    `mode` says who may read the page, before the umask.
    Raises `UsageError` for a name that is no page's and for stretches that are not of one recording.
    """
    check_page(page)
    uf, frame_rate_hz = np.zeros(0), 0.0
    ufs: tuple[float, ...] = ()
    if not isinstance(after, Stretch):
        enhancer, (waveform, uf) = after, after(before.waveform, before.sample_rate)
        after = replace(before, waveform=waveform)
        frame_rate_hz, ufs = enhancer.config.frame_rate_hz, enhancer.config.ufs
    if abs(before.duration_s - after.duration_s) > LENGTHS_AGREE_S:
        raise UsageError(
            f"{before.duration_s:.1f} s before and {after.duration_s:.1f} s after are not one recording"
        )
    rate = min(MOST_HZ, max(before.sample_rate, after.sample_rate))
    sides, lowered_db = _sides(before, after, rate)
    comparison = Comparison(sides[0].spectrogram, sides[1].spectrogram, uf, frame_rate_hz, ufs)
    fields = _fields(before, sides, comparison, rate)
    notes = _notes(sides, comparison, lowered_db)
    fields |= {"title": escaped(title), "note": escaped(" ".join(notes))}
    text = Template(asset("compare.html")).substitute(fields)
    with writing(page), replacing(page, mode) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sides(before: Stretch, after: Stretch, rate: int) -> tuple[list[_Side], float]:
    """Measure and encode both sides, and say by how many dB both are lower so that neither clips."""
    heard = [resample(_at_most_stereo(s.waveform, s.sample_rate), s.sample_rate, rate) for s in (before, after)]
    peak = max(1.0, *(float(np.abs(x).max()) for x in heard))
    with ThreadPoolExecutor() as pool:  # all but the gluing releases the interpreter
        sounds = [pool.submit(_flac, x / np.float32(peak), rate) for x in heard]
        pictures = [pool.submit(spectrogram, [s.waveform], s.sample_rate) for s in (before, after)]
        gauges = [pool.submit(_loudness, s) for s in (before, after)]
        levels = [pool.submit(_level, s) for s in (before, after)]
        parts = zip(sounds, levels, gauges, pictures, strict=True)
        sides = [_Side(a.result(), b.result(), c.result(), d.result()) for a, b, c, d in parts]
    return sides, 20 * math.log10(peak)


def _at_most_stereo(x: np.ndarray, sample_rate: int) -> np.ndarray:
    return x if len(x) <= 2 else Mixdown(len(x), sample_rate)(x)


def _flac(x: np.ndarray, rate: int) -> str:
    """[C, T] within 1 as the bytes of a FLAC file in base64."""
    file = io.BytesIO()
    whole = np.rint(np.clip(x.T * 32768, -32768, 32767)).astype(np.int16)
    soundfile.write(file, whole, rate, format="FLAC", subtype="PCM_16")
    return base64.b64encode(file.getvalue()).decode()


def _loudness(stretch: Stretch) -> Loudness | None:
    try:
        meter = LoudnessMeter(stretch.sample_rate, len(stretch.waveform), stretch.channel_layout)
    except MissingDependencyError:
        return None
    meter.add(stretch.waveform)
    return meter.finish()


def _level(stretch: Stretch) -> Level:
    level = Level(stretch.sample_rate)
    level.add(stretch.waveform)
    return level


def _notes(sides: Sequence[_Side], comparison: Comparison, lowered_db: float) -> Iterator[str]:
    if fell := removed(comparison):
        yield f"Level removed: {fell}."
    if lowered_db:
        yield f"Both are played {lowered_db:.1f} dB softer, since one goes over full scale."
    if sides[0].loudness is None:
        yield "Loudness in LUFS needs PyAV: pip install 'slimclean[av]'."


def _fields(stretch: Stretch, sides: Sequence[_Side], comparison: Comparison, rate: int) -> dict[str, str]:
    """Return what the template asks for, but for the words."""
    seconds, start_s = stretch.duration_s, stretch.start_s
    loud_db = [side.loud_db for side in sides]
    matched = bool(np.isfinite(loud_db).all())
    gains = [10 ** ((min(loud_db) - own) / 20) if matched else 1.0 for own in loud_db]
    content = {
        name: {"sound": side.sound, "matched_gain": gain}
        for name, side, gain in zip(SIDES, sides, gains, strict=True)
    }
    levels, level_range = _levels(comparison)
    decimals = max(1, decimals_of(seconds))  # of the clock that runs
    return {
        "style": asset("compare.css"),
        "script": asset("compare.js"),
        "subtitle": span(start_s, seconds),
        "begin": clock(0, decimals),
        "length": clock(seconds, decimals),
        "match_off": "" if matched else " disabled",
        "strips": "".join(_strips(sides, comparison)),
        "levels": levels,
        "level_range": level_range,
        "uf": _uf_lane(comparison),
        "scale": scale(start_s, seconds),
        "numbers": "".join(_numbers(sides)),
        "data": json.dumps({"sample_rate": rate, "duration_s": seconds, "decimals": decimals, **content}),
    }


def _strips(sides: Sequence[_Side], comparison: Comparison) -> Iterator[str]:
    shown = (comparison.before, comparison.after)
    top = top_db(comparison)
    for name, side, seen in zip(SIDES, sides, shown, strict=True):
        loud = f"{_number(side.loud_db)} {'dBFS' if side.loudness is None else 'LUFS'}"
        yield f"<div class='lane' data-side='{name}'><div class='name'>{name.capitalize()} <br>"
        yield f"<span class='soft'>{loud} <br>0 to {seen.sample_rate / 2000:.3g} kHz</span></div>"
        yield "<div class='picture'>"
        yield f"<img alt='spectrogram {name}' src='{thumbnail(seen, top, PICTURE)}'><div class='head'></div>"
        yield "</div></div>\n"


def _levels(comparison: Comparison) -> tuple[str, str]:
    """Both levels over time as inline SVG, and the range that it shows."""
    both = [reduce_columns(s.dbfs, LEVEL_COLUMNS) for s in (comparison.before, comparison.after)]
    top = max(math.ceil(max(float(x.max()) for x in both) / 10) * 10, LOWEST_DBFS + 10)
    bottom = max(LOWEST_DBFS, top - SHOWN_DB)
    lines = []
    for x, colour in zip(both, ("--before", "--accent"), strict=True):
        y = np.clip((top - x) / (top - bottom), 0, 1) * 1000
        points = " ".join(f"{1000 * (k + 0.5) / len(y):.1f},{v:.0f}" for k, v in enumerate(y))
        lines.append(
            f"<polyline points='{points}' fill='none' stroke='var({colour})' stroke-width='1.5' "
            "vector-effect='non-scaling-stroke'/>"
        )
    label = "levels over time: before grey, after in colour"
    svg = f"<svg viewBox='0 0 1000 1000' preserveAspectRatio='none' role='img' aria-label='{label}'>"
    return svg + "".join(lines) + "</svg>", f"{bottom:g} to {top:g} dBFS".replace("-", MINUS)


def _uf_lane(comparison: Comparison) -> str:
    if comparison.mean_uf is None:
        return ""
    return (
        f"<div class='lane'><div class='name'>UF <br><span class='soft'>mean {comparison.mean_uf:.3f}</span>"
        f"</div><div class='picture low'>{uf_timeline(comparison)}<div class='head'></div></div></div>\n"
    )


def _numbers(sides: Sequence[_Side]) -> Iterator[str]:
    """Rows of the table; what is not known or not finite is an empty cell."""
    rows = [
        ("Level (RMS)", "dBFS", [side.level.dbfs for side in sides]),
        ("Softest tenth", "dBFS", [_softest_dbfs(side.level) for side in sides]),
    ]
    loud = [side.loudness for side in sides if side.loudness is not None]
    if len(loud) == len(sides):
        rows[:0] = [
            ("Loudness (integrated)", "LUFS", [found.integrated_lufs for found in loud]),
            ("True peak", "dBTP", [found.true_peak_dbtp for found in loud]),
        ]
    for name, unit, (before, after) in rows:
        change = f"{_number(after - before, '+')} dB" if np.isfinite([before, after]).all() else ""
        cells = [f"{_number(value)} {unit}" for value in (before, after)]
        yield f"<tr><th scope='row'>{name}</th>"
        yield "".join(f"<td>{cell}</td>" for cell in (*cells, change)) + "</tr>\n"


def _softest_dbfs(level: Level) -> float:
    """Return the level of the softest tenth; -inf for silence, as other levels are."""
    dbfs = level.percentile_dbfs(10)
    return dbfs if dbfs > FLOOR_DBFS else -math.inf


def _number(value: float, sign: str = "") -> str:
    """Return one decimal with a true minus, which 0 has not; a dash for what is silent."""
    return f"{round(value, 1) + 0.0:{sign}.1f}".replace("-", MINUS) if math.isfinite(value) else "\N{EN DASH}"
