"""What is attached to a recording, seen by independent readers: mutagen, FFmpeg, and a walk over chunks."""

from __future__ import annotations

import io
import struct
import sys

import numpy as np
import pytest
import soundfile
from conftest import identity_enhancer, voice

from slimclean import audio
from slimclean.audio import OutputForm
from slimclean.audio.tags.code_pages import decoded
from slimclean.audio.tags.reading import read as read_attached
from slimclean.batch.recording import enhance_file
from slimclean.batch.task import Task
from slimclean.errors import UsageError

mutagen = pytest.importorskip("mutagen")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
PCM = struct.pack("<H", 1) + bytes.fromhex("000000001000800000aa00389b71")
AMBISONIC = struct.pack("<I", 1) + bytes.fromhex("2107d3118644c8c1ca000000")


def enhanced(source, destination, form=None):
    result = enhance_file(Task(source, destination), identity_enhancer(), form)
    assert result.status == "enhanced", result.error
    return result


def written(path, rate=16_000, seconds=0.5, channels=1, **options):
    x = np.stack([voice(seconds, rate, seed) for seed in range(channels)], axis=1)
    soundfile.write(path, x, rate, **options)
    return path


# --- RIFF and AIFF --------------------------------------------------------------------------------


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def riff(*chunks):
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def fmt(rate=48_000, channels=1, bits=16, kind=1, extra=b""):
    block = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", kind, channels, rate, rate * block, block, bits) + extra)


def pcm(rate=48_000, channels=1):
    x = np.stack([voice(0.5, rate, seed) for seed in range(channels)], axis=1)
    return chunk(b"data", (x * 32767).astype("<i2").tobytes())


def chunks_of(path):
    """[(name, content)] of a RIFF file, whose sizes must agree."""
    data = path.read_bytes()
    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8
    at, found = 12, []
    while at < len(data):
        size = struct.unpack_from("<I", data, at + 4)[0]
        found.append((data[at : at + 4], data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    assert at == len(data)
    return found


def scene(path):
    bext = struct.pack(
        "<256s32s32s10s8sQH64s5h180x", b"Scene 1", b"Recorder", b"REF", b"2024-05-01", b"10:11:12",
        48_000 * 36_000, 2, bytes(64), *[-2300] * 5,
    ) + b"A=PCM,F=48000,W=16,M=mono,T=Recorder\r\n"  # fmt: skip
    ixml = (
        b"<BWFXML><SPEED><FILE_SAMPLE_RATE>48000</FILE_SAMPLE_RATE><TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_HI>1"
        b"</TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_HI><TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_LO>0"
        b"</TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_LO></SPEED></BWFXML>"
    )
    cue = struct.pack("<I", 2) + b"".join(
        struct.pack("<II4sIII", k, 4000 * k, b"data", 0, 0, 4000 * k) for k in (1, 2)
    )
    adtl = b"adtl" + chunk(b"labl", struct.pack("<I", 1) + b"Question\0")
    adtl += chunk(b"ltxt", struct.pack("<II4sHHHH", 1, 2400, b"rgn ", 0, 0, 0, 0))
    smpl = struct.pack("<9I", 0, 0, 20_833, 60, 0, 0, 0, 1, 0) + struct.pack("<6I", 0, 0, 480, 960, 0, 0)
    path.write_bytes(
        riff(
            chunk(b"bext", bext), chunk(b"iXML", ixml), fmt(), pcm(), chunk(b"cue ", cue), chunk(b"LIST", adtl),
            chunk(b"smpl", smpl), chunk(b"JUNK", bytes(30)), chunk(b"abcd", b"odd"),
        )
    )  # fmt: skip
    return path


def test_chunks_of_a_broadcast_wave_are_kept(tmp_path):
    source = scene(tmp_path / "a.wav")
    enhanced(source, tmp_path / "b.wav")
    old, new = dict(chunks_of(source)), dict(chunks_of(tmp_path / "b.wav"))
    order = [name for name, _ in chunks_of(tmp_path / "b.wav")]
    assert order == [b"fmt ", b"bext", b"iXML", b"data", b"cue ", b"LIST", b"smpl", b"abcd"]
    for name in (b"iXML", b"cue ", b"LIST", b"smpl", b"abcd"):
        assert new[name] == old[name]
    assert new[b"bext"][:412] == old[b"bext"][:412]
    assert struct.unpack_from("<5h", new[b"bext"], 412) == (0x7FFF,) * 5  # no longer what was measured
    history = new[b"bext"][602:].rstrip(b"\0").decode().split("\r\n")
    assert history == ["A=PCM,F=48000,W=16,M=mono,T=Recorder", "A=PCM,F=48000,W=16,M=mono,T=slimclean", ""]


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_a_private_wave_stays_private(tmp_path):
    source = scene(tmp_path / "a.wav")
    source.chmod(0o600)
    enhanced(source, tmp_path / "b.wav")
    assert (tmp_path / "b.wav").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "b.wav"]


def test_positions_in_samples_follow_the_sample_rate(tmp_path):
    enhanced(scene(tmp_path / "a.wav"), tmp_path / "b.wav", OutputForm(sample_rate=16_000))
    new = dict(chunks_of(tmp_path / "b.wav"))
    assert struct.unpack_from("<Q", new[b"bext"], 338)[0] == 16_000 * 36_000
    assert struct.unpack_from("<6I", new[b"cue "], 4)[1::4] == (round(4000 / 3), round(4000 / 3))
    assert struct.unpack_from("<I", new[b"LIST"], new[b"LIST"].index(b"ltxt") + 12)[0] == 800
    assert struct.unpack_from("<II", new[b"smpl"], 36 + 8) == (160, 320)
    assert struct.unpack_from("<I", new[b"smpl"], 8)[0] == 62_500
    assert b"<FILE_SAMPLE_RATE>16000<" in new[b"iXML"]
    time = (1 << 32) // 3
    assert b"_HI>%d<" % (time >> 32) in new[b"iXML"]
    assert abs(int(new[b"iXML"].split(b"_LO>")[1].split(b"<")[0]) - time) <= 1


def test_what_another_container_cannot_hold_is_said(tmp_path):
    result = enhanced(scene(tmp_path / "a.wav"), tmp_path / "b.flac")
    assert "FLAC does not hold bext, iXML, cue, smpl, abcd" in result.warnings


@pytest.mark.parametrize(
    ("name", "channels", "mask", "guid"),
    [
        ("5.1-side", 6, 0x60F, PCM),
        ("7.1-side", 8, 0x63F, PCM),
        ("quad-discrete", 4, 0, PCM),
        ("left-only", 1, 1, PCM),
        ("ambisonic", 4, 0, AMBISONIC),
    ],
)
def test_channel_masks_and_ambisonics_are_kept(tmp_path, name, channels, mask, guid):
    source = tmp_path / "a.wav"
    source.write_bytes(
        riff(fmt(48_000, channels, 16, 0xFFFE, struct.pack("<HHI", 22, 16, mask) + guid), pcm(48_000, channels))
    )
    enhanced(source, tmp_path / "b.wav")
    assert dict(chunks_of(tmp_path / "b.wav"))[b"fmt "] == dict(chunks_of(source))[b"fmt "]
    enhanced(source, tmp_path / "b.flac")
    tag = mutagen.File(tmp_path / "b.flac").tags.get("waveformatextensible_channel_mask")
    assert tag == ([f"0x{mask:04X}"] if mask else None)
    enhanced(source, tmp_path / "c.wav", OutputForm(mono=True))
    assert soundfile.info(tmp_path / "c.wav").channels == 1


def test_valid_bits_are_kept(tmp_path):
    whole = (voice(0.5, 48_000) * 2**23).astype("<i4") << 8
    source = tmp_path / "a.wav"
    head = fmt(48_000, 1, 32, 0xFFFE, struct.pack("<HHI", 22, 24, 4) + PCM)
    source.write_bytes(riff(head, chunk(b"data", whole.tobytes())))
    enhanced(source, tmp_path / "b.wav")
    new = dict(chunks_of(tmp_path / "b.wav"))
    assert new[b"fmt "] == dict(chunks_of(source))[b"fmt "]
    assert not np.any(np.frombuffer(new[b"data"], "<i4") & 0xFF)


def test_texts_of_old_code_pages_survive_as_bytes_or_become_right(tmp_path):
    for number, (title, page) in enumerate(
        (("Gespräch Müller", "latin-1"), ("山田のはなし", "shift-jis"), ("Интервью", "cp1251"))
    ):
        source = tmp_path / f"{number}.wav"
        info = b"INFO" + chunk(b"INAM", title.encode(page) + b"\0") + chunk(b"ICMT", b"x" * 3000 + b"\0")
        source.write_bytes(riff(fmt(), pcm(), chunk(b"LIST", info)))
        enhanced(source, tmp_path / f"{number}-b.wav")
        assert (b"LIST", info) in chunks_of(tmp_path / f"{number}-b.wav")
        enhanced(source, tmp_path / f"{number}.flac")
        tags = mutagen.File(tmp_path / f"{number}.flac").tags
        assert (tags["title"], tags["comment"]) == ([title], ["x" * 3000])


def test_code_pages_are_told_apart():
    for text, page in (
        ("Ünïcödé", "utf-8"),
        ("東京タワー", "cp932"),
        ("Привет мир", "cp1251"),
        ("Café à gogo", "cp1252"),
    ):
        assert decoded([text.encode(page), b"plain"]) == [text, "plain"]


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("b.au", "AU does not hold TITLE, LOCATION"),
        ("b.w64", "W64 does not hold TITLE"),
        ("b.caf", "CAF does not hold LOCATION"),
    ],
)
def test_tags_that_a_container_has_no_place_for_are_named(tmp_path, name, lost):
    source = tmp_path / "a.flac"
    written(source, 48_000, format="FLAC")
    file = mutagen.File(source)
    if file.tags is None:
        file.add_tags()
    file.tags.extend([("TITLE", "T"), ("LOCATION", "Town")])
    file.save()
    assert lost in enhanced(source, tmp_path / name).warnings
    if name == "b.caf":
        assert read_attached(tmp_path / name).texts == [("TITLE", "T")]


