"""Whole or not at all: what stands at a path after success, an error, a kill, and on odd kinds of files."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from slimclean.audio import atomic
from slimclean.audio.atomic import AtomicFile, remove_leftovers, replacing
from slimclean.errors import SlimcleanError
from slimclean.scoring.tables import write_rows


def test_success_replaces_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "new" / "a.txt"
    with replacing(target) as temporary:
        temporary.write_text("one")
        assert not target.exists()
    with replacing(target) as temporary:
        temporary.write_text("two")
        assert target.read_text() == "one"
    assert target.read_text() == "two"
    assert list(target.parent.iterdir()) == [target]


def test_an_error_leaves_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def fail():
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with AtomicFile(tmp_path / "a.txt") as file:
        file.temporary.write_text("never committed")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "old")]


def test_rows_that_cannot_be_written_leave_the_old_table(tmp_path):
    write_rows(tmp_path / "a.csv", [{"x": 1}])
    with pytest.raises(ValueError, match="fields not in fieldnames"):
        write_rows(tmp_path / "a.csv", [{"x": 2}, {"y": 3}])
    assert (tmp_path / "a.csv").read_text().split() == ["x", "1"]
    with pytest.raises(SlimcleanError, match="cannot write"):
        write_rows(tmp_path / "a.csv" / "b.csv", [{"x": 1}])


def test_a_time_of_change_is_set(tmp_path):
    with AtomicFile(tmp_path / "a") as file:
        file.temporary.write_text("x")
        file.commit(1e9)
    assert (tmp_path / "a").stat().st_mtime == 1e9


@pytest.mark.skipif(os.name != "posix", reason="POSIX files")
def test_links_stay_and_devices_are_written_to(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    with replacing(tmp_path / "link") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_text() == "x"
    code = "from slimclean.scoring.tables import write_rows; from pathlib import Path\n"
    code += "write_rows(Path('/dev/stdout'), [{'x': 1}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["x", "1"]


@pytest.mark.skipif(os.name != "posix", reason="processes")
def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path, monkeypatch):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    kept = []
    for pid, name in ((dead.pid, "a"), (os.getppid(), "a"), (dead.pid, "b")):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        kept.append(AtomicFile(tmp_path / name).temporary)
        kept[-1].write_text("")
    remove_leftovers(tmp_path / "a")
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in kept[1:]}


@pytest.mark.skipif(os.name != "posix", reason="there, folders are not flushed")
def test_a_share_that_refuses_to_flush_a_folder_is_no_failure(tmp_path, monkeypatch):
    flush = atomic._sync

    def refuse(path):
        if path.is_dir():
            raise OSError(22, "Invalid argument")
        flush(path)

    monkeypatch.setattr(atomic, "_sync", refuse)
    with replacing(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "a").read_text() == "x"
