"""Pictures: a recording before and after, and the distributions of scores. Needs the extra `plot` (matplotlib).

Figures are objects of their own, drawn by Agg: nothing here touches pyplot or a display. Colours are those of
Okabe and Ito (2008) and matplotlib's perceptually uniform magma, which the colour-blind can tell apart.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slimclean.audio.atomic import replacing, shared_mode, writing
from slimclean.batch.report import FileResult
from slimclean.batch.trace import Comparison
from slimclean.dsp.spectrogram import SHOWN_DB, decibels, for_pixels, reduce_columns
from slimclean.errors import UsageError, needs, reason
from slimclean.scoring.metrics import METRICS
from slimclean.scoring.pairs import Score
from slimclean.show.comparison import compare_result
from slimclean.show.title import families, set_title, shortened
from slimclean.show.view import View, removed, top_db

if TYPE_CHECKING:
    from slimclean.enhancer import Enhancer

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#767676"
WIDTH_IN, DPI = 10.0, 120
"""1200 pixels wide."""
PIXELS = (240, 960)
"""A spectrogram gets a few more than these, height and width."""
LOWEST_DBFS = -100.0
"""The axis of levels goes no lower."""
UF_COLUMNS = 1000
GROUP_LETTERS = 24
"""Of a group's name beside its points."""


def require_matplotlib() -> Any:
    """Import the package; raises `MissingDependencyError` with the line that installs it."""
    with needs("pictures need matplotlib", "plot"):
        import matplotlib.figure
    return matplotlib


def check_picture(picture: Path) -> None:
    """Raise where matplotlib is missing, or does not write what the name's extension says."""
    known = {*require_matplotlib().figure.FigureCanvasBase.filetypes} - {"pgf"}  # which needs LaTeX
    if _format(picture) not in known:
        kinds = ", ".join(sorted(known))
        raise UsageError(f"{picture}: no picture ends in {picture.suffix}; take one of {kinds}")


def plot_comparison(comparison: Comparison, picture: Path, recording: Path) -> None:
    """Draw spectrograms before and after, levels over time, and the UF, as PNG or what the extension says.

    The picture is for those who may see the `recording`.
    """
    figure = require_matplotlib().figure.Figure(figsize=(WIDTH_IN, 8.2), dpi=DPI, layout="constrained")
    before, after, level, uf = figure.subplots(4, 1, sharex=True, height_ratios=(3, 3, 1.5, 1.5))
    duration, unit, per_unit = _time_axis(comparison.before.duration_s)
    _draw_spectrograms(figure, (before, after), comparison, per_unit)
    _draw_levels(level, comparison, per_unit)
    _draw_uf(uf, comparison, per_unit)
    uf.set(xlabel=f"time ({unit})", xlim=(0, duration))
    set_title(figure, recording.name)
    save(figure, picture, shared_mode([recording]))


def _time_axis(duration_s: float) -> tuple[float, str, float]:
    """Return the length in the unit of the axis, that unit, and its seconds."""
    for unit, seconds, least in (("h", 3600.0, 2 * 3600), ("min", 60.0, 180)):
        if duration_s >= least:
            return duration_s / seconds, unit, seconds
    return max(duration_s, 1e-3), "s", 1.0


