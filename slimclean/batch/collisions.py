"""Outputs that would meet: refused before any work is done."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from slimclean.audio.folder import exists, is_folder
from slimclean.errors import UsageError


def real(path: Path) -> Path:
    """Return `path` without links; unlike `Path.resolve` before Python 3.13, links that go round do no harm."""
    return Path(os.path.realpath(path))


class RealPaths:
    """`real` for many paths: what their folders are is asked once."""

    def __init__(self) -> None:
        self._folders: dict[Path, Path] = {}

    def __call__(self, path: Path) -> Path:
        if path.name in ("", "..") or os.path.islink(path):  # noqa: PTH114
            return real(path)
        if path.parent not in self._folders:
            self._folders[path.parent] = real(path.parent)
        return self._folders[path.parent] / path.name


def refuse_collisions(pairs: Sequence[tuple[Path, Path]], *, in_place: bool = False) -> None:
    """Raise `UsageError` where an output of `pairs` (source, output) is an input or another's output.

    Names that differ by case or Unicode form alone are one where the file system takes them for one. With
    `in_place`, an output is its own input.
    """
    real_path = RealPaths()
    sources = {real_path(source) for source, _ in pairs}
    taken: dict[Path, tuple[Path, Path]] = {}
    for source, output in pairs:
        target = real_path(output)
        if target in sources and not in_place:
            raise _is_input(source, output)
        if target in taken:
            raise UsageError(f"{taken[target][0]} and {source} would both become {output}")
        taken[target] = source, output
    if in_place:
        return
    alike = {folded(path): path for path in sources}
    file_system = _FileSystem()
    for target, (source, output) in taken.items():
        other = alike.get(folded(target))
        if other is not None and file_system.confuses(other, target):
            if other in sources:
                raise _is_input(source, output)
            raise UsageError(
                f"{taken[other][0]} and {source} would both become {output}: "
                "this file system takes the names of their outputs for one"
            )
        alike[folded(target)] = target


def folded(path: Path | str) -> str:
    """Return what names that some file system takes for one have in common."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", str(path)).casefold())


def _is_input(source: Path, output: Path) -> UsageError:
    return UsageError(f"{source}: the output {output} is one of the inputs; `in_place` replaces them")


class _FileSystem:
    """Finds out whether names of different case or form are one, by making a file for a moment."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, bool], bool] = {}

    def confuses(self, one: Path, other: Path) -> bool:
        """Tell whether two paths that are alike (see `folded`) would be one file."""
        first, second = next(pair for pair in zip(one.parts, other.parts, strict=True) if pair[0] != pair[1])
        by_form = folded(first) == folded(second) and first.casefold() != second.casefold()
        folder = other.parent
        while not is_folder(folder):
            folder = folder.parent
        key = folder.stat().st_dev, by_form
        if key not in self._known:
            self._known[key] = _try(folder, first, second)
        return self._known[key]


def _try(folder: Path, first: str, second: str) -> bool:
    try:
        with tempfile.TemporaryDirectory(prefix=".slimclean-", dir=folder) as place:
            Path(place, first).touch()
            return exists(Path(place, second))
    except OSError:  # then nothing can be written here anyway
        return False
