"""Cores: several pieces of work side by side, one core each.

On a CPU two operations on one core each finish sooner than one after the other on two cores. What is more, an
operation on one core rounds the same way on every machine and in every process, so that results do not
depend on how the work was shared out.

The threads take numbers below 1e-38 for zero. Closed gates and decaying states are full of them in the pauses
of speech, and processors are up to two hundred times slower at them.

torch keeps two numbers of threads: one of each thread's own, and the last that any thread set, which new
threads begin with. Only the second is touched here, and it is put back when the last piece of work is done,
however many were going on at once and in whatever order they ended.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Shared:
    """The number of torch threads that new threads begin with: 1 while anybody shares the cores."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # collecting memory may end an abandoned stream at any line
        self._inside = 0
        self._before = 1

    def enter(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = _elsewhere(torch.get_num_threads)
                _elsewhere(lambda: torch.set_num_threads(1))
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and not sys.is_finalizing():  # no thread begins once Python ends
                _elsewhere(lambda: torch.set_num_threads(self._before))

    def cores(self) -> int:
        with self._lock:
            return self._before if self._inside else _elsewhere(torch.get_num_threads)


_shared = _Shared()


def _elsewhere(call: Callable[[], Result]) -> Result:
    """Call in a thread of its own, which leaves this thread's number of torch threads alone."""
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


def cores() -> int:
    """Count the cores that torch may use in this process, whether or not somebody shares them now."""
    return _shared.cores()


@contextmanager
def one_thread_each(*, here: bool = False) -> Iterator[None]:
    """Give threads that begin inside one torch thread each, for they share cores; with `here`, this one too."""
    own = torch.get_num_threads()
    _shared.enter()
    try:
        if here:
            torch.set_num_threads(1)
        yield
    finally:
        if here:
            torch.set_num_threads(own)
        _shared.leave()


def workers(threads: int) -> ThreadPoolExecutor:
    """Make a pool of our own threads, since we change how they calculate: see above."""
    return ThreadPoolExecutor(threads, initializer=torch.set_flush_denormal, initargs=(True,))


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Map `work` over items on `threads` threads, in order; at most one item beyond theirs is taken ahead."""
    with one_thread_each(), workers(threads) as pool:
        running: deque[Future[Result]] = deque()
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) > threads or threads == 1:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
