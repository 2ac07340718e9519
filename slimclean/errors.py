"""What can go wrong, as types: the command line turns each into one line and an exit code.

A message names parameters in backticks, `target_uf`; the command line makes options of them, --target-uf.
"""

from __future__ import annotations


class SlimcleanError(Exception):
    """Anything slimclean reports in one line instead of a traceback."""


class AudioError(SlimcleanError):
    """A recording that cannot be read, written, or made sense of."""


class CheckpointError(SlimcleanError):
    """Weights that are missing, damaged, or of another kind."""


class UsageError(SlimcleanError):
    """A request that contradicts itself; the command line exits with 2."""


class MissingDependencyError(SlimcleanError):
    """An optional package is needed and absent; the message holds the pip line."""


class UndefinedMetricError(SlimcleanError):
    """The measure has no value here; the message says why."""


def reason(error: BaseException) -> str:
    """Return one line on what went wrong: the message of ours and of the system, others with their type."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    if isinstance(error, SlimcleanError) or (isinstance(error, OSError) and text):
        return text
    return ": ".join(filter(None, [type(error).__name__, text]))
