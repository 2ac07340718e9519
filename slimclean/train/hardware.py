"""Making the most of the machine: threads and memory."""

from __future__ import annotations

import ctypes
import sys

import torch


def keep_memory() -> None:
    """Ask glibc to keep freed memory: every step wants the same tensors, and page faults cost it a fifth."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8  # malloc.h
        for option, value in ((trim_threshold, 2**31 - 1), (top_pad, 2**28), (mmap_max, 0), (arena_max, 1)):
            mallopt(option, value)


def quiet_worker(_: int) -> None:
    """What a loader's process does first: it shares the cores with the training."""
    torch.set_num_threads(1)
