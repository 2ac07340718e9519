"""What lies in a folder: recordings, what may not be read, and what is left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from slimclean.audio.containers import EXTENSIONS
from slimclean.audio.kinds import is_marked
from slimclean.defaults import OPTIONS_FILE
from slimclean.errors import AudioError

LINKS = "links to folders"


@dataclass
class Listing:
    """The recordings under a folder in sorted order, the files of a folder before those of its folders."""

    recordings: list[Path] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)
    """Folders that could not be listed, and why."""
    left_out: Counter[str] = field(default_factory=Counter)
    """How many files there are by extension, in small letters, that are no recordings, and `LINKS`."""


def list_folder(folder: Path, ours: Iterable[Path] = ()) -> Listing:
    """Look through `folder` and everything below; never raises.

    What has no extension is a recording if its first bytes say so. Hidden files and folders are skipped;
    links to folders are not followed, so loops do no harm. `ours` and files of options are not counted.
    """
    found = Listing()
    uncounted = {os.path.abspath(path) for path in ours}  # noqa: PTH100
    ahead = [folder]
    while ahead:
        parent = ahead.pop()
        folders: list[Path] = []
        try:
            with os.scandir(parent) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    path = parent / entry.name
                    if not entry.name.startswith(".") and _is_ahead(entry, path, found, uncounted):
                        folders.append(path)
        except OSError as error:
            found.unreadable[parent] = error.strerror or str(error)
        ahead += reversed(folders)
    return found


def _is_ahead(entry: os.DirEntry[str], path: Path, found: Listing, uncounted: Container[str]) -> bool:
    """Tell whether `entry` is a folder to look through; what it is else goes into `found`."""
    if not _is_folder(entry):
        if path.suffix.lower() in EXTENSIONS or (not path.suffix and is_marked(path)):
            found.recordings.append(path)
        elif path.name != OPTIONS_FILE and os.path.abspath(path) not in uncounted:  # noqa: PTH100
            found.left_out[path.suffix.lower()] += 1
        return False
    if entry.is_symlink():
        found.left_out[LINKS] += 1
        return False
    return True


def exists(path: Path) -> bool:
    """Tell whether something is at `path`; unlike with `Path.exists`, names that are too long do no harm."""
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: Path) -> bool:
    """Tell whether `path` is a file, as `exists` does."""
    return os.path.isfile(path)  # noqa: PTH113


def is_device(path: Path) -> bool:
    """Tell whether `path` is there and neither file nor folder: a device such as /dev/stdout, or a pipe."""
    return exists(path) and not is_file(path) and not is_folder(path)


def is_folder(path: Path) -> bool:
    """Tell whether `path` is a folder, as `exists` does."""
    return os.path.isdir(path)  # noqa: PTH112


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that goes round, or into what is closed: reading it says why
        return False


def walk(folder: Path) -> Iterator[Path]:
    """Yield the recordings under `folder` (see `list_folder`); raises `AudioError` for a closed folder."""
    found = list_folder(folder)
    for closed, reason in found.unreadable.items():
        raise AudioError(f"{closed}: cannot be read ({reason})")
    yield from found.recordings
