"""A tag that is damaged, or that does not go in, costs nothing but itself, and is named."""

from __future__ import annotations

import base64

import pytest
import soundfile
from audio.test_attached import PNG, enhanced, written
from conftest import identity_enhancer

from slimclean.audio import OutputForm, writer
from slimclean.audio.tags import copying as tag_copying
from slimclean.audio.tags import reading as tag_reading
from slimclean.batch.recording import enhance_file
from slimclean.batch.task import Task

mutagen = pytest.importorskip("mutagen")
NAMES = ["b.flac", "b.ogg", "b.opus", "b.mp3", "b.m4a", "b.mkv", "b.wav", "b.aiff", "b.caf", "b.w64"]
FORM = OutputForm(sample_rate=16_000)


def flac(path, *pairs, kind=3, mime="image/png"):
    from mutagen.flac import FLAC, Picture

    written(path, format="FLAC")
    file = FLAC(path)
    if file.tags is None:
        file.add_tags()
    for pair in (("TITLE", "T"), ("HOST", "H"), *pairs):
        file.tags.append(pair)
    picture = Picture()
    picture.data, picture.mime, picture.type = PNG, mime, kind
    file.add_picture(picture)
    file.save()
    return path


def kept(path):
    """The title and the number of pictures, where the container has any by mutagen."""
    file = mutagen.File(path)
    new = file.tags
    if path.suffix == ".m4a":
        return new["\xa9nam"], bytes(new["----:com.apple.iTunes:HOST"][0]), len(new["covr"])
    if path.suffix == ".mp3":
        return new["TIT2"].text, new["TXXX:HOST"].text[0].encode(), len(new.getall("APIC"))
    pictures = len(file.pictures) if path.suffix == ".flac" else len(new["METADATA_BLOCK_PICTURE"])
    return new["TITLE"], new["HOST"][0].encode(), pictures


