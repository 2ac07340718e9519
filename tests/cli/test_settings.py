"""Presets and slimclean.toml: command line before file before preset before default, and clear refusals."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import soundfile
from conftest import run, voice

from slimclean.batch.report_reading import read_report
from slimclean.cli.settings import PRESETS


@pytest.fixture
def take(tmp_path):
    (tmp_path / "takes").mkdir()
    path = tmp_path / "takes" / "take.wav"
    soundfile.write(path, voice(0.5), 16_000)
    return path


def held(*arguments):
    """What --dry-run says of each option: value and source."""
    done = run("enhance", *arguments, "--dry-run")
    assert done.exit_code == 0, done.output
    return {line.split()[0]: tuple(line.split(maxsplit=2)[1:]) for line in done.stderr.splitlines()}


def test_each_source_goes_before_the_next(take):
    file = take.with_name("slimclean.toml")
    file.write_text('preset = "podcast"\ntarget_uf = 0.3\nloudness = -18\n')
    found = held(take, "--loudness=-20")
    assert found["loudness"] == ("-20", "command line")
    assert found["target-uf"] == ("0.3", str(file))
    assert found["true-peak"] == ("-1.0", "preset podcast")
    assert found["highband"] == ("gate", "default")
    assert found["preset"] == ("podcast", str(file))
    assert held(take, "--preset", "archive")["format"] == ("flac", "preset archive")


def test_the_file_is_beside_the_recordings(take, tmp_path, monkeypatch):
    """Of a folder, of a file, and of neither where another is named; not of the folder one happens to be in."""
    (take.parent / "slimclean.toml").write_text("dry = 0.2\n")
    (tmp_path / "other.toml").write_text("dry = 0.3\n")
    (tmp_path / "slimclean.toml").write_text("dry = 0.4\n")
    monkeypatch.chdir(tmp_path)
    assert held("takes")["dry"] == ("0.2", "takes/slimclean.toml")
    assert held("takes/take.wav")["dry"] == ("0.2", "takes/slimclean.toml")
    assert held("takes", "takes/take.wav", "-o", "out")["dry"][0] == "0.2"
    assert held("takes", "--config", "other.toml")["dry"] == ("0.3", "other.toml")
    soundfile.write("b.wav", voice(0.5), 16_000)
    refused = run("enhance", "takes", "b.wav", "-o", "out", "--dry-run")
    assert refused.exit_code == 2
    assert "say with --config which holds" in refused.output


def test_the_file_is_found_for_lists_and_patterns_too(take, tmp_path, monkeypatch):
    """And may begin with the mark of UTF-8."""
    (take.parent / "slimclean.toml").write_text("\ufeffdry = 0.2\n", encoding="utf-8")
    (tmp_path / "list.txt").write_text("# of today\ntakes/take.wav\n")
    monkeypatch.chdir(tmp_path)
    assert held("--input-list", "list.txt")["dry"] == ("0.2", "takes/slimclean.toml")
    assert held("ta*/take.wav")["dry"] == ("0.2", "takes/slimclean.toml")
    absent = run("enhance", "--input-list", "nothing.txt", "--dry-run")
    assert absent.exit_code == 2
    assert "nothing.txt" in absent.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_a_list_that_comes_through_a_pipe_is_read_once(take, tmp_path):
    """As in --input-list <(find takes -name '*.wav')."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(f"{take}\n",))
    writer.start()
    done = run("enhance", "--input-list", pipe, "--dry-run")
    writer.join()
    assert done.stdout.startswith(f"enhance\t{take}\t")