@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.m4a"])
def test_covers_that_webm_has_no_place_for_are_named(tmp_path, name):
    pytest.importorskip("av")
    from mutagen import flac

    picture = flac.Picture()
    picture.data, picture.mime, picture.type = PNG, "image/png", 3
    tagged = flac.FLAC(written(tmp_path / "first.flac", 48_000, format="FLAC"))
    tagged.add_picture(picture)
    tagged.save()
    enhanced(tmp_path / "first.flac", tmp_path / name)
    told = "the cover is not kept" if name == "a.m4a" else "WEBM does not hold covers"
    assert told in enhanced(tmp_path / name, tmp_path / "b.webm").warnings
    assert "cover" not in enhanced(tmp_path / name, tmp_path / "b.mka").warnings


@pytest.mark.parametrize("name", ["b.rf64", "b.wav"])
def test_chunks_go_along_into_rf64_and_out_of_it(tmp_path, name):
    source = tmp_path / "a.wav"
    if name == "b.rf64":
        scene(source)
    else:
        enhanced(scene(tmp_path / "first.wav"), tmp_path / "a.rf64")
        source = tmp_path / "a.rf64"
    form = OutputForm(extension=".wav") if name == "b.wav" else None
    enhanced(source, tmp_path / name, form)
    data = (tmp_path / name).read_bytes()
    assert data[:4] == b"RF64"  # a WAV of this kind stays one
    assert struct.unpack_from("<Q", data, 20)[0] == len(data) - 8
    for mark in (b"bext", b"iXML", b"cue ", b"Question"):
        assert mark in data
    assert data.index(b"bext") < data.index(b"data", 60) < data.index(b"cue ")
    assert audio.read(tmp_path / name)[0].shape == (1, 24_000)


