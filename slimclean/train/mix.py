"""Training examples, mixed on the fly: what the network hears and what it should give back.

`MixConfig` is the table of what is mixed and how often. Another mix is a file of the rows that differ, which
`read_mix` and `slimclean train --mix FILE` read:

    # an office: two noises at a time, hardly any reverberation, nothing from a telephone
    two_noises = 0.6
    reverb = 0.02
    narrowband = 0
    snr_db = 0, 8, 20

Every example is a pure function of (seed, index), so a run resumed at any step sees what it
would have seen. Arrays are float32 [T] at 16 kHz.
"""

from __future__ import annotations

import configparser
import dataclasses
import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from slimclean.dsp import SAMPLE_RATE
from slimclean.dsp.local_level import level_curve
from slimclean.dsp.resample import resample
from slimclean.errors import UsageError
from slimclean.train import acoustics, voices
from slimclean.train.acoustics import rms
from slimclean.train.sources import Library
from slimclean.train.voices import active_rms

ROOMS = 256
LOWEST_VOICE_HZ = 50.0
"""What speech recordings hold below is rumble, which is to be removed, so it is no target."""
LOG_VOICE_SPEED = (-0.14, 0.14)
"""From 13 % slower to 15 % faster: as far as voices of one kind lie apart."""
SYNTHETIC_NOISES = (acoustics.coloured_noise, acoustics.coloured_noise, acoustics.hum, acoustics.clicks)
"""What a synthetic noise may be, each as often as it stands here."""


@dataclass(frozen=True)
class MixConfig:
    """What to mix: a share of the examples from 0 to 1, a range in dB from least to most, or yes and no.

    Raises `UsageError` for a row that is nothing of that.
    """

    snr_db: tuple[float, float, float] = (-5.0, 10.0, 25.0)
    """Least, likeliest and most: a triangular distribution."""
    local_level: bool = True
    """Bring every passage to its level, as `Enhancer` does before the network hears it."""
    level_db: tuple[float, float] = (-3.0, 3.0)
    """Around the nominal RMS of 1."""
    noise_only: float = 0.05
    clean_only: float = 0.06
    # Noise: what is drawn is music, else synthetic, else babble, else a recording.
    two_noises: float = 0.25
    music: float = 0.08
    synthetic_noise: float = 0.2
    babble: float = 0.1
    speed: float = 0.5
    """Of recorded noise: it runs faster or slower."""
    filtered_noise: float = 0.4
    """Of recorded noise: its spectrum is bent."""
    gated_noise: float = 0.04
    """Noise that comes and goes."""
    rumble: float = 0.4
    rumble_snr_db: tuple[float, float, float] = (-8.0, 6.0, 25.0)
    slam: float = 0.03
    slam_db: tuple[float, float] = (6.0, 30.0)
    """Its peak, above the speech."""
    # Speech.
    quiet_targets: bool = True
    """Take the floor of the speech recordings out of the targets, so that it is noise like any other."""
    reverb: float = 0.15
    filtered_speech: float = 0.15
    voice_speed: float = 0.4
    """The voice runs faster or slower, and so becomes higher or deeper: another speaker's."""
    whispered: float = 0.04
    turned_away: float = 0.04
    """For a while, from the microphone."""
    fade: float = 0.04
    two_speakers: float = 0.12
    softer_db: tuple[float, float] = (0.0, 30.0)
    """The second speaker, under the first."""
    # Both: what a device does to them.
    narrowband: float = 0.02
    clipped: float = 0.02

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            name, default, value = field.name, field.default, getattr(self, field.name)
            if isinstance(default, tuple):
                if (
                    len(value) != len(default)
                    or not all(map(math.isfinite, value))
                    or sorted(value) != list(value)
                ):
                    raise UsageError(f"{name} takes {len(default)} numbers in rising order, not {value}")
            elif not isinstance(default, bool) and not 0 <= value <= 1:
                raise UsageError(f"{name} takes a share from 0 to 1, not {value}")
        if self.noise_only + self.clean_only > 1:
            raise UsageError("noise_only and clean_only are more than 1 together")

    def changes(self) -> dict[str, object]:
        """List the rows that differ from the packaged mix."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v != getattr(MixConfig, k)}


def read_mix(path: Path) -> MixConfig:
    """Read a mix from a file of rows NAME = VALUE; what is not in it is as by default. Raises `UsageError`.

    Ranges are numbers between commas, # begins a comment.
    """
    parser = configparser.ConfigParser(inline_comment_prefixes="#", interpolation=None)
    try:
        parser.read_string("[mix]\n" + path.read_text(encoding="utf-8-sig"), str(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except (configparser.Error, UnicodeError) as error:
        raise UsageError(f"{path}: not a mix ({' '.join(str(error).split())})") from error
    if others := parser.sections()[1:]:
        raise UsageError(f"{path}: has a section {others[0]}, where rows NAME = VALUE are wanted")
    try:
        rows: dict[str, Any] = {name: _parsed(name, text) for name, text in parser["mix"].items()}
        return MixConfig(**rows)
    except (UsageError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error


def _parsed(name: str, text: str) -> bool | float | tuple[float, ...]:
    defaults = {field.name: field.default for field in dataclasses.fields(MixConfig)}
    if name not in defaults:
        raise UsageError(f"no row of a mix is called {name}; there are {', '.join(defaults)}")
    if isinstance(defaults[name], bool):
        if text not in ("yes", "no"):
            raise UsageError(f"{name} takes yes or no, not {text}")
        return text == "yes"
    if isinstance(defaults[name], tuple):
        return tuple(float(number) for number in text.split(","))
    return float(text)


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
        noise *= 10 ** (-_triangular(rng, c.snr_db) / 20) / rms(noise)
        if c.slam and rng.random() < c.slam:
            noise += acoustics.slam(rng, length) * np.float32(10 ** (rng.uniform(*c.slam_db) / 20))
        if rng.random() < c.rumble:
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
        scale = np.float32(1 / active_rms(recorded))
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
