"""Cores: several pieces of work side by side, one core each.

On a CPU two operations on one core each finish sooner than one after the other on two cores. What is more, an
operation on one core rounds the same way on every machine and in every process, so that results do not
depend on how the work was shared out.

The threads take numbers below 1e-38 for zero. Closed gates and decaying states are full of them in the pauses
of speech, and processors are up to two hundred times slower at them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Result = TypeVar("Result")


@contextmanager
def one_thread_each() -> Iterator[None]:
    """While several workers share the cores, each torch operation gets one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def workers(threads: int) -> ThreadPoolExecutor:
    """Threads of our own, for we change how they calculate: see above."""
    return ThreadPoolExecutor(threads, initializer=torch.set_flush_denormal, initargs=(True,))


def side_by_side(work: Callable[[Piece], Result], pieces: Iterable[Piece], threads: int) -> Iterator[Result]:
    """`map(work, pieces)` on `threads` threads; no more than one piece beyond theirs is taken ahead."""
    with one_thread_each(), workers(threads) as pool:
        running: deque[Future[Result]] = deque()
        for piece in pieces:
            running.append(pool.submit(work, piece))
            if len(running) > threads or threads == 1:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
