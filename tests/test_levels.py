"""The packaged network on voices at awkward levels: each comes out as it does alone."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from test_examples import PAIR, ROOT

from slimclean import Enhancer, audio
from slimclean.scoring.evaluation import Pair
from slimclean.scoring.metrics import si_sdr

spec = importlib.util.spec_from_file_location("levels", ROOT / "examples" / "levels.py")
levels = importlib.util.module_from_spec(spec)
spec.loader.exec_module(levels)


@pytest.fixture(scope="module")
def found():
    """By case: the case, and SI-SDR in dB as it goes in, comes out, and comes out alone."""
    words = slice(4_000, 64_000)  # half a second before the first
    clean, noisy = (audio.read(PAIR / f"{name}.flac")[0][0, words] for name in ("clean", "noisy"))
    pair, enhancer = Pair("p232_005", clean, noisy), Enhancer(0.25)
    scores = {}
    for case in levels.cases(pair, pair):
        out = levels.first_channel(enhancer(case.recording, 16_000).waveform, case.at)
        given = levels.first_channel(case.recording, case.at)
        alone = enhancer(case.plain, 16_000).waveform * case.gain
        scores[case.name] = tuple(si_sdr(case.clean, x) for x in (given, out, alone))
    return scores


def test_every_case_is_there(found):
    assert len(found) == 13
    assert all(np.isfinite(scores).all() for scores in found.values())


@pytest.mark.parametrize(
    "name",
    [
        "guest 10 dB under the host", "guest 20 dB under the host", "guest 26 dB under the host",
        "guest 30 dB under the host", "the host of a guest 20 dB softer", "the host of a guest 26 dB softer",
        "bang first", "music first", "offset of 0.3", "fade over 40 dB", "opposite polarity",
        "one channel silent", "20 s at -60 dBFS",
    ],
)  # fmt: skip
def test_a_voice_comes_out_as_it_does_alone(found, name):
    given, out, alone = found[name]
    assert out > given + 1
    assert out > alone - 1.5
