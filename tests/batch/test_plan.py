"""Plans: patterns, lists, references, and what is left out."""

from __future__ import annotations

import io
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
import soundfile
from conftest import voice

from slimclean.audio import AudioInfo, AudioWriter, OutputForm
from slimclean.batch.inputs import is_our_output, parse_list, read_list
from slimclean.batch.options import Options
from slimclean.batch.plan import plan, plan_batch, plan_stream
from slimclean.batch.report import OUTPUTS
from slimclean.batch.resume import done_tasks
from slimclean.batch.task import STREAM, Task
from slimclean.errors import AudioError, UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three recordings, two of them in a folder of their own."""
    for name in ("one.wav", "two.wav", "deep/three.wav"):
        path = tmp_path / "takes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, voice(0.05), 16_000)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "takes"


def names(tasks):
    return [task.source.name for task in tasks]


def test_patterns_are_expanded(folder):
    assert names(plan([Path("takes/*.wav")])) == ["one.wav", "two.wav"]
    assert names(plan([Path("takes/**/t*.wav")])) == ["three.wav", "two.wav"]
    with pytest.raises(UsageError, match="no recording matches"):
        plan([Path("takes/*.flac")])
    soundfile.write(folder / "[x].wav", voice(0.05), 16_000)
    assert names(plan([Path("takes/[x].wav")])) == ["[x].wav"]  # a name comes before a pattern


def test_a_pattern_that_matches_folders_names_no_recording_twice(folder):
    assert names(plan([Path("takes/**")])) == ["one.wav", "two.wav", "three.wav"]
    assert names(plan([Path("takes/*")])) == ["three.wav", "one.wav", "two.wav"]


def test_the_name_of_a_file_is_no_folder_for_several(folder):
    for paths in ([folder / "one.wav", folder / "two.wav"], [folder]):
        with pytest.raises(UsageError, match=r"both\.flac: the name of one file for several"):
            plan(paths, "both.flac")
        assert {task.destination.parts[0] for task in plan(paths, "both.flac/")} == {"both.flac"}
        assert {task.destination.parts[0] for task in plan(paths, "out.d")} == {"out.d"}
    Path("both.flac").mkdir()
    assert plan([folder / "one.wav", folder / "two.wav"], "both.flac")[0].destination == Path(
        "both.flac/one.wav"
    )


def test_an_extension_that_the_name_of_the_output_contradicts(folder):
    one = folder / "one.wav"
    with pytest.raises(UsageError, match=r"x\.wav: its name says wav, `extension` flac"):
        plan([one], "x.wav", OutputForm(".flac"))
    with pytest.raises(UsageError, match="its name says wav, `extension` flac"):
        plan_stream(["-"], "x.wav", Options(form=OutputForm(".flac")))
    assert plan([one], "x.AIF", OutputForm(".aiff"))[0].destination == Path("x.AIF")
    assert plan([one], "x.wav/", OutputForm(".flac"))[0].destination == Path("x.wav/one.flac")


def test_references_are_no_outputs(folder, tmp_path):
    """Nor is the report one of them."""
    clean = _copy(folder)
    with pytest.raises(UsageError, match="is one of the references"):
        plan([folder], clean, references=clean)
    with pytest.raises(UsageError, match="is one of the references"):
        plan([folder], in_place=True, references=folder)
    tasks = plan([folder], tmp_path / "out", references=clean)
    assert [task.reference for task in tasks] == [
        clean / "one.wav",
        clean / "two.wav",
        clean / "deep/three.wav",
    ]
    for report in (clean / "one.wav", Path("-"), Path("rows.json"), Path("page.html")):
        with pytest.raises(
            UsageError, match=r"the report .* is also a recording|name ends in \.csv or \.jsonl"
        ):
            plan_batch([folder], tmp_path / "out", Options(references=clean, report=report, overwrite=True))


def _copy(folder):
    return Path(shutil.copytree(folder, folder.parent / "clean", dirs_exist_ok=True))


def test_our_own_outputs_are_no_input(folder):
    for name in ("one-enhanced.wav", "-enhanced.wav", "live-enhanced.wav"):
        soundfile.write(folder / name, voice(0.05), 16_000)
    (folder / "deep-enhanced").mkdir()
    soundfile.write(folder / "deep-enhanced" / "three.wav", voice(0.05), 16_000)
    # "live-enhanced" is somebody else's name: there is no "live".
    assert names(plan([folder])) == ["-enhanced.wav", "live-enhanced.wav", "one.wav", "two.wav", "three.wav"]
    assert names(plan([Path("takes/one*")])) == ["one.wav"]
    assert names(plan([folder / "one-enhanced.wav"])) == ["one-enhanced.wav"]  # asked for by name
    assert not is_our_output(Path("never-enhanced.wav"))


def test_outputs_that_are_named_beside_their_inputs_are_left_out_and_counted(folder):
    """As `slimclean enhance *.wav` names them in a second run; one that is named without its input is one."""
    for name in ("one-enhanced.wav", "two-enhanced.flac", "one-enhanced-enhanced.wav"):
        soundfile.write(folder / name, voice(0.05), 16_000)
    left_out = Counter()
    assert names(plan(sorted(folder.glob("*.*")), left_out=left_out)) == ["one.wav", "two.wav"]
    assert left_out == {OUTPUTS: 3}
    two = [folder / "one.wav", folder / "two-enhanced.flac"]
    assert names(plan(two)) == ["one.wav", "two-enhanced.flac"]
    for walked in ([folder], [Path("takes/*")]):
        left_out.clear()
        assert len(plan(walked, left_out=left_out)) == 3
        assert left_out == {OUTPUTS: 3}
    soundfile.write("takes-enhanced.wav", voice(0.05), 16_000)  # of no folder
    assert len(plan([folder, Path("takes-enhanced.wav")])) == 4
    shutil.copytree(folder, "takes-enhanced")
    assert plan([folder, Path("takes-enhanced")]) == plan([folder])
    assert plan([folder, Path("takes-enhanced")], in_place=True) == plan([folder], in_place=True)


@pytest.mark.parametrize(
    ("recording", "output"),
    [
        ("ZOOM1.WAV", "ZOOM1-enhanced.WAV"),
        ("ZOOM1.WAV", "ZOOM1-enhanced.flac"),
        ("a.Wav", "a-enhanced.Wav"),
        ("take", "take-enhanced"),
        ("take", "take-enhanced.flac"),
    ],
)
def test_outputs_are_known_whatever_the_extension_of_their_input(folder, recording, output):
    for name in (recording, output):
        soundfile.write(folder / name, voice(0.05), 16_000, format="WAV")
    assert is_our_output(folder / output)
    assert names(plan([folder / recording, folder / output])) == [recording]
    (folder / recording).unlink()
    assert not is_our_output(folder / output)


def test_a_pattern_that_matches_our_own_outputs_alone_says_so(folder):
    for name in ("one-enhanced.wav", "two-enhanced.wav"):
        soundfile.write(folder / name, voice(0.05), 16_000)
    (folder.parent / "takes-enhanced").mkdir()
    for pattern in ("takes/*-enhanced.wav", "takes-e*"):
        with pytest.raises(UsageError, match=r"matches only outputs of earlier runs, such as takes.*-enhanced"):
            plan([Path(pattern)])
    with pytest.raises(UsageError, match="only outputs"):  # and beside others
        plan([folder / "one.wav", Path("takes/*-enhanced.wav")])


def test_a_stream_is_planned_like_a_file(folder):
    """One recording, to a file of a known container, which is done where it exists."""
    out = folder / "out.wav"
    assert plan_stream(["-"], None, Options()) == Task(STREAM, STREAM)
    task = plan_stream(["-"], out, Options())
    assert done_tasks([task], Options()) == {}
    out.write_bytes(b"")
    assert list(done_tasks([task], Options())) == [task]
    assert done_tasks([task], Options(overwrite=True)) == {}
    Path("-").write_bytes(b"")  # a file of that name is no output of ours
    assert done_tasks([Task(STREAM, STREAM)], Options()) == {}


@pytest.mark.parametrize(
    ("paths", "output", "options", "message"),
    [
        (["-", "takes/one.wav"], None, {}, "one recording, alone"),
        (["takes"], "-", {}, "one file goes to -"),
        (["absent.wav"], "-", {}, "one file goes to -"),
        (["-"], "takes", {}, "has no name"),
        (["-"], "new.wav/", {}, "has no name"),
        (["-"], "out.xyz", {}, r"cannot write \.xyz; there are \.aif"),
        (["-"], "out", {}, "no extension, so no container"),
        (["-", "takes/one.wav"], "-", {}, "^- is one recording, alone$"),
        (["-"], None, {"in_place": True}, "without `in_place`"),
        (["-"], None, {"references": "takes"}, "`references`"),
        (["-"], None, {"scheduler": "tcp://x"}, "`scheduler`"),
        (["-"], None, {"form": OutputForm(keep_mtime=True)}, "`keep_mtime`"),
        (["-"], "out.wav", {"report": "out.wav"}, "is also a recording"),
    ],
)
def test_what_a_pipe_cannot_do_is_refused(folder, paths, output, options, message):
    with pytest.raises(UsageError, match=message):
        plan_stream(paths, output, Options(**options))


def test_the_format_names_the_output(folder):
    outputs = [task.destination.name for task in plan([folder], form=OutputForm(".flac"))]
    assert outputs == ["one.flac", "two.flac", "three.flac"]
    (folder / "film.mp4").write_bytes(b"x")
    assert plan([folder / "film.mp4"])[0].destination == folder / "film-enhanced.mp4"
    (folder / "talk.wma").write_bytes(b"x")
    assert plan([folder / "talk.wma"])[0].destination == folder / "talk-enhanced.flac"
    with pytest.raises(UsageError, match="cannot be written in place"):
        plan([folder / "talk.wma"], in_place=True)
    problems = {task.source.name: task.problem for task in plan([folder], in_place=True)}
    assert problems.pop("talk.wma").startswith("cannot be written in place")
    assert len(problems) == 4  # one that cannot is no end of the others
    assert not any(problems.values())


def test_formats_that_meet_are_refused(folder):
    soundfile.write(folder / "one.flac", voice(0.05), 16_000)
    with pytest.raises(UsageError, match=r"would both become .* rename one of them, or enhance them apart"):
        plan([folder], form=OutputForm(".ogg"))


def test_a_file_where_a_folder_should_be_is_refused(folder):
    Path("file").write_text("x")
    Path("takes-enhanced").write_text("x")
    named = Path("takes/one.wav")
    for paths, output in (
        ([folder], "file"), ([folder], "file/"), ([named], "file/"), ([named], "file/deep/a.wav"),
        ([named, folder / "two.wav"], "file"), ([Path("takes")], None),
    ):  # fmt: skip
        with pytest.raises(UsageError, match="is a file, where a folder for outputs should be"):
            plan(paths, output)
    with pytest.raises(UsageError, match="is a file, where"):
        plan_stream(["-"], "file/a.wav", Options())


@pytest.mark.parametrize(
    ("output", "form", "message"),
    [
        ("out/", OutputForm("opus", sample_rate=44_100), "set `sample_rate` 48000"),
        ("out/", OutputForm("mp3", bit_rate=500_000), "not 500; set `bit_rate` 320000"),
        ("a.opus", OutputForm(sample_rate=44_100), "set `sample_rate` 48000"),
        ("a.webm", OutputForm(subtype="PCM_16"), "WEBM does not hold PCM_16; .* or take VORBIS, OPUS"),
        ("a.flac", OutputForm(subtype="FLOAT"), "FLAC does not hold FLOAT; .* or take PCM_S8, PCM_16, PCM_24"),
        ("a.m4a", OutputForm(subtype="aac", sample_rate=192_000), "set `sample_rate` 96000"),
        ("a.ogg", OutputForm(subtype="vorbis", sample_rate=8_000, bit_rate=4_000_000), "for 64 channels"),
        ("a.ogg", OutputForm(subtype="vorbis", sample_rate=44_100, bit_rate=16_000), "for 1 channel at"),
    ],
)
def test_what_a_container_never_holds_is_refused_before_the_work(folder, output, form, message):
    with pytest.raises(UsageError, match=message):
        plan([folder / "one.wav"], output, form)
    if form.extension is None:
        with pytest.raises(UsageError, match=message):
            plan_stream(["-"], output, Options(form=form))


def test_what_some_container_holds_is_not_refused(folder):
    soundfile.write(folder / "two.flac", voice(0.05), 16_000)
    Path(folder / "two.wav").unlink()
    tasks = plan([folder], form=OutputForm(subtype="FLOAT"))
    assert {task.source.name for task in tasks if task.problem} == {"two.flac"}
    for output, form in (
        ("a.m4a", OutputForm(sample_rate=192_000)),  # as ALAC
        ("a.ogg", OutputForm(sample_rate=384_000)),  # as FLAC
        ("a.mkv", OutputForm(sample_rate=11_025)),
        ("a.ogg", OutputForm(bit_rate=400_000)),
        ("a.caf", OutputForm(sample_rate=500_000)),
    ):
        assert not plan([folder / "one.wav"], output, form)[0].problem


def test_what_is_named_twice_is_one_recording(folder):
    again = Path("takes/../takes/one.wav")
    assert names(plan([Path("takes/one.wav"), folder / "one.wav", again])) == ["one.wav"]
    assert names(plan([folder, Path("takes")])) == ["one.wav", "two.wav", "three.wav"]
    assert names(plan([Path("takes/one.wav"), again], "b.wav")) == ["one.wav"]


def test_an_empty_name_is_not_the_working_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for paths, output in (([""], None), (["one.wav", ""], None), (["one.wav"], "")):
        with pytest.raises(UsageError, match="an empty name"):
            plan_batch(paths, output, Options())


def test_an_output_that_lies_among_the_inputs_is_told_from_the_input_itself(folder):
    soundfile.write(folder / "one.flac", voice(0.05), 16_000)
    with pytest.raises(UsageError, match=r"one\.flac is one of the inputs, made by an earlier run perhaps"):
        plan([folder], folder, OutputForm(".flac"))
    with pytest.raises(UsageError, match=r"one\.wav is one of the inputs; `in_place` replaces them"):
        plan([folder / "one.wav"], folder / "one.wav")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX files")
def test_a_pipe_without_an_extension_is_no_recording_and_none_is_an_output(folder):
    """Nor does anything wait for its other end."""
    os.mkfifo(folder / "control")
    os.mkfifo(folder / "p.flac")
    assert names(plan([folder / "deep", folder])) == ["three.wav", "one.wav", "p.flac", "two.wav", "three.wav"]
    for output in (folder / "p.flac", Path(os.devnull)):
        with pytest.raises(UsageError, match="is a pipe or a device; standard output is -"):
            plan([folder / "one.wav"], output)
    with pytest.raises(AudioError, match="is a pipe or a device"):
        AudioWriter(folder / "p.flac", AudioInfo(16_000, 1, 0, "FLAC", "PCM_16"))


def test_references_go_by_relative_path(folder, tmp_path):
    clean = tmp_path / "clean" / "deep"
    clean.mkdir(parents=True)
    for path in (clean / "three.flac", clean.parent / "one.wav", clean.parent / "two.wav"):
        soundfile.write(path, voice(0.05), 16_000)
    tasks = plan([folder], references=tmp_path / "clean")
    assert [task.reference.name for task in tasks] == ["one.wav", "two.wav", "three.flac"]
    assert plan([folder / "one.wav"], references=clean / "three.flac")[0].reference == clean / "three.flac"
    (clean / "three.flac").unlink()
    with pytest.raises(UsageError, match=r"no reference deep/three\.\*"):
        plan([folder], references=tmp_path / "clean")


def test_lists_of_inputs():
    assert parse_list(Path("l"), "a.wav\n\n# later\n b c.wav\n") == [Path("a.wav"), Path(" b c.wav")]
    assert parse_list(Path("l"), "a\nb.wav\0c.wav\0") == [Path("a\nb.wav"), Path("c.wav")]
    assert parse_list(Path("l"), "#1.wav\0b.wav\0") == [Path("#1.wav"), Path("b.wav")]  # a machine wrote it
    assert parse_list(Path("l"), "\ufeffb.wav\r\n") == [Path("b.wav")]
    with pytest.raises(UsageError, match="lists no recordings"):
        parse_list(Path("l"), "\n# nothing\n")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("end", ["\r\n", "\0"])
def test_lists_that_begin_with_a_mark(encoding, end):
    """As PowerShell and editors write them; without a mark, bytes that are no UTF-8 survive."""
    names = ["drei-ä 日本.wav", "b.wav"]
    text = "".join(name + end for name in names)
    data = (("\ufeff" if encoding == "utf-16-be" else "") + text).encode(encoding)
    assert read_list(STREAM, io.BytesIO(data)) == list(map(Path, names))


def test_lists_in_other_encodings():
    assert read_list(STREAM, io.BytesIO(b"\xe4.wav\n")) == [Path("\udce4.wav")]
    with pytest.raises(UsageError, match="not UTF-16-LE, as its first bytes say"):
        read_list(STREAM, io.BytesIO(b"\xff\xfea"))


@pytest.mark.parametrize("name", ["out.v2/", "out.mp4/", "out/"])
def test_a_slash_makes_a_folder_of_an_output(folder, name):
    assert plan([folder / "one.wav"], name)[0].destination == Path(name) / "one.wav"


def test_an_output_that_is_no_recording_is_refused(folder):
    assert plan([folder / "one.wav"], "out.m4a")[0].destination == Path("out.m4a")
    with pytest.raises(UsageError, match=r"cannot write \.v2; a folder's name ends in /"):
        plan([folder / "one.wav"], "out.v2")
