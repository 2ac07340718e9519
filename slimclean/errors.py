"""What can go wrong, as types: the command line turns each into one line and an exit code.

A message names parameters in backticks, `target_uf`; the command line makes options of them, --target-uf.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class SlimcleanError(Exception):
    """Anything slimclean reports in one line instead of a traceback."""


class AudioError(SlimcleanError):
    """A recording that cannot be read, written, or made sense of."""


class CheckpointError(SlimcleanError):
    """Weights that are missing, damaged, or of another kind."""


class UsageError(SlimcleanError):
    """A request that contradicts itself, or for what is not there; the command line exits with 2."""


class MissingDependencyError(SlimcleanError):
    """An optional package is needed and absent; the message holds the pip line."""


class UndefinedMetricError(SlimcleanError):
    """The measure has no value here; the message says why."""


class SlimcleanWarning(UserWarning):
    """Something odd that does not stop the work; `slimclean train` reports it in one line."""


@contextmanager
def needs(what: str, extra: str) -> Iterator[None]:
    """Import optional packages within; raises `MissingDependencyError` where one is absent.

    `what` says who needs which, `extra` is the extra of slimclean that brings it.
    """
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(f"{what}: pip install 'slimclean[{extra}]'") from error


def told(error: BaseException) -> str:
    """Return what a library, or the system, has to say, as part of a sentence: without a full stop.

    Of what says nothing, such as a `TimeoutError`, it is the type.
    """
    text = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error)
    return str(text).strip().rstrip(".") or type(error).__name__


_NO_MEMORY = (
    "bad_alloc", "can't allocate memory", "not enough memory", "out of memory", "could not create a primitive",
)  # fmt: skip
"""How torch and what lies below it say it, in a `RuntimeError`; the last is oneDNN, in the middle of a run."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether the memory did not suffice, whoever found out."""
    if isinstance(error, RuntimeError):
        return any(words in str(error) for words in _NO_MEMORY)
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)


def reason(error: BaseException) -> str:
    """Return one line on what went wrong: the message of ours and of the system, others with their type."""
    if is_out_of_memory(error):
        return "out of memory; take fewer `jobs`, or free some"
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    if isinstance(error, SlimcleanError) or (isinstance(error, OSError) and text):
        return text
    return ": ".join(filter(None, [type(error).__name__, text]))
