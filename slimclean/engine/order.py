"""Frames in order of their UF: who lies side by side in a tile, and who is whose neighbour in time.

The encoder works on all frames of a tile, the decoder on those to keep; each has an order of its own. In both,
frames of one UF lie side by side, by time. An example, of one item with five frames at three UFs, of which four
are to keep:

    frame                                0    1    2    3    4
    its UF                              .5  .25    1  .25   .5

    place in the encoder's order         0    1    2    3    4
    frame_of_place                       1    3    0    4    2
    UF there                           .25  .25   .5   .5    1
    place_of_next (5: there is none)     4    3    0    5    1

    place in the decoder's order         0    1    2    3
    frame_of_decoder_place               1    3    0    2
    UF there                           .25  .25   .5    1

so that the encoder runs three products a level, on places 0 to 1, 2 to 3 and 4, and the decoder three more, on
0 to 1, 2 and 3. The other way round, by frame:

    place_of_frame                       2    0    4    1    3
    decoder_place_of_frame               2    0    3    1

Of a batch, frames are counted through: frame t of item b is frame `b f + t`.

Glossary: B batch, f frames of a tile, r rows of a level in one frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Kept(NamedTuple):
    """Frames of one UF that go on to the decoder: their places in the encoder's order and in the decoder's."""

    uf: float
    encoded: slice | tuple[slice, slice]
    decoded: slice


class Indices(NamedTuple):
    """The arrays of the example, for `index_select`."""

    frame_of_place: Tensor
    place_of_next: Tensor
    place_of_frame: Tensor
    """The encoder's place of each frame, by time."""
    frame_of_decoder_place: Tensor
    """Counted among the frames to keep."""
    decoder_place_of_frame: Tensor
    end_before: Tensor
    """For each of the decoder's places, which of the ends of rows comes before it in time.

    The first B ends are those that the items' last tile handed on, the others are by the decoder's place.
    """
    end_of_item: Tensor
    """Which end each item hands on to its next tile."""


@dataclass(frozen=True, eq=False)
class Order:
    """The frames of a tile by UF, and by time within a UF.

    `encoded` and `decoded` say where the frames of each UF are. `indices` is None where all frames have one
    UF: then places are frames, and looking them up would change nothing.
    """

    batch: int
    encoded: list[tuple[float, slice]]
    decoded: list[Kept]
    place_of_frame: np.ndarray
    """[B f]"""
    decoder_place_of_frame: np.ndarray
    """[B, keep]"""
    indices: Indices | None
    device: torch.device

    @classmethod
    def of(cls, ufs: np.ndarray, keep: int, device: torch.device) -> Order:
        """Sort a tile, [B, f]; the first `keep` frames of each item go on, the others only lead up to them."""
        batch, frames = ufs.shape
        flat = ufs.reshape(-1)
        if (flat == flat[0]).all():
            return cls._of_one_uf(float(flat[0]), batch, frames, keep, device)
        time = np.tile(np.arange(frames), batch)
        frame_of_place = np.lexsort((time >= keep, flat))  # of one UF, the frames to keep come first
        place_of_frame = np.argsort(frame_of_place)
        is_kept = time[frame_of_place] < keep
        place_of_kept = place_of_frame.reshape(batch, frames)[:, :keep]
        decoder_place_of_frame = (np.cumsum(is_kept) - 1)[place_of_kept]  # [B, keep]

        next_by_frame = np.append(place_of_frame[1:], 0)
        next_by_frame[frames - 1 :: frames] = len(flat)
        end_before = np.empty(decoder_place_of_frame.size, np.int64)
        end_before[decoder_place_of_frame[:, 0]] = np.arange(batch)
        end_before[decoder_place_of_frame[:, 1:]] = batch + decoder_place_of_frame[:, :-1]
        arrays = (
            frame_of_place,
            next_by_frame[frame_of_place],
            place_of_frame,
            np.argsort(decoder_place_of_frame, axis=None),
            decoder_place_of_frame,
            end_before,
            batch + decoder_place_of_frame[:, -1],
        )
        indices = Indices(*(_index(array, device) for array in arrays))
        return cls(batch, *_groups(flat, is_kept), place_of_frame, decoder_place_of_frame, indices, device)

    @classmethod
    def _of_one_uf(cls, uf: float, batch: int, frames: int, keep: int, device: torch.device) -> Order:
        everything, kept = slice(0, batch * frames), slice(0, batch * keep)
        return cls(
            batch,
            [(uf, everything)],
            [Kept(uf, (slice(None), slice(0, keep)), kept)],
            np.arange(batch * frames),
            np.arange(batch * keep).reshape(batch, keep),
            None,
            device,
        )

    def joined(self, items: list[Order]) -> Tensor | None:
        """Find, for each of the encoder's places, the frame's place among the items' orders laid end to end."""
        if self.indices is None or items == [self]:
            return None
        own = np.concatenate(
            [item.place_of_frame + k * len(item.place_of_frame) for k, item in enumerate(items)]
        )
        return _index(own[np.argsort(self.place_of_frame)], self.device)

    def parted(self, items: list[Order], x: Tensor) -> list[Tensor]:
        """Share out frames in the decoder's order here: those of each item, in the item's own order."""
        if self.indices is None or items == [self]:
            return list(x.chunk(self.batch))
        own = [item.decoder_place_of_frame[0].argsort() for item in items]
        return [
            x.index_select(0, _index(place_of_frame[frames], self.device))
            for place_of_frame, frames in zip(self.decoder_place_of_frame, own, strict=True)
        ]


def _groups(flat: np.ndarray, is_kept: np.ndarray) -> tuple[list[tuple[float, slice]], list[Kept]]:
    """Find where the frames of each UF lie, from UFs by frame [B f] and, by place, which are kept [B f]."""
    encoded: list[tuple[float, slice]] = []
    decoded: list[Kept] = []
    start = decoder_start = 0
    for uf, count in zip(*np.unique(flat, return_counts=True), strict=True):
        stop = start + int(count)
        kept = int(np.count_nonzero(is_kept[start:stop]))
        encoded.append((float(uf), slice(start, stop)))
        if kept:
            here, there = slice(start, start + kept), slice(decoder_start, decoder_start + kept)
            decoded.append(Kept(float(uf), here, there))
        start, decoder_start = stop, decoder_start + kept
    return encoded, decoded


def _index(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(values.reshape(-1)).to(device)
