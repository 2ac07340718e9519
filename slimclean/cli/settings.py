"""Options that need not be on the command line: presets, and `slimclean.toml` beside the recordings.

The command line goes before the file, the file before the preset, the preset before the default.
"""

from __future__ import annotations

import difflib
import glob
import inspect
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer

from slimclean.batch.task import STREAM
from slimclean.cli.common import SOURCES, Command, complain, is_given, one_line_errors
from slimclean.defaults import OPTIONS_FILE
from slimclean.errors import UsageError

KINDS = (Path, bool, int, float, str)
NOT_IN_A_FILE = frozenset({"config", "dry-run", "help"})
BY_HAND = frozenset({"backend", "scheduler", "in-place"})
"""What a file that merely lay beside recordings, which may come from anyone, does not decide: a scheduler may
run programs here, and in place nothing of the recordings is left."""
_CONTRADICTED = {"target-uf": ("uf",), "in-place": ("output", "format"), "output": ("in-place",)}
"""What an option of the command line leaves no room for in a file or a preset, besides itself."""
_TAKEN = {"uf": "auto or a number", "loudness": "a number in LUFS, batch or off"}
"""What an option takes where that is more than text."""
_FILE = "slimclean.file"
"""The file that options come from."""
_LISTS = "slimclean.lists"
"""What the lists of inputs hold that were read."""


@dataclass(frozen=True)
class Preset:
    """What a set of options is for, and the options with a reason each."""

    purpose: str
    options: Mapping[str, tuple[Any, str]]


PRESETS: Mapping[str, Preset] = {
    "podcast": Preset(
        "an episode or its takes, for a podcast platform",
        {
            "target-uf": (0.5, "more of the network than by default: short, and heard with attention"),
            "loudness": (-16, "LUFS that Apple and most platforms ask for"),
            "true-peak": (-1, "dBTP, so that MP3 and AAC do not clip"),
        },
    ),
    "interview": Preset(
        "several people in several files that belong together",
        {
            "target-uf": (0.5, "as for a podcast"),
            "atten-lim-db": (24, "some of the room stays, so that the people sound as if in one"),
            "loudness": (-16, "LUFS of all files as one programme"),
            "loudness-per": ("batch", "one gain for all files: who was softer stays softer"),
            "true-peak": (-1, "dBTP"),
        },
    ),
    "lecture": Preset(
        "hours of one speaker in a hall",
        {
            "target-uf": (0.16, "a third less compute than by default"),
            "loudness": (-16, "LUFS, for small loudspeakers"),
            "true-peak": (-1, "dBTP"),
        },
    ),
    "archive": Preset(
        "recordings that are kept: gentle, lossless, at the level they came with",
        {
            "uf": (1, "all of the network"),
            "atten-lim-db": (12, "nothing falls by more, so that nothing is lost for good"),
            "highband": ("keep", "content above 8 kHz stays as it is"),
            "format": ("flac", "no loss in the encoding"),
            "keep-mtime": (True, "the time of last change stays"),
        },
    ),
}


