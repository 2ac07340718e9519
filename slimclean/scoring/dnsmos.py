"""DNSMOS: what listeners would say, predicted from a recording alone. Needs the extra `mos` (speechmos).

The package brings its networks along; nothing is fetched.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from slimclean.dsp import SAMPLE_RATE
from slimclean.errors import UndefinedMetricError, needs


def dnsmos(recording: np.ndarray) -> dict[str, float]:
    """Predict mean opinions of [T] at 16 kHz, 1 to 5, higher is better.

    `dnsmos_sig`, `dnsmos_bak` and `dnsmos_ovrl` are the scales of ITU-T P.835: signal, background, overall;
    `dnsmos_p808` is the one of P.808. Means over windows of 9 s, each a second later; what is shorter is
    repeated. Samples beyond full scale are clipped. Undefined for silence. Source: Reddy et al. 2021 and 2022
    (arXiv 2010.15258 and 2110.01763), in the form of Microsoft's package speechmos.
    """
    model = require_speechmos()
    if not recording.any():
        raise UndefinedMetricError("DNSMOS: the recording is silent")
    values = model.run(np.clip(recording, -1, 1), SAMPLE_RATE)
    return {f"dnsmos_{scale}": float(values[f"{scale}_mos"]) for scale in ("sig", "bak", "ovrl", "p808")}


def require_speechmos() -> Any:
    """Import the package's DNSMOS; raises `MissingDependencyError` with the line that installs it."""
    with needs("DNSMOS needs speechmos and onnxruntime", "mos"):
        from speechmos import dnsmos as model
    return model