def test_a_chunk_of_zeros_costs_nothing(tmp_path):
    source = tmp_path / "a.wav"
    source.write_bytes(riff(fmt(), chunk(b"LIST", bytes(393_164)), pcm()))
    enhanced(source, tmp_path / "b.wav")
    assert soundfile.info(tmp_path / "b.wav").frames == 24_000


def test_markers_of_aiff_follow_the_sample_rate(tmp_path):
    written(tmp_path / "a.aiff", 48_000)
    data = bytearray((tmp_path / "a.aiff").read_bytes())
    mark = struct.pack(">HHI", 1, 7, 4800) + b"\x04here\0" + b""
    data += b"MARK" + struct.pack(">I", len(mark)) + mark + b"NAME" + struct.pack(">I", 4) + b"Take"
    struct.pack_into(">I", data, 4, len(data) - 8)
    (tmp_path / "a.aiff").write_bytes(data)
    enhanced(tmp_path / "a.aiff", tmp_path / "b.aiff", OutputForm(sample_rate=24_000))
    new = (tmp_path / "b.aiff").read_bytes()
    assert mark.replace(struct.pack(">I", 4800), struct.pack(">I", 2400)) in new
    assert b"NAME" + struct.pack(">I", 4) + b"Take" in new
    assert struct.unpack_from(">I", new, 4)[0] == len(new) - 8


# --- ID3, Vorbis comments, MP4 --------------------------------------------------------------------


def tagged_mp3(path, version=3):
    from mutagen import id3

    written(path, 44_100, 2.0, format="MP3")
    tags = id3.ID3()
    for frame in (
        id3.TIT2(encoding=1, text=["Выпуск 1"]),
        id3.TPE1(encoding=1, text=["A", "山田"]),
        id3.APIC(encoding=0, mime="image/png", type=3, desc="", data=PNG),
        id3.USLT(encoding=1, lang="eng", desc="", text="La la"),
        id3.COMM(encoding=1, lang="deu", desc="Notiz", text=["ü" * 70_000]),
        id3.WOAS(url="https://example.org"),
        id3.TXXX(encoding=0, desc="replaygain_track_gain", text=["-7 dB"]),
        id3.PRIV(owner="x", data=b"\1\2"),
        id3.CHAP(element_id="c0", start_time=0, end_time=900, start_offset=10, end_offset=99,
                 sub_frames=[id3.TIT2(encoding=1, text=["Eins"])]),
        id3.CHAP(element_id="c1", start_time=900, end_time=2000, start_offset=99, end_offset=200,
                 sub_frames=[id3.TIT2(encoding=1, text=["Zwei"])]),
        id3.CTOC(element_id="toc", flags=3, child_element_ids=["c0", "c1"], sub_frames=[]),
    ):  # fmt: skip
        tags.add(frame)
    tags.save(path, v2_version=version)
    return path


def test_everything_of_id3_is_kept(tmp_path):
    from mutagen.id3 import ID3

    source = tagged_mp3(tmp_path / "a.mp3")
    enhanced(source, tmp_path / "b.mp3")
    old, new = (ID3(path, translate=False) for path in (source, tmp_path / "b.mp3"))
    assert new.version == old.version == (2, 3, 0)
    assert set(old) - set(new) == {"TXXX:replaygain_track_gain"}
    for key in new:
        if not key.startswith("CHAP"):
            assert new[key] == old[key]
    assert [new[f"CHAP:c{k}"].start_time for k in (0, 1)] == [0, 900]
    assert new["CHAP:c1"].sub_frames["TIT2"].text == ["Zwei"]
    assert new["CHAP:c1"].start_offset == 0xFFFF_FFFF


def test_id3_becomes_vorbis_comments_and_mp4(tmp_path):
    source = tagged_mp3(tmp_path / "a.mp3", 4)
    for name in ("b.flac", "b.ogg", "b.opus"):
        enhanced(source, tmp_path / name, OutputForm(sample_rate=48_000))
        tags = mutagen.File(tmp_path / name).tags
        assert (tags["title"], tags["artist"], tags["lyrics"]) == (["Выпуск 1"], ["A", "山田"], ["La la"])
        assert (tags["chapter002"], tags["chapter002name"]) == (["00:00:00.900"], ["Zwei"])
        assert not [key for key, _ in tags if key.startswith("replaygain")]
    assert mutagen.File(tmp_path / "b.flac").pictures[0].data == PNG
    pytest.importorskip("av")
    enhanced(source, tmp_path / "b.m4a")
    tags = mutagen.File(tmp_path / "b.m4a").tags
    assert (tags["\xa9nam"], tags["\xa9ART"]) == (["Выпуск 1"], ["A", "山田"])
    assert bytes(tags["covr"][0]) == PNG
    assert [c.title for c in mutagen.File(tmp_path / "b.m4a").chapters] == ["Eins", "Zwei"]


def tagged_flac(path):
    from mutagen.flac import FLAC, Picture

    written(path, 48_000, format="FLAC")
    file = FLAC(path)
    if file.tags is None:
        file.add_tags()
    pairs = [("TITLE", "Hello"), ("ARTIST", "A"), ("ARTIST", "B"), ("DESCRIPTION", "oral history"),
             ("LOCATION", "Тверь"), ("COMMENT", "Shownotes " * 7000), ("CHAPTER001", "00:00:00.100"),
             ("CHAPTER001NAME", "Two"),
             ("REPLAYGAIN_TRACK_GAIN", "-3 dB"), ("R128_TRACK_GAIN", "256")]  # fmt: skip
    for pair in pairs:
        file.tags.append(pair)
    picture = Picture()
    picture.data, picture.mime, picture.type, picture.desc = PNG, "image/png", 3, "Titelbild"
    file.add_picture(picture)
    file.save()
    return path, pairs[:-2]


