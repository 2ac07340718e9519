"""Ogg files that were cut or laid end to end as they are: their times fit their packets no more."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from audio.films import lag_samples
from audio.test_lengths import shifted
from audio.test_ogg_flac import ogg_flac
from conftest import voice
from made import granule, page, pages

from slimclean import audio

av = pytest.importorskip("av")


def stored(tmp_path, codec):
    """Three seconds at 48 kHz in Ogg, as bytes."""
    if codec == "FLAC":
        soundfile.write(tmp_path / "a.flac", voice(3.0, 48_000), 48_000)
        return ogg_flac(tmp_path / "a.oga", tmp_path / "a.flac").read_bytes()
    file = io.BytesIO()
    soundfile.write(file, voice(3.0, 48_000), 48_000, codec, format="OGG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("codec", "by"), [("VORBIS", -4_000), ("FLAC", -4_000), ("FLAC", -100_000), ("FLAC", 10_000_000)]
)
def test_nothing_is_lost_at_the_end(tmp_path, codec, by):
    """What lies before time 0 is kept: a player may leave it out, and nobody what lies at the end."""
    (tmp_path / "cut.ogg").write_bytes(shifted(stored(tmp_path, codec), by))
    found, rate = audio.read(tmp_path / "cut.ogg")
    assert (rate, found.shape) == (48_000, (1, 144_000))
    np.testing.assert_allclose(found[0], voice(3.0, 48_000), atol=1e-3 if codec == "FLAC" else 0.1)


@pytest.mark.parametrize("ogg", [False, True])
def test_a_flac_that_was_cut_is_read_in_order(tmp_path, ogg):
    """Its frames are numbered as before the cut: who seeks among them lands elsewhere."""
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.flac", rng.integers(-8000, 8000, 24 * 16_000).astype(np.int16), 16_000)
    path = tmp_path / ("b.oga" if ogg else "b.flac")
    skipped = 0
    with av.open(str(tmp_path / "a.flac")) as given, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(given.streams.audio[0]):
            if packet.size and packet.pts * packet.time_base >= 2:
                skipped = skipped or round(packet.pts * packet.time_base * 16_000)
                packet.pts = packet.dts = packet.pts - round(skipped / 16_000 / packet.time_base)
                packet.stream = stream
                out.mux(packet)
    with audio.AudioReader(path) as reader:
        found = np.concatenate(list(reader.blocks(8 * 16_000)), axis=1)[0]
    np.testing.assert_array_equal(found, audio.read(tmp_path / "a.flac")[0][0][skipped:])


def test_a_chain_with_a_link_that_was_cut(tmp_path):
    data = stored(tmp_path, "VORBIS")
    (tmp_path / "a.ogg").write_bytes(shifted(data, -4_000))
    other = [page(one[:14] + b"next" + one[18:]) for one in pages(data)]
    (tmp_path / "chain.ogg").write_bytes(shifted(data, -4_000) + b"".join(other))
    assert audio.read(tmp_path / "chain.ogg")[0].shape[1] == pytest.approx(288_000, abs=2048)


def test_opus_with_an_end_in_its_middle(tmp_path):
    """As where files were laid end to end: a page counts less than it holds, and libsndfile refuses it."""
    whole = pages(stored(tmp_path, "OPUS"))
    middle = len(whole) // 2
    whole[middle] = page(whole[middle], granule=granule(whole[middle]) - 312)
    (tmp_path / "a.opus").write_bytes(b"".join(whole))
    found, rate = audio.read(tmp_path / "a.opus")
    assert rate == 48_000
    assert found.shape[1] == pytest.approx(144_000, abs=960)
    assert abs(lag_samples(voice(3.0, 48_000), found[0])) <= 312


def test_vorbis_is_counted_packet_by_packet(tmp_path):
    """One sample too few at the beginning is seen, and what fits is read as ever, without PyAV."""
    data = stored(tmp_path, "VORBIS")
    (tmp_path / "a.ogg").write_bytes(data)
    with audio.AudioReader(tmp_path / "a.ogg") as reader:
        assert reader.info.format == "OGG"
        assert type(reader._source).__name__ == "SndfileSource"
    (tmp_path / "a.ogg").write_bytes(shifted(data, -1))
    with audio.AudioReader(tmp_path / "a.ogg") as reader:
        assert type(reader._source).__name__ == "AvSource"
