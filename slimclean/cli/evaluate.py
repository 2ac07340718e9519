"""`slimclean evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slimclean.cli.common import Device, Model, complain, one_line_errors
from slimclean.cli.results import check_results, show_rows

PAIRS_PER_PROCESS = 8
"""At least: a process takes seconds to start."""


def evaluate(
    clean: Annotated[
        Path, typer.Argument(metavar="CLEAN", help="Folder of clean references.", exists=True, file_okay=False)
    ],
    noisy: Annotated[
        Path,
        typer.Argument(metavar="NOISY", help="Folder of noisy counterparts.", exists=True, file_okay=False),
    ],
    model: Model = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write the rows: a .csv file, or - for stdout.")
    ] = None,
    mos: Annotated[
        bool, typer.Option("--mos", help="Also DNSMOS: signal, background, overall, P.808 (extra `mos`).")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw quality against MACs (extra `plot`).")] = None,
    device: Device = "auto",
) -> None:
    """Score fixed UFs and auto on pairs: quality against MACs.

    Enhances NOISY at eight UFs and with the router at five targets, in
    memory, and prints a row per setting: mean PESQ-WB, STOI, SI-SDR and level
    in pauses, and MACs per sample; for the router also how far PESQ and
    SI-SDR lie above the curve of fixed UFs, and its mean UF in the pauses of
    CLEAN.

    PESQ and STOI need the extra `score`; without it their columns stay empty.

    Example: slimclean evaluate ./clean ./noisy -o curve.csv --plot curve.png
    """
    with one_line_errors():
        import joblib

        from slimclean.audio.folder import list_folder
        from slimclean.model import checkpoint
        from slimclean.model.device import pick_device
        from slimclean.scoring import evaluation
        from slimclean.scoring.metrics import MOS, SCORED, missing, require
        from slimclean.scoring.tables import table
        from slimclean.show.curve import plot_curve
        from slimclean.show.plot import check_picture

        network = checkpoint.load(model)[0].to(pick_device(device))
        pairs = evaluation.folder_pairs(clean, noisy)
        if plot is not None:
            check_picture(plot)
        if mos:
            require(MOS)
        inputs = [path for folder in (clean, noisy) for path in list_folder(folder).recordings]
        check_results(output, plot, inputs)
        jobs = max(1, min(joblib.cpu_count(), len(pairs) // PAIRS_PER_PROCESS))
        metrics = (*SCORED, *(MOS if mos else ()))
        for name, lack in missing(metrics).items():
            complain(f"{name} stays empty: {lack}")
        rows = evaluation.with_advantage(list(evaluation.evaluate(network, pairs, metrics=metrics, jobs=jobs)))
        show_rows(rows, output, table(rows))
        if plot is not None:
            plot_curve(rows, plot)
