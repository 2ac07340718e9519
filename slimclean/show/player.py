"""Where a page's players get their sound from: the recording itself, or a short excerpt inside the page.

A recording in the page's folder or below is linked: the folder can be moved or packed as a whole. Anything
else, and what browsers cannot play, is embedded as an MP3 of at most 10 s, which every browser plays.
"""

from __future__ import annotations

import base64
import os
import tempfile
from pathlib import Path
from urllib.parse import quote

import numpy as np

from slimclean.audio import AudioInfo, AudioReader, AudioWriter, probe
from slimclean.audio.containers import BY_EXTENSION
from slimclean.audio.encodings import MP3_RATES_HZ
from slimclean.audio.mixdown import Mixdown
from slimclean.dsp.resample import resample
from slimclean.errors import AudioError
from slimclean.show.stretch import between

EXCERPT_S = 10.0
_WAVE = frozenset({"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "ALAW", "ULAW"})
_FLAC = frozenset({"PCM_S8", "PCM_16", "PCM_24"})
PLAYED = {
    "WAV": _WAVE,
    "WAVEX": _WAVE,
    "RF64": _WAVE,
    "FLAC": _FLAC,
    "OGG": _FLAC | {"VORBIS", "OPUS"},
    "MP3": frozenset({"MPEG_LAYER_III"}),
    "MOV": frozenset({"aac", "mp3", "opus", "flac"}),
    "MATROSKA": frozenset({"opus", "vorbis"}),
}
"""What browsers play: in each `AudioInfo.format` these codecs, or subtypes where libsndfile reads it."""


def link(recording: Path, page: Path) -> str | None:
    """Return the URL of `recording` relative to the page, or None where it is not to be linked.

    Its content decides, since a name tells no codec: M4A may hold ALAC, and WAV ADPCM.
    """
    folder, target = page.resolve().parent, recording.resolve()
    container = BY_EXTENSION.get(target.suffix.lower())
    if container is None or not container.in_browsers or folder not in target.parents:
        return None
    if not _is_played(target):
        return None
    # A name with a colon in it would read as a scheme without the "./".
    return "./" + quote(os.fsencode(target.relative_to(folder).as_posix()))


def _is_played(recording: Path) -> bool:
    try:
        info = probe(recording)
    except AudioError:  # which an excerpt tells in its own words
        return False
    return (info.codec or info.subtype) in PLAYED.get(info.format, ()) and info.endian != "BIG"


def excerpt(recording: Path, start_s: float, track: int | None = None) -> str:
    """Encode the 10 s of a sound track that begin at `start_s`, in mono, as a data URI."""
    with AudioReader(recording, track) as reader:
        rate = reader.info.sample_rate
        mixed = map(Mixdown(reader.info.channels, rate), reader.blocks(rate))
        sound, _ = between(mixed, round(start_s * rate), round((start_s + EXCERPT_S) * rate))
    mp3_rate = next((r for r in MP3_RATES_HZ if r >= rate), MP3_RATES_HZ[-1])
    mono = resample(sound, rate, mp3_rate)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "excerpt.mp3")
        with AudioWriter(path, AudioInfo(mp3_rate, 1, 0, "MP3", "MPEG_LAYER_III")) as writer:
            writer.write(mono)
            writer.commit()
        return "data:audio/mpeg;base64," + base64.b64encode(path.read_bytes()).decode()


def most_audible_s(dbfs: np.ndarray, column_s: float) -> float:
    """Find where the 10 s with the most energy begin, from levels per column [N]."""
    columns = max(1, round(EXCERPT_S / column_s))
    if columns >= len(dbfs):
        return 0.0
    energy = np.cumsum(np.concatenate([[0.0], 10 ** (dbfs / 10)]))
    return float((energy[columns:] - energy[:-columns]).argmax() * column_s)
