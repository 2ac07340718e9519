"""One pass over recordings, tile after tile.

Encoder, GRU and decoder walk over a recording together, `TILE` frames at a time, so that what a level writes
is still in cache when the next one reads it. Encoder kernels reach up to two frames ahead, and a tile encodes
those again. The row convolution hears what the GRU says of the next tile: with it the decoder is one tile
behind, and only skips come from further than the cache. The GRU's state, and the one row that decoder kernels
reach back, a tile hands on.

Glossary: B batch, T samples, F frames, f frames of a tile, r rows (time steps) of a level in one frame,
C channels, S stride.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from slimclean.engine.blocks import FastDecoder, FastEncoder, FastGRU, FastResampler, Scratch
from slimclean.engine.order import Order
from slimclean.model import ModelConfig
from slimclean.model.row import row_sum
from slimclean.model.sinc import ZEROS

TILE = 128
"""Frames per tile, about two seconds: below it calls cost more than they do, above it the cache overflows."""

REACH = 2
"""Frames that the encoder's kernels look ahead, rounded up."""

SHALLOW = 3
"""Levels that run item by item, for the cache; the deeper ones run all items of a batch at once."""

ALL = -1
"""Stands where an item's number is expected: all items."""


class Parts(NamedTuple):
    """What a pass runs: the network's blocks on prepared weights."""

    resampler: FastResampler
    encoder: list[FastEncoder]
    gru: FastGRU
    row: Tensor | None
    """Weights of the row convolution, [K, C]; None without look-ahead."""
    decoder: list[FastDecoder]


def tiles(frames: int) -> Iterator[tuple[int, int]]:
    """Cut frames into consecutive [start, stop); the last tile takes in a rest no longer than `REACH`."""
    starts = list(range(0, frames, TILE))
    if len(starts) > 1 and frames - starts[-1] <= REACH:
        starts.pop()
    yield from itertools.pairwise([*starts, frames])


class Tile(NamedTuple):
    """A tile that is encoded, and waits for what the row convolution hears after it."""

    states: Tensor
    """[B, keep, C], by time."""
    skips: list[dict[int, Tensor]]
    deep_skips: dict[int, Tensor]
    items: list[Order]
    order: Order
    out: Tensor


