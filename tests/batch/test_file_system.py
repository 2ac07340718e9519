"""What a file system may do to a batch: closed folders, names of any kind, links, and names that meet."""

from __future__ import annotations

import errno
import inspect
import os
import re
import subprocess
import sys
import tempfile
import time
import unicodedata
from pathlib import Path

import pytest
import soundfile
from conftest import identity_enhancer, run, voice

from slimclean import audio
from slimclean.audio import atomic
from slimclean.audio import folder as folders
from slimclean.audio.folder import list_folder
from slimclean.batch import collisions
from slimclean.batch import run as batch_run
from slimclean.batch.options import Watch
from slimclean.batch.plan import plan
from slimclean.batch.report_reading import read_report
from slimclean.batch.run import enhance_paths
from slimclean.errors import AudioError, UsageError

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX files")
needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may become somebody else"
)


@pytest.fixture(scope="module")
def enhancer():
    return identity_enhancer(0.5)


def write(path, seconds=0.05):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, voice(seconds), 16_000, format="WAV")
    return path


AS_NOBODY = """
import os, sys, json
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import identity_enhancer
from slimclean.batch.run import enhance_paths
enhancer, place = identity_enhancer(0.5), Path(sys.argv[2])
for _ in range(2):  # whatever is imported late
    enhance_paths([place / "warm.wav"], place / "warm", enhancer, report=place / "warm.csv")
os.setegid(65534)
os.seteuid(65534)
arguments = json.loads(sys.argv[3])
arguments |= {"report": place / "out" / "r.csv"}
results = enhance_paths([place / "takes"], place / "out" / "takes", enhancer, **arguments)
print(json.dumps([[Path(r.file).name, r.status, r.error] for r in results]))
"""


