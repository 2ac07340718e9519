"""Quality measures, one function each: (reference, estimate) -> number. Arrays are float [T] at 16 kHz.

A measure that is undefined for its input raises `UndefinedMetricError` with the reason: undefined is not zero.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from slimclean.errors import MissingDependencyError, SlimcleanError

SAMPLE_RATE = 16_000


class UndefinedMetricError(SlimcleanError):
    """The measure has no value here; the message says why."""


def si_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, unbounded; higher is better.

    Undefined where either signal is silent; infinite for a scaled copy. Source: Le Roux et al. 2019
    (arXiv 1811.02508), with means removed.
    """
    s, e = (np.asarray(x, np.float64) - np.mean(x, dtype=np.float64) for x in _same_length(reference, estimate))
    energy = float(s @ s)
    if energy == 0 or float(e @ e) == 0:
        raise UndefinedMetricError("silent signal")
    target = float(e @ s) / energy * s
    noise = float(np.sum((e - target) ** 2))
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(float(target @ target) / noise))


def pesq_wb(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Wide-band PESQ (ITU-T P.862.2), 1.04 to 4.64; higher is better.

    Undefined without an utterance to compare. Needs the package `pesq`, else `MissingDependencyError`.
    """
    try:
        import pesq
    except ImportError as error:
        raise MissingDependencyError("PESQ needs the package pesq: pip install 'slimclean[score]'") from error
    reference, estimate = _same_length(reference, estimate)
    try:
        with np.errstate(all="ignore"):  # it divides by the peak of silence before it says so
            return float(pesq.pesq(SAMPLE_RATE, reference, estimate, "wb"))
    except (pesq.PesqError, ValueError) as error:
        reason = error.args[0] if error.args else error
        text = reason.decode() if isinstance(reason, bytes) else str(reason)
        raise UndefinedMetricError(f"PESQ: {text or 'no utterance'}") from error


def stoi(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Short-time objective intelligibility (Taal et al. 2011), about 0 to 1; higher is better.

    Undefined below about 0.4 s of speech. Needs the package `pystoi`, else `MissingDependencyError`.
    """
    try:
        import pystoi
    except ImportError as error:
        raise MissingDependencyError("STOI needs the package pystoi: pip install 'slimclean[score]'") from error
    import warnings

    reference, estimate = _same_length(reference, estimate)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(pystoi.stoi(reference, estimate, SAMPLE_RATE))
        except RuntimeWarning as warning:
            raise UndefinedMetricError("STOI: too little speech") from warning


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "pesq_wb": pesq_wb,
    "stoi": stoi,
    "si_sdr_db": si_sdr,
}


def _same_length(reference: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if reference.shape != estimate.shape or reference.ndim != 1:
        raise SlimcleanError(
            f"signals of shapes {list(reference.shape)} and {list(estimate.shape)} do not pair"
        )
    return reference, estimate
