"""Keeping what decoders print away from standard error."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator


class _Quiet:
    """Where descriptor 2 goes while libmpg123 is at work, which prints to it whatever it is asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved = -1

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._inside == 0:
                self._saved = self._turn_off()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0 and self._saved >= 0:
                    os.dup2(self._saved, 2)
                    os.close(self._saved)

    @staticmethod
    def _turn_off() -> int:
        """Lead descriptor 2 nowhere and return where it led; -1, and nothing done, where that cannot be."""
        try:
            saved = os.dup(2)
        except OSError:  # there is no standard error to be kept clean, or no descriptor left
            return -1
        try:
            null = os.open(os.devnull, os.O_WRONLY)
        except OSError:  # what is printed then costs less than the recording
            os.close(saved)
            return -1
        os.dup2(null, 2)
        os.close(null)
        return saved


quiet = _Quiet()
"""A context in which nothing reaches descriptor 2, where libsndfile may meet an MP3. Threads share it."""
