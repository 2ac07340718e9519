"""FLAC in Ogg stays FLAC in Ogg: nothing lossless becomes lossy without being asked for."""

from __future__ import annotations

import base64
import sys

import numpy as np
import pytest
import soundfile
from audio.test_attached import PNG, enhanced, tones, written
from conftest import identity_enhancer

from slimclean import audio
from slimclean.audio import OutputForm
from slimclean.batch.recording import enhance_file
from slimclean.batch.task import Task

av = pytest.importorskip("av")


def ogg_flac(path, source):
    """The packets of a FLAC in Ogg pages."""
    with av.open(str(source)) as given, av.open(str(path), "w", format="ogg") as out:
        stream = out.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(given.streams.audio[0]):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    return path


def codec(path):
    with av.open(str(path)) as file:
        return file.format.name, file.streams.audio[0].codec_context.name


@pytest.mark.parametrize("name", ["b.oga", "b.ogg"])
@pytest.mark.parametrize(("subtype", "channels"), [("PCM_16", 1), ("PCM_24", 2), ("PCM_16", 6), ("PCM_S8", 1)])
def test_ogg_flac_stays_lossless(tmp_path, name, subtype, channels):
    soundfile.write(tmp_path / "a.flac", tones(channels, 16_000), 16_000, subtype=subtype)
    source = ogg_flac(tmp_path / f"a{name[1:]}", tmp_path / "a.flac")
    result = enhanced(source, tmp_path / name)
    assert codec(tmp_path / name) == ("ogg", "flac")
    assert "FLAC" not in result.warnings
    old, new = audio.read(source), audio.read(tmp_path / name)
    assert new[1] == old[1]
    assert np.array_equal(new[0], old[0])
    bits = {"PCM_16": "s16", "PCM_S8": "s16", "PCM_24": "s32"}
    with av.open(str(tmp_path / name)) as file:
        assert file.streams.audio[0].codec_context.format.name == bits[subtype]


def test_tags_of_ogg_flac_are_kept(tmp_path):
    mutagen = pytest.importorskip("mutagen")
    from mutagen.flac import Picture

    source = ogg_flac(tmp_path / "a.oga", written(tmp_path / "a.flac", format="FLAC"))
    file = mutagen.File(source)
    picture = Picture()
    picture.data, picture.mime, picture.type = PNG, "image/png", 3
    pairs = [("TITLE", "T"), ("ARTIST", "A"), ("ARTIST", "B"),
             ("METADATA_BLOCK_PICTURE", base64.b64encode(picture.write()).decode())]  # fmt: skip
    for pair in pairs:
        file.tags.append(pair)
    file.save()
    enhanced(source, tmp_path / "b.oga")
    assert codec(tmp_path / "b.oga") == ("ogg", "flac")
    assert [pair for pair in mutagen.File(tmp_path / "b.oga").tags if pair[0] != "encoder"] == pairs
    assert np.array_equal(audio.read(tmp_path / "b.oga")[0], audio.read(source)[0])


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (OutputForm(subtype="VORBIS"), "vorbis"),
        (OutputForm(bit_rate=64_000), "vorbis"),
        (OutputForm(extension=".opus"), "opus"),
    ],
)
def test_what_is_lossy_is_had_by_asking(tmp_path, form, expected):
    source = ogg_flac(tmp_path / "a.oga", written(tmp_path / "a.flac", format="FLAC"))
    name = "b.opus" if expected == "opus" else "b.oga"
    enhanced(source, tmp_path / name, form)
    assert codec(tmp_path / name)[1] == expected


def test_flac_becomes_vorbis_in_ogg(tmp_path):
    enhanced(written(tmp_path / "a.flac", format="FLAC"), tmp_path / "b.ogg")
    assert codec(tmp_path / "b.ogg") == ("ogg", "vorbis")


def test_without_pyav_ogg_flac_is_refused_with_the_cure(tmp_path, monkeypatch):
    source = ogg_flac(tmp_path / "a.oga", written(tmp_path / "a.flac", format="FLAC"))
    monkeypatch.setitem(sys.modules, "av", None)
    result = enhance_file(Task(source, tmp_path / "b.oga"), identity_enhancer())
    assert "pip install 'slimclean[av]'" in result.error
    assert not (tmp_path / "b.oga").exists()
