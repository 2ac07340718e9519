"""To a loudness: what was cleaned waits in a spool until its loudness is known, and goes out with one gain.

    blocks --> spool, meter          then: spool --> gain --> [limiter] --> meter --> the real writer

The spool is a temporary file of 32-bit floats beside the output (23 MB a minute at 48 kHz in stereo), so memory
does not grow with the length. Glossary: C channels, T samples.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from slimclean.audio import AudioInfo, AudioReader, OutputForm
from slimclean.batch.report import FileResult
from slimclean.dsp.limiter import Limiter
from slimclean.dsp.loudness import (
    GATE_LUFS,
    RELATIVE_GATE_LU,
    Loudness,
    LoudnessMeter,
    require_meter,
)
from slimclean.errors import MissingDependencyError, UsageError

BLOCK_SAMPLES = 1 << 18
CLOSE_LU = 0.05
"""As near to the target as this is there."""
SHORT_LU = 0.1
"""What is short by more gets a warning."""
MARGIN_DB = 0.05
"""The limiter's ceiling below that of the outcome: its filter between the samples is not the meter's."""
NOTICED_DB = 0.1
MOST_DRIVE_LU = 6.0
"""The limiter makes a recording softer, which more gain makes up for, but not for more than this."""
PASSES = 12


def check_loudness(form: OutputForm) -> None:
    """Raise `UsageError` where a loudness is asked for and the meter is not installed."""
    if form.loudness_lufs is not None:
        try:
            require_meter()
        except MissingDependencyError as error:
            raise UsageError(str(error)) from error


class Writer(Protocol):
    """What the sound goes into in the end."""

    def write(self, block: np.ndarray) -> None: ...

    def commit(self, mtime_ns: int | None = None, check: Callable[[], None] = ...) -> None: ...


@dataclass(frozen=True)
class Mastered:
    """What became of a recording: measured on what was written, before any lossy encoding."""

    loudness: Loudness
    level_dbfs: float
    warning: str = ""

    def tell(self, result: FileResult) -> None:
        """Fill in the columns of a row."""
        result.loudness_out_lufs = self.loudness.integrated_lufs
        result.true_peak_dbtp = self.loudness.true_peak_dbtp
        result.level_out_dbfs = self.level_dbfs
        result.remark(self.warning)


@dataclass(frozen=True)
class HeldForm(OutputForm):
    """An output that is cleaned, but waits in the file `hold` to be written."""

    hold: Path = Path()

    @classmethod
    def of(cls, form: OutputForm, hold: Path) -> HeldForm:
        """Make `form` one for an output that waits in `hold`."""
        return cls(**{field.name: getattr(form, field.name) for field in fields(form)}, hold=hold)


@dataclass(frozen=True)
class Held:
    """What is known of an output that waits: its loudness."""

    loudness: Loudness

    def tell(self, result: FileResult) -> None:
        """Put it into a row."""
        result.held = self.loudness


class Spool:
    """Sound that waits on the disk in 32-bit floats; a context manager that closes the file.

    Without a `path` the file has no name and is gone when it is closed.
    """

    def __init__(self, folder: Path, info: AudioInfo, path: Path | None = None, *, read: bool = False) -> None:
        self.info = info
        self._file: IO[bytes]
        if path is None:
            self._file = tempfile.TemporaryFile(prefix=".slimclean-", dir=folder)  # noqa: SIM115
        else:
            self._file = path.open("rb" if read else "wb")

    def write(self, block: np.ndarray) -> None:
        """Append [C, T]."""
        self._file.write(np.ascontiguousarray(block.T, np.float32).data)

    def blocks(self, gain_db: float = 0.0) -> Iterator[np.ndarray]:
        """Yield everything from the beginning, `gain_db` louder: consecutive [C, T]."""
        self._file.seek(0)
        channels, gain = self.info.channels, np.float32(10 ** (gain_db / 20))
        size = max(1, BLOCK_SAMPLES // channels) * channels * 4
        while data := self._file.read(size):
            x = np.frombuffer(data, np.float32).reshape(-1, channels).T
            yield x if gain_db == 0 else x * gain

    def close(self) -> None:
        self._file.close()


class MasteredWriter:
    """Takes a recording's blocks like the writer behind it; at `commit`, that gets them with the right gain.

    A context manager. After `commit`, `mastered` tells what was done. With a `HeldForm` the blocks stay in its
    file, and the writer gets nothing.
    """

    mastered: Mastered | Held

    def __init__(self, writer: Writer, path: Path, info: AudioInfo, form: OutputForm) -> None:
        self._writer, self._form = writer, form
        self._hold = form.hold if isinstance(form, HeldForm) else None
        self._spool = Spool(path.parent, info, self._hold)
        self._meter = meter(info)

    def write(self, block: np.ndarray) -> None:
        """Append [C, T]."""
        self._spool.write(block)
        self._meter.add(block)

    def commit(self, mtime_ns: int | None = None, check: Callable[[], None] = lambda: None) -> None:
        """Write everything into the writer behind this one, and commit that."""
        before = self._meter.finish()
        if self._hold is not None:
            self.mastered = Held(before)
        else:
            self.mastered = master(self._spool, before, self._writer, self._form)
            self._writer.commit(mtime_ns, check)

    def __enter__(self) -> MasteredWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()


@contextlib.contextmanager
def sink_for(writer: Writer, path: Path, info: AudioInfo, form: OutputForm) -> Iterator[Writer]:
    """Return what the blocks of the output `path` go into: `writer`, or what makes them louder first."""
    if form.loudness_lufs is None:
        yield writer
    else:
        with MasteredWriter(writer, path, info, form) as sink:
            yield sink


def meter(info: AudioInfo) -> LoudnessMeter:
    """Make a meter for a recording like `info`, with the standard's weights where its channels have places."""
    return LoudnessMeter(info.sample_rate, info.channels, info.channel_layout)


