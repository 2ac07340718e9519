"""The report of a batch on the disk: CSV, or a JSON object a line where the name ends in .jsonl.

A report belongs to a set of recordings. A run over a set that has a report goes on with it: rows of earlier
runs stay until there is something new to say of their recordings.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from slimclean.audio.atomic import lock, make_folder, open_text, replacing, shared_mode
from slimclean.audio.folder import exists, is_file
from slimclean.batch.collisions import RealPaths, real
from slimclean.batch.options import Options
from slimclean.batch.report import COLUMNS, DECIMALS, EXISTS, FileResult
from slimclean.batch.report_reading import JSON_LINES, Row, csv_line, load_own
from slimclean.batch.task import Task
from slimclean.errors import SlimcleanError, UsageError

if TYPE_CHECKING:
    from typing import Self

Key = tuple[str, str]
"""What recording and output are called, in their real folders: there is one row of them."""


def report_of(tasks: Sequence[Task], options: Options) -> AbstractContextManager[ReportWriter | None]:
    """Open the report that `options` ask for, if they do."""
    if not options.report:
        return nullcontext()
    return ReportWriter(Path(options.report), tasks, overwrite=options.overwrite)


class ReportWriter:
    """A row per recording, each on the disk as it comes; a context manager.

    Where `path` is the report of an earlier run over the set of `tasks`, its rows stay: a recording that is
    skipped because it was enhanced then keeps its row, one that is tried again gets a new one. In the end there
    is one row a recording, in the order of the tasks, then those of recordings that are no tasks any more.

    A report is of the same set if it has a row of one of the tasks, or of a recording in a folder that was
    given, with its output in the folder of outputs. Raises `UsageError` for the report of another set, unless
    `overwrite`, for what is no report, and while another run writes it; `SlimcleanError` for what cannot be
    written.
    """

    def __init__(self, path: Path, tasks: Sequence[Task] = (), *, overwrite: bool = False) -> None:
        self._path = path
        self._json = path.suffix.lower() == JSON_LINES
        self._real = RealPaths()
        self._order = [self._key(task.source, task.destination) for task in tasks]
        self._mode = shared_mode(task.source for task in tasks)
        self._columns = list(COLUMNS)
        self._rows: dict[Key, Row] = {}
        self._all_there = True
        self._stream = exists(path) and not is_file(path)  # such as /dev/stdout
        try:
            if self._stream:
                self._file = self._opened()
                self._begin_stream()
            else:
                with self._claimed():
                    self._take_over(tasks, overwrite=overwrite)
                    self._write_all()
                    self._file = self._opened()
                    if not lock(self._file.fileno()):
                        self._file.close()
                        raise self._busy()
        except OSError as error:
            raise _cannot_write(path, error) from error

    def _opened(self) -> TextIO:
        return self._path.open("a", newline="", encoding="utf-8", errors="surrogateescape")

    def _begin_stream(self) -> None:
        try:
            self._file.write(self._header())
            self._file.flush()
        except OSError:
            self._close()
            raise

    @contextmanager
    def _claimed(self) -> Iterator[None]:
        """Lock the report that is there, or an empty one, while it is replaced by one that is locked too.

        So of two runs that begin together one raises, before it has written anything.
        """
        if os.name != "posix":  # there, what is open is not replaced
            yield
            return
        make_folder(self._path.parent)
        flags, is_new = os.O_RDWR | os.O_CLOEXEC, True
        try:
            claim = os.open(self._path, flags | os.O_CREAT | os.O_EXCL, self._mode)
        except FileExistsError:
            claim, is_new = os.open(self._path, flags | os.O_CREAT, self._mode), False
        try:
            if not lock(claim) or not self._is_at_path(claim):
                raise self._busy()
            try:
                yield
            except BaseException:
                with suppress(OSError):
                    if is_new and self._is_at_path(claim):
                        self._path.unlink()
                raise
        finally:
            os.close(claim)

    def _is_at_path(self, descriptor: int) -> bool:
        """Tell whether an open file still has the report's name."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def _busy(self) -> UsageError:
        return UsageError(f"{self._path}: another run writes it at the moment; give another name")

    def _take_over(self, tasks: Sequence[Task], *, overwrite: bool) -> None:
        """Begin with the rows of an earlier run over the same set."""
        if not is_file(self._path):
            return
        columns, rows = load_own(self._path)
        keys = [self._key(row["file"], row["output"]) for row in rows]
        if keys and not _of_one_set(keys, set(self._order), tasks):
            if overwrite:
                return
            raise UsageError(
                f"{self._path} is the report of other recordings, such as {rows[0]['file']}; "
                "give another name, or `overwrite`"
            )
        self._columns += [column for column in columns if column not in self._columns]
        self._rows = dict(zip(keys, rows, strict=True))

    def add(self, result: FileResult) -> None:
        """Append a row. What cannot be written now is written later, or raises at the end."""
        key = self._key(result.file, result.output)
        earlier = self._rows.get(key)
        was_enhanced = earlier is not None and earlier["status"] == "enhanced"
        is_there = result.error == EXISTS or (was_enhanced and is_file(Path(result.output)))
        if result.status == "skipped" and earlier is not None and was_enhanced and is_there:
            warnings = str(earlier.get("warnings") or "")
            if result.warnings not in warnings:
                earlier["warnings"] = "; ".join(filter(None, [warnings, result.warnings]))
            return
        row = {name: _cell(name, getattr(result, name)) for name in COLUMNS}
        if self._json:
            row = {name: _number(cell, getattr(result, name)) for name, cell in row.items()}
        self._rows[key] = row
        try:
            self._file.write(self._line(row))
            self._file.flush()  # of what could not be written before, too
            self._all_there = True
        except OSError:
            self._all_there = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if os.name != "posix":
                self._close()  # there, what is open is not replaced
            if not self._stream:
                first = [key for key in self._order if key in self._rows]
                self._rows = {key: self._rows[key] for key in (*first, *self._rows)}
                self._write_all()
        except OSError as failure:
            if error is None and not self._all_there:  # else they merely are in the order in which they came
                raise _cannot_write(self._path, failure) from failure
        finally:
            self._close()

    def _close(self) -> None:
        with suppress(OSError):  # what is in its buffer is in `_rows` too
            self._file.close()

    def _key(self, source: object, output: object) -> Key:
        return self._real.named(str(source)), self._real.named(str(output))

    def _write_all(self) -> None:
        with replacing(self._path, self._mode) as temporary, open_text(temporary) as file:
            file.write(self._header())
            if self._json:
                file.writelines(map(self._line, self._rows.values()))
            else:
                csv.DictWriter(file, self._columns, restval="").writerows(self._rows.values())

    def _header(self) -> str:
        return "" if self._json else csv_line(self._columns)

    def _line(self, row: Row) -> str:
        if self._json:
            return json.dumps({name: row.get(name) for name in self._columns}, allow_nan=False) + "\n"
        return csv_line(row.get(name, "") for name in self._columns)


def _of_one_set(keys: Sequence[Key], own: set[Key], tasks: Sequence[Task]) -> bool:
    trees = [(real(folder), real(outputs)) for folder, outputs in {task.tree for task in tasks if task.tree}]
    begin = [(os.path.join(folder, ""), os.path.join(outputs, "")) for folder, outputs in trees]  # noqa: PTH118
    return any(
        key in own or any(key[0].startswith(folder) and key[1].startswith(outputs) for folder, outputs in begin)
        for key in keys
    )


def _cannot_write(path: Path, error: OSError) -> SlimcleanError:
    return SlimcleanError(f"cannot write {path} ({error.strerror or error})")


def _cell(name: str, value: object) -> object:
    if value is None or value == float("-inf"):  # the level of silence
        return ""
    if isinstance(value, float) and name in DECIMALS:
        return f"{value:.{DECIMALS[name]}f}"
    return value


def _number(cell: object, value: object) -> object:
    """Return the cell as JSON has it: numbers as numbers, and null for what is absent or no finite number."""
    if isinstance(value, float):
        return float(str(cell)) if math.isfinite(value) else None
    return None if cell == "" and not isinstance(value, str) else value
