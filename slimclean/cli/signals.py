"""Signals that end a run: as at an interrupt, nothing is half-written, and no process left."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def end_in_order() -> None:
    """Make SIGTERM and SIGHUP, where nobody ignores them, raise `SystemExit`; a second one ends at once."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    others = sys.unraisablehook
    sys.unraisablehook = lambda what: None if _is_ours(what.exc_value) else others(what)


def check() -> None:
    """Raise again what a signal raised where Python drops it: within a callback, or a finalizer."""
    if _received:
        _raise(_received[0])


_received: list[int] = []


def _is_ours(error: BaseException | None) -> bool:
    """Tell whether a signal raised what Python drops, of which it would print a traceback."""
    return bool(_received) and isinstance(error, KeyboardInterrupt | SystemExit)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    _interrupt(number, frame)


def _interrupt(number: int, _: FrameType | None) -> None:
    _received.append(number)
    _raise(number)


def _raise(number: int) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)
