"""`slimclean score`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from slimclean.cli.common import one_line_errors


def score(
    reference: Annotated[Path, typer.Argument(help="Clean references: a folder, or one file.", exists=True)],
    estimate: Annotated[Path, typer.Argument(help="What to score: a folder, or one file.", exists=True)],
    noisy: Annotated[
        Path | None, typer.Option(help="What it was made from; adds the improvement of each measure.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write a CSV row per pair.")] = None,
    metrics: Annotated[
        str, typer.Option(help="Comma-separated measures, `core` (PESQ-WB, STOI, SI-SDR) or `all`.")
    ] = "core",
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, help="Processes; 0: one per core.")] = 1,
) -> None:
    """Score recordings against clean references.

    Pairs by relative path; extensions and a final "-enhanced" are ignored. Signals are compared at 16 kHz,
    channel by channel. Prints mean, standard deviation and 95 % bootstrap interval per measure.

    Exit code: 0 all fine, 1 some pair failed, 2 wrong usage.

    Example: slimclean score ./clean ./enhanced --noisy ./noisy -o scores.csv
    """
    with one_line_errors():
        from slimclean import scoring
        from slimclean.metrics import CORE, METRICS
        from slimclean.report import table, write_rows

        names = {"core": list(CORE), "all": list(METRICS)}.get(metrics) or metrics.split(",")
        columns = scoring.columns_of(names, improvement=noisy is not None)
        pairs = scoring.pair_up(reference, estimate, noisy)
        scores = scoring.score_pairs(pairs, names, jobs=jobs or -1)
        print(table(scoring.summarise(scores, columns)))
        if output is not None:
            write_rows(output, [score.row(columns) for score in scores])
        failed = [score for score in scores if score.status == "failed"]
        for one in failed:
            print(f"slimclean: {one.file}: {one.error}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)
