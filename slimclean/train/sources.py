"""Where training audio comes from: folders or a manifest, decoded once to a 16-bit cache."""

from __future__ import annotations

import csv
import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from slimclean import audio
from slimclean.audio.atomic import replacing
from slimclean.audio.mixdown import Mixdown
from slimclean.audio.writer import quantised
from slimclean.dsp import SAMPLE_RATE
from slimclean.dsp.resample import resample
from slimclean.errors import AudioError, SlimcleanError, SlimcleanWarning, UsageError, told

MANIFEST = ("path", "kind", "corpus", "split")
"""The columns that a manifest has, among others."""


@dataclass(frozen=True)
class Clip:
    """One recording of a corpus: its file and where its samples lie in the cache."""

    path: str
    corpus: str
    start: int
    length: int


@dataclass
class Library:
    """Mono recordings in one long int16 array, and how often each corpus is drawn from.

    Where the samples are those of the file `cache`, it travels to other processes as the name of that.
    """

    samples: np.ndarray  # int16 [N]
    clips: list[Clip]
    cumulative: np.ndarray  # [len(clips)], ends at 1
    cache: Path | None = None

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self.cache is not None:
            state["samples"] = len(self.samples)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.cache is not None:
            self.samples = _mapped(self.cache, state["samples"])

    def crop(self, rng: np.random.Generator, length: int) -> np.ndarray:
        """Cut `length` samples from anywhere, float32 [length]; short clips are looped."""
        clip = self.clips[int(np.searchsorted(self.cumulative, rng.random(), side="right"))]
        if clip.length <= length:
            offset = int(rng.integers(clip.length))
            index = (offset + np.arange(length)) % clip.length + clip.start
            return self.samples[index].astype(np.float32) / 32768
        start = clip.start + int(rng.integers(clip.length - length + 1))
        return self.samples[start : start + length].astype(np.float32) / 32768


def _mapped(cache: Path, count: int) -> np.ndarray:
    return np.memmap(cache, dtype=np.int16, mode="r", shape=(count,))


def read_manifest(path: Path, kind: str, split: str) -> list[tuple[Path, str]]:
    """List files and corpus names of the manifest rows (`path, kind, corpus, split, ...`) that match."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        for line, row in enumerate(rows, 2):
            if wrong := [name for name in MANIFEST if row[name] is None]:
                raise ValueError(f"row {line} has no {wrong[0]}")
        found = [
            (path.parent / row["path"], row["corpus"])
            for row in rows
            if row["kind"] == kind and row["split"] == split
        ]
    except KeyError as error:
        raise UsageError(f"{path}: not a manifest (no column {error})") from error
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{path}: not a manifest ({told(error)})") from error
    if missing := [str(file) for file, _ in found if not file.is_file()]:
        raise UsageError(f"{path}: {missing[0]} is not there")
    return found


def scan_folder(folder: Path) -> list[tuple[Path, str]]:
    """List recordings under `folder`; the corpus is the first folder level below it."""
    found = []
    for path in audio.walk(folder):
        parts = path.relative_to(folder).parts
        found.append((path, parts[0] if len(parts) > 1 else folder.name))
    return found


def read_or_warn(path: Path) -> tuple[np.ndarray, int]:
    """Read a recording, float32 [C, T], and its rate in Hz; one that cannot be read warns, and is [1, 0]."""
    try:
        return audio.read(path)
    except AudioError as error:
        _warn(error)
        return np.zeros((1, 0), np.float32), SAMPLE_RATE


def _warn(error: AudioError) -> None:
    warnings.warn(f"{error}; it is left out", SlimcleanWarning, stacklevel=4)


def load_library(
    files: list[tuple[Path, str]], cache: Path, weights: dict[str, float] | None = None
) -> Library:
    """Decode `files` to mono 16 kHz once, under `cache`; later calls map the result into memory.

    A corpus is drawn in proportion to the square root of its hours times its entry in
    `weights` (1 when absent), and within it each clip in proportion to its length.
    What cannot be read is left out, with a warning, and tried again by the next call.
    Raises `SlimcleanError` where none can be read, and `UsageError` where `weights` leave none to draw.
    """
    if not files:
        raise SlimcleanError("no training audio found")
    names = "\n".join(str(path) for path, _ in files).encode("utf-8", "surrogateescape")
    base = cache / hashlib.sha256(names).hexdigest()[:16]
    status = [path.stat() for path, _ in files]
    stamps = [[each.st_size, each.st_mtime_ns] for each in status]
    lengths = _cached(base, stamps)
    if lengths is None or _is_mended([path for (path, _), n in zip(files, lengths, strict=True) if not n]):
        lengths = _decode(files, base.with_suffix(".int16"))
        with replacing(base.with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps({"stamps": stamps, "lengths": lengths}))
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])[:-1]
    clips = [
        Clip(str(path), corpus, int(start), length)
        for (path, corpus), start, length in zip(files, starts, lengths, strict=True)
        if length > 0
    ]
    totals: dict[str, float] = {}
    for clip in clips:
        totals[clip.corpus] = totals.get(clip.corpus, 0) + clip.length
    share = {name: total**0.5 * (weights or {}).get(name, 1.0) for name, total in totals.items()}
    chance = np.array([share[clip.corpus] * clip.length / totals[clip.corpus] for clip in clips])
    if not 0 < chance.sum() < np.inf:
        raise UsageError("`corpus_weights` leave nothing to draw")
    path = base.with_suffix(".int16").absolute()
    return Library(_mapped(path, sum(lengths)), clips, np.cumsum(chance / chance.sum()), path)


def _cached(base: Path, stamps: list[list[int]]) -> list[int] | None:
    """Return the lengths of clips in a cache; None where it is none of these files as they are, or damaged."""
    try:
        index = json.loads(base.with_suffix(".json").read_text())
        lengths: list[int] = index["lengths"]
        whole = base.with_suffix(".int16").stat().st_size == 2 * sum(lengths)
        return lengths if whole and index["stamps"] == stamps else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _is_mended(silent: list[Path]) -> bool:
    """Tell whether one of those that held no sound does so now; if not, warn of those that cannot be read."""
    problems = []
    for path in silent:
        try:
            if audio.read(path)[0].size:
                return True
        except AudioError as error:
            problems.append(error)
    for problem in problems:
        _warn(problem)
    return False


def _mixed_down(waveform: np.ndarray, rate: int) -> np.ndarray:
    """Mix [C, T] down to [1, T] as `enhance --mono` does: what is wired the other way round cancels nothing."""
    if len(waveform) == 1:
        return waveform
    seconds = (waveform[:, start : start + rate] for start in range(0, max(1, waveform.shape[1]), rate))
    return np.concatenate(list(Mixdown(len(waveform), rate).stream(seconds)), axis=1)


def _decode(files: Sequence[tuple[Path, str]], into: Path) -> list[int]:
    """Write recordings to a file of int16 at 16 kHz, mono, end to end; return their lengths in samples."""
    lengths = []
    with replacing(into) as temporary, temporary.open("wb") as out:
        for path, _ in tqdm(files, desc=f"decoding {files[0][1]} and others", unit="file", disable=None):
            waveform, rate = read_or_warn(path)
            mono = resample(_mixed_down(waveform, rate), rate, SAMPLE_RATE)
            samples = quantised(mono, "s16", 16)
            out.write(samples.tobytes())
            lengths.append(len(samples))
        if not any(lengths):
            raise SlimcleanError(f"none of {len(files)} recordings of {files[0][1]} and others holds sound")
    return lengths
