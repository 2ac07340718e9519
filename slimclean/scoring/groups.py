"""Summaries of scores by group: a level of folders, or what a CSV file says."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from slimclean.audio.names import pair_name
from slimclean.errors import UsageError
from slimclean.scoring.pairs import Score, summarise

NO_GROUP = "(none)"
ALL = "(all)"


def grouping(by: str) -> Callable[[str], str]:
    """Return what finds the group of a pair by its name.

    `by` is the level of a folder in the name, 1 for the outermost, or a CSV file with columns `file` and
    `group`, where files are named by their paths in the scored folder, with extension or without. Raises
    `UsageError` for anything else.
    """
    if by.isdecimal():
        if int(by) < 1:
            raise UsageError("`by`: levels of folders count from 1")
        return lambda name: _folder(name, int(by))
    groups = _read(Path(by))

    def of(name: str) -> str:
        group = groups.get(name) or groups.get(pair_name(PurePosixPath(name)))
        if group is None:
            raise UsageError(f"`by`: {by} has no group for {name}")
        return group

    return of


def _folder(name: str, level: int) -> str:
    folders = PurePosixPath(name).parts[:-1]
    return folders[level - 1] if level <= len(folders) else NO_GROUP


def _read(path: Path) -> dict[str, str]:
    """Return the group of each file in a CSV, by its name as it stands there and by its `pair_name`."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            if not {"file", "group"} <= {*(reader.fieldnames or ())}:
                raise UsageError(f"`by`: {path} has no columns file and group")
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise UsageError(
            f"`by` takes a level of folders or a CSV file; cannot read {path} ({error.strerror})"
        ) from error
    except csv.Error as error:
        raise UsageError(f"`by`: {path} is no CSV file ({error})") from error
    groups: dict[str, str] = {}
    for line, row in rows:
        name, group = row["file"], row["group"]
        if not name or group is None or None in row:
            raise UsageError(f"`by`: {path}, line {line}: its cells are not those of the columns")
        for key in {name, pair_name(PurePosixPath(name))}:
            if groups.setdefault(key, group or NO_GROUP) != (group or NO_GROUP):
                raise UsageError(f"`by`: {path}, line {line}: {name} is already in {groups[key]}")
    return groups


def summarise_by_group(scores: Sequence[Score], columns: Sequence[str]) -> list[dict[str, object]]:
    """Summarise each group in the order of their names, then all."""
    groups = sorted({score.group or "" for score in scores})
    rows: list[dict[str, object]] = []
    for group in groups:
        members = [score for score in scores if score.group == group]
        rows += [{"group": group} | row for row in summarise(members, columns)]
    return rows + [{"group": ALL} | row for row in summarise(scores, columns)]
