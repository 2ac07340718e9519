"""Loops that run without the interpreter's lock.

Two threads that walk a recurrence in Python wait for each other more than they calculate. TorchScript runs the
same lines without the lock.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch

Function = TypeVar("Function", bound=Callable[..., object])


def script(function: Function) -> Function:
    """Compile by `torch.jit.script`; give back the function itself where a future PyTorch has dropped that."""
    compile_ = getattr(torch.jit, "script", None)
    if compile_ is None:
        return function
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        compiled: Function = compile_(function)
    return compiled
