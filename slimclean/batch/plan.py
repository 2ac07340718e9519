"""Which recordings, and where each result goes: the whole plan is made before any work is done."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slimclean import audio
from slimclean.audio import OutputForm, output_suffix
from slimclean.audio.folder import exists, is_file, is_folder, list_folder
from slimclean.audio.names import OUTPUT_SUFFIX, by_name, pair_name
from slimclean.batch.collisions import real, refuse_collisions
from slimclean.errors import UsageError


@dataclass(frozen=True)
class Task:
    """One recording to enhance, where the result goes, and a clean reference where one was asked for.

    What cannot be begun has a `problem`: a folder that may not be read.
    """

    source: Path
    destination: Path
    reference: Path | None = None
    problem: str = ""


def plan(
    paths: Sequence[Path],
    output: Path | None = None,
    form: OutputForm | None = None,
    *,
    in_place: bool = False,
    references: Path | None = None,
) -> list[Task]:
    """Pair every recording under `paths` with its output; nothing is read or written.

    A directory is walked recursively and mirrored; hidden files and our own outputs are left out. A path that
    does not exist but holds `*`, `?` or `[` is a pattern. Without `output`, `take.wav` goes to
    `take-enhanced.wav` and `takes/` to `takes-enhanced/`; with `in_place`, over the input. Raises `UsageError`
    for missing inputs or references, for outputs that collide and for an output that is an input.
    """
    form = form or OutputForm()
    if in_place and (output is not None or form.extension is not None):
        raise UsageError("`in_place` goes neither with `output` nor with `extension`")
    paths = [found for path in paths for found in _expand(path)]
    tasks = [task for path in paths for task in _plan_one(path, output, form, alone=len(paths) == 1)]
    if in_place:
        tasks = [replace(task, destination=task.source) for task in tasks]
        names = [task.source for task in tasks if not task.problem]
        if foreign := [name for name in names if name.suffix.lower() not in audio.WRITABLE]:
            raise UsageError(f"{foreign[0]}: cannot be written in place; leave out `in_place`")
    if not tasks:
        raise UsageError(f"no recordings found in {', '.join(map(str, paths))}")
    refuse_collisions([(task.source, task.destination) for task in tasks], in_place=in_place)
    return _with_references(tasks, paths, references) if references else tasks


def read_list(path: Path, text: str) -> list[Path]:
    """The paths in `text`, which came from `path`: one a line, or between NULs; # begins a comment line."""
    lines = text.split("\0") if "\0" in text else text.splitlines()
    found = [Path(line) for line in lines if line.strip() and not line.startswith("#")]
    if not found:
        raise UsageError(f"{path}: lists no recordings")
    return found


def _expand(path: Path) -> list[Path]:
    if _is_named(path):
        return [path]
    if not any(character in str(path) for character in "*?["):
        raise UsageError(f"{path}: no such file or directory")
    found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
    found = [one for one in found if is_folder(one) or one.suffix.lower() in audio.EXTENSIONS]
    if not found:
        raise UsageError(f"{path}: no recording matches")
    return [one for one in found if not is_our_output(one)]


def _is_named(path: Path) -> bool:
    """Whether there is a file or folder, or something in the way of looking; reading it then says what."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
    return True


def _plan_one(path: Path, output: Path | None, form: OutputForm, *, alone: bool) -> Iterator[Task]:
    if is_folder(path):
        folder = real(path)
        if not folder.name:
            raise UsageError(f"{path}: the root of a file system wants an `output`")
        if output is None:
            # "takes" stays relative, but "." and ".." have no name of their own to stand beside.
            beside = path if path.name == folder.name else folder
            root = beside.with_name(folder.name + OUTPUT_SUFFIX)
        else:
            root = output if alone else output / folder.name
        outputs = real(root) if folder in real(root).parents else None
        found = list_folder(path)
        for closed, reason in found.unreadable.items():
            yield Task(closed, root / closed.relative_to(path), problem=f"cannot be read ({reason})")
        for source in found.recordings:
            within = source.relative_to(path)
            ours = any(is_our_output(path / parent) for parent in (within, *within.parents[:-1]))
            # An output folder inside the input is not input either.
            if not ours and not (outputs and outputs in real(source).parents):
                yield Task(source, (root / within).with_suffix(output_suffix(source, form)))
    elif output is None:
        suffix = output_suffix(path, form)
        yield Task(path, path.with_name(f"{path.stem}{OUTPUT_SUFFIX}{suffix}"))
    elif alone and not is_folder(output) and output.suffix.lower() in audio.WRITABLE:
        yield Task(path, output)
    elif alone and not is_folder(output) and output.suffix:
        raise UsageError(f"{output}: cannot write {output.suffix}; a folder's name ends in /, or exists")
    else:
        yield Task(path, (output / path.name).with_suffix(output_suffix(path, form)))


def is_our_output(path: Path) -> bool:
    """Whether `take-enhanced.wav` or `takes-enhanced/` stands beside what it would be an output of."""
    if OUTPUT_SUFFIX not in path.name:
        return False
    folder = is_folder(path)
    stem = path.name if folder else path.stem
    if not stem.endswith(OUTPUT_SUFFIX) or stem == OUTPUT_SUFFIX:
        return False
    original = stem.removesuffix(OUTPUT_SUFFIX)
    if folder:
        return is_folder(path.with_name(original))
    return any(exists(path.with_name(original + extension)) for extension in audio.EXTENSIONS)


def _with_references(tasks: list[Task], paths: list[Path], references: Path) -> list[Task]:
    """`tasks` with the reference of the same relative path, or else of the same name (see `pair_name`)."""
    if is_file(references) and len(paths) == 1 and is_file(paths[0]):
        return [replace(task, reference=references) for task in tasks]
    folders = {path for path in paths if is_folder(path)}
    named: dict[str, Path] | None = None
    found = []
    for task in tasks:
        if task.problem:
            found.append(task)
            continue
        root = next((parent for parent in task.source.parents if parent in folders), task.source.parent)
        within = task.source.relative_to(root)
        reference: Path | None = references / within
        if not is_file(references / within):
            named = by_name(references) if named is None else named
            reference = named.get(pair_name(within))
        if reference is None:
            raise UsageError(f"{task.source}: no reference {pair_name(within)}.* in {references}")
        found.append(replace(task, reference=reference))
    return found
