"""The clock of a film: silence where its sound starts late or pauses, so that it stays under the picture."""

from __future__ import annotations

from fractions import Fraction

GAP_S = 0.04
"""Sound may be so much early before silence is put in; from 45 ms on, a viewer notices (ITU-R BT.1359)."""
LONGEST_S = 2 * 3600.0
"""A longer pause is a damaged time, where the container does not say how long it is."""
DAY_S = 24 * 3600.0
"""A longer pause is one too whatever the container says, for that is reckoned from the same times.

MPEG's clock begins again after 26.5 hours, and clocks that were set in between jump by years.
"""
BACK_S = 1.0
"""A time that is earlier than what was given out by so much starts the clock anew."""


class Clock:
    """Compares the times of frames with the samples given out, at `sample_rate` from `origin` on, in s.

    `length_s` is how long the container says it is, None if it does not; up to `delay_s` at the beginning are
    the codec's own.
    """

    def __init__(
        self, sample_rate: int, origin: Fraction, length_s: float | None, delay_s: float = GAP_S
    ) -> None:
        self._rate = sample_rate
        self._origin = origin
        self._limit_s = LONGEST_S if length_s is None else min(length_s + 1, DAY_S)
        self._delay_s = delay_s
        self._samples = 0
        self._lead = self._paused = self._pauses = 0
        self._jumps = 0

    def ahead(self, time: Fraction | None) -> int:
        """Return how many samples of silence belong in front of a frame of this time."""
        if time is None:
            return 0
        missing = (time - self._origin) - Fraction(self._samples, self._rate)
        if missing > self._limit_s or missing < -BACK_S:
            self._origin += missing  # a time that cannot be: from here on it counts anew
            self._jumps += 1
            return 0
        if self._samples == 0 and GAP_S < missing <= self._delay_s:
            self._origin += missing
            return 0
        return round(missing * self._rate) if missing > GAP_S else 0

    def fill(self, samples: int) -> None:
        """Take note of silence that was put in."""
        if self._samples == 0:
            self._lead = samples
        else:
            self._paused += samples
            self._pauses += 1
        self._samples += samples

    def heard(self, samples: int) -> None:
        """Take note of sound."""
        self._samples += samples

    def remarks(self) -> list[str]:
        """Return what was done, in short phrases."""
        found = []
        if self._lead:
            found.append(f"sound starts {self._lead / self._rate:.2f} s late: silence put in front")
        if self._pauses:
            times = "once" if self._pauses == 1 else f"{self._pauses} times"
            found.append(f"sound pauses {times}, for {self._paused / self._rate:.2f} s: silence put in")
        if self._jumps:
            found.append("times in the file jump: they were not followed there")
        return found
