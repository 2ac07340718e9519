"""What a new user runs first: the example recordings, the scripts, the wheel."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from slimclean import Enhancer, audio
from slimclean.cli import app
from slimclean.engine.engine import Engine
from slimclean.model import checkpoint
from slimclean.scoring.metrics import si_sdr
from slimclean.train.acoustics import high_pass
from slimclean.train.mixer import LOWEST_VOICE_HZ

ROOT = Path(__file__).parent.parent
RECORDINGS = ROOT / "examples" / "recordings"
PAIR = Path(__file__).parent / "pairs"


def script(name: str, *arguments: object) -> str:
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_recordings_are_enhanced(tmp_path):
    """The README's first command, whose report must show a router at work."""
    report = tmp_path / "report.csv"
    arguments = ["enhance", RECORDINGS, "-o", tmp_path / "out", "--uf", "auto", "--report", report]
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    sources = list(audio.walk(RECORDINGS))
    with report.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(sources) >= 4
    for source in sources:
        out = tmp_path / "out" / source.relative_to(RECORDINGS)
        assert audio.probe(out) == audio.probe(source)
        before, after = audio.read(source)[0], audio.read(out)[0]
        assert np.abs(after - before).max() > 0.01
    ufs = [float(row["mean_uf"]) for row in rows]
    candidates = checkpoint.load()[1].config.ufs
    assert min(candidates) < min(ufs)
    assert max(ufs) < max(candidates)
    assert len(set(ufs)) > 1
    router = Enhancer("auto", 0.16)  # at 0.25 some recordings are as wide as that throughout
    means = [float(router.route(*audio.read(source)).mean()) for source in sources]
    assert len(set(means)) == len(means)
    levels = {(float(row["level_in_dbfs"]), float(row["level_out_dbfs"])) for row in rows}
    assert all(out < before for before, out in levels)


def test_the_recordings_are_small_credited_and_varied():
    infos = [audio.probe(path) for path in audio.walk(RECORDINGS)]
    assert sum(path.stat().st_size for path in RECORDINGS.iterdir()) < 2.5e6
    assert {info.channels for info in infos} == {1, 2}
    assert {info.sample_rate for info in infos} >= {16_000, 44_100, 48_000}
    text = (RECORDINGS / "CREDITS.md").read_text()
    assert all(path.name in text for path in audio.walk(RECORDINGS))


@pytest.mark.parametrize("uf", [0.125, 0.25, 0.5, 1.0, "auto"])
def test_the_packaged_weights_clean_a_known_pair(uf):
    clean, noisy = (audio.read(PAIR / f"{name}.flac")[0][0] for name in ("clean", "noisy"))
    enhanced, _ = Enhancer(uf)(noisy, 16_000)
    assert si_sdr(clean, enhanced) > si_sdr(clean, noisy) + 3
    peak = np.abs(np.correlate(enhanced[8000:40000], clean[9000:39000], "valid")).argmax()
    assert peak == 1000  # lag 0


def test_many_files_of_which_most_are_done():
    lines = script("many_files.py", "--files", 40, "--done", 35, "--uf", "0.125").splitlines()
    assert [line.split("; ")[1] for line in lines] == ["40 rows in the report"] * 2
    assert lines[1].startswith("40 recordings, 0 of them to do: ")


def test_recordings_that_are_no_noisy_speech():
    """Clean speech stays, silence stays, noise goes, and the level of the input does not matter."""
    pytest.importorskip("pesq")
    pair = (PAIR / "clean.flac", PAIR / "noisy.flac")
    lines = script("robustness.py", *pair, "--uf", "0.25", "--no-levels").splitlines()[1:]
    values = {line.rsplit("  ", 1)[0].strip(): line.rsplit("  ", 1)[1:] for line in map(_columns, lines)}
    assert all(float(v) > 25 for v in values["clean speech, from 50 Hz up: SI-SDR, dB"])
    clean = audio.read(PAIR / "clean.flac")[0][0]
    without_rumble = si_sdr(clean, high_pass(clean, LOWEST_VOICE_HZ))  # all that may go
    assert all(float(v) > without_rumble for v in values["clean speech: SI-SDR of the output, dB"])
    assert all(abs(float(v)) < 0.5 for v in values["clean speech: change of level, dB"])
    assert all(float(v) == 0 for v in values["silence: loudest sample"])
    for kind in ("white", "brown", "noise of the pair"):
        assert all(float(v) < -15 for v in values[f"noise only ({kind}): change of level, dB"])
    normal, soft, clipped = (
        [float(v.split(", ")[1]) for v in values[f"noisy, {kind}: PESQ-WB in, out"]]
        for kind in ("as it is", "at -40 dBFS", "clipped by 6 dB")
    )
    assert np.abs(np.subtract(normal, soft)).max() <= 0.1
    assert np.abs(np.subtract(normal, clipped)).max() <= 0.1
    assert all(
        np.diff([float(x) for x in v.split(", ")])[0] > 3 for v in values["at 8 kHz: SI-SDR in, out, dB"]
    )


def _columns(line: str) -> str:
    """A line of the table with two spaces, and no more, between its columns."""
    return re.sub(r" {2,}", "  ", line.strip())


def test_the_python_example_runs():
    assert "mean UF 0." in script("python_api.py", RECORDINGS / "voice-memo-16k.wav")


