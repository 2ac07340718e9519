"""Draw a recording before and after, with the UF that each frame ran at underneath.

    python examples/spectrogram.py examples/recordings/lecture-tap-16k.flac lecture.png

Needs matplotlib: pip install 'slimclean[plot]'.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import librosa
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullFormatter

from slimclean import Enhancer, audio


def draw(recording: Path, picture: Path, uf: float | str = "auto", target_uf: float = 0.25) -> None:
    waveform, rate = audio.read(recording)
    enhancer = Enhancer(uf, target_uf)
    enhanced, ufs = enhancer(waveform, rate)
    figure, axes = plt.subplots(
        3, 1, figsize=(10, 6.2), sharex=True, height_ratios=(3, 3, 1.3), layout="constrained"
    )
    duration = waveform.shape[1] / rate
    levels = [_spectrogram_db(x.mean(axis=0)) for x in (waveform, enhanced)]
    top = max(level.max() for level in levels)
    for axis, level, title in zip(axes, levels, ("before", "after"), strict=False):
        image = axis.imshow(
            level, origin="lower", aspect="auto", cmap="magma", vmin=top - 80, vmax=top,
            extent=(0, duration, 0, rate / 2000), interpolation="nearest",
        )  # fmt: skip
        axis.set(ylabel="frequency (kHz)", title=title)
    figure.colorbar(image, ax=axes[:2], label="level (dB)", pad=0.01)
    times = np.arange(len(ufs) + 1) / enhancer.config.frame_rate_hz
    axes[2].stairs(ufs, times, fill=True, color="#0072b2")
    axes[2].axhline(ufs.mean(), color="#d55e00", label=f"mean {ufs.mean():.2f}")
    axes[2].set(xlabel="time (s)", ylabel="UF", ylim=(0.1, 1.05), yscale="log", xlim=(0, duration))
    axes[2].yaxis.set_minor_formatter(NullFormatter())
    axes[2].set_yticks(enhancer.config.ufs, [f"{v:g}" for v in enhancer.config.ufs])
    axes[2].legend(loc="upper right", fontsize="small")
    figure.suptitle(recording.name)
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def _spectrogram_db(x: np.ndarray) -> np.ndarray:
    """Magnitudes in dB, [frequency, time]."""
    return librosa.amplitude_to_db(np.abs(librosa.stft(x, n_fft=1024, hop_length=256)), ref=1.0, top_db=None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--uf", default="auto")
    parser.add_argument("--target-uf", type=float, default=0.25)
    arguments = parser.parse_args()
    uf = arguments.uf if arguments.uf == "auto" else float(arguments.uf)
    draw(arguments.recording, arguments.picture, uf, arguments.target_uf)
