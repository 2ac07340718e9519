"""The assembled network: resampler, encoder, GRU and its look-ahead, decoder, and the router beside them.

noisy [B, T] --x4 up--> E1 .. E5 --> GRU --> row convolution --> D5 .. D1 --x4 down--> enhanced [B, T]
     \\--> Router --> one UF per frame of 256 samples --> every E and D
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slimclean.model.blocks import DecoderBlock, EncoderBlock
from slimclean.model.config import ModelConfig
from slimclean.model.gru import GroupedGRU
from slimclean.model.router import Router
from slimclean.model.row import RowConvolution
from slimclean.model.sinc import ZEROS, SincResampler
from slimclean.model.slimmable import FrameWidths, Widths


@dataclass(frozen=True)
class Enhanced:
    """`waveform` [B, T] and the UF that each frame ran at, `uf` [B, F]."""

    waveform: Tensor
    uf: Tensor


class SlimmableDemucs(nn.Module):
    """Dynamically slimmable DEMUCS (arXiv 2507.04879).

    Input and output are [B, T] at `config.sample_rate` with T a multiple of `config.frame_hop`;
    inputs are expected at an RMS of 1 (see `Enhancer`, which takes care of both).
    """

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ModelConfig()
        sizes = list(itertools.pairwise((1, *config.channels)))
        self.resampler = SincResampler(config.upsampling)
        self.encoder = nn.ModuleList(EncoderBlock(c, c2, config.stride) for c, c2 in sizes)
        self.gru = GroupedGRU(config.channels[-1], config.gru_groups)
        self.row = RowConvolution(config.channels[-1], config.look_ahead)
        self.decoder = nn.ModuleList(
            DecoderBlock(c2, c, config.stride, last=c == 1) for c, c2 in reversed(sizes)
        )
        self.router = Router(config)
        start_as_identity(self.encoder[0], self.decoder[-1], self.decoder[-2])

    def backbone(self, noisy: Tensor, widths: Widths) -> Tensor:
        """Enhance, [B, T] -> [B, T]."""
        x = self.resampler.up(noisy)[..., None]  # [B, T] -> [B, U T, 1]
        skips = []
        for encode in self.encoder:
            x = encode(x, widths)
            skips.append(x)
        x = self.row(self.gru(x))
        for decode in self.decoder:
            x = decode(x, skips.pop(), widths)
        return self.resampler.down(x[..., 0])

    def forward(self, noisy: Tensor, uf: float | Tensor) -> Enhanced:
        """Enhance at one UF for everything, or at the UF given for each frame, [B, F]."""
        widths: Widths = FrameWidths.of(uf) if isinstance(uf, Tensor) else float(uf)
        return Enhanced(self.backbone(noisy, widths), uf_per_frame(noisy, uf, self.config.frame_hop))

    def route(self, noisy: Tensor, target_uf: float, power: Tensor | None = None) -> Tensor:
        """Let the router choose each frame's UF, [B, T] -> [B, F].

        Of N channels, [B, N, T], each counts by its `power`, [B, N, F].
        """
        logits = self.router(noisy, noisy.new_full((noisy.shape[0],), target_uf), power)
        uf: Tensor = self.router.likeliest(logits)
        return uf


def uf_per_frame(noisy: Tensor, uf: float | Tensor, frame_hop: int) -> Tensor:
    """Give every frame of noisy [B, T] its UF, [B, F], whether one was asked for or one each."""
    return uf if isinstance(uf, Tensor) else noisy.new_full((len(noisy), noisy.shape[1] // frame_hop), uf)


@torch.no_grad()
def start_as_identity(first: nn.Module, last: nn.Module, second_last: nn.Module) -> None:
    """Initialise the outermost blocks so that the network gives back, nearly, what it gets.

    Channels 0 and 1 of the first block hold the positive and the negative part of the signal's mean over
    S upsampled steps; the last block subtracts the one from the other and holds it for S steps. Everything
    else starts small beside that, so training begins with a gate on the noisy signal, at every UF,
    instead of having to learn to pass speech first.
    """
    assert isinstance(first, EncoderBlock)
    assert isinstance(last, DecoderBlock)
    assert isinstance(second_last, DecoderBlock)
    stride = first.strided.stride
    sign = torch.tensor([1.0, -1.0])
    first.strided.weight[..., :2] = 0
    first.strided.weight[0, :, :2] = sign / stride
    open_gate = 2.0
    for pointwise in (first.pointwise, last.pointwise):
        pointwise.weight.mul_(0.1)
        pointwise.weight[0].add_(torch.eye(pointwise.weight.shape[1]))
        pointwise.bias[1].fill_(open_gate)
    last.transposed.weight.mul_(0.1)
    last.transposed.weight[:, :2] = 0
    last.transposed.weight[0, :2] = sign[:, None] / torch.sigmoid(torch.tensor(open_gate)) ** 2
    second_last.transposed.weight.mul_(0.1)


def look_ahead_samples(config: ModelConfig) -> int:
    """Count the samples at `sample_rate` past the first of a frame that its UF, or output at given UFs, sees.

    The encoder's kernels reach 1 + (K - 1) (1 + S + ... + S^(L - 1)) upsampled steps from the
    frame's start, the two resamplings `ZEROS` samples each: 709 samples, 44 ms, by default. The row
    convolution adds `look_ahead` frames: 17,093 samples, 1.07 s, in all. The router hears 16,160;
    what it hears for the frames that lie ahead is not counted.
    """
    kernels: int = 1 + (config.kernel - 1) * sum(config.stride**level for level in range(config.depth))
    backbone = -(-kernels // config.upsampling) + 2 * ZEROS + config.look_ahead * config.frame_hop
    overlap = config.router_kernel - config.router_stride
    return max(backbone, (1 + config.router_reach) * config.frame_hop + overlap)
