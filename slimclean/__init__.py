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
    "Options",
    "OutputForm",
    "SlimcleanError",
    "__version__",
    "enhance_paths",
    "score_pairs",
]

if TYPE_CHECKING:
    from slimclean.audio.formats import OutputForm
    from slimclean.batch.options import Options
    from slimclean.batch.run import enhance_paths
    from slimclean.enhancer import Enhancement, Enhancer
    from slimclean.errors import SlimcleanError
    from slimclean.scoring.pairs import score_pairs

_HOMES = {
    "Enhancer": "slimclean.enhancer",
    "Enhancement": "slimclean.enhancer",
    "Options": "slimclean.batch.options",
    "OutputForm": "slimclean.audio.formats",
    "SlimcleanError": "slimclean.errors",
    "enhance_paths": "slimclean.batch.run",
    "score_pairs": "slimclean.scoring.pairs",
}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: `slimclean --help` must not load torch."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
