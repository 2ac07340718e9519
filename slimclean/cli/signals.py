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


def check() -> None:
    """Raise again what a signal raised where Python drops it: within a callback, or a finalizer."""
    if _received:
        sys.exit(128 + _received[0])


_received: list[int] = []


def _end(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    _received.append(number)
    sys.exit(128 + number)
