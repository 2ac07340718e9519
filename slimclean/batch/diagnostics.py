"""What a listener would say of a recording before and after, in numbers and short warnings."""

from __future__ import annotations

import numpy as np

from slimclean.dsp.level import BLOCKS_PER_S, Histogram, Level

NOISE_PERCENT, SPEECH_PERCENT = 10, 95
"""The softest tenth of the 0.1 s blocks stands for the noise, the loudest twentieth for speech."""
CLIPPED_RUN = 3
"""So many samples at full scale in a row are clipping, fewer a peak that happens to touch it."""
FULL_SCALE = 0.999
NARROWBAND_HZ = 4_000
NARROWBAND_DB = -60.0
"""Of the power above `NARROWBAND_HZ` to that below it."""
SPEECH_DROP_DB = 6.0
LITTLE_SPEECH_DB = 15.0
SILENCE_DBFS = -90.0
MENTIONED_OFFSET = 0.01
"""Of full scale: smaller ones are taken out without a word."""


KEPT_DB = 3.0
"""What fell by less is voice; what fell by more was noise for the most part."""
STANDS_OUT_DB = 6.0
"""A voice stands so far above the softest tenth of its second. Room tone that was kept does not."""
SOFTEST_VOICE_DBFS = -80.0
VOICED = 3
"""Tenths of a second with a voice that make a second one of talk."""
FEWEST_SECONDS = 5
SOFT_PERCENT, LOUD_PERCENT = 5, 95
FAR_DB = 29.0
"""From this range on, somebody speaks more than 25 dB under the rest: a single voice ranges over some 4 dB."""


class Voices:
    """How far apart soft and loud voices lie, from what went in and what came out of it.

    A second of talk is as loud as the tenths in it within 10 dB of its loudest, of those that were kept and
    stand out of it. One voice spreads over some 10 dB.
    """

    def __init__(self) -> None:
        self._before, self._after = np.zeros(0), np.zeros(0)
        self._seconds = Histogram()

    def heard(self, powers: np.ndarray) -> None:
        """Take in powers of tenths of a second of the input, [N]."""
        self._before = np.concatenate([self._before, powers])
        self._pair()

    def made(self, powers: np.ndarray) -> None:
        """Take in powers of tenths of a second of the output, [N]."""
        self._after = np.concatenate([self._after, powers])
        self._pair()

    def _pair(self) -> None:
        seconds = min(len(self._before), len(self._after)) // BLOCKS_PER_S
        if seconds == 0:
            return
        done = seconds * BLOCKS_PER_S
        before, after = (x[:done].reshape(-1, BLOCKS_PER_S) for x in (self._before, self._after))
        self._before, self._after = self._before[done:], self._after[done:]
        least = before.min(1, keepdims=True) * 10 ** (STANDS_OUT_DB / 10)
        least = np.maximum(least, 10 ** (SOFTEST_VOICE_DBFS / 10))
        voiced = (after >= before * 10 ** (-KEPT_DB / 10)) & (before > least)
        voice = before * voiced
        active = voice >= voice.max(1, keepdims=True) / 10
        talk = voiced.sum(1) >= VOICED
        self._seconds.add(np.mean(voice, axis=1, where=active)[talk])

    @property
    def range_db(self) -> float | None:
        """Between the softest and the loudest twentieth of the seconds of talk; None for too few."""
        if len(self._seconds) < FEWEST_SECONDS:
            return None
        return self._seconds.percentile_db(LOUD_PERCENT) - self._seconds.percentile_db(SOFT_PERCENT)


class Input:
    """Faults of a recording as it came, gathered block by block."""

    def __init__(self, sample_rate: int) -> None:
        self.level = Level(sample_rate)
        self.clipped_samples = 0
        self.peak = 0.0
        self._rate = sample_rate
        self._low = self._high = 0.0

    def add(self, block: np.ndarray) -> np.ndarray:
        """Take in the next block, [C, T]; return what `Level.add` does."""
        powers = self.level.add(block)
        if block.shape[1] == 0:
            return powers
        self.peak = max(self.peak, float(np.abs(block).max()))
        if np.abs(block).max() >= FULL_SCALE:
            self.clipped_samples += sum(_clipped(channel) for channel in block)
        middle = block[:, block.shape[1] // 2 :][:, : 1 << 15]  # a sample of each block is enough
        middle = middle - middle.mean(1, keepdims=True)
        power = np.square(np.abs(np.fft.rfft(middle * np.hanning(middle.shape[1])))).sum(0)
        split = int(NARROWBAND_HZ / self._rate * middle.shape[1])
        self._low += float(power[:split].sum())
        self._high += float(power[split:].sum())
        return powers

    @property
    def narrowband(self) -> bool:
        """Whether there is nothing above 4 kHz, as in a telephone call."""
        return self._low > 0 and self._high < self._low * 10 ** (NARROWBAND_DB / 10)


def _clipped(x: np.ndarray) -> int:
    """Return how many samples of x [T] lie in runs at full scale; float samples beyond it are not clipped."""
    size = np.abs(x)
    full = np.concatenate([[0], (size >= FULL_SCALE) & (size <= 2 - FULL_SCALE), [0]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(full)).reshape(-1, 2)
    lengths = edges[:, 1] - edges[:, 0]
    return int(lengths[lengths >= CLIPPED_RUN].sum())


def noise_reduction_db(before: Level, after: Level) -> float:
    """Return by how much the level of the pauses fell."""
    return before.percentile_dbfs(NOISE_PERCENT) - after.percentile_dbfs(NOISE_PERCENT)


def warnings(
    given: Input, after: Level | None, clipped: int = 0, offset: float = 0.0, range_db: float | None = None
) -> list[str]:
    """Find what there is to remark, in short phrases for the report.

    `after` is the level of what was kept, None where the output is something else; `clipped` samples of the
    output were beyond full scale, and clamped; `offset` was taken out of the input; soft and loud voices lie
    `range_db` apart.
    """
    found = []
    loudest = given.level.percentile_dbfs(SPEECH_PERCENT)
    if given.level.dbfs < SILENCE_DBFS:
        return ["silent"]
    if abs(offset) >= MENTIONED_OFFSET:
        found.append(f"an offset of {offset:.3g} was taken out")
    if given.clipped_samples:
        found.append(f"input clipped ({given.clipped_samples} samples)")
    if clipped and given.peak > 1:
        peak_dbfs = 20 * np.log10(given.peak)
        found.append(
            f"output clipped ({clipped} samples), as the input goes up to {peak_dbfs:+.1f} dBFS: WAV with the "
            "subtype FLOAT keeps it"
        )
    if given.narrowband:
        found.append("nothing above 4 kHz in the input")
    drop = 0.0 if after is None else loudest - after.percentile_dbfs(SPEECH_PERCENT)
    if drop > LITTLE_SPEECH_DB:
        found.append(f"nearly everything was removed ({drop:.0f} dB): is there speech?")
    elif drop > SPEECH_DROP_DB:
        found.append(f"the loud parts fell by {drop:.1f} dB")
    if range_db is not None and range_db > FAR_DB:
        found.append(f"somebody speaks far under the rest: soft and loud voices lie {range_db:.0f} dB apart")
    return found
