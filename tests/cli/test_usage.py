"""What the command line refuses, each in one line, and what it does with closed streams and `-`."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from conftest import run, voice
from typer.testing import CliRunner

from slimclean.cli import app, main, signals
from slimclean.cli.settings import PRESETS
from slimclean.cli.streams import flush_output, open_streams
from slimclean.errors import SlimcleanError

posix = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")


@pytest.fixture
def take(tmp_path, monkeypatch):
    """A recording `takes/take.wav` in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("takes").mkdir()
    soundfile.write("takes/take.wav", voice(0.5), 16_000)
    return Path("takes/take.wav")


def refused(*arguments):
    """Return the one line that a wrong request gets."""
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("slimclean: ")
    return line.removeprefix("slimclean: ")


def test_wrong_usage_is_one_line(take):
    assert refused("enhance", take, "--true-peak", "-3") == "--true-peak goes with --loudness"
    assert refused("enhance", take, "--jobs", "-1").startswith("Invalid value for '--jobs' / '-j': ")
    assert "--threads" in refused("enhance", take, "--threads", "0")
    assert "Invalid value for --uf: " in refused("enhance", take, "--uf", "x")
    assert "'missing\\n`mono`.wav' does not exist" in refused("score", take, "missing\n`mono`.wav")
    for command in ([], ["enhance"]):
        assert re.match(r"No such option:? '?--nonsense\b", refused(*command, "--nonsense"))
    assert "Missing argument 'FILE'" in refused("compare")
    assert "enhance" in refused("enhanc", take)


def test_help_is_help_still():
    for arguments in ([], ["--help"], ["enhance", "--help"]):
        done = run(*arguments)
        assert "Usage:" in done.output
        assert "slimclean: " not in done.output


@pytest.mark.parametrize("command", ["enhance", "train"])
def test_help_is_shown_on_a_narrow_terminal_without_unicode(monkeypatch, capsys, command):
    shown = io.BytesIO()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "argv", ["slimclean", command, "--help"])
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "ascii"))
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert b"--model" in shown.getvalue() or b"--init" in shown.getvalue()
    assert capsys.readouterr().err == ""


def test_options_that_would_have_no_effect_are_refused(take):
    both = ["--uf", "0.3", "--target-uf", "0.4"]
    for command in (["enhance", take], ["compare", take], ["plot", take, "-o", "p.png"]):
        assert refused(*command, *both) == "--target-uf goes with --uf auto, not 0.3"
    per = ["--loudness-per", "file"]
    assert "goes with --loudness-per batch" in refused("enhance", take, "--loudness", "batch", *per)
    assert run("enhance", take, "--uf", "auto", "--target-uf", "0.4", "--dry-run").exit_code == 0
    assert "target-uf" in PRESETS["podcast"].options
    assert run("enhance", take, "--uf", "0.3", "--preset", "podcast", "--dry-run").exit_code == 0
    Path("takes/slimclean.toml").write_text('uf = 0.3\nloudness-per = "file"\n')
    assert run("enhance", take, "--target-uf", "0.4", "--loudness", "batch", "--dry-run").exit_code == 0


def test_what_was_removed_does_not_take_the_place_of_the_recording(take):
    before = take.read_bytes()
    assert "--residual goes without --in-place" in refused("enhance", take, "--residual", "--in-place")
    assert take.read_bytes() == before


@pytest.mark.parametrize("name", ["takes", "takes/", "r.csv", "pl.txt", "plain"])
def test_a_report_is_a_file_of_rows(take, name):
    Path("r.csv").mkdir()
    for more in ([], ["--dry-run"]):
        assert "name ends in .csv or .jsonl" in refused("enhance", take, "--report", name, *more)


@pytest.mark.parametrize("name", ["s.json", "s.jsonl", "s.txt", "s"])
def test_a_table_of_scores_is_csv_and_is_called_so(take, name):
    before = {*Path().rglob("*")}
    line = refused("score", take, take, "--metrics", "si_sdr_db", "-o", name)
    assert line == f"cannot write {name}: it has to be a file whose name ends in .csv"
    assert {*Path().rglob("*")} == before


@posix
def test_scores_may_go_to_a_device(take):
    assert run("score", take, take, "--metrics", "si_sdr_db", "-o", "/dev/null").exit_code == 0


@posix
def test_sound_and_report_do_not_go_to_one_place(take, weights, monkeypatch):
    """Whatever the report is called, and wherever standard output goes."""
    monkeypatch.setattr("os.fstat", lambda _: Path("/dev/null").stat())
    arguments = ["enhance", take, "-o", "-", "-m", weights, "--report"]
    for more in ([], ["--dry-run"]):
        line = refused(*arguments, "/dev/null", *more)
        assert line == "the report /dev/null is standard output, where the sound goes"


