"""One recording: from file to file in bounded memory, and the row that tells how it went."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from slimclean import audio
from slimclean.audio import AudioReader, AudioWriter, OutputForm
from slimclean.batch import diagnostics
from slimclean.batch.mastering import MasteredWriter, mastered
from slimclean.batch.plan import Task
from slimclean.batch.report import FileResult
from slimclean.batch.trace import Look, Trace
from slimclean.dsp.level import Level
from slimclean.dsp.loudness import LoudnessMeter
from slimclean.dsp.passages import Passages
from slimclean.dsp.resample import resample_blocks
from slimclean.enhancer import Enhancer
from slimclean.errors import reason
from slimclean.scoring.pairs import Score, ScorePair, score_pair

Progress = Callable[[float], None]
"""Told how many seconds of audio were just done."""


def enhance_file(
    task: Task,
    enhancer: Enhancer,
    form: OutputForm | None = None,
    progress: Progress = lambda _: None,
    look: Look | None = None,
) -> FileResult:
    """Enhance one recording; whatever goes wrong is in the row, and the destination then is as it was.

    What `look` makes of the recording is the row's `view`.
    """
    result = FileResult(str(task.source), str(task.destination), uf=str(enhancer.uf))
    if enhancer.uf == "auto":
        result.target_uf = enhancer.target_uf
    started = time.perf_counter()
    trace: Trace | None = None
    try:
        trace = _enhance_into(result, task, enhancer, form or OutputForm(), progress, traced=look is not None)
        result.status = "enhanced"
    except Exception as error:  # whatever one recording does, the others go on
        result.error = reason(error)
    result.processing_s = time.perf_counter() - started
    if result.duration_s and result.status == "enhanced":
        result.rtf = result.processing_s / result.duration_s
    if task.reference is not None and result.status == "enhanced":
        score_output(result, task)
    if look is not None and trace is not None:
        result.view = look(result, trace.comparison(enhancer))
    return result


def _enhance_into(
    result: FileResult, task: Task, enhancer: Enhancer, form: OutputForm, progress: Progress, *, traced: bool
) -> Trace | None:
    """One pass over the file: its faults, its level and its sound."""
    mtime = task.source.stat().st_mtime if form.keep_mtime else None
    ufs: list[np.ndarray] = []
    frames = 0
    with AudioReader(task.source, form.track) as reader:
        info = reader.info
        channels = 1 if form.mono else info.channels
        result.sample_rate, result.channels = info.sample_rate, info.channels
        result.duration_s = info.duration_s if info.frames else None
        stored = audio.plan_output(info, task.source, task.destination, form)
        given, after = diagnostics.Input(info.sample_rate), Level()
        passages = Passages(info.sample_rate)
        trace = Trace(info.sample_rate) if traced else None
        wanted = form.loudness_lufs is not None
        heard = LoudnessMeter(info.sample_rate, channels, info.channel_layout) if wanted else None

        def listened() -> Iterator[np.ndarray]:
            for block in reader.read_blocks(mono=form.mono):
                given.add(block)
                if heard:
                    heard.add(block)
                if trace:
                    trace.heard(block)
                yield block

        def enhanced() -> Iterator[np.ndarray]:
            nonlocal frames
            for out, uf in enhancer.stream(listened(), info.sample_rate, passages):
                after.add(out, info.sample_rate)
                if trace:
                    trace.made(out, uf)
                ufs.append(uf)
                frames += out.shape[1]
                yield out
                progress(out.shape[1] / info.sample_rate)

        with (
            AudioWriter(task.destination, stored, task.source) as writer,
            mastered(writer, task.destination, stored, form) as sink,
        ):
            for out in resample_blocks(enhanced(), info.sample_rate, stored.sample_rate):
                sink.write(out)
            # What could go wrong goes wrong before the output is there.
            result.duration_s = frames / info.sample_rate
            per_frame = np.concatenate(ufs)
            if len(per_frame):
                result.mean_uf = float(per_frame.mean())
                result.macs_per_sample = enhancer.macs_per_sample(per_frame)
                network_samples = result.duration_s * enhancer.config.sample_rate * channels
                result.gmacs = result.macs_per_sample * network_samples / 1e9
                result.level_in_dbfs, result.level_out_dbfs = given.level.dbfs, after.dbfs
                result.noise_reduction_db = diagnostics.noise_reduction_db(given.level, after)
            sink.commit(mtime)
        remarks = reader.warnings
    result.clipped_samples = writer.clipped
    if len(per_frame):
        found = diagnostics.warnings(given, after, writer.clipped, passages.offset)
        remarks = [*remarks, *found, *writer.warnings]
    result.warnings = "; ".join(remarks)
    if heard and isinstance(sink, MasteredWriter):
        result.loudness_in_lufs = heard.finish().integrated_lufs
        sink.mastered.tell(result)
    return trace


def score_output(result: FileResult, task: Task) -> None:
    """Fill in the columns that need a reference; a measure without a value leaves a warning."""
    assert task.reference is not None
    pair = ScorePair(task.destination.name, task.reference, task.destination)
    try:
        score = score_pair(pair)
        remark = score.error or score.undefined
    except Exception as error:  # the recording is enhanced all the same
        score, remark = Score(pair.name), reason(error)
    for name, value in score.values.items():
        setattr(result, name, value)
    if remark:
        result.warnings = "; ".join(filter(None, [result.warnings, f"not scored: {remark}"]))
