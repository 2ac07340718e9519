"""Many recordings: paths -> plan -> results. The whole plan is made before any work is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slimclean import audio
from slimclean.audio import AudioReader, AudioWriter
from slimclean.enhancer import Enhancer, Level
from slimclean.errors import SlimcleanError, UsageError
from slimclean.report import FileResult, ReportWriter

READ_BLOCK_S = 8.0
OUTPUT_SUFFIX = "-enhanced"


@dataclass(frozen=True)
class Task:
    """One recording to enhance and where the result goes."""

    source: Path
    destination: Path


def plan(paths: Sequence[Path], output: Path | None = None) -> list[Task]:
    """Pair every recording under `paths` with its output; nothing is read or written.

    A directory is walked recursively and mirrored. Without `output`, `take.wav` goes to
    `take-enhanced.wav` and `takes/` to `takes-enhanced/`. Raises `UsageError` for missing inputs, for
    outputs that collide and for an output that is an input.
    """
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: no such file or directory")
    tasks = [task for path in paths for task in _plan_one(path, output, alone=len(paths) == 1)]
    if not tasks:
        raise UsageError(f"no recordings found in {', '.join(map(str, paths))}")
    sources = {task.source.resolve() for task in tasks}
    taken: dict[Path, Path] = {}
    for task in tasks:
        target = task.destination.resolve()
        if target in sources:
            raise UsageError(f"{task.source}: the output {task.destination} is one of the inputs")
        if target in taken:
            raise UsageError(f"{taken[target]} and {task.source} would both become {task.destination}")
        taken[target] = task.source
    return tasks


def _plan_one(path: Path, output: Path | None, *, alone: bool) -> Iterator[Task]:
    if path.is_dir():
        folder = path.resolve()
        if not folder.name:
            raise UsageError(f"{path}: the root of a file system wants an --output")
        if output is None:
            # "takes" stays relative, but "." and ".." have no name of their own to stand beside.
            beside = path if path.name == folder.name else folder
            root = beside.with_name(folder.name + OUTPUT_SUFFIX)
        else:
            root = output if alone else output / folder.name
        for source in audio.walk(path):
            # An output folder inside the input is not input.
            if not (folder in root.resolve().parents and root.resolve() in source.resolve().parents):
                yield Task(source, root / source.relative_to(path))
    elif output is None:
        yield Task(path, path.with_name(f"{path.stem}{OUTPUT_SUFFIX}{path.suffix}"))
    elif alone and not output.is_dir() and output.suffix.lower() in audio.EXTENSIONS:
        yield Task(path, output)
    elif alone and not output.is_dir() and output.suffix:
        raise UsageError(f"{output}: cannot write {output.suffix}; a folder's name ends in /, or exists")
    else:
        yield Task(path, output / path.name)


@dataclass(frozen=True)
class Watch:
    """What a caller wants to hear while a batch runs; by default nothing."""

    planned: Callable[[float], None] = lambda _: None
    """Seconds of audio ahead, as far as headers tell."""
    progressed: Callable[[float], None] = lambda _: None
    """Seconds of audio just done."""
    finished: Callable[[FileResult], None] = lambda _: None


def enhance_paths(
    paths: Sequence[str | Path],
    output: str | Path | None = None,
    enhancer: Enhancer | None = None,
    *,
    overwrite: bool = False,
    report: str | Path | None = None,
    watch: Watch | None = None,
) -> list[FileResult]:
    """Enhance files and folders (see `plan`); a recording that fails is a row, never an exception.

    Outputs that exist are skipped unless `overwrite`. `report` is a CSV file, written row by row.
    Raises `UsageError` before any work where the plan contradicts itself.
    """
    tasks = plan([Path(path) for path in paths], Path(output) if output is not None else None)
    recordings = {path.resolve() for task in tasks for path in (task.source, task.destination)}
    if report is not None and Path(report).resolve() in recordings:
        raise UsageError(f"the report {report} is also a recording")
    enhancer = enhancer or Enhancer()
    watch = watch or Watch()
    watch.planned(sum(_duration_s(task) for task in tasks if overwrite or not task.destination.exists()))
    results = []
    with ReportWriter(Path(report)) if report is not None else nullcontext() as writer:
        for task in tasks:
            if task.destination.exists() and not overwrite:
                result = FileResult(str(task.source), str(task.destination), "skipped", "the output exists")
            else:
                result = enhance_file(task, enhancer, watch.progressed)
            results.append(result)
            if writer is not None:
                writer.add(result)
            watch.finished(result)
    return results


def _duration_s(task: Task) -> float:
    try:
        return audio.probe(task.source).duration_s
    except SlimcleanError:
        return 0.0


def enhance_file(
    task: Task, enhancer: Enhancer, progress: Callable[[float], None] = lambda _: None
) -> FileResult:
    """Enhance one recording in bounded memory, in two passes: its level, then its sound."""
    result = FileResult(str(task.source), str(task.destination), uf=str(enhancer.uf))
    if enhancer.uf == "auto":
        result.target_uf = enhancer.target_uf
    started = time.perf_counter()
    try:
        _enhance_into(result, task, enhancer, progress)
        result.status = "enhanced"
    except SlimcleanError as error:
        result.error = str(error)
    except OSError as error:
        result.error = error.strerror or str(error)
    except Exception as error:  # whatever one recording does, the others go on
        result.error = f"{type(error).__name__}: {' '.join(str(error).split())}"
    result.processing_s = time.perf_counter() - started
    if result.duration_s and result.status == "enhanced":
        result.rtf = result.processing_s / result.duration_s
    return result


def _enhance_into(
    result: FileResult, task: Task, enhancer: Enhancer, progress: Callable[[float], None]
) -> None:
    with AudioReader(task.source) as reader:
        info = reader.info
        result.sample_rate, result.channels = info.sample_rate, info.channels
        result.duration_s = info.duration_s if info.frames else None
        block = round(READ_BLOCK_S * info.sample_rate)
        level_in, level_out = Level(), Level()
        for samples in reader.blocks(block):
            level_in.add(samples, info.sample_rate)
    ufs: list[np.ndarray] = []
    with (
        AudioReader(task.source) as reader,
        AudioWriter(task.destination, audio.output_info(info, task.destination)) as writer,
    ):
        for out, uf in enhancer.stream(reader.blocks(block), info.sample_rate, level_in):
            writer.write(out)
            level_out.add(out, info.sample_rate)
            ufs.append(uf)
            progress(out.shape[1] / info.sample_rate)
        writer.commit()
    per_frame = np.concatenate(ufs)
    result.duration_s = writer.frames / info.sample_rate
    if len(per_frame):
        result.mean_uf = float(per_frame.mean())
        result.macs_per_sample = enhancer.macs_per_sample(per_frame)
        network_samples = result.duration_s * enhancer.config.sample_rate * info.channels
        result.gmacs = result.macs_per_sample * network_samples / 1e9
        result.level_in_dbfs, result.level_out_dbfs = level_in.dbfs, level_out.dbfs