@pytest.mark.parametrize("name", ["b.flac", "b.ogg", "b.opus"])
def test_vorbis_comments_are_kept_in_order_and_repeated(tmp_path, name):
    from mutagen.flac import Picture

    source, pairs = tagged_flac(tmp_path / "a.flac")
    enhanced(source, tmp_path / name)
    for path in (tmp_path / name, tmp_path / f"c-{name}"):
        new = mutagen.File(path)
        texts = [pair for pair in new.tags if pair[0] != "METADATA_BLOCK_PICTURE"]
        assert texts == pairs
        if name == "b.flac":
            picture = new.pictures[0]
        else:
            import base64

            picture = Picture(base64.b64decode(new.tags["METADATA_BLOCK_PICTURE"][0]))
        assert (picture.data, picture.desc) == (PNG, "Titelbild")
        if path == tmp_path / name:
            enhanced(path, tmp_path / f"c-{name}")  # and once more within its own kind


def test_vorbis_comments_become_id3_and_info(tmp_path):
    from mutagen.id3 import ID3

    source, _ = tagged_flac(tmp_path / "a.flac")
    enhanced(source, tmp_path / "b.mp3")
    tags = ID3(tmp_path / "b.mp3")
    assert (tags["TIT2"].text, tags["TPE1"].text) == (["Hello"], ["A", "B"])
    assert (tags["TXXX:LOCATION"].text, tags["TXXX:DESCRIPTION"].text) == (["Тверь"], ["oral history"])
    assert tags.getall("APIC")[0].data == PNG
    assert tags["CHAP:chp0"].start_time == 100
    enhanced(source, tmp_path / "b.wav")
    chunks = dict(chunks_of(tmp_path / "b.wav"))
    assert b"INAM" + struct.pack("<I", 6) + b"Hello\0" in chunks[b"LIST"]
    assert b"id3 " in chunks
    enhanced(tmp_path / "b.wav", tmp_path / "c.flac")
    assert mutagen.File(tmp_path / "c.flac").tags["location"] == ["Тверь"]


def test_everything_of_m4a_is_kept(tmp_path):
    pytest.importorskip("av")
    from mutagen.mp4 import MP4, MP4Cover, MP4FreeForm

    written(tmp_path / "a.wav", 44_100)
    enhanced(tmp_path / "a.wav", tmp_path / "a.m4a")
    file = MP4(tmp_path / "a.m4a")
    if file.tags is None:
        file.add_tags()
    file.tags.update(
        {
            "\xa9nam": ["Folge"], "\xa9ART": ["A", "B"], "\xa9lyr": ["La"],
            "covr": [MP4Cover(PNG, MP4Cover.FORMAT_PNG)],
            "trkn": [(3, 9)], "----:com.apple.iTunes:LOCATION": [MP4FreeForm("Тверь".encode())],
            "----:com.apple.iTunes:replaygain_track_gain": [MP4FreeForm(b"-7 dB")],
            "----:com.apple.iTunes:iTunSMPB": [MP4FreeForm(b" 00000000")],
        }
    )  # fmt: skip
    file.save()
    enhanced(tmp_path / "a.m4a", tmp_path / "b.m4a")
    old, new = MP4(tmp_path / "a.m4a").tags, MP4(tmp_path / "b.m4a").tags
    gone = {"----:com.apple.iTunes:replaygain_track_gain", "----:com.apple.iTunes:iTunSMPB"}
    assert set(old) - set(new) <= gone | {"\xa9too"}
    assert not gone & set(new)
    for key in set(new) - {"\xa9too"}:
        assert new[key] == old[key]


def test_films_and_matroska_get_what_recordings_had_attached(tmp_path):
    av = pytest.importorskip("av")
    source, _ = tagged_flac(tmp_path / "a.flac")
    for name in ("b.mkv", "b.mka"):
        enhanced(source, tmp_path / name)
        with av.open(str(tmp_path / name)) as film:
            tags = {key.lower(): value for key, value in film.metadata.items()}
            assert (tags["title"], tags["artist"], tags["location"]) == ("Hello", "A; B", "Тверь")
            assert [chapter["metadata"]["title"] for chapter in film.chapters()] == ["Two"]
            assert film.streams.video[0].disposition & av.stream.Disposition.attached_pic
    enhanced(tmp_path / "b.mkv", tmp_path / "c.mkv")
    enhanced(tmp_path / "b.mkv", tmp_path / "c.mka")
    for name in ("c.mkv", "c.mka"):
        with av.open(str(tmp_path / name)) as film:
            (cover,) = film.streams.video
            assert next(bytes(packet) for packet in film.demux(cover) if packet.size) == PNG
            assert cover.metadata["mimetype"] == "image/png"


def test_the_cover_of_a_film_is_kept(tmp_path):
    pytest.importorskip("av")
    from audio.films import make_film, packets
    from mutagen.mp4 import MP4, MP4Cover

    source = make_film(tmp_path / "a.mp4", "aac", np.stack([voice(1.0, 48_000)]), metadata={"title": "T"})
    file = MP4(source)
    file.tags["covr"] = [MP4Cover(PNG, MP4Cover.FORMAT_PNG)]
    file.save()
    enhanced(source, tmp_path / "b.mp4")
    enhanced(source, tmp_path / "c.mkv")
    enhanced(tmp_path / "c.mkv", tmp_path / "d.mp4")
    for name in ("b.mp4", "d.mp4"):
        assert bytes(MP4(tmp_path / name).tags["covr"][0]) == PNG
        assert MP4(tmp_path / name).tags["\xa9nam"] == ["T"]
        moving = [packet for packet in packets(source, "video") if packet[1] != PNG]
        assert [packet for packet in packets(tmp_path / name, "video") if packet[1] != PNG] == moving


def test_a_tag_never_costs_the_sound(tmp_path, monkeypatch):
    source = tagged_mp3(tmp_path / "a.mp3")

    def broken(*_):
        raise MemoryError("too much")

    monkeypatch.setattr("slimclean.audio.tags.copying._copy_id3", broken)
    result = enhanced(source, tmp_path / "b.mp3")
    assert "some tags are not kept (too much)" in result.warnings
    assert soundfile.info(tmp_path / "b.mp3").frames > 80_000


