"""A long recording is streamed: bounded memory, no drift, no seam."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from conftest import identity_enhancer, voice
from test_examples import PAIR

from slimclean import Enhancer, audio
from slimclean.chunking import BATCH, HOP_S
from slimclean.dsp.local_level import LOOK_AHEAD_S
from slimclean.scoring.metrics import si_sdr


def test_a_stream_holds_little_more_than_a_chunk():
    """`stream` runs ahead of what it has given back by little more than a batch of chunks a thread."""
    most_s = ((torch.get_num_threads() + 2) * BATCH + 1) * HOP_S + LOOK_AHEAD_S
    rate, block = 16_000, 16_000
    asked = given = 0
    blocks_count = round(4 * most_s)

    def blocks():
        nonlocal asked
        for _ in range(blocks_count):
            asked += block
            assert (asked - given) / rate < most_s
            yield np.zeros((1, block), np.float32) + 0.1

    for out, _ in identity_enhancer().stream(blocks(), rate):
        given += out.shape[1]
    assert given == asked == blocks_count * block


def test_the_end_is_enhanced_as_well_as_the_beginning():
    """A pair looped over six chunks scores the same in each repetition (hours: examples/long_recording.py)."""
    clean, noisy = (audio.read(PAIR / f"{name}.flac")[0][0] for name in ("clean", "noisy"))
    period = len(noisy) // 256 * 256  # so that every repetition meets the frames alike
    repeats = 90 * 16_000 // period
    out, uf = Enhancer("auto")(np.tile(noisy[:period], repeats), 16_000)
    scores = [si_sdr(clean[:period], out[k * period : (k + 1) * period]) for k in range(1, repeats)]
    assert max(scores) - min(scores) < 0.3
    ufs = uf.reshape(repeats, -1).mean(axis=1)[1:]
    assert np.ptp(ufs) < 0.02


WATCHED = """
import sys
from pathlib import Path
import torch
from slimclean import Enhancer, enhance_paths
from slimclean.batch.options import Watch

def peak_mib():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

recording, weights, looked_at_s = sys.argv[1:]
done_s, peaks = 0.0, []

def progressed(seconds):
    global done_s
    done_s += seconds
    if done_s >= float(looked_at_s) and not peaks:
        peaks.append(peak_mib())

torch.set_num_threads(2)
(result,) = enhance_paths(
    [recording], recording + ".flac", Enhancer(0.125, model=weights), watch=Watch(progressed=progressed)
)
assert not result.error, result.error
print(*peaks, peak_mib())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux only")
@pytest.mark.parametrize("minutes", [(20, 40), pytest.param((30, 120), marks=pytest.mark.long)], ids=str)
def test_memory_does_not_grow_with_length(tmp_path, weights, minutes):
    """Not `ru_maxrss`, for a child's begins at its parent's; and from where batches fill all threads on."""
    looked_at, length = minutes
    path = tmp_path / "long.wav"
    soundfile.write(path, np.tile(voice(10.0), 6 * length), 16_000, "PCM_16")
    command = [sys.executable, "-c", WATCHED, path, weights, 60 * looked_at]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, after = map(float, done.stdout.split())
    assert after < before + 32  # MiB; twenty minutes more are 73 MiB a copy as float32
