"""`Enhancer`: a waveform of any rate, channels and length in, the same waveform with less noise out.

                                     +---level curve----+
                                     |                  |
    blocks --split--> chunk --16 kHz--divide--network--multiply--back--+--> join --> blocks
                        \\--- minus what a round trip through 16 kHz keeps ---/
                               = content above 8 kHz, gated

So the network hears every passage at its nominal level, an RMS of 1, whoever speaks (see `dsp.local_level`),
and one that changes nothing gives the recording back.

Glossary: C channels, T samples, F frames of 256 samples at 16 kHz, N chunks of a batch, L frames of 20 ms.
"""

from __future__ import annotations

import functools
import itertools
import math
import numbers
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from slimclean.audio import MAX_CHANNELS, SAMPLE_RATES_HZ
from slimclean.chunk_enhancer import ChunkEnhancer, Highband
from slimclean.chunking import Piece, completed, in_batches
from slimclean.defaults import TARGET_UF
from slimclean.dsp.overlap_add import Chunk, join
from slimclean.dsp.passages import Passages
from slimclean.engine.engine import NetworkEngine, engine_for
from slimclean.engine.threads import cores, side_by_side
from slimclean.errors import AudioError, UsageError
from slimclean.model import ModelConfig, SlimmableDemucs, checkpoint
from slimclean.model.device import pick_device
from slimclean.model.macs import macs_per_sample


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
    `device` is cpu, cuda, cuda:N, mps, or auto: cuda where there is one.
    `network`, as it is now, replaces the checkpoint; `engine` replaces it and how it runs (`NetworkEngine`).
    `uf`, `target_uf`, `highband`, `residual`, `device`, `precision` and `dry` can be read: the device and the
    precision that were chosen, and a share that holds the limit too. `at` makes another one.
    Raises `UsageError` for values out of range, and for a model or a device that is not there, and
    `CheckpointError` for weights that cannot be loaded.
    """

    def __init__(
        self,
        uf: float | Literal["auto"] = "auto",
        target_uf: float = TARGET_UF,
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
        limit = attenuation_limit_db
        _check(uf, target_uf, highband, dry, limit)
        self._version: tuple[int, int] | None = None
        if model is not None and network is None and engine is None:
            file = checkpoint.find(model)
            self._version = (file.stat().st_mtime_ns, file.stat().st_size)
            # A worker process may stand in another folder, and have the packaged ones elsewhere.
            model = model if file.parent == checkpoint.WEIGHTS else file.absolute()
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
        self._chunk_enhancer = ChunkEnhancer(
            engine, self.device, uf, target_uf, highband, dry=self.dry, residual=residual
        )

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
        return _rebuild, (type(self), self._arguments, network, self._version)

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
        x = np.asarray(waveform)
        blocks, ufs = zip(*self.stream([np.atleast_2d(x)], sample_rate), strict=True)
        return Enhancement(np.concatenate(blocks, axis=1).reshape(x.shape), np.concatenate(ufs))

    def stream(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        passages: Passages | None = None,
        *,
        live: bool = False,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Enhance consecutive blocks [C, T] in bounded memory.

        Yields consecutive output blocks [C, T'] and the UFs [F'] of the frames that they complete. `passages`,
        new and of the same rate, knows afterwards what offset was taken out. A `live` stream gives back what it
        can, `LIVE_DELAY_S` later, at over twice the work; then UFs of frames may differ from those of `route`.
        Raises `AudioError` for what is no such block, and samples that are not finite or louder than `LOUDEST`.
        """
        sample_rate = _checked_rate(sample_rate)
        blocks = _checked_blocks(blocks)
        ufs: list[np.ndarray] = []

        def work(batch: list[Piece]) -> list[tuple[Chunk, np.ndarray, np.ndarray]]:
            results = self._chunk_enhancer.enhance(batch, sample_rate)
            return [(piece.chunk, out, uf) for piece, (out, uf) in zip(batch, results, strict=True)]

        def pieces() -> Iterator[tuple[Chunk, np.ndarray]]:
            batches = in_batches(blocks, sample_rate, self.config, passages, live=live)
            done = side_by_side(work, batches, 1 if live else self.threads)
            for chunk, enhanced, uf in itertools.chain.from_iterable(done):
                ufs.append(uf[completed(chunk, sample_rate, self.config)])
                yield chunk, enhanced

        for out in join(pieces()):
            yield out, np.concatenate(ufs) if ufs else np.zeros(0)
            ufs.clear()

    def route(self, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        """Return the UF per frame, [F], that enhancing [C, T] or [T] would run at; only the router runs."""
        return np.concatenate(list(self.route_stream([np.atleast_2d(waveform)], sample_rate)))

    def route_stream(self, blocks: Iterable[np.ndarray], sample_rate: int) -> Iterator[np.ndarray]:
        """Yield the UFs that `stream` yields for the same arguments, by chunks; only the router runs."""
        sample_rate = _checked_rate(sample_rate)
        blocks = _checked_blocks(blocks)

        def work(batch: list[Piece]) -> list[np.ndarray]:
            ufs = self._chunk_enhancer.route(batch, sample_rate)
            return [
                uf[completed(piece.chunk, sample_rate, self.config)]
                for piece, uf in zip(batch, ufs, strict=True)
            ]

        # In the same batches, on as many threads, as `stream`: then nothing is rounded in another way.
        yield from itertools.chain.from_iterable(
            side_by_side(work, in_batches(blocks, sample_rate, self.config), self.threads)
        )

    @property
    def threads(self) -> int:
        """How many chunks are worked on at a time."""
        return cores() if self.device.type == "cpu" else 1

    def macs_per_sample(self, uf: np.ndarray) -> float:
        """Count multiply-accumulates per 16 kHz sample, the mean over frames that ran at `uf` [F]."""
        return macs_per_sample(self.config, uf, routed=self.uf == "auto")


def _check(
    uf: float | Literal["auto"], target_uf: float, highband: Highband, dry: float, limit: float | None
) -> None:
    """Raise `UsageError` for what is out of range; `limit` is `attenuation_limit_db`."""
    if uf != "auto" and not (_is_number(uf) and 0 < uf <= 1):
        raise UsageError(f"`uf` takes auto or a number above 0 and at most 1, not {uf}")
    if not (_is_number(target_uf) and 0.1 <= target_uf <= 1):
        raise UsageError(f"`target_uf` takes a number from 0.1 to 1, not {target_uf}")
    if highband not in get_args(Highband):
        raise UsageError(f"`highband` takes {', '.join(get_args(Highband))}, not {highband}")
    if not (_is_number(dry) and 0 <= dry <= 1):
        raise UsageError(f"`dry` takes a number from 0 to 1, not {dry}")
    if limit is not None and not (_is_number(limit) and limit >= 0):
        raise UsageError(f"`attenuation_limit_db` takes a number of at least 0, not {limit}")


Arguments = tuple[tuple[str, Any], ...]


@functools.lru_cache(maxsize=1)
def _rebuild(
    kind: type[Enhancer], arguments: Arguments, network: tuple[str, bytes] | None, _: tuple[int, int] | None
) -> Enhancer:
    """Make the enhancer of a worker process; other weights under an old name are another version."""
    given = None if network is None else checkpoint.unpacked(*network)
    return kind(**dict(arguments), network=given)


def _rebuild_around(kind: type[Enhancer], arguments: Arguments, engine: NetworkEngine) -> Enhancer:
    return kind(**dict(arguments), engine=engine)


def _checked_rate(sample_rate: float) -> int:
    low, high = SAMPLE_RATES_HZ
    whole = _is_number(sample_rate) and math.isfinite(sample_rate) and sample_rate == int(sample_rate)
    if not (whole and low <= sample_rate <= high):
        raise AudioError(f"a sample rate of {sample_rate} Hz is not a whole number from {low} to {high}")
    return int(sample_rate)


def _checked_blocks(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield blocks [C, T] as float32, one at least; raises `AudioError` for what is none."""
    channels = 0
    for block in blocks:
        x = np.asarray(block)
        if not np.issubdtype(x.dtype, np.floating):
            raise AudioError(f"a waveform holds floats within 1, not {x.dtype}")
        if x.ndim != 2 or not 1 <= len(x) <= MAX_CHANNELS:
            raise AudioError(f"a waveform is [T] or [C, T] with C at most {MAX_CHANNELS}, not {list(x.shape)}")
        if channels and len(x) != channels:
            raise AudioError(f"a block has {len(x)} channels, those before it {channels}")
        channels = len(x)
        yield x.astype(np.float32, copy=False)
    if not channels:
        yield np.zeros((1, 0), np.float32)


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real)
