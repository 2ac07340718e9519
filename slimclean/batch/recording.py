"""One recording: from file to file in bounded memory, and the row that tells how it went."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from slimclean import audio
from slimclean.audio import AudioInfo, AudioReader, AudioWriter, OutputForm
from slimclean.audio.av.film import kept_track
from slimclean.batch import diagnostics
from slimclean.batch.mastering import MasteredWriter, sink_for, tell_encoded
from slimclean.batch.report import FileResult
from slimclean.batch.task import FileState, Task
from slimclean.batch.trace import Look, Trace
from slimclean.dsp.level import Level
from slimclean.dsp.loudness import LoudnessMeter
from slimclean.dsp.passages import Passages
from slimclean.dsp.resample import resample_blocks
from slimclean.enhancer import Enhancer
from slimclean.errors import AudioError, reason

Progressed = Callable[[float], None]
"""Told how many seconds of audio were just done."""
CHANGED = "changed while it was cleaned"


class CallerError(Exception):
    """What a caller's own function raised: that is the caller's, not the recording's."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Watched:
    """Looks at a source when its output is about to be put into its place: is it as it was when `opened`?

    Raises `AudioError` where an output would replace what it was not made from; elsewhere there is a `remark`.
    """

    def __init__(self, task: Task, opened: FileState) -> None:
        self._task, self._opened = task, opened
        self.remark = ""

    def __call__(self) -> None:
        if self._task.state() != self._opened:
            if self._task.replaces_source:
                raise AudioError(CHANGED)
            self.remark = CHANGED


