"""The command line: parse, one call, exit code. Data goes to stdout, everything else to stderr.

One module a command; heavy imports happen inside them.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated

import typer

from slimclean import __version__
from slimclean.cli.benchmark import benchmark
from slimclean.cli.common import Command, Group, one_line_errors
from slimclean.cli.compare import compare
from slimclean.cli.enhance import enhance
from slimclean.cli.evaluate import evaluate
from slimclean.cli.models import models
from slimclean.cli.plot import plot
from slimclean.cli.presets import presets
from slimclean.cli.report import report
from slimclean.cli.score import score
from slimclean.cli.settings import ConfigurableCommand
from slimclean.cli.signals import end_in_order
from slimclean.cli.streams import flush_output, open_streams
from slimclean.cli.train import train

app = typer.Typer(
    cls=Group,
    help="Clean speech recordings in batches, spending compute where it pays.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(cls=ConfigurableCommand)(enhance)
for command in (presets, compare, score, report, plot, evaluate, benchmark, models, train):
    app.command(cls=Command)(command)


def main() -> None:
    """Run the command line. Typer exits with 2 for wrong usage and 130 for an interrupt."""
    open_streams()
    end_in_order()
    if not sys.warnoptions:  # what libraries tell programmers; -W shows it
        warnings.simplefilter("ignore")
        os.environ.setdefault("PYTHONWARNINGS", "ignore")  # to worker processes
    try:
        with one_line_errors():
            app()
    except typer.Exit as end:  # of printing alone: Typer makes `SystemExit` of what commands raise
        code: object = end.exit_code
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:  # while Typer makes the commands; later, it makes an exit of that
        code = 130
    except BrokenPipeError:  # of the help that no arguments get
        code = 1
    flushed = flush_output(quiet=bool(code))
    sys.exit(code or int(not flushed))  # type: ignore[arg-type]


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"slimclean {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass
