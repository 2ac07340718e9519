"""Damages recordings at random and enhances them: `python -m mutations FOLDER SEED COUNT` tells what failed.

A process of its own, so that a decoder that crashes or takes all memory is found out.
"""

from __future__ import annotations

import contextlib
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from conftest import identity_enhancer
from made import encoded, muxed, tone

from slimclean.batch.recording import enhance_file
from slimclean.batch.task import Task

SECONDS = 0.6
LONGEST_S = 10.0
MOST_BYTES = 1.5e9
TOLERANCE_S = 0.1
EXTREMES = (0, 1, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0xFFFF_FFFE)


def sources() -> dict[str, bytes]:
    """A short whole recording by the name of its kind."""
    found = {
        "a.wav": encoded("WAV", seconds=SECONDS),
        "a.flac": encoded("FLAC", seconds=SECONDS),
        "a.ogg": encoded("OGG", "VORBIS", seconds=SECONDS),
        "a.opus": encoded("OGG", "OPUS", 48_000, SECONDS),
        "a.mp3": encoded("MP3", None, 44_100, SECONDS),
        "a.aiff": encoded("AIFF", seconds=SECONDS),
        "a.caf": encoded("CAF", "PCM_16", seconds=SECONDS),
        "a.au": encoded("AU", "PCM_16", seconds=SECONDS),
        "a.w64": encoded("W64", "PCM_16", seconds=SECONDS),
        "joined.mp3": 2 * encoded("MP3", None, 44_100, SECONDS / 2),
        "chained.ogg": 2 * encoded("OGG", "VORBIS", seconds=SECONDS / 2),
        "joined.flac": 2 * encoded("FLAC", seconds=SECONDS / 2),
    }
    with contextlib.suppress(ModuleNotFoundError), tempfile.TemporaryDirectory() as folder:
        for name, codec, form in (
            ("a.m4a", "aac", "mp4"),
            ("a.mkv", "pcm_s16le", "matroska"),
            ("a.webm", "libopus", "webm"),
            ("a.aac", "aac", "adts"),
            ("a.ts", "mp2", "mpegts"),
            ("a.wma", "wmav2", "asf"),
        ):
            path = Path(folder, name)
            muxed(path, codec, tone(SECONDS, 48_000).T, 48_000, form, bit_rate=96_000)
            found[name] = path.read_bytes()
    return found


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """`data` damaged in one to three places, more often near its beginning."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        end = min(len(changed), int(rng.choice([64, 256, len(changed)])))
        at = int(rng.integers(0, max(1, end)))
        size = int(rng.integers(1, 40))
        kind = rng.integers(0, 8)
        if kind == 0:
            changed[at : at + 1] = bytes([int(rng.integers(0, 256))])
        elif kind == 1:
            changed[at : at + size] = bytes(rng.integers(0, 256, size, dtype=np.uint8))
        elif kind == 2:
            order = str(rng.choice(["<I", ">I"]))
            changed[at : at + 4] = struct.pack(order, int(rng.choice(EXTREMES)))
        elif kind == 3:
            del changed[int(rng.integers(0, len(changed) + 1)) :]
        elif kind == 4:
            del changed[at : at + size]
        elif kind == 5:
            changed[at:at] = bytes(rng.integers(0, 256, size, dtype=np.uint8))
        elif kind == 6:
            changed[at:at] = changed[: int(rng.integers(0, len(changed) + 1))]
        else:
            changed[at : at + 20 * size] = bytes(len(changed[at : at + 20 * size]))
    return bytes(changed)


def decoded_s(path: Path) -> float | None:
    """How many seconds FFmpeg decodes, one packet after the other; None if it cannot."""
    try:
        import av
    except ModuleNotFoundError:
        return None
    seconds = 0.0
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            for packet in container.demux(container.streams.audio[0]):
                with contextlib.suppress(av.error.FFmpegError):
                    seconds += sum(frame.samples / frame.sample_rate for frame in packet.decode())
    except Exception:
        return seconds or None
    return seconds


def peak_bytes() -> float:
    """The largest resident size of this process; 0 on Windows, which does not tell."""
    try:
        import resource
    except ModuleNotFoundError:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def survey(
    folder: Path, seed: int, count: int, complain: Callable[[str], None] = print, most_bytes: float = MOST_BYTES
) -> Counter[str]:
    """Enhance `count` mutations; complain of each that does not end as it should. Counts the rows by status."""
    rng, enhancer, kinds = np.random.default_rng(seed), identity_enhancer(), sources()
    statuses: Counter[str] = Counter()
    for index in range(count):
        name = str(rng.choice(sorted(kinds)))
        path, output = folder / f"{seed}-{index}-{name}", folder / "out.wav"
        path.write_bytes(mutated(kinds[name], rng))
        started = time.perf_counter()
        try:
            row = enhance_file(Task(path, output), enhancer)
        except BaseException:
            complain(f"{path}: {traceback.format_exc()}")
            raise
        spent = time.perf_counter() - started
        statuses[row.status] += 1
        fault = ""
        if spent > LONGEST_S:
            fault = f"took {spent:.0f} s"
        elif row.error and ("Error:" in row.error or "\n" in row.error):
            fault = row.error
        elif row.status == "enhanced":
            whole = decoded_s(path)
            # FFmpeg decodes frames that only count, and encoders' delays, in all parts but the first; of
            # FLACs that are joined and shorter than a few frames, it leaves some out.
            tolerance_s = 2 * TOLERANCE_S if name.endswith("mp3") else TOLERANCE_S
            more_s = 0.0 if whole is None else (row.duration_s or 0) - whole
            short = more_s < -tolerance_s or (more_s > tolerance_s and name != "joined.flac")
            if short and not row.warnings:
                fault = f"{row.duration_s} s, FFmpeg decodes {whole} s, and no warning"
        memory = peak_bytes()
        if memory > most_bytes:
            complain(f"{path}: {memory / 1e9:.2f} GB of memory")
            raise MemoryError
        if fault:
            complain(f"{path}: {fault}")
        else:
            path.unlink()
    return statuses


if __name__ == "__main__":
    counted = survey(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    print(dict(counted), file=sys.stderr)