def test_a_report_without_rows_makes_no_page(take):
    Path("r.csv").write_text("file,output,status\n")
    for report in ("r.csv", "/dev/null")[: 2 if sys.platform != "win32" else 1]:
        done = run("report", report, "-o", "r.html")
        assert (done.exit_code, done.stderr) == (
            1,
            f"slimclean: {report}: no rows, so there is nothing to show\n",
        )
        assert not Path("r.html").exists()


@posix
def test_a_report_may_go_to_a_device(take, monkeypatch):
    assert run("enhance", take, "--report", "/dev/null", "--dry-run").exit_code == 0
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "/dev" and real(path, mode))
    assert run("enhance", take, "--report", "/dev/null", "--dry-run").exit_code == 0, (
        "of a user who is not root"
    )


def test_a_list_from_standard_input_is_one_from_a_file(take):
    """A file named - is not it, and slimclean.toml beside what it lists holds."""
    Path("takes/slimclean.toml").write_text("dry = 0.2\n")
    Path("-").write_text("other.wav\n")
    done = CliRunner().invoke(app, ["enhance", "--input-list", "-", "--dry-run"], input=f"{take}\n")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"enhance\t{take}\t")
    assert any(line.split()[:2] == ["dry", "0.2"] for line in done.stderr.splitlines())
    helped = CliRunner().invoke(app, ["enhance", "--input-list", "-", "--help"], input="")
    assert helped.exit_code == 0


def test_a_file_that_begins_like_a_comment_is_listed(take):
    take.rename("#1 intro.wav")
    Path("list.txt").write_text("# of today\n#1 intro.wav\n")
    done = run("enhance", "--input-list", "list.txt", "--dry-run")
    assert done.stdout.startswith("enhance\t#1 intro.wav\t"), done.output


def test_scores_go_to_standard_output(take):
    done = run("score", take, take, "--metrics", "si_sdr_db", "-o", "-")
    assert done.exit_code == 0, done.output
    (row,) = csv.DictReader(done.stdout.splitlines())
    assert row["status"] == "scored"
    assert "si_sdr_db" in done.stderr
    assert not Path("-").exists()


@posix
def test_no_score_is_of_a_formula(take):
    Path("=1+1/=b").mkdir(parents=True)
    shutil.copy(take, "=1+1/=b/=a.wav")
    done = run("score", "=1+1", "=1+1", "--metrics", "si_sdr_db", "--by", "1", "-o", "-")
    (row,) = csv.DictReader(done.stdout.splitlines())
    assert (row["file"], row["group"]) == ("./=b/=a", "./=b")
    Path("groups.csv").write_text(f"file,group\n{row['file']},one\n")
    assert run("score", "=1+1", "=1+1", "--metrics", "si_sdr_db", "--by", "groups.csv").exit_code == 0


@posix
def test_scores_go_to_standard_output_by_its_name_too(take, monkeypatch):
    monkeypatch.setattr("os.fstat", lambda _: Path("/dev/null").stat())
    done = run("score", take, take, "--metrics", "si_sdr_db", "-o", "/dev/null")
    assert done.exit_code == 0, done.output
    assert len(list(csv.DictReader(done.stdout.splitlines()))) == 1
    assert "si_sdr_db" in done.stderr


@pytest.mark.parametrize("option", ["-o", "--output", "--csv"])
def test_speeds_go_to_standard_output(take, weights, monkeypatch, option):
    rows = [{"uf": "0.5", "rtf": 0.25}, {"uf": "1", "rtf": 0.5}]
    monkeypatch.setattr("slimclean.scoring.benchmark.benchmark", lambda *_, **__: rows)
    done = run("benchmark", "--input", take, "-m", weights, "--threads", "1", option, "-")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == ["uf,rtf", "0.5,0.25", "1,0.5"]
    assert "take.wav: 0.5 s at 16000 Hz" in done.stderr
    assert not Path("-").exists()