def test_without_mutagen_the_sound_is_written_and_the_cure_named(tmp_path, monkeypatch):
    source, _ = tagged_flac(tmp_path / "a.flac")
    tagged_mp3(tmp_path / "tagged.mp3")
    monkeypatch.setitem(sys.modules, "mutagen", None)
    result = enhanced(source, tmp_path / "b.flac")
    assert "pip install 'slimclean[tags]'" in result.warnings
    written(tmp_path / "plain.flac", 48_000, format="FLAC")
    with soundfile.SoundFile(tmp_path / "plain.mp3", "w", 48_000, 1) as file:
        file.title = "T"
        file.write(voice(0.5, 48_000))
    for name in ("plain.flac", "plain.mp3"):
        assert "slimclean[tags]" not in enhanced(tmp_path / name, tmp_path / f"b-{name}").warnings
    rich = enhanced(tmp_path / "tagged.mp3", tmp_path / "c.mp3").warnings
    assert "slimclean[tags]" in rich
    assert ("TITLE", "Hello") in read_attached(tmp_path / "b.flac").texts


# --- encodings ------------------------------------------------------------------------------------


def payload_kbits(path):
    av = pytest.importorskip("av")
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        sizes = [(p.size, (p.duration or 0) * p.time_base) for p in file.demux(stream) if p.size]
    return 8 * sum(size for size, _ in sizes) / float(sum(length for _, length in sizes)) / 1000


@pytest.mark.parametrize(
    ("name", "rate", "channels", "level"),
    [
        ("a.mp3", 44_100, 2, 0.0), ("a.mp3", 44_100, 1, 0.8), ("a.mp3", 22_050, 1, 0.5),
        ("a.mp3", 11_025, 1, 0.3),
        ("a.opus", 48_000, 2, 0.97), ("a.opus", 48_000, 1, 0.5), ("a.opus", 16_000, 1, 0.9),
        ("a.ogg", 44_100, 2, 0.2), ("a.ogg", 48_000, 1, 0.9), ("a.ogg", 22_050, 1, 0.5),
    ],
)  # fmt: skip
def test_bit_rates_are_kept(tmp_path, name, rate, channels, level):
    rng = np.random.default_rng(0)
    x = np.stack([voice(4.0, rate, seed) for seed in range(channels)], axis=1)
    x = x + 0.01 * rng.normal(size=x.shape)
    kind = {
        "a.mp3": ("MP3", None, "CONSTANT"),
        "a.opus": ("OGG", "OPUS", None),
        "a.ogg": ("OGG", "VORBIS", None),
    }[name]
    options = dict(zip(("format", "subtype", "bitrate_mode"), kind, strict=True))
    with soundfile.SoundFile(tmp_path / name, "w", rate, channels, compression_level=level, **options) as file:
        for start in range(0, len(x), 4096):
            file.write(x[start : start + 4096])
    enhanced(tmp_path / name, tmp_path / f"b-{name}")
    assert payload_kbits(tmp_path / f"b-{name}") == pytest.approx(payload_kbits(tmp_path / name), rel=0.2)
    info = soundfile.info(tmp_path / f"b-{name}")
    assert (info.samplerate, info.channels) == (rate, channels)
    if name != "a.mp3":
        assert info.frames == soundfile.info(tmp_path / name).frames


@pytest.mark.parametrize(("name", "kbits"), [("b.mp3", 96), ("b.opus", 24), ("b.ogg", 96), ("b.m4a", 96)])
def test_a_bit_rate_is_set_on_request(tmp_path, name, kbits):
    rng = np.random.default_rng(0)
    x = voice(4.0, 48_000) + 0.01 * rng.normal(size=4 * 48_000)
    soundfile.write(tmp_path / "a.wav", x, 48_000)
    enhanced(tmp_path / "a.wav", tmp_path / name, OutputForm(bit_rate=1000 * kbits))
    assert payload_kbits(tmp_path / name) == pytest.approx(kbits, rel=0.2)


def test_opus_of_six_channels_with_one_voice_keeps_its_bit_rate(tmp_path):
    x = np.zeros((2 * 48_000, 6))
    x[:, 1] = voice(2.0, 48_000)
    options = {"format": "OGG", "subtype": "OPUS", "compression_level": 0.92}
    with soundfile.SoundFile(tmp_path / "a.opus", "w", 48_000, 6, **options) as file:
        for start in range(0, len(x), 4096):
            file.write(x[start : start + 4096])
    kbits = payload_kbits(tmp_path / "a.opus")
    assert kbits < 60  # at which six channels would take 9 kbit/s each
    enhanced(tmp_path / "a.opus", tmp_path / "b.opus")
    assert payload_kbits(tmp_path / "b.opus") < 1.2 * kbits


@pytest.mark.parametrize(
    ("name", "kbits", "cure"),
    [
        ("b.opus", 1000, "`bit_rate` 256000"), ("b.opus", 4, "`bit_rate` 6000"),
        ("b.mp3", 1000, "`bit_rate` 320000"), ("b.mp3", 4, "`bit_rate` 32000"),
        ("b.ogg", 1000, "`bit_rate` "), ("b.ogg", 4, "`bit_rate` "),
        ("b.m4a", 1000, "`bit_rate` 240000"), ("b.m4a", 4, "`bit_rate` 16000"),
        ("b.webm", 1000, "`bit_rate` 256000"),
    ],
)  # fmt: skip
def test_a_bit_rate_that_a_codec_does_not_have_is_refused_before_the_work(tmp_path, name, kbits, cure):
    if name in ("b.m4a", "b.webm"):
        pytest.importorskip("av")
    written(tmp_path / "a.wav", 48_000)
    form = OutputForm(bit_rate=1000 * kbits)
    result = enhance_file(Task(tmp_path / "a.wav", tmp_path / name), identity_enhancer(), form)
    assert result.status == "failed"
    assert cure in result.error
    assert f"not {kbits}" in result.error
    assert result.level_in_dbfs is None
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize("name", ["b.wav", "b.flac", "b.aiff"])
def test_a_bit_rate_of_what_is_lossless_is_remarked(tmp_path, name):
    written(tmp_path / "a.wav")
    result = enhanced(tmp_path / "a.wav", tmp_path / name, OutputForm(bit_rate=96_000))
    assert "`bit_rate` is not used" in result.warnings