class Account:
    """Gathers what a row tells of a recording while its sound passes, in bounded memory."""

    def __init__(self, result: FileResult, info: AudioInfo, form: OutputForm, *, traced: bool = False) -> None:
        self.trace = Trace(info.sample_rate) if traced else None
        self._result, self._rate = result, info.sample_rate
        self._channels = 1 if form.mono else info.channels
        result.sample_rate, result.channels = info.sample_rate, info.channels
        result.duration_s = info.duration_s if info.samples else None
        self._given, self._after = diagnostics.Input(info.sample_rate), Level(info.sample_rate)
        self._voices, self._passages = diagnostics.Voices(), Passages(info.sample_rate)
        wanted = form.loudness_lufs is not None
        self._loudness = LoudnessMeter(self._rate, self._channels, info.channel_layout) if wanted else None
        self._samples = 0
        self._kept = True
        """Whether the output is what was kept: what was removed tells nothing of voices and pauses."""
        self._ufs: Counter[float] = Counter()

    def enhanced(
        self,
        blocks: Iterable[np.ndarray],
        enhancer: Enhancer,
        progress: Progressed,
        *,
        live: bool = False,
        clamped: bool = False,
    ) -> Iterator[np.ndarray]:
        """Enhance consecutive blocks [C, T] at the recording's rate; levels are of what is `clamped` later."""
        self._kept = not enhancer.residual
        heard = self._listened(blocks)
        for out, uf in enhancer.stream(heard, self._rate, self._passages, live=live):
            powers = self._after.add(np.clip(out, -1, 1) if clamped else out)
            if self._kept:
                self._voices.made(powers)
            if self.trace:
                self.trace.made(out, uf)
            values, counts = np.unique(uf, return_counts=True)
            self._ufs.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
            self._samples += out.shape[1]
            yield out
            try:
                progress(out.shape[1] / self._rate)
            except Exception as error:
                raise CallerError(error) from error

    def _listened(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for block in blocks:
            powers = self._given.add(block)
            if self._kept:
                self._voices.heard(powers)
            if self._loudness:
                self._loudness.add(block)
            if self.trace:
                self.trace.heard(block)
            yield block

    def tell(self, enhancer: Enhancer) -> None:
        """Fill in the row, after the last block."""
        result = self._result
        result.duration_s = self._samples / self._rate
        if self._loudness:
            result.loudness_in_lufs = self._loudness.finish().integrated_lufs
        if not self._ufs:
            return
        counts = list(self._ufs.values())
        macs = [enhancer.macs_per_sample(np.array([uf])) for uf in self._ufs]
        result.mean_uf = float(np.average(list(self._ufs), weights=counts))
        result.macs_per_sample = float(np.average(macs, weights=counts))
        network_samples = result.duration_s * enhancer.config.sample_rate * self._channels
        result.gmacs = result.macs_per_sample * network_samples / 1e9
        result.level_in_dbfs, result.level_out_dbfs = self._given.level.dbfs, self._after.dbfs
        if self._kept:
            result.level_range_db = self._voices.range_db
            result.noise_reduction_db = diagnostics.noise_reduction_db(self._given.level, self._after)

    def warnings(self, clipped: int) -> list[str]:
        """Return what there is to remark, where `clipped` samples of the output were clamped."""
        if not self._ufs:
            return []
        kept = self._after if self._kept else None
        return diagnostics.warnings(
            self._given, kept, clipped, self._passages.offset, self._result.level_range_db
        )


def begin(task: Task, enhancer: Enhancer) -> FileResult:
    """Begin the row of a recording; until that is done it has failed."""
    result = FileResult(str(task.source), str(task.destination), uf=str(enhancer.uf))
    if enhancer.uf == "auto":
        result.target_uf = enhancer.target_uf
    return result


@contextlib.contextmanager
def outcome(result: FileResult, *, to_pipe: bool = False) -> Iterator[None]:
    """Put into a row how the work went, and add how long it took.

    Raises only where nobody reads a pipe, and what the caller's function raised that is told of progress.
    What goes wrong when the output is there, and the row says so, is a warning.
    """
    started = time.perf_counter()
    try:
        yield
        result.status = "enhanced"
    except CallerError as failure:
        raise failure.error from None
    except Exception as error:  # whatever one recording does, the others go on
        if to_pipe and isinstance(error, BrokenPipeError):
            raise
        if result.status == "enhanced":
            result.remark(reason(error))
        else:
            result.error = reason(error)
    result.processing_s = (result.processing_s or 0.0) + time.perf_counter() - started
    if result.duration_s and result.status == "enhanced":
        result.rtf = result.processing_s / result.duration_s


def enhance_file(
    task: Task,
    enhancer: Enhancer,
    form: OutputForm | None = None,
    progress: Progressed = lambda _: None,
    look: Look | None = None,
) -> FileResult:
    """Enhance one recording; whatever goes wrong is in the row, and the destination then is as it was.

    What `look` makes of the recording is the row's `view`.
    """
    result = begin(task, enhancer)
    with outcome(result):
        _enhance_into(result, task, enhancer, form or OutputForm(), progress, look)
    if task.reference is not None and result.status == "enhanced":
        score_output(result, task)
    return result


def add_view(result: FileResult, look: Look | None, trace: Trace | None, enhancer: Enhancer) -> str:
    """Let `look` make the row's `view` of what was traced, and return what there is to remark if it raises.

    It sees the row as that will be if all goes on well. How long it takes does not count.
    """
    if look is None or trace is None:
        return ""
    started, remark = time.perf_counter(), ""
    try:
        result.view = look(replace(result, status="enhanced"), trace.comparison(enhancer))
    except Exception as error:  # the recording is enhanced all the same
        remark = f"not drawn: {reason(error)}"
    result.processing_s = (result.processing_s or 0.0) - (time.perf_counter() - started)
    return remark


def _enhance_into(
    result: FileResult,
    task: Task,
    enhancer: Enhancer,
    form: OutputForm,
    progress: Progressed,
    look: Look | None,
) -> None:
    """Enhance the recording of `task` in one pass, and fill in its row."""
    mtime_ns = task.source.stat().st_mtime_ns if form.keep_mtime else None
    watched = Watched(task, task.state())
    with contextlib.ExitStack() as outputs:
        with AudioReader(task.source, form.track) as reader:
            info = reader.info
            account = Account(result, info, form, traced=look is not None)
            stored = audio.plan_output(info, task.source, task.destination, form)
            result.track, result.output_track = form.track, kept_track(stored, task.source)
            writer = outputs.enter_context(AudioWriter(task.destination, stored, task.source))
            sink = outputs.enter_context(sink_for(writer, task.destination, stored, form))
            clamped = form.loudness_lufs is None and not stored.floating
            blocks = reader.read_blocks(mono=form.mono)
            enhanced = account.enhanced(blocks, enhancer, progress, clamped=clamped)
            for out in resample_blocks(enhanced, info.sample_rate, stored.sample_rate):
                sink.write(out)
        # What takes time, or could go wrong, does so before the output is there: the row follows that at once.
        account.tell(enhancer)
        not_drawn = add_view(result, look, account.trace, enhancer)
        sink.commit(mtime_ns, watched)  # the source is closed: Windows renames nothing over what is open
        result.status = "enhanced"
    result.clipped_samples = writer.clipped
    result.left(writer.committed, kept_mtime=form.keep_mtime)
    result.remark(watched.remark, *reader.warnings)
    result.remark(*account.warnings(writer.clipped), *form.remarks(stored), *writer.warnings)
    result.remark(not_drawn)
    if isinstance(sink, MasteredWriter):
        sink.mastered.tell(result)
        tell_encoded(result, task.destination, stored, form)


def score_output(result: FileResult, task: Task) -> None:
    """Fill in the columns that need a reference; a measure without a value leaves a warning."""
    assert task.reference is not None
    from slimclean.scoring.pairs import Score, ScorePair, score_pair  # a twentieth of the time to start

    pair = ScorePair(task.destination.name, task.reference, task.destination, track=result.output_track)
    try:
        score = score_pair(pair)
        remark = score.error or score.undefined
    except Exception as error:  # the recording is enhanced all the same
        score, remark = Score(pair.name), reason(error)
    for name, value in score.values.items():
        setattr(result, name, value)
    if remark:
        result.remark(f"not scored: {remark}")
