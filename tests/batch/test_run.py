"""Plans and runs: trees mirrored, collisions refused, one bad file costs one row."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import SMALL, identity_enhancer, voice

from slimclean import audio
from slimclean.audio import OutputForm
from slimclean.batch.options import Options, Watch
from slimclean.batch.plan import plan
from slimclean.batch.report import COLUMNS
from slimclean.batch.run import enhance_paths
from slimclean.errors import SlimcleanError, UsageError


@pytest.fixture
def tree(tmp_path):
    """Recordings of several kinds in nested folders, and one file that is none."""
    root = tmp_path / "takes"
    for name, rate, channels, subtype in (
        ("one.wav", 16_000, 1, "PCM_16"),
        ("day 1/two.flac", 44_100, 2, "PCM_24"),
        ("day 1/deep/drei-ä.wav", 8_000, 1, "PCM_U8"),
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        signal = np.stack([voice(0.7, rate, seed=c) for c in range(channels)], axis=1)
        soundfile.write(path, signal, rate, subtype)
    (root / "notes.txt").write_text("not audio")
    return root


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_path_is_no_list_of_letters(tree, tmp_path):
    for k, path in enumerate((str(tree / "one.wav"), tree / "one.wav")):
        (result,) = enhance_paths(path, tmp_path / f"{k}.wav", identity_enhancer())
        assert (result.file, result.status) == (str(tree / "one.wav"), "enhanced")


def test_a_folder_is_mirrored_and_reported(tree, tmp_path):
    out, report = tmp_path / "out", tmp_path / "report.csv"
    results = enhance_paths([tree], out, identity_enhancer(), report=report)
    assert [r.status for r in results] == ["enhanced"] * 3
    inputs = {p.relative_to(tree) for p in audio.walk(tree)}
    assert {p.relative_to(out) for p in out.rglob("*") if p.is_file()} == inputs
    for name in inputs:
        assert audio.probe(out / name) == audio.probe(tree / name)
        before, after = (audio.read(folder / name)[0] for folder in (tree, out))
        bits = 8 if name.name.startswith("drei") else 15
        assert np.abs(after - before).max() <= 2.0 ** -(bits - 1)
    rows = rows_of(report)
    assert tuple(rows[0]) == COLUMNS
    assert [r["file"] for r in rows] == [r.file for r in results]
    stereo = next(r for r in rows if r["file"].endswith("two.flac"))
    assert (stereo["sample_rate"], stereo["channels"], stereo["duration_s"]) == ("44100", "2", "0.700")
    assert float(stereo["rtf"]) > 0
    assert min(SMALL.ufs) <= float(stereo["mean_uf"]) <= 1
    gmacs = float(stereo["macs_per_sample"]) * 0.7 * 16_000 * 2 / 1e9
    assert float(stereo["gmacs"]) == pytest.approx(gmacs, abs=1e-3)
    assert float(stereo["level_out_dbfs"]) == pytest.approx(float(stereo["level_in_dbfs"]), abs=0.01)


def test_progress_is_told_once(tree, tmp_path):
    """One recording stays in this process however many were allowed, and its seconds count once."""
    seconds = []
    watch = Watch(progressed=seconds.append)
    enhance_paths([tree / "one.wav"], tmp_path / "out", identity_enhancer(), watch=watch, jobs=2)
    assert sum(seconds) == pytest.approx(0.7)


def test_keywords_change_the_options(tree, tmp_path):
    (tmp_path / "out.wav").write_bytes(b"earlier")
    kept = Options(form=OutputForm(subtype="PCM_24"))
    (result,) = enhance_paths(
        [tree / "one.wav"], tmp_path / "out.wav", identity_enhancer(), options=kept, overwrite=True
    )
    assert result.status == "enhanced"
    assert soundfile.info(tmp_path / "out.wav").subtype == "PCM_24"
    assert not kept.overwrite
    with pytest.raises(TypeError, match="overwrites"):
        enhance_paths([tree / "one.wav"], options=kept, overwrites=True)


def test_one_bad_file_costs_one_row(tree, tmp_path):
    (tree / "broken.wav").write_bytes(b"RIFF but not really")
    (tree / "empty.flac").touch()
    report = tmp_path / "r.csv"
    finished = []
    results = enhance_paths(
        [tree],
        tmp_path / "out",
        identity_enhancer(),
        report=report,
        watch=Watch(finished=finished.append),
    )
    assert finished == results
    status = {r["file"].rsplit("/")[-1]: r for r in rows_of(report)}
    assert {name for name, r in status.items() if r["status"] == "failed"} == {"broken.wav", "empty.flac"}
    assert status["empty.flac"]["error"] == "the file is empty"
    assert status["empty.flac"]["mean_uf"] == status["empty.flac"]["duration_s"] == ""
    assert sum(r["status"] == "enhanced" for r in status.values()) == 3
    assert not (tmp_path / "out" / "broken.wav").exists()
    assert not list((tmp_path / "out").rglob(".*"))


def test_a_recording_of_no_samples_is_kept(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((0, 2)), 44_100)
    (result,) = enhance_paths([tmp_path / "a.wav"], tmp_path / "b.wav", identity_enhancer())
    assert (result.status, result.duration_s, result.mean_uf, result.rtf) == ("enhanced", 0.0, None, None)
    assert audio.probe(tmp_path / "b.wav") == audio.probe(tmp_path / "a.wav")


def test_existing_outputs_are_skipped_unless_asked(tree, tmp_path):
    out = tmp_path / "out"
    enhance_paths([tree], out, identity_enhancer())
    (out / "one.wav").write_bytes(b"mine")
    again = enhance_paths([tree], out, identity_enhancer())
    assert [r.status for r in again] == ["skipped"] * 3
    assert (out / "one.wav").read_bytes() == b"mine"
    enhance_paths([tree], out, identity_enhancer(), overwrite=True)
    assert audio.probe(out / "one.wav").samples == 11_200


def test_a_failed_overwrite_leaves_the_old_output(tree, tmp_path):
    bad, out = tree / "bad.wav", tmp_path / "bad.wav"
    soundfile.write(bad, np.array([0.1, np.nan]), 16_000, "FLOAT")
    out.write_bytes(b"precious")
    (result,) = enhance_paths([bad], out, identity_enhancer(), overwrite=True)
    assert result.status == "failed"
    assert out.read_bytes() == b"precious"


def test_default_outputs_stand_beside_their_inputs(tree):
    assert plan([tree])[0].destination.is_relative_to(tree.with_name("takes-enhanced"))
    assert plan([tree / "one.wav"])[0].destination == tree / "one-enhanced.wav"


def test_an_output_folder_inside_the_input_is_not_input(tree):
    out = tree / "clean"
    assert len(enhance_paths([tree], out, identity_enhancer())) == 3
    assert len(plan([tree], out)) == 3


def test_one_file_may_name_its_output(tree, tmp_path):
    assert plan([tree / "one.wav"], tmp_path / "x.flac")[0].destination == tmp_path / "x.flac"
    assert plan([tree / "one.wav"], tmp_path / "folder")[0].destination == tmp_path / "folder" / "one.wav"
    assert plan([tree / "one.wav"], tmp_path)[0].destination == tmp_path / "one.wav"


def test_paths_may_come_one_by_one(tree, tmp_path):
    wanted = sorted(path.name for path in tree.glob("*.wav"))
    rows = enhance_paths(tree.glob("*.wav"), f"{tmp_path}/out/", identity_enhancer())
    assert sorted(Path(row.file).name for row in rows) == wanted


@pytest.mark.parametrize("name", ["progressed", "finished"])
@pytest.mark.parametrize("kind", [ValueError, OSError, SlimcleanError])
def test_what_the_callers_own_functions_raise_is_the_callers(tree, tmp_path, name, kind):
    def fail(_):
        raise kind("mine")

    with pytest.raises(kind, match="mine"):
        enhance_paths([tree], tmp_path / "out", identity_enhancer(), watch=Watch(**{name: fail}))
    assert not list((tmp_path / "out").rglob("*.part"))


def test_contradictory_plans_are_refused(tree, tmp_path):
    twin = tmp_path / "twin"
    twin.mkdir()
    soundfile.write(twin / "one.wav", voice(0.1), 16_000)
    cases = [
        (([tree / "one.wav", twin / "one.wav"], tmp_path / "out"), "both become"),
        (([tree / "one.wav"], tree / "one.wav"), "is one of the inputs"),
        (([tree], tree), "is one of the inputs|no recordings"),
        (([tmp_path / "absent"], None), "no such file"),
        (([tree / "notes.txt", tmp_path / "absent"], None), "no such file"),
    ]
    for (paths, output), message in cases:
        with pytest.raises(UsageError, match=message):
            plan(paths, output)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UsageError, match="no recordings"):
        plan([tmp_path / "nothing"])
    with pytest.raises(UsageError, match="also a recording"):
        enhance_paths([tree / "one.wav"], tmp_path / "o.wav", report=tmp_path / "o.wav")


def test_several_folders_keep_their_names(tree, tmp_path):
    twin = tmp_path / "twin"
    twin.mkdir()
    soundfile.write(twin / "one.wav", voice(0.1), 16_000)
    out = {t.destination.relative_to(tmp_path / "out").as_posix() for t in plan([tree, twin], tmp_path / "out")}
    assert {"takes/one.wav", "twin/one.wav"} <= out


def test_a_report_never_replaces_a_recording(tree, monkeypatch):
    monkeypatch.chdir(tree)
    before = (tree / "one.wav").read_bytes()
    for report in ("one.wav", "./one.wav", "out.wav"):
        with pytest.raises(UsageError, match="also a recording"):
            enhance_paths(["one.wav"], "out.wav", identity_enhancer(), report=report)
    assert (tree / "one.wav").read_bytes() == before


def test_a_folder_without_a_name_of_its_own(tree, monkeypatch):
    monkeypatch.chdir(tree)
    wanted = tree.with_name("takes-enhanced") / "one.wav"
    assert wanted in {t.destination for t in plan([Path()])}
    monkeypatch.chdir(tree / "day 1")
    assert wanted in {t.destination for t in plan([Path("..")])}
    with pytest.raises(UsageError, match="wants an `output`"):
        plan([Path("/")])


def test_outputs_may_go_to_a_folder_above(tree, monkeypatch):
    monkeypatch.chdir(tree.parent)
    names = {t.destination.as_posix() for t in plan([Path("takes")], Path())}
    assert names == {"one.wav", "day 1/two.flac", "day 1/deep/drei-ä.wav"}
    assert len(plan([Path("takes/day 1")], Path("takes"))) == 2


def test_an_output_that_cannot_be_written_is_refused(tree, tmp_path):
    with pytest.raises(UsageError, match=r"cannot write \.wma"):
        plan([tree / "one.wav"], tmp_path / "out.wma")


def test_whatever_one_recording_does_the_others_go_on(tree, tmp_path):
    calls = []

    def out_of_memory_once(noisy):
        calls.append(noisy)
        if len(calls) == 1:
            raise RuntimeError("DefaultCPUAllocator:\n can't allocate memory")
        return noisy

    results = enhance_paths([tree], tmp_path / "out", identity_enhancer(effect=out_of_memory_once))
    assert [r.status for r in results] == ["failed", "enhanced", "enhanced"]
    assert results[0].error == "out of memory; take fewer `jobs`, or free some"


def test_the_level_of_silence_is_an_empty_cell(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(1000), 16_000)
    enhance_paths([tmp_path / "a.wav"], tmp_path / "b.wav", identity_enhancer(), report=tmp_path / "r.csv")
    (row,) = rows_of(tmp_path / "r.csv")
    assert (row["status"], row["level_in_dbfs"], row["level_out_dbfs"]) == ("enhanced", "", "")


def test_means_count_frames_and_not_ufs(tmp_path):
    """A row is what the enhancer says of the same sound."""
    x = np.concatenate([voice(2.0), np.zeros(32_000, np.float32), 0.3 * voice(1.0, seed=1)])
    x += np.random.default_rng(0).normal(0, 0.01, len(x)).astype(np.float32) * (np.arange(len(x)) < 20_000)
    soundfile.write(tmp_path / "a.wav", x, 16_000, "FLOAT")
    enhancer = identity_enhancer("auto", 0.4)
    (result,) = enhance_paths(tmp_path / "a.wav", tmp_path / "b.wav", enhancer)
    uf = enhancer(x, 16_000).uf
    assert len(np.unique(uf)) > 1
    assert result.mean_uf == pytest.approx(uf.mean())
    assert result.macs_per_sample == pytest.approx(enhancer.macs_per_sample(uf))
    assert result.gmacs == pytest.approx(result.macs_per_sample * len(x) / 1e9)
    assert result.rtf == pytest.approx(result.processing_s / result.duration_s)
    soundfile.write(tmp_path / "two.wav", np.stack([x, x], 1), 16_000, "FLOAT")
    (mono,) = enhance_paths(tmp_path / "two.wav", tmp_path / "one.wav", enhancer, form=OutputForm(mono=True))
    assert mono.gmacs == pytest.approx(result.gmacs)
    loud, soft = (float(10 * np.log10(np.square(part).mean())) for part in (x, 0.1 * x))
    quieter = identity_enhancer(0.5, effect=lambda noisy: 0.1 * noisy)
    (result,) = enhance_paths(tmp_path / "a.wav", tmp_path / "c.wav", quieter)
    assert (result.level_in_dbfs, result.level_out_dbfs) == pytest.approx((loud, soft), abs=0.1)


@pytest.mark.parametrize(("subtype", "level"), [("PCM_16", 0.0), ("FLOAT", 12.0)])
def test_the_level_of_the_output_is_that_of_what_is_stored(tmp_path, subtype, level):
    """A square wave beyond full scale: PCM holds no more than that."""
    x = np.float32(10 ** (12 / 20)) * np.sign(np.sin(np.arange(16_000) / 20 + 0.01))
    soundfile.write(tmp_path / "a.wav", x, 16_000, "FLOAT")
    form = OutputForm(subtype=subtype)
    (row,) = enhance_paths([tmp_path / "a.wav"], tmp_path / "b.wav", identity_enhancer(0.5), form=form)
    assert row.level_in_dbfs == pytest.approx(12, abs=0.05)
    assert row.level_out_dbfs == pytest.approx(level, abs=0.05)
    rows = soundfile.read(tmp_path / "b.wav")[0]
    assert row.level_out_dbfs == pytest.approx(20 * np.log10(rows.std()), abs=0.05)
