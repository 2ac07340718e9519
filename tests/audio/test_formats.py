"""The table of containers: each entry is one that somebody can read, and write or replace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from slimclean.audio.containers import BY_EXTENSION, CONTAINERS, WRITABLE, container_of
from slimclean.audio.formats import AudioInfo, OutputForm
from slimclean.audio.outputs import output_info, output_suffix
from slimclean.errors import UsageError


def test_no_extension_stands_for_two_containers():
    assert len(BY_EXTENSION) == sum(len(container.extensions) for container in CONTAINERS)
    assert all(name.startswith(".") and name == name.lower() for name in BY_EXTENSION)


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda container: container.extensions[0])
def test_somebody_reads_it_and_writes_it_or_what_it_becomes(container):
    if container.sndfile is not None:
        assert container.sndfile in soundfile.available_formats()
        assert container.subtype is None or soundfile.check_format(container.sndfile, container.subtype)
    if container.demuxers:
        av = pytest.importorskip("av")
        assert any(name in av.formats_available for name in container.demuxers)
    assert container.sndfile or container.demuxers
    for extension in container.extensions:
        assert output_suffix(Path(f"a{extension}"), OutputForm()) in WRITABLE


def test_a_container_is_known_by_its_beginning():
    assert container_of(b"\0\0\0\x20ftypM4A \0\0\0\0") == BY_EXTENSION[".mp4"]
    assert container_of(b"\x1a\x45\xdf\xa3" + bytes(12)) == BY_EXTENSION[".mkv"]
    assert container_of(b"RIFF\0\0\0\0WAVEfmt ") == BY_EXTENSION[".wav"]
    assert container_of(b"") is None
    assert container_of(b"Dear diary, what a day this was") is None


def remarks(container, subtype, codec, name, form=None, bits=None):
    info = AudioInfo(48_000, 2, 48_000, container, subtype, codec=codec, bits_per_sample=bits)
    stored = output_info(info, Path(name), form)
    return stored, (form or OutputForm()).remarks(stored)


@pytest.mark.parametrize(
    ("container", "subtype", "codec", "bits", "name", "told", "becomes"),
    [
        ("CAF", "OPUS", "opus", None, "b.caf", "opus", "PCM_16"),
        ("CAF", "ALAC", "alac", 16, "b.caf", "alac", "PCM_16"),
        ("CAF", "ALAC", "alac", 24, "b.caf", "alac", "PCM_24"),
        ("WAV", "MPEG_LAYER_III", None, None, "b.wav", "mp3", "PCM_16"),
        ("WAV", "WMAV2", "wmav2", None, "b.wav", "wmav2", "PCM_16"),
        ("MP3", "MPEG_LAYER_II", None, None, "b.mp3", "MPEG_LAYER_II", "mp3"),
        ("OGG", "SPEEX", "speex", None, "b.ogg", "speex", "vorbis"),
        ("MATROSKA", "DCA", "dts", None, "b.mka", "dts", "flac"),
        ("MATROSKA", "VORBIS", "dts", None, "b.webm", "dts", "opus"),
        ("MOV", "DCA", "dts", None, "b.mp4", "dts", "aac"),
    ],
)
def test_an_encoding_that_becomes_another_is_told(container, subtype, codec, bits, name, told, becomes):
    stored, said = remarks(container, subtype, codec, name, bits=bits)
    assert said == [f"its sound, {told}, cannot be encoded here: {becomes} instead"]
    assert (stored.codec or stored.subtype) == becomes


@pytest.mark.parametrize(("name", "subtype"), [("b.caf", "PCM_24"), ("b.mp4", "AAC"), ("b.mka", "OPUS")])
def test_an_encoding_that_was_asked_for_is_not_told(name, subtype):
    container = {"b.caf": "CAF", "b.mp4": "MOV", "b.mka": "MATROSKA"}[name]
    assert remarks(container, "DCA", "dts", name)[1]
    assert remarks(container, "DCA", "dts", name, OutputForm(subtype=subtype))[1] == []


@pytest.mark.parametrize(
    ("container", "subtype", "codec", "name"),
    [
        ("CAF", "OPUS", "opus", "b.wav"), ("CAF", "ALAC_24", None, "b.caf"), ("CAF", "FLOAT", None, "b.caf"),
        ("WAVEX", "PCM_24", None, "b.wav"), ("RF64", "DOUBLE", None, "b.wav"),
        ("WAV", "MS_ADPCM", None, "b.wav"), ("MP3", "MPEG_LAYER_II", None, "b.flac"),
        ("AIFF", "PCM_S24BE", "pcm_s24be", "b.aiff"), ("FLAC", "PCM_24", None, "b.flac"),
        ("FLAC", "FLAC", "flac", "b.flac"), ("OGG", "PCM_24", None, "b.ogg"), ("OGG", "OPUS", None, "b.ogg"),
        ("OGG", "VORBIS", None, "b.opus"), ("MP3", "MPEG_LAYER_III", None, "b.mp3"),
        ("MATROSKA", "DCA", "dts", "b.flac"), ("MATROSKA", "OPUS", "opus", "b.webm"),
        ("MOV", "AAC", "aac", "b.m4a"), ("AU", "ALAW", None, "b.au"),
    ],
)  # fmt: skip
def test_an_encoding_that_stays_or_that_another_container_asks_for_is_not_told(container, subtype, codec, name):
    assert remarks(container, subtype, codec, name)[1] == []


@pytest.mark.parametrize("codec", ["pcm_alaw", "pcm_mulaw", "pcm_s8", "pcm_f32be"])
def test_matroska_gets_flac_for_pcm_that_pyav_cannot_put_there(codec):
    info = AudioInfo(8_000, 1, 0, "MATROSKA", codec.upper(), codec=codec)
    stored = output_info(info, Path("a.mka"))
    assert (stored.codec, stored.source_codec) == ("flac", codec)
    assert output_info(replace(info, format="MOV"), Path("a.mov")).codec == codec


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW"])
def test_companded_sound_can_be_asked_for(subtype):
    info = AudioInfo(8_000, 1, 8_000, "WAV", "PCM_16", bits_per_sample=16)
    for name in ("a.wav", "a.au", "a.aiff", "a.caf", "a.rf64"):
        assert output_info(info, Path(name), OutputForm(subtype=subtype.lower())).subtype == subtype
    codec = {"ULAW": "pcm_mulaw", "ALAW": "pcm_alaw"}[subtype]
    assert output_info(info, Path("a.mov"), OutputForm("mov", subtype)).codec == codec
    with pytest.raises(UsageError, match="does not hold"):
        OutputForm("flac", subtype)
