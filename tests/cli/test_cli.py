"""The command line as a shell sees it: output, exit codes, start-up."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import run, voice
from typer.testing import CliRunner

from slimclean import __version__
from slimclean.cli import app
from slimclean.errors import AudioError
from slimclean.model import checkpoint
from slimclean.scoring.pairs import ScorePair, score_pair


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_help_does_not_import_torch():
    code = """
import sys
from typer.testing import CliRunner
from slimclean.cli import app
assert CliRunner().invoke(app, ["--help"]).exit_code == 0
assert CliRunner().invoke(app, ["enhance", "--help"]).exit_code == 0
heavy = {"torch", "numpy", "scipy", "librosa", "soundfile"} & set(sys.modules)
assert not heavy, heavy
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_help_lists_the_commands():
    out = run("--help").output
    for command in ("enhance", "models", "evaluate", "train"):
        assert command in out
    assert run("--version").output == f"slimclean {__version__}\n"
    assert run().exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "cores"), [([], 3), (["-j", 1], 1), (["-j", 2], 2), (["-j", 2, "--threads", 1], 1)]
)
def test_a_job_is_a_core(tmp_path, weights, monkeypatch, arguments, cores):
    import torch

    set_: list[int] = [3]
    monkeypatch.setattr(torch, "set_num_threads", set_.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: set_[-1])
    monkeypatch.setattr("joblib.cpu_count", lambda: 3)
    used: list[int] = []
    monkeypatch.setattr("slimclean.enhancer.side_by_side", lambda f, x, n: used.append(n) or map(f, x))
    soundfile.write(tmp_path / "a.wav", voice(0.5), 16_000)
    run("enhance", tmp_path / "a.wav", "-o", tmp_path / "b.wav", "-m", weights, *arguments)
    assert used == [cores]


def test_enhance_writes_files_and_a_report(tmp_path, weights):
    soundfile.write(tmp_path / "a.wav", voice(0.5), 16_000)
    done = run(
        "enhance", tmp_path / "a.wav", "-o", tmp_path / "b.wav", "-m", weights, "--report", tmp_path / "r.csv"
    )
    assert done.exit_code == 0
    assert done.stdout == ""
    assert "1 enhanced" in done.stderr
    assert soundfile.info(tmp_path / "b.wav").frames == 8_000
    assert (tmp_path / "r.csv").read_text().count("\n") == 2


def test_quiet_is_quiet(tmp_path, weights):
    soundfile.write(tmp_path / "a.wav", voice(0.2), 16_000)
    done = run("enhance", tmp_path / "a.wav", "-m", weights, "-q", "--uf", "0.3")
    assert (done.exit_code, done.output) == (0, "")
    assert (tmp_path / "a-enhanced.wav").exists()


def test_a_failed_file_is_exit_code_1_and_one_line(tmp_path, weights):
    soundfile.write(tmp_path / "good.wav", voice(0.2), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan), 16_000, "FLOAT")
    done = run("enhance", tmp_path, "-o", tmp_path / "out", "-m", weights)
    assert done.exit_code == 1
    assert "nan.wav: holds NaN" in done.stderr
    assert "1 enhanced, 1 failed" in done.stderr
    assert "Traceback" not in done.output
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["good.wav"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["enhance", "absent.wav"], "no such file"),
        (["enhance", ".", "--uf", "2"], "at most 1"),
        (["enhance", ".", "--uf", "fast"], "not 'fast'"),
        (["enhance", ".", "--target-uf", "0"], "0.1 to 1"),
        (["enhance", ".", "--highband", "x"], "gate, keep, drop"),
        (["enhance", ".", "--device", "x"], "--device takes auto, cpu"),
        (["enhance", ".", "--nonsense"], "No such option"),
        (["enhance"], "give recordings"),
        (["enhance", ".", "--dry", "2"], "--dry takes"),
        (["enhance", ".", "--format", "wma"], "--format takes"),
        (["enhance", "-", "x.wav"], "alone"),
        (["enhance", ".", "--backend", "dask"], "goes with --scheduler"),
        (["enhance", ".", "-o", "-"], "one file goes to -"),
        (["enhance", "--input-list", "absent"], "No such file"),
        (["evaluate", "absent", "absent"], "does not exist"),
        (["evaluate", ".", ".", "-m", "nosuch"], "no model named nosuch"),
        (["benchmark", "-m", "nosuch"], "no model named nosuch"),
        (["benchmark", "--device", "cuda:99"], "--device cuda:99: no such device"),
        (["train", "run", "--noise", "x"], "either --manifest"),
    ],
)
def test_wrong_usage_is_exit_code_2(tmp_path, monkeypatch, weights, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    if arguments[0] == "enhance":
        arguments = [*arguments, "-m", str(weights)]
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_a_dry_run_prints_the_plan(tmp_path, weights):
    takes = tmp_path / "takes"
    takes.mkdir()
    for name in ("a.wav", "b.wav"):
        soundfile.write(takes / name, voice(0.2), 16_000)
    run("enhance", takes / "a.wav", "-o", tmp_path / "out", "-m", weights)
    done = run("enhance", takes, "-o", tmp_path / "out", "--dry-run")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        f"skip\t{takes / 'a.wav'}\t{tmp_path / 'out' / 'a.wav'}",
        f"enhance\t{takes / 'b.wav'}\t{tmp_path / 'out' / 'b.wav'}",
    ]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.wav"]


