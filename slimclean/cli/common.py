"""What the commands share: options, and errors as one line with an exit code."""

from __future__ import annotations

import inspect
import os
import re
import sys
import warnings
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TextIO, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from slimclean.errors import SlimcleanError, SlimcleanWarning, UsageError, is_out_of_memory

UfText = Annotated[
    str, typer.Option("--uf", help="Utilization factor: auto (the router decides), or a number in (0, 1].")
]
TargetUf = Annotated[float, typer.Option(help="Mean UF that auto aims for, 0.1 to 1.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[
    str, typer.Option(help="Of products: fp32, bf16, or auto: bf16 where the hardware makes that faster.")
]
RAW_BYTES = frozenset(map(chr, range(0xDC80, 0xDD00)))
"""What stands in a name for bytes that are no UTF-8, and becomes those bytes where they can be written."""
MOST_CORES = 1024
"""What options that count threads and processes take at most."""
LONGEST_S = 1e7
"""What options that take seconds of a recording take at most: four months."""
Track = Annotated[
    int | None, typer.Option(min=1, help="Which of several sound tracks, from 1. Default: the default one.")
]
Threads = Annotated[
    int | None, typer.Option(min=1, max=MOST_CORES, help="Cores to use in one process. Default: all.")
]
Model = Annotated[
    str | None, typer.Option("--model", "-m", help="Packaged name or checkpoint file; see `slimclean models`.")
]
CLICK_USAGE: type[Any] = typer.BadParameter.__mro__[1]
"""What Click raises for wrong usage; newer Typers hold a Click of their own."""

_NAMES = frozenset({"output", "model", "init", "preset", "by", "format_", "subtype", "metrics"})
"""Parameters that are text, and name a file or something else."""
_OPTIONS = {
    "attenuation_limit_db": "--atten-lim-db",
    "bit_rate": "--bitrate",
    "corpus_weights": "--corpus-weight",
    "extension": "--format",
    "loudness_lufs": "--loudness",
    "references": "--reference",
    "true_peak_dbtp": "--true-peak",
}
"""What is called otherwise on the command line than in Python."""


_NO_SOURCES: Mapping[str, str] = MappingProxyType({})
SOURCES: ContextVar[Mapping[str, str]] = ContextVar("SOURCES", default=_NO_SOURCES)
"""Where options come from that are not on the command line: the file's path or the preset, by long name."""


def with_source(message: str) -> str:
    """Put before `message` where the option that it names comes from, if from a file or a preset."""
    named = re.findall(r"--([a-z][a-z-]*)", with_options(message))
    found = next((SOURCES.get()[name] for name in named if name in SOURCES.get()), None)
    return message if found is None or message.startswith(found) else f"{found}: {message}"


def with_options(message: str) -> str:
    """Name parameters as options: "`target_uf` takes ..." becomes "--target-uf takes ...".

    They stand alone as words do; what is part of a longer one, such as `mono`.wav, is the name of a file.
    """
    return re.sub(
        r"(?<![^\s(])`([a-z_]+)`(?=[\s,;:)]|\.?$)",
        lambda m: _OPTIONS.get(m[1], "--" + m[1].replace("_", "-")),
        message,
    )


def one_line(text: str, kept: Container[str] = "") -> str:
    """Escape what would break a line or a terminal, but for what is `kept`: names may hold anything."""
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def show(text: str, file: TextIO | None = None) -> None:
    """Print lines to stdout, or `file`, with a ? for each character that its encoding lacks."""
    encoding = (file or sys.stdout).encoding or "utf-8"
    text = "\n".join(one_line(line, RAW_BYTES) for line in text.split("\n"))
    print(text.encode(encoding, "replace").decode(encoding), file=file)


def complain(message: str, file: str = "") -> None:
    """Print one line to stderr, of the recording `file` where there is one."""
    _tell(f"{file}: {with_options(message)}" if file else with_options(message))


def _tell(line: str) -> None:
    """Print to stderr; once that is full, or nobody reads it any more, the work goes on in silence."""
    try:
        print(f"slimclean: {one_line(line)}", file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def usage_message(error: Any) -> str:
    """Return what `error` of Click or Typer says, without "Invalid value" where we wrote the message."""
    is_ours = type(error) is typer.BadParameter and error.param is None and error.param_hint is None
    return str(error.message if is_ours else error.format_message())


class Group(TyperGroup):
    """Commands whose errors are one line, those of Typer too, which would draw a box around them."""

    def make_context(self, info_name: str | None, args: list[str], *others: Any, **extra: Any) -> Any:
        """Parse the options before the command; without any argument, there is help."""
        if not args:
            return super().make_context(info_name, args, *others, **extra)
        with _one_line_usage():
            return super().make_context(info_name, args, *others, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Parse and run the command."""
        with _one_line_usage():
            return super().invoke(ctx)


class Command(TyperCommand):
    """A command that takes no empty name: to `Path`, that is the folder one stands in."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line; raises `typer.BadParameter` for an empty name."""
        SOURCES.set(_NO_SOURCES)
        if not ctx.resilient_parsing:
            self.prepare(ctx, self.given(ctx, args))
        return super().parse_args(ctx, args)

    def given(self, ctx: Any, args: list[str]) -> dict[str, Any]:
        """Return what the command line says, as text by parameter; raises like `parse_args`."""
        parsed: dict[str, Any] = self.make_parser(ctx).parse_args(args=list(args))[0]
        # Click from 8.3 on puts a mark of its own in the place of arguments that are not there.
        return {name: value for name, value in parsed.items() if isinstance(value, str | bool | list | tuple)}

    def prepare(self, ctx: Any, given: Mapping[str, Any]) -> None:
        """Check what is `given` on the command line, as text by parameter; raises like `parse_args`."""
        assert self.callback is not None
        hints = get_type_hints(inspect.unwrap(self.callback))
        for parameter in self.get_params(ctx):
            name = parameter.name or ""
            value = given.get(name)
            is_name = name in _NAMES or _names_files(hints.get(name))
            if is_name and "" in (value if isinstance(value, list | tuple) else [value]):
                option = max(parameter.opts, key=len)
                shown = option if option.startswith("-") else option.upper()
                current = "; the current folder is called ." if name in ("paths", "output") else ""
                raise typer.BadParameter(f"{shown} is empty{current}")


def _names_files(hint: object) -> bool:
    return hint is Path or any(map(_names_files, get_args(hint)))


@contextmanager
def _one_line_usage() -> Iterator[None]:
    try:
        yield
    except CLICK_USAGE as error:
        _tell(with_source(usage_message(error)))
        raise typer.Exit(2) from error


def is_given(ctx: Any, *names: str) -> bool:
    """Tell whether each of these parameters is on the command line, not from a file, a preset or a default."""
    sources = map(ctx.get_parameter_source, names)
    return all(source is not None and source.name == "COMMANDLINE" for source in sources)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn our exceptions into one line on stderr: exit 2 for a wrong request, 1 for the rest."""
    try:
        yield
    except SlimcleanError as error:
        complain(with_source(str(error)))
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        complain(error.strerror or str(error), str(error.filename or ""))
        raise typer.Exit(1) from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        complain("out of memory")
        raise typer.Exit(1) from error


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Turn our warnings into lines on stderr too, above a progress bar; those of libraries stay as they are."""
    from tqdm import tqdm

    others = warnings.showwarning

    def tell(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, SlimcleanWarning):
            with tqdm.external_write_mode(sys.stderr):
                complain(str(message))
        else:
            others(message, category, *where, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("always", SlimcleanWarning)
        warnings.showwarning = tell
        yield


def use_threads(count: int | None) -> None:
    """Let torch use `count` cores; None is all that this process may use, in a container too."""
    import joblib
    import torch

    torch.set_num_threads(count or min(torch.get_num_threads(), joblib.cpu_count()))