@pytest.fixture
def outside():
    """A folder that everybody may enter, for what another user does."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        write(Path(place, "warm.wav"))
        Path(place, "out").mkdir(mode=0o777)
        Path(place, "out").chmod(0o777)
        yield Path(place)


def as_nobody(place, arguments="{}"):
    import json

    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", AS_NOBODY, tests, str(place), arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: (status, error) for name, status, error in json.loads(done.stdout)}


@posix
@needs_root
def test_what_may_not_be_read_is_a_row_each(outside):
    """A closed folder, one that may be listed and not entered, a closed file, between two good ones."""
    takes = outside / "takes"
    for name in ("a.wav", "closed/inside.wav", "listed/b.wav", "private.wav", "z.wav"):
        write(takes / name)
    (takes / "closed").chmod(0o000)
    (takes / "listed").chmod(0o744)
    (takes / "private.wav").chmod(0o600)
    rows = as_nobody(outside)
    assert rows["a.wav"] == rows["z.wav"] == ("enhanced", "")
    assert rows["closed"] == ("failed", "cannot be read (Permission denied)")
    for name in ("b.wav", "private.wav"):
        assert rows[name][0] == "failed"
        assert "ermission denied" in rows[name][1]
    assert sorted(p.name for p in (outside / "out" / "takes").iterdir()) == ["a.wav", "z.wav"]
    text = (outside / "out" / "r.csv").read_text()
    assert text.count("failed") == 3
    assert text.count("enhanced,") == 2
    rows = as_nobody(outside, '{"fail_fast": true}')
    assert rows["closed"][0] == "failed"


@posix
@needs_root
def test_outputs_that_may_not_be_written_are_a_row_each(outside):
    for name in ("a.wav", "deep/b.wav"):
        write(outside / "takes" / name)
    (outside / "out" / "takes" / "deep").mkdir(parents=True)
    (outside / "out" / "takes").chmod(0o777)
    (outside / "out" / "takes" / "deep").chmod(0o755)
    rows = as_nobody(outside)
    assert rows["a.wav"] == ("enhanced", "")
    assert rows["b.wav"][0] == "failed"
    assert "cannot write" in rows["b.wav"][1]
    assert list((outside / "out" / "takes" / "deep").iterdir()) == []


@posix
def test_a_folder_that_may_not_be_read_ends_with_1(tmp_path, weights, monkeypatch):
    """The same through the command line, whoever runs the tests."""
    for name in ("a.wav", "closed/inside.wav"):
        write(tmp_path / "takes" / name)
    closed_to_us(monkeypatch, "closed")
    arguments = ["enhance", tmp_path / "takes", "-o", tmp_path / "out", "-m", weights]
    dry = run(*arguments, "--dry-run")
    assert dry.exit_code == 0
    assert [line.split("\t")[0] for line in dry.stdout.splitlines()] == ["fail", "enhance"]
    done = run(*arguments, "--report", tmp_path / "r.csv")
    assert done.exit_code == 1
    assert "closed: cannot be read (Permission denied)" in done.stderr
    assert "1 enhanced, 1 failed" in done.stderr
    assert (tmp_path / "r.csv").read_text().count("cannot be read (Permission denied)") == 1
    done = run("enhance", tmp_path / "takes" / "closed", "-m", weights)
    assert done.exit_code == 1
    assert "0 enhanced, 1 failed" in done.stderr
    with pytest.raises(AudioError, match="closed: cannot be read"):
        list(audio.walk(tmp_path / "takes"))


def closed_to_us(monkeypatch, name, error=errno.EACCES):
    scandir = os.scandir

    def scan(path):
        if Path(path).name == name:
            raise OSError(error, os.strerror(error))
        return scandir(path)

    monkeypatch.setattr(folders.os, "scandir", scan)


def test_a_folder_that_goes_while_it_is_looked_through(tmp_path, monkeypatch):
    for name in ("a.wav", "going/b.wav", "z/c.wav"):
        write(tmp_path / name)
    closed_to_us(monkeypatch, "going", errno.ENOENT)
    found = list_folder(tmp_path)
    assert [path.name for path in found.recordings] == ["a.wav", "c.wav"]
    assert found.unreadable == {tmp_path / "going": os.strerror(errno.ENOENT)}


def test_a_very_deep_folder(tmp_path):
    """Deeper than Python's recursion goes."""
    deep = tmp_path.joinpath(*"d" * 200)
    deep.mkdir(parents=True)
    (deep / "a.wav").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        found = list_folder(tmp_path)
    finally:
        sys.setrecursionlimit(limit)
    assert found.recordings == [deep / "a.wav"]
    assert not found.unreadable


