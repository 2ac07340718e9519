"""Points of the curve: what is averaged over what."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import SETTING_ROWS, SMALL, voice

from slimclean.enhancer import Enhancer
from slimclean.scoring.evaluation import SETTINGS, Pair, evaluate, in_pauses, with_advantage
from slimclean.scoring.metrics import CORE
from slimclean.scoring.pauses import levels, pauses

FRAMES = [(1.0, 40), (1e-3, 30), (1.0, 40), (1e-3, 10), (0.1, 20)]
"""Levels and frames: one pause of half a second, one that is none, and softer speech."""


def spoken() -> Pair:
    level = np.repeat([level for level, _ in FRAMES], [count * 256 for _, count in FRAMES])
    clean = (level * np.sin(np.arange(len(level)) * 0.7)).astype(np.float32)[:-100]
    return Pair("a", clean, clean + np.random.default_rng(0).normal(0, 0.1, len(clean)).astype(np.float32))


def test_pauses_are_where_nobody_speaks_for_a_while():
    pair = spoken()
    assert in_pauses(pair.clean, SMALL).nonzero()[0].tolist() == list(range(40, 70))
    assert in_pauses(np.zeros(30 * 256 - 1, np.float32), SMALL).tolist() == [True] * 30
    assert not in_pauses(pair.clean[: 40 * 256], SMALL).any()


def test_the_uf_in_pauses_is_a_mean_over_all_their_frames(small):
    """The longer pause of one recording counts the more; fixed UFs have none."""
    pair = spoken()
    silent = Pair("b", np.zeros(90 * 256, np.float32), pair.noisy[: 90 * 256])
    (row,) = evaluate(small, [pair, silent], (("auto", 0.25),), baseline=False, metrics=())
    enhancer = Enhancer("auto", 0.25, network=small)
    ufs = [enhancer(p.noisy, 16_000).uf for p in (pair, silent)]
    assert row["pause_uf"] == pytest.approx(np.concatenate([ufs[0][40:70], ufs[1]]).mean())
    (row,) = evaluate(
        small,
        [Pair("c", pair.clean[: 40 * 256], pair.noisy[: 40 * 256])],
        (("auto", 0.25),),
        baseline=False,
        metrics=(),
    )
    assert row["pause_uf"] == ""


def test_levels_are_against_active_speech():
    level = levels(np.pad(spoken().clean, (0, 100))[None], 256)
    assert level[0, 10] == pytest.approx(0.8, abs=0.3)  # the softer speech counts too
    assert level[0, 125] == pytest.approx(level[0, 10] - 20, abs=0.2)
    assert pauses(level, 62.5).nonzero()[1].tolist() == list(range(40, 70))


def test_a_row_tells_of_pauses_under_the_router_only(small):
    rows = list(evaluate(small, [spoken()], ((0.25, 0.25), ("auto", 0.25)), metrics=("si_sdr_db",)))
    assert [row["pause_uf"] == "" for row in rows] == [True, True, False]
    assert 0 < float(rows[2]["pause_uf"]) <= 1
    assert len({tuple(row) for row in rows}) == 1


def test_scores_are_the_same_from_several_processes(small):
    rng = np.random.default_rng(0)
    clean = [voice(1.0, seed=k) for k in range(3)]
    pairs = [Pair(str(k), x, x + rng.normal(0, 0.05, len(x)).astype(np.float32)) for k, x in enumerate(clean)]
    alone, together = (list(evaluate(small, pairs, SETTINGS[:1], jobs=jobs)) for jobs in (1, 2))
    for name in CORE:
        assert [row[name] for row in alone] == pytest.approx([row[name] for row in together])
    assert alone[0]["si_sdr_db"] != alone[1]["si_sdr_db"]


def test_advantage_is_measured_from_the_straight_line_between_neighbours():
    noisy, *static, between, beyond = with_advantage(SETTING_ROWS)
    assert between["pesq_wb_over_static"] == pytest.approx(0.2)
    assert between["si_sdr_db_over_static"] == pytest.approx(-0.5)
    for other in (noisy, *static, beyond):
        assert other["pesq_wb_over_static"] == ""


def test_a_measure_that_is_missing_has_no_advantage():
    assert with_advantage([dict(r, pesq_wb="") for r in SETTING_ROWS])[3]["pesq_wb_over_static"] == ""