@pytest.mark.parametrize("asked", [{"extension": ".wav"}, {"extension": ".flac"}, {"subtype": "PCM_24"}])
def test_a_bit_rate_beside_a_lossless_form_is_refused(asked):
    with pytest.raises(UsageError, match="has no `bit_rate`"):
        OutputForm(bit_rate=96_000, **asked)


@pytest.mark.parametrize(
    ("name", "channels", "rate", "cure"),
    [
        ("b.flac", 9, 16_000, "`mono`"),
        ("b.mp3", 1, 96_000, "`sample_rate` 48000"),
        ("b.mp3", 3, 48_000, "`mono`"),
        ("b.opus", 1, 44_100, "`sample_rate` 48000"),
        ("b.ogg", 1, 384_000, "`sample_rate` 48000"),
        ("b.flac", 1, 768_000, "`sample_rate` 48000"),
        ("b.m4a", 1, 192_000, "`sample_rate` 96000"),
        ("b.m4a", 9, 48_000, "`mono`"),
        ("b.webm", 1, 44_100, "`sample_rate` 48000"),
    ],
)
def test_what_an_encoding_cannot_hold_is_refused_before_the_work(tmp_path, name, channels, rate, cure):
    if name in ("b.m4a", "b.webm"):
        pytest.importorskip("av")
    soundfile.write(tmp_path / "a.wav", np.zeros((1000, channels), np.float32), rate)
    result = enhance_file(Task(tmp_path / "a.wav", tmp_path / name), identity_enhancer())
    assert result.status == "failed"
    assert cure in result.error
    assert result.level_in_dbfs is None
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize("subtype", ["PCM_24", "PCM_32", "FLOAT"])
def test_deep_sound_stays_deep_in_flac_and_alac(tmp_path, subtype):
    x = voice(0.5, 48_000)
    soundfile.write(tmp_path / "a.wav", x, 48_000, subtype)
    enhanced(tmp_path / "a.wav", tmp_path / "b.flac")
    assert soundfile.info(tmp_path / "b.flac").subtype == "PCM_24"
    pytest.importorskip("av")
    enhanced(tmp_path / "a.wav", tmp_path / "b.m4a", OutputForm(subtype="ALAC"))
    assert audio.probe(tmp_path / "b.m4a").bits_per_sample == 24
    for name in ("b.flac", "b.m4a"):
        assert np.abs(audio.read(tmp_path / name)[0][0] - x).max() < 2**-22


@pytest.mark.parametrize(
    ("name", "kbits"), [("b.mp3", 32), ("b.mp3", 64), ("b.mp3", 192), ("b.mp3", 320), ("b.mkv", 96)]
)
def test_mp3_of_a_bit_rate_is_as_loud_as_its_input(tmp_path, name, kbits):
    t = np.arange(44_100) / 44_100
    x = np.sin(2 * np.pi * 500 * t) / 2 + np.sin(2 * np.pi * 1530 * t) / 4
    soundfile.write(tmp_path / "a.wav", x, 44_100, "FLOAT")
    if name == "b.mkv":
        pytest.importorskip("av")
        soundfile.write(tmp_path / "a.mp3", x, 44_100)
    source = tmp_path / ("a.mp3" if name == "b.mkv" else "a.wav")
    enhanced(source, tmp_path / name, OutputForm(bit_rate=1000 * kbits))
    given, made = (audio.read(path)[0][0, 8000:36_000] for path in (source, tmp_path / name))
    assert 10 * np.log10(np.mean(made**2) / np.mean(given**2)) == pytest.approx(0, abs=0.1)


def tones(channels, rate=48_000):
    """[T, C], each channel with a tone of its own, the bass channel's included below 120 Hz."""
    t = np.arange(rate) / rate
    return np.stack([0.2 * np.sin(2 * np.pi * (50 + 8 * channel) * t) for channel in range(channels)], axis=1)


def pitches(x):
    return [int(np.abs(np.fft.rfft(channel[:48_000])).argmax()) for channel in x]


@pytest.mark.parametrize("channels", [3, 6])
@pytest.mark.parametrize(("name", "form"), [("b.ogg", None), ("b.opus", None), ("b.mkv", "VORBIS")])
def test_channels_stay_in_their_places_between_wav_and_ogg(tmp_path, channels, name, form):
    av = pytest.importorskip("av")
    soundfile.write(tmp_path / "a.wav", tones(channels), 48_000)
    enhanced(tmp_path / "a.wav", tmp_path / name, OutputForm(subtype=form))
    with av.open(str(tmp_path / name)) as file:  # which puts them into WAVE's order itself
        seen = np.concatenate([frame.to_ndarray() for frame in file.decode(audio=0)], axis=1)
    wanted = [50 + 8 * channel for channel in range(channels)]
    assert pitches(seen) == wanted
    enhanced(tmp_path / name, tmp_path / "c.wav")
    assert pitches(audio.read(tmp_path / "c.wav")[0]) == wanted


@pytest.mark.parametrize(("mask", "name"), [(0x3F, "5.1"), (0x60F, "5.1(side)"), (0, None)])
def test_the_channel_layout_of_a_wav_is_that_of_its_mask(tmp_path, mask, name):
    extra = struct.pack("<HHI", 22, 16, mask) + PCM
    (tmp_path / "a.wav").write_bytes(riff(fmt(channels=6, kind=0xFFFE, extra=extra), pcm(channels=6)))
    assert audio.probe(tmp_path / "a.wav").channel_layout == name
    enhanced(tmp_path / "a.wav", tmp_path / "b.flac")
    assert audio.probe(tmp_path / "b.flac").channel_layout == "5.1"