def tell_encoded(result: FileResult, path: Path, info: AudioInfo, form: OutputForm) -> None:
    """Put into a row the true peak of the output `path`, like `info`, where a lossy encoding may raise it."""
    if not info.lossy or result.true_peak_dbtp is None or not math.isfinite(result.true_peak_dbtp):
        return
    with AudioReader(path, result.output_track) as reader:
        gauge = meter(reader.info)
        for block in reader.read_blocks():
            gauge.add(block)
    result.true_peak_dbtp = gauge.finish().true_peak_dbtp
    above_db = result.true_peak_dbtp - form.true_peak_dbtp
    if above_db > NOTICED_DB:
        lower_dbtp = form.true_peak_dbtp - math.ceil(10 * above_db) / 10
        result.remark(
            f"its encoding raises the true peak to {result.true_peak_dbtp:+.1f} dBTP; "
            f"set `true_peak_dbtp` {lower_dbtp:.3g} for {form.true_peak_dbtp:g}"
        )


def master(
    spool: Spool, before: Loudness, writer: Writer, form: OutputForm, gain_db: float | None = None
) -> Mastered:
    """Write what `spool` holds, of loudness `before`, with the gain that takes it to the target, or `gain_db`.

    Where that gain alone would break the ceiling, a limiter keeps the peaks under it, and the gain grows by
    what that costs. A recording without loudness goes out as it came.
    """
    assert form.loudness_lufs is not None
    target_lufs, ceiling_dbtp = form.loudness_lufs, form.true_peak_dbtp
    if gain_db is not None:
        target_lufs = before.integrated_lufs + gain_db
    elif math.isfinite(before.integrated_lufs):
        gain_db = target_lufs - before.integrated_lufs
    else:
        why = "silent, shorter than 0.4 s, or below -70 LUFS"
        return _written(spool.blocks(), spool.info, writer, f"loudness left as it is: {why}")
    reached_dbtp = before.true_peak_dbtp + gain_db
    # Softer than that, a gain lifts blocks over the absolute gate, and the loudness does not follow the gain.
    follows = not -math.inf < before.integrated_lufs <= GATE_LUFS - RELATIVE_GATE_LU
    if reached_dbtp <= ceiling_dbtp and follows:
        return _written(spool.blocks(gain_db), spool.info, writer)
    return _limited(spool, gain_db, reached_dbtp, writer, target_lufs, ceiling_dbtp)


def _limited(
    spool: Spool, gain_db: float, reached_dbtp: float, writer: Writer, target_lufs: float, ceiling_dbtp: float
) -> Mastered:
    """Find the gain before the limiter, and its ceiling, with which the outcome is as loud as asked for."""
    needed_db, inner_dbtp = gain_db, ceiling_dbtp - MARGIN_DB
    for _ in range(PASSES):
        limiter = Limiter(spool.info.sample_rate, 10 ** (inner_dbtp / 20))
        found = _written(limiter.stream(spool.blocks(gain_db)), spool.info, None).loudness
        short_lu = target_lufs - found.integrated_lufs
        above_db = found.true_peak_dbtp - ceiling_dbtp
        louder_db = min(gain_db + short_lu, needed_db + MOST_DRIVE_LU) if math.isfinite(short_lu) else gain_db
        if above_db <= 0 and (abs(short_lu) <= CLOSE_LU or louder_db == gain_db):
            break
        gain_db, inner_dbtp = louder_db, inner_dbtp - max(0.0, above_db)
    limiter = Limiter(spool.info.sample_rate, 10 ** (inner_dbtp / 20))
    done = _written(limiter.stream(spool.blocks(gain_db)), spool.info, writer)
    notes = []
    if limiter.reduction_db > NOTICED_DB:
        target = f" for {round(target_lufs, 2):g} LUFS" if math.isfinite(target_lufs) else ""
        notes.append(
            f"limited: {needed_db:+.1f} dB{target} would have taken the true peak to "
            f"{reached_dbtp:+.1f} dBTP; peaks lowered by up to {limiter.reduction_db:.1f} dB, "
            f"{limiter.share:.1%} of the time"
        )
    short_lu = target_lufs - done.loudness.integrated_lufs
    if short_lu > SHORT_LU:
        notes.append(
            f"{short_lu:.1f} LU short of {round(target_lufs, 2):g} LUFS: the ceiling of "
            f"{ceiling_dbtp:g} dBTP leaves no room for more"
        )
    return replace(done, warning="; ".join(notes))


def _written(
    blocks: Iterable[np.ndarray], info: AudioInfo, writer: Writer | None, warning: str = ""
) -> Mastered:
    """Write `blocks` if there is a writer, and measure them."""
    gauge, power, count = meter(info), 0.0, 0
    for block in blocks:
        gauge.add(block)
        power, count = power + float(np.square(block).sum(dtype=np.float64)), count + block.size
        if writer is not None:
            writer.write(block)
    return Mastered(gauge.finish(), 10 * math.log10(power / count) if power else -math.inf, warning)
