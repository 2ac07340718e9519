"""What a new user runs first: the example recordings, the scripts, the wheel."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from slimclean import Enhancer, audio, checkpoint
from slimclean.cli import app
from slimclean.metrics import si_sdr

ROOT = Path(__file__).parent.parent
RECORDINGS = ROOT / "examples" / "recordings"
PAIR = Path(__file__).parent / "pairs"


def script(name: str, *arguments: object, env: dict[str, str] | None = None) -> str:
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
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
    assert len(set(ufs)) == len(ufs)
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


def test_the_python_example_runs():
    assert "mean UF 0." in script("python_api.py", RECORDINGS / "voice-memo-16k.wav")


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


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_the_picture_is_drawn(tmp_path):
    env = os.environ | {"MPLCONFIGDIR": str(tmp_path)}
    script("spectrogram.py", RECORDINGS / "voice-memo-16k.wav", tmp_path / "a.png", env=env)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_wheel_ships_the_weights_and_works_without_the_source(tmp_path):
    """Build the wheel, install it in a folder of its own, enhance from elsewhere."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert "slimclean/weights/MODEL_CARD.md" in names
    assert "slimclean/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "examples/"))]
    code = "import slimclean; from slimclean.cli import main; print(slimclean.__file__); main()"
    source = RECORDINGS / "voice-memo-16k.wav"
    done = subprocess.run(
        [sys.executable, "-c", code, "enhance", str(source), "-o", str(tmp_path / "o.wav"), "--uf", "0.125"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "site") in done.stdout
    assert audio.probe(tmp_path / "o.wav").frames == audio.probe(source).frames
