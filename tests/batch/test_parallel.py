"""Several processes: the same bytes, and a dead worker costs one recording."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from conftest import identity_enhancer, voice

from slimclean import Enhancer
from slimclean.batch import run as batch_run
from slimclean.batch.options import Watch
from slimclean.batch.report_reading import read_report
from slimclean.batch.run import enhance_paths, pick_jobs
from slimclean.errors import MissingDependencyError, SlimcleanError, UsageError

DEADLY_HZ = 11_025


class Deadly(Enhancer):
    """Kills its process when it meets a recording at `DEADLY_HZ`, as a lack of memory would."""

    def stream(self, blocks, sample_rate, passages=None, **options):
        if sample_rate == DEADLY_HZ:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().stream(blocks, sample_rate, passages, **options)

    def __reduce__(self):
        given = dict(self._arguments)
        return Deadly, (given["uf"], given["target_uf"], given["model"])


@pytest.fixture
def takes(tmp_path):
    folder = tmp_path / "takes"
    folder.mkdir()
    for k in range(7):
        soundfile.write(folder / f"{k}.wav", voice(0.3 + 0.1 * k, seed=k), 16_000)
    soundfile.write(folder / "bad.wav", np.full(9, np.nan), 16_000, "FLOAT")
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_processes_give_the_bytes_of_one(takes, tmp_path, weights):
    enhancer = Enhancer(model=weights)
    alone = enhance_paths([takes], tmp_path / "one", enhancer, jobs=1)
    seconds = []
    watch = Watch(progressed=seconds.append)
    together = enhance_paths([takes], tmp_path / "two", enhancer, watch=watch, jobs=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) == 7
    for a, b in zip(alone, together, strict=True):
        assert (a.file, a.status, a.error, a.mean_uf) == (b.file, b.status, b.error, b.mean_uf)
    assert sum(seconds) == pytest.approx(sum(r.duration_s or 0 for r in alone), abs=0.01)


class Softer(Enhancer):
    """Halves what it is given, so that rows tell whether the worker knew what it was given."""

    def stream(self, blocks, sample_rate, passages=None, **options):
        yield from super().stream((block / 2 for block in blocks), sample_rate, passages, **options)


def test_a_network_and_a_subclass_reach_other_processes(takes, tmp_path, small):
    enhancer = Softer(0.5, network=small)
    levels = []
    for jobs in (1, 2):
        rows = enhance_paths([takes / "0.wav", takes / "1.wav"], tmp_path / f"{jobs}", enhancer, jobs=jobs)
        assert [row.status for row in rows] == ["enhanced", "enhanced"], [row.error for row in rows]
        levels.append([row.level_out_dbfs for row in rows])
    assert levels[0] == levels[1]
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_an_engine_reaches_other_processes_or_is_refused_before_any_work(takes, tmp_path):
    pair = [takes / "0.wav", takes / "1.wav"]
    rows = enhance_paths(pair, tmp_path / "a", identity_enhancer(effect=torch.neg), jobs=2)
    assert [row.status for row in rows] == ["enhanced", "enhanced"], [row.error for row in rows]
    held = identity_enhancer()
    held.engine.lock = threading.Lock()
    with pytest.raises(UsageError, match="picklable"):
        enhance_paths(pair, tmp_path / "b", held, jobs=2)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(("jobs", "most"), [(12, 3), (2, 2)])
def test_there_are_no_more_processes_than_recordings(takes, tmp_path, monkeypatch, jobs, most):
    real, asked = batch_run.Parallel, []

    def pool(n_jobs, **options):
        asked.append(n_jobs)
        return real(n_jobs=1, **options)

    monkeypatch.setattr(batch_run, "Parallel", pool)
    enhance_paths([takes / f"{k}.wav" for k in range(3)], tmp_path / "o", identity_enhancer(), jobs=jobs)
    assert asked == [most]


def test_where_there_can_be_no_processes_one_does_the_work(takes, tmp_path, monkeypatch):
    """As without a /dev/shm to write to, where joblib finds no semaphores."""
    monkeypatch.setattr("joblib._parallel_backends.mp", None)
    monkeypatch.setattr(batch_run, "_backend", lambda *_: pytest.fail("processes"))
    rows = enhance_paths([takes / "0.wav", takes / "1.wav"], tmp_path / "o", identity_enhancer(), jobs=2)
    assert [row.status for row in rows] == ["enhanced"] * 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.filterwarnings("ignore:A worker stopped")
def test_a_worker_that_dies_costs_its_recording(takes, tmp_path, weights):
    soundfile.write(takes / "1-deadly.wav", voice(0.3, DEADLY_HZ), DEADLY_HZ)
    enhancer = Deadly("auto", 0.25, weights)
    rows = {Path(r.file).name: r for r in enhance_paths([takes], tmp_path / "out", enhancer, jobs=2)}
    assert rows["1-deadly.wav"].status == "failed"
    assert "its worker process died" in rows["1-deadly.wav"].error
    assert rows["bad.wav"].error.startswith("holds NaN")
    assert sum(r.status == "enhanced" for r in rows.values()) == 7
    assert sorted(contents(tmp_path / "out")) == [f"{k}.wav" for k in range(7)]


def test_fail_fast_stops(takes, tmp_path, weights):
    (takes / "0.wav").write_bytes(b"broken")
    for jobs in (1, 2):
        results = enhance_paths(
            [takes], tmp_path / f"{jobs}", Enhancer(model=weights), jobs=jobs, fail_fast=True
        )
        assert len(results) == 8
        assert any(r.status == "failed" for r in results)  # of two, which one comes first is chance
        assert any(r.error == "not begun: an earlier recording failed" for r in results)
        assert not list((tmp_path / f"{jobs}").rglob("*.part"))


def test_processes_are_used_where_they_pay(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    monkeypatch.setattr("slimclean.batch.run.available_bytes", lambda: float("inf"))
    assert pick_jobs([], "cpu") == pick_jobs([20.0], "cpu") == pick_jobs([9000.0], "cpu") == 1
    assert pick_jobs([20.0] * 200, "cpu") == 4
    assert pick_jobs([3600.0] * 3, "cpu") == 3
    assert pick_jobs([3600.0] * 3, "cuda") == 1
    monkeypatch.setattr("slimclean.batch.run.available_bytes", lambda: 1.9e9)
    assert pick_jobs([20.0] * 200, "cpu") == 2
    monkeypatch.setattr("slimclean.batch.run.available_bytes", lambda: 0.0)
    assert pick_jobs([20.0] * 200, "cpu") == 1


KILLED = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import identity_enhancer
from slimclean.batch.run import enhance_paths
takes, out, kills = Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
import random
random.seed(0)
enhancer = identity_enhancer(1.0)
begun = set()
def finished():
    return len(list(out.glob("*.wav")))
for kill in range(kills):
    child = os.fork()
    if child == 0:
        enhance_paths([takes], out, enhancer, report=out.with_suffix(".csv"))
        os._exit(0)
    enough = finished() + random.randint(0, 2)  # so that twenty kills do not reach the end
    while finished() < enough:
        time.sleep(0.0005)
    time.sleep(random.uniform(0, 0.01))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    begun.add(finished())
assert len(begun) > 3, begun  # the kills fell into the work, not before or after it
results = enhance_paths([takes], out, enhancer, report=out.with_suffix(".csv"))
print(sum(r.status == "skipped" for r in results), sum(r.status == "enhanced" for r in results))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_twenty_kills_and_one_rerun(tmp_path):
    """A process killed at any moment leaves whole files or none; one more does the rest, with all rows."""
    takes = tmp_path / "takes"
    takes.mkdir()
    for k in range(60):
        soundfile.write(takes / f"{k:02}.wav", voice(1.0, 16_000, seed=k), 16_000)
    calm = enhance_paths([takes], tmp_path / "calm", identity_enhancer(1.0))
    assert [row.status for row in calm] == ["enhanced"] * 60
    tests, out = Path(__file__).parent.parent, tmp_path / "out"
    script = [sys.executable, "-c", KILLED, tests, takes, out, 20]
    killed = subprocess.run(list(map(str, script)), capture_output=True, text=True, check=False)
    assert killed.returncode == 0, killed.stderr
    done, rest = map(int, killed.stdout.split())
    assert done + rest == 60
    assert rest > 0
    assert contents(tmp_path / "out") == contents(tmp_path / "calm")
    rows = read_report(tmp_path / "out.csv")
    assert [Path(row.file).name for row in rows] == [f"{k:02}.wav" for k in range(60)]
    told = [row for row in rows if row.status == "enhanced"]
    assert len(told) >= 40  # a kill between the output and its row costs that row
    assert all(row.duration_s == 1.0 and row.mean_uf for row in told)


@pytest.fixture(scope="module")
def half_an_hour(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.wav"
    soundfile.write(path, np.tile(voice(10.0), 200), 16_000)
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_stops_every_process(tmp_path, weights, half_an_hour, number, code):
    """A terminal interrupts all of them, `kill` the first one alone."""
    folder = tmp_path / "long"
    folder.mkdir()
    for k in range(3):
        (folder / f"{k}.wav").hardlink_to(half_an_hour)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "slimclean", "enhance", folder, "-o", out, "-m", weights, "-j", "2"]
    process = subprocess.Popen(
        [*map(str, command), "--report", str(tmp_path / "r.csv")],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    for _ in range(1200):  # until both have begun to write
        if out.is_dir() and len(list(out.iterdir())) >= 2:
            break
        time.sleep(0.05)
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    assert process.wait(timeout=60) == code
    _wait_for_all_of(process)
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    assert list(out.iterdir()) == []
    assert (tmp_path / "r.csv").read_text().count("\n") == 1  # the header: no recording was done


ORPHANED = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import identity_enhancer
from slimclean.batch.options import Watch
from slimclean.batch.run import enhance_paths

def slow(noisy):
    time.sleep(0.5)
    return noisy

rows = []
def kill(row):
    rows.append(row)
    if len(rows) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

takes, out = map(Path, sys.argv[2:])
enhancer, report = identity_enhancer(0.5, effect=slow), out.with_suffix(".csv")
enhance_paths([takes], out, enhancer, watch=Watch(finished=kill), jobs=2, report=report)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_workers_end_with_the_process_that_began_them(tmp_path):
    """Killed, it can tell them nothing, and takes no rows of what they would go on with."""
    takes = tmp_path / "takes"
    takes.mkdir()
    for k in range(20):
        soundfile.write(takes / f"{k:02}.wav", voice(0.1, seed=k), 16_000)
    script = [sys.executable, "-c", ORPHANED, Path(__file__).parent.parent, takes, tmp_path / "out"]
    killed = subprocess.Popen(list(map(str, script)), start_new_session=True)
    assert killed.wait(timeout=60) == -signal.SIGKILL
    _wait_for_all_of(killed)
    told = [row for row in read_report(tmp_path / "out.csv") if row.status == "enhanced"]
    assert len(told) == 3
    assert len(list((tmp_path / "out").glob("*.wav"))) <= 3 + 2  # what was being renamed at that moment


def test_processes_that_are_not_ours_go_on(monkeypatch):
    """Where a fork server began a worker of Dask, its parent is not the process that asked for it."""
    ended = threading.Event()
    monkeypatch.setattr(os, "_exit", lambda _: ended.set())
    monkeypatch.setattr("multiprocessing.parent_process", lambda: SimpleNamespace(pid=0))
    batch_run._end_with_parent.__wrapped__()
    assert not ended.wait(0.2)


def _wait_for_all_of(process):
    """Wait until nobody is left in the group that `process` began."""
    for _ in range(200):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail("a process is left")


# --- Dask ------------------------------------------------------------------------------------------


@pytest.fixture
def start_dask(tmp_path):
    """A function that starts a process of Dask's command line on loopback; ended with the test."""
    pytest.importorskip("distributed")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), *sys.path]),
        "OMP_NUM_THREADS": "1",
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    }
    options = {"env": environment, "cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = []

    def start(module, *arguments):
        command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments, "--no-dashboard"]
        processes.append(subprocess.Popen([*command, "--scheduler-file", "scheduler.json"], **options))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def scheduler(start_dask, tmp_path):
    """The address of a scheduler without workers."""
    start_dask("dask_scheduler", "--host", "127.0.0.1", "--port", "0")
    file = tmp_path / "scheduler.json"
    for _ in range(600):
        if file.exists() and file.read_text().strip().endswith("}"):
            break
        time.sleep(0.05)
    return json.loads(file.read_text())["address"]


