"""slimclean cleans speech recordings in batches, spending compute where it pays.

from slimclean import Enhancer
enhanced, uf = Enhancer(uf="auto", target_uf=0.25)(waveform, sample_rate)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Enhancement",
    "Enhancer",
    "FileResult",
    "Options",
    "OutputForm",
    "Score",
    "ScorePair",
    "SlimcleanError",
    "Watch",
    "__version__",
    "enhance_paths",
    "pair_up",
    "score_pairs",
]

if TYPE_CHECKING:
    from slimclean.audio.formats import OutputForm
    from slimclean.batch.options import Options, Watch
    from slimclean.batch.report import FileResult
    from slimclean.batch.run import enhance_paths
    from slimclean.enhancer import Enhancement, Enhancer
    from slimclean.errors import SlimcleanError
    from slimclean.scoring.pairs import Score, ScorePair, pair_up, score_pairs

_HOMES = {
    "Enhancer": "slimclean.enhancer",
    "Enhancement": "slimclean.enhancer",
    "FileResult": "slimclean.batch.report",
    "Options": "slimclean.batch.options",
    "OutputForm": "slimclean.audio.formats",
    "Score": "slimclean.scoring.pairs",
    "ScorePair": "slimclean.scoring.pairs",
    "SlimcleanError": "slimclean.errors",
    "Watch": "slimclean.batch.options",
    "enhance_paths": "slimclean.batch.run",
    "pair_up": "slimclean.scoring.pairs",
    "score_pairs": "slimclean.scoring.pairs",
}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: `slimclean --help` must not load torch."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names too, which an interactive shell then completes."""
    return sorted({*globals(), *__all__})
