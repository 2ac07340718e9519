"""Training examples, mixed on the fly: what the network hears and what it should give back.

Every example is a pure function of (seed, index), so a run resumed at any step sees what it
would have seen. Arrays are float32 [T] at 16 kHz.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from slimclean.dsp import SAMPLE_RATE
from slimclean.dsp.local_level import level_curve
from slimclean.dsp.resample import resample
from slimclean.train import acoustics, voices
from slimclean.train.acoustics import rms
from slimclean.train.mix import MixConfig
from slimclean.train.sources import Library
from slimclean.train.voices import active_rms

ROOMS = 256
LOWEST_VOICE_HZ = 50.0
"""What speech recordings hold below is rumble, which is to be removed, so it is no target."""
LOG_VOICE_SPEED = (-0.14, 0.14)
"""From 13 % slower to 15 % faster: as far as voices of one kind lie apart."""
SYNTHETIC_NOISES = (acoustics.coloured_noise, acoustics.coloured_noise, acoustics.hum, acoustics.clicks)
"""What a synthetic noise may be, each as often as it stands here."""


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
        self.rooms = _simulated_rooms() if rooms is None else rooms

    def draw(self, rng: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Mix one example of `length` samples, noisy and clean, [T], at the level that the network hears."""
        c = self.config
        kind = rng.random()
        recorded, speech = self._speech(rng, length)
        noise = self._noise(rng, length)
        faint = c.faint_noise and rng.random() < c.faint_noise
        noise *= 10 ** (-_triangular(rng, c.faint_snr_db if faint else c.snr_db) / 20) / rms(noise)
        if c.slam and rng.random() < c.slam:
            noise += acoustics.slam(rng, length) * np.float32(10 ** (rng.uniform(*c.slam_db) / 20))
        if not faint and rng.random() < c.rumble:
            noise += acoustics.rumble(rng, length) * np.float32(10 ** (-_triangular(rng, c.rumble_snr_db) / 20))
        if kind < c.noise_only:
            recorded, speech = np.zeros_like(speech), np.zeros_like(speech)
        elif kind < c.noise_only + c.clean_only:
            noise = np.zeros_like(noise)
        noisy = recorded + noise
        if rng.random() < c.narrowband:
            edges = (rng.uniform(60, 300), rng.uniform(3000, 4000))
            noisy, speech = (acoustics.band_limit(x, *edges) for x in (noisy, speech))
        if rng.random() < c.clipped:
            limit = np.abs(noisy).max() * rng.uniform(0.25, 0.8)
            noisy = np.clip(noisy, -limit, limit)
        level = level_curve(noisy, SAMPLE_RATE) if c.local_level else np.float32(max(rms(noisy), 1e-4))
        gain = np.float32(10 ** (rng.uniform(*c.level_db) / 20)) / level
        return noisy * gain, speech * gain

    def _speech(self, rng: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw speech as it is recorded, and as the network should give it back, active at an RMS of 1."""
        # A kind that never occurs takes no draw, so that validation mixtures stay what they were.
        c = self.config
        recorded, wanted = self._voice(rng, length)
        if c.two_speakers and rng.random() < c.two_speakers:
            mine, yours = voices.turns(rng, length, rng.uniform(*c.softer_db))
            other = self._voice(rng, length)
            recorded, wanted = (x * mine + y * yours for x, y in zip((recorded, wanted), other, strict=True))
        if c.fade and rng.random() < c.fade:
            gain = voices.fade(rng, length)
            recorded, wanted = recorded * gain, wanted * gain
        scale = np.float32(1 / active_rms(recorded))  # before the pause, which may take all of the speech
        if c.long_pause and rng.random() < c.long_pause:
            gain = voices.pause(rng, length)
            recorded, wanted = recorded * gain, wanted * gain
        return recorded * scale, wanted * scale

    def _voice(self, rng: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw one speaker, as recorded and as wanted."""
        c = self.config
        faster = c.voice_speed and rng.random() < c.voice_speed
        rate = round(SAMPLE_RATE * np.exp(rng.uniform(*LOG_VOICE_SPEED))) if faster else SAMPLE_RATE
        for _ in range(4):  # a crop that is all pause teaches little
            x = self.speech.crop(rng, -(-length * rate // SAMPLE_RATE))
            if rms(x) > 0.008:
                break
        x = acoustics.high_pass(resample(x[None], rate, SAMPLE_RATE)[0, :length], LOWEST_VOICE_HZ)
        if c.whispered and rng.random() < c.whispered:
            x = acoustics.whisper(rng, x)
        if rng.random() < c.filtered_speech:
            x = acoustics.shape_spectrum(x, rng.normal(0, 3, 8))
        if c.turned_away and rng.random() < c.turned_away:
            x = voices.turned_away(rng, x)
        x *= np.float32(1 / active_rms(x))
        signals: tuple[np.ndarray, ...] = (x, voices.without_floor(x)) if c.quiet_targets else (x,)
        if rng.random() < c.reverb:
            room = self._room(rng)
            signals = tuple(acoustics.convolve(signal, room) for signal in signals)
        return signals[0], signals[-1]

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
            return SYNTHETIC_NOISES[int(rng.integers(len(SYNTHETIC_NOISES)))](rng, length)
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
        babble = sum(
            x / active_rms(x) * 10 ** (rng.uniform(-8, 0) / 20)
            for x in (self.speech.crop(rng, length) for _ in range(rng.integers(4, 9)))
        )
        return acoustics.convolve(np.asarray(babble, np.float32), room)

    def _room(self, rng: np.random.Generator) -> np.ndarray:
        return self.rooms[int(rng.integers(len(self.rooms)))]


@functools.cache
def _simulated_rooms() -> list[np.ndarray]:
    return [acoustics.room_impulse_response(np.random.default_rng([7, k])) for k in range(ROOMS)]


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


def _gate(rng: np.random.Generator, length: int) -> np.ndarray:
    """Make a random on-off gain with 20 ms edges, for noise that comes and goes."""
    steps = np.repeat(rng.random(length // 4000 + 2) < 0.6, 4000)[:length].astype(np.float32)
    edge = np.hanning(321)[1:-1].astype(np.float32)
    return np.convolve(steps, edge / edge.sum(), "same") + 0.01
