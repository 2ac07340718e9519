"""One gain for a set of recordings: all are cleaned and measured before the first output is written.

    each: clean -> spool, meter      all: one gain      each: spool -> gain, limiter -> output

The set is what one command names. Its loudness is that of all its recordings as one programme; the gain that
takes it to the target goes to every recording, so that who was softer stays softer. The spools (23 MB a minute
at 48 kHz in stereo) lie in a hidden folder beside the outputs until the last output is written. Where some
outputs exist already, their recordings are cleaned again to be measured, so that an interrupted run goes on
with the gain it had.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slimclean import audio
from slimclean.audio import AudioReader, AudioWriter, OutputForm
from slimclean.audio.atomic import STALE_S, AtomicFile, make_folder
from slimclean.batch.mastering import HeldForm, Spool, master, meter, tell_encoded
from slimclean.batch.recording import Progressed, Watched, enhance_file, outcome, score_output
from slimclean.batch.report import FileResult
from slimclean.batch.task import FileState, Task
from slimclean.batch.trace import Look
from slimclean.dsp.loudness import Loudness, together_lufs
from slimclean.enhancer import Enhancer
from slimclean.errors import SlimcleanError, reason

FOLDER = ".slimclean-set-"
_UNLOCKED = ".slimclean-new-"
"""How a folder is called until it holds a file that is locked: else another run may take it for a leftover."""
OTHER_GAIN_LU = 0.5
"""An output of an earlier run that is off by more was not made with the gain of this set."""

Work = Callable[[Task, Progressed], FileResult]
"""What is done to a recording; picklable, and raises nothing."""
Run = Callable[[Mapping[Task, Work]], Generator[tuple[Task, FileResult], None, None]]
"""Does the work of each task, in any order, in this process or in others."""


@dataclass(frozen=True)
class _Waiting:
    """What is known of a recording that waits in its spool."""

    loudness: Loudness
    opened: FileState


@dataclass(frozen=True)
class _Clean:
    """Cleans a recording into its spool."""

    enhancer: Enhancer
    form: OutputForm
    look: Look | None
    spool: Path

    def __call__(self, task: Task, progress: Progressed) -> FileResult:
        form, opened = HeldForm.of(self.form, self.spool), task.state()
        result = enhance_file(replace(task, reference=None), self.enhancer, form, progress, self.look)
        if isinstance(result.held, Loudness):
            result.held = _Waiting(result.held, opened)
        return result


@dataclass(frozen=True)
class _Write:
    """Writes what waits in a spool, `gain_db` louder; `row` is that of cleaning."""

    form: OutputForm
    gain_db: float
    spool: Path
    row: FileResult

    def __call__(self, task: Task, progress: Progressed) -> FileResult:
        result = replace(self.row, status="failed")
        with outcome(result):
            self._write(task, result)
        with contextlib.suppress(OSError):  # its folder goes in the end
            self.spool.unlink()
        if task.reference is not None and result.status == "enhanced":
            score_output(result, task)
        return result

    def _write(self, task: Task, result: FileResult) -> None:
        before, watched = _loudness(result), Watched(task, _waiting(result).opened)
        with AudioReader(task.source, self.form.track) as reader:
            stored = audio.plan_output(reader.info, task.source, task.destination, self.form)
        mtime_ns = task.source.stat().st_mtime_ns if self.form.keep_mtime else None
        spool = Spool(self.spool.parent, stored, self.spool, read=True)
        with contextlib.closing(spool), AudioWriter(task.destination, stored, task.source) as writer:
            mastered = master(spool, before, writer, self.form, self.gain_db)
            writer.commit(mtime_ns, watched)
        result.status = "enhanced"
        result.clipped_samples, result.held = writer.clipped, None
        result.left(writer.committed, kept_mtime=self.form.keep_mtime)
        result.remark(watched.remark, *self.form.remarks(stored), *writer.warnings)
        mastered.tell(result)
        tell_encoded(result, task.destination, stored, self.form)


def enhance_together(
    tasks: Sequence[Task],
    existing: Sequence[Task],
    enhancer: Enhancer,
    form: OutputForm,
    look: Callable[[Path], Look | None],
    run: Run,
) -> Generator[tuple[Task, FileResult], None, None]:
    """Enhance `tasks` with one gain; `existing` belong to the set, but their outputs are there.

    Rows come once everything is measured, those of failures earlier.
    """
    if not tasks:
        return
    assert form.loudness_lufs is not None
    there = set(existing)
    with _folder(tasks[0]) as folder:
        spools = {task: folder / str(k) for k, task in enumerate([*tasks, *existing])}
        cleaning = {
            task: _Clean(enhancer, form, None if task in there else look(task.source), spool)
            for task, spool in spools.items()
        }
        rows, lost = {}, {}
        with contextlib.closing(run(cleaning)) as results:
            for task, result in results:
                if isinstance(result.held, _Waiting):
                    rows[task] = result
                elif task in there:
                    lost[task.source] = result.error
                else:
                    yield task, result
                if task in there:
                    with contextlib.suppress(OSError):
                        spools[task].unlink()
        set_lufs = together_lufs(_loudness(row) for row in rows.values())
        gain_db = form.loudness_lufs - set_lufs if math.isfinite(set_lufs) else 0.0
        remarks = [_without(lost)] if lost else []
        if off := _other_gain({task: row for task, row in rows.items() if task in there}, gain_db):
            remarks.append(off if lost else f"{off}; overwrite them")
        writing = {}
        for task in (task for task in rows if task not in there):
            rows[task].remark(*remarks)
            writing[task] = _Write(form, gain_db, spools[task], rows[task])
        with contextlib.closing(run(writing)) as results:
            yield from results


def _waiting(row: FileResult) -> _Waiting:
    assert isinstance(row.held, _Waiting)
    return row.held


def _without(lost: Mapping[Path, str]) -> str:
    """Name recordings that cannot be cleaned any more, but had a part in the gain of an earlier run."""
    first, why = next(iter(lost.items()))
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    return (
        f"the set is measured without {first}{more} ({why}), whose output exists: "
        "for one gain, mend that and overwrite"
    )


def _loudness(row: FileResult) -> Loudness:
    return _waiting(row).loudness


def _other_gain(rows: Mapping[Task, FileResult], gain_db: float) -> str:
    """Say so where outputs of an earlier run are not as loud as this set would make them."""
    off = []
    for task, row in rows.items():
        with contextlib.suppress(SlimcleanError), AudioReader(task.destination, row.output_track) as reader:
            gauge = meter(reader.info)
            for block in reader.read_blocks():
                gauge.add(block)
            off.append(gauge.finish().integrated_lufs - _loudness(row).integrated_lufs - gain_db)
    most = max((abs(lu) for lu in off if math.isfinite(lu)), default=0.0)
    if most <= OTHER_GAIN_LU:
        return ""
    return f"outputs of an earlier run are up to {most:.1f} LU off the gain of this set"


@contextlib.contextmanager
def _folder(task: Task) -> Iterator[Path]:
    """Yield a hidden folder for spools, which goes in the end; those of runs that were killed go now.

    A temporary file in it is locked for as long as this process lives (see `AtomicFile`).
    """
    outputs = task.destination.parent
    try:
        make_folder(outputs, task.source.parent)
        _remove_left(outputs)
        new = Path(tempfile.mkdtemp(prefix=_UNLOCKED, dir=outputs)).absolute()
    except OSError as error:
        raise SlimcleanError(f"cannot write into {outputs} ({reason(error)})") from error
    folder = new.with_name(FOLDER + new.name.removeprefix(_UNLOCKED))
    try:
        with AtomicFile(new / "alive"):
            new.rename(folder)
            yield folder
    finally:
        for path in (new, folder):
            shutil.rmtree(path, ignore_errors=True)


def _remove_left(outputs: Path) -> None:
    """Remove folders of spools that belong to no run any more."""
    for old in outputs.glob(f"{FOLDER}*"):
        audio.remove_leftovers(old)
        if not any(old.glob(".slimclean-*.part")):
            shutil.rmtree(old, ignore_errors=True)
    for new in outputs.glob(f"{_UNLOCKED}*"):
        with contextlib.suppress(OSError):  # renamed meanwhile
            if time.time() - new.stat().st_mtime > STALE_S:
                shutil.rmtree(new, ignore_errors=True)
