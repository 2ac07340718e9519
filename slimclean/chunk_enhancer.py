"""What becomes of chunks between cutting and joining: rate, level, network, high band, strength.

The picture of it is in `enhancer`.

Glossary: N chunks, C channels, T samples, F frames of 256 samples at 16 kHz, L frames of 20 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch

from slimclean.chunking import Piece
from slimclean.dsp.highband import highband_gain
from slimclean.dsp.local_level import FRAMES_PER_S, spread
from slimclean.dsp.resample import resample
from slimclean.engine.engine import NetworkEngine
from slimclean.errors import SlimcleanError

Highband = Literal["gate", "keep", "drop"]


class _Prepared(NamedTuple):
    """N chunks as the network takes them."""

    noisy: torch.Tensor
    """[N, C, T], T a multiple of a frame, at an RMS near 1."""
    power: torch.Tensor
    """Of each frame as it was recorded, [N, C, F]."""
    curve: np.ndarray
    """What they were divided by, [N, C, T]."""


@dataclass(frozen=True)
class ChunkEnhancer:
    """Enhances chunks that are alike in length and channels, in one batch; its fields are as of `Enhancer`."""

    engine: NetworkEngine
    device: torch.device
    uf: float | Literal["auto"]
    target_uf: float
    highband: Highband
    dry: float
    residual: bool

    def enhance(self, batch: Sequence[Piece], sample_rate: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """N chunks -> N x output [C, T] and UF [F]; edges are context, not kept."""
        low = self._low(batch, sample_rate)
        if _is_silent(batch, low):
            wets = [piece.samples for piece in batch]
            ufs = self._idle(low)
        else:
            enhanced, ufs = self._network(low, batch)
            wets = [self._wet(*each, sample_rate) for each in zip(batch, low, enhanced, strict=True)]
        return [(self._mix(piece.samples, wet), uf) for piece, wet, uf in zip(batch, wets, ufs, strict=True)]

    def route(self, batch: Sequence[Piece], sample_rate: int) -> np.ndarray:
        """N chunks -> UF [N, F], as `enhance` finds it."""
        low = self._low(batch, sample_rate)
        if _is_silent(batch, low) or self.uf != "auto":
            return self._idle(low)
        with torch.inference_mode():
            ufs: np.ndarray = self._decide(self._prepared(low, batch)).cpu().numpy()
        return ufs

    def _low(self, batch: Sequence[Piece], sample_rate: int) -> np.ndarray:
        """N chunks at the network's rate, [N, C, T]."""
        return np.stack(
            [resample(piece.samples, sample_rate, self.engine.config.sample_rate) for piece in batch]
        )

    def _idle(self, low: np.ndarray) -> np.ndarray:
        """Give the UF [N, F] where there is nothing to decide on."""
        frames = -(-low.shape[2] // self.engine.config.frame_hop)
        uf = min(self.engine.config.ufs) if self.uf == "auto" else self.uf
        return np.full((len(low), frames), uf, np.float32)

    def _network(self, low: np.ndarray, batch: Sequence[Piece]) -> tuple[np.ndarray, np.ndarray]:
        """N chunks at the network's rate, [N, C, T] -> enhanced [N, C, T] and UF [N, F]."""
        count, channels, samples = low.shape
        prepared = self._prepared(low, batch)
        with torch.inference_mode():
            uf: float | torch.Tensor = float(self.uf) if self.uf != "auto" else self._decide(prepared)
            if isinstance(uf, torch.Tensor):  # channels share it, or a voice would wander between them
                uf = uf.repeat_interleave(channels, 0)
            result = self.engine(prepared.noisy.flatten(0, 1), uf)
        enhanced = result.waveform.cpu().numpy().reshape(count, channels, -1)[..., :samples] * prepared.curve
        if not np.isfinite(enhanced).all():
            raise SlimcleanError("the network gave NaN or infinite samples; its checkpoint may be damaged")
        return enhanced, result.uf[::channels].cpu().numpy()

    def _prepared(self, low: np.ndarray, batch: Sequence[Piece]) -> _Prepared:
        """Bring N chunks at the network's rate, [N, C, T], to its level and to whole frames."""
        samples, hop = low.shape[2], self.engine.config.frame_hop
        curve = np.stack([self._spread(piece.level, samples) for piece in batch])
        rest = [(0, 0), (0, 0), (0, -samples % hop)]
        noisy = np.pad(low / curve, rest)
        heard = np.stack([self._spread(piece.heard, samples) for piece in batch])
        power = np.square(np.pad(curve * heard, rest, "edge")[:, :, hop // 2 :: hop])
        return _Prepared(
            torch.from_numpy(noisy).to(self.device), torch.from_numpy(power).to(self.device), curve
        )

    def _spread(self, frames: np.ndarray, samples: int) -> np.ndarray:
        return spread(frames, samples, self.engine.config.sample_rate // FRAMES_PER_S)

    def _decide(self, prepared: _Prepared) -> torch.Tensor:
        """Let the router choose the UF of N chunks, [N, F]."""
        noisy, power, _ = prepared
        if noisy.shape[1] == 1:
            return self.engine.route(noisy[:, 0], self.target_uf)
        return self.engine.route(_in_phase(noisy, power), self.target_uf, power)

    def _wet(self, piece: Piece, low: np.ndarray, enhanced: np.ndarray, sample_rate: int) -> np.ndarray:
        """Back to the recording's rate [C, T], with what lies above the network's band."""
        x = piece.samples
        out = _fit(resample(enhanced, self.engine.config.sample_rate, sample_rate), x.shape[1])
        if sample_rate != self.engine.config.sample_rate and self.highband != "drop":
            rest = x - _fit(resample(low, self.engine.config.sample_rate, sample_rate), x.shape[1])
            if self.highband == "gate":
                rest *= highband_gain(low, enhanced, self.engine.config.frame_hop, x.shape[1], sample_rate)
            out = out + rest
        if (piece.heard < 1).any():  # silence stays as it is
            centres = (np.arange(piece.heard.shape[1]) + 0.5) * (sample_rate / FRAMES_PER_S)
            places = np.arange(x.shape[1]) + 0.5
            heard = np.stack([np.interp(places, centres, channel) for channel in piece.heard])
            out = np.where(heard > 0, x + (out - x) * heard.astype(np.float32), x)
        return out

    def _mix(self, x: np.ndarray, wet: np.ndarray) -> np.ndarray:
        out = np.float32(1 - self.dry) * wet + np.float32(self.dry) * x if self.dry else wet
        return x - out if self.residual else out


def _is_silent(batch: Sequence[Piece], low: np.ndarray) -> bool:
    """Tell whether there is nothing for the network to do."""
    return low.shape[2] == 0 or not any(piece.anything_heard for piece in batch)


def _in_phase(noisy: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
    """Turn channels that go against the strongest one, [N, C, T]: the router hears which way a wave points."""
    strongest = power.sum(2).argmax(1)
    reference = noisy[torch.arange(len(noisy)), strongest]
    against = torch.einsum("nct,nt->nc", noisy, reference) < 0
    return torch.where(against[:, :, None], -noisy, noisy)


def _fit(x: np.ndarray, samples: int) -> np.ndarray:
    """Cut or zero-pad [C, T] to `samples`: two roundings of a rate may differ by one sample."""
    if x.shape[1] >= samples:
        return x[:, :samples]
    return np.pad(x, ((0, 0), (0, samples - x.shape[1])))