class ConfigurableCommand(Command):
    """A command whose options may come from a preset and from a file; --no-NAME switches off what those say."""

    def make_parser(self, ctx: Any) -> Any:
        """Let the parser know the opposite of each switch; help does not list them."""
        parser: Any = super().make_parser(ctx)
        for parameter in self.get_params(ctx):
            name = _option(parameter)
            if getattr(parameter, "is_flag", False) and name not in NOT_IN_A_FILE:
                parser.add_option(
                    parameter, [f"--no-{name}"], parameter.name, action="store_const", const=False
                )
        return parser

    def prepare(self, ctx: Any, given: Mapping[str, Any]) -> None:
        """Fill click's map of defaults from the file and the preset that hold."""
        super().prepare(ctx, given)
        with one_line_errors():
            self._set_defaults(ctx, given)

    def _set_defaults(self, ctx: Any, given: Mapping[str, Any]) -> None:
        parameters = {_option(p): p for p in self.get_params(ctx) if p.param_type_name == "option"}
        file = _find(given.get("config"), [*(given.get("paths") or ()), *_listed(ctx, given)])
        values = _read(file, self._kinds(parameters)) if file else {}
        by_hand = {k: given[p.name] for k, p in parameters.items() if given.get(p.name) is not None}
        if given.get("config") is None and (names := (BY_HAND & values.keys()) - by_hand.keys()):
            raise UsageError(f"{file}: {min(names)} has to be said by hand, or with --config {file}")
        ctx.meta[_FILE] = file
        sources = dict.fromkeys(values, str(file))
        preset = given.get("preset") or values.get("preset")
        if preset is not None:
            for name, (value, _) in _preset(preset, file if given.get("preset") is None else None).items():
                if name not in values:
                    values[name], sources[name] = value, f"preset {preset}"
        kept = values.keys() - _overruled(by_hand)
        ctx.default_map = {**(ctx.default_map or {}), **{parameters[k].name: values[k] for k in kept}}
        SOURCES.set({name: sources[name] for name in kept})

    def _kinds(self, parameters: Mapping[str, Any]) -> dict[str, type]:
        """Path, bool, int, float or str for each option that a file may hold, from the command's signature."""
        assert self.callback is not None
        hints = get_type_hints(inspect.unwrap(self.callback))
        return {
            option: next(kind for kind in KINDS if kind in (hints[p.name], *get_args(hints[p.name])))
            for option, p in parameters.items()
            if option not in NOT_IN_A_FILE
        }


def _overruled(by_hand: Mapping[str, Any]) -> set[str]:
    """Name what a file or a preset says in vain: what is said `by_hand`, and what contradicts that."""
    switched_off = {name for name, value in by_hand.items() if value is False}
    names = {*by_hand, *(one for name in by_hand.keys() - switched_off for one in _CONTRADICTED.get(name, ()))}
    if "output" in by_hand:
        from slimclean.audio import WRITABLE

        names |= {"format"} if Path(by_hand["output"]).suffix.lower() in WRITABLE else set()
    return names


def _option(parameter: Any) -> str:
    """Return the longest name of an option, without dashes."""
    return str(max(parameter.opts, key=len)).lstrip("-")


def _preset(name: str, file: Path | None) -> Mapping[str, tuple[Any, str]]:
    """Return the options of a preset, which `file` names, or else the command line."""
    if name not in PRESETS:
        where = f"{file}: " if file else ""
        raise UsageError(f"{where}`preset` takes {', '.join(PRESETS)}, not {name}{_near(name, PRESETS)}")
    return PRESETS[name].options


def _near(name: str, known: Any) -> str:
    found = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {found[0]}?" if found else ""


def _find(named: str | None, paths: Sequence[str]) -> Path | None:
    """Return the file named, or the one that lies beside the recordings."""
    if named is not None:
        return Path(named)
    found: list[Path] = []
    elsewhere: Path | None = None
    matches = (match for path in map(str, paths) for match in (glob.glob(path, recursive=True) or [path]))  # noqa: PTH207
    for path in map(Path, matches):
        # Unlike the methods of `Path`, these take names of any length; `audio.folder` would import much.
        beside = (path if os.path.isdir(path) else path.parent) / OPTIONS_FILE  # noqa: PTH112
        if str(path) == "-":
            continue
        if not os.path.isfile(beside):  # noqa: PTH113
            elsewhere = elsewhere or path
        elif not any(beside.samefile(other) for other in found):
            found.append(beside)
    if len(found) > 1:
        raise UsageError(f"{found[0]} and {found[1]}: say with --config which holds")
    if found and elsewhere is not None:
        raise UsageError(f"{elsewhere} does not lie beside {found[0]}: say with --config that it holds")
    return found[0] if found else None


