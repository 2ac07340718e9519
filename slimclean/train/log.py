"""What a training run says while it runs: a progress bar, CSV files, and a clean answer to signals."""

from __future__ import annotations

import csv
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from tqdm import tqdm

from slimclean.audio.atomic import replacing

EVERY = 25
"""Steps between two rows."""
SMOOTHING = 0.98


class Log:
    """A bar on stderr if that is a terminal, and a row of smoothed values every `EVERY` steps."""

    def __init__(self, path: Path, step: int, steps: int) -> None:
        self.path = path
        self.bar = tqdm(total=steps, initial=step, unit="step", disable=None, dynamic_ncols=True)
        self._smooth: dict[str, float] = {}
        self._audio_s = 0.0
        self._since = time.monotonic()

    def add(self, step: int, audio_s: float, values: dict[str, float], facts: dict[str, float]) -> None:
        """Take in a step's losses and the seconds of audio it trained on; `facts` are written as they are."""
        for name, value in values.items():
            old = self._smooth.get(name, math.nan)
            if not math.isfinite(value):  # such a step changes nothing, and would end the mean
                value = old
            self._smooth[name] = value if math.isnan(old) else SMOOTHING * old + (1 - SMOOTHING) * value
        self._audio_s += audio_s
        self.bar.update()
        if step % EVERY == 0:
            speed = self._audio_s / (time.monotonic() - self._since)
            self.restart_clock()
            self.bar.set_postfix(self._smooth | {"audio_s/s": speed}, refresh=False)
            append_row(self.path, {"step": step} | facts | {"audio_s_per_s": speed} | self._smooth)

    def restart_clock(self) -> None:
        """Leave out of the speed what happened since the last row, a validation say."""
        self._audio_s, self._since = 0.0, time.monotonic()


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a CSV file: under its header, which grows by columns that are new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = _lines(path)
    header = next(csv.reader(lines), [])
    columns = header + [name for name in row if name not in header]
    if columns != header:
        empty = "," * (len(columns) - len(header)) + "\r\n"
        grown = [",".join(columns) + "\r\n", *(line.rstrip("\r\n") + empty for line in lines[1:])]
        with replacing(path) as temporary:
            temporary.write_text("".join(grown), encoding="utf-8", newline="")
    with path.open("a", newline="", encoding="utf-8") as file:
        values = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
        csv.DictWriter(file, columns).writerow(values)


def drop_rows_after(path: Path, step: int) -> None:
    """Remove rows of later steps, and half a row, from a CSV file that a killed run left."""
    lines = _lines(path)
    kept = [line for number, line in enumerate(lines) if number == 0 or _step(line) <= step]
    if len(kept) < len(lines):
        with replacing(path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8", newline="")


def has_step(path: Path, step: int) -> bool:
    """Tell whether a CSV file has rows of this step."""
    return any(_step(line) == step for line in _lines(path))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []


def _step(line: str) -> float:
    """Return the step of a row; infinity for what is none."""
    first = line.split(",")[0]
    return int(first) if line.endswith("\n") and first.isdecimal() else math.inf


class Stop:
    """Says whether a signal asked to stop, and ends the run as that signal does."""

    number: int | None = None

    def ask(self, number: int, _: FrameType | None = None) -> None:
        self.number = number

    def end(self) -> NoReturn:
        """Raise `KeyboardInterrupt` for SIGINT, else `SystemExit` with 128 and the signal's number."""
        if self.number is None or self.number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + self.number)


@contextmanager
def stop_requested() -> Iterator[Stop]:
    """Note SIGINT, SIGTERM and SIGHUP instead of ending, so that a step can be finished and saved first."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        yield stop
        return
    numbers = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))
    heard = [n for n in numbers if n is not None and signal.getsignal(n) != signal.SIG_IGN]
    before = {n: signal.signal(n, stop.ask) for n in heard}
    try:
        yield stop
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
