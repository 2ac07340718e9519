"""The report of several runs: whose rows stay, which are new, and what is refused."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
import soundfile
from conftest import identity_enhancer, run, voice

from slimclean.audio import OutputForm
from slimclean.audio.atomic import lock
from slimclean.batch.report import COLUMNS, FileResult
from slimclean.batch.report_file import ReportWriter
from slimclean.batch.report_reading import load, read_report
from slimclean.batch.run import enhance_paths
from slimclean.batch.task import Task
from slimclean.errors import SlimcleanError, UsageError

posix = pytest.mark.skipif(os.name != "posix", reason="names, modes and locks of POSIX")


@pytest.fixture(scope="module")
def enhancer():
    return identity_enhancer(0.5)


@pytest.fixture
def takes(tmp_path):
    for name in ("a", "deep/b", "c"):
        path = tmp_path / "takes" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, voice(0.05), 16_000)
    return tmp_path / "takes"


def statuses(report):
    """Status by name, of which each is there once."""
    rows = load(report)[1]
    names = [Path(row["file"]).name for row in rows]
    assert len({*names}) == len(names)
    return {name: row["status"] for name, row in zip(names, rows, strict=True)}


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_a_second_run_ends_with_one_report_of_everything(takes, tmp_path, enhancer, name):
    out, report = tmp_path / "out", tmp_path / name
    (takes / "c.wav").rename(tmp_path / "later.wav")
    (takes / "c.wav").write_bytes(b"no sound")
    enhance_paths([takes], out, enhancer, report=report)
    first = read_report(report)
    (tmp_path / "later.wav").replace(takes / "c.wav")
    soundfile.write(takes / "0.wav", voice(0.05), 16_000)
    results = enhance_paths([takes], out, enhancer, report=report)
    assert sorted(r.status for r in results) == ["enhanced", "enhanced", "skipped", "skipped"]
    second = read_report(report)
    assert [row.file for row in second] == [result.file for result in results]  # in the order of the plan
    assert [row.status for row in second] == ["enhanced"] * 4
    for row in first:
        if row.status == "enhanced":
            assert row in second  # to the last digit
    enhance_paths([takes], out, enhancer, report=report)
    assert read_report(report) == second


def test_rows_are_on_the_disk_as_they_come_beside_those_of_before(takes, tmp_path, enhancer):
    report = tmp_path / "r.csv"
    enhance_paths([takes / "a.wav"], tmp_path / "out" / "a.wav", enhancer, report=report)
    seen = []
    from slimclean.batch.options import Watch

    watch = Watch(finished=lambda _: seen.append(len(report.read_text().splitlines())))
    enhance_paths([takes], tmp_path / "out", enhancer, report=report, watch=watch)
    assert seen == [2, 3, 4]  # the header and `a`, which is skipped and keeps its row; then the others


def test_rows_of_recordings_that_are_gone_stay(takes, tmp_path, enhancer):
    """An inbox that is emptied: the folder is the same, and so is that of its outputs."""
    report = tmp_path / "r.csv"
    enhance_paths([takes], tmp_path / "out", enhancer, report=report)
    for path in takes.rglob("*.wav"):
        path.unlink()
    soundfile.write(takes / "new.wav", voice(0.05), 16_000)
    enhance_paths([takes], tmp_path / "out", enhancer, report=report)
    assert statuses(report) == dict.fromkeys(["new.wav", "a.wav", "c.wav", "b.wav"], "enhanced")


def test_the_report_of_another_set_is_refused_before_any_work(takes, tmp_path, enhancer):
    report = tmp_path / "r.csv"
    enhance_paths([takes / "deep"], tmp_path / "out", enhancer, report=report)
    before = report.read_bytes()
    others = [
        ([takes], tmp_path / "elsewhere"),  # the same recordings, other outputs
        ([takes / "a.wav"], tmp_path / "out" / "a.wav"),
    ]
    for paths, output in others:
        with pytest.raises(UsageError, match=r"r\.csv is the report of other recordings, such as .*b\.wav"):
            enhance_paths(paths, output, enhancer, report=report)
        assert report.read_bytes() == before
        assert not output.exists()
    enhance_paths(*others[1], enhancer, report=report, overwrite=True)
    assert statuses(report) == {"a.wav": "enhanced"}


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n",
        "my notes",
        "file,output,status\na,b\nc,d,enhanced\n",
        "\xff\xfe",
        '{"file": "a\\u0000b", "output": "c", "status": "enhanced"}\n',
        "file,output,status\na\0b,c,enhanced\n",
    ],
)
def test_what_is_no_report_is_left_alone(takes, tmp_path, enhancer, text):
    for name in ("r.csv", "r.jsonl"):
        (tmp_path / name).write_text(text)
        for overwrite in (False, True):
            with pytest.raises(UsageError, match="not a report of slimclean"):
                enhance_paths([takes], tmp_path / "out", enhancer, report=tmp_path / name, overwrite=overwrite)
        assert (tmp_path / name).read_text() == text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_half_a_line_at_the_end_is_no_row(takes, tmp_path, enhancer, name):
    report = tmp_path / name
    enhance_paths([takes], tmp_path / "out", enhancer, report=report)
    whole = report.read_bytes()
    lines = whole.splitlines(keepends=True)
    last = len(lines[-1])
    for half in (
        whole[:-1],
        whole[: -last // 2],
        whole[: -last + 1],
        whole[:-last] + bytes(100),
        whole[:5],
        b"",
    ):
        report.write_bytes(half)
        rows = 0 if len(half) < 10 else 2
        assert len(read_report(report)) == rows
        enhance_paths([takes], tmp_path / "out", enhancer, report=report)
        assert sorted(statuses(report).values()) == ["enhanced"] * rows + ["skipped"] * (3 - rows)


@pytest.mark.parametrize("name", ["\\ud800/a.wav", "a\\u0000b"])
@pytest.mark.parametrize("column", ["file", "output"])
def test_what_can_be_no_name_is_refused(takes, tmp_path, enhancer, column, name):
    """JSON holds names that no file can have, which the system's functions raise at."""
    report = tmp_path / "r.jsonl"
    cells = {"file": '"a"', "output": '"b"', column: f'"{name}"'}
    report.write_text(f'{{"file": {cells["file"]}, "output": {cells["output"]}, "status": "enhanced"}}\n')
    with pytest.raises(UsageError, match="which is no name"):
        enhance_paths([takes], tmp_path / "out", enhancer, report=report)
    with pytest.raises(SlimcleanError, match="which is no name"):
        read_report(report)
    shown = run("report", report, "-o", tmp_path / "r.html")
    assert (shown.exit_code, len(shown.stderr.splitlines())) == (1, 1)