def check(tmp_path, name):
    assert not list(tmp_path.glob(".slimclean-*"))
    assert soundfile.info(tmp_path / name).frames if name[-3:] not in ("m4a", "mkv") else True
    if name in ("b.flac", "b.ogg", "b.opus", "b.mp3", "b.m4a"):
        assert kept(tmp_path / name) == (["T"], b"H", 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("comment", ["AAAA", "not base64!", base64.b64encode(b"\0" * 31).decode()])
def test_a_damaged_picture_costs_nothing_else(tmp_path, name, comment):
    if name in ("b.m4a", "b.mkv"):
        pytest.importorskip("av")
    result = enhanced(flac(tmp_path / "a.flac", ("METADATA_BLOCK_PICTURE", comment)), tmp_path / name, FORM)
    check(tmp_path, name)
    assert "damaged tags are not kept: METADATA_BLOCK_PICTURE" in result.warnings


@pytest.mark.parametrize("name", ["b.mp3", "b.m4a", "b.mkv", "b.wav"])
@pytest.mark.parametrize("time", ["nan", "1e300", "-1", "soon"])
def test_a_chapter_at_no_time_costs_nothing_else(tmp_path, name, time):
    if name in ("b.m4a", "b.mkv"):
        pytest.importorskip("av")
    source = flac(tmp_path / "a.flac", ("CHAPTER001", time), ("CHAPTER001NAME", "Here"))
    result = enhanced(source, tmp_path / name, FORM)
    check(tmp_path, name)
    assert "damaged tags are not kept: " in result.warnings
    assert "CHAPTER001" in result.warnings or "Here" in result.warnings


@pytest.mark.parametrize("value", ["20240115", "A3/x", "-5", "9" * 5000])
@pytest.mark.parametrize("name", ["TRACKNUMBER", "DISCNUMBER", "BPM"])
def test_a_number_that_mp4_cannot_hold_costs_nothing_else(tmp_path, name, value):
    pytest.importorskip("av")
    result = enhanced(flac(tmp_path / "a.flac", (name, value)), tmp_path / "b.m4a", FORM)
    check(tmp_path, "b.m4a")
    assert f"the tag {name} is not kept" in result.warnings
    assert not {"trkn", "disk", "tmpo"} & set(mutagen.File(tmp_path / "b.m4a").tags)


@pytest.mark.parametrize("value", ["3/9", " 3 / 9 ", "03/09"])
def test_a_number_that_mp4_holds_is_kept(tmp_path, value):
    pytest.importorskip("av")
    result = enhanced(flac(tmp_path / "a.flac", ("TRACKNUMBER", value)), tmp_path / "b.m4a", FORM)
    assert mutagen.File(tmp_path / "b.m4a").tags["trkn"] == [(3, 9)]
    assert "TRACKNUMBER" not in result.warnings


@pytest.mark.parametrize("name", ["b.flac", "b.ogg", "b.mp3", "b.m4a", "b.wav"])
def test_a_cover_of_an_impossible_type_is_kept(tmp_path, name):
    pytest.importorskip("av")
    enhanced(flac(tmp_path / "a.flac", kind=4_000_000, mime="\u4e2d"), tmp_path / name, FORM)
    check(tmp_path, name)


@pytest.mark.parametrize("name", ["b.mp3", "b.wav"])
def test_a_comment_that_is_named_like_a_list_of_people_is_a_text(tmp_path, name):
    enhanced(flac(tmp_path / "a.flac", ("TIPL", "x"), ("TDRC", "someday")), tmp_path / name, FORM)
    check(tmp_path, name)
    if name == "b.mp3":
        assert mutagen.File(tmp_path / name).tags["TXXX:TIPL"].text == ["x"]


@pytest.mark.parametrize("name", ["b.flac", "b.m4a"])
def test_lists_of_people_and_foreign_names_of_id3_cost_nothing_else(tmp_path, name):
    pytest.importorskip("av")
    from mutagen.id3 import ID3, TIPL, TIT2, TXXX

    source = written(tmp_path / "a.mp3", format="MP3")
    id3 = ID3()
    id3.add(TIT2(encoding=3, text=["T"]))
    id3.add(TIPL(encoding=3, people=[["producer", "P"]]))
    id3.add(TXXX(encoding=3, desc="\u0432\u0435\u0434", text=["H"]))
    id3.save(source)
    result = enhanced(source, tmp_path / name, FORM)
    assert "does not hold TIPL" in result.warnings
    new = mutagen.File(tmp_path / name).tags
    if name == "b.m4a":
        assert new["\xa9nam"] == ["T"]
        enhanced(tmp_path / name, tmp_path / "c.mp3", FORM)
        assert ID3(tmp_path / "c.mp3")["TXXX:\u0412\u0415\u0414"].text == ["H"]
    else:
        assert new["title"] == ["T"]


def test_a_picture_that_flac_cannot_hold_costs_nothing_else(tmp_path):
    from mutagen.id3 import APIC, ID3, TIT2

    source = written(tmp_path / "a.mp3", format="MP3")
    id3 = ID3()
    id3.add(TIT2(encoding=3, text=["T"]))
    id3.add(APIC(encoding=3, mime="image/png", type=3, desc="", data=PNG + bytes(1 << 24)))
    id3.save(source)
    result = enhanced(source, tmp_path / "b.flac", FORM)
    assert mutagen.File(tmp_path / "b.flac").tags["title"] == ["T"]
    assert "a picture of more than 16 MB is not kept" in result.warnings


def cue_sheet(path, *, disc, title="T"):
    """A FLAC of half a second with tracks from 0 and from sample 5880 on, the latter with a pause of 588."""
    from mutagen.flac import FLAC, CueSheet, CueSheetTrack, CueSheetTrackIndex

    file = FLAC(written(path, 44_100, format="FLAC"))
    sheet = CueSheet(None)
    sheet.compact_disc, sheet.lead_in_samples = disc, 88_200 if disc else 0
    for number, start in ((1, 0), (2, 5880)):
        track = CueSheetTrack(number, start, b"DEABC2400001")
        track.indexes = [CueSheetTrackIndex(0, 0), CueSheetTrackIndex(1, 588)]
        sheet.tracks.append(track)
    sheet.tracks.append(CueSheetTrack(170 if disc else 255, file.info.total_samples))
    file.metadata_blocks.append(sheet)
    if title:
        file["TITLE"] = title
    file.save()
    return path


@pytest.mark.parametrize("disc", [True, False])
def test_a_cue_sheet_is_kept_in_flac(tmp_path, disc):
    source = cue_sheet(tmp_path / "a.flac", disc=disc)
    assert "cue sheet" not in enhanced(source, tmp_path / "b.flac").warnings
    assert mutagen.File(tmp_path / "b.flac").cuesheet == mutagen.File(source).cuesheet


def test_a_cue_sheet_follows_the_sample_rate(tmp_path):
    source = cue_sheet(tmp_path / "a.flac", disc=False)
    result = enhanced(source, tmp_path / "b.flac", OutputForm(sample_rate=24_000))
    assert "cue sheet" not in result.warnings
    new = mutagen.File(tmp_path / "b.flac")
    tracks = [(one.track_number, one.start_offset, one.indexes) for one in new.cuesheet.tracks]
    indexes = [(0, 0), (1, 320)]
    assert tracks == [(1, 0, indexes), (2, 3200, indexes), (255, new.info.total_samples, [])]
    assert {one.isrc for one in new.cuesheet.tracks[:2]} == {b"DEABC2400001"}


def test_a_cue_sheet_of_a_compact_disc_is_named_where_the_rate_changes(tmp_path):
    source = cue_sheet(tmp_path / "a.flac", disc=True)
    result = enhanced(source, tmp_path / "b.flac", OutputForm(sample_rate=24_000))
    assert "the cue sheet is not kept" in result.warnings
    assert mutagen.File(tmp_path / "b.flac").cuesheet is None
    assert mutagen.File(tmp_path / "b.flac").tags["title"] == ["T"]


@pytest.mark.parametrize(
    ("name", "title"),
    [*((name, "T") for name in [*NAMES[1:], "b.mka", "b.webm", "b.mov"]), ("b.ogg", ""), ("b.wav", "")],
)
def test_a_cue_sheet_that_does_not_go_in_is_named(tmp_path, name, title):
    if name in ("b.m4a", "b.mkv", "b.mka", "b.webm", "b.mov"):
        pytest.importorskip("av")
    source = cue_sheet(tmp_path / "a.flac", disc=False, title=title)
    warnings = enhanced(source, tmp_path / name, OutputForm(sample_rate=48_000)).warnings
    assert warnings.count("the cue sheet") == 1
    assert "does not hold" in warnings


@pytest.mark.parametrize("name", ["b.flac", "b.mp3", "b.wav", "b.caf"])
def test_tags_that_mutagen_cannot_read_are_read_by_others(tmp_path, monkeypatch, name):
    pytest.importorskip("av")
    source = flac(tmp_path / "a.flac")
    opened = tag_reading.open_tags
    for module in (tag_reading, tag_copying):
        monkeypatch.setattr(
            module, "open_tags", lambda path, *rest: None if path == source else opened(path, *rest)
        )
    result = enhanced(source, tmp_path / name, FORM)
    assert "damaged tags are not kept: some of its tags" in result.warnings
    with soundfile.SoundFile(tmp_path / name) as file:
        assert file.title == "T"


@pytest.mark.parametrize("error", [RuntimeError, mutagen.MutagenError, KeyboardInterrupt])
def test_nothing_is_left_behind_by_what_cannot_be_opened(tmp_path, monkeypatch, error):
    def broken(*_):
        raise error("no")

    monkeypatch.setattr(writer.AudioWriter, "_open", broken)
    source = written(tmp_path / "a.wav")
    task = Task(source, tmp_path / "b.wav")
    if issubclass(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            enhance_file(task, identity_enhancer())
    else:
        assert enhance_file(task, identity_enhancer()).status != "enhanced"
    assert not list(tmp_path.glob(".slimclean-*"))
