r"""The level of a passage: what the network's input is divided by, and its output multiplied by again.

    dB           a bang counts as no more than the loudest voice so far
      |    |    __________________                    ________
      |  __|___/  curve           \     softer voice  /
      |  voice   soft word   pause \__________________/
      |                                     pause
      |___________________________________________________________ time

1. *Power* of frames of 20 ms, without what a cubic fits in them: offsets and rumble below about 40 Hz
   count for nothing.
2. The *usual* power of a place: what four fifths of the 2 s around it stay below. The loudest usual power so
   far is remembered, and fades slowly.
3. A frame counts as no more than the loudest usual one, or `CAP_DB` above the usual one there. A bang is
   shorter than the fifth that is left, so it says nothing of the voices around it.
4. The *active level*: the mean power, in a window of 0.8 s, of frames within `ACTIVE_DB` of the loudest.
   A place is as loud as the loudest frame next to it, within what the windows before and after it say, and
   no louder than the latter: so the level turns where the speaker changes.
5. It is *held*: it rises at once, and falls where all of the 1.7 s to come is more than `HOLD_DB` softer, to
   what is loudest there; then it goes on falling until something is louder. So a voice keeps its accents, its
   softer words and its pauses, and somebody softer is heard at a level of his own from his first word on.
   It does not fall in the last second of a recording.
6. It does not fall in noise: who speaks comes and goes, and stands `VOICE_DB` above the softest frames around.
   So a pause is not raised to a voice. And it stays within `RANGE_DB` of the loudest usual power.
7. It is smoothed in dB, and lifted where a frame would still be more than `LIMIT_DB` above it.

The curve at a place depends on the sound up to `LOOK_AHEAD_S` after it, and of what was before it keeps the
loudest usual power and the level that is held: so it comes out the same, to the last bit, whatever the pieces
in which the recording arrives. Before its first and after its last sample a recording counts as mirrored.

Glossary: C channels, T samples, N frames of 20 ms.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.polynomial import legendre
from scipy import ndimage

FRAMES_PER_S = 50
LOWEST_DBFS = -120.0
SILENCE_DBFS = -100.0
"""Below it there is nothing to enhance, and amplifying it would be arbitrary."""
SILENCE_FADE_DB = 6.0
"""Above silence, over which the network takes over."""

CAP_PERCENT, CAP_DB = 80, 6.0
ACTIVE_DB = 6.0
HOLD_DB = 9.5
SOFT_PERCENT, VOICE_DB = 5, 6.0
"""A voice stands at least so far above what a twentieth of the 2 s around it stays below."""
RANGE_DB = 42.0
NOMINAL_DB = -2.0
"""Of the curve against what is held, the loudest active level: a voice is somewhat softer most of the time."""
FORGET_DB_PER_S = 0.5
LIMIT_DB = 12.0

# Frames to either side of the one in the middle.
CAP, ACTIVE, OWN, SMOOTH = 50, 20, 3, 5
SIDES = 2 * ACTIVE
"""What both windows of the active level reach."""
HOLD = 45
"""Frames to come that have to be softer before the level falls."""
END = 50
"""Frames at the end of a recording in which the level does not fall: too little is known of what they begin."""
REACH = CAP + SIDES + HOLD + SMOOTH
LOOK_AHEAD_S = (REACH + 1) / FRAMES_PER_S
"""About 2.8 s."""

CUBIC = 4
"""Coefficients of what is taken out of each frame."""
LISTENS_AT_HZ = 16_000
"""Neighbouring samples are averaged down to once or twice this rate: cheaper, and without ultrasound."""


class LocalLevel:
    """Takes a recording block by block and gives the level of each frame as soon as it is certain."""

    def __init__(self, sample_rate: int) -> None:
        self._power = _FramePower(sample_rate)
        self._frames: np.ndarray | None = None
        """dB [C, N] from `REACH` before the next frame to give."""
        self._given = 0
        self._loudest: np.ndarray | float = -np.inf
        self._held: np.ndarray | None = None
        """What `_held` gave for the frame before the first it is asked for next, [C, 2]."""

    def add(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take in the next samples [C, T]; return what got certain.

        Level [C, N], as an RMS re full scale, at least -100 dBFS; and how much there is to enhance [C, N],
        from 0, digital silence and what is hardly more, to 1.
        """
        return self._advance(self._power.add(block))

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rest, as `add` does: together there is a frame for every 20 ms that was begun."""
        frames = self._power.finish()
        return self._advance(frames, last=True)

    def _advance(self, frames: np.ndarray, *, last: bool = False) -> tuple[np.ndarray, np.ndarray]:
        known = frames if self._frames is None else np.concatenate([self._frames, frames], axis=1)
        begun = self._given > 0
        count = known.shape[1] - (REACH if begun else 0)
        """Frames not yet given."""
        ready = max(0, count if last else count - REACH)
        if ready == 0:
            self._frames = known
            return known[:, :0].astype(np.float32), known[:, :0].astype(np.float32)
        around = known
        if not begun:
            around = _mirrored(around, before=REACH)
        if last:
            around = _mirrored(around, after=REACH)
        level, heard = self._levels(around[:, : ready + 2 * REACH], last=last)
        self._given += ready
        self._frames = around[:, ready:]
        return level, heard

    def _levels(self, frames: np.ndarray, *, last: bool) -> tuple[np.ndarray, np.ndarray]:
        """dB [C, REACH + N + REACH] -> level and share to enhance [C, N], N at least 1."""
        ready = frames.shape[1] - 2 * REACH
        usual = _rank(frames, CAP_PERCENT)[:, CAP:-CAP]
        # The loudest fades by a step a frame, that is: it stays, and everything else grows by a step a frame.
        step = FORGET_DB_PER_S / FRAMES_PER_S
        grown = step * (self._given - (REACH - CAP) + np.arange(usual.shape[1]))
        loudest = np.maximum(np.maximum.accumulate(usual + grown, axis=1), self._loudest)
        self._loudest = loudest[:, ready - 1 : ready]
        loudest = loudest - grown
        capped = np.minimum(frames[:, CAP:-CAP], np.maximum(usual + CAP_DB, loudest))
        active, after = _active_levels(capped)
        coming = np.lib.stride_tricks.sliding_window_view(after, HOLD + 1, axis=1).max(-1)[:, HOLD:]
        # From here on N and `SMOOTH` frames to either side.
        active = active[:, HOLD:-HOLD]
        inner = slice(SIDES + HOLD, -(SIDES + HOLD))
        usually, soft = loudest[:, inner], _rank(frames, SOFT_PERCENT)[:, CAP:-CAP][:, inner]
        softer = np.where(active - soft >= VOICE_DB, coming, np.inf)
        if last:
            softer[:, -(END + SMOOTH) :] = np.inf
        if self._held is None:
            self._held = np.stack([usually[:, 0], usually[:, 0] - HOLD_DB], axis=1)
        held = _held(self._held, active, softer, usually - RANGE_DB)
        self._held = held[:, ready - 1]
        level = np.maximum(_smooth(held[..., 0]), frames[:, REACH:-REACH] - LIMIT_DB) + NOMINAL_DB
        heard = np.clip((_smooth(active) - SILENCE_DBFS) / SILENCE_FADE_DB, 0, 1)
        return (10 ** (np.maximum(level, SILENCE_DBFS) / 20)).astype(np.float32), heard.astype(np.float32)


def _mirrored(frames: np.ndarray, before: int = 0, after: int = 0) -> np.ndarray:
    return np.pad(frames, ((0, 0), (before, after)), "symmetric") if frames.shape[1] else frames


def _rank(frames: np.ndarray, percent: int) -> np.ndarray:
    """Return the level that `percent` of the frames around each stay below, [C, N] -> [C, N]."""
    rank = (2 * CAP + 1) * percent // 100
    return np.stack([ndimage.rank_filter(channel, rank, 2 * CAP + 1) for channel in frames])


def _active_level(frames: np.ndarray) -> np.ndarray:
    """Return the mean power of the active frames around each, in dB, [C, N] -> [C, N]."""
    loudest = ndimage.maximum_filter1d(frames, 2 * ACTIVE + 1, axis=1)
    power = 10 ** (frames / 10)
    around = np.pad(frames, ((0, 0), (ACTIVE, ACTIVE)), constant_values=-np.inf)
    powers = np.pad(power, ((0, 0), (ACTIVE, ACTIVE)))
    total, count = np.zeros_like(frames), np.zeros_like(frames)
    for shift in range(2 * ACTIVE + 1):  # always in the same order: sums come out the same to the last bit
        at = slice(shift, shift + frames.shape[1])
        active = around[:, at] >= loudest - ACTIVE_DB
        total += powers[:, at] * active
        count += active
    return np.asarray(10 * np.log10(total / count))


def _active_levels(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the active level of each place, and that of the window after it, [C, N + 2 SIDES] -> 2 x [C, N]."""
    sides = _active_level(frames)[:, ACTIVE:-ACTIVE]
    before, after = sides[:, : -2 * ACTIVE], sides[:, 2 * ACTIVE :]
    own = ndimage.maximum_filter1d(frames, 2 * OWN + 1, axis=1)[:, SIDES:-SIDES]
    return np.minimum(np.clip(own, np.minimum(before, after), np.maximum(before, after)), after), after