def test_files_that_are_left_out_are_counted(tmp_path):
    for name in ("a.wav", "b.txt", "sub/c.TXT", "sub/none", ".hidden.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_folder(tmp_path).left_out == {".txt": 2, "": 1}
    if os.name == "posix":
        (tmp_path / "round").symlink_to(tmp_path)  # is not followed
        assert list_folder(tmp_path).left_out["links to folders"] == 1


@posix
def test_names_that_are_too_long_are_a_row(tmp_path, weights):
    good, long = write(tmp_path / "a.wav"), tmp_path / ("n" * 296 + ".wav")
    done = run("enhance", good, long, "-o", tmp_path / "out", "-m", weights)
    assert done.exit_code == 1
    assert "1 enhanced, 1 failed" in done.stderr
    assert "File name too long" in done.stderr
    edge = write(tmp_path / ("n" * 251 + ".wav"))  # 255 bytes, and no room for "-enhanced"
    done = run("enhance", edge, "-m", weights)
    assert (done.exit_code, "File name too long" in done.stderr) == (1, True)
    done = run("enhance", edge, "-o", tmp_path / "out", "-m", weights)
    assert (done.exit_code, (tmp_path / "out" / edge.name).is_file()) == (0, True)
    for arguments in (["enhance", long, "-o", "-"], ["enhance", good, "-o", "-", "-m", str(long)]):
        done = run(*arguments)
        assert done.exit_code in (1, 2)
        assert done.stderr.count("\n") == 1


@posix
def test_a_plan_is_a_line_a_recording_whatever_the_names(tmp_path, weights):
    names = ["new\nline.wav", "tab\t.wav", "\x1b[31mred.wav", "ä.wav", os.fsdecode(b"latin-\xe9.wav")]
    for name in names:
        write(tmp_path / "takes" / "x.wav").rename(tmp_path / "takes" / name)
    done = run("enhance", tmp_path / "takes", "-o", tmp_path / "out", "-m", weights, "--dry-run")
    lines = done.stdout_bytes.splitlines()
    assert [len(line.split(b"\t")) for line in lines] == [3] * 5
    assert b"\x1b" not in done.stdout_bytes
    assert b"latin-\xe9.wav" in done.stdout_bytes


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(), RecursionError("maximum depth"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        OSError(errno.EIO, "Input/output error"), OSError("no number"), OSError(), ValueError("two\nlines"),
        SystemError("error return without exception set"), KeyError("x"), AssertionError(), EOFError(),
        FloatingPointError("x"), ConnectionResetError(errno.ECONNRESET, "reset"), NotImplementedError("yet"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
@pytest.mark.parametrize("where", ["at the start", "in the middle", "while writing", "at the end"])
def test_whatever_is_raised_is_the_row_of_its_recording(tmp_path, enhancer, monkeypatch, error, where):
    """At probing, opening, reading, writing, committing: one line, nothing half-written, the others go on."""
    from slimclean.audio.reader import AudioReader
    from slimclean.audio.writer import AudioWriter

    for name in "abc":
        write(tmp_path / "takes" / f"{name}.wav")
    place, name = {
        "at the start": (AudioReader, "__init__"),
        "in the middle": (AudioReader, "read_blocks"),
        "while writing": (AudioWriter, "write"),
        "at the end": (AudioWriter, "commit"),
    }[where]
    real = getattr(place, name)

    def fail(self, *arguments, **options):
        path = arguments[0] if name == "__init__" else self.path
        if Path(path).name == "b.wav":
            raise error
        return real(self, *arguments, **options)

    monkeypatch.setattr(place, name, fail)
    results = enhance_paths([tmp_path / "takes"], tmp_path / "out", enhancer, report=tmp_path / "r.csv")
    assert [r.status for r in results] == ["enhanced", "failed", "enhanced"]
    assert results[1].error
    assert "\n" not in results[1].error
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.wav", "c.wav"]
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 4


def test_whatever_scoring_raises_the_recording_is_enhanced(tmp_path, enhancer, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("slimclean.scoring.pairs.score_pair", fail)
    take = write(tmp_path / "a.wav")
    (result,) = enhance_paths([take], tmp_path / "b.wav", enhancer, references=take)
    assert (result.status, result.error) == ("enhanced", "")
    assert "not scored: out of memory" in result.warnings


def test_what_goes_wrong_when_the_output_is_there_is_a_warning(tmp_path, enhancer, monkeypatch):
    """A row "failed" beside a new output would be false."""

    def fail(*_):
        raise MemoryError

    takes = [write(tmp_path / "takes" / f"{name}.wav") for name in "ab"]
    results = enhance_paths(takes, tmp_path / "out", enhancer, look=lambda _: fail)
    assert [(r.status, r.error) for r in results] == [("enhanced", "")] * 2
    assert all("not drawn: out of memory" in r.warnings for r in results)
    monkeypatch.setattr("slimclean.batch.recording.diagnostics.warnings", fail)
    results = enhance_paths(takes, tmp_path / "out", enhancer, overwrite=True)
    assert [(r.status, r.error) for r in results] == [("enhanced", "")] * 2
    assert all(r.warnings.startswith("out of memory; take fewer `jobs`") for r in results)


def test_an_interrupt_while_a_picture_is_drawn_leaves_no_output_without_a_row(tmp_path, enhancer):
    """Drawing may take longer than cleaning; in place, a recording without a row is cleaned again."""
    takes = [write(tmp_path / "takes" / f"{name}.wav") for name in "ab"]
    times = []

    def look(result, _):
        time.sleep(0.3)
        if result.file == str(takes[1]):
            raise KeyboardInterrupt

    watch = Watch(finished=lambda row: times.append(row.processing_s))
    with pytest.raises(KeyboardInterrupt):
        enhance_paths(
            takes, tmp_path / "o", enhancer, report=tmp_path / "r.csv", look=lambda _: look, watch=watch
        )
    assert [p.name for p in (tmp_path / "o").iterdir()] == ["a.wav"]
    assert [Path(row.file).name for row in read_report(tmp_path / "r.csv")] == ["a.wav"]
    assert 0 < times[0] < 0.3  # the time of cleaning alone


# --- in place, and links ---------------------------------------------------------------------------


@posix
def test_in_place_two_links_to_one_file_are_refused_by_its_name(tmp_path, enhancer):
    target = write(tmp_path / "store" / "content", 0.2)
    takes = tmp_path / "takes"
    takes.mkdir()
    (takes / "l.wav").symlink_to(target)
    (takes / "l2.wav").symlink_to("l.wav")
    message = f"l.wav and .*l2.wav would both change {re.escape(str(target.resolve()))}; give one of them"
    with pytest.raises(UsageError, match=message):
        enhance_paths([takes], in_place=True, enhancer=enhancer)


@posix
def test_in_place_through_a_link(tmp_path, enhancer):
    """As data-set tools make them: the link stays, its target changes, and keeps its mode."""
    target = write(tmp_path / "store" / "content", 0.2)
    target.chmod(0o640)
    inode = target.stat().st_ino
    link = tmp_path / "takes" / "link.wav"
    link.parent.mkdir()
    link.symlink_to("../store/content")
    (result,) = enhance_paths([link.parent], in_place=True, enhancer=enhancer)
    assert result.status == "enhanced", result.error
    assert link.readlink() == Path("../store/content")
    assert target.stat().st_mode & 0o777 == 0o640
    assert (soundfile.info(target).format, soundfile.info(target).frames) == ("WAV", 3200)
    assert target.stat().st_ino != inode
    assert [p.name for p in target.parent.iterdir()] == ["content"]
    assert [p.name for p in link.parent.iterdir()] == ["link.wav"]


@posix
def test_what_a_killed_run_left_beside_the_target_of_a_link_goes(tmp_path, enhancer):
    target = write(tmp_path / "store" / "content")
    (tmp_path / "a.wav").symlink_to(target)
    left, lock = atomic._create(target, 0o600)
    os.close(lock)
    assert left.exists()
    enhance_paths([tmp_path / "a.wav"], in_place=True, enhancer=enhancer)
    assert [p.name for p in target.parent.iterdir()] == ["content"]


def test_what_is_appended_meanwhile_is_not_lost_in_place(tmp_path):
    """A recorder that goes on: its file stays as it is; beside another output there is a warning."""
    take = write(tmp_path / "a.wav", 0.2)

    def go_on(noisy):
        with take.open("ab") as file:
            file.write(bytes(8))
        return noisy

    before, enhancer = take.read_bytes(), identity_enhancer(effect=go_on)
    (result,) = enhance_paths([take], in_place=True, enhancer=enhancer)
    assert (result.status, result.error) == ("failed", "changed while it was cleaned")
    (result,) = enhance_paths([take], tmp_path / "b.wav", enhancer)
    assert (result.status, result.warnings.split("; ")[0]) == ("enhanced", "changed while it was cleaned")
    assert take.read_bytes() == before + 2 * bytes(8)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.wav", "b.wav"]
    (result,) = enhance_paths([take], in_place=True, enhancer=identity_enhancer())
    assert (result.status, result.error) == ("enhanced", "")
    assert "changed" not in result.warnings


def test_the_source_is_closed_before_the_output_takes_its_place(tmp_path, enhancer, monkeypatch):
    """Windows renames nothing over a file that is open."""
    from slimclean.audio.atomic import AtomicFile
    from slimclean.audio.reader import AudioReader

    done = []
    for kind, name in ((AudioReader, "close"), (AtomicFile, "commit")):
        real = getattr(kind, name)
        monkeypatch.setattr(kind, name, lambda self, *a, r=real, n=name: (done.append(n), r(self, *a))[1])
    write(tmp_path / "a.wav")
    (result,) = enhance_paths([tmp_path / "a.wav"], in_place=True, enhancer=enhancer)
    assert result.status == "enhanced", result.error
    assert done[-2:] == ["close", "commit"]


@posix
def test_in_place_keeps_a_mode_that_forbids_writing(tmp_path, enhancer):
    take = write(tmp_path / "a.wav")
    take.chmod(0o444)
    inode = take.stat().st_ino
    (result,) = enhance_paths([take], in_place=True, enhancer=enhancer)
    assert result.status == "enhanced", result.error
    assert take.stat().st_mode & 0o777 == 0o444
    assert take.stat().st_ino != inode  # replaced, not written into


@posix
def test_an_output_that_is_a_folder_is_no_output(tmp_path, enhancer):
    """Nothing is skipped for it, and nothing replaced."""
    write(tmp_path / "takes" / "a.wav")
    (tmp_path / "out" / "a.wav").mkdir(parents=True)
    for overwrite in (False, True):
        (result,) = enhance_paths([tmp_path / "takes"], tmp_path / "out", enhancer, overwrite=overwrite)
        assert result.status == "failed"
        assert "Is a directory" in result.error
    assert list((tmp_path / "out" / "a.wav").iterdir()) == []


@posix
def test_outputs_of_a_private_folder_are_private(tmp_path, enhancer):
    write(tmp_path / "takes" / "a.wav")
    secret = write(tmp_path / "takes" / "closed" / "b.wav")
    secret.parent.chmod(0o700)
    write(tmp_path / "takes" / "c.wav").chmod(0o600)
    enhance_paths([tmp_path / "takes"], tmp_path / "out", enhancer)
    assert (tmp_path / "out" / "closed").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "out" / "c.wav").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "out" / "a.wav").stat().st_mode & 0o777 == (
        tmp_path / "takes" / "a.wav"
    ).stat().st_mode & 0o777


# --- names that are one to somebody -----------------------------------------------------------------


def test_names_that_meet_on_this_file_system_are_refused_and_others_are_not(tmp_path, enhancer):
    """`Take.wav` and `take.flac` of a folder both become a WAV: what happens is what the file system does."""
    write(tmp_path / "takes" / "Take.wav")
    soundfile.write(tmp_path / "takes" / "take.flac", voice(0.05), 16_000)
    (tmp_path / "probe").touch()
    form = audio.OutputForm(".wav")
    if (tmp_path / "PROBE").exists():
        with pytest.raises(UsageError, match="takes the names of their outputs for one"):
            plan([tmp_path / "takes"], tmp_path / "out", form)
    else:
        results = enhance_paths([tmp_path / "takes"], tmp_path / "out", enhancer, form=form)
        assert [r.status for r in results] == ["enhanced"] * 2
        assert {p.name for p in (tmp_path / "out").iterdir()} == {"Take.wav", "take.wav"}
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Take.wav", "take.flac"), ("a/x.wav", "A/X.flac"), ("\u00e4.wav", "a\u0308.flac"),
        ("\u00c4.wav", "a\u0308.flac"), ("\u0418\u0439.wav", "\u0438\u0438\u0306.flac"),
    ],
)  # fmt: skip
def test_names_that_meet_are_refused_where_a_file_system_takes_them_for_one(tmp_path, monkeypatch, one, other):
    """On ones like those of Windows, macOS and network shares: what they answer is put in here."""
    takes = tmp_path / "takes"
    for name in (one, other):
        (takes / name).parent.mkdir(parents=True, exist_ok=True)
        (takes / name).write_bytes(b"x")
    asked = []

    def blind(path):
        asked.append(path)
        return any(collisions.folded(p.name) == collisions.folded(path.name) for p in path.parent.iterdir())

    monkeypatch.setattr(collisions, "exists", blind)
    with pytest.raises(UsageError, match=r"would both become .* takes the names of their outputs for one"):
        plan([takes], tmp_path / "out", audio.OutputForm(".wav"))
    (tmp_path / "loud" / "A.WAV").parent.mkdir()
    (tmp_path / "loud" / "A.WAV").write_bytes(b"x")
    with pytest.raises(UsageError, match="one of the inputs"):
        plan([tmp_path / "loud"], tmp_path / "loud", audio.OutputForm(".wav"))
    assert asked
    assert not (tmp_path / "out").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"takes", "loud"}


