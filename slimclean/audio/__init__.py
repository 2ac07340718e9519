"""Recordings as files: the only place that opens them. Arrays are float32 [C, T], nominally within 1.

Reading and writing go block by block, in memory that does not grow with a recording. Where to look:

    which files       folder, names (pairs), kinds (by their first bytes)
    what can be what  formats, containers, encodings; outputs (what one is like)
    how long it is    structure/: a module a kind of file, since headers may be wrong; mpeg_info
    reading           reader, and behind it sndfile and av/, quiet; mixdown
    writing           writer, and behind it sndfile_sink, av/, insertion, atomic
    in a pipe         wave_pipe, wave_header
    beside the sound  tags/, and attached, which is what they pass on
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from slimclean.audio.atomic import remove_leftovers
from slimclean.audio.containers import EXTENSIONS, WRITABLE
from slimclean.audio.folder import walk
from slimclean.audio.formats import (
    LOUDEST,
    MAX_CHANNELS,
    SAMPLE_RATES_HZ,
    AudioInfo,
    OutputForm,
)
from slimclean.audio.outputs import output_info, output_suffix
from slimclean.audio.reader import AudioReader
from slimclean.audio.writer import AudioWriter, plan_output
from slimclean.errors import AudioError

__all__ = [
    "EXTENSIONS",
    "LOUDEST",
    "MAX_CHANNELS",
    "SAMPLE_RATES_HZ",
    "WRITABLE",
    "AudioInfo",
    "AudioReader",
    "AudioWriter",
    "OutputForm",
    "output_info",
    "output_suffix",
    "plan_output",
    "probe",
    "read",
    "remove_leftovers",
    "walk",
]

BLOCK_SAMPLES = 1 << 16


def probe(path: Path) -> AudioInfo:
    """Read the header. Raises `AudioError`, as everything here does, with one line that says why."""
    with AudioReader(path) as reader:
        return reader.info


def read(path: Path) -> tuple[np.ndarray, int]:
    """Read a whole recording, [C, T], and its sample rate in Hz; errors name the file."""
    try:
        with AudioReader(path) as reader:
            return np.concatenate(list(reader.blocks(BLOCK_SAMPLES)), axis=1), reader.info.sample_rate
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from error
