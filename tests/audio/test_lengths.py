"""How long a recording is, is what was decoded: headers that count wrong lose nothing, and are told of."""

from __future__ import annotations

import errno
import os
import re
import struct
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import made
import numpy as np
import pytest
import soundfile
from conftest import identity_enhancer, voice
from made import (
    chunk,
    counting,
    encoded,
    flac_total,
    id3,
    id3v1,
    last_page,
    mp3,
    page,
    pages,
    pcm,
    riff,
    wav,
    wave_format,
)

from slimclean import audio
from slimclean.audio import AudioReader
from slimclean.audio.quiet import quiet
from slimclean.audio.structure import headers
from slimclean.audio.structure.view import Peek, View
from slimclean.audio.tags.reading import read as read_attached
from slimclean.batch.recording import enhance_file
from slimclean.batch.task import Task
from slimclean.errors import AudioError

DATA = chunk(b"data", pcm())
BEHIND = chunk(b"LIST", b"INFO" + chunk(b"INAM", b"Take\0")) + chunk(b"cue ", bytes(4))
TOLD = "its header says"


def rf64(samples: int, tag: bytes = b"RF64") -> bytes:
    sizes = struct.pack("<QQQI", 0, 2 * samples, samples, 0)
    return riff(
        chunk(b"ds64", sizes), wave_format(), chunk(b"data", pcm(), size=0xFFFF_FFFF), size=0xFFFF_FFFF, tag=tag
    )


def vbri(data: bytes, frames: int) -> bytes:
    """A frame like the first of an MP3 that counts `frames` as Fraunhofer's encoder does."""
    kbits = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)[data[2] >> 4]
    length = 144_000 * kbits // 44_100 + (data[2] >> 1 & 1)
    return (data[:4] + bytes(32) + b"VBRI" + bytes(10) + struct.pack(">I", frames)).ljust(length, b"\0")


def rifx(declared: int) -> bytes:
    """Big-endian, 16 bits, mono, `RATE`."""
    form = struct.pack(">HHIIHH", 1, 1, made.RATE, 2 * made.RATE, 2, 16)
    sound = np.frombuffer(pcm(), "<i2").astype(">i2").tobytes()
    head = b"RIFX" + struct.pack(">I", declared + 36) + b"WAVEfmt " + struct.pack(">I", 16) + form
    return head + b"data" + struct.pack(">I", declared) + sound


def beside(data: bytes) -> bytes:
    """An Ogg file with every page twice, as of two tracks."""
    twice = []
    for one in pages(data):
        other = page(one[:14] + struct.pack("<I", 77) + one[18:])
        twice += [one, other]
    return b"".join(twice)


def without_page(data: bytes, index: int) -> bytes:
    kept = pages(data)
    del kept[index]
    return b"".join(kept)


def shifted(data: bytes, by: int) -> bytes:
    """An Ogg file whose clock does not start at 0, as one cut from a broadcast."""
    head, rest = pages(data)[:2], pages(data)[2:]
    return b"".join([*head, *(page(one, granule=made.granule(one) + by) for one in rest)])


