"""`Enhancer`: a waveform of any rate, channels and length in, the same waveform with less noise out.

    blocks --split--> chunk --resample--> 16 kHz --network--> 16 kHz --resample--+--> join --> blocks
                        \\------ minus what a round trip through 16 kHz keeps ----/
                                 = content above 8 kHz, gated

Glossary: C channels, T samples, F frames of 256 samples at 16 kHz.
"""

from __future__ import annotations

import functools
import itertools
import numbers
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch

from slimclean.audio import LOUDEST, MAX_CHANNELS, SAMPLE_RATES_HZ
from slimclean.dsp.highband import highband_gain
from slimclean.dsp.level import Level
from slimclean.dsp.overlap_add import Chunk, Layout, join, split
from slimclean.dsp.resample import resample
from slimclean.engine.engine import NetworkEngine, engine_for
from slimclean.engine.threads import cores, side_by_side
from slimclean.errors import AudioError, SlimcleanError, UsageError
from slimclean.model import ModelConfig, SlimmableDemucs, checkpoint
from slimclean.model.device import pick_device
from slimclean.model.macs import macs_per_sample

CONTEXT_S, HOP_S, FADE_S, TAIL_S = 2.0, 16.0, 0.25, 0.25
"""Layout of a chunk. Context and hop are multiples of 2 s, which is a whole number of samples at every
rate and of frames at 16 kHz, so that chunks agree on where frames begin."""

BATCH = 8
"""Signals in a batch, chunks times channels: they share the small products of the GRU and the router."""

BATCHES = 2
"""Batches that are made of one stretch of the recording, alike in size, so that two cores end together."""

SILENCE_RMS = 1e-5
"""-100 dBFS: below it there is nothing to enhance, and amplifying it would be arbitrary."""


Highband = Literal["gate", "keep", "drop"]


class Enhancement(NamedTuple):
    """`waveform` as it came in, [C, T] or [T], enhanced; `uf` the utilization factor per frame, [F]."""

    waveform: np.ndarray
    uf: np.ndarray


