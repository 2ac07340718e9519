"""The method's evidence: quality against compute, static UFs beside the router's choices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slimclean.scoring.evaluation import Row, is_static, macs_of
from slimclean.scoring.metrics import CORE, METRICS
from slimclean.show.plot import BLUE, DPI, GREY, WIDTH_IN, require_matplotlib, save

MARKER = 6
"""Points across."""
PLACES = (
    (5.0, -7.0), (-5.0, 6.0), (5.0, 6.0), (-5.0, -7.0), (0.0, 10.0), (0.0, -10.0), (6.0, 0.0), (-6.0, 0.0),
    (8.0, 14.0), (8.0, -14.0), (-8.0, 14.0), (-8.0, -14.0),
    (0.0, 18.0), (0.0, -18.0), (8.0, 22.0), (8.0, -22.0), (-8.0, 22.0), (-8.0, -22.0),
)  # fmt: skip
"""Where a label may stand beside its point, in points: rather where no rising curve goes."""


def plot_curve(rows: Sequence[Row], picture: Path) -> None:
    """Draw each measure against MACs per sample: static UFs as squares on a line, auto as discs."""
    figure = require_matplotlib().figure.Figure(figsize=(WIDTH_IN, 3.6), dpi=DPI, layout="constrained")
    groups = (
        ("fixed UF", [row for row in rows if is_static(row)], "uf", {"marker": "s", "color": GREY, "ls": "-"}),
        (
            "router",
            [row for row in rows if row["uf"] == "auto"],
            "target_uf",
            {"marker": "o", "color": BLUE, "ls": ""},
        ),
    )
    labels: list[Any] = []
    for axis, name in zip(figure.subplots(1, len(CORE)), CORE, strict=True):
        for label, points, key, style in groups:
            points = sorted((p for p in points if p[name] != ""), key=macs_of)
            x, y = [macs_of(p) / 1000 for p in points], [float(p[name]) for p in points]
            axis.plot(x, y, label=label, markersize=MARKER, linewidth=1, **style)
            labels += [
                axis.annotate(
                    f"{float(point[key]):g}", at, (0, 0), textcoords="offset points", fontsize=7,
                    color=style["color"], va="center",
                )
                for *at, point in zip(x, y, points, strict=True)
            ]  # fmt: skip
        for row in rows:
            if row["uf"] == "noisy" and row[name] != "":
                axis.set_title(f"noisy: {float(row[name]):.3f}", fontsize="small", loc="left")
        axis.margins(x=0.1, y=0.15)
        axis.set(xlabel="thousand MACs per sample", ylabel=METRICS[name].axis, xlim=(0, None))
        axis.grid(alpha=0.3)
    axis.legend(loc="lower right", fontsize="small")
    figure.draw_without_rendering()  # which lays it out: where points lie is known from here on
    _place(labels)
    save(figure, picture)


def _place(labels: Sequence[Any]) -> None:
    """Put each label beside its point, where it covers no other label and no point, or the least."""
    points = [label.axes.transData.transform(label.xy) for label in labels]
    size = MARKER / 72 * DPI
    taken = [(x - size / 2, y - size / 2, x + size / 2, y + size / 2) for x, y in points]
    for label in labels:
        frame = label.axes.get_window_extent().extents
        tried = []
        for place in PLACES:
            _move(label, place)
            box = tuple(label.get_window_extent().extents)
            outside = _area(box) - _overlap(box, frame)
            tried.append((outside + sum(_overlap(box, other) for other in taken), box, place))
        _, box, place = min(tried, key=lambda one: one[0])  # the first of those that are as good
        _move(label, place)
        taken.append(box)


def _move(label: Any, place: tuple[float, float]) -> None:
    label.set_position(place)
    label.set_horizontalalignment("center" if not place[0] else "left" if place[0] > 0 else "right")


def _area(box: Sequence[float]) -> float:
    left, bottom, right, top = box
    return max(0.0, right - left) * max(0.0, top - bottom)


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    return _area([*map(max, one[:2], other[:2]), *map(min, one[2:], other[2:])])
