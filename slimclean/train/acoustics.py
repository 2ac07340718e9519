"""Acoustics to train on: shoebox rooms, synthetic noises, and filters. Arrays are float32 [T] at 16 kHz."""

from __future__ import annotations

import numpy as np
from scipy import fft, linalg, signal

from slimclean.dsp import SAMPLE_RATE

SPEED_OF_SOUND_M_S = 343.0
EARLY_S = 0.06
"""How much of a room impulse response comes from image sources; a diffuse tail follows."""


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64)) + 1e-12))


def room_impulse_response(rng: np.random.Generator) -> np.ndarray:
    """Simulate a shoebox room with two points in it, all at random; see `shoebox_response`."""
    size = rng.uniform([2.5, 2.5, 2.2], [9.0, 7.0, 4.0])
    rt60 = rng.uniform(0.12, 0.8)
    source, microphone = rng.uniform(0.3, size - 0.3), rng.uniform(0.3, size - 0.3)
    if rng.random() < 0.7:  # most voices are near their microphone
        step = rng.normal(size=3)
        near = source + step / np.linalg.norm(step) * rng.uniform(0.2, 1.5)
        microphone = np.clip(near, 0.2, size - 0.2)
    return shoebox_response(rng, size, source, microphone, rt60)


def shoebox_response(
    rng: np.random.Generator, size: np.ndarray, source: np.ndarray, microphone: np.ndarray, rt60: float
) -> np.ndarray:
    """Simulate a room of `size` from one point to another, [3] each in metres; the direct sound is first, at 1.

    Image-source model (Allen and Berkley 1979) for the first `EARLY_S` seconds, and after it Gaussian noise
    under the room's exponential decay, 60 dB in `rt60` seconds, which is what the images blur into.
    """
    # Sabine: the mean absorption that gives this decay; at most nearly open.
    surface = 2 * (size[0] * size[1] + size[0] * size[2] + size[1] * size[2])
    absorption = min(0.95, 0.161 * size.prod() / (surface * rt60))
    reflection = np.sqrt(1 - absorption)

    direct_m = np.linalg.norm(source - microphone)
    order = int(np.ceil((EARLY_S * SPEED_OF_SOUND_M_S + direct_m) / (2 * size.min()))) + 1
    grid = np.arange(-order, order + 1)
    axes, bounces = [], []
    for axis in range(3):  # images at 2 n L + s and 2 n L - s, after |2 n| and |2 n - 1| reflections
        images = np.concatenate([2 * grid * size[axis] + source[axis], 2 * grid * size[axis] - source[axis]])
        axes.append(images - microphone[axis])
        bounces.append(np.concatenate([np.abs(2 * grid), np.abs(2 * grid - 1)]))
    distance = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2)
    hits = bounces[0][:, None, None] + bounces[1][None, :, None] + bounces[2][None, None, :]
    keep = distance < direct_m + EARLY_S * SPEED_OF_SOUND_M_S
    delay = (distance[keep] - direct_m) / SPEED_OF_SOUND_M_S * SAMPLE_RATE
    gain = reflection ** hits[keep] * direct_m / distance[keep]

    length = int((EARLY_S + rt60 * 0.8) * SAMPLE_RATE)
    response = np.zeros(length + 2)
    whole = delay.astype(int)
    np.add.at(response, whole, gain * (1 - (delay - whole)))
    np.add.at(response, whole + 1, gain * (delay - whole))
    early = int(EARLY_S * SAMPLE_RATE)
    decay = 10 ** (-3 * np.arange(length + 2) / (rt60 * SAMPLE_RATE))
    tail = rng.normal(size=length + 2) * decay
    level = rms(response[early // 2 : early]) / rms(tail[early // 2 : early])
    fade = np.clip((np.arange(length + 2) - early // 2) / (early // 2), 0, 1)
    response = response * (np.arange(length + 2) < early) + tail * fade * level * 0.7
    return np.asarray(response, np.float32)


def convolve(x: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve causally, cut to the length of x."""
    return np.asarray(signal.fftconvolve(x, response)[: len(x)], np.float32)


def shape_spectrum(x: np.ndarray, gain_db: np.ndarray) -> np.ndarray:
    """Filter x with zero phase by gains given at log-spaced points from 50 Hz to 8 kHz."""
    spectrum = fft.rfft(x)
    octave = np.log2(np.maximum(np.linspace(0, SAMPLE_RATE / 2, len(spectrum)), 50) / 50)
    points = np.linspace(0, np.log2(SAMPLE_RATE / 2 / 50), len(gain_db))
    spectrum *= 10 ** (np.interp(octave, points, gain_db) / 20).astype(np.float32)
    return np.asarray(fft.irfft(spectrum, len(x)), np.float32)


def band_limit(x: np.ndarray, low_hz: float, high_hz: float) -> np.ndarray:
    sos = signal.butter(4, [low_hz, min(high_hz, 7900.0)], "bandpass", fs=SAMPLE_RATE, output="sos")
    return np.asarray(signal.sosfilt(sos, x), np.float32)


def coloured_noise(rng: np.random.Generator, length: int) -> np.ndarray:
    """Make noise with a random spectral slope (blue to brown) and random broad bumps."""
    slope_db = rng.uniform(-9, 3) * np.linspace(0, 7.3, 9)
    x = shape_spectrum(rng.standard_normal(length, dtype=np.float32), slope_db + rng.normal(0, 3, 9))
    return x / rms(x)


def rumble(rng: np.random.Generator, length: int) -> np.ndarray:
    """Make traffic, wind, handling: noise that falls by 6 to 24 dB per octave above 8 to 60 Hz."""
    spectrum = fft.rfft(rng.standard_normal(length, dtype=np.float32))
    octave = np.log2(np.maximum(np.linspace(0, SAMPLE_RATE / 2, len(spectrum)), 1))
    corner = rng.uniform(np.log2(8), np.log2(60))
    slope_db = np.where(octave < corner, rng.uniform(0, 12), -rng.uniform(6, 24))
    x = fft.irfft(spectrum * 10 ** ((octave - corner) * slope_db / 20), length)
    swell_db = rng.uniform(0, 8) * np.sin(2 * np.pi * rng.uniform(0.1, 1.5) * np.arange(length) / SAMPLE_RATE)
    x = (x * 10 ** (swell_db / 20)).astype(np.float32)
    return np.asarray(x / np.float32(rms(x)))


def high_pass(x: np.ndarray, corner_hz: float) -> np.ndarray:
    """Take away what lies below, with zero phase, 24 dB per octave."""
    hz = np.linspace(0, SAMPLE_RATE / 2, len(x) // 2 + 1)
    gain = 1 / np.sqrt(1 + (corner_hz / np.maximum(hz, 1e-3)) ** 8)
    return np.asarray(fft.irfft(fft.rfft(x) * gain, len(x)), np.float32)


def hum(rng: np.random.Generator, length: int) -> np.ndarray:
    """Make mains or motor hum: harmonics of a slowly drifting fundamental, and a little hiss."""
    base_hz = rng.choice([50.0, 60.0, rng.uniform(40, 400)])
    time = np.arange(length) / SAMPLE_RATE
    drift = 1 + 0.01 * rng.random() * np.sin(2 * np.pi * rng.uniform(0.1, 3) * time + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(base_hz * drift) / SAMPLE_RATE
    x = np.zeros(length)
    decay = rng.uniform(0.3, 1.5)
    for harmonic in range(1, int(min(24, 7000 / base_hz)) + 1):
        if rng.random() < 0.7:
            x += rng.random() * harmonic**-decay * np.sin(harmonic * phase + rng.uniform(0, 6))
    x /= rms(x)
    x += rng.uniform(0, 0.3) * coloured_noise(rng, length)
    return (x / rms(x)).astype(np.float32)


def whisper(rng: np.random.Generator, voice: np.ndarray) -> np.ndarray:
    """Whisper: keep a voice's spectral envelopes, by linear prediction, over noise, [T] -> [T]."""
    size, hop, order = 512, 256, 18
    window = np.hanning(size + 1)[:-1]
    out = np.zeros(len(voice) + size)
    for start in range(0, len(voice) - size, hop):
        frame = voice[start : start + size] * window
        spectrum = np.abs(fft.rfft(frame, 2 * size)) ** 2
        lags = fft.irfft(spectrum)[: order + 1].astype(np.float64)
        if lags[0] < 1e-8:
            continue
        lags[0] *= 1.0001
        taps = linalg.solve_toeplitz(lags[:-1], lags[1:])
        noise = rng.normal(0, np.sqrt(max(lags[0] - taps @ lags[1:], 0) / size), size)
        out[start : start + size] += signal.lfilter([1], np.concatenate([[1], -taps]), noise) * window
    return out[: len(voice)].astype(np.float32)


def clicks(rng: np.random.Generator, length: int) -> np.ndarray:
    """Make taps, clicks and knocks: decaying resonances at random times."""
    x = np.zeros(length, np.float32)
    for _ in range(int(rng.integers(1, 25))):
        size = int(rng.uniform(0.002, 0.08) * SAMPLE_RATE)
        time = np.arange(size) / SAMPLE_RATE
        burst = np.exp(-time * rng.uniform(60, 800)) * (
            np.sin(2 * np.pi * rng.uniform(150, 6000) * time) + rng.uniform(0, 1) * rng.normal(size=size)
        )
        start = int(rng.integers(length))
        _add_at(x, rng.uniform(0.1, 1) * burst, start)
    return x / rms(x)


def slam(rng: np.random.Generator, length: int) -> np.ndarray:
    """Make one dull burst, [T], at a peak of 1: a door, a dropped book, a fist on the table."""
    size = int(rng.uniform(0.05, 0.35) * SAMPLE_RATE)
    time = np.arange(size) / SAMPLE_RATE
    thump = np.sin(2 * np.pi * rng.uniform(40, 180) * time) * np.exp(-time * rng.uniform(15, 60))
    crack = shape_spectrum(rng.standard_normal(size, dtype=np.float32), -np.linspace(0, rng.uniform(0, 40), 8))
    burst = thump + rng.uniform(0.2, 1.5) * crack * np.exp(-time * rng.uniform(20, 120))
    x = np.zeros(length, np.float32)
    _add_at(x, burst / np.abs(burst).max(), int(rng.integers(-size // 4, length)))
    return x


MAJOR_SCALE = np.array([0, 2, 4, 5, 7, 9, 11])
"""In semitones."""


def music(rng: np.random.Generator, length: int) -> np.ndarray:
    """Make something like background music: notes of one key, plucked or held, half of the time with a drum."""
    x = np.zeros(length, np.float32)
    beat = int(rng.uniform(0.2, 0.7) * SAMPLE_RATE)
    key_hz, slope, vibrato = rng.uniform(80, 200), rng.uniform(0.7, 2), rng.uniform(0, 0.005)
    attack_s, decay_s = np.exp(rng.uniform(np.log([0.003, 0.1]), np.log([0.1, 2.0])))
    drum = rng.uniform(0.2, 2) if rng.random() < 0.5 else 0.0
    time = np.arange(4 * beat, dtype=np.float32) / SAMPLE_RATE
    envelope = (
        np.minimum(1, time / attack_s) * np.exp(-time / decay_s) * np.minimum(1, (time[-1] - time) / 0.02)
    )
    for start in range(-int(rng.integers(4 * beat)), length, beat):
        for _ in range(rng.integers(4)):
            octave, degree = divmod(int(rng.integers(21)), 7)
            note_hz = float(key_hz * 2 ** (octave + MAJOR_SCALE[degree] / 12))
            phase = 2 * np.pi * note_hz * (time + vibrato / 30 * np.sin(30 * time))
            partials = np.arange(1, max(2, min(14, int(7000 / note_hz))), dtype=np.float32)
            loudness = partials**-slope * rng.random(len(partials), dtype=np.float32)
            offsets = 6 * rng.random((len(partials), 1), dtype=np.float32)
            note = loudness @ np.sin(partials[:, None] * phase + offsets)
            _add_at(x, note * envelope * rng.uniform(0.2, 1), start)
        if drum:
            size = min(beat, 4000)
            hit = rng.normal(size=size) * np.exp(-time[:size] * rng.uniform(20, 100))
            _add_at(x, hit * drum, start)
    return x / rms(x)


def _add_at(x: np.ndarray, piece: np.ndarray, start: int) -> None:
    """Add what of `piece` lies within x when it begins at `start`, which may be before x."""
    piece = piece[max(0, -start) : len(x) - start]
    start = max(0, start)
    x[start : start + len(piece)] += piece.astype(np.float32)