def test_a_dry_run_says_what_a_container_does_not_hold(tmp_path):
    for name in ("a.wav", "b.flac"):
        soundfile.write(tmp_path / name, voice(0.2), 16_000)
    done = run("enhance", tmp_path, "-o", tmp_path / "out", "--subtype", "FLOAT", "--dry-run")
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["enhance", "fail"]
    assert f"{tmp_path / 'b.flac'}: FLAC does not hold FLOAT; leave out --subtype, or" in done.stderr
    done = run("enhance", tmp_path, "-o", tmp_path / "out", "--format", "opus", "--sample-rate", 44100)
    assert done.exit_code == 2
    assert "Opus cannot be written at 44100 Hz; set --sample-rate 48000 or" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_the_plan_escapes_what_would_move_a_terminal(tmp_path):
    """C1 controls and marks of direction too; bytes that are no UTF-8 go out as they are."""
    (tmp_path / os.fsdecode(b"a\xc2\x9b\n\xe2\x80\xae\xff\xc3\xa9.wav")).touch()
    done = run("enhance", tmp_path, "-o", tmp_path / "out", "--dry-run")
    assert done.exit_code == 0, done.output
    name = rb"/a\x9b\n\u202e" + b"\xff\xc3\xa9.wav"
    source, output = (os.fsencode(folder) + name for folder in (tmp_path, tmp_path / "out"))
    assert done.stdout_bytes == b"enhance\t" + source + b"\t" + output + b"\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--uf", "2"], "--uf takes"), (["--uf", "nan"], "--uf takes"), (["--dry", "7"], "--dry takes"),
     (["-m", "best"], "no model named best"), (["--html", "page.txt"], "ends in .html")],
)  # fmt: skip
def test_a_dry_run_refuses_what_could_not_run(tmp_path, arguments, message):
    soundfile.write(tmp_path / "a.wav", voice(0.2), 16_000)
    done = run("enhance", tmp_path / "a.wav", "--dry-run", *arguments)
    assert done.exit_code in (1, 2)
    assert message in done.stderr
    assert done.stdout == ""


def test_rows_and_pages_name_options_as_the_command_line_does(tmp_path, weights):
    soundfile.write(tmp_path / "a.wav", voice(0.1, 44_100), 44_100)
    report, page = tmp_path / "r.csv", tmp_path / "p.html"
    arguments = ["enhance", tmp_path, "-o", tmp_path / "out", "-m", weights, "--report", report, "--html", page]
    done = run(*arguments, "--format", "opus")
    assert done.exit_code == 1
    for text in (done.stderr, report.read_text(), page.read_text()):
        assert "--sample-rate 48000 or --format flac" in text
        assert "`sample_rate`" not in text


def through(data, *arguments):
    """The command line with bytes at its standard input."""
    return CliRunner().invoke(app, ["enhance", *map(str, arguments)], input=data)


