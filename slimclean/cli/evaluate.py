"""`slimclean evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slimclean.cli.common import Device, Model, one_line_errors


def evaluate(
    clean: Annotated[Path, typer.Argument(help="Folder of clean references.", exists=True, file_okay=False)],
    noisy: Annotated[Path, typer.Argument(help="Folder of noisy counterparts.", exists=True, file_okay=False)],
    model: Model = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write the rows as CSV.")] = None,
    device: Device = "auto",
) -> None:
    """Score static UFs and auto on pairs: quality against MACs.

    Enhances NOISY at each UF and with the router at four targets, in memory.
    Prints mean PESQ-WB, STOI and SI-SDR, and MACs per sample, a row a setting.
    PESQ and STOI need the extra `score`; without it their columns stay empty.

    Example: slimclean evaluate ./clean ./noisy -o curve.csv
    """
    with one_line_errors():
        from slimclean import checkpoint, evaluation
        from slimclean.enhancer import pick_device
        from slimclean.report import table, write_rows

        network = checkpoint.load(model)[0].to(pick_device(device))
        pairs = evaluation.folder_pairs(clean, noisy)
        rows = list(evaluation.evaluate(network, pairs))
        print(table(rows))
        if output is not None:
            write_rows(output, rows)