KINDS = {
    # kind: (name, content, seconds, what the warnings say; "" for none)
    "Info frame, too low": ("a.mp3", lambda: counting(mp3(), lambda n: n // 3), 2.0, "a header says"),
    "Info frame, too high": ("a.mp3", lambda: counting(mp3(), lambda n: 3 * n), 2.0, "a header says"),
    "Info frame, zero": ("a.mp3", lambda: counting(mp3(), lambda _: 0), 2.0, ""),
    "Info frame that libmpg123 does not take for one": ("a.mp3", lambda: _at(mp3(), 7, b"\1"), 2.0, ""),
    "Info frame with the delay of a cut": (
        "a.mp3",
        lambda: (lambda d: _at(d, made.info_at(d) + 141, (3567 << 12 | 576).to_bytes(3, "big")))(mp3()),
        2.04 - (3567 + 576) / 44_100,
        "",
    ),
    "Info frame with an absurd delay": (
        "a.mp3",
        lambda: (lambda d: _at(d, made.info_at(d) + 141, b"\xff\xff\xff"))(mp3()),
        2.04,
        "",
    ),
    "no Info frame": ("a.mp3", lambda: mp3(info=False), 2.03, ""),
    "joined MP3": ("a.mp3", lambda: mp3() + mp3(seed=1) + mp3(seed=2), 6.0, ""),
    "joined MP3 without Info": ("a.mp3", lambda: mp3(info=False) + mp3(info=False), 4.07, ""),
    "Info frame in the middle": ("a.mp3", lambda: mp3(info=False) + mp3(), 4.03, ""),
    "joined MP3, mono and stereo": (
        "a.mp3",
        lambda: mp3() + mp3(channels=2),
        4.0,
        "part 2 of 2 has 44100 Hz and 2",
    ),
    "joined MP3, another rate": ("a.mp3", lambda: mp3() + mp3(rate=22_050), 4.0, "part 2 of 2 has 22050 Hz"),
    "three MP3s of three forms": (
        "a.mp3",
        lambda: mp3(rate=22_050) + mp3(rate=48_000, channels=2) + mp3(),
        6.0,
        "part 3 of 3 has 44100 Hz",
    ),
    "ID3 in the middle": ("a.mp3", lambda: id3() + mp3() + id3() + mp3() + id3v1(), 4.0, ""),
    "VBRI": ("a.mp3", lambda: vbri(mp3(info=False), 78) + mp3(info=False), 2.03, ""),
    "VBRI, too low": ("a.mp3", lambda: vbri(mp3(info=False), 20) + mp3(info=False), 2.03, "a header says"),
    "APE and lyrics behind an MP3": (
        "a.mp3",
        lambda: mp3() + b"LYRICSBEGININD0000200LYRICS200" + bytes(50) + b"APETAGEX" + bytes(24) + id3v1(),
        2.0,
        "",
    ),
    "MP3 behind a large cover": ("a.mp3", lambda: id3(2_000_000) + mp3(), 2.0, ""),
    "rubbish in the middle": ("a.mp3", lambda: mp3() + b"rubbish" * 100 + mp3(), 4.0, "700 bytes at 2.0"),
    "erased memory in the middle": (
        "a.mp3",
        lambda: mp3() + b"\xff" * (1 << 18) + mp3(),
        4.0,
        "262144 bytes at 2.0",
    ),
    "MP3 with zeros behind": ("a.mp3", lambda: mp3() + bytes(9000), 2.0, ""),
    "MP3 named WAV": ("a.wav", mp3, 2.0, ""),
    "chained Vorbis": ("a.ogg", lambda: b"".join(encoded("OGG", "VORBIS", seed=k) for k in range(3)), 6.0, ""),
    "chained Opus": (
        "a.opus",
        lambda: b"".join(encoded("OGG", "OPUS", 48_000, seed=k) for k in range(3)),
        6.0,
        "",
    ),
    "chain of two rates": (
        "a.ogg",
        lambda: encoded("OGG", "VORBIS", 44_100) + encoded("OGG", "VORBIS", 22_050),
        4.0,
        "part 2 of 2 has 22050 Hz",
    ),
    "chain of stereo and mono": (
        "a.ogg",
        lambda: encoded("OGG", "VORBIS", channels=2) + encoded("OGG", "VORBIS"),
        4.0,
        "part 2 of 2 has 16000 Hz and one channel",
    ),
    "chain of two codecs": (
        "a.ogg",
        lambda: encoded("OGG", "VORBIS", 48_000) + encoded("OGG", "OPUS", 48_000),
        4.0,
        "",
    ),
    "no end mark, Vorbis": ("a.ogg", lambda: last_page(encoded("OGG", "VORBIS"), 0), 2.0, "no end mark"),
    "no end mark, Opus": ("a.opus", lambda: last_page(encoded("OGG", "OPUS", 48_000), 0), 2.0, "no end mark"),
    "granule 40 ms too far": (
        "a.opus",
        lambda: last_page(encoded("OGG", "OPUS", 48_000), None, lambda g: g + 1920),
        2.0,
        "",
    ),
    "granule 10 s too far": (
        "a.ogg",
        lambda: last_page(encoded("OGG", "VORBIS"), None, lambda g: g + 160_000),
        2.0,
        TOLD,
    ),
    "granule before its packets, Opus": (
        "a.opus",
        lambda: last_page(encoded("OGG", "OPUS", 48_000, 4.0), None, lambda _: 100),
        4.0,
        "",
    ),
    "granules that start late": ("a.ogg", lambda: shifted(encoded("OGG", "VORBIS"), 10_000_000), 2.0, ""),
    "granules that start late, Opus": (
        "a.opus",
        lambda: shifted(encoded("OGG", "OPUS", 48_000), 10_000_000),
        2.0,
        "",
    ),
    "joined FLAC": ("a.flac", lambda: b"".join(encoded("FLAC", seed=k) for k in range(3)), 6.0, ""),
    "joined FLAC of two forms": (
        "a.flac",
        lambda: encoded("FLAC") + encoded("FLAC", None, 48_000, channels=2),
        4.0,
        "part 2 of 2 has 48000 Hz and 2 channels",
    ),
    "FLAC, length unknown": ("a.flac", lambda: flac_total(encoded("FLAC"), 0), 2.0, ""),
    "joined FLAC, lengths unknown": ("a.flac", lambda: 2 * flac_total(encoded("FLAC"), 0), 4.0, ""),
    "joined FLAC with a tag between, lengths unknown": (
        "a.flac",
        lambda: flac_total(encoded("FLAC"), 0) + id3() + flac_total(encoded("FLAC"), 0),
        4.0,
        "",
    ),
    "FLAC, length too low": ("a.flac", lambda: flac_total(encoded("FLAC"), 5_000), 2.0, TOLD),
    "FLAC, length too high": ("a.flac", lambda: flac_total(encoded("FLAC"), 500_000), 2.0, TOLD),
    "FLAC between tags": ("a.flac", lambda: id3() + encoded("FLAC") + id3v1(), 2.0, ""),
    "data of 0 bytes": ("a.wav", lambda: wav(0), 2.0, TOLD),
    "data and RIFF of 0 bytes": ("a.wav", lambda: wav(0, 0), 2.0, TOLD),
    "data of unknown size": ("a.wav", lambda: wav(0xFFFF_FFFF, 0xFFFF_FFFF), 2.0, ""),
    "data of unknown size and chunks behind": (
        "a.wav",
        lambda: wav(0xFFFF_FFFF, 0xFFFF_FFFF, behind=BEHIND),
        2.0,
        "",
    ),
    "data from SoX's pipe and chunks behind": ("a.wav", lambda: wav(0x7FFF_F000, behind=BEHIND), 2.0, ""),
    "data one byte more than there": ("a.wav", lambda: wav(64_001), 2.0, ""),
    "data too small": ("a.wav", lambda: wav(10_000), 2.0, TOLD),
    "data and RIFF too small": ("a.wav", lambda: wav(10_000, 10_036), 2.0, TOLD),
    "data of 0 bytes and a chunk behind": (
        "a.wav",
        lambda: wav(0, behind=chunk(b"LIST", b"INFO" + chunk(b"INAM", b"Take\0"))),
        2.0,
        TOLD,
    ),
    "an odd chunk without its pad byte": (
        "a.wav",
        lambda: riff(wave_format(), chunk(b"note", b"odd", pad=False), DATA),
        2.0,
        "",
    ),
    "an odd chunk with its pad byte": (
        "a.wav",
        lambda: riff(wave_format(), chunk(b"note", b"odd"), DATA),
        2.0,
        "",
    ),
    "sound before its format": ("a.wav", lambda: riff(DATA, wave_format()), 2.0, ""),
    "rubbish behind a WAV": ("a.wav", lambda: wav() + b"rubbish" * 100, 2.0, "700 bytes behind the sound"),
    "a tag behind a WAV": ("a.wav", lambda: wav() + id3v1(), 2.0, ""),
    "a LIST that is cut short behind a WAV": (
        "a.wav",
        lambda: wav(behind=chunk(b"LIST", b"INFO" + chunk(b"INAM", bytes(200))))[:-100],
        2.0,
        "cut short",
    ),
    "a LIST of zeros": ("a.wav", lambda: riff(wave_format(), chunk(b"LIST", bytes(393_164)), DATA), 2.0, ""),
    "RF64": ("a.wav", lambda: rf64(2 * made.RATE), 2.0, ""),
    "RF64 that says 0": ("a.wav", lambda: rf64(0), 2.0, TOLD),
    "BW64": ("a.wav", lambda: rf64(2 * made.RATE, b"BW64"), 2.0, ""),
    "RF64 without sizes": (
        "a.wav",
        lambda: riff(wave_format(), chunk(b"data", pcm(), size=0xFFFF_FFFF), size=0xFFFF_FFFF, tag=b"RF64"),
        2.0,
        "",
    ),
    "MP3 in WAV": (
        "a.wav",
        lambda: riff(wave_format(0x55, rate=44_100), chunk(b"data", mp3(info=False))),
        2.03,
        "",
    ),
    "GSM in WAV": ("a.wav", lambda: encoded("WAV", "GSM610", 8_000), 2.0, ""),
    "sizes too small, and silence behind both": (
        "a.wav",
        lambda: (lambda d: _at(d + 5_000 * b"\0" + pcm() + bytes(5_000), 40, struct.pack("<I", 64_000)))(wav()),
        4.3125,
        TOLD,
    ),
    "sizes a little too small": ("a.wav", lambda: wav(62_000, 62_036), 2.0, TOLD),
    "two WAVs laid end to end": ("a.wav", lambda: wav() + wav(seconds=1.0), 3.0, ""),
    "an empty data chunk before the real one": (
        "a.wav",
        lambda: riff(wave_format(), chunk(b"data", b""), chunk(b"data", pcm())),
        2.0,
        "",
    ),
    "RIFX too small": ("a.wav", lambda: rifx(10_000), 2.0, TOLD),
    "RF64 that says all ones": ("a.wav", lambda: rf64((1 << 63) - 1), 2.0, ""),
    "AIFF from a pipe": ("a.aiff", lambda: _data(encoded("AIFF"), b"SSND", b"\x7f\0\0\x08"), 2.0, ""),
    "zeros before an MP3": ("a.mp3", lambda: bytes(100_000) + mp3(), 2.0, ""),
    "two tracks of Vorbis": ("a.ogg", lambda: beside(encoded("OGG", "VORBIS")), 2.0, "2 sound tracks"),
    "AU of unknown length": ("a.au", lambda: _at(encoded("AU", "PCM_16"), 8, b"\xff" * 4), 2.0, ""),
    "AU of 0 bytes": ("a.au", lambda: _at(encoded("AU", "PCM_16"), 8, bytes(4)), 2.0, TOLD),
    "CAF of unknown length": ("a.caf", lambda: _data(encoded("CAF", "PCM_16"), b"data", b"\xff" * 8), 2.0, ""),
    "CAF too small": (
        "a.caf",
        lambda: _data(encoded("CAF", "PCM_16"), b"data", struct.pack(">q", 9_000)),
        2.0,
        TOLD,
    ),
    "W64 too small": (
        "a.w64",
        lambda: (lambda d: _at(d, d.index(b"data") + 16, struct.pack("<Q", 9_024)))(encoded("W64", "PCM_16")),
        2.0,
        TOLD,
    ),
    "W64 with a chunk behind": (
        "a.w64",
        lambda: (
            lambda d: d + b"junk" + d[d.index(b"data") + 4 : d.index(b"data") + 16] + bytes([32]) + bytes(15)
        )(encoded("W64", "PCM_16")),
        2.0,
        "",
    ),
    "rubbish before an MP3": ("a.mp3", lambda: b"rubbish" * 100 + mp3(info=False), 2.03, "700 bytes before"),
    "AIFF that skips all its sound": (
        "a.aiff",
        lambda: (lambda d: _at(d, d.index(b"SSND") + 8, b"\xff" * 4))(encoded("AIFF")),
        2.0,
        "its header skips 4294967295 bytes of sound, 64000 are there and were read",
    ),
    "AIFF of unknown length that skips all its sound": (
        "a.aiff",
        lambda: (lambda d: _at(d, d.index(b"SSND") + 4, b"\x7f\0\0\x08" + b"\xff" * 4))(encoded("AIFF")),
        2.0,
        "its header skips 4294967295 bytes of sound, 64000 are there and were read",
    ),
    "AIFF too small": ("a.aiff", lambda: _data(encoded("AIFF"), b"SSND", struct.pack(">I", 9_000)), 2.0, TOLD),
}


def _first(packet: bytes) -> bytes:
    """The first page of a stream of Ogg."""
    return page(b"OggS\0\2" + bytes(20) + bytes([1, len(packet)]) + packet)


def _later() -> bytes:
    """Page number 2 of a stream without a page number 1."""
    return page(b"OggS\0\0" + struct.pack("<qIII", 100, 0, 2, 0) + b"\1\1x") * 3


def _speex() -> bytes:
    """Two pages that say that they are Speex."""
    head = b"OggS\0\2" + bytes(8) + struct.pack("<III", 9, 0, 0) + b"\1\x08" + b"Speex   "
    body = b"OggS\0\4" + struct.pack("<q", 320) + struct.pack("<III", 9, 1, 0) + b"\1\x08" + bytes(8)
    return page(head) + page(body)


def _at(data: bytes, position: int, new: bytes) -> bytes:
    return data[:position] + new + data[position + len(new) :]


def _data(data: bytes, name: bytes, new: bytes) -> bytes:
    return _at(data, data.index(name) + 4, new)


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_is_there_is_read(tmp_path, monkeypatch, kind):
    name, content, seconds, warning = KINDS[kind]
    monkeypatch.setitem(sys.modules, "av", None)  # none of these needs PyAV
    path = tmp_path / name
    path.write_bytes(content())
    with AudioReader(path) as reader:
        blocks = list(reader.blocks(10_007))
        told, rate = "; ".join(reader.warnings), reader.info.sample_rate
    x = np.concatenate(blocks, axis=1)
    # A decoder of MP3 or Opus may be a block off where nothing tells its delay.
    lossy = reader.info.lossy or "of two" in kind
    assert x.shape[1] / rate == pytest.approx(seconds, abs=0.03 if lossy else 1e-9)
    assert np.abs(x[:, -rate // 2 : -rate // 10]).max() > 0.05  # sound to the end, not silence
    assert re.search(warning, told) if warning else not told, told


CUT = {
    "WAV": ("a.wav", lambda: wav()[:-9_000], "truncated: 55000 of 64000 bytes"),
    "RF64": ("a.wav", lambda: rf64(2 * made.RATE)[:-9_000], "truncated"),
    "MP3 with an Info frame": ("a.mp3", lambda: mp3()[:-3_001], "truncated: .* MPEG frames"),
    "MP3 with a hole": (
        "a.mp3",
        lambda: (lambda d: d[: len(d) // 2] + bytes(3_000) + d[len(d) // 2 + 3_000 :])(mp3()),
        "damaged: .* MPEG frames",
    ),
    "Vorbis": ("a.ogg", lambda: encoded("OGG", "VORBIS")[:-300], "truncated: its last Ogg page"),
    "Opus": ("a.opus", lambda: encoded("OGG", "OPUS", 48_000)[:-300], "truncated: its last Ogg page"),
    "Vorbis without a page": (
        "a.ogg",
        lambda: without_page(encoded("OGG", "VORBIS", seconds=30.0), 5),
        "damaged: pages",
    ),
    "Opus with a bad page": (
        "a.opus",
        lambda: (lambda p: b"".join(p[:4]) + p[4][:-9] + bytes(9) + b"".join(p[5:]))(
            pages(encoded("OGG", "OPUS", 48_000, 6.0))
        ),
        "damaged: pages",
    ),
    "FLAC": ("a.flac", lambda: encoded("FLAC")[:-2_000], "truncated"),
    "FLAC of unknown length": ("a.flac", lambda: flac_total(encoded("FLAC"), 0)[:-2_000], "truncated"),
    "CAF": ("a.caf", lambda: encoded("CAF", "PCM_16")[:-2_000], "truncated"),
    "AIFF": ("a.aiff", lambda: encoded("AIFF")[:-2_000], "truncated"),
    "AU": ("a.au", lambda: encoded("AU", "PCM_16")[:-2_000], "truncated"),
    "AU whose sound begins behind its end": (
        "a.au",
        lambda: _at(encoded("AU", "PCM_16"), 4, b"\xff" * 4 + bytes(4)),
        "truncated: its sound begins at byte 4294967295, 64024 are there",
    ),
    "W64": ("a.w64", lambda: encoded("W64", "PCM_16")[:-2_000], "truncated"),
    "SPHERE": ("a.sph", lambda: encoded("NIST", "PCM_16")[:-2_000], "truncated"),
    "a chain that goes on in another codec": (
        "a.ogg",
        lambda: encoded("OGG", "VORBIS") + _speex(),
        "a part of the chain is in Speex",
    ),
    "channels that do not fit": (
        "a.flac",
        lambda: encoded("FLAC", channels=2) + encoded("FLAC", channels=3),
        "3 channels follows one with 2 channels",
    ),
}


@pytest.mark.parametrize("kind", CUT)
def test_sound_that_is_missing_is_an_error(tmp_path, kind):
    name, content, message = CUT[kind]
    path = tmp_path / name
    path.write_bytes(content())
    with pytest.raises(AudioError, match=message) as caught:
        audio.read(path)
    assert "\n" not in str(caught.value)


def test_a_size_that_went_round_at_4_gib(tmp_path):
    """Five gigabytes that take no room: 434 minutes, and not the 61 of the header."""
    path, size = tmp_path / "a.wav", 5_000_000_000
    with path.open("wb") as file:
        file.write(riff(wave_format(channels=2, rate=48_000), size=(size + 36) & 0xFFFF_FFFF))
        file.write(b"data" + struct.pack("<I", size & 0xFFFF_FFFF))
        file.truncate(44 + size)
    with AudioReader(path) as reader:
        assert reader.info.samples == size // 4
        assert reader.info.format == "RF64"  # in which it can be written again
        assert len(reader.warnings) == 1


@pytest.mark.parametrize("told", [0x7FFF_FFFF, 0xFFFF_FFFF, 0, 9_000])
def test_an_aiff_of_more_than_4_gib_is_read_to_its_end(tmp_path, told):
    path, size = tmp_path / "a.aiff", 5_000_000_000
    with path.open("wb") as file:
        head = _data(encoded("AIFF"), b"SSND", struct.pack(">I", told))
        file.write(head[: head.index(b"SSND") + 16])
        file.truncate(file.tell() + size)
    with AudioReader(path) as reader:
        assert reader.info.samples == size // 2
        assert len(reader.warnings) == (told != 0)


def _before_sound(
    data: bytes, sound: bytes, name: bytes, form: str, size: int, times: int = 1
) -> list[bytes | int]:
    """Bytes of a file, and numbers of zeros that take no room, with chunks before the one called `sound`."""
    at = data.index(sound)
    return [data[:at], *[name + struct.pack(form, size), size] * times, data[at:]]


LARGE = {
    "AIFF": lambda: _before_sound(
        _data(encoded("AIFF"), b"SSND", b"\x7f\0\0\x08"), b"SSND", b"abcd", ">I", 1 << 28
    ),
    "CAF": lambda: _before_sound(
        _data(encoded("CAF", "PCM_16"), b"data", struct.pack(">q", 9_000)), b"data", b"free", ">q", 1 << 28
    ),
    "fact of a WAV": lambda: _before_sound(wav(10_000), b"data", b"fact", "<I", 1 << 28),
    "lists of a WAV": lambda: _before_sound(wav(10_000), b"data", b"LIST", "<I", 4_000_000, 60),
}


@pytest.mark.parametrize("kind", LARGE)
def test_memory_does_not_follow_the_chunks_before_the_sound(tmp_path, kind):
    path = tmp_path / "a"
    with path.open("wb") as file:
        for piece in LARGE[kind]():
            if isinstance(piece, int):
                file.seek(piece, os.SEEK_CUR)
            else:
                file.write(piece)
    tracemalloc.start()
    try:
        with AudioReader(path) as reader:
            assert sum(block.shape[1] for block in reader.blocks(10_007)) == 2 * made.RATE
        assert tracemalloc.get_traced_memory()[1] < 1 << 25
    finally:
        tracemalloc.stop()


def test_the_decoders_of_libsndfile_print_nothing(tmp_path, capfd):
    """libmpg123 has remarks on sizes in Info frames, on rubbish, on what is no MP3, and says them to all."""
    whole = mp3(seconds=4.0)
    half = len(whole) // 2
    for name, data in {
        "a.mp3": whole + bytes(9_000),
        "b.mp3": whole[:half] + b"\xff\xfb" * 40 + whole[half:],
        "c.mp3": b"\xff\xfb\x90\x00" + bytes(5_000),
        "d.ogg": whole[half:] + whole,
        "e.aac": b"\xff\xf1" + whole[2:],
        "f.mp3": b"\0\0\0\x20ftypM4A " + bytes(3_000),
    }.items():
        (tmp_path / name).write_bytes(data)
        enhance_file(Task(tmp_path / name, tmp_path / "out.mp3"), identity_enhancer())
    assert capfd.readouterr() == ("", "")


def test_threads_that_are_quiet_at_once_leave_standard_error_open(capfd):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(_quiet_for_a_moment, range(40)))
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_no_descriptor_left_costs_quiet_nothing_but_the_silence(capfd, monkeypatch):
    """That one time, and nothing stays open."""

    def none_left(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    os.close(before := os.dup(2))  # the lowest that is free
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", none_left)
        for _ in range(3):
            with quiet():
                os.write(2, b"loud\n")
    with quiet():
        os.write(2, b"not heard\n")
    os.write(2, b"loud again\n")
    os.close(after := os.dup(2))
    assert after == before
    assert capfd.readouterr().err == "loud\nloud\nloud\nloud again\n"


def _quiet_for_a_moment(index):
    with quiet():
        os.write(2, b"not heard")
        time.sleep(0.001 * (index % 3))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("at", [0, 3, 12])
def test_an_interrupt_while_c_reads_is_not_lost(tmp_path, monkeypatch, error, at):
    """libsndfile calls back for bytes, and what is raised there would be dropped, and the sound with it."""
    (tmp_path / "a.mp3").write_bytes(mp3(info=False) + mp3(seed=1))
    calls, read = [], View._read

    def interrupted(view, target):
        calls.append(1)
        if len(calls) == at + 1:
            raise error
        return read(view, target)

    monkeypatch.setattr(View, "_read", interrupted)
    with pytest.raises(error), AudioReader(tmp_path / "a.mp3") as reader:
        list(reader.blocks(1000))


def test_tags_of_a_file_that_was_mended_are_kept(tmp_path):
    path = tmp_path / "a.mp3"
    text = b"\0Take 1"
    frame = b"TIT2" + struct.pack(">I", len(text)) + b"\0\0" + text
    path.write_bytes(b"ID3\3\0\0\0\0\0" + bytes([len(frame)]) + frame + mp3(info=False))
    assert read_attached(path).texts == [("TITLE", "Take 1")]


def test_a_disk_that_fails_in_the_middle_is_an_error_and_no_end(tmp_path, monkeypatch):
    path = tmp_path / "a.ogg"
    path.write_bytes(2 * encoded("OGG", "VORBIS", seconds=20.0))
    whole = View._read
    left = [3]

    def fails(view, target):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(5, "Input/output error")
        return whole(view, target)

    with AudioReader(path) as reader:
        blocks = reader.blocks(16_000)
        next(blocks)
        monkeypatch.setattr(View, "_read", fails)
        with pytest.raises(AudioError, match=r"cannot be read \(Input/output error\)"):
            list(blocks)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.mp3", b"\xff" * 3_000_000),
        ("a.mp3", bytes(30_000_000)),
        ("a.ogg", b"OggS" * 1_000_000),
        ("a.ogg", _first(b"abcd") * 20_000 + _first(b"OpusHead") * 20_000 + _later()),
        ("a.flac", b"fLaC\0\0\0\x22" * 300_000),
        ("a.wav", b"RIFF\4\0\0\0WAVE" * 200_000),
    ],
)
def test_nothing_but_marks_ends_soon(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    started = time.process_time()
    with pytest.raises(AudioError, match=r"not a readable|damaged|more than"):
        audio.read(path)
    assert time.process_time() - started < 5


def test_the_end_of_a_wav_among_many_chunks_is_found_soon(tmp_path):
    """All of them are sound, as something that is no chunk follows."""
    path, chunks = tmp_path / "a.wav", 1_500 * b"LIST\0\0\0\0" + 16 * b"\1"
    path.write_bytes(wav(0xFFFF_FFFF, behind=chunks))
    started = time.process_time()
    assert audio.probe(path).samples == 2 * made.RATE + len(chunks) // 2
    assert time.process_time() - started < 2


def _alternating(count: int) -> bytes:
    """So many silent frames of MP3, of 44.1 and 32 kHz in turns."""
    sizes = {0: 104, 2: 144}  # by the code of the rate: 144 * 32000 / rate
    one, two = (bytes([0xFF, 0xFB, 0x10 | code << 2, 0xC0]).ljust(size, b"\0") for code, size in sizes.items())
    return (one + two) * (count // 2)


def _riffs(count: int) -> bytes:
    return wav(seconds=0.001) * count


def _links(count: int) -> bytes:
    return encoded("OGG", "VORBIS", seconds=0.01) * count


def _streams(count: int) -> bytes:
    return encoded("FLAC", seconds=0.001) * count


@pytest.mark.parametrize("many", [_alternating, _riffs, _links, _streams])
def test_parts_have_a_limit_whatever_they_are(tmp_path, monkeypatch, many):
    monkeypatch.setattr("slimclean.audio.structure.view.MOST_PARTS", 30)
    path = tmp_path / "a"
    path.write_bytes(many(30))
    audio.read(path)
    path.write_bytes(many(32))
    with pytest.raises(AudioError, match="more than 30 recordings are laid end to end"):
        audio.read(path)


def test_many_warnings_are_counted(tmp_path):
    path = tmp_path / "a.mp3"
    path.write_bytes(_alternating(60))
    with AudioReader(path) as reader:
        list(reader.blocks(10_000))
    assert len(reader.warnings) == 21
    assert reader.warnings[-1] == "10 more warnings like these were left out"


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_an_mp3_without_an_info_frame_keeps_its_time(tmp_path, rate):
    """What encoder and decoder put before the sound, 576 and 529 samples, is there as it is elsewhere."""
    x = voice(1.5, rate)
    path = tmp_path / "a.mp3"
    soundfile.write(path, x, rate)
    data = path.read_bytes()
    first = data.index(b"\xff\xfb") if rate == 44_100 else data.index(b"\xff\xf3")
    path.write_bytes(data[data.index(data[first : first + 2], first + 4) :])
    found = audio.read(path)[0][0]
    assert len(found) % (1152 if rate == 44_100 else 576) == 0
    assert audio.probe(path).samples == len(found)
    assert np.argmax(np.correlate(found, x[: len(x) // 2], "valid")) == 576 + 529


@pytest.mark.parametrize(("kind", "bits"), [("FLOAT", 32), ("DOUBLE", 64)])
@pytest.mark.parametrize("behind", [False, True])
def test_floating_point_in_w64_as_ffmpeg_writes_it(tmp_path, kind, bits, behind):
    """In an extensible format, which libsndfile takes for whole numbers."""

    def part(name: bytes, content: bytes) -> bytes:
        guid = name + bytes.fromhex("f3acd3118cd100c04f8edb8a")
        return guid + struct.pack("<Q", 24 + len(content)) + content + bytes(-len(content) % 8)

    x = np.stack([voice(0.5), voice(0.5, seed=1)])
    guid = bytes.fromhex("0300000000001000800000aa00389b71")
    block = 2 * bits // 8
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 2, 16_000, 16_000 * block, block, bits, 22, bits, 3) + guid
    body = part(b"fmt ", form) + part(b"data", x.T.astype(f"<f{bits // 8}").tobytes())
    body += part(b"levl", bytes(16)) if behind else b""
    head = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000") + struct.pack("<Q", 40 + len(body))
    path = tmp_path / "a.w64"
    path.write_bytes(head + b"wave" + bytes.fromhex("f3acd3118cd100c04f8edb8a") + body)
    np.testing.assert_array_equal(audio.read(path)[0], x)
    assert audio.probe(path).subtype == kind


@pytest.mark.parametrize("block", [4096, 4098])
def test_a_voc_in_many_blocks_is_what_it_is_in_one(tmp_path, block):
    path = tmp_path / "a.voc"
    soundfile.write(path, np.stack([voice(20.0), voice(20.0, seed=1)], axis=1), 16_000, "PCM_16")
    whole = audio.read(path)[0]
    data = path.read_bytes()
    start = int.from_bytes(data[20:22], "little")
    assert data[start] == 9
    sound = data[start + 16 : start + 4 + int.from_bytes(data[start + 1 : start + 4], "little")]
    pieces = [sound[k : k + block] for k in range(0, len(sound), block)]
    split = data[:start] + b"\x09" + (12 + len(pieces[0])).to_bytes(3, "little") + data[start + 4 : start + 16]
    split += pieces[0] + b"".join(b"\2" + len(p).to_bytes(3, "little") + p for p in pieces[1:])
    path.write_bytes(split + b"\0")
    np.testing.assert_array_equal(audio.read(path)[0], whole)
    path.write_bytes(split[:-100])
    with pytest.raises(AudioError, match="truncated"):
        audio.read(path)


def test_empty_blocks_of_a_voc_make_no_parts(tmp_path):
    path = tmp_path / "a.voc"
    soundfile.write(path, voice(1.0), 16_000, "PCM_16")
    data, whole = path.read_bytes().removesuffix(b"\0"), audio.read(path)[0]
    path.write_bytes(data + b"\2\0\0\0" * 10_000 + b"\0")
    np.testing.assert_array_equal(audio.read(path)[0], whole)
    with path.open("rb") as file:
        structure = headers.scan(Peek(file))
    assert structure is not None
    assert len(structure.parts) == 1


def test_a_flac_with_large_frames_is_whole(tmp_path):
    """As FFmpeg writes it at a high rate: a frame has 16384 samples of 8 channels."""
    av = pytest.importorskip("av")
    path, rate, blocks = tmp_path / "a.flac", 192_000, 3
    x = np.random.default_rng(0).integers(-(1 << 30), 1 << 30, (16_384 * blocks, 8), np.int32)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("flac", rate=rate, layout="7.1")
        stream.codec_context.format = "s32"
        frame = av.AudioFrame.from_ndarray(x.reshape(1, -1), format="s32", layout="7.1")
        frame.rate = rate
        file.mux([*stream.encode(frame), *stream.encode(None)])
    data = path.read_bytes()
    assert int.from_bytes(data[15:18], "big") > 1 << 18
    for stated in (data[12:18], bytes(6)):
        for behind in (b"", id3v1()):
            path.write_bytes(_at(data, 12, stated) + behind)
            assert audio.read(path)[0].shape == (8, len(x))
    path.write_bytes(data[:-1000])
    with pytest.raises(AudioError, match=r"truncated|damaged"):
        audio.read(path)
