"""`slimclean plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slimclean.cli.common import Device, Model, TargetUf, Track, UfText, one_line_errors
from slimclean.cli.results import check_file
from slimclean.cli.values import parse_uf
from slimclean.defaults import TARGET_UF


def plot(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The recording before.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture: .png, .pdf, .svg and others.")],
    enhanced: Annotated[
        Path | None, typer.Option(help="The recording after. Default: enhance it here, without writing it.")
    ] = None,
    track: Track = None,
    uf: UfText = "auto",
    target_uf: TargetUf = TARGET_UF,
    model: Model = None,
    device: Device = "auto",
) -> None:
    """Draw a recording before and after: spectrograms, levels, UF.

    With --enhanced, give the --uf, --target-uf and --model that made it:
    nothing is enhanced again, only the router runs.

    Needs matplotlib: pip install 'slimclean\\[plot]'

    Example: slimclean plot take.wav --enhanced enhanced/take.wav -o take.png
    """
    with one_line_errors():
        parsed_uf = parse_uf(uf, ctx)
        from slimclean.enhancer import Enhancer
        from slimclean.show.comparison import compare, preview
        from slimclean.show.plot import check_picture, plot_comparison

        check_picture(output)
        check_file(output, [file, enhanced])
        enhancer = Enhancer(parsed_uf, target_uf, model, device=device)
        comparison = compare(file, enhanced, enhancer, track) if enhanced else preview(file, enhancer, track)
        plot_comparison(comparison, output, file)
