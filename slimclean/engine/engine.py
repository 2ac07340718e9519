"""The inference form of the network: the same numbers, in less time and memory.

Four ideas on top of the plain network:

- **Tiles.** Encoder, GRU and decoder walk over the recording together, some frames at a time, so that what a
  level writes is still in cache when the next one reads it. See `tiles`.
- **Frames in order of their UF.** Inside a tile the frames that chose the same UF lie side by side, from the
  first block to the last, so that each block runs one narrow product per UF and cost follows the choice. Only
  what crosses from a frame to its neighbour in time is looked up.
- **Narrow signals as columns.** See `blocks`.
- **Batches.** Where products are small, in the GRU and the levels near it, all items of a batch share them.

Glossary: B batch, T samples, F frames.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from slimclean.engine.blocks import FastDecoder, FastEncoder, FastGRU, FastResampler, FastRouter, Scratch
from slimclean.engine.tiles import REACH, TILE, Parts, Pass, tiles
from slimclean.model import ModelConfig, SlimmableDemucs
from slimclean.model.blocks import DecoderBlock, EncoderBlock
from slimclean.model.demucs import Enhanced, uf_per_frame
from slimclean.model.device import pick_engine_bf16
from slimclean.model.sinc import ZEROS

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
        self.parts = Parts(
            FastResampler(network.resampler, network.config.stride),
            [
                FastEncoder(cast(EncoderBlock, block), kind)
                for block, kind in zip(network.encoder, [outer, *inner], strict=True)
            ],
            FastGRU(network.gru),
            None if network.row.weight is None else network.row.weight.detach().clone(),
            [
                FastDecoder(cast(DecoderBlock, block), kind)
                for block, kind in zip(network.decoder, [*inner, outer], strict=True)
            ],
        )
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
        run = Pass(self.parts, self.config, self._scratch(noisy), self.lap)
        chosen = ufs.cpu().numpy()
        padded = F.pad(noisy, (ZEROS, ZEROS))
        out = torch.zeros_like(padded)
        for start, stop in tiles(frames):
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