def test_two_covers_without_descriptions_both_reach_a_wav(tmp_path):
    av = pytest.importorskip("av")
    from mutagen import mp4, wave

    with av.open(str(tmp_path / "a.m4a"), "w", format="ipod") as file:
        stream = file.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(voice(0.5, 48_000)[None].astype("f"), format="fltp", layout="mono")
        frame.rate = 48_000
        file.mux([*stream.encode(frame), *stream.encode(None)])
    tagged = mp4.MP4(tmp_path / "a.m4a")
    tagged["covr"] = [mp4.MP4Cover(PNG + bytes([n]), mp4.MP4Cover.FORMAT_PNG) for n in range(2)]
    tagged["tmpo"], tagged["cpil"], tagged["stik"], tagged["\xa9too"] = [99], True, [2], ["Old encoder"]
    tagged.save()
    result = enhanced(tmp_path / "a.m4a", tmp_path / "b.wav")
    tags = wave.WAVE(tmp_path / "b.wav").tags
    assert [picture.data[-1] for picture in tags.getall("APIC")] == [0, 1]
    assert (tags["TBPM"].text, tags["TCMP"].text) == (["99"], ["1"])
    assert "TENC" not in tags
    assert "media kind" in result.warnings
    enhanced(tmp_path / "b.wav", tmp_path / "c.m4a")
    back = mp4.MP4(tmp_path / "c.m4a")
    assert (back["tmpo"], back["cpil"], len(back["covr"])) == ([99], True, 2)


@pytest.mark.parametrize("name", ["b.flac", "b.wav", "b.m4a", "b.mka", "b.caf"])
def test_frames_that_only_id3_holds_are_named_in_a_warning(tmp_path, name):
    from mutagen import id3

    if name in ("b.m4a", "b.mka"):
        pytest.importorskip("av")
    written(tmp_path / "a.mp3", 44_100)
    tags = id3.ID3()
    for frame in (
        id3.TIT2(encoding=3, text="Hello"),
        id3.PRIV(owner="me", data=b"1"), id3.UFID(owner="x", data=b"1"), id3.PCNT(count=5),
        id3.GEOB(encoding=3, mime="x/y", filename="f", desc="d", data=b"1"),
        id3.POPM(email="a@b", rating=200, count=3),
        id3.SYLT(encoding=3, lang="eng", format=2, type=1, desc="", text=[("la", 10)]),
        id3.CHAP(
            element_id="c", start_time=0, end_time=100,
            sub_frames=[id3.APIC(encoding=3, mime="image/png", type=3, desc="", data=PNG)],
        ),
    ):  # fmt: skip
        tags.add(frame)
    tags.save(tmp_path / "a.mp3")
    warnings = enhanced(tmp_path / "a.mp3", tmp_path / name).warnings
    for lost in ("PRIV", "UFID", "PCNT", "GEOB", "POPM", "SYLT", "pictures of chapters"):
        assert lost in warnings
    assert "does not hold" not in enhanced(tmp_path / "a.mp3", tmp_path / "c.mp3").warnings


def chapters_of(path):
    """(start, end, title) of each, times in s, as FFmpeg has them."""
    av = pytest.importorskip("av")
    with av.open(str(path)) as file:
        return [
            (
                float(one["start"] * one["time_base"]),
                float(one["end"] * one["time_base"]),
                one["metadata"]["title"],
            )
            for one in file.chapters()
        ]


IN_FILMS = ["b.m4a", "b.mp4", "b.mov", "b.mka", "b.mkv", "b.webm"]


@pytest.mark.parametrize("name", ["b.mp3", "b.wav", *IN_FILMS])
def test_the_last_chapter_ends_with_the_recording(tmp_path, name):
    from mutagen import flac

    tagged = flac.FLAC(written(tmp_path / "a.flac", 44_100))
    for number, start in enumerate(("00:00:00.000", "00:00:00.200"), 1):
        tagged[f"CHAPTER{number:03d}"], tagged[f"CHAPTER{number:03d}NAME"] = start, f"Part {number}"
    tagged.save()
    enhanced(tmp_path / "a.flac", tmp_path / name, OutputForm(sample_rate=48_000))
    assert chapters_of(tmp_path / name) == [(0, 0.2, "Part 1"), (0.2, 0.5, "Part 2")]


@pytest.mark.parametrize("name", ["b.mp3", "b.wav", "b.m4a", "b.mka"])
@pytest.mark.parametrize(("told_s", "end_s"), [(0.4, 0.4), (0xFFFF_FFFF / 1000, 0.5), (0.201, 0.5)])
def test_the_last_chapter_keeps_an_end_of_its_own(tmp_path, name, told_s, end_s):
    """Nothing ends after the sound, and what ends as soon as it begins has no end of its own."""
    from mutagen import id3

    written(tmp_path / "a.mp3", 48_000, format="MP3")
    tags = id3.ID3()
    for number, (start_s, stop_s) in enumerate(((0, 0.1), (0.2, told_s))):
        title = [id3.TIT2(encoding=3, text=[f"Part {number}"])]
        start, stop = round(1000 * start_s), round(1000 * stop_s)
        tags.add(id3.CHAP(element_id=f"c{number}", start_time=start, end_time=stop, sub_frames=title))
    tags.save(tmp_path / "a.mp3")
    if name == "b.mp3":  # whose tags are copied as they are
        enhanced(tmp_path / "a.mp3", tmp_path / "a.mkv")
    enhanced(tmp_path / ("a.mkv" if name == "b.mp3" else "a.mp3"), tmp_path / name)
    first, last = chapters_of(tmp_path / name)
    assert last == (0.2, pytest.approx(end_s, abs=0.002), "Part 1")
    # In M4A a chapter ends where the next one begins.
    assert first == (0, 0.2 if name == "b.m4a" else 0.1, "Part 0")


def id3v1_tag(title=b"", comment=b""):
    """A tag of version 1.1, for track 3, whose texts it cuts."""
    texts = title[:30].ljust(30, b"\0") + bytes(60), comment[:28].ljust(28, b"\0")
    return b"TAG" + texts[0] + b"2024" + texts[1] + b"\0\3\xff"


LONG = "Gespräche über Gott, die Welt und den ganzen Rest"


