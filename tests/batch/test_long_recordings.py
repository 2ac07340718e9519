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


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux only")
@pytest.mark.parametrize("lengths", [(20, 40), pytest.param((30, 120), marks=pytest.mark.long)], ids=str)
def test_memory_does_not_grow_with_length(tmp_path, weights, lengths):
    """Not `ru_maxrss`, for a child's begins at its parent's; and from where batches fill all threads on."""
    peaks = []
    for minutes in lengths:
        path = tmp_path / f"{minutes}.wav"
        soundfile.write(path, np.tile(voice(10.0), 6 * minutes), 16_000, "PCM_16")
        code = (
            "from slimclean.cli import app; app(standalone_mode=False); "
            "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
        )
        arguments = [
            "enhance",
            str(path),
            "-o",
            str(path.with_suffix(".flac")),
            "-m",
            str(weights),
            "--uf",
            "0.125",
            "--threads",
            "2",
        ]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < peaks[0] + 64  # MiB; twenty minutes more are 73 MiB a copy as float32
