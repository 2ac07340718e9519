"""`slimclean score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slimclean.cli.common import MOST_CORES, complain, one_line_errors, with_options
from slimclean.cli.results import check_results, show_rows
from slimclean.errors import UsageError


def score(
    reference: Annotated[
        Path | None,
        typer.Argument(metavar="REFERENCE", help="Clean references: a folder, or one file.", exists=True),
    ] = None,
    estimate: Annotated[
        Path | None,
        typer.Argument(metavar="ESTIMATE", help="What to score: a folder, or one file.", exists=True),
    ] = None,
    noisy: Annotated[
        Path | None, typer.Option(help="What it was made from; adds each improvement.", exists=True)
    ] = None,
    no_reference: Annotated[
        Path | None, typer.Option(help="Score this folder or file alone, by DNSMOS.", exists=True)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a row per pair: a .csv file, or - for stdout.")
    ] = None,
    metrics: Annotated[
        str,
        typer.Option(
            help="Comma-separated: measures (an unknown name lists them), core (PESQ-WB, STOI, SI-SDR), "
            "all (but mos), mos (DNSMOS)."
        ),
    ] = "core,pause_db",
    mos: Annotated[bool, typer.Option("--mos", help="Also DNSMOS, like --metrics mos.")] = False,
    by: Annotated[
        str | None,
        typer.Option(help="Group the summary: level of a folder, 1 the outermost, or a CSV of file,group."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw how scores are distributed, by group (needs matplotlib).")
    ] = None,
    align: Annotated[
        bool, typer.Option("--align", help="Take the delay of each estimate out before scoring.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=0, max=MOST_CORES, help="Processes; 0: one per core.")
    ] = 1,
) -> None:
    """Score recordings against clean references.

    Pairs by relative path; extensions and a final "-enhanced" are ignored.
    Signals are compared at 16 kHz, channel by channel. Beyond 30 s, most
    measures take segments of at most 30 s, at most 40; the CSV notes it.

    Lengths may differ by up to 100 ms; the longer is cut. A delay is measured
    in any case: lag_samples in the CSV, at 16 kHz, above 0 for late.

    Prints mean, standard deviation and 95 % bootstrap interval per measure.

    DNSMOS (--no-reference, or --mos) needs the extra mos:
    pip install 'slimclean\\[mos]'

    Exit code: 0 all fine, 1 a pair or the run failed, 2 wrong usage.

    Example: slimclean score ./clean ./enhanced --noisy ./noisy -o scores.csv
    """
    with one_line_errors():
        from slimclean.scoring.groups import grouping, summarise_by_group
        from slimclean.scoring.pairs import (
            columns_of,
            metric_names,
            pair_up,
            recordings_alone,
            score_pairs,
            summarise,
        )
        from slimclean.scoring.tables import table

        names = metric_names(f"{metrics},mos" if mos else metrics, alone=no_reference is not None)
        columns = columns_of(names, improvement=noisy is not None)
        if no_reference is not None and reference is None:
            pairs = recordings_alone(no_reference, noisy)
        elif no_reference is None and reference is not None and estimate is not None:
            pairs = pair_up(reference, estimate, noisy)
        else:
            raise UsageError("score takes REFERENCE and ESTIMATE, or --no-reference")
        groups = None if by is None else list(map(grouping(by), (pair.name for pair in pairs)))
        if plot is not None:
            from slimclean.show.plot import check_picture

            check_picture(plot)
        inputs = [
            Path(by) if by else None,
            *(path for p in pairs for path in (p.reference, p.estimate, p.noisy)),
        ]
        check_results(output, plot, inputs)
        scores = score_pairs(pairs, names, align=align, jobs=jobs)
        for one, group in zip(scores, groups or [], strict=groups is not None):
            one.group = group
        for one in scores:
            one.error = with_options(one.error)
        summary = summarise(scores, columns) if groups is None else summarise_by_group(scores, columns)
        show_rows([score.row(columns) for score in scores], output, table(summary))
        if plot is not None:
            from slimclean.show.plot import plot_scores

            plot_scores(scores, names, plot)
        failed = [score for score in scores if score.status == "failed"]
        for one in failed:
            complain(one.error, one.file)
    if failed:
        raise typer.Exit(1)
