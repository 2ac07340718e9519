"""Standard input and output as recordings: `-` on the command line.

Sound is spooled to a temporary file on either side: a level must be known before the first sample is
written, and a WAV header holds the length of what follows it.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

from slimclean.audio import OutputForm
from slimclean.audio.atomic import make_folder, remove_leftovers
from slimclean.batch.plan import STREAM, Task
from slimclean.batch.recording import Progress, enhance_file
from slimclean.batch.report import FileResult
from slimclean.batch.trace import Comparison, Look
from slimclean.enhancer import Enhancer
from slimclean.errors import UsageError


def enhance_pipe(
    source: Path,
    destination: Path,
    streams: tuple[BinaryIO, BinaryIO],
    enhancer: Enhancer,
    form: OutputForm,
    progress: Progress = lambda _: None,
    look: Look | None = None,
) -> FileResult:
    """Enhance one recording where either end, or both, is `-`; `streams` are standard input and output.

    What goes to a pipe has the input's container, or the `form`'s; nothing is written unless all is well.
    """
    if destination == STREAM and streams[1].isatty():
        raise UsageError("sound does not go to a terminal; give an `output`, or a pipe")
    with tempfile.TemporaryDirectory(prefix="slimclean-") as folder:
        spooled = _spool(streams[0], Path(folder)) if source == STREAM else source
        written = Path(folder, "out" + (form.extension or "")) if destination == STREAM else destination
        with contextlib.suppress(OSError):  # writing says it
            make_folder(written.parent)
            remove_leftovers(written.parent)

        def seen(result: FileResult, comparison: Comparison) -> object:
            result.file, result.output = str(source), str(destination)
            return look(result, comparison) if look else None

        result = enhance_file(Task(spooled, written), enhancer, form, progress, seen if look else None)
        result.file, result.output = str(source), str(destination)
        if result.status == "enhanced" and destination == STREAM:
            with written.open("rb") as file:
                shutil.copyfileobj(file, streams[1])
                streams[1].flush()
    return result


def _spool(stream: BinaryIO, folder: Path) -> Path:
    path = folder / "in"
    with path.open("wb") as file:
        shutil.copyfileobj(stream, file)
    return path


def read_text(path: Path, stream: BinaryIO) -> str:
    """Read the text of `path`, or of `stream` for `-`; bytes that are no UTF-8 survive as they are."""
    try:
        data = stream.read() if path == STREAM else path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    return data.decode("utf-8", "surrogateescape")
