"""Scores of paired sets: pairing, undefined values, improvement, summary, exit codes."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import os
import signal as signals
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import voice
from scipy.signal import lfilter
from test_examples import PAIR
from typer.testing import CliRunner

from slimclean import audio
from slimclean.cli import app
from slimclean.dsp.resample import resample
from slimclean.errors import AudioError, UndefinedMetricError, UsageError
from slimclean.scoring import metrics
from slimclean.scoring.measure import segments
from slimclean.scoring.metrics import MOS
from slimclean.scoring.pairs import (
    Score,
    columns_of,
    metric_names,
    pair_up,
    score_pair,
    score_pairs,
    summarise,
)

needs_pesq = pytest.mark.skipif(importlib.util.find_spec("pesq") is None, reason="pesq is not installed")
OURS = ["si_sdr_db", "snr_db", "level_difference_db", "lag_samples"]


@pytest.fixture
def sets(tmp_path):
    """Two pairs, 20 dB and 10 dB, the second stereo; noisy ones 10 dB below."""
    for folder, offset in (("clean", None), ("enhanced", 0), ("noisy", 10)):
        for k, name in enumerate(("a", "sub/b")):
            path = tmp_path / folder / f"{name}{'-enhanced' if folder == 'enhanced' else ''}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            signal = np.stack([voice(1.0, seed=c) for c in range(k + 1)], axis=1)
            if offset is not None:
                noise = np.random.default_rng(k).normal(size=signal.shape)
                gain = np.sqrt(np.square(signal).sum(0) / np.square(noise).sum(0))
                noise *= gain * 10 ** (-(20 - 10 * k - offset) / 20)
                signal = signal + noise
            soundfile.write(path, signal * 0.5, 16_000, "PCM_24")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["score", *map(str, arguments)])


def test_values_improvement_and_summary(sets):
    pairs = pair_up(sets / "clean", sets / "enhanced", sets / "noisy")
    assert [p.name for p in pairs] == ["a", "sub/b"]
    scores = score_pairs(pairs, OURS)
    assert [s.status for s in scores] == ["scored"] * 2
    assert [s.values["snr_db"] for s in scores] == pytest.approx([20, 10], abs=0.01)
    assert [s.values["snr_db_improvement"] for s in scores] == pytest.approx([10, 10], abs=0.01)
    assert [s.values["lag_samples"] for s in scores] == [0, 0]
    rows = {row["metric"]: row for row in summarise(scores, columns_of(OURS, improvement=True))}
    assert rows["snr_db"]["mean"] == pytest.approx(15, abs=0.01)
    assert rows["snr_db"]["n"] == 2
    assert rows["snr_db"]["low_95"] <= 15 <= rows["snr_db"]["high_95"]
    assert summarise(scores, OURS) == summarise(scores, OURS)


def test_parallel_scores_are_the_serial_ones(sets):
    pairs = pair_up(sets / "clean", sets / "enhanced")
    serial, parallel = ([s.row(OURS) for s in score_pairs(pairs, OURS, jobs=jobs)] for jobs in (1, 2))
    assert parallel == serial


@needs_pesq
def test_scores_are_the_libraries_own():
    import pesq
    import pystoi

    clean, noisy = (soundfile.read(PAIR / f"{name}.flac", dtype="float32")[0] for name in ("clean", "noisy"))
    (pair,) = pair_up(PAIR / "clean.flac", PAIR / "noisy.flac")
    values = score_pair(pair, metrics.ALIASES["all"]).values
    assert values["pesq_wb"] == pytest.approx(pesq.pesq(16_000, clean, noisy, "wb"), abs=1e-6)
    assert values["stoi"] == pytest.approx(pystoi.stoi(clean, noisy, 16_000), abs=1e-6)
    assert values["estoi"] == pytest.approx(pystoi.stoi(clean, noisy, 16_000, extended=True), abs=1e-6)
    assert values["pesq_wb"] < values["pesq_nb"] < 3
    assert 1 <= values["covl"] < values["csig"] <= 5
    assert 1 <= values["cbak"] < 3
    assert -10 < values["segmental_snr_db"] < 5
    assert values["lag_samples"] == 0


@needs_pesq
def test_a_copy_has_the_best_composite_scores():
    x = audio.read(PAIR / "clean.flac")[0][0]
    assert metrics.composite(x, x) == pytest.approx({"csig": 5, "cbak": 5, "covl": 5})
    assert metrics.segmental_snr(x, x) == pytest.approx(35)
    assert metrics.log_spectral_distance(x, x) == 0
    assert metrics.snr(x, x) == np.inf


def test_ours_on_signals_whose_answer_is_known():
    x = voice(1.0).astype(np.float64)
    assert metrics.level_difference_db(x, x / 2) == pytest.approx(-6.0206, abs=1e-4)
    assert metrics.lag_samples(x, np.concatenate([np.zeros(37), x[:-37]])) == 37
    assert metrics.lag_samples(x, -np.concatenate([x[5:], np.zeros(5)])) == -5
    assert (
        metrics.lag_samples(x + 5, np.concatenate([np.zeros(37), x[:-37]]) + 9) == 37
    )  # an offset is no likeness
    hum = np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000)  # whose peaks are of one height
    assert metrics.lag_samples(hum, hum + 0.03 * np.random.default_rng(0).normal(size=16_000)) == 0
    assert metrics.snr(x, x / 2) == pytest.approx(6.0206, abs=1e-4)
    assert metrics.segmental_snr(np.ones(4800), np.full(4800, 1.1)) == pytest.approx(20)
    noise = np.random.default_rng(0).normal(size=16_000)
    assert metrics.log_spectral_distance(noise, noise * 10) == pytest.approx(20, abs=1e-6)


def test_spectral_distances_are_zero_for_copies_and_scale_invariant_in_shape():
    from slimclean.scoring.composite import log_likelihood_ratio, weighted_spectral_slope

    x = np.random.default_rng(0).normal(size=8_000)
    y = np.convolve(x, [1, 0.9], "same")
    assert log_likelihood_ratio(x, x) == pytest.approx(0, abs=1e-9)
    assert log_likelihood_ratio(x, x * 3) == pytest.approx(0, abs=1e-6)
    assert log_likelihood_ratio(x, y) > 0.1
    assert weighted_spectral_slope(x, x) == 0
    assert weighted_spectral_slope(x, x * 3) == pytest.approx(0, abs=1e-6)
    assert weighted_spectral_slope(x, np.random.default_rng(1).normal(size=8_000)) > 10


def test_frames_of_silence_are_no_better_than_others():
    from slimclean.scoring.composite import log_likelihood_ratio

    x = np.random.default_rng(0).normal(size=8_000)
    y = np.convolve(x, [1, 0.9], "same")
    noise = 0.1 * np.random.default_rng(1).normal(size=16_000)
    padded = np.concatenate([np.zeros(16_000), x])
    wanted = log_likelihood_ratio(x, y)
    for before in (np.zeros(16_000), noise):
        assert log_likelihood_ratio(padded, np.concatenate([before, y])) == pytest.approx(wanted, rel=0.1)
    with pytest.raises(UndefinedMetricError, match="the reference is silent"):
        log_likelihood_ratio(np.zeros(16_000), noise)


def test_a_reference_of_less_than_a_frame_has_no_spectral_distance():
    x = np.zeros(700)
    x[600:] = 1  # past the last whole frame
    with pytest.raises(UndefinedMetricError, match="less than a frame"):
        metrics.log_spectral_distance(x, x)


@pytest.mark.parametrize("lost", ["clean/a.flac", "noisy/sub/b.flac", "enhanced/a-enhanced.flac"])
def test_what_is_scored_is_no_output(sets, lost):
    before = (sets / lost).read_bytes()
    done = run(sets / "clean", sets / "enhanced", "--noisy", sets / "noisy", "-o", sets / lost)
    assert done.exit_code == 2
    assert "is one of the inputs, which would be lost" in done.stderr
    assert (sets / lost).read_bytes() == before


def test_a_muted_channel_improves_nothing(tmp_path):
    """What is defined on one side only is no improvement of the other."""
    clean = np.stack([voice(1.0), voice(1.0, seed=1)], axis=1) * 0.3
    noisy = clean + [0.03, 0.3] * np.random.default_rng(0).normal(size=clean.shape)
    for name, signal in (("clean", clean), ("noisy", noisy), ("muted", noisy * [1, 0])):
        soundfile.write(tmp_path / f"{name}.wav", signal, 16_000, "FLOAT")
    (pair,) = pair_up(tmp_path / "clean.wav", tmp_path / "muted.wav", tmp_path / "noisy.wav")
    score = score_pair(pair, OURS)
    assert score.values["si_sdr_db"] > score.before["si_sdr_db"] + 3  # over channels that are not the same
    assert score.values["si_sdr_db_improvement"] == 0
    assert score.values["snr_db_improvement"] == pytest.approx(-score.before["snr_db"] / 2, abs=9)
    silent = np.zeros_like(clean)
    soundfile.write(tmp_path / "muted.wav", silent, 16_000, "FLOAT")
    assert score_pair(pair, OURS).values["si_sdr_db_improvement"] is None


def test_a_pair_that_failed_half_way_has_no_values(tmp_path):
    """Nor does it count in any mean."""
    for name in ("clean", "enhanced"):
        soundfile.write(tmp_path / f"{name}.wav", voice(0.5), 16_000)
    (tmp_path / "noisy.wav").write_bytes(b"no sound")
    (pair,) = pair_up(tmp_path / "clean.wav", tmp_path / "enhanced.wav", tmp_path / "noisy.wav")
    score = score_pair(pair, OURS)
    assert (score.status, score.values, score.before) == ("failed", {}, {})
    assert score.error
    assert {row["n"] for row in summarise([score], OURS)} == {0}


@needs_pesq
def test_undefined_is_empty_and_says_why(tmp_path):
    for name in ("r", "e"):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(16_000), 16_000)
    done = run(tmp_path / "r.wav", tmp_path / "e.wav", "-o", tmp_path / "s.csv")
    assert done.exit_code == 0
    with (tmp_path / "s.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["pesq_wb"] == row["stoi"] == row["si_sdr_db"] == ""
    assert "si_sdr_db: the reference is silent" in row["note"]
    assert done.stdout.count(" 0 ") >= 3  # n


def test_unmatched_recordings_are_named(sets):
    (sets / "enhanced" / "a-enhanced.flac").unlink()
    done = run(sets / "clean", sets / "enhanced")
    assert done.exit_code == 2
    assert "no counterpart on every side: a" in done.stderr
    (sets / "clean" / "a.wav").write_bytes(b"")
    with pytest.raises(UsageError, match="same name"):
        pair_up(sets / "clean", sets / "enhanced")


def test_a_failed_pair_is_a_row_and_exit_code_1(sets):
    (sets / "enhanced" / "a-enhanced.flac").write_bytes(b"no audio")
    soundfile.write(sets / "enhanced" / "sub" / "b-enhanced.flac", voice(0.5), 16_000)
    done = run(sets / "clean", sets / "enhanced", "--metrics", "snr_db", "-o", sets / "s.csv")
    assert done.exit_code == 1
    assert "a-enhanced.flac: not a readable recording" in done.stderr
    assert "sub/b: 2 and 1 channels do not pair" in done.stderr
    with (sets / "s.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["failed", "failed"]


def test_lengths_must_agree(tmp_path):
    for name, seconds in (("r", 1.0), ("e", 0.89)):
        soundfile.write(tmp_path / f"{name}.wav", voice(seconds), 16_000)
    (pair,) = pair_up(tmp_path / "r.wav", tmp_path / "e.wav")
    assert "1.000 and 0.890 s do not pair" in score_pair(pair, OURS).error


@pytest.mark.parametrize("samples", [-1600, -480, -1, 0, 1, 1000, 1600])
def test_small_differences_of_length_are_cut_and_noted(tmp_path, samples):
    x = voice(2.0)
    y = np.pad(x, (0, max(0, samples)))[: len(x) + samples]
    for name, signal in (("r", x), ("e", y)):
        soundfile.write(tmp_path / f"{name}.wav", signal, 16_000, "FLOAT")
    (pair,) = pair_up(tmp_path / "r.wav", tmp_path / "e.wav")
    score = score_pair(pair, ["snr_db"])
    assert (score.status, score.values["snr_db"], score.lag_samples) == ("scored", np.inf, 0)
    way = "shorter" if samples < 0 else "longer"
    length = f"{abs(samples)} samples ({abs(samples) / 16:.1f} ms)"
    assert score.note == (f"cut to the shorter: the estimate is {length} {way}" if samples else "")


@pytest.mark.parametrize(
    ("late", "longer", "rate"),
    [
        (1105, 0, 16_000),
        (-700, 0, 16_000),
        (1105, 1105, 48_000),
        (8000, 8000, 16_000),
        (37, -100, 44_100),
        (3200, 1, 16_000),
        (-3200, -800, 16_000),
    ],
)
def test_a_delay_is_measured_noted_and_taken_out(tmp_path, late, longer, rate):
    """In noise, and with the polarity turned round; the answer is how the estimate was made."""
    x = voice(3.0, rate)
    noise = 0.02 * np.random.default_rng(0).normal(size=(2, len(x))).astype(np.float32)
    clean, noisy = -(x + noise[0]), x + noise[1]
    estimate = np.pad(clean, (max(0, late), 2000))[max(0, -late) :][: len(x) + longer]
    for name, signal in (("r", x), ("e", estimate), ("n", noisy)):
        soundfile.write(tmp_path / f"{name}.wav", signal, rate, "FLOAT")
    (pair,) = pair_up(tmp_path / "r.wav", tmp_path / "e.wav", tmp_path / "n.wav")
    lag = late * 16_000 / rate
    sdr = 10 * np.log10(np.square(x).mean() / 0.02**2)
    for align in (False, True):
        score = score_pair(pair, ["si_sdr_db", "lag_samples"], align=align)
        if abs(longer) > 0.1 * rate and not align:
            assert "do not pair" in score.error
            continue
        assert score.values["lag_samples"] == score.lag_samples == pytest.approx(lag)
        assert f"lag_samples {lag:g}: the estimate is {abs(lag) / 16:.1f} ms" in score.note
        assert (score.values["si_sdr_db"] > sdr - 0.5) == align
        assert score.before["lag_samples"] == 0
    assert "was taken out" in score.note


def test_a_delay_is_found_under_louder_rumble():
    """Most of what both hold is low, where a wave hardly tells one sample from the next."""
    rumbling = {"b": [1.0], "a": [1.0, -0.995]}
    for seed in range(4):
        said, rumble = lfilter(**rumbling, x=np.random.default_rng(seed).normal(size=(2, 16_000)))
        late = np.concatenate([np.zeros(100), said[:-100]]) + 2 * rumble
        assert metrics.lag_samples(said, late) == 100


def test_no_delay_of_what_has_nothing_in_common(tmp_path):
    rng = np.random.default_rng(0)
    for name, signal in (("r", voice(2.0)), ("e", 0.1 * rng.normal(size=32_000)), ("s", np.zeros(32_000))):
        soundfile.write(tmp_path / f"{name}.wav", signal, 16_000)
    for estimate in ("e", "s"):
        (pair,) = pair_up(tmp_path / "r.wav", tmp_path / f"{estimate}.wav")
        score = score_pair(pair, ["snr_db", "lag_samples"], align=True)
        assert score.lag_samples is score.values["lag_samples"] is None
        assert "not aligned" in score.note
        assert score.values["snr_db"] is not None


def test_whatever_one_pair_raises_is_its_row(sets, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no room\nfor it")

    monkeypatch.setattr("slimclean.scoring.loading.bring_together", fail)
    (score, _) = score_pairs(pair_up(sets / "clean", sets / "enhanced"), OURS)
    assert (score.status, score.error) == ("failed", "RuntimeError: no room for it")


def test_a_package_that_is_missing_is_known_before_the_work(sets, monkeypatch):
    def work(*_, **__):
        raise AssertionError

    monkeypatch.setattr("slimclean.scoring.pairs.score_pair", work)
    monkeypatch.setitem(sys.modules, "pesq", None)
    done = run(sets / "clean", sets / "enhanced", "-o", sets / "scores.csv")
    assert done.exit_code == 1
    assert done.stderr == "slimclean: PESQ needs the package pesq: pip install 'slimclean[score]'\n"
    assert not (sets / "scores.csv").exists()


def test_pairs_of_names_are_those_of_paths(sets):
    folders = [sets / name for name in ("clean", "enhanced", "noisy")]
    assert pair_up(*map(str, folders)) == pair_up(*folders)
    assert pair_up(str(sets / "clean" / "a.flac"), str(sets / "noisy" / "a.flac"))[0].name == "a.flac"


def test_names_in_two_normal_forms_pair(sets):
    for folder, form in (("clean", "NFD"), ("enhanced", "NFC")):
        (sets / folder / "sub").rename(sets / folder / unicodedata.normalize(form, "Gespräch"))
        for path in (sets / folder).rglob("b*"):
            path.rename(path.with_name(unicodedata.normalize(form, "é") + path.name))
    pairs = pair_up(sets / "clean", sets / "enhanced")
    assert {pair.name for pair in pairs} == {"a", unicodedata.normalize("NFC", "Gespräch/éb")}


def test_a_closed_folder_is_no_small_set(sets, monkeypatch):
    """What may not be read is not left out of the mean without a word."""
    scandir = os.scandir

    def closed(path):
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("slimclean.audio.folder.os.scandir", closed)
    with pytest.raises(AudioError, match=r"sub: cannot be read \(Permission denied\)"):
        pair_up(sets / "clean", sets / "enhanced")


def test_the_table_is_written_before_a_console_that_cannot_print_it(sets):
    """A group in Cyrillic on a console of Western Europe costs a ?, not the scores."""
    for folder in ("clean", "enhanced"):
        (sets / folder / "sub").rename(sets / folder / "Интервью")
    command = [sys.executable, "-m", "slimclean", "score", "clean", "enhanced", "--by", "1"]
    done = subprocess.run(
        [*command, "--metrics", "snr_db", "-o", "s.csv"],
        cwd=sets,
        env=os.environ | {"PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"????????" in done.stdout
    with (sets / "s.csv").open(newline="", encoding="utf-8") as file:
        assert {row["group"] for row in csv.DictReader(file)} == {"Интервью", "(none)"}


def test_outputs_that_cannot_be_written_are_known_before_the_work(sets, monkeypatch):
    monkeypatch.setattr("slimclean.scoring.pairs.score_pairs", lambda *_, **__: pytest.fail("it was begun"))
    (sets / "file").write_text("mine")
    for wrong in (["-o", sets / "file" / "s.csv"], ["-o", sets], ["-o", sets / ("n" * 300 + ".csv")]):
        done = run(sets / "clean", sets / "enhanced", *wrong)
        assert done.exit_code == 1
        assert done.stderr.startswith("slimclean: cannot write")
        assert done.stderr.count("\n") == 1
    assert (sets / "file").read_text() == "mine"


def test_wrong_measures_are_usage_errors(sets):
    assert metric_names("snr_db, stoi") == ["snr_db", "stoi"]
    assert metric_names(" core", alone=True) == metric_names("mos")
    done = run(sets / "clean", sets / "enhanced", "--metrics", "loudness")
    assert done.exit_code == 2
    assert "no measure named loudness; there are pesq_wb" in done.stderr
    with pytest.raises(UsageError, match="not a folder"):
        pair_up(sets / "clean", sets / "enhanced" / "a-enhanced.flac")


def test_infinite_values_stay_out_of_the_mean():
    values = {"a": 1.0, "b": float("inf"), "c": None}
    scores = [Score(name, values={"x": value}) for name, value in values.items()]
    (row,) = summarise(scores, ["x"])
    assert (row["mean"], row["n"], row["infinite"]) == (1.0, 1, 1)


def test_a_measure_of_a_long_recording_is_that_of_its_segments(tmp_path):
    rng = np.random.default_rng(0)
    clean = np.tile(voice(4.0), 20)
    clean[: 31 * 16_000] = 0
    paths = [tmp_path / "r.flac", tmp_path / "e.flac"]
    for path, signal in zip(paths, (clean, clean + 0.01 * rng.normal(size=len(clean))), strict=True):
        soundfile.write(path, signal, 16_000, "PCM_24")
    (pair,) = pair_up(*paths)
    names = ["segmental_snr_db", "snr_db", "lag_samples"]
    score = score_pair(pair, names)
    r, e = (soundfile.read(path)[0] for path in paths)
    cuts, count = segments(len(clean))
    assert count == len(cuts) == 3
    pieces = [metrics.segmental_snr(r[cut], e[cut]) for cut in cuts[1:]]
    assert score.values["segmental_snr_db"] == pytest.approx(np.mean(pieces), abs=1e-5)
    assert score.values["snr_db"] == pytest.approx(metrics.snr(r, e), abs=1e-5)
    assert score.values["lag_samples"] == 0
    assert "segmental_snr_db: undefined in 1 segments (the reference is silent)" in score.note
    assert score.note.endswith("over 3 segments of 26.7 s: segmental_snr_db")


def test_segments_cover_or_are_spread():
    for samples in (1, 480_000, 480_001, 16_000 * 600):
        cuts, count = segments(samples)
        assert [c.start for c in cuts[1:]] == [c.stop for c in cuts[:-1]]
        assert (cuts[0].start, cuts[-1].stop, len(cuts)) == (0, samples, count)
    cuts, count = segments(16_000 * 7200)
    assert (len(cuts), count) == (40, 240)
    assert cuts[0].start == 0
    assert cuts[-1].stop == 16_000 * 7200


def test_resampling_is_noted(tmp_path):
    x = voice(1.0)
    soundfile.write(tmp_path / "r.wav", x, 16_000)
    soundfile.write(tmp_path / "e.wav", resample(x[None], 16_000, 48_000)[0], 48_000)
    (pair,) = pair_up(tmp_path / "r.wav", tmp_path / "e.wav")
    assert score_pair(pair, ["snr_db"]).note == "resampled from 48000 to 16000 Hz"


@needs_pesq
def test_composite_scores_come_from_one_pesq(tmp_path, monkeypatch):
    (pair,) = pair_up(PAIR / "clean.flac", PAIR / "noisy.flac")
    calls = []
    once = metrics.pesq_wb
    monkeypatch.setattr(metrics, "pesq_wb", lambda r, e: calls.append(1) or once(r, e))
    values = score_pair(pair, ["csig", "cbak", "covl"]).values
    assert len(calls) == 1
    clean, noisy = (audio.read(PAIR / f"{name}.flac")[0][0] for name in ("clean", "noisy"))
    assert values == metrics.composite(clean, noisy)


def test_composite_scores_by_hand(monkeypatch):
    """The regressions of composite.m, worked out for given inputs."""
    monkeypatch.setattr(metrics, "pesq_wb", lambda *_: 2.0)
    monkeypatch.setattr(metrics, "log_likelihood_ratio", lambda *_: 0.5)
    monkeypatch.setattr(metrics, "weighted_spectral_slope", lambda *_: 40.0)
    monkeypatch.setattr(metrics, "segmental_snr", lambda *_: 5.0)
    found = metrics.composite(np.ones(1), np.ones(1))
    assert found == pytest.approx({"csig": 3.4245, "cbak": 2.625, "covl": 2.668})


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_distributions_are_drawn(sets):
    picture = sets / "new" / "s.png"
    arguments = ["--noisy", sets / "noisy", "--metrics", "snr_db,lag_samples", "--plot", picture]
    assert run(sets / "clean", sets / "enhanced", *arguments).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_every_measure_says_what_it_is():
    for name, metric in metrics.METRICS.items():
        text = metric.function.__doc__
        assert metric.name == name
        assert metric.label
        assert "better" in text or "0 is in time" in text or "best at 0" in text
        assert "ndefined" in text
        assert "Source" in text or "ource like" in text
    assert set(MOS) < set(metrics.METRICS)


def test_improvement_is_up_whatever_the_measure():
    assert metrics.METRICS["stoi"].improvement(0.5, 0.75) == 0.25
    assert metrics.METRICS["lsd_db"].improvement(5.0, 3.0) == 2
    assert metrics.METRICS["lag_samples"].improvement(-4.0, 1.0) == 3
    assert metrics.METRICS["level_difference_db"].improvement(1.0, -2.0) == -1


def test_a_new_measure_is_one_entry(tmp_path, monkeypatch):
    """Found in pieces of the length that it stands, with its improvement, its note and its axis."""

    def loudest(reference, estimate):
        """Return two values of one calculation."""
        calls.append(len(estimate))
        return {"loudest_db": float(np.abs(estimate).max()), "other": 0.0}

    calls: list[int] = []
    for name in ("loudest_db", "other"):
        entry = metrics.Metric(name, loudest, "loudest sample", "dB", best="low", longest_s=1.0, across=max)
        monkeypatch.setitem(metrics.METRICS, name, entry)
    x = np.concatenate([np.full(16_000, 0.25), np.full(16_000, 0.5)])
    for name, gain in (("r", 1.0), ("e", 0.5), ("n", 1.5)):
        soundfile.write(tmp_path / f"{name}.wav", gain * x, 16_000, "FLOAT")
    done = run(
        tmp_path / "r.wav", tmp_path / "e.wav", "--noisy", tmp_path / "n.wav", "-o", tmp_path / "s.csv",
        "--metrics", "loudest_db,other",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    with (tmp_path / "s.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (float(row["loudest_db"]), float(row["loudest_db_improvement"])) == (0.25, 0.5)
    assert row["note"] == "over 2 segments of 1.0 s: loudest_db, other"
    assert calls == [16_000] * 4
    assert metrics.METRICS["loudest_db"].axis == "loudest sample (dB, lower is better)"


@pytest.mark.filterwarnings("ignore:A worker stopped")
def test_a_process_that_dies_costs_its_pair(sets):
    """As a lack of memory would kill it."""
    pairs = pair_up(sets / "clean", sets / "enhanced")
    deadly = dataclasses.replace(pairs[0], name="deadly", reference=Deadly(pairs[0].reference))
    scores = score_pairs([pairs[0], deadly, pairs[1]], ["snr_db"], jobs=2)
    assert [(score.file, score.status) for score in scores] == [
        ("a", "scored"), ("deadly", "failed"), ("sub/b", "scored"),
    ]  # fmt: skip
    assert "its worker process died" in scores[1].error
    assert "take fewer `jobs`" in scores[1].error


class Deadly(type(Path())):
    """A path that kills the process that opens it."""

    def __fspath__(self):
        os.kill(os.getpid(), signals.SIGKILL)
