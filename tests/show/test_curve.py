"""The curve of quality against compute."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import voice

from slimclean.scoring.evaluation import SETTINGS, Pair, evaluate
from slimclean.scoring.metrics import CORE
from slimclean.show.curve import plot_curve, with_advantage


def row(uf, macs, pesq, si_sdr):
    return {"uf": uf, "target_uf": 0.1 if uf == "auto" else "", "mean_uf": 0.2, "macs_per_sample": macs,
            "pesq_wb": pesq, "stoi": 0.9, "si_sdr_db": si_sdr}  # fmt: skip


ROWS = [
    row("noisy", "", 1.0, 0.0),
    row("0.5", 20.0, 3.0, 12.0),
    row("0.25", 10.0, 2.0, 10.0),
    row("auto", 15.0, 2.7, 10.5),
    row("auto", 25.0, 3.0, 12.0),
]


def test_advantage_is_measured_from_the_straight_line_between_neighbours():
    noisy, *static, between, beyond = with_advantage(ROWS)
    assert between["pesq_wb_over_static"] == pytest.approx(0.2)
    assert between["si_sdr_db_over_static"] == pytest.approx(-0.5)
    for other in (noisy, *static, beyond):
        assert other["pesq_wb_over_static"] == ""


def test_a_measure_that_is_missing_has_no_advantage(tmp_path):
    rows = [dict(r, pesq_wb="") for r in ROWS]
    assert with_advantage(rows)[3]["pesq_wb_over_static"] == ""
    pytest.importorskip("matplotlib")
    plot_curve(rows, tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_scores_are_the_same_from_several_processes(small):
    rng = np.random.default_rng(0)
    clean = [voice(1.0, seed=k) for k in range(3)]
    pairs = [Pair(str(k), x, x + rng.normal(0, 0.05, len(x)).astype(np.float32)) for k, x in enumerate(clean)]
    alone, together = (list(evaluate(small, pairs, SETTINGS[:1], jobs=jobs)) for jobs in (1, 2))
    for name in CORE:
        assert [row[name] for row in alone] == pytest.approx([row[name] for row in together])
    assert alone[0]["si_sdr_db"] != alone[1]["si_sdr_db"]