def _listed(ctx: Any, given: Mapping[str, Any]) -> list[str]:
    """Return the paths in --input-list where the file of options may lie beside them."""
    path = given.get("input_list")
    is_recording = path == "-" and "-" in (given.get("paths") or ())  # which is refused later
    helped = given.get(ctx.command.get_help_option(ctx).name)  # which is another from one Click to the next
    if path is None or given.get("config") or helped or is_recording:
        return []
    return list(map(str, list_inputs(ctx, Path(path))))


def all_inputs(ctx: Any, paths: Sequence[Path], input_list: Path | None) -> list[Path]:
    """Return `paths` and those that are listed; raises `typer.BadParameter` for none, or for two uses of -."""
    if input_list is not None:
        if input_list == STREAM and STREAM in paths:
            raise typer.BadParameter("standard input is either a recording or the list of inputs")
        paths = [*paths, *list_inputs(ctx, input_list)]
    if not paths:
        raise typer.BadParameter("give recordings, folders, - or --input-list")
    return list(paths)


def list_inputs(ctx: Any, path: Path) -> list[Path]:
    """Return the paths that the list `path` holds, - for standard input; a pipe can be read only once.

    Raises `UsageError` for a list that cannot be read or is empty.
    """
    from slimclean.batch.inputs import read_list

    lists: dict[Path, list[Path]] = ctx.meta.setdefault(_LISTS, {})
    if path not in lists:
        lists[path] = read_list(path, sys.stdin.buffer)
    return lists[path]


def _read(file: Path, kinds: Mapping[str, type]) -> dict[str, Any]:
    """Options by their long names, as the file has them; raises `UsageError` in one line."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, UnicodeDecodeError
        raise UsageError(f"{file}: not TOML: {error}") from error
    values = {}
    for key, value in content.items():
        name = key.replace("_", "-")
        if name not in kinds:
            raise UsageError(f"{file}: no option {key!r}{_near(name, kinds)}")
        values[name] = _checked(file, name, value, kinds[name])
    return values


def _checked(file: Path, name: str, value: Any, kind: type) -> Any:
    """Return `value` as the option takes it; a path is seen from the file's folder."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    beyond_float = isinstance(value, int) and abs(value) > sys.float_info.max
    fits, wanted = {
        bool: (isinstance(value, bool), "true or false"),
        int: (number and (isinstance(value, int) or value.is_integer()), "a whole number"),
        float: (number and not beyond_float, "a number"),
        str: (number or isinstance(value, str), "text"),
        Path: (isinstance(value, str), "a path in quotes"),
    }[kind]
    wanted = _TAKEN.get(name, wanted)
    if not fits:
        raise UsageError(f"{file}: {name} wants {wanted}, not {value!r}")
    if kind in (Path, str):
        value = str(value)
    is_path = kind is Path or name == "output" or (name == "model" and os.path.isfile(file.parent / value))  # noqa: PTH113
    if is_path and not value:
        raise UsageError(f"{file}: {name} is empty; the folder of this file is '.'")
    # A slash at the end says that an output is a folder, and a `Path` has none.
    return os.path.join(file.parent, value) if is_path and value != "-" else kind(value)  # noqa: PTH118


def tell_file(ctx: typer.Context) -> None:
    """Say which file options come from, if one does."""
    if file := ctx.meta.get(_FILE):
        complain(f"options from {file}")


def held(ctx: typer.Context) -> Iterator[tuple[str, str, str]]:
    """Yield the options that hold and have an effect: name, value, and where it comes from."""
    idle = {"target-uf"} if ctx.params["uf"] != "auto" else set()
    idle |= {"off": {"true-peak", "loudness-per"}, "batch": {"loudness-per"}}.get(ctx.params["loudness"], set())
    for parameter in ctx.command.params:
        value = ctx.params.get(parameter.name or "")
        if parameter.param_type_name != "option" or value is None or _option(parameter) in NOT_IN_A_FILE | idle:
            continue
        by_hand = is_given(ctx, parameter.name or "")
        place = "command line" if by_hand else SOURCES.get().get(_option(parameter), "default")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        yield _option(parameter), text, place
