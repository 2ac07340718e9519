"""Runs from files: what the end of one does to the router, and what the next one takes over."""

from __future__ import annotations

import csv
import dataclasses
import math
import os
import sys
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, run
from mixing import mixer_of
from safetensors import safe_open
from safetensors.torch import save_file

from slimclean.engine.threads import workers
from slimclean.enhancer import Enhancer
from slimclean.errors import SlimcleanError, SlimcleanWarning, UsageError
from slimclean.model import ModelConfig, checkpoint
from slimclean.train.calibrate import calibrate
from slimclean.train.config import STATE, TEACH_COUNT, TrainConfig
from slimclean.train.log import Log, append_row, drop_rows_after
from slimclean.train.loop import Loop, train
from slimclean.train.run import train_from_files

SIZES = {"hidden": SMALL.hidden, "router_channels": SMALL.router_channels}
CONFIG: dict[str, Any] = {"segment_s": 0.128, "warmup_steps": 1, "workers": 1, "loaders": 0}


@pytest.fixture
def folders(corpus):
    return {"speech": [corpus / "speech"], "noise": [corpus / "noise"]}


def test_a_frozen_router_stays_to_the_end(corpus, tmp_path):
    where = ["--speech", corpus / "speech", "--noise", corpus / "noise", "--segment-s", 0.128, "--loaders", 0]
    small = ["--hidden", 4, "--router-channels", 8, "--workers", 1, "--valid-count", 1]
    assert run("train", tmp_path / "a", *where, *small, "--steps", 1, "--teach-count", 0).exit_code == 0
    start = tmp_path / "a" / "model.safetensors"
    done = run("train", tmp_path / "b", *where, *small, "--steps", 1, "--init", start, "--freeze-router")
    assert done.exit_code == 0, done.output
    before, after = (
        checkpoint.load(path)[0].state_dict() for path in (start, tmp_path / "b" / "model.safetensors")
    )
    assert not any(before[name].equal(after[name]) for name in before if not name.startswith("router."))
    assert all(before[name].equal(after[name]) for name in before if name.startswith("router."))


def test_a_router_that_was_taught_is_calibrated(folders, tmp_path, monkeypatch):
    """Where nothing is held back, on mixtures of training."""
    heard = []

    def calibrate_and_tell(network, recordings):
        heard.extend(recordings)
        return calibrate(network, recordings)

    monkeypatch.setattr("slimclean.train.run.calibrate", calibrate_and_tell)
    monkeypatch.setattr("slimclean.train.run.CALIBRATION_COUNT", 6)
    config = TrainConfig(tmp_path, steps=0, **CONFIG)
    path = train_from_files(config, **folders, sizes=SIZES, valid_count=0, teach_count=2)
    assert len(heard) == 6
    reached = calibrate(checkpoint.load(path)[0], heard)
    ufs = [Enhancer("auto", 0.25, model=path).route(x, 16_000).mean() for x in heard]
    assert np.mean(ufs) == pytest.approx(reached[0.25], abs=0.02)


def test_python_teaches_as_the_command_line_does(folders, tmp_path, monkeypatch):
    counts = []
    monkeypatch.setattr("slimclean.train.run.teach", lambda network, mixer, count, seed: counts.append(count))
    monkeypatch.setattr("slimclean.train.run.calibrate", lambda *_: None)
    monkeypatch.setattr("slimclean.train.run.CALIBRATION_COUNT", 1)
    config = TrainConfig(tmp_path / "a", steps=1, **CONFIG)
    path = train_from_files(config, **folders, sizes=SIZES, valid_count=0)
    frozen = dataclasses.replace(config, out=tmp_path / "b", freeze_router=True)
    train_from_files(frozen, **folders, init=str(path), sizes=SIZES, valid_count=0)
    assert counts == [TEACH_COUNT]


