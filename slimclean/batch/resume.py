"""What an earlier run made already: the files that are there under the names of outputs."""

from __future__ import annotations

import contextlib
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from slimclean.audio.folder import exists
from slimclean.batch.collisions import folded
from slimclean.batch.options import Options
from slimclean.batch.task import STREAM, Task


def done_tasks(tasks: Sequence[Task], options: Options) -> set[Task]:
    """Find those whose outputs an earlier run made. Each folder of outputs is listed once."""
    if options.overwrite or options.in_place:
        return set()
    tasks = [task for task in tasks if task.destination != STREAM]
    outputs = {task.destination for task in tasks}
    listed: dict[Path, dict[str, list[Path]]] = {}
    done = set()
    for task in tasks:
        folder = task.destination.parent
        if folder not in listed:
            listed[folder] = _files_by_name(folder)
        for path in listed[folder].get(folded(task.destination.name), []):
            # Of another case or Unicode form, it is the output where it is no other's.
            if path == task.destination or (path not in outputs and _names_meet(path, task.destination)):
                done.add(task)
    return done


def _files_by_name(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_file():
                    found.setdefault(folded(entry.name), []).append(folder / entry.name)
    return found


def _names_meet(path: Path, output: Path) -> bool:
    same_form = unicodedata.normalize("NFC", path.name) == unicodedata.normalize("NFC", output.name)
    return same_form or exists(output)
