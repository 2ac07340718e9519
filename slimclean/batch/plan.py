"""Which recordings, and where each result goes: the whole plan is made before any work is done."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from slimclean import audio
from slimclean.audio import OutputForm, output_suffix
from slimclean.audio.av.tracks import import_av
from slimclean.audio.containers import FOREIGN, same_container
from slimclean.audio.folder import exists, is_file, is_folder, list_folder
from slimclean.audio.names import OUTPUT_SUFFIX, by_name, pair_name
from slimclean.audio.outputs import check_form
from slimclean.batch.collisions import RealPaths, real, refuse_collisions
from slimclean.batch.inputs import expand, is_our_output, without_outputs
from slimclean.batch.options import Options
from slimclean.batch.report import OUTPUTS, tell_left_out
from slimclean.batch.resume import done_tasks
from slimclean.batch.task import STREAM, Task
from slimclean.errors import MissingDependencyError, UsageError
from slimclean.scoring.tables import check_name, is_standard_output

REPORTS = (".csv", ".jsonl")
"""How names of reports end."""


def plan(
    paths: Sequence[Path],
    output: str | Path | None = None,
    form: OutputForm | None = None,
    *,
    in_place: bool = False,
    references: Path | None = None,
    left_out: Counter[str] | None = None,
    ours: Sequence[Path] = (),
) -> list[Task]:
    """Pair every recording under `paths` with its output; nothing is read or written.

    A directory is walked recursively and mirrored; hidden files and our own outputs are left out, and so are
    outputs that are named together with what they were made of. A path that does not exist but holds `*`, `?`
    or `[` is a pattern. An `output` that ends in a slash is a folder. Without `output`, `take.wav` goes to
    `take-enhanced.wav` and `takes/` to `takes-enhanced/`; with `in_place`, over the input. Raises `UsageError`
    for missing inputs or references, for outputs that collide and for an output that is an input. Files that
    are left out are counted in `left_out`: by extension, or as `OUTPUTS`; not so `ours`, such as a report.
    """
    left_out = Counter() if left_out is None else left_out
    form = form or OutputForm()
    if in_place and (output is not None or form.extension is not None):
        raise UsageError("`in_place` goes neither with `output` nor with `extension`")
    named = RealPaths().named  # what is named twice is one recording
    paths = list({named(found): found for path in paths for found in expand(path, left_out)}.values())
    paths = without_outputs(paths, left_out)
    into = Path(output) if output is not None else None
    file = None if into is None or str(output).endswith(("/", os.sep)) or is_folder(into) else into
    if file is not None and exists(file) and not is_file(file):
        raise UsageError(f"{output}: is a pipe or a device; standard output is -")
    alone = len(paths) == 1
    if file and file.suffix.lower() in audio.WRITABLE:
        if not alone or is_folder(paths[0]):
            raise UsageError(
                f"{output}: the name of one file for several; a folder's name ends in /, or exists"
            )
        _refuse_other_container(file, form)
    tasks = [
        task for path in paths for task in _plan_one(path, into, form, left_out, ours, file=file, alone=alone)
    ]
    if in_place:
        tasks = [_in_place(task) for task in tasks]
    tasks = list({(named(task.source), named(task.destination)): task for task in tasks}.values())
    if not tasks:
        others = f" ({tell_left_out(left_out)})" if left_out else ""
        raise UsageError(f"no recordings found in {', '.join(map(str, paths))}{others}")
    _refuse_files_for_folders(tasks)
    tasks = _without_unheld(tasks, form)
    if references:
        tasks = _with_references(tasks, paths, references)
    refuse_collisions(
        [(task.source, task.destination) for task in tasks],
        [task.reference for task in tasks if task.reference],
        in_place=in_place,
    )
    return tasks


def _refuse_other_container(output: Path, form: OutputForm) -> None:
    """Raise `UsageError` where the name of an output says another container than `form`."""
    if form.extension is not None and not same_container(output.suffix, form.extension):
        named, asked = output.suffix.lower(), form.extension
        raise UsageError(f"{output}: its name says {named[1:]}, `extension` {asked[1:]}; leave out one of them")


def _refuse_files_for_folders(tasks: Sequence[Task]) -> None:
    """Raise `UsageError` where a file lies where the folder of outputs should be."""
    for folder in {task.tree[1] if task.tree else task.destination.parent for task in tasks}:
        there = next(filter(exists, (folder, *folder.parents)), folder)
        if exists(there) and not is_folder(there):
            raise UsageError(f"{there}: is a file, where a folder for outputs should be; give another `output`")


def _without_unheld(tasks: list[Task], form: OutputForm) -> list[Task]:
    """Give tasks whose container never holds what `form` asks for a problem; raise `UsageError` if all have."""
    problems: dict[str, str] = {}
    for extension in {task.destination.suffix for task in tasks}:
        try:
            check_form(extension, form)
        except UsageError as error:
            problems[extension] = str(error)
    if all(task.destination.suffix in problems for task in tasks):
        raise UsageError(problems[tasks[0].destination.suffix])
    return [replace(t, problem=t.problem or problems.get(t.destination.suffix, "")) for t in tasks]


def _in_place(task: Task) -> Task:
    """Put the output over the input; what a folder holds that cannot be written as it is has a problem."""
    problem = task.problem
    if not problem and task.source.suffix.lower() not in audio.WRITABLE:
        problem = "cannot be written in place; leave out `in_place`"
        if task.tree is None:
            raise UsageError(f"{task.source}: {problem}")
    tree = task.tree and (task.tree[0], task.tree[0])
    return replace(task, destination=task.source, tree=tree, problem=problem)


def _plan_one(
    path: Path,
    output: Path | None,
    form: OutputForm,
    left_out: Counter[str],
    ours: Sequence[Path],
    *,
    file: Path | None,
    alone: bool,
) -> Iterator[Task]:
    """Yield the tasks of one input; `file` is `output` where that may be the name of a file."""
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
        found = list_folder(path, ours)
        left_out.update(found.left_out)
        for closed, reason in found.unreadable.items():
            problem = f"cannot be read ({reason})"
            yield Task(closed, root / closed.relative_to(path), problem=problem, tree=(path, root))
        for source in found.recordings:
            within = source.relative_to(path)
            is_ours = any(is_our_output(path / parent) for parent in (within, *within.parents[:-1]))
            # An output folder inside the input is not input either.
            if is_ours or (outputs and outputs in real(source).parents):
                left_out[OUTPUTS] += 1
            else:
                mirrored = (root / within).with_suffix(output_suffix(source, form))
                yield Task(source, mirrored, tree=(path, root))
    elif output is None:
        suffix = output_suffix(path, form)
        yield Task(path, path.with_name(f"{path.stem}{OUTPUT_SUFFIX}{suffix}"))
    elif alone and file and file.suffix.lower() in audio.WRITABLE:
        yield Task(path, file)
    elif alone and file and file.suffix:
        raise UsageError(f"{output}: cannot write {output.suffix}; a folder's name ends in /, or exists")
    else:
        yield Task(path, (output / path.name).with_suffix(output_suffix(path, form)))


def _with_references(tasks: list[Task], paths: list[Path], references: Path) -> list[Task]:
    """Give `tasks` the reference of the same relative path, or else of the same name (see `pair_name`)."""
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


def plan_batch(
    paths: Sequence[str | Path],
    output: str | Path | None,
    options: Options,
    left_out: Counter[str] | None = None,
    ours: Sequence[Path] = (),
) -> list[Task]:
    """Plan what `enhance_paths` does with these arguments; raises `UsageError` and counts like `plan`.

    The report is one of `ours`.
    """
    if "" in (*paths, output):
        raise UsageError("an empty name; the current folder is called .")
    tasks = plan(
        [Path(path) for path in paths],
        output,
        options.form,
        in_place=options.in_place,
        references=Path(options.references) if options.references else None,
        left_out=left_out,
        ours=[*ours, *([Path(options.report)] if options.report else [])],
    )
    _refuse_report(tasks, options)
    return tasks


def plan_stream(paths: Sequence[str | Path], output: str | Path | None, options: Options) -> Task:
    """Plan one recording of which an end, or both, is `STREAM`; nothing is read or written.

    Raises `UsageError` for what a pipe cannot do: several recordings, folders, references, a cluster, the time
    of change, and an output without a container.
    """
    if len(paths) != 1:
        raise UsageError("- is one recording, alone")
    if options.in_place or options.references:
        raise UsageError("- goes without `in_place` and `references`")
    source, destination = Path(paths[0]), STREAM if output is None else Path(output)
    if options.form.keep_mtime:
        raise UsageError("- has no time of change; leave out `keep_mtime`")
    if options.scheduler is not None:
        raise UsageError("- is enhanced here; leave out `scheduler`")
    if source != STREAM and not is_file(source):
        raise UsageError(f"{source}: one file goes to -, not a folder or nothing")
    if destination != STREAM:
        _refuse_other_container(destination, options.form)
        if is_folder(destination) or str(output).endswith(("/", os.sep)):
            raise UsageError(f"{destination}: what comes from - has no name; give that of a file, not a folder")
        if destination.suffix.lower() not in audio.WRITABLE:
            what = (
                f"cannot write {destination.suffix}" if destination.suffix else "no extension, so no container"
            )
            raise UsageError(f"{destination}: {what}; there are {', '.join(sorted(audio.WRITABLE))}")
        _refuse_files_for_folders([Task(source, destination)])
    task = Task(source, destination)
    check_form((options.form.extension or "") if destination == STREAM else destination.suffix, options.form)
    _refuse_report([task], options)
    if destination == STREAM and options.report is not None and is_standard_output(Path(options.report)):
        raise UsageError(f"the report {options.report} is standard output, where the sound goes")
    return task


def without_av(tasks: Sequence[Task], options: Options) -> str:
    """Say which recordings want PyAV, and the line that installs it; nothing where it is there, or none does.

    Names of inputs and outputs tell; what the files hold may say otherwise, which enhancing finds out.
    """
    foreign = {task: name for task in tasks if not task.problem and (name := _foreign(task))}
    if not foreign:
        return ""
    try:
        import_av()
    except MissingDependencyError as error:
        done = done_tasks(tasks, options)
        names = [name for task, name in foreign.items() if task not in done]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{names[0]}{more}: {error}" if names else ""
    return ""


def _foreign(task: Task) -> Path | None:
    """Return which of input and output has the name of what PyAV alone reads or writes."""
    return next((p for p in (task.source, task.destination) if p.suffix.lower() in FOREIGN), None)


def _refuse_report(tasks: Sequence[Task], options: Options) -> None:
    if options.report is not None:
        real_path = RealPaths()
        files = [path for task in tasks for path in (task.source, task.destination, task.reference) if path]
        recordings = {*map(real_path.named, files), *map(real_path, files)}
        if {real_path.named(options.report), real_path(options.report)} & recordings:
            raise UsageError(f"the report {options.report} is also a recording")
        check_name(Path(options.report), REPORTS)