def test_the_name_of_an_output_goes_before_the_format_of_a_preset(take, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("enhance", take, "-o", "x.wav", "--preset", "archive", "--dry-run")
    assert done.stdout.endswith("\tx.wav\n")
    refused = run("enhance", take, "-o", "x.wav", "--format", "flac", "--dry-run")
    assert refused.exit_code == 2
    assert "its name says wav" in refused.stderr


def test_what_is_said_by_hand_goes_before_what_contradicts_it_elsewhere(take, tmp_path, monkeypatch, weights):
    """And a dry run tells no option that does not hold."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "other.toml"
    file.write_text('uf = 0.5\noutput = "clean/"\nformat = "flac"\n')
    assert held(take, "--config", file)["format"] == ("flac", str(file))
    assert "format" not in held(take, "--config", file, "-o", "x.wav")
    assert "target-uf" not in held(take, "--config", file)
    assert not {"true-peak", "loudness-per"} & {*held(take, "--preset", "podcast", "--loudness", "off")}
    assert "loudness-per" not in held(take, "--loudness", "batch")
    assert held(take, "--config", file, "--target-uf", "0.3")["uf"] == ("auto", "default")
    in_place = held(take, "--config", file, "--in-place")
    assert not {"output", "format"} & {*in_place}
    assert held(take, "--config", file, "--no-in-place")["output"][0].endswith("clean/")
    before = take.read_bytes()
    assert run("enhance", take, "--preset", "archive", "--in-place", "-m", weights).exit_code == 0
    assert take.read_bytes()[:4] == b"RIFF"
    assert take.read_bytes() != before
    file.write_text("in-place = true\n")
    assert held(take, "--config", file, "-o", "x.wav")["in-place"] == ("false", "default")
    refused = run("enhance", take, "--config", file, "--format", "flac", "--dry-run")
    assert refused.stderr == f"slimclean: {file}: --in-place goes neither with --output nor with --format\n"


def test_a_dry_run_makes_nothing(take, tmp_path):
    pytest.importorskip("matplotlib")
    before = set(tmp_path.rglob("*"))
    there = [
        "--plots",
        tmp_path / "p",
        "--html",
        tmp_path / "h" / "r.html",
        "--report",
        tmp_path / "r" / "r.csv",
    ]
    assert run("enhance", take, *there, "--dry-run").exit_code == 0
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("option", ["--plots", "--html", "--report"])
def test_a_dry_run_refuses_a_place_where_nothing_can_be_written(take, option):
    pytest.importorskip("matplotlib")
    name = take / "new" / {"--plots": "p", "--html": "r.html", "--report": "r.csv"}[option]
    for more in ([], ["--dry-run"]):
        done = run("enhance", take, option, name, *more)
        assert (done.exit_code, done.stdout) == (1, "")
        assert f"cannot write {take / 'new'}" in done.stderr
        assert "Not a directory" in done.stderr
    assert [*take.parent.iterdir()] == [take]


def test_paths_in_the_file_are_seen_from_its_folder(take, tmp_path):
    (take.parent / "slimclean.toml").write_text('output = "../clean/"\nreport = "rows.csv"\n')
    found = held(take)
    assert found["output"][0] == f"{take.parent}/../clean/"
    assert found["report"][0] == str(take.parent / "rows.csv")


@pytest.mark.parametrize(
    "line", ['scheduler = "tcp://127.0.0.1:9"', 'backend = "dask"', "in-place = true", "in_place = true"]
)
def test_a_file_that_was_only_found_decides_nothing_dangerous(take, weights, line):
    """It may have come with recordings from anyone; one that is named is the user's own."""
    file, before = take.with_name("slimclean.toml"), take.read_bytes()
    file.write_text(line + "\n")
    done = run("enhance", take, "-m", weights)
    assert done.exit_code == 2
    assert "has to be said by hand, or with --config" in done.stderr
    assert take.read_bytes() == before
    if "place" in line:
        assert run("enhance", take, "-m", weights, "--config", file).exit_code == 0
        assert take.read_bytes() != before


def test_a_file_holds_for_what_lies_beside_it_alone(take, tmp_path, weights):
    (tmp_path / "other").mkdir()
    soundfile.write(tmp_path / "other" / "b.wav", voice(0.2), 16_000)
    file = take.with_name("slimclean.toml")
    file.write_text("mono = true\n")
    both = ["enhance", take, tmp_path / "other", "-m", weights, "--dry-run"]
    done = run(*both)
    assert done.exit_code == 2
    assert f"{tmp_path / 'other'} does not lie beside {file}: say with --config" in done.stderr
    assert run(*both, "--config", file).exit_code == 0


def test_a_target_on_the_command_line_goes_before_a_uf_in_a_file(take, weights, tmp_path):
    take.with_name("slimclean.toml").write_text("uf = 0.5\n")
    report = tmp_path / "r.csv"
    assert run("enhance", take, "-m", weights, "--target-uf", "0.3", "--report", report).exit_code == 0
    (row,) = read_report(report)
    assert (row.uf, row.target_uf) == ("auto", 0.3)


def test_a_file_that_is_taken_is_told(take, weights):
    take.with_name("slimclean.toml").write_text("uf = 0.125\n")
    told = f"slimclean: options from {take.with_name('slimclean.toml')}\n"
    assert told in run("enhance", take, "-m", weights).stderr
    assert told not in run("enhance", take, "-m", weights, "--quiet").stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loudnes = -16", "no option 'loudnes'; did you mean loudness?"),
        ("target_fu = 0.5", "no option 'target_fu'; did you mean target-uf?"),
        ("[enhance]\ndry = 0.5", "no option 'enhance'"),
        ("config = 'x.toml'", "no option 'config'"),
        ("dry-run = true", "no option 'dry-run'"),
        ("paths = 'a.wav'", "no option 'paths'"),
        ("dry = 'much'", "dry wants a number, not 'much'"),
        ("mono = 1", "mono wants true or false, not 1"),
        ("jobs = 1.5", "jobs wants a whole number, not 1.5"),
        (f"jobs = 1{'0' * 400}", "slimclean.toml: Invalid value for '--jobs' / '-j': "),
        (f"target-uf = 1{'0' * 400}", "target-uf wants a number, not 1000"),
        ("jobs = inf", "jobs wants a whole number, not inf"),
        (f"jobs = -1{400 * '0'}", "slimclean.toml: Invalid value for '--jobs' / '-j': "),
        ("output = ''", "output is empty; the folder of this file is '.'"),
        ("report = ''", "report is empty"),
        ("a = " + 5000 * "[", "not TOML"),
        ("jobs = true", "jobs wants a whole number, not True"),
        ("report = 3", "report wants a path in quotes, not 3"),
        ("uf = true", "slimclean.toml: uf wants auto or a number, not True"),
        ("uf = 'x'", "slimclean.toml: Invalid value for --uf: auto or a number above 0 and at most 1, not 'x'"),
        ("uf = 2", "slimclean.toml: --uf takes auto or a number above 0 and at most 1, not 2.0"),
        ("jobs = -1", "slimclean.toml: Invalid value for '--jobs' / '-j': "),
        ("bitrate = 'x'", "slimclean.toml: Invalid value for --bitrate: "),
        ("sample_rate = 5", "slimclean.toml: --sample-rate takes 1000 to 768000 Hz, not 5"),
        ("format = ['flac']", "format wants text, not ['flac']"),
        ("dry =", "not TOML"),
        ("\xe9", "not TOML"),
        (
            "preset = 'podcst'",
            "slimclean.toml: --preset takes podcast, interview, lecture, archive, not podcst; "
            "did you mean podcast?",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line_and_no_work(take, text, message):
    file = take.with_name("slimclean.toml")
    file.write_bytes(text.encode("latin-1"))
    done = run("enhance", take)
    assert done.exit_code == 2
    assert message in done.output
    assert len(done.output.splitlines()) == 1
    assert not (take.parent / "take-enhanced.wav").exists()


SWITCHES = ["residual", "mono", "keep-mtime", "overwrite", "fail-fast", "quiet"]


@pytest.mark.parametrize("name", SWITCHES)
def test_what_a_file_or_a_preset_switches_on_can_be_switched_off(take, name):
    file = take.with_name("slimclean.toml")
    file.write_text(f"{name} = true\n")
    assert held(take)[name] == ("true", str(file))
    assert held(take, f"--no-{name}")[name] == ("false", "command line")
    assert held(take, f"--no-{name}", f"--{name}")[name] == ("true", "command line")


def test_every_switch_can_be_switched_off(take):
    """But the two that a file cannot hold."""
    switches = {name for name, (value, _) in held(take).items() if value in ("true", "false")}
    assert switches == {*SWITCHES, "in-place"}
    assert held(take, "--preset", "archive", "--no-keep-mtime")["keep-mtime"] == ("false", "command line")
    for name in ("--no-dry-run", "--no-help"):
        assert run("enhance", take, name).exit_code == 2


def test_what_a_file_may_not_decide_may_be_switched_off_by_hand(take):
    take.with_name("slimclean.toml").write_text("in-place = true\n")
    assert held(take, "--no-in-place")["in-place"] == ("false", "command line")


def test_what_the_command_line_overrules_is_not_the_file_s_error(take):
    take.with_name("slimclean.toml").write_text("jobs = 1\n")
    done = run("enhance", take, "--jobs", "-1")
    assert done.exit_code == 2
    assert done.stderr.startswith("slimclean: Invalid value for '--jobs'")
    take.with_name("slimclean.toml").write_text("uf = 1\n")
    done = run("enhance", take, "--uf", "2")
    assert done.exit_code == 2
    assert "slimclean: --uf takes auto" in done.output


def test_a_file_that_is_not_there(take):
    done = run("enhance", take, "--config", "absent.toml")
    assert (done.exit_code, done.output) == (2, "slimclean: absent.toml: No such file or directory\n")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_hold_and_are_listed(take, name):
    listed = run("presets").output
    assert f"{name}: {PRESETS[name].purpose}" in listed
    found = held(take, "--preset", name)
    for option, (value, why) in PRESETS[name].options.items():
        text, source = found[option]
        assert source == f"preset {name}"
        assert text == str(value).lower() or float(text) == float(value)
        assert why in listed


def test_a_preset_is_used(take, weights):
    done = run("enhance", take, "-m", weights, "--preset", "archive", "--report", take.with_name("r.csv"))
    assert done.exit_code == 0, done.output
    assert soundfile.info(take.with_name("take-enhanced.flac")).format == "FLAC"


def test_settings_load_nothing_heavy():
    code = (
        "import sys; from slimclean.cli import app; sys.argv = ['slimclean', 'presets']\n"
        "try: app()\nexcept SystemExit: pass\n"
        "sys.exit(bool({'torch', 'numpy', 'librosa', 'soundfile', 'av'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
