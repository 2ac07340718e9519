"""Making the most of the machine: threads and memory."""

from __future__ import annotations

import ctypes
import sys

import torch

from slimclean.errors import SlimcleanError
from slimclean.model import SlimmableDemucs


def keep_memory() -> None:
    """Ask glibc to keep freed memory: every step wants the same tensors, and page faults cost it a fifth."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8  # malloc.h
        for option, value in ((trim_threshold, 2**31 - 1), (top_pad, 2**28), (mmap_max, 0), (arena_max, 1)):
            mallopt(option, value)


def require_cpu(network: SlimmableDemucs) -> None:
    """Raise `SlimcleanError` for a network on another device: teaching takes only minutes on a CPU."""
    device = next(network.parameters()).device
    if device.type != "cpu":
        raise SlimcleanError(f"routers are taught and calibrated on the CPU; the network is on {device}")


def quiet_worker(_: int) -> None:
    """Start a loader's process on one thread: it shares the cores with the training."""
    torch.set_num_threads(1)