@pytest.mark.parametrize("page", ["latin-1", "utf-8"])
@pytest.mark.parametrize("frame", ["TXXX:comment", "COMM:", "COMM:Notiz"])
@pytest.mark.parametrize("comment", [LONG, LONG[:9]])
def test_what_id3v1_repeats_is_not_added(tmp_path, comment, frame, page):
    from mutagen import id3

    source, (kind, name) = tmp_path / "a.mp3", frame.split(":")
    tags = id3.ID3()
    tags.add(id3.TIT2(encoding=3, text=["T"]))
    language = {"lang": "deu"} if kind == "COMM" else {}
    tags.add(id3.Frames[kind](encoding=3, desc=name, text=[comment], **language))
    tags.save(written(source, 44_100, format="MP3"), v1=0)
    v1 = id3v1_tag(b"T", comment.encode(page))
    source.write_bytes(source.read_bytes() + v1)
    enhanced(source, tmp_path / "b.mp3")
    assert set(id3.ID3(tmp_path / "b.mp3", load_v1=False)) == set(id3.ID3(source, load_v1=False))
    assert (tmp_path / "b.mp3").read_bytes().endswith(v1)
    enhanced(source, tmp_path / "b.flac")
    assert sorted(mutagen.File(tmp_path / "b.flac").tags) == sorted(
        [("TITLE", "T"), (name.upper() or "COMMENT", comment), ("DATE", "2024"), ("TRACKNUMBER", "3")]
    )


def id3_of_the_old_sound():
    """A title in ID3, and what the old sound's loudness, length and bytes were."""
    from mutagen import id3

    memory, tags = io.BytesIO(), id3.ID3()
    for frame in (
        id3.TIT2(encoding=3, text="T"),
        id3.RVA2(desc="track", channel=1, gain=-3.0, peak=0.9),
        id3.COMM(encoding=0, lang="eng", desc="iTunNORM", text=" 00000E 0"),
        id3.TXXX(encoding=3, desc="R128_TRACK_GAIN", text="-300"),
        id3.TLEN(encoding=3, text="999"),
        id3.CHAP(element_id="c", start_time=0, end_time=100, start_offset=7, end_offset=8, sub_frames=[]),
    ):
        tags.add(frame)
    tags.save(memory, v1=0, padding=lambda _: 0)
    return memory.getvalue()


def test_the_id3_chunk_of_a_wav_loses_what_is_of_the_old_sound(tmp_path):
    from mutagen import id3

    body = id3_of_the_old_sound()
    (tmp_path / "a.wav").write_bytes(riff(fmt(), pcm(), chunk(b"id3 ", body)))
    enhanced(tmp_path / "a.wav", tmp_path / "b.wav")
    new = dict(chunks_of(tmp_path / "b.wav"))[b"id3 "]
    assert len(new) == len(body)  # as a pipe needs it, whose header stated the length
    tags = id3.ID3(io.BytesIO(new))
    assert sorted(tags) == ["CHAP:c", "TIT2"]
    assert (tags["CHAP:c"].start_offset, tags["CHAP:c"].end_offset) == (0xFFFF_FFFF, 0xFFFF_FFFF)
    enhanced(tmp_path / "b.wav", tmp_path / "c.wav")
    assert dict(chunks_of(tmp_path / "c.wav"))[b"id3 "] == new


@pytest.mark.parametrize("body", [b"", b"ID3", b"ID3\4\0\0\0\0\0\x7f" + bytes(20), bytes(64)])
def test_an_id3_chunk_that_makes_no_sense_stays(tmp_path, body):
    (tmp_path / "a.wav").write_bytes(riff(fmt(), pcm(), chunk(b"id3 ", body)))
    enhanced(tmp_path / "a.wav", tmp_path / "b.wav")
    assert dict(chunks_of(tmp_path / "b.wav"))[b"id3 "] == body


@pytest.mark.parametrize("kept", [{}, {"Media": "CD"}])
def test_id3v1_stays_behind_ape_tags(tmp_path, kept):
    """As mp3gain lays them; what it says of the old sound is left out, and an APE tag of nothing else too."""
    from mutagen import apev2

    source = written(tmp_path / "a.mp3", 44_100, format="MP3")
    ape = apev2.APEv2()
    for name, text in {**kept, "REPLAYGAIN_TRACK_GAIN": "-3 dB", "MP3GAIN_UNDO": "+2,+2,N"}.items():
        ape[name] = text
    ape.save(source)
    v1 = id3v1_tag(b"T", b"C")
    source.write_bytes(source.read_bytes() + v1)
    enhanced(source, tmp_path / "b.mp3")
    data = (tmp_path / "b.mp3").read_bytes()
    assert data.endswith(v1)
    assert data.count(b"APETAGEX") == 2 * len(kept)  # at both ends of the tag
    assert not kept or dict(apev2.APEv2(tmp_path / "b.mp3")) == kept


def test_what_only_id3v1_says_goes_along(tmp_path):
    from mutagen import id3

    source = written(tmp_path / "a.mp3", 44_100, format="MP3")
    tags = id3.ID3()
    tags.add(id3.COMM(encoding=3, lang="deu", desc="", text=[LONG]))
    tags.save(source, v1=0)
    source.write_bytes(source.read_bytes() + id3v1_tag("Интервью".encode("cp1251"), LONG[:9].encode("latin-1")))
    enhanced(source, tmp_path / "b.flac")
    new = mutagen.File(tmp_path / "b.flac").tags
    assert (new["title"], new["comment"]) == (["Интервью"], [LONG, LONG[:9]])  # a comment of 9 was not cut
    enhanced(source, tmp_path / "b.mp3")
    assert list(id3.ID3(tmp_path / "b.mp3", load_v1=False)) == ["COMM::deu"]
    assert (tmp_path / "b.mp3").read_bytes()[-128:] == source.read_bytes()[-128:]


@pytest.mark.parametrize("end", [PCM, AMBISONIC])
def test_channels_for_no_speakers_are_remarked_in_flac(tmp_path, end):
    extra = struct.pack("<HHI", 22, 16, 0) + end
    (tmp_path / "a.wav").write_bytes(riff(fmt(channels=4, kind=0xFFFE, extra=extra), pcm(channels=4)))
    assert "for no speakers" in enhanced(tmp_path / "a.wav", tmp_path / "b.flac").warnings
    assert "for no speakers" not in enhanced(tmp_path / "a.wav", tmp_path / "c.wav").warnings
