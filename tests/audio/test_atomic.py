"""Whole or not at all: what stands at a path after success, an error, a kill, and on odd kinds of files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slimclean.audio import atomic
from slimclean.audio.atomic import AtomicFile, remove_leftovers, replacing, writing
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
        file.commit(1_000_000_000_123_456_789)
    assert (tmp_path / "a").stat().st_mtime_ns // 100 == 10_000_000_001_234_567  # as fine as Windows has it


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


LEFT = """
import os, sys
from pathlib import Path
from slimclean.audio.atomic import AtomicFile
file = AtomicFile(Path(sys.argv[1]))
file.temporary.write_text("half")
print(file.temporary.name, flush=True)
sys.stdin.read()
os._exit(1)
"""


@pytest.mark.skipif(os.name != "posix", reason="locks")
def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    """Process ids say nothing between containers; a lock is gone with its process."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", LEFT, str(tmp_path / "a")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    names = [writer.stdout.readline().strip() for writer in writers]
    assert {p.name for p in tmp_path.iterdir()} == {*names}
    remove_leftovers(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {*names}
    writers[0].communicate()
    remove_leftovers(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {names[1]}
    writers[1].communicate()
    with replacing(tmp_path / "b") as temporary:
        temporary.write_text("x")
    assert {p.name for p in tmp_path.iterdir()} == {"b"}


def test_leftovers_that_nobody_can_be_asked_about_go_by_age(tmp_path, monkeypatch):
    """Another machine's, an older version's, and on file systems without locks."""
    digest, machine, one = "0" * 12, "f" * 8, "0" * 32
    names = [f".slimclean-{digest}-{machine}-{one}.part", f".slimclean-{digest}-host-17.part"]
    if os.name == "posix":
        monkeypatch.setattr(
            atomic.fcntl, "flock", refuse := lambda *_: (_ for _ in ()).throw(OSError(95, "no"))
        )
        assert refuse
    own = AtomicFile(tmp_path / "c")
    paths = [tmp_path / name for name in names] + [own.temporary]
    for path in paths:
        path.write_text("")
    remove_leftovers(tmp_path)
    assert all(path.exists() for path in paths)
    for path in paths:
        os.utime(path, (1e9, 1e9))
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []
    own.__exit__(None, None, None)


@pytest.mark.skipif(os.name != "posix", reason="locks")
@pytest.mark.parametrize("during", ["lock", "_is_open_to_us"])
def test_an_interrupt_while_the_temporary_file_is_made_leaves_none(tmp_path, monkeypatch, during):
    monkeypatch.setattr(atomic, during, lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        AtomicFile(tmp_path / "a.wav")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="locks")
def test_where_a_lock_shuts_us_out_there_is_none(tmp_path, monkeypatch):
    """On Windows shares a lock holds against other descriptors of the same process."""
    monkeypatch.setattr(atomic, "_is_open_to_us", lambda _: False)
    with AtomicFile(tmp_path / "a") as file:
        assert f"-{atomic.NO_MACHINE}-" in file.temporary.name
        remove_leftovers(tmp_path)
        file.temporary.write_text("x")
        os.utime(file.temporary, (1e9, 1e9))
        assert [p.name for p in tmp_path.iterdir()] == [file.temporary.name]
        file.commit()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    AtomicFile(tmp_path / "a")
    (left,) = (p for p in tmp_path.iterdir() if p.name != "a")
    os.utime(left, (1e9, 1e9))
    remove_leftovers(tmp_path)
    assert not left.exists()


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
@pytest.mark.parametrize(
    ("umask", "source", "there", "wanted"),
    [
        (0o022, 0o644, None, 0o644), (0o022, 0o600, None, 0o600), (0o022, 0o640, None, 0o640),
        (0o002, 0o664, None, 0o664), (0o077, 0o644, None, 0o600), (0o022, 0o444, None, 0o644),
        (0o022, 0o755, None, 0o644), (0o022, 0o644, 0o600, 0o600), (0o022, 0o600, 0o644, 0o600),
    ],
)  # fmt: skip
def test_an_output_is_as_private_as_its_input(tmp_path, umask, source, there, wanted):
    """At every moment: the temporary file too."""
    (tmp_path / "in").write_text("x")
    (tmp_path / "in").chmod(source)
    if there is not None:
        (tmp_path / "out").write_text("old")
        (tmp_path / "out").chmod(there)
    before = os.umask(umask)
    try:
        with AtomicFile(tmp_path / "out", like=tmp_path / "in") as file:
            assert not file.temporary.stat().st_mode & 0o777 & ~(0o666 & (source | 0o600))
            file.commit()
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == wanted


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_folders_that_are_made_are_as_private_as_those_they_mirror(tmp_path):
    deep = tmp_path / "in" / "closed" / "deep"
    deep.mkdir(parents=True)
    deep.parent.chmod(0o700)
    (deep / "a").write_text("x")
    with AtomicFile(tmp_path / "out" / "closed" / "deep" / "a", like=deep / "a") as file:
        file.commit()
    modes = [(tmp_path / "out" / name).stat().st_mode & 0o777 for name in (".", "closed", "closed/deep")]
    assert modes == [(tmp_path / "in").stat().st_mode & 0o777, 0o700, deep.stat().st_mode & 0o777]
    assert atomic.shared_mode([deep / "a", tmp_path / "absent"]) & 0o600 == 0o600


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_what_is_replaced_keeps_owner_mode_and_attributes(tmp_path):
    target = tmp_path / "a"
    target.write_text("old")
    os.chown(target, 1234, 2345)
    target.chmod(0o440)
    attributes = False
    if hasattr(os, "setxattr"):
        try:
            os.setxattr(target, "user.note", b"1")
            attributes = True
        except OSError:
            pass  # this file system has none
    (tmp_path / "link").symlink_to("a")
    with AtomicFile(tmp_path / "link", like=tmp_path / "link") as file:
        file.temporary.write_text("new")
        file.commit()
    status = target.stat()
    assert (target.read_text(), (tmp_path / "link").is_symlink()) == ("new", True)
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (1234, 2345, 0o440)
    assert status.st_mtime > 1.7e9
    if attributes:
        assert os.getxattr(target, "user.note") == b"1"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_another_group_sees_no_more_than_everybody(tmp_path):
    """An input for a group that the output does not belong to."""
    (tmp_path / "in").write_text("x")
    os.chown(tmp_path / "in", -1, 2345)
    (tmp_path / "in").chmod(0o640)
    with AtomicFile(tmp_path / "out", like=tmp_path / "in") as file:
        file.commit()
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600


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


@pytest.mark.skipif(os.name != "posix", reason="there, folders are not flushed")
@pytest.mark.parametrize("number", [22, 38, 95])
def test_a_share_that_knows_no_flushing_is_no_failure(tmp_path, monkeypatch, number):
    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with replacing(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "a").read_text() == "x"


@pytest.mark.skipif(os.name != "posix", reason="there, folders are not flushed")
def test_a_disk_that_fails_while_flushing_is_a_failure(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"), replacing(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left."), OSError("No space left."), ValueError("No space left")]
)
def test_what_could_not_be_written_is_named_with_the_reason(error):
    with (
        pytest.raises(SlimcleanError, match=r"^cannot write a \(No space left\)$"),
        writing(Path("a"), ValueError),
    ):
        raise error
    with pytest.raises(ValueError, match="another"), writing(Path("a")):
        raise ValueError("another")


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes and locks")
def test_a_writer_may_put_another_file_into_the_place_of_the_temporary_one(tmp_path, monkeypatch):
    """Its mode is that of the input again, and nobody takes it for a leftover."""
    (tmp_path / "in").write_text("x")
    (tmp_path / "in").chmod(0o600)
    flush = atomic._sync
    monkeypatch.setattr(atomic, "_sync", lambda path: (remove_leftovers(tmp_path), flush(path)))
    with AtomicFile(tmp_path / "out", like=tmp_path / "in") as file:
        (tmp_path / "fuller").write_text("y")
        (tmp_path / "fuller").chmod(0o644)
        (tmp_path / "fuller").replace(file.temporary)
        file.commit()
    assert (tmp_path / "out").read_text() == "y"
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600
