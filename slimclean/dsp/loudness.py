"""Loudness in LUFS and true peak in dBTP (ITU-R BS.1770, EBU R 128), block by block in bounded memory.

Loudness is measured by FFmpeg's filter `ebur128`, through PyAV (extra `av`). Its peaks have three decimals, too
few for soft recordings, so those are found here (see `true_peak`). On the signals of EBU Tech 3341 they are
within .03 LU and .1 dB. What the filter finds goes through a small temporary file, since most releases of PyAV
do not hand out the metadata of frames. The others that were tried:

- libebur128 through `pyebur128`: as accurate, streams too, but has no wheels for Python 3.13.
- `pyloudnorm`: wants the whole recording in memory, has no true peak, and is .2 LU off at 8 kHz.

Glossary: C channels, T samples.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np

from slimclean.dsp.true_peak import TruePeak
from slimclean.errors import needs

GATE_LUFS = -70.0
"""What is softer is no programme (BS.1770's absolute gate)."""
RELATIVE_GATE_LU = -10.0
STEPS_PER_S = 10
"""A step of the meter is a whole number of samples; at other rates it hears the recording at 48 kHz."""
LEAST_RATE_HZ = 8_000
"""Below it too: the weighting filter, which rises at 1.7 kHz, has no room there."""
PER_LU = 100
"""Resolution of the histogram of gating blocks, which is the filter's own."""


@dataclass(frozen=True)
class Loudness:
    """What a meter found; -inf where there is nothing: silence, or less than 0.4 s above -70 LUFS.

    `blocks` counts the gating blocks above -70 LUFS by their loudness in hundredths of a LU: with them the
    loudness of several recordings together can be found.
    """

    integrated_lufs: float
    true_peak_dbtp: float
    blocks: Mapping[int, int] = field(default_factory=dict)


def require_meter() -> Any:
    """Import PyAV; raises `MissingDependencyError` with the line that installs it."""
    with needs("loudness needs PyAV", "av"):
        import av
    return av


class LoudnessMeter:
    """Measures one recording: `add` its blocks [C, T] in order, then `finish`.

    `layout` is FFmpeg's name of a channel layout, such as "5.1": by it the standard leaves the bass channel out
    and takes surround channels as 1.5 dB louder. Without one, or with one that FFmpeg does not know or
    that is for another number of channels, all count alike. Raises `MissingDependencyError`.
    """

    def __init__(self, sample_rate: int, channels: int, layout: str | None = None) -> None:
        self._av = av = require_meter()
        self._layout = {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")
        with contextlib.suppress(ValueError):  # a name that this FFmpeg does not know
            if layout is not None and av.AudioLayout(layout).nb_channels == channels:
                self._layout = layout
        self._sample_rate = sample_rate
        self._samples = 0
        self._integrated = -math.inf
        self._peak = TruePeak(channels)
        self._blocks: Counter[int] = Counter()
        self._graph = graph = av.filter.Graph()
        source = f"sample_rate={sample_rate}:sample_fmt=flt:channel_layout={self._layout}"
        filters = [graph.add("abuffer", f"{source}:time_base=1/{sample_rate}")]
        if sample_rate < LEAST_RATE_HZ or sample_rate % STEPS_PER_S:
            filters.append(graph.add("aresample", "48000"))
        folder = tempfile.mkdtemp(prefix="slimclean-")
        said = Path(folder, "said")
        filters += [
            graph.add("ebur128", metadata="1", framelog="quiet"),
            graph.add("ametadata", mode="print", file=str(said), direct="1"),
            graph.add("abuffersink"),
        ]
        for one, following in pairwise(filters):
            one.link_to(following)
        graph.configure()
        self._in, self._out = filters[0], filters[-1]
        self._said = said.open(encoding="ascii")
        self._close = weakref.finalize(self, _close, self._said, folder)

    def add(self, block: np.ndarray) -> None:
        """Take in the next samples, [C, T]."""
        self._peak.add(block)
        self._take(block)

    def finish(self) -> Loudness:
        """Return the measures of what was taken in; a gating block that was not filled does not count."""
        self._close()
        peak = self._peak.finish()
        return Loudness(self._integrated, 20 * math.log10(peak) if peak else -math.inf, dict(self._blocks))

    def _take(self, block: np.ndarray) -> None:
        if not block.shape[1]:
            return
        samples = np.ascontiguousarray(block.T, np.float32).reshape(1, -1)
        frame = self._av.AudioFrame.from_ndarray(samples, format="flt", layout=self._layout)
        frame.sample_rate, frame.pts = self._sample_rate, self._samples
        frame.time_base = Fraction(1, self._sample_rate)
        self._samples += block.shape[1]
        self._in.push(frame)
        with contextlib.suppress(self._av.error.BlockingIOError):  # there is no more yet
            while True:
                self._out.pull()
        for line in self._said:
            name, _, value = line.removeprefix("lavfi.r128.").partition("=")
            if name == "M" and float(value) > GATE_LUFS:
                self._blocks[round(float(value) * PER_LU)] += 1
            elif name == "I" and float(value) > GATE_LUFS:
                self._integrated = float(value)


def _close(said: IO[str], folder: str) -> None:
    said.close()
    shutil.rmtree(folder, ignore_errors=True)


def together_lufs(parts: Iterable[Loudness]) -> float:
    """Return the integrated loudness of several recordings as one programme; -inf where there is none.

    Both gates of BS.1770 over the gating blocks of all of them: a long recording counts for more than a short
    one, and pauses do not count.
    """
    blocks: Counter[int] = Counter()
    for part in parts:
        blocks.update(part.blocks)
    if not blocks:
        return -math.inf
    lufs = np.array(list(blocks)) / PER_LU
    counts, powers = np.array(list(blocks.values())), 10 ** (lufs / 10)
    gate = 10 * math.log10(np.average(powers, weights=counts)) + RELATIVE_GATE_LU
    heard = lufs > gate
    return float(10 * math.log10(np.average(powers[heard], weights=counts[heard])))