@pytest.fixture
def cluster(start_dask, scheduler, tmp_path):
    """A scheduler and two worker processes; the address and the workers."""
    quiet = ["--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path)]
    return scheduler, [start_dask("dask_worker", *quiet) for _ in range(2)]


@pytest.mark.filterwarnings("ignore")  # of the libraries, about one another
def test_a_cluster_gives_the_same_bytes_and_outlives_a_worker(takes, tmp_path, weights, cluster, monkeypatch):
    """Of relative paths too, whose folder the workers do not stand in."""
    address, workers = cluster
    (tmp_path / "deeper" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deeper" / "here")
    enhancer = Enhancer(model=f"../../{weights.name}")
    enhance_paths([takes], tmp_path / "one", enhancer)

    def kill_one(result):
        if result.status == "enhanced" and workers[0].poll() is None:
            workers[0].kill()

    results = enhance_paths(
        ["../../takes"], "../../dask", enhancer, watch=Watch(finished=kill_one), scheduler=address
    )
    assert workers[0].wait(timeout=10) != 0
    assert [r.status for r in results] == ["enhanced"] * 7 + ["failed"]
    assert results[0].output == "../../dask/0.wav"
    assert contents(tmp_path / "one") == contents(tmp_path / "dask")


@pytest.mark.filterwarnings("ignore")
def test_no_scheduler_is_one_line(takes, tmp_path, weights, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("slimclean.batch.run.CONNECT_S", 0.3)
    with pytest.raises(SlimcleanError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 \(\w"):
        enhance_paths([takes], tmp_path / "o", Enhancer(model=weights), scheduler="tcp://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match=r"slimclean\[dask\]"):
        enhance_paths([takes], tmp_path / "o", Enhancer(model=weights), scheduler="tcp://127.0.0.1:9")


@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_is_silent_is_one_line(takes, tmp_path, weights, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("slimclean.batch.run.CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system accepts, and nobody answers
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SlimcleanError, match=r"no Dask scheduler answers at .*out after 0\.5 s"):
            enhance_paths([takes], tmp_path / "o", Enhancer(model=weights), scheduler=address)


def test_a_time_out_that_says_nothing_is_told(takes, tmp_path, weights, monkeypatch):
    distributed = pytest.importorskip("distributed")

    def silent(*_, **__):
        raise asyncio.TimeoutError

    monkeypatch.setattr(distributed.Client, "__init__", silent)
    monkeypatch.setattr(distributed.Client, "__del__", lambda _: None)
    with pytest.raises(SlimcleanError, match=r"answers at tcp://127\.0\.0\.1:9 \(timed out after 10 s\)$"):
        enhance_paths([takes], tmp_path / "o", Enhancer(model=weights), scheduler="tcp://127.0.0.1:9")


@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_without_workers_is_one_line(takes, tmp_path, weights, scheduler, monkeypatch):
    monkeypatch.setattr("slimclean.batch.run.CONNECT_S", 2.0)
    with pytest.raises(SlimcleanError, match=r"has no workers; none came within 2 s$"):
        enhance_paths([takes], tmp_path / "o", Enhancer(model=weights), scheduler=scheduler)
