"""An interview before and after, with the level curve: the picture of the README.

    python examples/interview.py examples/recordings/lecture-tap-16k.flac tests/pairs/noisy.flac -o out.png

HOST speaks first and last, GUEST in between, 26 dB softer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from slimclean import Enhancer, audio
from slimclean.dsp import SAMPLE_RATE
from slimclean.dsp.local_level import FRAMES_PER_S, level_curve
from slimclean.dsp.resample import resample
from slimclean.dsp.spectrogram import reduce_columns, spectrogram
from slimclean.train.voices import active_rms

HOST_S = 4.5
"""Before the guest, and after."""


def interview(host: np.ndarray, guest: np.ndarray, softer_db: float) -> np.ndarray:
    """Host, guest and host, [T]."""
    host = host[: 2 * round(HOST_S * SAMPLE_RATE)] * (0.1 / active_rms(host))
    before, after = np.array_split(host, 2)
    guest = guest * (0.1 * 10 ** (-softer_db / 20) / active_rms(guest))
    return np.concatenate([before, guest, after]).astype(np.float32)


def draw(noisy: np.ndarray, enhanced: np.ndarray, picture: Path) -> None:
    """Spectrograms before and after, and the levels of frames under the curve."""
    from slimclean.show.plot import BLUE, DPI, GREY, ORANGE, WIDTH_IN, require_matplotlib, save

    figure = require_matplotlib().figure.Figure(figsize=(WIDTH_IN, 6), dpi=DPI * 0.8, layout="constrained")
    colours = require_matplotlib().colormaps["magma"].resampled(20)  # a small file
    axes = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 2))
    seconds = len(noisy) / SAMPLE_RATE
    for axis, x, name in zip(axes, (noisy, enhanced), ("before", "after"), strict=False):
        shown = reduce_columns(spectrogram([x[None]], SAMPLE_RATE).level_db, 600)
        extent = (0, seconds, 0, SAMPLE_RATE / 2000)
        axis.imshow(shown, origin="lower", aspect="auto", cmap=colours, vmin=-110, vmax=-30, extent=extent)
        axis.set_ylabel(f"{name} (kHz)")
    size = SAMPLE_RATE // FRAMES_PER_S
    time = (np.arange(len(noisy) // size) + 0.5) / FRAMES_PER_S
    for x, colour, name in ((noisy, GREY, "before"), (enhanced, BLUE, "after")):
        power = np.square(x[: len(time) * size].reshape(-1, size)).mean(1)
        axes[2].plot(time, 10 * np.log10(power + 1e-12), color=colour, linewidth=0.8, label=name)
    curve = 20 * np.log10(level_curve(noisy, SAMPLE_RATE))
    axes[2].plot(np.arange(len(noisy)) / SAMPLE_RATE, curve, color=ORANGE, linewidth=2, label="level curve")
    axes[2].set(ylabel="dBFS", ylim=(-100, 0), xlabel="time (s)", xlim=(0, seconds))
    axes[2].legend(loc="lower right", ncols=3, fontsize="small")
    save(figure, picture)


def main(host: Path, guest: Path, picture: Path, softer_db: float, uf: float) -> None:
    voices = [resample(x[:1], rate, SAMPLE_RATE)[0] for x, rate in map(audio.read, (host, guest))]
    noisy = interview(*voices, softer_db)
    draw(noisy, Enhancer(uf)(noisy, SAMPLE_RATE).waveform, picture)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host", type=Path)
    parser.add_argument("guest", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="picture to draw")
    parser.add_argument("--softer-db", type=float, default=26.0)
    parser.add_argument("--uf", type=float, default=1.0)
    arguments = parser.parse_args()
    main(arguments.host, arguments.guest, arguments.output, arguments.softer_db, arguments.uf)
