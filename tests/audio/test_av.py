"""What libsndfile cannot read goes through PyAV, an extra."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import soundfile
from conftest import identity_enhancer, voice

from slimclean import audio
from slimclean.audio.tags.reading import read as read_attached
from slimclean.batch.run import enhance_paths
from slimclean.errors import AudioError, MissingDependencyError

RATE = 44_100


def encode(path, codec, x):
    """x [C, T] as the first audio stream of `path`."""
    av = pytest.importorskip("av")
    layout = {1: "mono", 2: "stereo"}[len(x)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, layout=layout)
        stream.bit_rate = 128_000
        container.metadata["title"] = "Take"
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(x), format="fltp", layout=layout)
        frame.rate, frame.pts = RATE, 0
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=RATE,
                                      frame_size=stream.codec_context.frame_size or None)  # fmt: skip
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "codec", "exact"),
    [("a.m4a", "aac", True), ("a.mp4", "aac", True), ("a.m4a", "alac", True), ("a.wma", "wmav2", False)],
)
def test_aac_alac_and_wma_are_read(tmp_path, name, codec, exact):
    x = np.stack([voice(1.5, RATE), 0.5 * voice(1.5, RATE)])
    encode(tmp_path / name, codec, x)
    after, rate = audio.read(tmp_path / name)
    assert (rate, after.shape[0]) == (RATE, 2)
    if exact:
        assert after.shape == x.shape  # neither the encoder's delay nor its padding
        assert np.sqrt(np.mean((after - x) ** 2)) < 0.02
    (result,) = enhance_paths([tmp_path / name], tmp_path / "out", identity_enhancer())
    assert result.status == "enhanced", result.error
    written = tmp_path / "out" / ("a.flac" if codec == "wmav2" else name)
    with audio.AudioReader(written) as reader:
        form = ("FLAC", "PCM_16") if codec == "wmav2" else ("MOV", codec.upper())
        assert reader.info == audio.AudioInfo(RATE, 2, after.shape[1], *form)
    assert ("TITLE", "Take") in read_attached(written).texts


def test_a_file_cut_short_is_an_error(tmp_path):
    encode(tmp_path / "a.wma", "wmav2", np.stack([voice(3.0, RATE)]))
    whole = (tmp_path / "a.wma").read_bytes()
    (tmp_path / "a.wma").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AudioError, match=r"truncated|damaged"):
        audio.read(tmp_path / "a.wma")


def test_pictures_without_sound(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 16
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(AudioError, match="holds no sound"):
        audio.read(tmp_path / "a.mp4")


def test_content_counts_and_not_the_name(tmp_path):
    x = np.stack([voice(1.0, RATE)])
    soundfile.write(tmp_path / "a.wav", x[0], RATE)
    (tmp_path / "a.wav").rename(tmp_path / "a.m4a")
    assert audio.probe(tmp_path / "a.m4a").format == "WAV"
    encode(tmp_path / "b.m4a", "aac", x)
    for name in ("b.mp3", "b.wav", "b.ogg", "b"):
        (tmp_path / name).write_bytes((tmp_path / "b.m4a").read_bytes())
        assert audio.read(tmp_path / name)[0].shape == x.shape


def test_without_pyav_the_error_is_the_cure(tmp_path, monkeypatch):
    (tmp_path / "a.m4a").write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'slimclean\[av\]'"):
        audio.probe(tmp_path / "a.m4a")
    (result,) = enhance_paths([tmp_path / "a.m4a"], enhancer=identity_enhancer())
    assert "pip install 'slimclean[av]'" in result.error


def test_a_reader_says_how_the_sound_is_stored(tmp_path):
    x = np.stack([voice(1.0, RATE), voice(1.0, RATE)])
    encode(tmp_path / "a.m4a", "alac", x)
    info = audio.probe(tmp_path / "a.m4a")
    assert (info.codec, info.bits_per_sample, info.channel_layout, info.track) == ("alac", 24, "stereo", 1)
    encode(tmp_path / "b.m4a", "aac", x)
    info = audio.probe(tmp_path / "b.m4a")
    assert (info.codec, info.bits_per_sample) == ("aac", None)
    assert 32_000 < info.bit_rate < 160_000
