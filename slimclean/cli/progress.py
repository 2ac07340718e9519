"""How far a batch is: a bar for people, a line for each failure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from slimclean.cli.common import complain
from slimclean.cli.signals import check

if TYPE_CHECKING:
    from slimclean.batch.options import Watch
    from slimclean.batch.report import FileResult

_BAR = "{percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} s of audio, {rate_noinv_fmt}, {remaining} left"
_COUNT = "{n:.0f} s of audio, {rate_noinv_fmt}"
"""Where nobody knows how much is ahead, as with a pipe."""
MENTIONED = 5
"""Recordings whose warnings are printed."""


class ProgressBar:
    """A bar in seconds of audio on stderr, if that is a terminal, and a line per failure."""

    def __init__(self, quiet: bool) -> None:
        from tqdm import tqdm

        off = True if quiet else None
        self._bar = tqdm(disable=off, dynamic_ncols=True, delay=0.1, leave=False, unit=" s", bar_format=_COUNT)

    def watch(self) -> Watch:
        from slimclean.batch.options import Watch

        return Watch(self._planned, self._progressed, self._finished)

    def _planned(self, seconds: float) -> None:
        self._bar.bar_format = _BAR
        self._bar.reset(max(seconds, 1e-3))  # a total of 0 is no total to tqdm

    def _progressed(self, seconds: float) -> None:
        check()
        # Headers may count less than there is, and tqdm drops a total that is passed.
        if self._bar.total is not None:
            self._bar.total = max(self._bar.total, self._bar.n + seconds)
        self._bar.update(seconds)

    def _finished(self, result: FileResult) -> None:
        check()
        if result.status == "failed":
            self._bar.clear()
            complain(result.error, result.file)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def tell_warnings(results: Sequence[FileResult]) -> None:
    """Print what was odd about recordings, a line each, where no report holds it."""
    warned = [result for result in results if result.warnings]
    for result in warned[:MENTIONED]:
        complain(f"warning: {result.warnings}", result.file)
    if len(warned) > MENTIONED:
        complain(f"warnings of {len(warned) - MENTIONED} more: --report lists all of them")
