"""How a batch is run, and what its caller wants to hear of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from slimclean.audio import OutputForm
from slimclean.batch.mastering import check_loudness
from slimclean.batch.report import FileResult
from slimclean.batch.trace import Look
from slimclean.errors import UsageError, needs

LoudnessPer = Literal["file", "batch"]


def _nothing(_: object) -> None:
    """Stand in for what nobody asked for; unlike a lambda it is pickled by its name."""


@dataclass(frozen=True)
class Watch:
    """What a caller wants to hear while a batch runs; by default nothing."""

    planned: Callable[[float], None] = _nothing
    """Seconds of audio ahead, as far as headers tell."""
    progressed: Callable[[float], None] = _nothing
    """Seconds of audio just done."""
    finished: Callable[[FileResult], None] = _nothing


@dataclass(frozen=True)
class Options:
    """How a batch is run; what it makes of each recording is the `Enhancer`'s and the `form`'s.

    Raises `UsageError` where the `form` asks for a loudness and the meter is not installed, and
    `MissingDependencyError` where there is a `scheduler` and Dask is not.
    """

    form: OutputForm = field(default_factory=OutputForm)
    overwrite: bool = False
    """Enhance again where the output exists already; else the recording is skipped."""
    in_place: bool = False
    """Put each output over its input. What `report` says is done, and lies there as it was left, is skipped."""
    fail_fast: bool = False
    """Stop at the first recording that fails."""
    references: str | Path | None = None
    """Clean recordings, of the same relative paths or names, to score outputs against."""
    report: str | Path | None = None
    """A file that gets a row for each recording: CSV, or JSON lines where its name ends in .jsonl."""
    jobs: int = 1
    """Processes; 0 chooses by the amount of audio, the cores and the memory."""
    scheduler: str | None = None
    """Address of a Dask scheduler, whose workers then do the work; `jobs` does not matter."""
    loudness_per: LoudnessPer = "file"
    """Whether each output gets the loudness, or the set as one programme (see `together`)."""
    wording: Callable[[str], str] = str
    """Turns an error, or warnings, into what rows say; the command line names parameters as options."""
    look: Callable[[Path], Look | None] = _nothing
    """Says what makes the `view` of the row of an input, where that is enhanced; what it returns is pickled."""

    def __post_init__(self) -> None:
        check_loudness(self.form)
        if self.scheduler is not None:
            with needs("`scheduler` needs Dask", "dask"):
                import distributed  # noqa: F401
        if self.jobs < 0:
            raise UsageError(f"`jobs` takes a number of processes, or 0, not {self.jobs}")
        if self.loudness_per not in get_args(LoudnessPer):
            raise UsageError(
                f"`loudness_per` takes {' or '.join(get_args(LoudnessPer))}, not {self.loudness_per}"
            )
