"""Many recordings: in this process, in several, or on a cluster. A recording that fails is a row."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import multiprocessing
import os
import threading
import time
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.backend.process import LokyProcess
from joblib.externals.loky.backend.reduction import dumps

from slimclean import audio
from slimclean.audio import OutputForm
from slimclean.batch.collisions import RealPaths
from slimclean.batch.machine import available_bytes
from slimclean.batch.options import Options, Watch
from slimclean.batch.plan import plan_batch
from slimclean.batch.recording import Progressed, enhance_file
from slimclean.batch.report import CLEANED, EXISTS, NOT_BEGUN, FileResult, failed, skipped
from slimclean.batch.report_file import report_of
from slimclean.batch.resume import done_tasks
from slimclean.batch.task import Task
from slimclean.batch.together import Work, enhance_together
from slimclean.batch.trace import Look
from slimclean.enhancer import Enhancer
from slimclean.errors import SlimcleanError, UsageError, reason, told

WORTH_WORKERS_S = 240.0
"""Seconds of audio a worker process should have ahead of it before its start of some seconds pays."""
WORKER_BYTES = 900e6
CONNECT_S = 10.0
PARENT_CHECK_S = 0.02
"""So often a worker process looks whether the one that began it is there."""


def enhance_paths(
    paths: str | Path | Iterable[str | Path],
    output: str | Path | None = None,
    enhancer: Enhancer | None = None,
    options: Options | None = None,
    watch: Watch | None = None,
    **changes: Any,
) -> list[FileResult]:
    """Enhance a file or folder, or several (see `plan`); rows come back in the order of the plan.

    Keyword arguments are those of `Options`, and change `options` where both are given. Outputs that exist are
    skipped unless `overwrite`; with `in_place`, recordings that are as the report says that a run left them.
    The report is written row by row, and goes on with that of an earlier run over the same set (see
    `ReportWriter`). Raises `UsageError` before any work where the request contradicts itself.
    """
    options = replace(options or Options(), **changes)
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    return enhance_tasks(plan_batch(paths, output, options), enhancer or Enhancer(), options, watch)


def enhance_tasks(
    tasks: Sequence[Task], enhancer: Enhancer, options: Options, watch: Watch | None = None
) -> list[FileResult]:
    """Do what `plan_batch` planned with the same options; see `enhance_paths`."""
    watch = watch or Watch()
    results: dict[Task, FileResult] = {}
    with report_of(tasks, options) as writer:
        done = done_tasks(tasks, options)
        todo = [task for task in tasks if task not in done and not task.problem]
        together = options.form.loudness_lufs is not None and options.loudness_per == "batch"
        existing = [task for task in tasks if task in done] if together and todo else []  # cleaned again
        durations = {task: _duration_s(task) for task in (*todo, *existing)}
        watch.planned(sum(durations.values()))
        jobs = options.jobs or pick_jobs(list(durations.values()), enhancer.device.type)
        jobs = joblib.effective_n_jobs(jobs)  # one, where the system has no semaphores for several

        def finish(task: Task, result: FileResult) -> None:
            result.reword(options.wording)
            results[task] = result
            if writer is not None:
                writer.add(result)
            watch.finished(result)

        for task in tasks:
            if task in done:
                finish(task, skipped(task, CLEANED if options.in_place else EXISTS, done[task]))
            elif task.problem:
                finish(task, failed(task, task.problem))
        # Where outputs may be links, their targets' folders are written to.
        real_path = RealPaths() if options.in_place or options.overwrite else str
        folders = {Path(real_path(task.destination)).parent for task in todo}
        for folder in folders:
            audio.remove_leftovers(folder)
        stopped = options.fail_fast and any(task.problem for task in tasks)
        ahead = [] if stopped else todo
        shared = options.scheduler is not None or (jobs > 1 and bool(ahead) and len(durations) > 1)
        if shared:
            _check_travels(enhancer)

        def run(work: Mapping[Task, Work]) -> Generator[tuple[Task, FileResult], None, None]:
            if not shared:
                yield from ((task, do(task, watch.progressed)) for task, do in work.items())
                return
            with contextlib.closing(_in_processes(work, folders, options.scheduler, jobs)) as results:
                for task, result in results:
                    watch.progressed(durations.pop(task, 0.0))  # once, where a set is cleaned and then written
                    yield task, result

        if together:
            rows = enhance_together(ahead, existing, enhancer, options.form, options.look, run)
        else:
            rows = run({t: _Enhance(enhancer, options.form, options.look(t.source)) for t in ahead})
        with contextlib.closing(rows):
            for task, result in rows:
                finish(task, result)
                if options.fail_fast and result.status == "failed":
                    break
        for task in todo:
            if task not in results:
                finish(task, skipped(task, NOT_BEGUN))
    return [results[task] for task in tasks]


def pick_jobs(durations_s: list[float], device: str) -> int:
    """Choose how many processes pay: one a core where each has enough to do and memory to do it in."""
    fitting = max(1.0, available_bytes() / WORKER_BYTES)
    jobs = int(min(joblib.cpu_count(), fitting, len(durations_s), sum(durations_s) // WORTH_WORKERS_S))
    return max(1, jobs) if device == "cpu" else 1


def _duration_s(task: Task) -> float:
    try:
        return audio.probe(task.source).duration_s
    except Exception:  # whatever it is, enhancing says it in the row
        return 0.0


# --- several processes ---------------------------------------------------------------------------


def _in_processes(
    work: Mapping[Task, Work], folders: Iterable[Path], scheduler: str | None, jobs: int
) -> Generator[tuple[Task, FileResult], None, None]:
    """Yield results as they come, from loky or Dask. A worker that dies costs the recording it died of.

    Who died of what is not known at first, so what may have been in work is tried again one by one.
    """
    remaining = dict(work)

    with _backend(scheduler, jobs):
        try:
            while remaining:
                results = _parallel(remaining, jobs)
                try:
                    for task, result in results:
                        del remaining[task]
                        yield task, result
                except Exception:  # the work raises nothing: this is a dead worker
                    for task in list(remaining)[: 3 * jobs]:
                        yield task, _alone(task, remaining.pop(task), jobs)
                finally:
                    _cancel(results)
        finally:
            # What was in work at an interrupt, or in a worker that was lost, leaves nothing behind.
            for folder in folders:
                audio.remove_leftovers(folder)


def _check_travels(enhancer: Enhancer) -> None:
    """Raise `UsageError` where the enhancer cannot be sent to another process, as with some engines."""
    try:
        dumps(enhancer)
    except Exception as error:
        raise UsageError(f"with more than one of `jobs`, the enhancer has to be picklable ({error})") from error


def _parallel(work: Mapping[Task, Work], jobs: int) -> Generator[tuple[Task, FileResult], None, None]:
    calls = (delayed(_do)(task, _anywhere(task), do) for task, do in list(work.items()))
    jobs = min(jobs, max(2, len(work)))  # joblib takes 1 for this process, which no recording may end
    pool = Parallel(n_jobs=jobs, batch_size=1, pre_dispatch="2 * n_jobs", return_as="generator_unordered")
    try:
        results: Generator[tuple[Task, FileResult], None, None] = pool(calls)
    except TimeoutError as error:
        raise SlimcleanError(f"the Dask scheduler has no workers; none came within {CONNECT_S:g} s") from error
    return results


def _cancel(results: Generator[Any, None, None]) -> None:
    """Stop what is in work, of which joblib would warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results.close()


