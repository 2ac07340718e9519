"""What the commands share."""

from __future__ import annotations

import ast
import errno
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
import typer.main
from conftest import run, voice

import slimclean
from slimclean.cli import app
from slimclean.cli.common import one_line_errors, with_options
from slimclean.errors import reason, told

PACKAGE = Path(slimclean.__file__).parent


def test_parameters_become_options():
    assert with_options("`target_uf` takes 1") == "--target-uf takes 1"
    assert with_options("`in_place` goes without `extension`") == "--in-place goes without --format"
    assert with_options("`attenuation_limit_db` takes 1") == "--atten-lim-db takes 1"
    assert with_options("give (an `output`), or `model`.") == "give (an --output), or --model."
    assert with_options("no `parameter one` in it, nor `Here`") == "no `parameter one` in it, nor `Here`"


def test_an_error_without_a_text_is_told_by_its_type():
    assert told(TimeoutError()) == "TimeoutError"
    assert told(FileNotFoundError(2, "No such file.")) == "No such file"


def raised(error):
    raise error


@pytest.mark.parametrize(
    "work",
    [
        lambda: torch.empty(10**14),
        lambda: np.empty(10**14),
        lambda: bytearray(10**14),
        lambda: raised(RuntimeError("std::bad_alloc")),
        lambda: raised(RuntimeError("TorchScript: could not create a primitive")),
        lambda: raised(OSError(errno.ENOMEM, "Cannot allocate memory")),
    ],
)
def test_a_lack_of_memory_is_told_as_such(work, capsys):
    with pytest.raises((MemoryError, RuntimeError, OSError)) as caught:
        work()
    assert reason(caught.value) == "out of memory; take fewer `jobs`, or free some"
    with pytest.raises(typer.Exit), one_line_errors():
        work()
    assert capsys.readouterr().err in ("slimclean: out of memory\n", "slimclean: Cannot allocate memory\n")
    assert reason(RuntimeError("a bug")) == "RuntimeError: a bug"
    with pytest.raises(RuntimeError, match="a bug"), one_line_errors():
        raise RuntimeError("a bug")


def test_names_of_files_are_not_taken_for_parameters():
    for name in ("`mono`.wav", "a/`mono`", "take-`mono`", "'`mono`'"):
        assert with_options(f"{name}: leave out `mono`") == f"{name}: leave out --mono"


def test_the_line_of_a_recording_that_failed_names_options(tmp_path, weights):
    soundfile.write(tmp_path / "a.wav", voice(0.1, 44_100), 44_100)
    done = run("enhance", tmp_path / "a.wav", "-o", tmp_path / "a.opus", "-m", weights)
    assert done.exit_code == 1
    assert "Opus cannot be written at 44100 Hz; set --sample-rate 48000 or --format flac\n" in done.stderr


def test_errors_of_the_library_name_parameters_not_options():
    for path in PACKAGE.rglob("*.py"):
        if path.is_relative_to(PACKAGE / "cli"):
            continue
        for raised in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Raise)):
            texts = [
                n.value for n in ast.walk(raised) if isinstance(n, ast.Constant) and isinstance(n.value, str)
            ]
            assert not re.search(r"(?<![\w-])--[a-z]", " ".join(texts)), f"{path}:{raised.lineno}"


def test_what_click_puts_in_the_place_of_what_is_absent_is_not_given(monkeypatch):
    command = typer.main.get_command(app).commands["enhance"]  # type: ignore[attr-defined]
    context = command.make_context("enhance", [], resilient_parsing=True)
    parsed = {"paths": object(), "config": "a.toml", "quiet": True, "output": None}
    parser = SimpleNamespace(parse_args=lambda args: (parsed, [], []))
    monkeypatch.setattr(type(command), "make_parser", lambda *_: parser)
    assert command.given(context, []) == {"config": "a.toml", "quiet": True}