def test_half_a_line_with_a_line_break_in_a_name(tmp_path):
    report = tmp_path / "r.csv"
    with ReportWriter(report) as writer:
        writer.add(FileResult("a", "b", "enhanced"))
        writer.add(FileResult("new\nline", "c", "enhanced"))
    report.write_bytes(report.read_bytes()[: report.read_bytes().index(b"line") + 2])
    assert [row.file for row in read_report(report)] == ["a"]


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_columns_of_another_version_stay(takes, tmp_path, enhancer, name):
    """One that this version does not know keeps its cells, one that is new is empty."""
    out, report = tmp_path / "out", tmp_path / name
    enhance_paths([takes / "a.wav"], out / "a.wav", enhancer)
    row = {"file": str(takes / "a.wav"), "output": str(out / "a.wav"), "status": "enhanced", "heard_by": "Ö"}
    with report.open("w", newline="", encoding="utf-8-sig" if name == "r.csv" else "utf-8") as file:
        if name == "r.csv":
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerow(row)
        else:
            file.write(json.dumps(row) + "\n")
    enhance_paths([takes], out, enhancer, report=report)
    columns, rows = load(report)
    assert columns == [*COLUMNS, "heard_by"]
    assert rows[0]["heard_by"] == "Ö"
    assert not rows[0]["mean_uf"]
    assert [row["status"] for row in rows] == ["enhanced"] * 3