def _alone(task: Task, do: Work, jobs: int) -> FileResult:
    try:
        return next(_parallel({task: do}, jobs))[1]
    except Exception as error:
        name = type(error).__name__
        if isinstance(error, BrokenExecutor) or name == "KilledWorker":  # the latter is Dask's
            return failed(task, f"its worker process died ({name}); if out of memory, take fewer `jobs`")
        return failed(task, reason(error))


@dataclass(frozen=True)
class _Enhance:
    """Enhances a recording."""

    enhancer: Enhancer
    form: OutputForm
    look: Look | None

    def __call__(self, task: Task, progress: Progressed) -> FileResult:
        return enhance_file(task, self.enhancer, self.form, progress, self.look)


@functools.cache
def _end_with_parent() -> None:
    """Let a worker process of ours end with the one that began it, however that ends.

    Nobody takes its rows then. Those of Dask look after themselves, and a fork server may have begun them.
    """
    parent = multiprocessing.parent_process()
    if parent is None or not isinstance(multiprocessing.current_process(), LokyProcess) or os.name != "posix":
        return

    def watch() -> None:
        while os.getppid() == parent.pid:
            time.sleep(PARENT_CHECK_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _do(task: Task, here: Task, do: Work) -> tuple[Task, FileResult]:
    _end_with_parent()
    result = do(here, lambda _: None)
    result.file, result.output = str(task.source), str(task.destination)
    return task, result


def _anywhere(task: Task) -> Task:
    """Make `task` fit for a process that may work in another folder."""
    return replace(
        task,
        source=task.source.absolute(),
        destination=task.destination.absolute(),
        reference=task.reference and task.reference.absolute(),
    )


@contextlib.contextmanager
def _backend(scheduler: str | None, jobs: int) -> Iterator[None]:
    """Choose where joblib runs: processes with one torch thread each, or the workers of a Dask scheduler."""
    if scheduler is None:
        with parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
            yield
        return
    from distributed import Client

    class PromptClient(Client):
        """A client whose own time limit leaves out the reading of what a scheduler says first."""

        def start(self, **options: Any) -> None:
            super().start(callback_timeout=CONNECT_S, **options)  # type: ignore[no-untyped-call]

    try:
        client = PromptClient(scheduler, timeout=CONNECT_S)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, asyncio.TimeoutError) as error:
        timed_out = isinstance(error, asyncio.TimeoutError) and not str(error)
        why = f"timed out after {CONNECT_S:g} s" if timed_out else told(error)
        raise SlimcleanError(f"no Dask scheduler answers at {scheduler} ({why})") from error
    with client, parallel_config("dask", wait_for_workers_timeout=CONNECT_S):
        yield
