"""Frames in order of their UF: who lies side by side in a tile, and who is whose neighbour in time.

Glossary: B batch, f frames of a tile, r rows of a level in one frame.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Kept(NamedTuple):
    """Frames of one UF that go on to the decoder: their places in the encoder's order and in the decoder's."""

    uf: float
    encoded: slice | tuple[slice, slice]
    decoded: slice


class Order:
    """The frames of a tile by UF, and by time within a UF.

    `ufs` is [B, f]; the first `keep` frames of each item go on to the decoder, the others only lead up to
    them. A frame has a number, `item * f + frame`, and a place in order, for encoder and decoder apart.
    `encoded` and `decoded` say where the frames of each UF are.
    `plain` is an order at one UF: then place is number, and indices, which would change nothing, are None.
    """

    number: Tensor | None = None
    """The frame at each of the encoder's places."""
    after: Tensor | None = None
    """The place of the frame after that at each place; the number of places if there is none."""
    kept: Tensor | None = None
    """The encoder's place of each frame to keep, in time."""
    kept_decoded: Tensor | None = None
    """The decoder's place of each frame to keep, in time."""
    time: Tensor | None = None
    """Which of the frames to keep is at each of the decoder's places, the inverse of `kept_decoded`."""
    before: Tensor | None = None
    """B + the decoder's place of the frame before that at each place; the item, if that is in the last tile."""
    last: Tensor | None = None
    """B + the decoder's place of each item's last frame."""
    places: np.ndarray
    """The encoder's place of each frame, [B f]."""
    kept_places: np.ndarray
    """The decoder's place of each frame to keep, [B, keep]."""

    def __init__(self, ufs: np.ndarray, keep: int, device: torch.device) -> None:
        self.batch, frames = ufs.shape
        flat = ufs.reshape(-1)
        self.device = device
        self.plain = bool((flat == flat[0]).all())
        if self.plain:
            self.places = np.arange(len(flat))
            self.kept_places = np.arange(self.batch * keep).reshape(self.batch, keep)
            everything = slice(0, self.batch * keep)
            self.encoded = [(float(flat[0]), slice(0, len(flat)))]
            self.decoded = [Kept(float(flat[0]), (slice(None), slice(0, keep)), everything)]
            return
        time = np.tile(np.arange(frames), self.batch)
        number = np.lexsort((time >= keep, flat))  # of one UF, the frames to keep come first
        place = np.argsort(number)
        after = np.append(place[1:], 0)
        after[frames - 1 :: frames] = len(flat)
        is_kept = time[number] < keep
        kept = place.reshape(self.batch, frames)[:, :keep]
        kept_decoded = (np.cumsum(is_kept) - 1)[kept]  # [B, keep]
        before = np.empty(kept_decoded.size, np.int64)
        before[kept_decoded[:, 0]] = np.arange(self.batch)
        before[kept_decoded[:, 1:]] = self.batch + kept_decoded[:, :-1]
        self.encoded, self.decoded = [], []
        at = kept_at = 0
        for uf, count in zip(*np.unique(flat, return_counts=True), strict=True):
            stop = at + int(count)
            going = int(np.count_nonzero(is_kept[at:stop]))
            self.encoded.append((float(uf), slice(at, stop)))
            if going:
                self.decoded.append(Kept(float(uf), slice(at, at + going), slice(kept_at, kept_at + going)))
            at, kept_at = stop, kept_at + going

        self.places, self.kept_places = place, kept_decoded
        self.number, self.after = self._index(number), self._index(after[number])
        self.kept, self.kept_decoded = self._index(kept), self._index(kept_decoded)
        self.time = self._index(np.argsort(kept_decoded, axis=None))
        self.before, self.last = self._index(before), self._index(self.batch + kept_decoded[:, -1])

    def joined(self, items: list[Order]) -> Tensor | None:
        """At each of the encoder's places, the frame's place among the items' own orders laid end to end."""
        if self.plain or items == [self]:
            return None
        own = np.concatenate([item.places + k * len(item.places) for k, item in enumerate(items)])
        return self._index(own[np.argsort(self.places)])

    def parted(self, items: list[Order], x: Tensor) -> list[Tensor]:
        """Frames in the decoder's order here -> those of each item, in the item's own."""
        if self.plain or items == [self]:
            return list(x.chunk(self.batch))
        own = [item.kept_places[0].argsort() for item in items]
        return [pick(x, self._index(all_[of])) for all_, of in zip(self.kept_places, own, strict=True)]

    def _index(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.reshape(-1)).to(self.device)


def pick(x: Tensor, index: Tensor | None, dim: int = 0) -> Tensor:
    return x if index is None else x.index_select(dim, index)