def _draw_spectrograms(figure: Any, axes: Sequence[Any], comparison: Comparison, per_unit: float) -> None:
    shown = (comparison.before, comparison.after)
    colours = require_matplotlib().colormaps["magma"].resampled(SHOWN_DB // 2)  # steps of 2 dB: small files
    top = top_db(comparison)
    top_khz = comparison.before.sample_rate / 2000
    for axis, spectrogram, name in zip(axes, shown, comparison.sides, strict=True):
        bins, columns = spectrogram.power.shape
        bin_khz = spectrogram.sample_rate / 2000 / (bins - 1)
        image = axis.imshow(
            decibels(for_pixels(spectrogram.power, PIXELS)),
            origin="lower",
            aspect="auto",
            cmap=colours,
            vmin=top - SHOWN_DB,
            vmax=top,
            extent=(0, columns * spectrogram.column_s / per_unit, -bin_khz / 2, (bins - 0.5) * bin_khz),
            interpolation="nearest",  # any other averages decibels: a tone is lost among its neighbours
        )
        axis.set(ylabel="frequency (kHz)", ylim=(0, top_khz), facecolor="black")
        axis.set_title(name, loc="left", fontsize="medium")
    figure.colorbar(image, ax=list(axes), label="level (dB re full scale)", pad=0.01)


def _draw_levels(axis: Any, comparison: Comparison, per_unit: float) -> None:
    from matplotlib.ticker import MultipleLocator

    loudest = max(float(s.dbfs.max()) for s in (comparison.before, comparison.after))
    bottom = max(LOWEST_DBFS, loudest - SHOWN_DB)
    top = max(loudest, LOWEST_DBFS + 20) + 3  # room for two marks
    # What is softer runs along the bottom, as silence does.
    before, after = (np.maximum(s.dbfs, bottom) for s in (comparison.before, comparison.after))
    times, times_after = comparison.before.times_s / per_unit, comparison.after.times_s / per_unit
    axis.plot(times, before, color=GREY, lw=1, label=comparison.sides[0])
    axis.plot(times_after, after, color=BLUE, lw=1, label=comparison.sides[1])
    if not comparison.residual:
        after = np.interp(times, times_after, after)
        removed_here = {"color": ORANGE, "alpha": 0.3, "lw": 0, "label": "removed"}
        axis.fill_between(times, after, before, where=before > after, **removed_here)
    axis.set(ylabel="level (dBFS)", ylim=(bottom - 2, top))
    axis.yaxis.set_major_locator(MultipleLocator(20))
    axis.grid(axis="y", color="#dddddd", lw=0.6)
    if text := removed(comparison):
        axis.set_title(f"removed: {text}", loc="left", fontsize="medium")
    axis.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize="small", frameon=False)


def _draw_uf(axis: Any, comparison: Comparison, per_unit: float) -> None:
    from matplotlib.ticker import NullLocator

    if not comparison.ufs:
        axis.set_title(
            "utilization factor: not known, enhanced in an earlier run", loc="left", fontsize="medium"
        )
        axis.set(ylabel="UF", yticks=[])
        return
    uf = reduce_columns(comparison.uf, UF_COLUMNS)
    edges = np.linspace(0, len(comparison.uf) / comparison.frame_rate_hz / per_unit, len(uf) + 1)
    if len(uf):
        axis.stairs(uf, edges, fill=True, baseline=1e-3, color=BLUE)
        axis.axhline(float(comparison.uf.mean()), color=ORANGE, lw=1.5)
        text = f"utilization factor: mean {comparison.uf.mean():.3f} (line)"
        axis.set_title(text, loc="left", fontsize="medium")
    axis.set(ylabel="UF", yscale="log", ylim=(min(*comparison.ufs, *uf) * 0.7, 1.15))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_yticks(comparison.ufs, [f"{v:g}" for v in comparison.ufs])
    axis.grid(axis="y", color="#dddddd", lw=0.6)
    axis.set_axisbelow(True)


def plot_results(
    results: Sequence[FileResult],
    pictures: Mapping[str, Path],
    enhancer: Enhancer,
    failed: Callable[[str], None] = lambda _: None,
) -> None:
    """Draw a picture of each result that the run did not draw itself; `pictures` says where, by absolute paths.

    What cannot be drawn, or could not, is told to `failed` and does not stop the others. A recording that an
    earlier run replaced has no new picture.
    """
    for result in results:
        if not result.has_output or result.is_gone:
            continue
        if isinstance(result.view, View):
            if result.view.problem:
                failed(f"no picture: {result.view.problem}")
            continue
        try:
            picture = pictures[os.path.abspath(result.file)]  # noqa: PTH100
            plot_comparison(compare_result(result, enhancer), picture, Path(result.file))
        except Exception as error:  # whatever one recording does, the others get theirs
            failed(f"no picture: {reason(error)}")


