"""Standard input and output as recordings: `-` on the command line.

WAV flows: it is read as it comes and written as it goes, `LIVE_DELAY_S` later, in bounded memory and without a
file in between. Everything else is spooled to a temporary file on either side: other containers cannot be read
or written without going back in them, and a loudness is known at the end only.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO, NamedTuple

from slimclean.audio import OutputForm
from slimclean.audio.atomic import make_folder, remove_leftovers
from slimclean.audio.wave_header import Bytes, WaveHeader, read_header
from slimclean.audio.wave_pipe import WaveSink, WaveSource, flows
from slimclean.batch.options import Options, Watch
from slimclean.batch.recording import Account, Progressed, add_view, begin, enhance_file, outcome
from slimclean.batch.report import EXISTS, FileResult, skipped
from slimclean.batch.report_file import report_of
from slimclean.batch.resume import done_tasks
from slimclean.batch.task import STREAM, Task
from slimclean.batch.trace import Comparison, Look
from slimclean.dsp.resample import resample_blocks
from slimclean.enhancer import Enhancer
from slimclean.errors import AudioError, UsageError, reason


class _How(NamedTuple):
    """What becomes of the sound between both ends, and who is told."""

    enhancer: Enhancer
    form: OutputForm
    progress: Progressed
    look: Look | None


def enhance_stream(
    task: Task, streams: tuple[BinaryIO, BinaryIO], enhancer: Enhancer, options: Options, watch: Watch
) -> FileResult:
    """Do what `plan_stream` planned with the same options, and report it; see `enhance_pipe`."""
    with report_of([task], options) as report:
        if done := done_tasks([task], options):
            result = skipped(task, EXISTS, done[task])
        else:
            result = enhance_pipe(
                task.source,
                task.destination,
                streams,
                enhancer,
                options.form,
                watch.progressed,
                options.look(task.source),
            )
        result.reword(options.wording)
        if report is not None:
            report.add(result)
    watch.finished(result)
    return result


def enhance_pipe(
    source: Path,
    destination: Path,
    streams: tuple[BinaryIO, BinaryIO],
    enhancer: Enhancer,
    form: OutputForm,
    progress: Progressed = lambda _: None,
    look: Look | None = None,
) -> FileResult:
    """Enhance one recording where either end, or both, is `-`; `streams` are standard input and output.

    What goes to a pipe has the input's container, or the `form`'s. Except where WAV flows, nothing is written
    unless all is well.
    """
    if destination == STREAM and streams[1].isatty():
        raise UsageError("sound does not go to a terminal; give an `output`, or a pipe")
    try:
        return _through(Task(source, destination), streams, _How(enhancer, form, progress, look))
    except BrokenPipeError:
        raise
    except OSError as error:  # of a stream, or of the place where it is spooled
        result = begin(Task(source, destination), enhancer)
        result.error = reason(error)
        return result


def _through(task: Task, streams: tuple[BinaryIO, BinaryIO], how: _How) -> FileResult:
    """Flow, or spool what cannot."""
    source, destination = task.source, task.destination
    begun = Bytes(streams[0])
    if source == destination == STREAM and flows(how.form) and (header := read_header(begun)):
        return _flow(header, streams, how)
    with tempfile.TemporaryDirectory(prefix="slimclean-") as folder:
        spooled = _spool(streams[0], begun.taken, Path(folder)) if source == STREAM else source
        name = "out" + (how.form.extension or "")
        written = Path(folder, name) if destination == STREAM else destination
        with contextlib.suppress(OSError):  # writing says it
            make_folder(written.parent)
            remove_leftovers(written.parent)

        def seen(result: FileResult, comparison: Comparison) -> object:
            result.file, result.output = str(source), str(destination)
            return how.look(result, comparison) if how.look else None

        look = seen if how.look else None
        result = enhance_file(Task(spooled, written), how.enhancer, how.form, how.progress, look)
        result.file, result.output = str(source), str(destination)
        if result.status == "enhanced" and destination == STREAM:
            result.output_bytes = result.output_mtime_s = None
            with written.open("rb") as file:
                shutil.copyfileobj(file, streams[1])
                streams[1].flush()
    return result


def _flow(header: WaveHeader, streams: tuple[BinaryIO, BinaryIO], how: _How) -> FileResult:
    """Enhance WAV from one stream, of which the header is read, to the other, as it comes."""
    result = begin(Task(STREAM, STREAM), how.enhancer)
    source, sink = WaveSource(streams[0], header), WaveSink(streams[1], header, how.form)
    account = Account(result, source.info, how.form, traced=how.look is not None)
    with outcome(result, to_pipe=True):
        blocks = source.read_blocks(mono=how.form.mono)
        clamped = not sink.info.floating
        enhanced = account.enhanced(blocks, how.enhancer, how.progress, live=True, clamped=clamped)
        for out in resample_blocks(enhanced, source.info.sample_rate, sink.info.sample_rate):
            sink.write(out)
        account.tell(how.enhancer)
        if source.problem:
            raise AudioError(source.problem)
        remarks = sink.finish(source)
        result.clipped_samples = sink.clipped
        form = how.form.remarks(sink.info)
        result.remark(*source.warnings, *remarks, *account.warnings(sink.clipped), *form)
        result.remark(add_view(result, how.look, account.trace, how.enhancer))
    return result


def _spool(stream: BinaryIO, taken: bytes, folder: Path) -> Path:
    """Put a stream, of which some was `taken` already, into a file."""
    path = folder / "in"
    with path.open("wb") as file:
        file.write(taken)
        shutil.copyfileobj(stream, file)
    return path
