"""Robustness by search: recordings damaged at random end as rows, in time, in memory, with all their sound."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mutations import survey

TESTS = Path(__file__).parents[1]


def test_a_few_damaged_recordings(tmp_path, capfd):
    complaints = []
    counts = survey(tmp_path, 2, 100, complaints.append, math.inf)
    assert complaints == []
    assert min(counts["enhanced"], counts["failed"]) > 10
    assert capfd.readouterr() == ("", "")  # not a word from a decoder


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 110))
def test_ten_thousand_damaged_recordings(tmp_path, seed):
    """In a process of its own, so that decoders that crash, hang or take all memory are found out."""
    folders = [str(TESTS / name) for name in ("", "batch")]
    run = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "mutations", str(tmp_path), str(seed), "1000"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*folders, *sys.path]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout + run.stderr[-3000:]
    assert run.stdout == ""
    assert len(run.stderr.splitlines()) == 1, run.stderr  # the counts
