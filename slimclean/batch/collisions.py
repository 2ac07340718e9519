"""Outputs that would meet: refused before any work is done."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from slimclean.audio.folder import exists, is_folder
from slimclean.errors import UsageError


def real(path: Path) -> Path:
    """Return `path` without links; unlike `Path.resolve` before Python 3.13, links that go round do no harm."""
    return Path(os.path.realpath(path))


class RealPaths:
    """`real` for many paths, as text: a folder is asked once, for what it is and for its links."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}
        self._links: dict[str, set[str]] = {}

    def __call__(self, path: Path | str) -> str:
        folder, name = os.path.split(path)
        if name in ("", ".", "..") or name in self._links_in(folder):
            return os.path.realpath(path)
        return self.named(path)

    def named(self, path: Path | str) -> str:
        """Return the real path of what a folder holds under a name, without following that if it is a link."""
        folder, name = os.path.split(path)
        if folder not in self._folders:
            self._folders[folder] = os.path.join(os.path.realpath(folder), "")  # noqa: PTH118
        return self._folders[folder] + name

    def _links_in(self, folder: str) -> set[str]:
        if folder not in self._links:
            self._links[folder] = found = set()
            with suppress(OSError), os.scandir(folder or ".") as entries:
                found |= {entry.name for entry in entries if entry.is_symlink()}
        return self._links[folder]


def refuse_collisions(
    pairs: Sequence[tuple[Path, Path]], references: Iterable[Path] = (), *, in_place: bool = False
) -> None:
    """Raise `UsageError` where an output of `pairs` (source, output) is an input or another's output.

    `references` are inputs too. Names that differ by case or Unicode form alone are one where the file system
    takes them for one. With `in_place`, an output is its own input.
    """
    real_path = RealPaths()
    sources = {real_path(source) for source, _ in pairs}
    compared = {real_path(reference) for reference in references}
    taken: dict[str, tuple[Path, Path]] = {}
    for source, output in pairs:
        target = real_path(output)
        if target in compared:
            raise _is_reference(source, output)
        if target in sources and not in_place:
            meant = (one for one, its in pairs if real_path(its) == target and real_path(one) != target)
            raise _is_input(next(meant, source), output)
        if target in taken:
            first, _ = taken[target]
            if in_place:
                raise UsageError(f"{first} and {source} would both change {target}; give one of them")
            raise UsageError(
                f"{first} and {source} would both become {output}; "
                "rename one of them, or enhance them apart, each with an `output`"
            )
        taken[target] = source, output
    if in_place:
        return
    alike = {folded(path): path for path in (*compared, *sources)}
    file_system = _FileSystem()
    for target, (source, output) in taken.items():
        other = alike.get(folded(target))
        if other is not None and file_system.confuses(other, target):
            if other in compared:
                raise _is_reference(source, output)
            if other in sources:
                raise _is_input(source, output)
            raise UsageError(
                f"{taken[other][0]} and {source} would both become {output}: "
                "this file system takes the names of their outputs for one"
            )
        alike[folded(target)] = target


def folded(path: str) -> str:
    """Return what names that some file system takes for one have in common."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def _is_input(source: Path, output: Path) -> UsageError:
    if folded(str(real(source))) == folded(str(real(output))):
        return UsageError(f"{source}: the output {output} is one of the inputs; `in_place` replaces them")
    return UsageError(
        f"{source}: the output {output} is one of the inputs, made by an earlier run perhaps; "
        "give another `output`"
    )


def _is_reference(source: Path, output: Path) -> UsageError:
    return UsageError(f"{source}: the output {output} is one of the references, which would be lost")


class _FileSystem:
    """Finds out whether names of different case or form are one, by making a file for a moment."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, bool], bool] = {}

    def confuses(self, one: str, other: str) -> bool:
        """Tell whether two paths that are alike (see `folded`) would be one file."""
        parts = zip(Path(one).parts, Path(other).parts, strict=True)
        first, second = next(pair for pair in parts if pair[0] != pair[1])
        by_form = folded(first) == folded(second) and first.casefold() != second.casefold()
        folder = Path(other).parent
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
