"""What a run comes to."""

from __future__ import annotations

import dataclasses

import pytest

from slimclean.batch.report import COLUMNS, DECIMALS, EXISTS, NOT_BEGUN, FileResult, summary, totals


def row(status="enhanced", error="", **values):
    return FileResult("a.wav", "b.wav", status, error, **values)


def test_means_weigh_what_is_known_by_its_seconds():
    rows = [
        row(duration_s=30.0, mean_uf=0.5, macs_per_sample=100.0, processing_s=3.0, gmacs=1.0),
        row(duration_s=10.0, mean_uf=0.1, macs_per_sample=200.0, processing_s=7.0, gmacs=2.0),
        row(duration_s=40.0),  # a report may lack columns
        row(duration_s=0.0, processing_s=1.0),
        row("failed", "broken", duration_s=5.0, mean_uf=1.0, processing_s=1.0),
    ]
    total = totals(rows)
    assert (total.audio_s, total.gmacs) == (80, 3)
    assert (total.mean_uf, total.macs_per_sample) == (pytest.approx(0.4), pytest.approx(125))
    assert total.speed == pytest.approx(4)
    assert "80.0 s of audio at 4.0x real time, mean UF 0.400, 50% less" in summary(rows, 250)


def test_what_nobody_knows_is_not_in_the_summary():
    rows = [row(duration_s=2.0), row(duration_s=-2.0, mean_uf=0.5)]
    total = totals(rows)
    assert (total.audio_s, total.speed, total.mean_uf, total.macs_per_sample) == (2, None, None, None)
    assert summary(rows, 100) == "2 enhanced"
    assert summary([row(duration_s=2.0, processing_s=1.0)]) == "1 enhanced, 2.0 s of audio at 2.0x real time"
    assert summary([]) == "0 enhanced"


def test_a_run_that_had_nothing_to_do_says_why():
    done = [row("skipped", EXISTS), row("skipped", EXISTS)]
    assert summary(done) == "0 enhanced, 2 skipped (outputs exist; `overwrite` makes them anew)"
    assert summary([*done, row(duration_s=1.0)]).startswith("1 enhanced, 2 skipped")


@pytest.mark.parametrize(("macs", "told"), [(99, ", 1% less compute than at UF 1"), (100, ""), (101, "")])
def test_compute_that_is_not_saved_is_not_told(macs, told):
    rows = [row(duration_s=2.0, mean_uf=1.0, macs_per_sample=macs, processing_s=1.0)]
    assert summary(rows, 100) == f"1 enhanced, 2.0 s of audio at 2.0x real time, mean UF 1.000{told}"


def test_a_report_tells_no_more_decimals_than_it_knows():
    numbers = [f.name for f in dataclasses.fields(FileResult) if f.type == "float | None"]
    assert set(numbers) - set(DECIMALS) == {"target_uf"}  # as it was given
    assert set(DECIMALS) <= set(COLUMNS)


def test_a_recording_is_counted_once():
    rows = [
        row("skipped", EXISTS),
        row("skipped", NOT_BEGUN),
        row("skipped", NOT_BEGUN),
        row("failed", NOT_BEGUN),
    ]
    assert summary(rows) == "0 enhanced, 1 skipped, 1 failed, 2 not begun"
    assert [one.has_output for one in rows] == [True, False, False, False]