def test_a_row_that_is_not_true_any_more_is_replaced(takes, tmp_path, enhancer):
    """The output was removed, and the recording damaged since."""
    report = tmp_path / "r.csv"
    enhance_paths([takes], tmp_path / "out", enhancer, report=report)
    (tmp_path / "out" / "a.wav").unlink()
    (takes / "a.wav").write_bytes(b"damaged")
    enhance_paths([takes], tmp_path / "out", enhancer, report=report)
    assert statuses(report) == {"a.wav": "failed", "c.wav": "enhanced", "b.wav": "enhanced"}


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
@pytest.mark.parametrize("keep_mtime", [False, True])
def test_in_place_what_the_report_says_is_done_is_not_cleaned_again(
    takes, tmp_path, enhancer, name, keep_mtime
):
    """While it is as the run left it: cleaning twice costs sound. What changed since is cleaned."""
    options = {"in_place": True, "report": tmp_path / name, "form": OutputForm(keep_mtime=keep_mtime)}
    (takes / "c.wav").rename(tmp_path / "c.wav")
    enhance_paths([takes], None, enhancer, **options)
    (tmp_path / "c.wav").rename(takes / "c.wav")
    soundfile.write(takes / "a.wav", voice(0.06), 16_000)
    before = (takes / "deep" / "b.wav").read_bytes()
    first = {row.file: row for row in read_report(tmp_path / name)}
    planned = run("enhance", takes, "--in-place", "--report", tmp_path / name, "--dry-run").stdout
    assert [line.split("\t")[0] for line in planned.splitlines()] == ["enhance", "enhance", "skip"]
    results = enhance_paths([takes], None, enhancer, **options)
    assert [(r.status, r.error) for r in results[:2]] == [("enhanced", "")] * 2
    assert (results[2].status, results[2].error) == ("skipped", "cleaned by an earlier run")
    assert (takes / "deep" / "b.wav").read_bytes() == before
    rows = read_report(tmp_path / name)
    assert [row.status for row in rows] == ["enhanced"] * 3
    assert rows[2] == first[rows[2].file]
    for more in ({"overwrite": True}, {"report": None}):
        assert [r.status for r in enhance_paths([takes], None, enhancer, **options | more)] == ["enhanced"] * 3


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_a_report_without_the_noise_reduction_is_not_taken_for_one_of_residuals(takes, tmp_path, name):
    """As the first reports were, or as a spreadsheet left it; an empty cell says that the output is one."""
    report = tmp_path / name
    halved = identity_enhancer(effect=lambda noisy: noisy / 2, residual=True)
    enhance_paths([takes], tmp_path / "out", halved, report=report)
    assert all(row.is_residual for row in read_report(report))
    columns, rows = load(report)
    columns.remove("noise_reduction_db")
    if name == "r.csv":
        with report.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    else:
        report.write_text("".join(json.dumps({c: row[c] for c in columns}) + "\n" for row in rows))
    assert not any(row.is_residual for row in read_report(report))


@pytest.mark.parametrize("keep_mtime", [False, True])
def test_in_place_a_recording_that_was_put_back_is_cleaned_again(takes, tmp_path, enhancer, keep_mtime):
    """From a backup that has its size and its time, which with `keep_mtime` are those of the output too."""
    options = {"in_place": True, "report": tmp_path / "r.csv", "form": OutputForm(keep_mtime=keep_mtime)}
    shutil.copy2(takes / "a.wav", tmp_path / "backup.wav")
    enhance_paths([takes], None, enhancer, **options)
    shutil.copy2(tmp_path / "backup.wav", takes / "a.wav")
    results = enhance_paths([takes], None, enhancer, **options)
    assert [r.status for r in results] == ["enhanced", "skipped", "skipped"]


