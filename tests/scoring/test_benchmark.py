"""The benchmark counts what it should; how fast anything is, no test says."""

from __future__ import annotations

import csv
import mmap
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from slimclean.cli import app
from slimclean.errors import UsageError
from slimclean.model.macs import macs_per_sample
from slimclean.scoring.benchmark import SETTINGS, SHARES, _fill, benchmark, peak_memory, speech_in_noise


def test_rows_add_up(small):
    rows = benchmark(small, speech_in_noise(3.0), 16_000, SETTINGS[::3], repeats=2, plain=True)
    assert [row["uf"] for row in rows] == ["0.125", "1.0", "auto"]
    for row in rows:
        assert sum(row[share] for share in SHARES) == pytest.approx(1)
        assert row["rtf"] * row["times_real_time"] == pytest.approx(1)
        assert row["gmac_per_s"] == pytest.approx(row["macs_per_sample"] * 16_000 / row["rtf"] / 1e9)
        assert row["times_plain"] > 0
        assert row["peak_mb"] > 50
        assert row["encoder"] > 0
        assert row["gru"] > 0
    assert rows[0]["macs_per_sample"] == macs_per_sample(small.config, [0.125], routed=False)
    assert rows[0]["router"] == 0 < rows[2]["router"]
    assert rows[0]["times_ordinary"] > 0
    assert rows[2]["times_ordinary"] == ""


def test_silence_takes_no_network_and_nothing_is_refused(small):
    (row,) = benchmark(small, np.zeros(16_000, np.float32), 16_000, SETTINGS[:1], repeats=1, plain=True)
    assert row["times_plain"] == row["times_ordinary"] == ""
    assert row["rest"] == 1
    with pytest.raises(UsageError, match="nothing to time"):
        benchmark(small, np.zeros(0, np.float32), 16_000, SETTINGS[:1])


@pytest.mark.parametrize(("threads", "rest"), [(1, 0.0), (4, 0.75)])
def test_what_is_left_over_is_that_of_the_threads_at_work(threads, rest):
    """A network that is at work all the time on one of so many threads."""
    enhancer = SimpleNamespace(threads=threads)
    subject = SimpleNamespace(enhancer=enhancer, best_s=2.0, network_s=2.0, stages={"encoder": 2.0})
    row = {"gmac_per_s": 1.0}
    _fill(row, subject, {}, 2.0, plain=False)
    assert row["rest"] == rest
    assert row["encoder"] == 1 - rest


def test_generated_audio_is_speech_in_noise_of_its_own_kind():
    x = speech_in_noise(5.0)
    assert x.shape == (80_000,)
    assert x.dtype == np.float32
    assert np.abs(x).max() == pytest.approx(0.3)
    assert np.array_equal(x, speech_in_noise(5.0))


def test_peak_memory_sees_what_is_held():
    with peak_memory() as before:
        pass
    with peak_memory() as during:
        held = mmap.mmap(-1, 64_000_000)  # not from what training keeps of freed memory
        held.write(bytes(len(held)))
    held.close()
    assert during[0] > before[0] + 30e6


def test_where_nobody_tells_of_memory_its_column_is_empty(small, tmp_path, monkeypatch):
    """As on Windows."""
    monkeypatch.setattr("slimclean.scoring.benchmark.Path", lambda _: tmp_path / "none" / "none")
    monkeypatch.setitem(sys.modules, "resource", None)
    (row,) = benchmark(small, np.zeros(16_000, np.float32), 16_000, SETTINGS[:1], repeats=1)
    assert row["peak_mb"] == ""


def test_the_command_prints_a_table_and_writes_csv(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([speech_in_noise(1.0, 44_100)] * 2, 1), 44_100)
    arguments = ["--input", tmp_path / "a.wav", "--repeats", 1, "--threads", 1, "--precision", "fp32"]
    threads = torch.get_num_threads()
    done = CliRunner().invoke(app, ["benchmark", *map(str, arguments), "-o", str(tmp_path / "b.csv")])
    torch.set_num_threads(threads)
    assert done.exit_code == 0, done.output
    title, header, *lines = done.stdout.splitlines()
    assert title.startswith("a.wav: 1.0 s at 44100 Hz")
    assert "threads: 1, fastest of 1" in title
    with (tmp_path / "b.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(lines) == len(SETTINGS)
    assert header.split() == list(rows[0])
    assert {row["precision"] for row in rows} == {"fp32"}