def picture_names(files: Sequence[str], roots: Sequence[Path]) -> list[Path]:
    """Return where each file's picture goes: its path under the root it came from, as PNG, each name once."""
    taken: set[Path] = set()
    names = []
    for file in (Path("stdin" if file == "-" else file) for file in files):
        root = next((r for r in roots if r in file.parents), None)
        inside = file.relative_to(root or file.parent)
        name = (root.resolve().name / inside if root and len(roots) > 1 else inside).with_suffix(".png")
        if name in taken:
            name = name.with_name(f"{inside.name}.png")
        count = 2
        while name in taken:
            name, count = name.with_name(f"{inside.name}-{count}.png"), count + 1
        taken.add(name)
        names.append(name)
    return names


def plot_scores(scores: Sequence[Score], metrics: Sequence[str], picture: Path) -> None:
    """Draw how each measure is distributed over the recordings, before and after, by group if any."""
    scored = [score for score in scores if score.status == "scored"]
    groups = sorted({score.group or "" for score in scored}) or [""]
    sides = 2 if any(score.before for score in scored) else 1
    columns = min(3, len(metrics))
    rows = -(-len(metrics) // columns)
    height_in = 0.6 + max(2.4, 0.7 + 0.3 * sides * len(groups)) * rows
    figure = require_matplotlib().figure.Figure((WIDTH_IN, height_in), DPI, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for number, (axis, name) in enumerate(zip(grid, metrics, strict=False)):
        _draw_distribution(axis, scored, groups, name)
        if len(groups) > 1 and number % columns:
            axis.set_yticklabels([])  # those of the panel at the left hold
    for axis in grid[len(metrics) :]:
        axis.set_axis_off()
    count = f"{len(scored)} {'recording' if len(scored) == 1 else 'recordings'}"
    figure.suptitle(f"{count}, a point for each; boxes hold the middle half, lines are medians")
    save(figure, picture)


def _draw_distribution(axis: Any, scores: Sequence[Score], groups: Sequence[str], name: str) -> None:
    """Draw a row of points for each group, or two where what was before is known."""

    def known(of: Iterable[Mapping[str, float | None]]) -> list[float]:
        return [v for values in of if (v := values.get(name)) is not None and np.isfinite(v)]

    rows: list[tuple[str, list[float], str, str]] = []
    for group in groups:
        members = [score for score in scores if (score.group or "") == group]
        label = shortened(group, GROUP_LETTERS)
        if any(score.before for score in scores):
            before = known(score.before for score in members)
            rows.append((f"{label} before".strip(), before, ORANGE, "^"))
        rows.append((f"{label} after".strip(), known(score.values for score in members), BLUE, "o"))
    for row, (_, values, colour, marker) in enumerate(rows):
        if not values:
            continue
        axis.boxplot(
            values, positions=[row], orientation="horizontal", widths=0.55, showfliers=False,
            boxprops={"color": colour}, medianprops={"color": colour, "lw": 2.5},
            whiskerprops={"color": colour}, capprops={"color": colour},
        )  # fmt: skip
        spread = np.random.default_rng(0).uniform(-0.2, 0.2, len(values))
        axis.plot(values, row + spread, marker, color=colour, ms=4, alpha=0.5, mew=0)
    axis.set_yticks(range(len(rows)), [label for label, *_ in rows], fontfamily=families())
    axis.set(ylim=(len(rows) - 0.4, -0.6), xlabel=METRICS[name].axis)
    axis.grid(axis="x", color="#dddddd", lw=0.6)
    axis.set_axisbelow(True)
    after = known(score.values for score in scores)
    if not after:
        axis.text(0.5, 0.5, "undefined for every recording", transform=axis.transAxes, ha="center")
    elif len(after) < len(scores):
        axis.set_title(f"known for {len(after)} of {len(scores)}", loc="left", fontsize="small")


def save(figure: Any, picture: Path, mode: int = 0o666) -> None:
    """Write a figure in the format of the name's extension, PNG without one."""
    with (
        writing(picture, ValueError),  # which matplotlib raises
        replacing(picture, mode) as temporary,
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="Glyph")  # letters that no font has are boxes
        figure.savefig(temporary, format=_format(picture))


def _format(picture: Path) -> str:
    return picture.suffix[1:].lower() or "png"
