"""`slimclean report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slimclean.cli.common import Device, Model, complain, one_line_errors
from slimclean.cli.results import check_file
from slimclean.errors import SlimcleanError


def report(
    report: Annotated[
        Path, typer.Argument(metavar="REPORT", help="What `slimclean enhance --report` wrote, CSV or .jsonl.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page, an HTML file.")],
    model: Model = None,
    device: Device = "auto",
) -> None:
    """Make a page to look at and listen to from a report.

    Summary, sortable table, and for each recording spectrograms, players and
    the UF over time. One file that opens without a network. Recordings in the
    page's folder or below are linked, of others 10 s are put into the page.

    Give the --model that made the recordings: the UF over time is found anew.
    Run it from the folder that `slimclean enhance` ran in.

    Exit code: 0 all fine, 1 a recording or the report cannot be read, 2 wrong
    usage.

    Example: slimclean report report.csv -o report.html
    """
    complaints: list[str] = []
    with one_line_errors():
        from slimclean.batch.report_reading import read_report
        from slimclean.enhancer import Enhancer
        from slimclean.show.page import check_page, write_report

        check_page(output)
        check_file(output, [report])
        results = read_report(report)
        if not results:
            raise SlimcleanError(f"{report}: no rows, so there is nothing to show")
        write_report(results, output, Enhancer(model=model, device=device), complaints.append)
    for complaint in complaints:
        complain(complaint)
    if complaints:
        raise typer.Exit(1)
