"""What the router does when a noise becomes softer in the middle of a take: the paper's demonstration.

    python examples/adaptation.py ./clean ./noisy -o adaptation.png

The folders hold recordings of the same names. Each is played three times over, with its noise lowered by 10 dB
in the second; the mean UF of each time is printed, and in how many recordings it falls. The picture shows the
take whose fall is the median one, and the UF averaged over a quarter of a second.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from slimclean import Enhancer
from slimclean.dsp import SAMPLE_RATE
from slimclean.scoring.evaluation import Pair, folder_pairs
from slimclean.scoring.tables import table

LOWERED_DB = 10.0
TARGETS = (0.1, 0.25, 0.5)
SMOOTH_S = 0.25


def three_times(pair: Pair) -> np.ndarray:
    """The recording three times over, [3 T], its noise lowered in the second."""
    noise = pair.noisy - pair.clean
    gains = np.float32([1, 10 ** (-LOWERED_DB / 20), 1])
    return np.concatenate([pair.clean + gain * noise for gain in gains])


def by_third(ufs: np.ndarray) -> list[float]:
    """Mean UF before, during and after."""
    return [float(part.mean()) for part in np.array_split(ufs, 3)]


def draw(take: np.ndarray, ufs: np.ndarray, picture: Path) -> None:
    from slimclean.show.plot import require_matplotlib

    figure = require_matplotlib().figure.Figure(figsize=(10, 4.5), dpi=110, layout="constrained")
    wave, route = figure.subplots(2, 1, sharex=True)
    seconds = np.arange(len(take)) / SAMPLE_RATE
    wave.plot(seconds, take, linewidth=0.4, color="tab:gray")
    wave.set_ylabel("noisy")
    frame_s = len(take) / SAMPLE_RATE / len(ufs)
    size = max(1, round(SMOOTH_S / frame_s))
    smooth = np.convolve(np.pad(ufs, size // 2, "edge"), np.ones(size) / size, "valid")[: len(ufs)]
    route.plot((np.arange(len(ufs)) + 0.5) * frame_s, smooth, color="tab:blue")
    for third, mean in enumerate(by_third(ufs)):
        edges = np.array([third, third + 1]) * seconds[-1] / 3
        route.plot(edges, [mean, mean], color="tab:orange")
        label = {"ha": "center", "va": "top", "transform": route.get_xaxis_transform()}
        route.text(edges.mean(), 0.12, f"mean {mean:.3f}", color="tab:orange", **label)
    for axis in (wave, route):
        axis.axvspan(seconds[-1] / 3, 2 * seconds[-1] / 3, color="tab:green", alpha=0.12, linewidth=0)
    route.set(ylabel=f"UF, over {SMOOTH_S:g} s", ylim=(0, None))
    route.set_xlabel(f"seconds; noise {LOWERED_DB:g} dB lower where green")
    figure.savefig(picture)


def main(clean: Path, noisy: Path, picture: Path | None, target_uf: float) -> None:
    pairs = folder_pairs(clean, noisy)
    takes = [three_times(pair) for pair in pairs]
    rows = []
    for target in TARGETS:
        enhancer = Enhancer("auto", target)
        thirds = np.array([by_third(enhancer.route(take, SAMPLE_RATE)) for take in takes])
        falls = (thirds[:, 1] < thirds[:, [0, 2]].min(1)).mean()
        means = dict(zip(("before", "during", "after"), thirds.mean(0).round(3).tolist(), strict=True))
        rows.append({"target_uf": target, **means, "falls_in": f"{falls:.0%}"})
    print(table(rows))
    if picture is not None:
        enhancer = Enhancer("auto", target_uf)
        routes = [enhancer.route(take, SAMPLE_RATE) for take in takes]
        falls_by = [min(before, after) - during for before, during, after in map(by_third, routes)]
        typical = np.argsort(falls_by)[len(takes) // 2]
        draw(takes[typical], routes[typical], picture)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("noisy", type=Path)
    parser.add_argument("-o", "--output", type=Path, help="picture to draw")
    parser.add_argument("--target-uf", type=float, default=0.25, help="of the picture")
    arguments = parser.parse_args()
    main(arguments.clean, arguments.noisy, arguments.output, arguments.target_uf)
