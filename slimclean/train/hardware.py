"""Making the most of the machine: precision, threads, memory."""

from __future__ import annotations

import ctypes
import sys

import torch

from slimclean.errors import UsageError


def pick_bf16(precision: str, device: torch.device) -> bool:
    """bf16 products where the hardware has them; elsewhere they are slower than fp32."""
    if precision not in ("auto", "fp32", "bf16"):
        raise UsageError(f"--precision takes auto, fp32 or bf16, not {precision}")
    if precision == "auto":
        if device.type == "cuda":
            return bool(torch.cuda.is_bf16_supported())
        has_amx = getattr(torch.cpu, "_is_amx_tile_supported", None)  # since torch 2.6
        return bool(has_amx and has_amx())
    return precision == "bf16"


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
