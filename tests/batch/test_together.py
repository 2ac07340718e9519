"""One gain for a set: as loud as asked for together, level with each other as before, and safe when cut off."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import identity_enhancer, run, voice

pytest.importorskip("av", reason="the meter needs PyAV")

from slimclean.audio import OutputForm
from slimclean.audio.atomic import STALE_S, AtomicFile
from slimclean.batch import together
from slimclean.batch.options import Watch
from slimclean.batch.run import enhance_paths
from slimclean.batch.task import Task
from slimclean.dsp.loudness import LoudnessMeter, together_lufs
from slimclean.enhancer import Enhancer
from slimclean.errors import UsageError

FORM = OutputForm(loudness_lufs=-20, true_peak_dbtp=-1)


@pytest.fixture
def takes(tmp_path):
    """Three people of unlike level, and a silent take."""
    folder = tmp_path / "takes"
    folder.mkdir()
    for name, gain, seconds in (("loud", 0.5, 4), ("soft", 0.05, 3), ("plain", 0.2, 5), ("silent", 0, 1)):
        soundfile.write(folder / f"{name}.wav", gain * voice(seconds, seed=len(name)), 16_000, subtype="FLOAT")
    return folder


def measured(path):
    x, rate = soundfile.read(path, dtype="float32", always_2d=True)
    meter = LoudnessMeter(rate, x.shape[1])
    meter.add(x.T)
    return meter.finish()


def enhance(paths, output=None, **options):
    return enhance_paths(paths, output, identity_enhancer(uf=0.5), form=FORM, loudness_per="batch", **options)


def test_the_set_is_as_loud_as_asked_and_levels_stay_to_each_other(takes, tmp_path):
    results = enhance([takes], tmp_path / "out")
    assert [r.status for r in results] == ["enhanced"] * 4
    outputs = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in outputs] == ["loud.wav", "plain.wav", "silent.wav", "soft.wav"]
    assert together_lufs(map(measured, outputs)) == pytest.approx(-20, abs=0.1)
    gains = [
        np.linalg.norm(soundfile.read(p)[0]) / np.linalg.norm(soundfile.read(takes / p.name)[0])
        for p in outputs
        if p.stem != "silent"
    ]
    assert gains == pytest.approx([gains[0]] * 3, rel=1e-3)
    row = results[0]
    assert row.loudness_out_lufs == pytest.approx(measured(outputs[0]).integrated_lufs, abs=0.05)
    assert row.clipped_samples == 0
    assert row.held is None


def test_what_is_appended_between_cleaning_and_writing_is_not_lost(takes, monkeypatch):
    real = together.together_lufs

    def go_on(levels):
        with (takes / "soft.wav").open("ab") as file:
            file.write(bytes(8))
        return real(levels)

    monkeypatch.setattr(together, "together_lufs", go_on)
    before = (takes / "soft.wav").read_bytes()
    rows = enhance([takes], in_place=True)
    assert [row.error for row in rows] == ["", "", "", "changed while it was cleaned"]
    assert (takes / "soft.wav").read_bytes() == before + bytes(8)


def test_a_file_that_meets_the_ceiling_keeps_its_place(takes, tmp_path):
    """The limiter makes up for what it takes: its loudness is that of the common gain."""
    x = 0.05 * voice(4, seed=9)
    x[30_000] = 0.9
    soundfile.write(takes / "click.wav", x, 16_000, subtype="FLOAT")
    results = {os.path.basename(r.file): r for r in enhance([takes], tmp_path / "out")}  # noqa: PTH119
    assert "limited" in results["click.wav"].warnings
    assert measured(tmp_path / "out/click.wav").true_peak_dbtp <= -1
    rise = [
        measured(tmp_path / "out" / name).integrated_lufs - measured(takes / name).integrated_lufs
        for name in ("click.wav", "soft.wav")
    ]
    assert rise[0] == pytest.approx(rise[1], abs=0.1)


def test_processes_give_the_same(takes, tmp_path, weights):
    for name, jobs in (("one", 1), ("two", 2)):
        enhancer = Enhancer(0.5, model=weights)
        enhance_paths([takes], tmp_path / name, enhancer, form=FORM, loudness_per="batch", jobs=jobs)
    for path in (tmp_path / "one").iterdir():
        np.testing.assert_array_equal(soundfile.read(path)[0], soundfile.read(tmp_path / "two" / path.name)[0])
    assert len(list((tmp_path / "two").iterdir())) == 4


def test_a_resumed_run_goes_on_with_the_gain_it_had(takes, tmp_path):
    enhance([takes], tmp_path / "out")
    whole = soundfile.read(tmp_path / "out/soft.wav")[0]
    (tmp_path / "out/soft.wav").unlink()
    results = enhance([takes], tmp_path / "out")
    assert [r.status for r in results] == ["skipped", "skipped", "skipped", "enhanced"]
    np.testing.assert_array_equal(soundfile.read(tmp_path / "out/soft.wav")[0], whole)
    assert "earlier run" not in results[3].warnings
    soundfile.write(tmp_path / "out/loud.wav", 0.05 * soundfile.read(takes / "loud.wav")[0], 16_000)
    (tmp_path / "out/soft.wav").unlink()
    assert "outputs of an earlier run are up to" in enhance([takes], tmp_path / "out")[3].warnings


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_cleaned_again_is_planned_and_told_once(takes, tmp_path, weights, jobs):
    """A bar that is promised 7 s and gets 13 would stand at its end for half of the run."""
    enhance([takes], tmp_path / "out")
    for name in ("soft.wav", "plain.wav"):
        (tmp_path / "out" / name).unlink()
    planned, done = [], []
    watch = Watch(planned.append, done.append)
    enhancer, options = Enhancer(0.5, model=weights), {"form": FORM, "loudness_per": "batch"}
    for wanted in (13.0, 0.0):  # at last there is nothing to do
        enhance_paths([takes], tmp_path / "out", enhancer, watch=watch, jobs=jobs, **options)
        assert (planned.pop(), sum(done)) == (pytest.approx(wanted), pytest.approx(wanted))
        done.clear()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_set_that_lost_a_recording_says_so(takes, tmp_path, weights, jobs):
    """Its output is there, but what it had in the gain of then is not known any more."""
    options = {"form": FORM, "loudness_per": "batch", "jobs": jobs}
    enhance_paths([takes], tmp_path / "out", enhancer := Enhancer(0.5, model=weights), **options)
    for name in ("soft", "plain"):
        (tmp_path / f"out/{name}.wav").unlink()
    (takes / "loud.wav").write_bytes(b"RIFF" + bytes(40))
    rows = {Path(r.file).stem: r for r in enhance_paths([takes], tmp_path / "out", enhancer, **options)}
    assert (rows["loud"].status, rows["loud"].warnings) == ("skipped", "")
    for name in ("soft", "plain"):
        assert rows[name].status == "enhanced"
        assert f"the set is measured without {takes / 'loud.wav'} (" in rows[name].warnings
    (tmp_path / "out/soft.wav").unlink()
    (takes / "silent.wav").write_bytes(b"RIFF" + bytes(40))
    soundfile.write(tmp_path / "out/plain.wav", 0.01 * voice(5), 16_000)
    last = enhance_paths([takes], tmp_path / "out", enhancer, **options)[3]
    assert ".wav and 1 more (" in last.warnings
    assert "LU off" in last.warnings
    assert "overwrite them" not in last.warnings  # what is lost has to be mended first


def test_nothing_to_do_does_nothing(takes, tmp_path, monkeypatch):
    enhance([takes], tmp_path / "out")
    monkeypatch.setattr(together, "enhance_file", None)
    assert {r.status for r in enhance([takes], tmp_path / "out")} == {"skipped"}


def test_failures_are_rows_and_leave_nothing(takes, tmp_path, monkeypatch):
    (takes / "broken.wav").write_bytes(b"RIFF" + bytes(40))
    results = {os.path.basename(r.file): r.status for r in enhance([takes], tmp_path / "out")}  # noqa: PTH119
    assert results.pop("broken.wav") == "failed"
    assert set(results.values()) == {"enhanced"}
    assert all(not path.name.startswith(".") for path in (tmp_path / "out").iterdir())
    shutil.rmtree(tmp_path / "out")
    stopped = enhance([takes], tmp_path / "out", fail_fast=True)
    assert {r.status for r in stopped} == {"failed", "skipped"}
    assert not list((tmp_path / "out").iterdir())

    def full(*_):
        raise OSError(28, "No space left on device")

    (takes / "broken.wav").unlink()
    monkeypatch.setattr(together, "master", full)
    results = enhance([takes], tmp_path / "out")
    assert {(r.status, r.error) for r in results} == {("failed", "No space left on device")}
    assert not list((tmp_path / "out").iterdir())


def test_a_spool_that_cannot_be_removed_is_no_failure(takes, tmp_path, monkeypatch):
    real = Path.unlink

    def unlink(path, *arguments, **options):
        if path.name.isdigit():
            raise NotADirectoryError(20, "Not a directory")
        real(path, *arguments, **options)

    monkeypatch.setattr(Path, "unlink", unlink)
    for _ in range(2):
        assert [row.error for row in enhance([takes], tmp_path / "out")][-1] in ("", "the output exists")
        (tmp_path / "out/loud.wav").unlink()
    assert all(not path.name.startswith(".") for path in (tmp_path / "out").iterdir())


def test_in_place(takes):
    enhance([takes], in_place=True)
    assert together_lufs(map(measured, takes.iterdir())) == pytest.approx(-20, abs=0.1)
    assert len(list(takes.iterdir())) == 4


def test_references_are_scored_after_the_gain(takes, tmp_path):
    pytest.importorskip("pystoi", reason="scores need the extra")
    results = enhance([takes / "plain.wav"], tmp_path / "out.wav", references=takes / "plain.wav")
    assert results[0].si_sdr_db > 40


@pytest.mark.skipif(os.name != "posix", reason="locks")
def test_what_a_killed_run_left_goes_with_the_next_and_what_runs_stays(takes, tmp_path):
    folder = tmp_path / "out" / f"{together.FOLDER}x"
    folder.mkdir(parents=True)
    (folder / "0").write_bytes(b"sound")
    with AtomicFile(folder / "alive"):
        enhance([takes], tmp_path / "out")
        assert (folder / "0").exists()
        shutil.copy(next(folder.glob("*.part")), tmp_path / "left")  # as a kill leaves it: there, and unlocked
        name = next(folder.glob("*.part")).name
    shutil.move(tmp_path / "left", folder / name)
    enhance([takes], tmp_path / "out", overwrite=True)
    assert not folder.exists()


def test_a_run_that_begins_leaves_the_folder_of_one_that_just_began(tmp_path, monkeypatch):
    """Another run looks for leftovers at any moment, also while the folder has no locked file yet."""
    task = Task(tmp_path / "a.wav", tmp_path / "out" / "a.wav")
    seen = []

    class Watched(AtomicFile):
        def __init__(self, path):
            if not seen:
                seen.append(path.parent)
                with together._folder(task):
                    assert path.parent.is_dir()
            assert path.parent.is_dir()
            super().__init__(path)
            if len(seen) == 1:
                seen.append(path.parent)
                with together._folder(task):
                    assert list(path.parent.iterdir())

    monkeypatch.setattr(together, "AtomicFile", Watched)
    with together._folder(task) as folder, together._folder(task) as other:
        assert len(seen) == 2
        assert folder.is_dir()
        assert folder != other
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_that_never_got_its_locked_file_goes_when_it_is_old(tmp_path):
    task = Task(tmp_path / "a.wav", tmp_path / "out" / "a.wav")
    new = tmp_path / "out" / ".slimclean-new-x"
    new.mkdir(parents=True)
    for age_s, stays in ((0, True), (2 * STALE_S, False)):
        os.utime(new, (time.time() - age_s,) * 2)
        with together._folder(task):
            assert new.exists() == stays


def test_on_the_command_line(takes, tmp_path, weights):
    done = run("enhance", takes, "-o", tmp_path / "out", "-m", weights, "--uf", "1", "--loudness", "batch")
    assert done.exit_code == 0, done.output
    assert together_lufs(map(measured, (tmp_path / "out").iterdir())) == pytest.approx(-16, abs=0.1)
    for wrong in (["--loudness", "loud"], ["--loudness=-16", "--loudness-per", "album"]):
        assert run("enhance", takes, "-o", tmp_path / "o", *wrong).exit_code == 2
    with pytest.raises(UsageError, match="`loudness_per` takes file or batch"):
        enhance_paths([takes], form=FORM, loudness_per="album")