class Pass:
    """One pass over a batch, tile after tile: memory in use, and what a tile hands to the next."""

    def __init__(self, parts: Parts, config: ModelConfig, scratch: Scratch, lap: Callable[[str], None]) -> None:
        self.gru, self.resampler, self.lap = parts.gru, parts.resampler, lap
        self.row, self.look_ahead = parts.row, config.look_ahead
        self.frame_hop, self.stride = config.frame_hop, config.stride
        shallow = min(SHALLOW, config.depth - 1)
        encoder = list(enumerate(parts.encoder))
        self.shallow, self.deep = encoder[:shallow], encoder[shallow:]
        decoder = list(zip(range(len(encoder) - 1, -1, -1), parts.decoder, strict=True))
        self.rising, self.last = decoder[: len(self.deep)], decoder[len(self.deep) :]
        self.scratch = scratch
        self.state: Tensor | None = None
        self.waiting: Tile | None = None
        self.odd = False
        """Two tiles at a time have skips, so every other one uses the same memory."""
        self.ends: dict[tuple[int, int], Tensor] = {}
        """What the last rows of a tile add to the first of the next, by level and item."""

    def tile(self, noisy: Tensor, ufs: np.ndarray, out: Tensor) -> None:
        """Enhance noisy [B, T + 2 Z] at UFs [B, f]; the frames to keep are added to `out` [B, T' + 2 Z].

        With a look-ahead that is done when the next tile comes, or by `decode_waiting`.
        """
        batch, keep = len(out), (out.shape[1] - 2 * ZEROS) // self.frame_hop
        upsampled = self.resampler.up(noisy, self.scratch).unflatten(2, (ufs.shape[1], -1))  # [S, B, f, r]
        self.lap("upsampling")
        items = [Order.of(ufs[item : item + 1], keep, noisy.device) for item in range(batch)]
        order = items[0] if batch == 1 else Order.of(ufs, keep, noisy.device)
        self.lap("order")
        encoded, skips, deep_skips = self._encode(upsampled, items, order)
        self.lap("encoder")
        states = self._recur(encoded, order, keep)
        self.lap("gru")
        self.decode_waiting(states)
        self.waiting = Tile(states, skips, deep_skips, items, order, out)
        if self.row is None:
            self.decode_waiting()
        else:
            self.odd = not self.odd

    def decode_waiting(self, following: Tensor | None = None) -> None:
        """Decode the tile that waits, if one does; the states of the next follow it, [B, f, C], or nothing."""
        if self.waiting is None:
            return
        tile, self.waiting = self.waiting, None
        states = self._in_order(self._look_ahead(tile.states, following), tile.order)
        self.lap("gru")
        batch, keep = tile.states.shape[:2]
        rows = self.frame_hop * self.resampler.factor // self.stride
        decoded = self.scratch("down", self.stride, batch, keep, rows, dtype=tile.out.dtype)
        self._decode(states, tile, decoded)
        self.lap("decoder")
        self.resampler.down(decoded.flatten(2), tile.out)
        self.lap("downsampling")

    def _encode(
        self, upsampled: Tensor, items: list[Order], order: Order
    ) -> tuple[Tensor, list[dict[int, Tensor]], dict[int, Tensor]]:
        """Encode [S, B, f, r] -> [B f, 1, C] in the encoder's order, items' shallow skips, deep skips."""
        skips = []
        for item, own in enumerate(items):
            of_place = own.indices and own.indices.frame_of_place
            steps = self._pick(upsampled[:, item], of_place, 1).permute(1, 2, 0)  # [f, r, S]
            everyone, kept = self._encode_levels(steps, self.shallow, own, item, len(items))
            skips.append(kept)
        together = self._pick(everyone, order.joined(items))
        encoded, deep_skips = self._encode_levels(together, self.deep, order, 0, 1)
        return encoded, skips, deep_skips

    def _recur(self, encoded: Tensor, order: Order, keep: int) -> Tensor:
        """Run the GRU on the frames to keep: [B f, 1, C] in the encoder's order -> by time, [B, keep, C]."""
        by_time = encoded if order.indices is None else encoded.index_select(0, order.indices.place_of_frame)
        kept = by_time.view(order.batch, -1, encoded.shape[2])[:, :keep]
        states, self.state = self.gru(kept.float(), self.state)
        return states

    def _look_ahead(self, states: Tensor, following: Tensor | None) -> Tensor:
        """Let frames [B, keep, C] hear those after them, up to the recording's end: -> [B, keep, C]."""
        if self.row is None:
            return states
        known = states if following is None else torch.cat([states, following[:, : self.look_ahead]], 1)
        missing = states.shape[1] + self.look_ahead - known.shape[1]
        return row_sum(F.pad(known.mT, (0, missing), "replicate").mT if missing else known, self.row)

    def _in_order(self, states: Tensor, order: Order) -> Tensor:
        """Lay frames in the decoder's order: [B, keep, C] -> [B keep, 1, C]."""
        flat = states.reshape(-1, 1, states.shape[2])
        return flat if order.indices is None else flat.index_select(0, order.indices.frame_of_decoder_place)

    def _decode(self, states: Tensor, tile: Tile, out: Tensor) -> None:
        """Decode [B keep, 1, C] in the decoder's order -> `out` [S, B, keep, r], by time."""
        risen = self._decode_levels(states, self.rising, tile.deep_skips, tile.order, ALL)
        for item, (own, part) in enumerate(zip(tile.items, tile.order.parted(tile.items, risen), strict=True)):
            columns = self._decode_levels(part, self.last, tile.skips[item], own, item).permute(2, 0, 1)
            if own.indices is None:
                out[:, item] = columns
            else:
                torch.index_select(columns, 1, own.indices.decoder_place_of_frame, out=out[:, item])

    def _pick(self, x: Tensor, index: Tensor | None, dim: int = 0) -> Tensor:
        """Select, if there is an index, into memory that the next call of the same kind uses again."""
        if index is None:
            return x
        shape = [*x.shape[:dim], len(index), *x.shape[dim + 1 :]]
        return torch.index_select(x, dim, index, out=self.scratch("picked", *shape, dtype=x.dtype))

    def _cast(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return x if x.dtype == dtype else self.scratch("cast", *x.shape, dtype=dtype).copy_(x)

    def _encode_levels(
        self, x: Tensor, blocks: list[tuple[int, FastEncoder]], order: Order, item: int, items: int
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Take [f, r, S C] through some levels -> the last one's output and every level's, [f, r', C'].

        The last one's is that of all `items` so far, one after the other: they share their memory.
        """
        skips = {}
        for level, encode in blocks:
            rows = self._cast(x, encode.dtype).reshape(len(x), -1, encode.inputs)  # [f, S r, C] -> [f, r, S C]
            frames = len(rows)
            shape = items * frames, rows.shape[1], encode.outputs
            everyone = self.scratch(("skip", level, self.odd), *shape, dtype=rows.dtype)
            out = everyone[item * frames : (item + 1) * frames]
            nothing = rows.new_zeros(order.batch, encode.inputs)
            if order.indices is None:
                encode(rows.flatten(0, 1), nothing, order.encoded[0][0], out.flatten(0, 1), self.scratch)
                skips[level] = out.unflatten(0, (order.batch, -1))
            else:
                ahead = torch.cat([rows[:, 0], nothing[:1]]).index_select(0, order.indices.place_of_next)
                for uf, at in order.encoded:
                    encode(rows[at].flatten(0, 1), ahead[at], uf, out[at].flatten(0, 1), self.scratch)
                skips[level] = out
            x = out
        return everyone, skips

    def _decode_levels(
        self,
        x: Tensor,
        blocks: list[tuple[int, FastDecoder]],
        skips: dict[int, Tensor],
        order: Order,
        item: int,
    ) -> Tensor:
        """Take [f, r, C] through some levels, each with its skip added -> [f, r', C']."""
        frames, batch = len(x), order.batch
        for level, decode in blocks:
            rows = self._cast(x, decode.dtype).view(frames, -1, decode.inputs)
            steps = rows.shape[1]
            if level == 0:
                out = self.scratch("columns", decode.outputs, frames, steps, dtype=rows.dtype).permute(1, 2, 0)
            else:
                out = self.scratch(("decoded", level), frames, steps, decode.outputs, dtype=rows.dtype)
            ends = rows.new_empty(batch + (batch if order.indices is None else frames), decode.outputs)
            ends[:batch] = self.ends.get((level, item), 0)
            for uf, encoded, at in order.decoded:
                skip, part = skips[level][encoded], rows[at]
                part.view(skip.shape).add_(skip)
                own_ends = ends[batch:] if order.indices is None else ends[batch:][at]
                decode(part.flatten(0, 1), uf, out[at].flatten(0, 1), own_ends, self.scratch)
            if order.indices is None:
                out.unflatten(0, (batch, -1))[:, 0, 0] += ends[:batch]
                self.ends[level, item] = ends[batch:]
            else:
                out[:, 0] += ends[order.indices.end_before]
                self.ends[level, item] = ends[order.indices.end_of_item]
            x = out.relu_() if level > 0 else out
        return x