@pytest.mark.skipif(importlib.util.find_spec("pesq") is None, reason="pesq is not installed")
def test_others_are_scored_beside_ours(tmp_path):
    for folder, name in (("c", "clean"), ("n", "noisy"), ("t", "noisy")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.flac").symlink_to(PAIR / f"{name}.flac")
    lines = script("beside_others.py", *(tmp_path / folder for folder in "cnt")).splitlines()
    assert len(lines) == 8
    assert lines[1].split()[1:] == lines[2].split()[1:]


def test_where_noise_becomes_softer_the_router_spends_less(tmp_path):
    for name in ("clean", "noisy"):
        (tmp_path / name).mkdir()
        shutil.copy(PAIR / f"{name}.flac", tmp_path / name / "a.flac")
    picture = tmp_path / "adaptation.png"
    options = ["-o", picture] if importlib.util.find_spec("matplotlib") else []
    lines = script("adaptation.py", tmp_path / "clean", tmp_path / "noisy", *options).splitlines()
    assert lines[0].split() == ["target_uf", "before", "during", "after", "falls_in"]
    for line in lines[1:]:
        before, during, after = map(float, line.split()[1:4])
        assert during < min(before, after)
    assert picture.exists() == bool(options)


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_the_learning_curve_is_drawn(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    importlib.import_module("learning").main(ROOT / "examples" / "learning.csv", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_dynamic_network_is_compared_with_static_widths(tmp_path, monkeypatch, capsys):
    """With itself: its router then saves few MACs or many, and the table says how many."""
    pytest.importorskip("pesq")
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    for name in ("clean", "noisy"):
        (tmp_path / name).mkdir()
        shutil.copy(PAIR / f"{name}.flac", tmp_path / name / "a.flac")
    model = checkpoint.default_name()
    main = importlib.import_module("headline").main
    main(tmp_path / "clean", tmp_path / "noisy", model, [f"ours={model}"], [0.25], None)
    static, dynamic = (part.splitlines() for part in capsys.readouterr().out.split("\n\n"))
    assert [line.split()[0] for line in static] == ["static", "0.125", "0.25", "0.5", "1.0"]
    assert (len(dynamic), dynamic[1].split()[0]) == (2, "ours")


def test_peers_that_are_not_installed_are_skipped(tmp_path):
    """On one pair; whichever peers there are, ours and the noisy input are in the table."""
    pytest.importorskip("pesq")
    for name in ("clean", "noisy"):
        (tmp_path / name).mkdir()
        waveform, rate = audio.read(PAIR / f"{name}.flac")
        soundfile.write(tmp_path / name / "a.flac", waveform[0, : 2 * rate], rate)
    out = script("compare_peers.py", tmp_path / "clean", tmp_path / "noisy")
    assert len(out.splitlines()) == 2 + 8  # a header, the noisy input, eight systems in the table or skipped
    assert "slimclean UF 1 " in out
    assert out.count("pip install") == out.count("is skipped")


def test_the_wheel_ships_the_weights_and_works_without_the_source(tmp_path):
    """Build the wheel, install it in a folder of its own, enhance from elsewhere."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert {f"slimclean/weights/{name}" for name in ("MODEL_CARD.md", "TRAINING.md", "DEFAULT")} <= {*names}
    assert "slimclean/py.typed" in names
    assert {"slimclean/show/page.css", "slimclean/show/page.js"} <= {*names}
    assert not [name for name in names if name.startswith(("tests/", "examples/"))]
    code = "import slimclean; from slimclean.cli import main; print(slimclean.__file__); main()"
    source = RECORDINGS / "voice-memo-16k.wav"
    done = subprocess.run(
        [sys.executable, "-c", code, "enhance", str(source), "-o", str(tmp_path / "o.wav"), "--uf", "0.125",
         "--html", str(tmp_path / "o.html")],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "site") in done.stdout
    assert audio.probe(tmp_path / "o.wav").samples == audio.probe(source).samples


def test_switching_the_uf_does_not_flicker():
    """Slow speech under alternating UFs keeps the levels of the static ones, within 0.5 dB a frame."""
    network = checkpoint.load()[0]
    config = network.config
    slow = librosa.effects.time_stretch(audio.read(PAIR / "clean.flac")[0][0], rate=0.5)
    slow += 0.05 * slow.std() * np.random.default_rng(0).normal(size=len(slow))
    noisy = torch.from_numpy((slow / slow.std()).astype(np.float32))
    noisy = noisy[None, : len(noisy) // config.frame_hop * config.frame_hop]
    engine = Engine(network)

    def levels_db(x):
        return 10 * torch.log10(x[0].unflatten(0, (-1, config.frame_hop)).square().mean(1))

    loud = levels_db(noisy) > levels_db(noisy).max() - 15
    assert loud.sum() > 300
    static = torch.stack([levels_db(engine(noisy, uf).waveform)[loud] for uf in config.ufs])
    for some in ([0, 3], [0, 1], [2, 0, 3, 1]):
        pattern = torch.tensor([config.ufs[k] for k in some]).repeat(len(loud))[None, : len(loud)]
        mixed = levels_db(engine(noisy, pattern).waveform)[loud]
        assert (mixed < static.amax(0) + 0.5).all()
        assert (mixed > static.amin(0) - 0.5).all()
