"""The inference form of the network: the same numbers, in less time and memory.

Four ideas on top of the plain network:

- **Tiles.** Encoder, GRU and decoder walk over the recording together, `TILE` frames at a time, so that what a
  level writes is still in cache when the next one reads it. Encoder kernels reach up to two frames ahead, and a
  tile encodes those again. The row convolution hears what the GRU says of the next tile: with it the decoder is
  one tile behind, and only skips come from further than the cache. The GRU's state, and the one row that
  decoder kernels reach back, a tile hands on.
- **Frames in order of their UF.** Inside a tile the frames that chose the same UF lie side by side, from the
  first block to the last, so that each block runs one narrow product per UF and cost follows the choice. Only
  what crosses from a frame to its neighbour in time is looked up.
- **Narrow signals as columns.** See `blocks`.
- **Batches.** Where products are small, in the GRU and the levels near it, all items of a batch share them.

Glossary: B batch, T samples, F frames, f frames of a tile, r rows (time steps) of a level in one frame,
C channels, S stride.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from slimclean.engine.blocks import FastDecoder, FastEncoder, FastGRU, FastResampler, FastRouter, Scratch
from slimclean.engine.order import Order
from slimclean.model import ModelConfig, SlimmableDemucs
from slimclean.model.blocks import DecoderBlock, EncoderBlock
from slimclean.model.demucs import Enhanced, uf_per_frame
from slimclean.model.device import pick_engine_bf16
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


STAGES = ("upsampling", "order", "encoder", "gru", "decoder", "downsampling")
"""Where the engine's time goes; "order" is finding the frames of each UF."""


def _ignore(stage: str) -> None:
    """Tell nobody of a stage's end."""


class NetworkEngine(Protocol):
    """What `Enhancer` asks of the engine that it is given."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def precision(self) -> str:
        """Of the products: fp32 or bf16."""

    def route(self, noisy: Tensor, target_uf: float, power: Tensor | None = None) -> Tensor:
        """Let the router choose each frame's UF, [B, T] -> [B, F].

        Of N channels, [B, N, T], each counts by its `power`, [B, N, F].
        """

    def __call__(self, noisy: Tensor, uf: float | Tensor) -> Enhanced:
        """Enhance at one UF for everything, or at the UF given for each frame, [B, F]."""


class Engine:
    """Runs a network without gradients; numerically the network itself, up to rounding.

    Like the network, it takes [B, T] at `config.sample_rate` with T a multiple of `config.frame_hop`.
    `dtype` is that of the inner convolutions' products; the rest is float32. `lap` is told of each stage's end.
    """

    def __init__(
        self,
        network: SlimmableDemucs,
        dtype: torch.dtype = torch.float32,
        lap: Callable[[str], None] = _ignore,
    ) -> None:
        assert network.config.look_ahead <= TILE  # of what follows a tile only the next one is known
        self._arguments = network, dtype, lap
        self.lap = lap
        self.config = network.config
        self.dtype = dtype
        # The signal itself passes through the outermost blocks, whose rounding would be heard first.
        outer, inner = torch.float32, [dtype] * (network.config.depth - 1)
        self.encoder = [
            FastEncoder(cast(EncoderBlock, block), kind)
            for block, kind in zip(network.encoder, [outer, *inner], strict=True)
        ]
        self.decoder = [
            FastDecoder(cast(DecoderBlock, block), kind)
            for block, kind in zip(network.decoder, [*inner, outer], strict=True)
        ]
        self.gru = FastGRU(network.gru)
        self.row = None if network.row.weight is None else network.row.weight.detach().clone()
        self.resampler = FastResampler(network.resampler, network.config.stride)
        self.router = FastRouter(network.router)
        self._memory = threading.local()

    def __reduce__(self) -> tuple[object, ...]:
        return Engine, self._arguments

    @property
    def precision(self) -> str:
        """Of the products: fp32 or bf16."""
        return "bf16" if self.dtype == torch.bfloat16 else "fp32"

    @torch.inference_mode()
    def route(self, noisy: Tensor, target_uf: float, power: Tensor | None = None) -> Tensor:
        """Let the router choose each frame's UF, [B, T] -> [B, F]; see `NetworkEngine`."""
        return self.router(noisy, target_uf, power)

    @torch.inference_mode()
    def __call__(self, noisy: Tensor, uf: float | Tensor) -> Enhanced:
        """Enhance at one UF for everything, or at the UF given for each frame, [B, F]."""
        hop = self.config.frame_hop
        frames = noisy.shape[1] // hop
        ufs = uf_per_frame(noisy, uf, hop)
        run, chosen = _Pass(self, self._scratch(noisy)), ufs.cpu().numpy()
        padded = F.pad(noisy, (ZEROS, ZEROS))
        out = torch.zeros_like(padded)
        for start, stop in _tiles(frames, REACH):
            ahead = min(frames, stop + REACH)
            heard, said = (slice(start * hop, end * hop + 2 * ZEROS) for end in (ahead, stop))
            run.tile(padded[:, heard], chosen[:, start:ahead], out[:, said])
        run.decode_waiting()
        return Enhanced(out[:, ZEROS : ZEROS + frames * hop], ufs)

    def _scratch(self, like: Tensor) -> Scratch:
        """Find this thread's memory: as long as it lives, one pass after the other fits into it."""
        if not hasattr(self._memory, "scratch"):
            self._memory.scratch = Scratch(like)
        return cast(Scratch, self._memory.scratch)


def engine_for(
    network: SlimmableDemucs,
    precision: str,
    device: torch.device,
    uf: float | None,
    lap: Callable[[str], None] = _ignore,
) -> Engine:
    """Make an engine at `precision`: fp32, bf16, or auto, the faster; `uf` is None for the router."""
    bf16 = pick_engine_bf16(precision, device, uf)
    return Engine(network, torch.bfloat16 if bf16 else torch.float32, lap)


def _tiles(frames: int, reach: int) -> Iterator[tuple[int, int]]:
    """Cut frames into consecutive [start, stop); the last tile takes in a rest no longer than the reach."""
    starts = list(range(0, frames, TILE))
    if len(starts) > 1 and frames - starts[-1] <= reach:
        starts.pop()
    yield from itertools.pairwise([*starts, frames])


class _Tile(NamedTuple):
    """A tile that is encoded, and waits for what the row convolution hears after it."""

    states: Tensor
    """[B, keep, C], by time."""
    skips: list[dict[int, Tensor]]
    deep_skips: dict[int, Tensor]
    items: list[Order]
    order: Order
    out: Tensor


class _Pass:
    """One pass over a batch, tile after tile: memory in use, and what a tile hands to the next."""

    def __init__(self, engine: Engine, scratch: Scratch) -> None:
        self.gru, self.resampler, self.lap = engine.gru, engine.resampler, engine.lap
        self.row, self.look_ahead = engine.row, engine.config.look_ahead
        self.frame_hop, self.stride = engine.config.frame_hop, engine.config.stride
        shallow = min(SHALLOW, engine.config.depth - 1)
        encoder = list(enumerate(engine.encoder))
        self.shallow, self.deep = encoder[:shallow], encoder[shallow:]
        decoder = list(zip(range(len(encoder) - 1, -1, -1), engine.decoder, strict=True))
        self.rising, self.last = decoder[: len(self.deep)], decoder[len(self.deep) :]
        self.scratch = scratch
        self.state: Tensor | None = None
        self.waiting: _Tile | None = None
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
        self.waiting = _Tile(states, skips, deep_skips, items, order, out)
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

    def _decode(self, states: Tensor, tile: _Tile, out: Tensor) -> None:
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
