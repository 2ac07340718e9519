"""Quality measures, one function each: (reference, estimate) -> number. Arrays are float [T] at 16 kHz.

A measure that is undefined for its input raises `UndefinedMetricError` with the reason: undefined is not zero.
Reference and estimate must have one length, else `SlimcleanError`. Where a package is needed that is not
installed, `MissingDependencyError` says how to get it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from slimclean.dsp import SAMPLE_RATE
from slimclean.errors import MissingDependencyError, SlimcleanError, UndefinedMetricError, needs
from slimclean.scoring.alignment import delay_samples
from slimclean.scoring.composite import log_likelihood_ratio, weighted_spectral_slope, windowed_frames
from slimclean.scoring.dnsmos import dnsmos, require_speechmos
from slimclean.scoring.metric import Metric
from slimclean.scoring.moments import SILENT, Moments
from slimclean.scoring.pauses import PAUSE_DB, is_active

# --- with packages --------------------------------------------------------------------------------


def pesq_wb(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Return wide-band PESQ (ITU-T P.862.2), a MOS from 1.04 to 4.64, higher is better.

    Undefined without an utterance. Source: the package pesq, which wraps the ITU's code.
    """
    return _pesq(reference, estimate, SAMPLE_RATE, "wb")


def pesq_nb(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Return narrow-band PESQ (ITU-T P.862.1) at 8 kHz, a MOS from 1.02 to 4.55, higher is better.

    Undefined and source like `pesq_wb`.
    """
    from scipy import signal

    s, e = (signal.resample_poly(x, 1, 2).astype(np.float32) for x in _paired(reference, estimate))
    return _pesq(s, e, 8_000, "nb")


def _import_pesq() -> Any:
    with needs("PESQ needs the package pesq", "score"):
        import pesq
    return pesq


def _import_pystoi() -> Any:
    with needs("STOI needs the package pystoi", "score"):
        import pystoi
    return pystoi


def _pesq(reference: np.ndarray, estimate: np.ndarray, sample_rate: int, mode: str) -> float:
    pesq = _import_pesq()
    reference, estimate = _paired(reference, estimate)
    try:
        with np.errstate(all="ignore"):  # it divides by the peak of silence before it says so
            return float(pesq.pesq(sample_rate, reference, estimate, mode))
    except (pesq.PesqError, ValueError) as error:
        reason = error.args[0] if error.args else error
        text = reason.decode() if isinstance(reason, bytes) else str(reason)
        if not estimate.any():
            text = "the estimate is silent"  # which it finds out by a NaN
        raise UndefinedMetricError(f"PESQ: {text or 'no utterance'}") from error


def stoi(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Return short-time objective intelligibility (Taal et al. 2011), about 0 to 1, higher is better.

    Undefined for a silent reference and below about 0.4 s of speech. Source: the package pystoi.
    """
    return _stoi(reference, estimate, extended=False)


def estoi(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Return extended STOI (Jensen and Taal 2016), about 0 to 1, higher is better.

    Undefined and source like `stoi`.
    """
    return _stoi(reference, estimate, extended=True)


def _stoi(reference: np.ndarray, estimate: np.ndarray, *, extended: bool) -> float:
    pystoi = _import_pystoi()
    reference, estimate = _paired(reference, estimate)
    _energy(reference)  # pystoi gives silence a score
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(pystoi.stoi(reference, estimate, SAMPLE_RATE, extended=extended))
        except (RuntimeWarning, np.exceptions.AxisError) as why:  # the latter of less than a frame
            raise UndefinedMetricError("STOI: too little speech") from why


# --- ours -----------------------------------------------------------------------------------------


def si_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Return the scale-invariant signal-to-distortion ratio in dB, unbounded, higher is better.

    Undefined where either signal is silent; above 100 for a scaled copy. Source: Le Roux et al. 2019
    (arXiv 1811.02508), with means removed.
    """
    pair = _paired(reference, estimate, np.float64)
    s, e = (_centred(x, name) for x, name in zip(pair, ("reference", "estimate"), strict=True))
    target = float(e @ s) / float(s @ s) * s
    return _ratio_db(target, e - target)


def snr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Return the signal-to-noise ratio in dB, unbounded, higher is better: level errors count as noise.

    Energy of the reference over that of the difference. Undefined where the reference is silent; infinite for a
    copy. Source: the definition.
    """
    s, e = _paired(reference, estimate, np.float64)
    _energy(s)
    return _ratio_db(s, s - e)


def segmental_snr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Return the mean SNR in dB of 30 ms Hann frames, each limited to -10 to 35 dB, higher is better.

    Undefined below one frame or for a silent reference. Source: Hansen and Pellom 1998, in the form of Loizou's
    `comp_snr`, which the composite measures use, but for the last whole frame, which counts here too.
    """
    s, e = _paired(reference, estimate, np.float64)
    _energy(s)
    signals, errors = (np.square(windowed_frames(x)).sum(axis=1) for x in (s, s - e))
    ratios = 10 * np.log10(signals / (errors + np.finfo(float).eps) + np.finfo(float).eps)
    return float(np.clip(ratios, -10, 35).mean())


def log_spectral_distance(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Return the root mean squared difference of log power spectra in dB, 0 or more, lower is better.

    Over frames of 32 ms, with powers floored 80 dB below the loudest of the reference. Undefined for a silent
    reference and below one frame. Source: Gray and Markel 1976.
    """
    s, e = _paired(reference, estimate, np.float64)
    _energy(s)
    if len(s) < 512:
        raise UndefinedMetricError("shorter than one frame of 32 ms")
    import librosa  # slow to import

    spectra = (librosa.stft(x, n_fft=512, hop_length=256, window=np.hanning(512), center=False) for x in (s, e))
    powers = [np.square(np.abs(spectrum)) for spectrum in spectra]  # [bins, frames]
    floor = powers[0].max() * 1e-8
    if not floor:
        raise UndefinedMetricError("the reference is silent but for less than a frame")
    a, b = (librosa.power_to_db(power, amin=floor, top_db=None) for power in powers)
    return float(np.sqrt(np.square(a - b).mean(axis=0)).mean())


def level_difference_db(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Return the RMS level of the estimate minus that of the reference in dB, unbounded, best at 0.

    Undefined where either signal is silent. Source: the definition.
    """
    s, e = _paired(reference, estimate, np.float64)
    return float(10 * np.log10(_energy(e, "estimate") / _energy(s)))


PAUSE_FRAME = 320
"""Samples."""
SILENT_DB = -100.0


def pause_db(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Return the level of the estimate in pauses against that while somebody speaks, in dB; lower is better.

    Pauses are frames of 20 ms in which the reference lies 35 dB under its own active speech, the mean power of
    frames within 30 dB of its loudest; their median counts, and at least -100. Undefined where the reference is
    silent or never pauses, or where the estimate is silent. Source: ours.
    """
    s, e = _paired(reference, estimate, np.float64)
    _energy(s)
    _energy(e, "estimate")
    whole = len(s) // PAUSE_FRAME * PAUSE_FRAME
    powers = [np.square(x[:whole].reshape(-1, PAUSE_FRAME)).mean(1) for x in (s, e)]
    active = is_active(powers[0])
    if not active.any() or not powers[1][active].any():
        raise UndefinedMetricError("too short for a level in pauses")
    pause = powers[0] < powers[0][active].mean() * 10 ** (PAUSE_DB / 10)
    if not pause.any():
        raise UndefinedMetricError("the reference has no pause")
    level = np.median(powers[1][pause]) / powers[1][active].mean()
    return max(SILENT_DB, float(10 * np.log10(level + 1e-30)))


def lag_samples(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Return the delay of the estimate in samples at 16 kHz, up to a second; 0 is in time, below 0 early.

    Undefined where nothing of the reference is found in the estimate. Source: `delay_samples`, in `alignment`.
    """
    s, e = _paired(reference, estimate)
    delay = delay_samples(s[None], e[None], SAMPLE_RATE)
    if delay is None:
        raise UndefinedMetricError("no delay stands out")
    return float(delay)


# --- composite ------------------------------------------------------------------------------------


def composite(reference: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
    """Predict opinions of signal, background and overall quality: `csig`, `cbak`, `covl`.

    Each from 1 to 5, higher is better; undefined like `pesq_wb`. Source: Hu and Loizou 2008, "Evaluation of
    objective quality measures for speech enhancement", with the coefficients of the authors' `composite.m`.
    PESQ in them is the wide-band MOS-LQO, as is usual in the literature.
    """
    quality = pesq_wb(reference, estimate)
    s, e = _paired(reference, estimate, np.float64)
    llr = log_likelihood_ratio(s, e)
    wss = weighted_spectral_slope(s, e)
    scores = {
        "csig": 3.093 - 1.029 * llr + 0.603 * quality - 0.009 * wss,
        "cbak": 1.634 + 0.478 * quality - 0.007 * wss + 0.063 * segmental_snr(s, e),
        "covl": 1.594 + 0.805 * quality - 0.512 * llr - 0.007 * wss,
    }
    return {name: float(np.clip(score, 1, 5)) for name, score in scores.items()}


def _paired(
    reference: np.ndarray, estimate: np.ndarray, dtype: type[np.floating] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    if reference.shape != estimate.shape or reference.ndim != 1:
        raise SlimcleanError(
            f"signals of shapes {list(reference.shape)} and {list(estimate.shape)} do not pair"
        )
    return np.asarray(reference, dtype), np.asarray(estimate, dtype)


def _energy(x: np.ndarray, name: str = "reference") -> float:
    energy = float(x @ x)
    if energy == 0:
        raise UndefinedMetricError(f"the {name} is silent")
    return energy


def _centred(x: np.ndarray, name: str) -> np.ndarray:
    """Take out the mean; of a constant nothing is left but rounding, which is silence."""
    centred: np.ndarray = x - x.mean()
    if float(centred @ centred) <= SILENT * float(x @ x):
        raise UndefinedMetricError(f"the {name} is silent")
    return centred


def _ratio_db(signal: np.ndarray, noise: np.ndarray) -> float:
    noise_energy = float(noise @ noise)
    return float(10 * np.log10(float(signal @ signal) / noise_energy)) if noise_energy else float("inf")


# --- the table ------------------------------------------------------------------------------------

LAG = "lag_samples"
"""The measure that is taken before any alignment."""

METRICS = {
    metric.name: metric
    for metric in (
        Metric("pesq_wb", pesq_wb, "PESQ, wide-band", "MOS-LQO", package=_import_pesq),
        Metric("pesq_nb", pesq_nb, "PESQ, narrow-band", "MOS-LQO", package=_import_pesq),
        Metric("stoi", stoi, "STOI", package=_import_pystoi),
        Metric("estoi", estoi, "extended STOI", package=_import_pystoi),
        Metric("si_sdr_db", si_sdr, "SI-SDR", "dB", longest_s=None, running=Moments.si_sdr_db),
        Metric("snr_db", snr, "SNR", "dB", longest_s=None, running=Moments.snr_db),
        Metric("segmental_snr_db", segmental_snr, "segmental SNR", "dB"),
        Metric("lsd_db", log_spectral_distance, "log-spectral distance", "dB", best="low"),
        Metric("csig", composite, "CSIG, signal", "MOS", package=_import_pesq),
        Metric("cbak", composite, "CBAK, background", "MOS", package=_import_pesq),
        Metric("covl", composite, "COVL, overall", "MOS", package=_import_pesq),
        Metric(
            "level_difference_db",
            level_difference_db,
            "level difference",
            "dB",
            best="zero",
            longest_s=None,
            running=Moments.level_difference_db,
        ),
        Metric("pause_db", pause_db, "level in pauses", "dB", best="low", longest_s=None),
        Metric(LAG, lag_samples, "lag", "samples at 16 kHz", best="zero", longest_s=None),
        Metric("dnsmos_sig", dnsmos, "DNSMOS, signal", "MOS", alone=True, package=require_speechmos),
        Metric("dnsmos_bak", dnsmos, "DNSMOS, background", "MOS", alone=True, package=require_speechmos),
        Metric("dnsmos_ovrl", dnsmos, "DNSMOS, overall", "MOS", alone=True, package=require_speechmos),
        Metric("dnsmos_p808", dnsmos, "DNSMOS, P.808", "MOS", alone=True, package=require_speechmos),
    )
}
"""Every measure by its column: an entry here is all that a new one takes."""

CORE = ("pesq_wb", "stoi", "si_sdr_db")
"""Those of the paper's table."""
SCORED = (*CORE, "pause_db")
"""Those that `score` and `evaluate` find unless more is asked for: what is kept, and what is left in pauses."""
MOS = tuple(name for name, metric in METRICS.items() if metric.alone)
"""Those that need no reference."""
ALIASES = {"core": CORE, "all": tuple(name for name in METRICS if name not in MOS), "mos": MOS}
"""Names for several at once."""


def require(names: Sequence[str]) -> None:
    """Raise `MissingDependencyError` where a package is missing that one of these measures needs."""
    for name in names:
        METRICS[name].package()


def missing(names: Sequence[str]) -> dict[str, str]:
    """Say what those of these measures need for which a package is missing, with the line that installs it."""
    found = {}
    for name in names:
        try:
            METRICS[name].package()
        except MissingDependencyError as error:
            found[name] = str(error)
    return found