def test_a_stream_heeds_what_exists(tmp_path, weights):
    """Without --overwrite, a file stays; a dry run and a page work with pipes too."""
    soundfile.write(tmp_path / "a.wav", voice(0.5), 16_000)
    sound, out = (tmp_path / "a.wav").read_bytes(), tmp_path / "o.wav"
    planned = through(sound, "-", "-o", out, "--dry-run")
    assert (planned.exit_code, planned.stdout) == (0, f"enhance\t-\t{out}\n")
    assert through(sound, "-", "--dry-run").stdout == "enhance\t-\t-\n"
    out.write_bytes(b"precious")
    assert through(sound, "-", "-o", out, "--dry-run").stdout == f"skip\t-\t{out}\n"
    done = through(sound, "-", "-o", out, "-m", weights, "--report", tmp_path / "r.csv")
    assert (done.exit_code, "1 skipped" in done.stderr) == (0, True)
    assert out.read_bytes() == b"precious"
    assert b"-," + str(out).encode() + b",skipped" in (tmp_path / "r.csv").read_bytes()
    done = through(sound, "-", "-o", out, "-m", weights, "--overwrite", "--html", tmp_path / "p.html")
    assert (done.exit_code, "no picture" in done.stderr) == (0, False), done.stderr
    assert soundfile.info(out).frames == 8_000
    page = (tmp_path / "p.html").read_text()
    assert page.count("<img") == 2
    assert page.count("<audio") == 1
    assert "went through a pipe" in page


def test_a_picture_of_a_stream(tmp_path, weights):
    pytest.importorskip("matplotlib")
    soundfile.write(tmp_path / "a.wav", voice(0.5), 16_000)
    sound = (tmp_path / "a.wav").read_bytes()
    done = through(sound, "-", "-m", weights, "--plots", tmp_path / "p", "--html", tmp_path / "p.html")
    assert done.exit_code == 0, done.stderr
    assert done.stdout_bytes.startswith(b"RIFF")
    assert [p.name for p in (tmp_path / "p").iterdir()] == ["stdin.png"]
    assert (tmp_path / "p.html").read_text().count("<audio") == 0


def test_what_may_not_be_read_is_a_row(tmp_path, weights, monkeypatch):
    """One closed file among others, which a shell makes of *.wav."""
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, voice(0.2), 16_000)
    closed, there = str(tmp_path / "a.wav"), os.access

    def access(path, mode, **options):
        return os.fspath(path) != closed and there(path, mode, **options)

    def fail(path):
        if str(path) == closed:
            raise AudioError("cannot be read (Permission denied)")

    monkeypatch.setattr(os, "access", access)
    monkeypatch.setattr("slimclean.audio.reader._check_readable", fail)
    done = run("enhance", tmp_path / "a.wav", tmp_path / "b.wav", "-o", tmp_path / "out", "-m", weights)
    assert done.exit_code == 1
    assert "a.wav: cannot be read" in done.stderr
    assert "1 enhanced, 1 failed" in done.stderr


def test_standard_input_is_one_thing(weights):
    done = through(b"", "-", "--input-list", "-", "-m", weights)
    assert done.exit_code == 2
    assert "either a recording or the list" in done.output


def test_a_list_of_inputs_and_a_report_in_json(tmp_path, weights):
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, voice(0.2), 16_000)
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'a.wav'}\n{tmp_path / 'b.wav'}\n")
    report = tmp_path / "r.jsonl"
    done = run(
        "enhance", "--input-list", tmp_path / "list.txt", "-o", tmp_path / "out", "-m", weights,
        "--report", report, "--format", "flac", "--subtype", "pcm_24", "--sample-rate", "22050", "--uf", "0.5",
    )  # fmt: skip
    assert done.exit_code == 0
    assert "less compute than at UF 1" in done.stderr
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    assert [row["file"] for row in rows] == [str(tmp_path / name) for name in ("a.wav", "b.wav")]
    assert rows[0]["mean_uf"] == 0.5
    assert rows[0]["target_uf"] is None
    assert (rows[0]["clipped_samples"], rows[0]["channels"]) == (0, 1)
    info = soundfile.info(tmp_path / "out" / "a.flac")
    assert (info.samplerate, info.subtype) == (22_050, "PCM_24")


def test_references_add_quality_to_the_report(tmp_path, weights):
    pytest.importorskip("pesq")
    pairs = Path(__file__).parent.parent / "pairs"
    report = tmp_path / "r.csv"
    done = run(
        "enhance", pairs / "noisy.flac", "-o", tmp_path / "out.flac", "--reference", pairs / "clean.flac",
        "--report", report, "--dry", "1", "-m", weights,
    )  # fmt: skip
    assert done.exit_code == 0
    (row,) = csv.DictReader(report.read_text().splitlines())
    direct = score_pair(ScorePair("", pairs / "clean.flac", pairs / "noisy.flac")).values
    for name, decimals in (("pesq_wb", 4), ("stoi", 5), ("si_sdr_db", 3)):
        assert float(row[name]) == pytest.approx(direct[name], abs=0.6 * 10**-decimals)


