"""The curve of quality against compute."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import SETTING_ROWS, setting_row

from slimclean.show.curve import plot_curve


def test_a_measure_that_is_missing_is_not_drawn(tmp_path):
    rows = [dict(r, pesq_wb="") for r in SETTING_ROWS]
    pytest.importorskip("matplotlib")
    plot_curve(rows, tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_labels_cover_neither_each_other_nor_points(monkeypatch):
    """On a curve like the packaged network's, and where the router is as good as fixed UFs."""
    pytest.importorskip("matplotlib")
    figures = []
    monkeypatch.setattr("slimclean.show.curve.save", lambda figure, _: figures.append(figure))
    fixed = [(0.0625, 5.6, 2.56, 15.1), (0.125, 8.9, 2.75, 16.65), (0.18, 12.3, 2.78, 17.2),
             (0.25, 15.8, 2.858, 17.6), (0.375, 22.5, 2.86, 17.8), (0.5, 29.2, 2.905, 17.93),
             (0.75, 42.6, 2.909, 18.0), (1.0, 55.8, 2.914, 18.07)]  # fmt: skip
    routed = [(0.1, 7.8, 2.70, 16.2), (0.16, 10.5, 2.816, 17.14), (0.25, 15.2, 2.863, 17.63),
              (0.5, 29.4, 2.908, 17.92), (0.75, 41.2, 2.917, 18.02)]  # fmt: skip
    rows = [
        setting_row("noisy", "", 1.8, 6.9),
        *(setting_row(f"{uf}", 1000 * macs, *rest) for uf, macs, *rest in fixed),
    ]
    rows += [setting_row("auto", 1000 * macs, *rest) | {"target_uf": uf} for uf, macs, *rest in routed]
    plot_curve(rows, Path("c.png"))
    figures[0].draw_without_rendering()
    for axis in figures[0].axes:  # in the middle one all are as good
        boxes = [label.get_window_extent() for label in axis.texts]
        assert len(boxes) == len(fixed) + len(routed)
        points = [axis.transData.transform(xy) for line in axis.lines for xy in line.get_xydata()]
        for k, box in enumerate(boxes):
            assert not [other for other in boxes[:k] if box.overlaps(other)]
            assert not [point for point in points if box.contains(*point)]
            assert axis.get_window_extent().containsx(box.x1)