def test_what_exists_in_another_form_is_not_made_again(tmp_path, enhancer):
    """Outputs that were copied over a Mac: their names come back in NFD."""
    name = unicodedata.normalize("NFC", "Gespräch.wav")
    other = unicodedata.normalize("NFD", name)
    write(tmp_path / "takes" / name)
    enhance_paths([tmp_path / "takes"], tmp_path / "out", enhancer)
    (tmp_path / "out" / name).rename(tmp_path / "out" / other)
    (result,) = enhance_paths([tmp_path / "takes"], tmp_path / "out", enhancer)
    assert result.status == "skipped"
    assert len(list((tmp_path / "out").iterdir())) == 1


@posix
def test_two_recordings_of_one_name_in_two_forms_are_two(tmp_path, enhancer):
    names = [unicodedata.normalize(form, "ä.wav") for form in ("NFC", "NFD")]
    write(tmp_path / "takes" / names[0])
    write(tmp_path / "takes" / names[1])
    if len(list((tmp_path / "takes").iterdir())) < 2:
        pytest.skip("this file system takes them for one")
    for wanted in ("enhanced", "skipped"):
        results = enhance_paths([tmp_path / "takes"], tmp_path / "out", enhancer)
        assert [r.status for r in results] == [wanted] * 2


def test_references_pair_in_any_form(tmp_path):
    takes, clean = tmp_path / "takes", tmp_path / "clean"
    write(takes / unicodedata.normalize("NFC", "Gespräch/ä.wav"))
    write(clean / unicodedata.normalize("NFD", "Gespräch/ä.wav"))
    (task,) = plan([takes], tmp_path / "out", references=clean)
    assert task.reference.is_file()