def test_where_speeds_go_is_checked_before_the_recording_is_read(weights, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("bad.wav").write_bytes(b"no recording")
    benchmark = ["benchmark", "--input", "bad.wav", "-m", weights, "--threads", "1"]
    assert "bad.wav is one of the inputs" in refused(*benchmark, "-o", "bad.wav")
    assert "--csv is what --output was called" in refused(*benchmark, "-o", "a.csv", "--csv", "b.csv")
    assert "--csv" not in run("benchmark", "--help").stdout


@pytest.mark.parametrize(
    "arguments",
    [["score", "--metrics", "si_sdr_db", "--plot", "-"], ["enhance", "--plots", "-"], ["plot", "-o", "-"],
     ["compare", "-o", "-"], ["enhance", "--html", "-"], ["enhance", "--report", "-"]],
)  # fmt: skip
def test_what_cannot_go_to_standard_output_is_refused(take, arguments):
    if "plot" in arguments[-2] or arguments[0] == "plot":
        pytest.importorskip("matplotlib")
    command, *options = arguments
    refused(command, take, *([take] if command == "score" else []), *options)
    assert not Path("-").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [["presets"], ["--version"], ["enhance", "--help"], []])
@pytest.mark.parametrize("buffering", [1, -1])
def test_a_full_disk_behind_standard_output_is_one_line(monkeypatch, capsys, buffering, arguments):
    monkeypatch.setattr(sys, "argv", ["slimclean", *arguments])
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    with open("/dev/full", "w", buffering) as full, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as end:
            main()
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("No space left on device")


@posix
@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_a_signal_that_was_dropped_ends_the_run_soon(take, weights, monkeypatch, number, code):
    """As one that comes within a callback of C or a finalizer: what it raises is printed there, and gone."""
    monkeypatch.setattr(signals, "_received", [number])
    done = run("enhance", take, "-o", "out.wav", "-m", weights)
    assert done.exit_code == code
    assert not Path("out.wav").exists()


class RaisesAtItsEnd:
    def __del__(self):
        raise SystemExit(143)


def test_a_signal_that_is_dropped_prints_no_traceback(monkeypatch, capsys):
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    signals.end_in_order()
    for received, printed in (([15], False), ([], True)):
        monkeypatch.setattr(signals, "_received", received)
        RaisesAtItsEnd()
        assert ("Traceback" in capsys.readouterr().err) == printed


