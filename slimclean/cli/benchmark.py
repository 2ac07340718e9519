"""`slimclean benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slimclean.cli.common import (
    Device,
    Model,
    Precision,
    Threads,
    one_line_errors,
    use_threads,
)
from slimclean.cli.results import check_results, show_rows


def benchmark(
    input_: Annotated[
        Path | None,
        typer.Option("--input", "-i", help="Recording to time, since auto depends on it. Default: generated."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="Length of the generated audio.")] = 90.0,
    plain: Annotated[
        bool, typer.Option("--plain", help="Also time the network without the engine, and in ordinary layers.")
    ] = False,
    repeats: Annotated[
        int, typer.Option(min=1, max=1000, help="Runs of each setting; the fastest counts.")
    ] = 5,
    model: Model = None,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write the rows: a .csv file, or - for stdout.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="What --output was called.", hidden=True)] = None,
) -> None:
    """Time enhancement on this machine: speed, cost and shares per setting.

    A waveform in memory is enhanced at four fixed UFs and with the router at
    three targets. Without --input it is generated: syllables in noise that
    comes and goes.

    Example: slimclean benchmark --input take.wav --threads 1 -o speed.csv
    """
    with one_line_errors():
        if output is not None and csv is not None:
            raise typer.BadParameter("--csv is what --output was called; give one of them")
        output = output or csv
        use_threads(threads)
        import torch

        from slimclean import audio
        from slimclean.dsp import SAMPLE_RATE
        from slimclean.model import checkpoint
        from slimclean.model.device import pick_device
        from slimclean.scoring.benchmark import benchmark, speech_in_noise
        from slimclean.scoring.tables import table

        place = pick_device(device)
        network = checkpoint.load(model)[0].to(place)
        check_results(output, None, [input_])
        if input_ is None:
            waveform, rate, name = speech_in_noise(seconds), SAMPLE_RATE, "generated speech in noise"
        else:
            waveform, rate = audio.read(input_)
            name = input_.name
        rows = benchmark(network, waveform, rate, precision=precision, repeats=repeats, plain=plain)
        about = (
            f"{name}: {waveform.shape[-1] / rate:.1f} s at {rate} Hz; torch {torch.__version__}, {place.type}, "
            f"threads: {torch.get_num_threads()}, fastest of {repeats}"
        )
        show_rows(rows, output, f"{about}\n{table(rows)}")
