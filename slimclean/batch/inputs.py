"""Which paths somebody means: those of a list, those that a pattern matches, and no outputs of ours."""

from __future__ import annotations

import codecs
import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from slimclean import audio
from slimclean.audio.folder import exists, is_file, is_folder
from slimclean.audio.names import OUTPUT_SUFFIX
from slimclean.batch.collisions import RealPaths
from slimclean.batch.report import OUTPUTS
from slimclean.batch.task import STREAM
from slimclean.errors import UsageError

MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
"""With which PowerShell begins a text. That of UTF-8 says nothing new."""
_SPELLED = tuple(one for extension in audio.EXTENSIONS for one in (extension, extension.upper()))
"""Extensions as recordings have them: those of recorders are in capitals."""


def read_list(path: Path, stream: BinaryIO) -> list[Path]:
    """Read the paths that the list `path` names, or that in `stream` for `-`; see `parse_list`.

    It is UTF-8, of which bytes that are none survive, or UTF-16 where its byte-order mark says so. Raises
    `UsageError` for a list that cannot be read or is empty.
    """
    try:
        data = stream.read() if path == STREAM else path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    return parse_list(path, _decoded(path, data))


def _decoded(path: Path, data: bytes) -> str:
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding, "surrogateescape" if encoding == "utf-8" else "strict")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not {encoding.upper()}, as its first bytes say") from error


def parse_list(path: Path, text: str) -> list[Path]:
    """Return the paths in `text`, which came from `path`: one a line, or between NULs.

    A line that begins with # is a comment, unless something of that name exists. Lines end in LF or CRLF alone:
    the other characters at which `str.splitlines` splits may be part of a name. Raises `UsageError` for none.
    """
    text = text.removeprefix("\ufeff")  # a byte-order mark
    if "\0" in text:
        lines = text.split("\0")
    else:
        lines = [line.removesuffix("\r") for line in text.split("\n")]
        lines = [line for line in lines if not line.startswith("#") or exists(Path(line))]
    found = [Path(line) for line in lines if line.strip()]
    if not found:
        raise UsageError(f"{path}: lists no recordings")
    return found


def expand(path: Path, left_out: Counter[str]) -> list[Path]:
    """Return what `path` names: itself, or what it matches as a pattern, without outputs of earlier runs.

    Those are counted in `left_out`. Raises `UsageError` for what is not there, and for a pattern that matches
    no input.
    """
    if _is_named(path):
        return [path]
    if not any(character in str(path) for character in "*?["):
        raise UsageError(f"{path}: no such file or directory")
    found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
    found = [one for one in found if is_folder(one) or one.suffix.lower() in audio.EXTENSIONS]
    walked = set(found)  # a folder brings what is in it
    found = [one for one in found if walked.isdisjoint(one.parents)]
    if not found:
        raise UsageError(f"{path}: no recording matches")
    inputs = [one for one in found if not is_our_output(one)]
    if not inputs:
        raise UsageError(f"{path}: matches only outputs of earlier runs, such as {found[0]}")
    _count(len(found) - len(inputs), left_out)
    return inputs


def _is_named(path: Path) -> bool:
    """Tell whether there is something, or something in the way of looking: reading it then says what."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
    return True


def is_our_output(path: Path) -> bool:
    """Tell whether `take-enhanced.wav` or `takes-enhanced/` stands beside what it would be an output of."""
    originals = list(_made_from(path))
    return bool(originals) and any(map(is_folder if is_folder(path) else is_file, originals))


def without_outputs(paths: Sequence[Path], left_out: Counter[str]) -> list[Path]:
    """Leave out, and count, what is an output of another of `paths`: a shell makes `*.wav` both of them."""
    named = RealPaths().named
    given = {named(path) for path in paths}

    def is_made_from(original: Path, path: Path) -> bool:
        return named(original) in given and is_folder(original) == is_folder(path)

    inputs = [path for path in paths if not any(is_made_from(one, path) for one in _made_from(path))]
    _count(len(paths) - len(inputs), left_out)
    return inputs


def _count(outputs: int, left_out: Counter[str]) -> None:
    if outputs:
        left_out[OUTPUTS] += outputs


def _made_from(path: Path) -> Iterator[Path]:
    """Yield the paths that `path` may be an output of, by its name; most of them are not there."""
    if OUTPUT_SUFFIX not in path.name:
        return
    folder = is_folder(path)
    stem = path.name if folder else path.stem
    if stem.endswith(OUTPUT_SUFFIX) and stem != OUTPUT_SUFFIX:
        for extension in ("",) if folder else ("", path.suffix, *_SPELLED):
            yield path.with_name(stem.removesuffix(OUTPUT_SUFFIX) + extension)