def _held(before: np.ndarray, active: np.ndarray, softer: np.ndarray, lowest: np.ndarray) -> np.ndarray:
    """Hold the active level [C, N], or let it fall to what comes [C, N] and is `softer`, above `lowest` [C, N].

    Returns for each frame the level and below what it falls, [C, N, 2]; `before` is the last, [C, 2].
    """
    channels = []
    for (level, falls), *frames in zip(*(x.tolist() for x in (before, active, softer, lowest)), strict=True):
        held = []
        for now, coming, least in zip(*frames, strict=True):
            if coming < falls:
                level = falls = coming
            if level < max(now, least):
                level = max(now, least)
                falls = level - HOLD_DB
            held.append((level, falls))
        channels.append(held)
    return np.array(channels)


def _smooth(frames: np.ndarray) -> np.ndarray:
    """Return a weighted mean in dB of the frames around each, [C, N + 2 SMOOTH] -> [C, N]."""
    weights = np.hanning(2 * SMOOTH + 3)[1:-1]
    smooth = ndimage.correlate1d(frames, weights / weights.sum(), axis=1)
    return np.asarray(smooth[:, SMOOTH : frames.shape[1] - SMOOTH])


class _FramePower:
    """Cuts blocks into frames and gives their power in dB, without offset and rumble."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._merged = max(1, sample_rate // LISTENS_AT_HZ)
        self._size = max(1, sample_rate // FRAMES_PER_S // self._merged * self._merged)
        self._rest: np.ndarray | None = None
        """Samples from `_first` on."""
        self._first = 0
        self._count = 0

    def add(self, block: np.ndarray) -> np.ndarray:
        """Return the samples [C, T] -> dB of the frames that they complete, [C, N]."""
        rest = block if self._rest is None else np.concatenate([self._rest, block], axis=1)
        end = self._first + rest.shape[1]
        count = max(0, _ceil(end - self._size + 1, FRAMES_PER_S, self._rate) - self._count)
        starts = (self._count + np.arange(count)) * self._rate // FRAMES_PER_S - self._first
        if count == 0:
            self._rest = rest
            return np.zeros((len(block), 0))
        windows = np.lib.stride_tricks.sliding_window_view(rest, self._size, axis=1)
        out = _power_db(windows[:, starts], self._merged)
        self._count += count
        keep = int(starts[-1])  # the last frame of a recording may reach back into it
        self._rest, self._first = rest[:, keep:], self._first + keep
        return out

    def finish(self) -> np.ndarray:
        """dB of a frame that was begun, from the last samples there are, [C, 0 or 1]."""
        if self._rest is None:
            return np.zeros((1, 0))
        end = self._first + self._rest.shape[1]
        if self._count * self._rate // FRAMES_PER_S >= end:
            return np.zeros((len(self._rest), 0))
        last = self._rest[:, -self._size :]
        return _power_db(last[:, None], self._merged if last.shape[1] == self._size else 1)


def _ceil(samples: int, frames: int, rate: int) -> int:
    """Return how many frames start before `samples`."""
    return -(-samples * frames // rate) if samples > 0 else 0


def _power_db(frames: np.ndarray, merged: int) -> np.ndarray:
    """[C, N, samples] -> dB [C, N]: the mean power of what a cubic leaves."""
    x = sum((frames[..., k::merged] for k in range(1, merged)), frames[..., ::merged].astype(np.float64))
    samples = x.shape[-1]
    power = np.square(x).sum(-1)
    for line in _polynomials(samples):
        power -= np.square((x * line).sum(-1))
    power /= samples * merged**2
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (LOWEST_DBFS / 10))))


@functools.lru_cache(maxsize=8)
def _polynomials(samples: int) -> np.ndarray:
    """Orthonormal polynomials up to the cubic, as far as there are samples for them, [<= 4, samples]."""
    at = (np.arange(samples) + 0.5) / samples * 2 - 1
    lines: np.ndarray = np.linalg.qr(legendre.legvander(at, min(CUBIC, samples) - 1))[0]
    return np.asarray(lines.T, order="C")


def spread(levels: np.ndarray, samples: int, per_frame: int) -> np.ndarray:
    """Interpolate values of frames, [C, N] -> [C, samples], by a line from centre to centre."""
    edged = np.pad(levels, ((0, 0), (1, 1)), "edge")
    rise = ((np.arange(per_frame) + 0.5) / per_frame).astype(np.float32)
    lines = edged[:, :-1, None] * (1 - rise) + edged[:, 1:, None] * rise
    first = per_frame // 2
    return np.asarray(lines.reshape(len(levels), -1)[:, first : first + samples])


def level_curve(x: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the curve of a whole recording, [C, T] or [T] at a multiple of 50 Hz, in the same shape.

    Divide what the network hears by it, and multiply what the network says.
    """
    channels = np.atleast_2d(x)
    track = LocalLevel(sample_rate)
    level = np.concatenate([track.add(channels)[0], track.finish()[0]], axis=1)
    return spread(level, channels.shape[1], sample_rate // FRAMES_PER_S).reshape(x.shape)
