"""What a run saw of one recording, for people to look at: spectrograms, levels and the UF over time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slimclean.batch.report import FileResult
from slimclean.dsp.spectrogram import Spectrogram, SpectrogramBuilder

if TYPE_CHECKING:
    from slimclean.enhancer import Enhancer

AUDIBLE_DBFS = -80.0
"""Below it, how much was removed says nothing."""


@dataclass(frozen=True)
class Comparison:
    """A recording before and after: `uf` [F] at `frame_rate_hz`, and the candidates of the router in `ufs`.

    These three are empty or 0 where nobody knows at what UF the recording was enhanced. Of a `residual`, what
    comes after is what was removed.
    """

    before: Spectrogram
    after: Spectrogram
    uf: np.ndarray
    frame_rate_hz: float = 0.0
    ufs: tuple[float, ...] = ()
    residual: bool = False

    @property
    def sides(self) -> tuple[str, str]:
        """What both sides are called."""
        return "before", "removed" if self.residual else "after"

    @property
    def mean_uf(self) -> float | None:
        return float(self.uf.mean()) if len(self.uf) else None

    @property
    def removed_db(self) -> np.ndarray:
        """By how much the level fell in each column of `before`; NaN where there was nothing to hear, [N]."""
        after = np.interp(self.before.times_s, self.after.times_s, self.after.dbfs)
        return np.where(self.before.dbfs > AUDIBLE_DBFS, self.before.dbfs - after, np.nan)


Look = Callable[[FileResult, Comparison], object]
"""Makes of what was seen of a recording what is to be shown; raises nothing."""


class Trace:
    """Gathers a `Comparison` while a recording is enhanced, block by block, in bounded memory."""

    def __init__(self, sample_rate: int) -> None:
        self._before, self._after = SpectrogramBuilder(sample_rate), SpectrogramBuilder(sample_rate)
        self._ufs: list[np.ndarray] = []

    def heard(self, block: np.ndarray) -> None:
        """Take in the next block of the input, [C, T]."""
        self._before.add(block)

    def made(self, block: np.ndarray, uf: np.ndarray) -> None:
        """Take in the next block of the output, [C, T], and the UFs [F] of the frames that it completes."""
        self._after.add(block)
        self._ufs.append(uf)

    def comparison(self, enhancer: Enhancer) -> Comparison:
        """Return what was seen; `enhancer` is what made the output."""
        uf = np.concatenate(self._ufs) if self._ufs else np.zeros(0)
        before, after, config = self._before.finish(), self._after.finish(), enhancer.config
        return Comparison(before, after, uf, config.frame_rate_hz, config.ufs, enhancer.residual)