def test_an_unknown_model_names_the_known(tmp_path):
    soundfile.write(tmp_path / "a.wav", voice(0.1), 16_000)
    done = run("enhance", tmp_path / "a.wav", "-m", "best")
    assert done.exit_code == 2
    assert "no model named best" in done.stderr


def test_models_lists_what_is_packaged():
    done = run("models")
    assert done.exit_code == 0
    for entry in checkpoint.packaged():
        assert entry.name in done.stdout
        assert entry.sha256() in done.stdout
        assert "MB" in done.stdout


def test_evaluate_prints_a_row_a_setting(tmp_path, weights):
    for folder, gain in (("clean", 0.0), ("noisy", 0.05)):
        (tmp_path / folder).mkdir()
        noise = gain * np.random.default_rng(0).normal(size=24_000)
        soundfile.write(tmp_path / folder / "a.wav", voice(1.5) + noise, 16_000)
    done = run(
        "evaluate",
        tmp_path / "clean",
        tmp_path / "noisy",
        "-m",
        weights,
        "-o",
        tmp_path / "e.csv",
        "--plot",
        tmp_path / "e.png",
    )
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].split() == [
        "uf", "target_uf", "mean_uf", "macs_per_sample", "pesq_wb", "stoi", "si_sdr_db", "pause_db",
        "pause_uf", "pesq_wb_over_static", "si_sdr_db_over_static",
    ]  # fmt: skip
    assert (tmp_path / "e.png").read_bytes().startswith(b"\x89PNG")
    assert lines[1].split()[0] == "noisy"
    assert len((tmp_path / "e.csv").read_text().splitlines()) == len(lines)


def test_the_module_runs():
    done = subprocess.run(
        [sys.executable, "-m", "slimclean", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"slimclean {__version__}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupt_leaves_nothing_half_written(tmp_path, weights):
    soundfile.write(tmp_path / "a.wav", np.tile(voice(10.0), 120), 16_000)
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "slimclean",
        "enhance",
        str(tmp_path / "a.wav"),
        "-o",
        str(out),
        "-m",
        str(weights),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    for _ in range(600):  # until it has begun to write
        if out.is_dir() and any(out.iterdir()):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert list(out.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
def test_a_terminal_gets_a_bar(tmp_path, weights):
    """On a terminal of a real size, for something to do and for nothing to do."""
    import fcntl
    import pty
    import struct
    import termios

    soundfile.write(tmp_path / "a.wav", np.tile(voice(2.0), 10), 16_000)
    command = [sys.executable, "-m", "slimclean", "enhance", str(tmp_path / "a.wav"), "-m", str(weights)]
    shown = []
    for _ in range(2):  # the second run skips
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        process = subprocess.Popen(command, stderr=theirs, stdout=theirs)
        os.close(theirs)
        text = b""
        with contextlib.suppress(OSError):  # how a closed pseudo-terminal ends on Linux
            while piece := os.read(ours, 4096):
                text += piece
        os.close(ours)
        assert process.wait() == 0, text.decode()
        shown.append(text.decode())
    assert "s of audio" in shown[0]
    assert "1 enhanced" in shown[0]
    assert "1 skipped" in shown[1]
    assert "Traceback" not in "".join(shown)


def test_files_that_are_no_recordings_are_counted(tmp_path, weights):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    soundfile.write(folder / "a.wav", voice(0.3), 16_000)
    soundfile.write(folder / "sub" / "nameless", voice(0.3), 16_000, format="WAV")
    for name in ("notes.txt", "sub/more.txt", "scan.pdf", "sub/README"):
        (folder / name).write_text("text")
    (folder / "slimclean.toml").write_text("overwrite = true")
    ours = ["--report", folder / "r.csv", "--html", folder / "sub" / "p.html"]
    for _ in range(2):  # the second time, what the first wrote is there
        result = run("enhance", folder, "-o", tmp_path / "out", "--model", weights, *ours)
    assert result.exit_code == 0, result.output
    assert "2 enhanced" in result.output
    assert "4 files left out: .txt" in result.output
    assert ".pdf" in result.output
    assert "without extension" in result.output
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.doc").write_text("text")
    result = run("enhance", tmp_path / "only", "--model", weights)
    assert result.exit_code == 2
    assert "no recordings found" in result.output
    assert "1 file left out: .doc" in result.output