def test_in_place_a_report_that_does_not_tell_how_files_were_left_is_no_reason_to_skip(
    takes, tmp_path, enhancer
):
    report = tmp_path / "r.csv"
    enhance_paths([takes], None, enhancer, in_place=True, report=report)
    columns, rows = load(report)
    kept = [name for name in columns if name not in ("output_bytes", "output_mtime_s")]
    with report.open("w", newline="") as file:
        writer = csv.DictWriter(file, kept, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    results = enhance_paths([takes], None, enhancer, in_place=True, report=report)
    assert [r.status for r in results] == ["enhanced"] * 3
    assert all(row.output_bytes == Path(row.output).stat().st_size for row in read_report(report))


def test_a_recording_that_changed_since_is_skipped_with_a_remark(takes, tmp_path, enhancer):
    """The output is that of an older recording, which the name does not tell."""
    report, remark = tmp_path / "r.csv", "the recording is newer than the output; `overwrite` makes that anew"
    options = {"report": report, "form": OutputForm(keep_mtime=True)}
    enhance_paths([takes], tmp_path / "out", enhancer, **options)
    then = (takes / "a.wav").stat().st_mtime
    os.utime(takes / "a.wav", (then + 3, then + 3))
    for _ in range(2):
        results = enhance_paths([takes], tmp_path / "out", enhancer, **options)
        assert [(r.status, r.warnings) for r in results] == [("skipped", w) for w in (remark, "", "")]
        rows = read_report(report)
        assert [row.status for row in rows] == ["enhanced"] * 3
        assert [row.warnings.count(remark) for row in rows] == [1, 0, 0]
    enhance_paths([takes], tmp_path / "out", enhancer, **options, overwrite=True)
    assert remark not in report.read_text()


def test_another_spelling_of_a_path_is_the_same_recording(takes, tmp_path, enhancer, monkeypatch):
    enhance_paths([takes], tmp_path / "out", enhancer, report=tmp_path / "r.csv")
    monkeypatch.chdir(takes)
    enhance_paths(["."], "../out", enhancer, report="../r.csv")
    assert sorted(statuses(tmp_path / "r.csv").values()) == ["enhanced"] * 3


@posix
def test_any_name_goes_through_two_runs(tmp_path, enhancer):
    folder = tmp_path / "takes"
    folder.mkdir()
    names = [os.fsdecode(b"latin-\xe9.wav"), "new\nline.wav", "car\rriage.wav", 'quo"te,.wav', "三.wav"]
    for name in names:
        soundfile.write(folder / "x.wav", voice(0.05), 16_000)
        (folder / "x.wav").rename(folder / name)
    for report in (tmp_path / "r.csv", tmp_path / "r.jsonl"):
        for _ in range(2):
            enhance_paths([folder], tmp_path / f"out{report.suffix}", enhancer, report=report)
        assert {Path(row.file).name for row in read_report(report)} == {*names}
        assert all(row.status == "enhanced" for row in read_report(report))


@posix
def test_the_report_of_a_private_recording_is_private(takes, tmp_path, enhancer):
    (takes / "deep" / "b.wav").chmod(0o600)
    for name, paths in (("open", [takes / "a.wav"]), ("closed", [takes])):
        enhance_paths(paths, tmp_path / name, enhancer, report=tmp_path / f"{name}.csv")
    assert (tmp_path / "open.csv").stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert (tmp_path / "closed.csv").stat().st_mode & 0o777 == 0o600


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_report_that_cannot_be_written_is_known_before_the_work(takes, tmp_path, enhancer):
    for path in (Path("/dev/full"), takes, takes / "a.wav" / "r.csv", tmp_path / ("n" * 300)):
        with pytest.raises(SlimcleanError, match="cannot write"):
            enhance_paths([takes], tmp_path / "out", enhancer, report=path)
    assert not (tmp_path / "out").exists()


def test_rows_that_find_no_room_do_not_stop_the_work(takes, tmp_path, enhancer, monkeypatch):
    report = tmp_path / "r.csv"

    def fail(_, rows):
        if rows:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("slimclean.batch.report_file.csv.DictWriter.writerows", fail)
    monkeypatch.setattr(ReportWriter, "_line", fail)
    with pytest.raises(SlimcleanError, match=r"cannot write .*No space left"):
        enhance_paths([takes], tmp_path / "out", enhancer, report=report)
    assert len(list((tmp_path / "out").rglob("*.wav"))) == 3


def test_a_report_that_only_cannot_be_put_in_order_is_whole(takes, tmp_path, enhancer, monkeypatch):
    """A disk that holds it once, but not twice."""
    report, real = tmp_path / "r.csv", ReportWriter._write_all

    def once(self):
        monkeypatch.setattr(ReportWriter, "_write_all", full)
        real(self)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ReportWriter, "_write_all", once)
    assert len(enhance_paths([takes], tmp_path / "out", enhancer, report=report)) == 3
    assert sorted(statuses(report).values()) == ["enhanced"] * 3


@posix
def test_two_runs_at_a_time_do_not_lose_one_anothers_rows(tmp_path):
    with ReportWriter(tmp_path / "r.csv") as first:
        with pytest.raises(UsageError, match="another run writes it"):
            ReportWriter(tmp_path / "r.csv")
        first.add(FileResult("a", "b", "enhanced"))
    with ReportWriter(tmp_path / "r.csv", [Task(Path("a"), Path("b"))]):
        pass
    assert [row.file for row in read_report(tmp_path / "r.csv")] == ["a"]


