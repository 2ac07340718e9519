"""Scores without references, and summaries by group."""

from __future__ import annotations

import csv
import sys
import types

import numpy as np
import pytest
import soundfile
from conftest import voice
from typer.testing import CliRunner

from slimclean.cli import app
from slimclean.scoring.evaluation import Pair, evaluate
from slimclean.scoring.metrics import MOS, SCORED


def run(*arguments):
    return CliRunner().invoke(app, ["score", *map(str, arguments)])


@pytest.fixture
def sets(tmp_path):
    """Two pairs, 20 dB and 10 dB."""
    for folder, noise in (("clean", 0.0), ("enhanced", 1.0)):
        for k, name in enumerate(("a.flac", "sub/b.flac")):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            x = np.tile([0.3, -0.3], 8_000)
            disturbance = 0.3 * 10 ** (-(1 - 0.5 * k)) * np.repeat([1, -1], 8_000)
            soundfile.write(path, x + noise * disturbance, 16_000, "PCM_24")
    return tmp_path


class FakeDnsmos:
    """In the place of speechmos.dnsmos: opinions that follow the level."""

    calls = 0

    @classmethod
    def run(cls, sample, sr):
        assert sr == 16_000
        assert np.abs(sample).max() <= 1
        cls.calls += 1
        mos = 1 + 4 * float(np.abs(sample).max())
        return {f"{name}_mos": np.float64(mos) for name in ("ovrl", "sig", "bak", "p808")}


@pytest.fixture
def fake_dnsmos(monkeypatch):
    module = types.ModuleType("speechmos")
    module.dnsmos = FakeDnsmos
    monkeypatch.setitem(sys.modules, "speechmos", module)
    FakeDnsmos.calls = 0


def test_without_references_dnsmos_scores(tmp_path, fake_dnsmos):
    for folder, gain in (("enhanced", 0.5), ("noisy", 4.0)):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "a.wav", gain * voice(1.0), 16_000, "FLOAT")
        soundfile.write(tmp_path / folder / "b.wav", np.zeros(16_000), 16_000)
    done = run("--no-reference", tmp_path / "enhanced", "--noisy", tmp_path / "noisy", "-o", tmp_path / "s.csv")
    assert done.exit_code == 0, done.output
    with (tmp_path / "s.csv").open(newline="") as file:
        loud, silent = csv.DictReader(file)
    assert float(loud["dnsmos_sig"]) == pytest.approx(2, abs=1e-3)
    assert float(loud["dnsmos_p808_improvement"]) == pytest.approx(-3, abs=1e-3)
    assert silent["dnsmos_ovrl"] == ""
    assert "DNSMOS: the recording is silent" in silent["note"]
    assert FakeDnsmos.calls == 2
    done = run("--no-reference", tmp_path / "enhanced" / "a.wav", "--metrics", "dnsmos_bak")
    assert done.stdout.splitlines()[1].split()[:2] == ["dnsmos_bak", "2.000"]


def test_dnsmos_stands_beside_measures_with_a_reference(sets, fake_dnsmos):
    done = run(sets / "clean", sets / "enhanced", "--metrics", "snr_db,mos")
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["snr_db", *MOS]


def test_wrong_requests_without_references(tmp_path, sets, monkeypatch):
    for arguments, message in (
        (["--no-reference", sets / "clean", "--metrics", "stoi"], "stoi needs a reference"),
        (["--no-reference", sets / "clean", sets / "enhanced"], "score takes REFERENCE and ESTIMATE"),
        ([sets / "clean"], "score takes REFERENCE and ESTIMATE"),
    ):
        done = run(*arguments)
        assert done.exit_code == 2
        assert message in done.stderr
    monkeypatch.setitem(sys.modules, "speechmos", None)
    done = run("--no-reference", sets / "clean")
    assert done.exit_code == 1
    assert "pip install 'slimclean[mos]'" in done.stderr


def test_summaries_by_group(sets):
    done = run(sets / "clean", sets / "enhanced", "--metrics", "snr_db", "--by", "1", "-o", sets / "s.csv")
    rows = [line.split()[:3] for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["group", "(none)", "sub", "(all)"]
    assert [float(row[2]) for row in rows[1:]] == pytest.approx([20, 10, 15], abs=0.01)
    with (sets / "s.csv").open(newline="") as file:
        assert [row["group"] for row in csv.DictReader(file)] == ["(none)", "sub"]
    (sets / "m.csv").write_text("file,group\na.flac,studio\nsub/b,street\n")
    done = run(sets / "clean", sets / "enhanced", "--metrics", "snr_db", "--by", sets / "m.csv")
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["street", "studio", "(all)"]


def test_wrong_groups_are_usage_errors(sets):
    (sets / "m.csv").write_text("file,group\na.flac,studio\n")
    (sets / "x.csv").write_text("name,group\n")
    for by, message in (
        ("0", "count from 1"),
        ("absent.csv", "cannot read absent.csv"),
        (sets / "x.csv", "no columns file and group"),
        (sets / "m.csv", "no group for sub/b"),
    ):
        done = run(sets / "clean", sets / "enhanced", "--metrics", "snr_db", "--by", by)
        assert done.exit_code == 2
        assert message in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,group\n,studio\n", "line 2: its cells are not those of the columns"),
        ("file,group\na.flac\n", "line 2: its cells are not those of the columns"),
        ("file,group\na,1.flac,studio\n", "line 2: its cells are not those of the columns"),
        ("file,group\na.flac,studio\na,street\n", "line 3: a is already in studio"),
        ("file,group\n/,studio\n", "no group for a"),
        ("file,group\na.flac," + "x" * 200_000 + "\n", "is no CSV file"),
        ("", "no columns file and group"),
        ("file;group\na.flac;studio\n", "no columns file and group"),
    ],
)
def test_a_crooked_list_of_groups_is_one_line(sets, text, message):
    (sets / "m.csv").write_text(text)
    done = run(sets / "clean", sets / "enhanced", "--metrics", "snr_db", "--by", sets / "m.csv")
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_evaluate_scores_pauses_and_on_request_opinions(tmp_path, fake_dnsmos, small):
    said = np.where(np.arange(32_000) % 16_000 < 8_000, voice(2.0), 0).astype(np.float32)
    noisy = said + 0.05 * np.random.default_rng(0).normal(size=32_000).astype(np.float32)
    metrics = (*SCORED, *MOS)
    row, _ = evaluate(small, [Pair("a", said, noisy)], ((0.25, 0.25),), metrics=metrics)
    assert -40 < row["pause_db"] < -5
    assert all(1 <= row[name] <= 5 for name in MOS)
    assert FakeDnsmos.calls == 2  # once a signal, for all four
