"""Training examples, mixed on the fly: what the network hears and what it should give back.

Every example is a pure function of (seed, index), so a run resumed at any step sees what it
would have seen. Arrays are float32 [T] at 16 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from slimclean.train import acoustics
from slimclean.train.acoustics import rms
from slimclean.train.sources import Library

ROOMS = 256
LOWEST_VOICE_HZ = 50.0
"""Speech recordings are taken without what they hold below: it is rumble, and rumble is to be removed."""


@dataclass(frozen=True)
class MixConfig:
    """What to mix, as probabilities unless a unit says otherwise."""

    snr_db: tuple[float, float, float] = (-5.0, 10.0, 25.0)
    """Least, likeliest and most: a triangular distribution."""
    level_db: tuple[float, float] = (-3.0, 3.0)
    """Around the nominal RMS of 1: loud and quiet passages of one recording."""
    noise_only: float = 0.05
    clean_only: float = 0.06
    reverb: float = 0.15
    two_noises: float = 0.25
    synthetic_noise: float = 0.2
    babble: float = 0.1
    music: float = 0.08
    speed: float = 0.5
    filtered_noise: float = 0.4
    filtered_speech: float = 0.15
    whispered: float = 0.04
    rumble: float = 0.4
    rumble_snr_db: tuple[float, float, float] = (-8.0, 6.0, 25.0)
    gated_noise: float = 0.04
    narrowband: float = 0.02
    clipped: float = 0.02


class Mixer:
    """Draws (noisy, clean) pairs from a library of speech and one of noise.

    `rooms` are impulse responses [T] with the direct sound first; None simulates them.
    The clean signal keeps its room: slimclean removes noise, not reverberation.
    """

    def __init__(
        self,
        speech: Library,
        noise: Library,
        config: MixConfig | None = None,
        rooms: list[np.ndarray] | None = None,
    ) -> None:
        self.speech = speech
        self.noise = noise
        self.config = config or MixConfig()
        if rooms is None:
            rooms = [acoustics.room_impulse_response(np.random.default_rng([7, k])) for k in range(ROOMS)]
        self.rooms = rooms

    def draw(self, rng: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray]:
        """One example: noisy and clean, the noisy one at an RMS near 1."""
        c = self.config
        kind = rng.random()
        speech = self._speech(rng, length)
        noise = self._noise(rng, length)
        speech *= 1 / _active_rms(speech)
        noise *= 10 ** (-_triangular(rng, c.snr_db) / 20) / rms(noise)
        if rng.random() < c.rumble:
            noise += acoustics.rumble(rng, length) * np.float32(10 ** (-_triangular(rng, c.rumble_snr_db) / 20))
        if kind < c.noise_only:
            speech = np.zeros_like(speech)
        elif kind < c.noise_only + c.clean_only:
            noise = np.zeros_like(noise)
        noisy = speech + noise
        if rng.random() < c.narrowband:
            edges = (rng.uniform(60, 300), rng.uniform(3000, 4000))
            noisy, speech = (acoustics.band_limit(x, *edges) for x in (noisy, speech))
        if rng.random() < c.clipped:
            limit = np.abs(noisy).max() * rng.uniform(0.25, 0.8)
            noisy = np.clip(noisy, -limit, limit)
        gain = np.float32(10 ** (rng.uniform(*c.level_db) / 20) / max(rms(noisy), 1e-4))
        return noisy * gain, speech * gain

    def _speech(self, rng: np.random.Generator, length: int) -> np.ndarray:
        for _ in range(4):  # a crop that is all pause teaches little
            x = self.speech.crop(rng, length)
            if rms(x) > 0.008:
                break
        x = acoustics.high_pass(x, LOWEST_VOICE_HZ)
        # No draw where there are no whispers (or no music), so that validation mixtures stay what they were.
        if self.config.whispered and rng.random() < self.config.whispered:
            x = acoustics.whisper(rng, x)
        if rng.random() < self.config.filtered_speech:
            x = acoustics.shape_spectrum(x, rng.normal(0, 3, 8))
        if rng.random() < self.config.reverb:
            x = acoustics.convolve(x, self._room(rng))
        return x

    def _noise(self, rng: np.random.Generator, length: int) -> np.ndarray:
        x = self._one_noise(rng, length)
        if rng.random() < self.config.two_noises:
            other = self._one_noise(rng, length)
            x = x / rms(x) + other / rms(other) * 10 ** (rng.uniform(-15, 0) / 20)
        if rng.random() < self.config.gated_noise:
            x = x * _gate(rng, length)
        return x.astype(np.float32)

    def _one_noise(self, rng: np.random.Generator, length: int) -> np.ndarray:
        c = self.config
        if c.music and rng.random() < c.music:
            return acoustics.convolve(acoustics.music(rng, length), self._room(rng))
        if rng.random() < c.synthetic_noise:
            make = (acoustics.coloured_noise, acoustics.coloured_noise, acoustics.hum, acoustics.clicks)
            return make[int(rng.integers(len(make)))](rng, length)
        if rng.random() < c.babble:
            return self._babble(rng, length)
        for _ in range(4):
            speed = float(np.exp(rng.uniform(-0.5, 0.4))) if rng.random() < c.speed else 1.0
            x = self.noise.crop(rng, int(length * speed) + 2)
            if rms(x) > 1e-4:
                break
        if speed != 1.0:
            x = np.interp(np.arange(length) * speed, np.arange(len(x)), x).astype(np.float32)
        x = x[:length]
        if rng.random() < c.filtered_noise:
            x = acoustics.shape_spectrum(x, rng.normal(0, 5, 8))
        return x

    def _babble(self, rng: np.random.Generator, length: int) -> np.ndarray:
        room = self._room(rng)
        voices = sum(
            x / _active_rms(x) * 10 ** (rng.uniform(-8, 0) / 20)
            for x in (self.speech.crop(rng, length) for _ in range(rng.integers(4, 9)))
        )
        return acoustics.convolve(np.asarray(voices, np.float32), room)

    def _room(self, rng: np.random.Generator) -> np.ndarray:
        return self.rooms[int(rng.integers(len(self.rooms)))]


class MixDataset(Dataset[tuple[Tensor, Tensor]]):
    """Example `index` of seed `seed`: noisy and clean, [T] each. For a DataLoader's workers."""

    def __init__(self, mixer: Mixer, seed: int, length: int) -> None:
        self.mixer = mixer
        self.seed = seed
        self.length = length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, index])
        noisy, clean = self.mixer.draw(rng, self.length)
        return torch.from_numpy(noisy), torch.from_numpy(clean)


def _triangular(rng: np.random.Generator, range_: tuple[float, float, float]) -> float:
    low, mode, high = range_
    return float(rng.triangular(low, mode, high)) if high > low else low


def _active_rms(x: np.ndarray) -> float:
    """RMS over the 20 ms frames within 30 dB of the loudest: the level of speech, not of its pauses."""
    power = np.square(x[: len(x) // 320 * 320].reshape(-1, 320)).mean(1)
    return float(np.sqrt(power[power >= power.max() / 1000].mean() + 1e-10))


def _gate(rng: np.random.Generator, length: int) -> np.ndarray:
    """Noise that comes and goes: a random on-off gain with 20 ms edges."""
    steps = np.repeat(rng.random(length // 4000 + 2) < 0.6, 4000)[:length].astype(np.float32)
    edge = np.hanning(321)[1:-1].astype(np.float32)
    return np.convolve(steps, edge / edge.sum(), "same") + 0.01
