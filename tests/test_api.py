"""What `import slimclean` offers."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import identity_enhancer, voice

import slimclean


def test_public_names_are_there_and_listed():
    for name in slimclean.__all__:
        assert getattr(slimclean, name) is not None
        assert name in dir(slimclean)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        slimclean.nothing  # noqa: B018
    public: dict[str, object] = {}
    exec("from slimclean import *", public)
    assert set(slimclean.__all__) <= set(public)


@pytest.mark.parametrize(
    "value",
    [slimclean.Options(), slimclean.OutputForm(), slimclean.Watch(), slimclean.Score("a"),
     slimclean.ScorePair("a", None, Path("a.wav")), slimclean.FileResult("a.wav", "b.wav")],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_a_process_is_given_or_gives_back_is_pickled(value):
    assert pickle.loads(pickle.dumps(value)) == value


def test_any_floats_are_a_waveform():
    x = np.stack([voice(1.0), voice(1.0, seed=1)])
    enhancer = identity_enhancer()
    expected = enhancer(x, 16_000).waveform
    backwards, sparse, closed = x[:, ::-1].copy()[:, ::-1], np.repeat(x, 2, axis=1)[:, ::2], x.copy()
    closed.setflags(write=False)
    for same in (
        x.astype(np.float64),
        x.astype(">f4"),
        np.asfortranarray(x),
        backwards,
        sparse,
        closed,
        x.tolist(),
    ):
        waveform = enhancer(same, 16_000).waveform
        assert waveform.dtype == np.float32
        assert np.array_equal(waveform, expected)
        assert waveform.flags.writeable
        assert not np.shares_memory(waveform, same)
