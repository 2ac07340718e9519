"""A recording in chunks: how long they are, and which of them the network takes together.

`dsp.overlap_add` draws a chunk, cuts and joins.

Glossary: C channels, T samples, F frames of 256 samples at 16 kHz, L frames of 20 ms.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np

from slimclean.audio import LOUDEST
from slimclean.dsp.local_level import LOOK_AHEAD_S
from slimclean.dsp.overlap_add import Chunk, Layout, split
from slimclean.dsp.passages import Passages
from slimclean.errors import AudioError
from slimclean.model import ModelConfig
from slimclean.model.demucs import look_ahead_samples

CONTEXT_S, HOP_S, FADE_S = 2.0, 16.0, 0.25
"""Layout of a chunk, but for its tail, and for what a router of longer frames hears. Context and hop are
multiples of 2 s, which is a whole number of samples at every rate and of frames at 16 kHz, so that chunks agree
on where frames begin."""


def context_s(config: ModelConfig) -> float:
    """Count the seconds that a chunk hears before what it says: `CONTEXT_S`, so often that the router fits."""
    return CONTEXT_S * max(1, math.ceil((config.router_reach + 1) / config.frame_rate_hz / CONTEXT_S))


def tail_s(config: ModelConfig) -> float:
    """Count the seconds that a chunk hears beyond what it says: what the network looks ahead, and a little."""
    return look_ahead_samples(config) / config.sample_rate + 0.02


LIVE_HOP_S = 2.0
"""Hop of the chunks of a stream that is live, which come one by one."""
MOST_SAMPLES = 1 << 24
"""Samples of a hop, over all channels: of 24 channels, or at 655 kHz, chunks of 16 s would take gigabytes."""
LIVE_DELAY_S = LOOK_AHEAD_S + LIVE_HOP_S + FADE_S + tail_s(ModelConfig())
"""How much of a live stream is taken in before the first of it is given back, by default: some 6 s."""

BATCH = 8
"""Signals in a batch, chunks times channels: they share the small products of the GRU and the router."""

BATCHES = 2
"""Batches that are made of one stretch of the recording, alike in size, so that two cores end together."""

AnyPiece = TypeVar("AnyPiece", bound="tuple[Any, ...]")


class Piece(NamedTuple):
    """A chunk, the samples it reads [C, T], and the level and the share to enhance of their frames, [C, L]."""

    chunk: Chunk
    samples: np.ndarray
    level: np.ndarray
    heard: np.ndarray

    @property
    def anything_heard(self) -> bool:
        """Whether any of it is to be enhanced."""
        return bool(self.heard.any())


def in_batches(
    blocks: Iterable[np.ndarray],
    sample_rate: int,
    config: ModelConfig,
    passages: Passages | None = None,
    *,
    live: bool = False,
) -> Iterator[list[Piece]]:
    """Cut consecutive blocks [C, T] into chunks, and give those that the network takes together.

    `passages`, new and of the same rate, knows afterwards what offset was taken out. Chunks of a `live` stream
    are shorter, and come one by one. Raises `AudioError` for samples that are not finite or louder than
    `LOUDEST`.
    """
    found = passages or Passages(sample_rate)
    ahead = iter(blocks)
    first = next(ahead)
    layout = _layout(config, sample_rate, LIVE_HOP_S if live else hop_s(len(first), sample_rate))
    chunks = split(found.stream(map(_finite, itertools.chain([first], ahead))), layout)
    pieces = (Piece(chunk, x, *found.between(chunk.read_start, chunk.read_stop)) for chunk, x in chunks)
    return ([piece] for piece in pieces) if live else batches(pieces)


def hop_s(channels: int, sample_rate: int) -> float:
    """Return the hop of chunks: `HOP_S`, or what fits into `MOST_SAMPLES`, in steps of `LIVE_HOP_S`."""
    fitting_s = MOST_SAMPLES / (channels * sample_rate)
    return min(HOP_S, max(LIVE_HOP_S, fitting_s // LIVE_HOP_S * LIVE_HOP_S))


def batches(pieces: Iterable[AnyPiece]) -> Iterator[list[AnyPiece]]:
    """Group consecutive chunks of one length, at most `BATCH` signals, or one chunk.

    Which chunks share a batch depends on the recording alone: so then do the last bits of the result.
    """
    for (channels, _), group in itertools.groupby(pieces, key=lambda piece: piece[1].shape):
        alike = iter(group)
        while stretch := list(itertools.islice(alike, BATCHES * max(1, BATCH // channels))):
            size = -(-len(stretch) // BATCHES)
            yield from (stretch[at : at + size] for at in range(0, len(stretch), size))


def completed(chunk: Chunk, sample_rate: int, config: ModelConfig) -> slice:
    """Tell which of the frames that a chunk reads it completes: those of its hop."""
    per_sample = config.frame_rate_hz / sample_rate
    first = round((chunk.start - chunk.read_start) * per_sample)
    hop = chunk.stop - chunk.start - chunk.fade_out
    return slice(first, first + int(np.ceil(hop * per_sample - 1e-6)))


def _layout(config: ModelConfig, sample_rate: int, hop_s: float) -> Layout:
    seconds = (context_s(config), hop_s, FADE_S, tail_s(config))
    return Layout(*(round(each * sample_rate) for each in seconds))


def _finite(block: np.ndarray) -> np.ndarray:
    """Return the block as it is. Raises `AudioError` where it holds what is no sample of a recording."""
    if not (np.abs(block) <= LOUDEST).all():  # a NaN is not
        raise AudioError("holds NaN, infinite or absurdly large samples")
    return block