@posix
@pytest.mark.parametrize("there", [False, True])
def test_of_two_runs_that_begin_together_one_is_refused(tmp_path, monkeypatch, there):
    report, begin = tmp_path / "new" / "r.csv", ReportWriter._take_over
    if there:
        ReportWriter(report).__exit__(None, None, None)

    def second_comes(self, *arguments, **options):
        monkeypatch.setattr(ReportWriter, "_take_over", begin)
        with pytest.raises(UsageError, match="another run writes it"):
            ReportWriter(report)
        begin(self, *arguments, **options)

    monkeypatch.setattr(ReportWriter, "_take_over", second_comes)
    with ReportWriter(report) as first:
        with pytest.raises(UsageError, match="another run writes it"):
            ReportWriter(report)
        first.add(FileResult("a", "b", "enhanced"))
    assert [row.file for row in read_report(report)] == ["a"]


@posix
def test_who_is_refused_leaves_the_report_to_the_one_that_has_it(tmp_path, monkeypatch):
    """Another run locks the new file before the one that made it does."""
    report, theirs = tmp_path / "r.csv", []

    def after_another(descriptor):
        monkeypatch.setattr("slimclean.batch.report_file.lock", lock)
        theirs.append(report.open("ab"))
        assert lock(theirs[0].fileno())
        return lock(descriptor)

    monkeypatch.setattr("slimclean.batch.report_file.lock", after_another)
    with pytest.raises(UsageError, match="another run writes it"):
        ReportWriter(report)
    assert report.stat().st_ino == os.fstat(theirs[0].fileno()).st_ino
    theirs[0].close()


@posix
def test_a_new_report_that_cannot_be_written_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(
        ReportWriter, "_write_all", lambda _: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(SlimcleanError, match="No space left"):
        ReportWriter(tmp_path / "r.csv")
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@sum(a)", "\t=1"])
def test_no_cell_is_a_formula(tmp_path, enhancer, monkeypatch, name):
    """A spreadsheet computes what begins so; the name that stands there instead is of the same file."""
    monkeypatch.chdir(tmp_path)
    source, output = f"{name}.wav", f"{name}-out.wav"
    soundfile.write(tmp_path / source, voice(0.05), 16_000)
    for report in ("r.csv", "r.jsonl"):
        for _ in range(2):
            enhance_paths([source], output, enhancer, report=report)
        (row,) = read_report(Path(report))
        assert row.status == "enhanced"
        assert Path(row.file) == Path(source)
        assert Path(row.output) == Path(output)
        Path(output).unlink()
    (cells,) = load(Path("r.csv"))[1]
    assert (cells["file"], cells["output"]) == (f"./{source}", f"./{output}")
    assert load(Path("r.jsonl"))[1][0]["file"] == source


def test_a_dry_run_refuses_the_reports_that_the_run_would(takes, tmp_path, weights):
    report, arguments = tmp_path / "r.csv", ["enhance", takes, "-o", tmp_path / "out", "-m", weights]
    enhance_paths([takes / "a.wav"], tmp_path / "b.wav", identity_enhancer(0.5), report=report)
    before = report.read_bytes()
    for text, message in ((before, "the report of other recordings"), (b"mine", "not a report of slimclean")):
        report.write_bytes(text)
        planned = run(*arguments, "--report", report, "--dry-run")
        assert (planned.exit_code, planned.stdout) == (2, "")
        assert message in planned.stderr
        assert report.read_bytes() == text
    report.write_bytes(before)
    assert run(*arguments, "--report", report, "--dry-run", "--overwrite").exit_code == 0
    assert report.read_bytes() == before


def test_the_report_of_a_pipe(tmp_path, weights):
    soundfile.write(tmp_path / "a.wav", voice(0.05), 16_000)
    arguments = ["enhance", tmp_path / "a.wav", "-o", "-", "-m", weights, "--report", tmp_path / "r.csv"]
    for _ in range(2):
        assert run(*arguments).exit_code == 0
    assert statuses(tmp_path / "r.csv") == {"a.wav": "enhanced"}
    (tmp_path / "r.csv").write_text("mine")
    assert run(*arguments).exit_code == 2
    assert (tmp_path / "r.csv").read_text() == "mine"
