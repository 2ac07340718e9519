"""Which recordings of several folders belong together: those of one name."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePath

from slimclean.audio.folder import is_folder, walk
from slimclean.errors import UsageError

OUTPUT_SUFFIX = "-enhanced"
"""What the outputs beside their inputs are called by: `take.wav` becomes `take-enhanced.wav`."""


def pair_name(path: PurePath) -> str:
    """Return what a path in its folder pairs by: no extension, no final `-enhanced`, in Unicode NFC."""
    if not path.name:
        return path.as_posix()
    return unicodedata.normalize("NFC", path.with_suffix("").as_posix()).removesuffix(OUTPUT_SUFFIX)


def by_name(folder: Path) -> dict[str, Path]:
    """Find every recording under `folder` by its `pair_name`.

    Raises `UsageError` for what is no folder and for two recordings of one name.
    """
    if not is_folder(folder):
        raise UsageError(f"{folder}: not a folder; recordings pair by name, two files or two folders")
    found: dict[str, Path] = {}
    for path in walk(folder):
        name = pair_name(path.relative_to(folder))
        if name in found:
            raise UsageError(f"{found[name]} and {path} have the same name")
        found[name] = path
    return found


def same_names(*folders: Path) -> list[dict[str, Path]]:
    """Find the recordings of each folder by name, in the order of the names, which are the same in all.

    Raises `UsageError` for folders without recordings and for recordings that one of the folders lacks.
    """
    sides = [by_name(folder) for folder in folders]
    names = [set[str](side) for side in sides]
    lonely = sorted(names[0].union(*names) - names[0].intersection(*names))
    if lonely:
        shown = ", ".join(lonely[:5]) + (f" and {len(lonely) - 5} more" if len(lonely) > 5 else "")
        raise UsageError(f"{len(lonely)} recordings have no counterpart on every side: {shown}")
    if not sides[0]:
        raise UsageError(f"no recordings in {folders[0]}")
    return [dict(sorted(side.items())) for side in sides]
