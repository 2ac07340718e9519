"""The method's evidence: quality against compute, static UFs beside the router's choices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slimclean.scoring.evaluation import Row
from slimclean.scoring.metrics import CORE, METRICS
from slimclean.show.plot import BLUE, DPI, GREY, WIDTH_IN, require_matplotlib, save


def with_advantage(rows: Sequence[Row]) -> list[Row]:
    """Add to the rows of auto how far PESQ and SI-SDR lie above the static curve.

    The curve runs straight between neighbouring static points; beyond them there is none, and cells are empty.
    """
    static = sorted((row for row in rows if _is_static(row)), key=_macs)
    macs = [_macs(row) for row in static]
    out = []
    for row in rows:
        extra: Row = {f"{name}_over_static": "" for name in ("pesq_wb", "si_sdr_db")}
        if row["uf"] == "auto" and len(static) > 1 and macs[0] <= _macs(row) <= macs[-1]:
            for name in ("pesq_wb", "si_sdr_db"):
                if row[name] != "" and all(point[name] != "" for point in static):
                    curve = np.interp(_macs(row), macs, [float(point[name]) for point in static])
                    extra[f"{name}_over_static"] = float(row[name]) - float(curve)
        out.append(row | extra)
    return out


def plot_curve(rows: Sequence[Row], picture: Path) -> None:
    """Draw each measure against MACs per sample: static UFs as squares on a line, auto as discs."""
    figure = require_matplotlib().figure.Figure(figsize=(WIDTH_IN, 3.6), dpi=DPI, layout="constrained")
    groups = (
        ("fixed UF", [row for row in rows if _is_static(row)], "uf", {"marker": "s", "color": GREY, "ls": "-"}),
        (
            "router",
            [row for row in rows if row["uf"] == "auto"],
            "target_uf",
            {"marker": "o", "color": BLUE, "ls": ""},
        ),
    )
    for axis, name in zip(figure.subplots(1, len(CORE)), CORE, strict=True):
        for label, points, key, style in groups:
            points = sorted((p for p in points if p[name] != ""), key=_macs)
            x, y = [_macs(p) / 1000 for p in points], [float(p[name]) for p in points]
            axis.plot(x, y, label=label, markersize=6, linewidth=1, **style)
            for at, height, point in zip(x, y, points, strict=True):
                below = key == "uf"
                axis.annotate(
                    f"{float(point[key]):g}", (at, height), (3, -10 if below else 5),
                    textcoords="offset points", fontsize=7, color=GREY if below else BLUE,
                )  # fmt: skip
        for row in rows:
            if row["uf"] == "noisy" and row[name] != "":
                axis.set_title(f"noisy: {float(row[name]):.3f}", fontsize="small", loc="left")
        axis.set(xlabel="thousand MACs per sample", ylabel=METRICS[name].axis, xlim=(0, None))
        axis.margins(y=0.15)
        axis.grid(alpha=0.3)
    axis.legend(loc="best", fontsize="small")
    save(figure, picture)


def _is_static(row: Row) -> bool:
    return row["uf"] not in ("noisy", "auto")


def _macs(row: Row) -> float:
    return float(row["macs_per_sample"])