# --- many files ------------------------------------------------------------------------------------


def test_a_folder_of_outputs_is_listed_once(tmp_path, enhancer, monkeypatch):
    """Not once a file: with 100,000 outputs, that would be hours."""
    take = write(tmp_path / "takes" / "000.wav").read_bytes()
    for k in range(1, 60):
        (tmp_path / "takes" / f"{k:03}.wav").write_bytes(take)
    enhance_paths([tmp_path / "takes"], tmp_path / "out", enhancer)
    for k in range(50, 60):
        (tmp_path / "out" / f"{k:03}.wav").unlink()
    looks = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path=".": looks.append(str(path)) or scandir(path))
    monkeypatch.setattr(os, "listdir", lambda *_: pytest.fail("a listing more"))
    results = enhance_paths([tmp_path / "takes"], tmp_path / "out", enhancer)
    assert [r.status for r in results] == ["skipped"] * 50 + ["enhanced"] * 10
    assert looks.count(str(tmp_path / "out")) <= 3
    assert looks.count(str(tmp_path / "takes")) <= 2


@posix
def test_workers_may_stand_in_another_folder(tmp_path, monkeypatch):
    """On a cluster they do: they get absolute paths, and rows keep what was given."""
    write(tmp_path / "a.wav")
    monkeypatch.chdir(tmp_path)
    task = plan([Path("a.wav")], Path("out"), references=Path("a.wav"))[0]
    elsewhere = batch_run._anywhere(task)
    assert all(p.is_absolute() for p in (elsewhere.source, elsewhere.destination, elsewhere.reference))
    assert (elsewhere.source, elsewhere.reference) == (tmp_path / "a.wav",) * 2