class Enhancer:
    """Enhances speech at a fixed utilization factor, or at what the router picks.

    `uf` is "auto" or a number in (0, 1]; `target_uf`, in [0.1, 1], is the mean UF that "auto" aims for.
    `model` is a packaged name or a checkpoint file. `highband` says what becomes of content above 8 kHz:
    "gate" lets a smooth gain follow what the network did to 4 to 7.5 kHz, "keep" leaves it, "drop" removes it.
    `dry`, in [0, 1], is the share of the input left in; `attenuation_limit_db` leaves in so much that nothing
    falls by more. `residual` gives what was removed, not what was kept. `precision` is that of the network's
    products: fp32, bf16, or auto, which takes bf16 where it is faster.
    `network` replaces the checkpoint, `engine` the network and how it runs (see `NetworkEngine`).
    Raises `UsageError` for values out of range and `CheckpointError`.
    """

    def __init__(
        self,
        uf: float | Literal["auto"] = "auto",
        target_uf: float = 0.25,
        model: str | Path | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        highband: Highband = "gate",
        dry: float = 0.0,
        attenuation_limit_db: float | None = None,
        residual: bool = False,
        network: SlimmableDemucs | None = None,
        engine: NetworkEngine | None = None,
    ) -> None:
        if uf != "auto" and not (_is_number(uf) and 0 < uf <= 1):
            raise UsageError(f"`uf` takes auto or a number above 0 and at most 1, not {uf}")
        if not (_is_number(target_uf) and 0.1 <= target_uf <= 1):
            raise UsageError(f"`target_uf` takes a number from 0.1 to 1, not {target_uf}")
        if highband not in get_args(Highband):
            raise UsageError(f"`highband` takes {', '.join(get_args(Highband))}, not {highband}")
        if not (_is_number(dry) and 0 <= dry <= 1):
            raise UsageError(f"`dry` takes a number from 0 to 1, not {dry}")
        limit = attenuation_limit_db
        if limit is not None and not (_is_number(limit) and limit >= 0):
            raise UsageError(f"`attenuation_limit_db` takes a number of at least 0, not {limit}")
        self._arguments = (
            ("uf", uf), ("target_uf", target_uf), ("model", model), ("device", device),
            ("precision", precision), ("highband", highband), ("dry", dry),
            ("attenuation_limit_db", attenuation_limit_db), ("residual", residual),
        )  # fmt: skip
        self._given_network, self._given_engine = network, engine
        self.uf = uf
        self.target_uf = target_uf
        self.dry = max(dry, 0.0 if limit is None else 10 ** (-limit / 20))
        self.residual = residual
        self.highband = highband
        self.device = pick_device(device)
        if engine is None:
            network = (network or checkpoint.load(model)[0]).to(self.device)
            engine = engine_for(network, precision, self.device, None if uf == "auto" else uf)
        self.network = network
        """None where an engine was given."""
        self.engine = engine

    def at(self, uf: float | Literal["auto"], target_uf: float) -> Enhancer:
        """Make an enhancer that differs in `uf` and `target_uf` alone; the network is shared."""
        changed: dict[str, Any] = dict(self._arguments) | {"uf": uf, "target_uf": target_uf}
        network = None if self._given_engine else self.network
        return Enhancer(**changed, network=network, engine=self._given_engine)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the arguments: a worker process then makes the enhancer once, not once a recording.

        A network that was given goes along with its weights, an engine pickled.
        """
        if self._given_engine is not None:
            return _rebuild_around, (type(self), self._arguments, self._given_engine)
        network = None if self._given_network is None else checkpoint.packed(self._given_network)
        return _rebuild, (type(self), self._arguments, network)

    @property
    def precision(self) -> str:
        """Of the network's products: fp32 or bf16."""
        return self.engine.precision

    @property
    def config(self) -> ModelConfig:
        return self.engine.config

    def __call__(self, waveform: np.ndarray, sample_rate: int) -> Enhancement:
        """Enhance [C, T] or [T] at `sample_rate` Hz; the result has the same shape and lag 0.

        Raises `AudioError` for what is not finite audio of at most 64 channels.
        """
        x = np.asarray(waveform, dtype=np.float32)
        if x.ndim not in (1, 2) or (x.ndim == 2 and not 1 <= x.shape[0] <= MAX_CHANNELS):
            raise AudioError(f"a waveform is [T] or [C, T] with C at most {MAX_CHANNELS}, not {list(x.shape)}")
        low, high = SAMPLE_RATES_HZ
        if sample_rate != int(sample_rate) or not low <= sample_rate <= high:
            raise AudioError(f"a sample rate of {sample_rate} Hz is not a whole number from {low} to {high}")
        sample_rate = int(sample_rate)
        channels = np.atleast_2d(x)
        level = Level()
        level.add(_finite(channels), sample_rate)
        blocks, ufs = zip(*self.stream([channels], sample_rate, level), strict=True)
        return Enhancement(np.concatenate(blocks, axis=1).reshape(x.shape), np.concatenate(ufs))

    def stream(
        self, blocks: Iterable[np.ndarray], sample_rate: int, level: Level
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Enhance consecutive blocks [C, T] in bounded memory; `level` is that of the whole recording.

        Yields consecutive output blocks [C, T'] and the UFs [F'] of the frames that they complete.
        Raises `AudioError` for samples that are not finite or louder than `LOUDEST`.
        """
        ufs: list[np.ndarray] = []
        rms = level.active_rms

        def work(run: list[tuple[Chunk, np.ndarray]]) -> list[tuple[Chunk, np.ndarray, np.ndarray]]:
            chunks, samples = zip(*run, strict=True)
            results = self._chunks(samples, sample_rate, rms)
            return [(chunk, out, uf) for chunk, (out, uf) in zip(chunks, results, strict=True)]

        def pieces() -> Iterator[tuple[Chunk, np.ndarray]]:
            chunks = split(map(_finite, blocks), _layout(sample_rate))
            runs = side_by_side(work, batches(chunks), self._threads())
            for chunk, enhanced, uf in itertools.chain.from_iterable(runs):
                ufs.append(uf[self._completed(chunk, sample_rate)])
                yield chunk, enhanced

        for out in join(pieces()):
            yield out, np.concatenate(ufs) if ufs else np.zeros(0)
            ufs.clear()

    def route(self, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        """The UF per frame, [F], that enhancing [C, T] or [T] would run at; only the router works for it."""
        channels = np.atleast_2d(np.asarray(waveform, dtype=np.float32))
        level = Level()
        level.add(channels, sample_rate)
        return np.concatenate(list(self.route_stream([channels], sample_rate, level)))

    def route_stream(
        self, blocks: Iterable[np.ndarray], sample_rate: int, level: Level
    ) -> Iterator[np.ndarray]:
        """The UFs that `stream` yields for the same arguments, a chunk's at a time; only the router runs."""
        rms = level.active_rms
        for chunk, samples in split(blocks, _layout(sample_rate)):
            yield self._route_chunk(samples, sample_rate, rms)[self._completed(chunk, sample_rate)]

    def _completed(self, chunk: Chunk, sample_rate: int) -> slice:
        """Which of the frames that a chunk reads it completes: those of its hop."""
        per_sample = self.config.frame_rate_hz / sample_rate
        first = round((chunk.start - chunk.read_start) * per_sample)
        hop = chunk.stop - chunk.start - chunk.fade_out
        return slice(first, first + int(np.ceil(hop * per_sample - 1e-6)))

    def _threads(self) -> int:
        """How many chunks to work on at a time."""
        return cores() if self.device.type == "cpu" else 1

    @property
    def _idle_uf(self) -> float:
        """The UF where the router has nothing to decide on."""
        return min(self.config.ufs) if self.uf == "auto" else self.uf

    def macs_per_sample(self, uf: np.ndarray) -> float:
        """Mean multiply-accumulates per 16 kHz sample over frames that ran at `uf` [F]."""
        return macs_per_sample(self.config, uf, routed=self.uf == "auto")

    # --- chunks of one length ------------------------------------------------------------------

    def _chunks(
        self, chunks: Sequence[np.ndarray], sample_rate: int, rms: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """N x [C, T], the channels' levels [C] -> N x output [C, T] and UF [F]; edges are context, not kept."""
        low = np.stack([resample(x, sample_rate, self.config.sample_rate) for x in chunks])
        frames = -(-low.shape[2] // self.config.frame_hop)
        heard = rms >= SILENCE_RMS
        if not heard.any() or frames == 0:
            wets = list(chunks)
            ufs = np.full((len(low), frames), self._idle_uf, np.float32)
        else:
            enhanced, ufs = self._network(low, rms, heard)
            wets = [self._wet(*each, sample_rate, heard) for each in zip(chunks, low, enhanced, strict=True)]
        return [(self._mix(x, wet), uf) for x, wet, uf in zip(chunks, wets, ufs, strict=True)]

    def _network(self, low: np.ndarray, rms: np.ndarray, heard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """N chunks at the network's rate, [N, C, T] -> enhanced [N, C, T] and UF [N, F]."""
        count, channels, samples = low.shape
        noisy = self._noisy(low, rms, heard)
        with torch.inference_mode():
            uf = self._decide(noisy, heard)
            if isinstance(uf, torch.Tensor):
                uf = uf.repeat_interleave(channels, 0)
            result = self.engine(noisy.flatten(0, 1), uf)
        enhanced = result.waveform.cpu().numpy().reshape(count, channels, -1)[..., :samples] * _gain(rms, heard)
        if not np.isfinite(enhanced).all():
            raise SlimcleanError("the network gave NaN or infinite samples; its checkpoint may be damaged")
        return enhanced, result.uf[::channels].cpu().numpy()

    def _noisy(self, low: np.ndarray, rms: np.ndarray, heard: np.ndarray) -> torch.Tensor:
        """N chunks [N, C, T] as the network takes them: whole frames, heard channels at an RMS of 1."""
        noisy = network_input(low, self.config.frame_hop, _gain(rms, heard))
        return torch.from_numpy(noisy).to(self.device)

    def _decide(self, noisy: torch.Tensor, heard: np.ndarray) -> float | torch.Tensor:
        """The UF of N chunks [N, C, T], some channels `heard`: one number, or the router's, [N, F]."""
        if self.uf != "auto":
            return float(self.uf)
        # Channels share the decision, or a voice would wander between them.
        return self.engine.route(noisy[:, torch.from_numpy(heard)].mean(1), self.target_uf)

    def _wet(
        self, x: np.ndarray, low: np.ndarray, enhanced: np.ndarray, sample_rate: int, heard: np.ndarray
    ) -> np.ndarray:
        """Back to the recording's rate [C, T], with what lies above the network's band."""
        out = _fit(resample(enhanced, self.config.sample_rate, sample_rate), x.shape[1])
        if sample_rate != self.config.sample_rate and self.highband != "drop":
            rest = x - _fit(resample(low, self.config.sample_rate, sample_rate), x.shape[1])
            if self.highband == "gate":
                rest *= highband_gain(low, enhanced, self.config.frame_hop, x.shape[1])
            out = out + rest
        out[~heard] = x[~heard]
        return out

    def _mix(self, x: np.ndarray, wet: np.ndarray) -> np.ndarray:
        out = np.float32(1 - self.dry) * wet + np.float32(self.dry) * x if self.dry else wet
        return x - out if self.residual else out

    def _route_chunk(self, x: np.ndarray, sample_rate: int, rms: np.ndarray) -> np.ndarray:
        """[C, T] and [C] -> UF [F], as `_network` finds it."""
        low = resample(x, sample_rate, self.config.sample_rate)[None]
        frames = -(-low.shape[2] // self.config.frame_hop)
        heard = rms >= SILENCE_RMS
        if not heard.any() or frames == 0:
            return np.full(frames, self._idle_uf, np.float32)
        uf = self._decide(self._noisy(low, rms, heard), heard)
        return (
            np.asarray(uf[0].cpu().numpy()) if isinstance(uf, torch.Tensor) else np.full(frames, uf, np.float32)
        )


def _layout(sample_rate: int) -> Layout:
    return Layout(*(round(seconds * sample_rate) for seconds in (CONTEXT_S, HOP_S, FADE_S, TAIL_S)))


def batches(pieces: Iterable[tuple[Chunk, np.ndarray]]) -> Iterator[list[tuple[Chunk, np.ndarray]]]:
    """Consecutive chunks of one length together, at most `BATCH` signals, or one chunk.

    Which chunks share a batch depends on the recording alone: so then do the last bits of the result.
    """
    for (channels, _), group in itertools.groupby(pieces, key=lambda piece: piece[1].shape):
        alike = iter(group)
        while run := list(itertools.islice(alike, BATCHES * max(1, BATCH // channels))):
            size = -(-len(run) // BATCHES)
            yield from (run[at : at + size] for at in range(0, len(run), size))


Arguments = tuple[tuple[str, Any], ...]


@functools.lru_cache(maxsize=1)
def _rebuild(kind: type[Enhancer], arguments: Arguments, network: tuple[str, bytes] | None) -> Enhancer:
    given = None if network is None else checkpoint.unpacked(*network)
    return kind(**dict(arguments), network=given)


def _rebuild_around(kind: type[Enhancer], arguments: Arguments, engine: NetworkEngine) -> Enhancer:
    return kind(**dict(arguments), engine=engine)


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real)


def _finite(block: np.ndarray) -> np.ndarray:
    """The block itself. Raises `AudioError` where it holds what is no sample of a recording."""
    if not (np.abs(block) <= LOUDEST).all():  # a NaN is not
        raise AudioError("holds NaN, infinite or absurdly large samples")
    return block


def _gain(rms: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """By how much the network's output is louder than its input was, by channel, [C, 1]; 1 for silence."""
    return np.where(heard, rms, 1).astype(np.float32)[:, None]


def network_input(x: np.ndarray, frame_hop: int, rms: np.ndarray | float) -> np.ndarray:
    """What the network takes: [..., T] at 16 kHz padded to whole frames, each channel at an RMS of 1."""
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % frame_hop)]) / np.float32(rms)


def _fit(x: np.ndarray, samples: int) -> np.ndarray:
    """Cut or zero-pad [C, T] to `samples`: two roundings of a rate may differ by one sample."""
    if x.shape[1] >= samples:
        return x[:, :samples]
    return np.pad(x, ((0, 0), (0, samples - x.shape[1])))
