"""Which device runs the network, and in what precision it is fastest there."""

from __future__ import annotations

import torch

from slimclean.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16")


def pick_device(name: str | torch.device) -> torch.device:
    """Find the torch device of auto, cpu, cuda, cuda:1 (and so on) or mps; one that is found stays itself.

    Raises `UsageError` for other names, and where the machine has no such device.
    """
    name = str(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, colon, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (colon and not (number.isascii() and number.isdecimal())):
        raise UsageError(f"`device` takes auto, cpu, cuda, cuda:1 (and so on) or mps, not {name}")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if not available[kind] or int(number or 0) >= max(1, count):
        raise UsageError(f"`device` {name}: no such device on this machine")
    return torch.device(name)


def pick_bf16(precision: str, device: torch.device) -> bool:
    """Decide whether products run in bf16: auto where the hardware makes them faster. Raises `UsageError`.

    That is CUDA since Ampere and CPUs with AMX or AVX512-BF16. Elsewhere bf16 works, and is slower than fp32.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"`precision` takes {', '.join(PRECISIONS)}, not {precision}")
    if precision == "auto":
        if device.type == "cuda":
            return bool(torch.cuda.is_bf16_supported())
        tests = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # since torch 2.6
        return device.type == "cpu" and any(getattr(torch.cpu, test, bool)() for test in tests)
    return precision == "bf16"


BF16_FROM_UF = 0.5
"""Where the engine gains from bf16 on a CPU: below, sigmoids and conversions cost what products save."""


def pick_engine_bf16(precision: str, device: torch.device, uf: float | None) -> bool:
    """Decide the same for the engine at `uf`, None if it changes from frame to frame.

    On a CPU, frames of many UFs make products of ever new sizes, and each new size in bf16 costs half a
    millisecond before its first use.
    """
    wide = device.type != "cpu" or (uf is not None and uf >= BF16_FROM_UF)
    return pick_bf16(precision, device) and (wide or precision != "auto")