def test_an_interrupt_before_the_command_is_an_exit_code(monkeypatch, capsys):
    """Typer turns only those into one that come later."""

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("slimclean.cli.app", interrupted)
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code, capsys.readouterr().err) == (130, "")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["enhance", "", "--in-place"], "PATHS"),
        (["enhance", "a.wav", "-o", ""], "--output"),
        (["enhance", "a.wav", "--report="], "--report"),
        (["score", "a.wav", ""], "ESTIMATE"),
        (["evaluate", "", "b"], "CLEAN"),
        (["train", ""], "OUT"),
        (["train", "run", "--init", ""], "--init"),
        (["enhance", "a.wav", "--config", ""], "--config"),
        (["enhance", "--input-list", ""], "--input-list"),
        (["enhance", "a.wav", "--preset", ""], "--preset"),
        (["enhance", "a.wav", "-m", ""], "--model"),
        (["enhance", "a.wav", "--format", ""], "--format"),
        (["score", "a.wav", "a.wav", "--metrics", ""], "--metrics"),
        (["score", "a.wav", "a.wav", "--by", ""], "--by"),
        (["train", "run", "--speech", "a", "--speech", ""], "--speech"),
    ],
)
def test_an_empty_name_is_refused(arguments, name, tmp_path, monkeypatch):
    """As an unset variable in a script gives it: nobody means the folder that this runs in."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", voice(0.1), 16_000)
    before = Path("a.wav").read_bytes()
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"slimclean: {name} is empty")
    assert done.stderr.count("\n") == 1
    assert Path("a.wav").read_bytes() == before


class Halves(io.RawIOBase):
    """Takes half of what it is given, as a pipe or a nearly full disk does."""

    def __init__(self):
        super().__init__()
        self.taken = b""

    def writable(self):
        return True

    def write(self, data):
        some = bytes(data[: len(data) // 2 + 1])
        self.taken += some
        return len(some)


def test_warnings_are_told_where_no_report_holds_them(tmp_path, weights):
    for k in range(6):
        soundfile.write(tmp_path / f"{k}.wav", voice(1.0) * 0.5 + 0.2, 16_000)
    command = ["enhance", tmp_path, "-o", tmp_path / "out", "-m", weights]
    told = run(*command).stderr.splitlines()
    for k in range(5):
        assert told[k].startswith(f"slimclean: {tmp_path / f'{k}.wav'}: warning: an offset of 0.2")
    assert told[5] == "slimclean: warnings of 1 more: --report lists all of them"
    assert len(told) == 7
    assert len(run(*command, "--report", tmp_path / "r.csv", "--overwrite").stderr.splitlines()) == 1


def test_scores_that_cannot_be_had_are_refused_before_the_work(take, weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "pesq", None)
    done = run("enhance", take, "-o", "o.wav", "-m", weights, "--reference", "takes")
    assert done.exit_code == 1
    assert "pip install 'slimclean[score]'" in done.stderr
    assert not Path("o.wav").exists()


def test_scores_that_stay_empty_are_told_before_the_work(take, weights, monkeypatch):
    def work(*_, **__):
        raise SlimcleanError("at work")

    monkeypatch.setattr("slimclean.scoring.evaluation.evaluate", work)
    command = ["evaluate", "takes", "takes", "-m", weights]
    assert run(*command).stderr == "slimclean: at work\n"
    monkeypatch.setitem(sys.modules, "pesq", None)
    assert run(*command).stderr.splitlines() == [
        "slimclean: pesq_wb stays empty: PESQ needs the package pesq: pip install 'slimclean[score]'",
        "slimclean: at work",
    ]


def test_a_dry_run_tells_what_is_not_installed(take, weights, monkeypatch):
    for name in ("a.wav", "b.m4a", "c.MKV", "d.mp4"):
        shutil.copy(take, Path("takes", name))
    command = ["enhance", "takes", "-m", weights, "--dry-run"]
    assert "PyAV" not in run(*command).stderr
    for package in ("av", "distributed", "matplotlib", "matplotlib.figure", "pesq"):
        monkeypatch.setitem(sys.modules, package, None)
    name = Path("takes", "b.m4a")
    cure = "films, M4A and Ogg FLAC need PyAV: pip install 'slimclean[av]'"
    done = run(*command)
    assert done.exit_code == 0
    assert done.stderr.splitlines()[0] == f"slimclean: {name} and 2 more: {cure}"
    assert done.stdout.count("enhance\t") == 5
    for name in ("b", "c"):
        Path("takes-enhanced").mkdir(exist_ok=True)
        Path("takes-enhanced", name + (".m4a" if name == "b" else ".MKV")).touch()
    assert run(*command).stderr.startswith(f"slimclean: {Path('takes', 'd.mp4')}: {cure}\n")
    assert run("enhance", take, "-o", "a.m4a", "--dry-run").stderr.startswith(f"slimclean: a.m4a: {cure}\n")
    for extra, options in (
        ("dask", ["--backend", "dask", "--scheduler", "tcp://127.0.0.1:9", "--report", "r.csv"]),
        ("plot", ["--plots", "plots"]),
        ("score", ["--reference", "takes"]),
        ("av", ["--loudness", "-16"]),
    ):
        for dry in ([], ["--dry-run"]):
            done = run("enhance", take, "-m", weights, *options, *dry)
            assert done.exit_code in (1, 2)
            assert done.stdout == ""
            (line,) = done.stderr.splitlines()
            assert line.endswith(f": pip install 'slimclean[{extra}]'")
    assert not Path("r.csv").exists()
    assert not Path("takes/take-enhanced.wav").exists()


def test_output_without_a_buffer_is_written_whole(monkeypatch):
    """As with PYTHONUNBUFFERED, which containers set."""
    raw = Halves()
    given = io.TextIOWrapper(raw, "utf-8", write_through=True)
    monkeypatch.setattr(sys, "stdout", given)
    monkeypatch.setattr(sys, "__stdout__", given)
    open_streams()
    sys.stdout.buffer.write(bytes(100_000))
    assert flush_output(quiet=True)
    assert raw.taken == bytes(100_000)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_the_work_goes_on_where_nobody_can_be_told(tmp_path, weights, monkeypatch):
    """The first failure on a standard error that is full is not the end of the batch."""
    for name in ("1.wav", "3.wav"):
        soundfile.write(tmp_path / name, voice(0.3), 16_000)
    (tmp_path / "2.wav").write_bytes(b"")
    arguments = ["enhance", str(tmp_path), "-o", str(tmp_path / "out"), "-m", str(weights)]
    with open("/dev/full", "w") as full, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", full)
        patched.setattr(sys, "argv", ["slimclean", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        with contextlib.suppress(OSError):
            full.close()
    assert ended.value.code == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1.wav", "3.wav"]


@posix
def test_closed_streams(take, weights):
    """Input and output that are needed are one line; without standard error, the work is done."""

    def shell(arguments):
        command = f"{sys.executable} -m slimclean enhance -m {weights} {arguments}"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    code, told = shell("- -o - <&-")
    assert (code, told.splitlines()[0]) == (1, "slimclean: -: Bad file descriptor")
    code, told = shell(f"{take} -o - >&-")
    assert (code, told.splitlines()[0]) == (1, f"slimclean: {take}: Bad file descriptor")
    assert shell(f"{take} -o c1.wav 2>&-") == (0, "")
    assert soundfile.info("c1.wav").frames == 8_000
