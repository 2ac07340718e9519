"""Recordings of one name in several folders, for every command that pairs."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np
import pytest
import soundfile
from conftest import voice

from slimclean.audio.names import by_name, pair_name, same_names
from slimclean.batch.plan import plan
from slimclean.errors import SlimcleanError, UsageError
from slimclean.scoring.evaluation import folder_pairs
from slimclean.scoring.pairs import pair_up


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.wav", "a"),
        ("s/a-enhanced.flac", "s/a"),
        ("a.v2.wav", "a.v2"),
        ("a-enhanced", "a"),
        ("", "."),
        ("/", "/"),
    ],
)
def test_a_name_has_no_extension_and_no_mark_of_ours(path, name):
    assert pair_name(PurePosixPath(path)) == name


@pytest.fixture
def sets(tmp_path):
    """The same two recordings under other extensions and names, one of 48 kHz."""
    for name, rate in (
        ("clean/a.wav", 16_000),
        ("clean/s/b.flac", 16_000),
        ("noisy/a-enhanced.flac", 48_000),
        ("noisy/s/b.wav", 16_000),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, voice(0.5, rate), rate)
    return tmp_path


def test_every_command_pairs_the_same_recordings(sets):
    clean, noisy = sets / "clean", sets / "noisy"
    names = [[*side] for side in same_names(clean, noisy)]
    assert names == [["a", "s/b"]] * 2
    assert [p.name for p in pair_up(clean, noisy)] == ["a", "s/b"]
    assert [p.name for p in folder_pairs(clean, noisy)] == ["a", "s/b"]
    assert [task.reference for task in plan([noisy], references=clean)] == [clean / "a.wav", clean / "s/b.flac"]


def test_evaluation_refuses_what_scoring_refuses(sets):
    soundfile.write(sets / "noisy" / "more.wav", voice(0.5), 16_000)
    for pair in (pair_up, folder_pairs):
        with pytest.raises(UsageError, match="no counterpart on every side: more"):
            pair(sets / "clean", sets / "noisy")
    (sets / "noisy" / "more.wav").unlink()
    soundfile.write(sets / "noisy" / "s" / "b.wav", voice(2.0), 16_000)
    with pytest.raises(SlimcleanError, match=r"s/b: lengths of 0\.500 and 2\.000 s do not pair"):
        folder_pairs(sets / "clean", sets / "noisy")


def test_twins_are_told_apart_by_extension_where_that_is_possible(sets):
    soundfile.write(sets / "clean" / "a.flac", np.zeros(8), 16_000)
    with pytest.raises(UsageError, match="same name"):
        by_name(sets / "clean")
    with pytest.raises(UsageError, match="same name"):
        plan([sets / "noisy"], references=sets / "clean")
    assert len(plan([sets / "clean"], references=sets / "clean")) == 3