def test_a_run_keeps_the_sizes_that_it_began_with(folders, tmp_path):
    """Whatever the defaults of a later release are, and in a branch too."""
    begun = TrainConfig(tmp_path / "a", steps=1, **CONFIG)
    sizes = SIZES | {"look_ahead": 0}
    train_from_files(begun, **folders, sizes=sizes, valid_count=0, teach_count=0)
    path = tmp_path / "a" / STATE
    with safe_open(path, "pt") as file:  # as saved before there was a look-ahead
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert '"look_ahead": 0, ' in metadata["model"]
    save_file(tensors, path, metadata | {"model": metadata["model"].replace('"look_ahead": 0, ', "")})
    longer = dataclasses.replace(begun, steps=2)
    branch = dataclasses.replace(begun, out=tmp_path / "b", branch=tmp_path / "a")
    for config in (longer, branch):
        header = checkpoint.read_header(train_from_files(config, **folders, valid_count=0, teach_count=0))
        assert header.config == dataclasses.replace(SMALL, look_ahead=0)
    with pytest.raises(SlimcleanError, match="sizes are not those to train: look_ahead is 0, not 5"):
        train_from_files(longer, **folders, sizes={"look_ahead": 5}, valid_count=0, teach_count=0)


def test_a_finished_run_stays_as_it_is(folders, tmp_path, monkeypatch):
    """Asked for again, with another rate or interrupted while the router is taught anew."""
    config = TrainConfig(tmp_path, steps=1, **CONFIG)
    how = {"sizes": SIZES, "valid_count": 1, "teach_count": 2}
    monkeypatch.setattr("slimclean.train.teach.EPOCHS", 1)
    path = train_from_files(config, **folders, **how)
    model, rows = path.read_bytes(), (tmp_path / "valid.csv").read_bytes()

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("slimclean.train.run.teach", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_from_files(config, **folders, **how)
    assert path.read_bytes() == model
    train_from_files(dataclasses.replace(config, lr=0.9), **folders, **how)
    header = checkpoint.read_header(path)
    assert header.info["training"]["recipe"]["lr"] == config.lr
    assert (tmp_path / "valid.csv").read_bytes() == rows
    (tmp_path / "valid.csv").unlink()
    train_from_files(config, **folders, **how)
    assert (tmp_path / "valid.csv").read_text().count("\n") == rows.count(b"\n")


@pytest.mark.skipif(os.name != "posix", reason="locks of folders")
def test_two_runs_in_one_folder_are_refused(folders, tmp_path, monkeypatch):
    config = TrainConfig(tmp_path, steps=1, **CONFIG)
    step = Loop.step

    def with_another_run(*arguments):
        monkeypatch.setattr(Loop, "step", step)
        with pytest.raises(UsageError, match="another run trains there"):
            train_from_files(config, **folders, sizes=SIZES, valid_count=0, teach_count=0)
        return step(*arguments)

    monkeypatch.setattr(Loop, "step", with_another_run)
    train_from_files(config, **folders, sizes=SIZES, valid_count=0, teach_count=0)


def test_a_router_that_nobody_taught_is_not_frozen(folders, tmp_path):
    with pytest.raises(UsageError, match="`freeze_router` wants a router"):
        train_from_files(TrainConfig(tmp_path, steps=1, freeze_router=True, **CONFIG), **folders)


def test_rows_of_steps_that_were_lost_are_lost_too(tmp_path):
    path = tmp_path / "train.csv"
    drop_rows_after(path, 5)
    path.write_text("step,full\n25,1\n50,2\n75,3\n10")
    drop_rows_after(path, 50)
    assert path.read_text() == "step,full\n25,1\n50,2\n"
    drop_rows_after(path, 0)
    assert path.read_text() == "step,full\n"


def test_a_log_grows_by_the_columns_of_new_losses(tmp_path):
    """As a run that goes on with --pauses writes them, under the header that it began with."""
    path = tmp_path / "train.csv"
    for row in (
        {"step": 25, "full": 1.5},
        {"step": 50, "full": 1.25, "pauses": 0.5},
        {"step": 75, "full": 1.0},
    ):
        append_row(path, row)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["25", "50", "75"]
    assert [row["pauses"] for row in rows] == ["", "0.5", ""]


def test_a_step_that_is_no_number_changes_nothing(tmp_path):
    config = TrainConfig(tmp_path, steps=2, batch=3, tasks=("routed",), **CONFIG)
    loop = Loop(config, ModelConfig(hidden=2, router_channels=2))

    def state():
        return {name: tensor.clone() for name, tensor in loop.state._tensors().items()}

    before, noisy = state(), torch.randn(3, 2_048)
    with workers(1) as pool:
        assert not math.isfinite(loop.step(noisy * torch.nan, noisy, pool)["grad"])
        after = state()
        assert before.keys() == after.keys()
        assert all(tensor.equal(before[name]) for name, tensor in after.items())
        assert math.isfinite(loop.step(noisy, noisy, pool)["grad"])
    assert not state()["efficiency"].equal(before["efficiency"])


def test_scores_that_stay_empty_are_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pesq", None)
    told = r"^pesq_wb stays empty in valid\.csv: .* pip install 'slimclean\[score\]'$"
    with pytest.warns(SlimcleanWarning, match=told), pytest.raises(UsageError, match="corpus_weights"):
        train_from_files(TrainConfig(tmp_path), manifest=tmp_path / "m.csv", corpus_weights=["a=x"])


def test_a_corpus_that_is_not_there_is_named(folders, tmp_path):
    with pytest.raises(UsageError, match="no corpus named nosuch; there are a, b"):
        train_from_files(TrainConfig(tmp_path, steps=0), **folders, corpus_weights=["nosuch=5"])


@pytest.mark.parametrize("factor", ["-1", "nan", "inf", "x"])
def test_a_corpus_is_drawn_from_0_to_any_number_of_times(folders, tmp_path, factor):
    with pytest.raises(UsageError, match="`corpus_weights` take"):
        train_from_files(TrainConfig(tmp_path, steps=0), **folders, corpus_weights=[f"a={factor}"])
    with pytest.raises(UsageError, match="leave nothing to draw"):
        train_from_files(TrainConfig(tmp_path, steps=0), **folders, corpus_weights=["a=0", "b=0"])


def test_a_manifest_that_is_no_text_is_named(tmp_path):
    (tmp_path / "m.csv").write_bytes("path,kind,corpus,split\nG\xe4ste.wav,speech,a,train\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"m\.csv: not a manifest"):
        train_from_files(TrainConfig(tmp_path), manifest=tmp_path / "m.csv")


def test_a_folder_beside_a_manifest_is_refused(folders, tmp_path):
    with pytest.raises(UsageError, match="either `manifest`, or both"):
        train_from_files(TrainConfig(tmp_path), manifest=tmp_path / "m.csv", speech=folders["speech"])


def test_tasks_that_no_batch_comes_to_are_refused(tmp_path):
    tasks = ("full", "static", "static", "static", "routed")
    assert TrainConfig(tmp_path, batch=5, tasks=tasks).tasks == tasks
    assert TrainConfig(tmp_path, batch=4, tasks=("full", "static", "routed", "static", "full")).batch == 4
    with pytest.raises(UsageError, match="a batch of 4 never comes to the task routed"):
        TrainConfig(tmp_path, batch=4, tasks=tasks)


def test_the_log_says_the_rate_and_outlives_a_step_that_is_no_number(libraries, tmp_path):
    config = TrainConfig(tmp_path / "a", steps=25, lr=2e-4, decay=0, batch=3, **CONFIG)
    train(config, mixer_of(libraries), ModelConfig(hidden=2, router_channels=2))
    with (tmp_path / "a" / "train.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["lr"]) == 2e-4
    log = Log(tmp_path / "log.csv", 0, 75)
    for step in range(1, 76):
        log.add(step, 1.0, {"grad": math.nan if step < 3 else math.inf if step == 40 else 2.0}, {})
    log.bar.close()
    with (tmp_path / "log.csv").open(newline="") as file:
        assert np.allclose([float(row["grad"]) for row in csv.DictReader(file)], 2)
