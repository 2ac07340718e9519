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
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from slimclean.audio.atomic import lock, make_folder, open_text, replacing, shared_mode, writing
from slimclean.audio.folder import exists, is_file
from slimclean.batch.collisions import RealPaths, real
from slimclean.batch.options import Options
from slimclean.batch.report import COLUMNS, DECIMALS, EXISTS, FileResult
from slimclean.batch.report_reading import JSON_LINES, Row, csv_line, load_own, read_report
from slimclean.batch.task import Task
from slimclean.errors import UsageError
from slimclean.scoring.tables import no_formulas

if TYPE_CHECKING:
    from typing_extensions import Self  # until Python 3.11 `typing` has none

Key = tuple[str, str]
"""What recording and output are called, in their real folders: there is one row of them."""
Earlier = tuple[list[str], dict[Key, Row]]
"""Columns and rows of the report of an earlier run."""


def report_of(tasks: Sequence[Task], options: Options) -> AbstractContextManager[ReportWriter | None]:
    """Open the report that `options` ask for, if they do."""
    if not options.report:
        return nullcontext()
    return ReportWriter(Path(options.report), tasks, overwrite=options.overwrite)


def check_report(tasks: Sequence[Task], options: Options) -> None:
    """Raise `UsageError` where `report_of` would because of the report that is there; nothing is written."""
    if options.report:
        _earlier(Path(options.report), tasks, RealPaths(), overwrite=options.overwrite)


def with_earlier(results: Sequence[FileResult], report: Path) -> list[FileResult]:
    """Return `results` where recordings that were skipped have the rows that `report` has of them."""
    if not is_file(report):
        return list(results)
    real_path = RealPaths()
    rows = {_key(real_path, row.file, row.output): row for row in read_report(report)}

    def told(result: FileResult) -> FileResult:
        row = rows.get(_key(real_path, result.file, result.output)) if result.status == "skipped" else None
        return result if row is None else replace(row, file=result.file, output=result.output)

    return list(map(told, results))


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
        self._order = _keys(self._real, tasks)
        self._mode = shared_mode(task.source for task in tasks)
        self._columns = list(COLUMNS)
        self._rows: dict[Key, Row] = {}
        self._all_there = True
        self._stream = exists(path) and not is_file(path)  # such as /dev/stdout
        with writing(path):
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
        columns, self._rows = _earlier(self._path, tasks, self._real, overwrite=overwrite)
        self._columns += [column for column in columns if column not in self._columns]

    def add(self, result: FileResult) -> None:
        """Append a row. What cannot be written now is written later, or raises at the end."""
        key = _key(self._real, result.file, result.output)
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
            # An error before says more; rows that are all there merely are in the order in which they came.
            is_told = error is None and not self._all_there
            with writing(self._path) if is_told else suppress(OSError):
                if os.name != "posix":
                    self._close()  # there, what is open is not replaced
                if not self._stream:
                    first = [key for key in self._order if key in self._rows]
                    self._rows = {key: self._rows[key] for key in (*first, *self._rows)}
                    self._write_all()
        finally:
            self._close()

    def _close(self) -> None:
        with suppress(OSError):  # what is in its buffer is in `_rows` too
            self._file.close()

    def _write_all(self) -> None:
        with replacing(self._path, self._mode) as temporary, open_text(temporary) as file:
            file.write(self._header())
            if self._json:
                file.writelines(map(self._line, self._rows.values()))
            else:
                rows = list(map(no_formulas, self._rows.values()))
                csv.DictWriter(file, self._columns, restval="").writerows(rows)

    def _header(self) -> str:
        return "" if self._json else csv_line(self._columns)

    def _line(self, row: Row) -> str:
        if self._json:
            return json.dumps({name: row.get(name) for name in self._columns}, allow_nan=False) + "\n"
        return csv_line(no_formulas({name: row.get(name, "") for name in self._columns}).values())


def _key(real_path: RealPaths, source: object, output: object) -> Key:
    return real_path.named(str(source)), real_path.named(str(output))


def _keys(real_path: RealPaths, tasks: Sequence[Task]) -> list[Key]:
    return [_key(real_path, task.source, task.destination) for task in tasks]


def _earlier(path: Path, tasks: Sequence[Task], real_path: RealPaths, *, overwrite: bool) -> Earlier:
    """Return what a run over `tasks` goes on with; nothing where there is no report, or one to overwrite."""
    if not is_file(path):
        return [], {}
    columns, rows = load_own(path)
    keys = [_key(real_path, row["file"], row["output"]) for row in rows]
    if keys and not _of_one_set(keys, set(_keys(real_path, tasks)), tasks):
        if overwrite:
            return [], {}
        raise UsageError(
            f"{path} is the report of other recordings, such as {rows[0]['file']}; "
            "give another name, or `overwrite`"
        )
    return columns, dict(zip(keys, rows, strict=True))


def _of_one_set(keys: Sequence[Key], own: set[Key], tasks: Sequence[Task]) -> bool:
    trees = [(real(folder), real(outputs)) for folder, outputs in {task.tree for task in tasks if task.tree}]
    begin = [(os.path.join(folder, ""), os.path.join(outputs, "")) for folder, outputs in trees]  # noqa: PTH118
    return any(
        key in own or any(key[0].startswith(folder) and key[1].startswith(outputs) for folder, outputs in begin)
        for key in keys
    )


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
