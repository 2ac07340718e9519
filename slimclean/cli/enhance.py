"""`slimclean enhance`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slimclean.cli import reports
from slimclean.cli.common import Device, Model, one_line_errors, parse_uf

if TYPE_CHECKING:
    from slimclean.batch import Watch
    from slimclean.report import FileResult


def enhance(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Recordings, or folders of them.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder, or a file for one input. Default: NAME-enhanced beside it."
        ),
    ] = None,
    uf: Annotated[
        str, typer.Option(help="Utilization factor: auto (the router decides), or a number in (0, 1].")
    ] = "auto",
    target_uf: Annotated[float, typer.Option(help="Mean UF that auto aims for, 0.1 to 1.")] = 0.25,
    model: Model = None,
    report: Annotated[Path | None, typer.Option(help="Write a CSV row per recording.")] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Draw a picture per recording into this folder (needs matplotlib).")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with table, pictures and players.")] = None,
    highband: Annotated[
        str, typer.Option(help="Content above 8 kHz: gate (follow the network), keep or drop.")
    ] = "gate",
    overwrite: Annotated[bool, typer.Option(help="Replace outputs that exist instead of skipping.")] = False,
    device: Device = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary; errors only.")] = False,
) -> None:
    """Enhance recordings; folders are walked and mirrored.

    Sample rate, channels, length and encoding stay as they are. A recording
    that fails is reported and does not stop the others.

    Exit code: 0 all fine, 1 a recording failed, 2 wrong usage, 130 interrupted.

    Example: slimclean enhance ./recordings -o ./clean --html report.html
    """
    with one_line_errors():
        parsed_uf = parse_uf(uf)
        from slimclean.batch import enhance_paths
        from slimclean.enhancer import Enhancer
        from slimclean.report import summary

        reports.check(plots, html)
        enhancer = Enhancer(parsed_uf, target_uf, model, device=device, highband=highband)  # type: ignore[arg-type]
        with _Progress(quiet) as progress:
            results = enhance_paths(
                paths, output, enhancer, overwrite=overwrite, report=report, watch=progress.watch()
            )
        if not quiet:
            print(f"slimclean: {summary(results)}", file=sys.stderr)
        reports.write(results, paths, enhancer, plots=plots, html=html)
    if any(result.status == "failed" for result in results):
        raise typer.Exit(1)


class _Progress:
    """A bar in seconds of audio on stderr, if that is a terminal, and a line per failure."""

    def __init__(self, quiet: bool) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=1.0, disable=True if quiet else None, dynamic_ncols=True, delay=0.1, leave=False)

    def watch(self) -> Watch:
        from slimclean.batch import Watch

        return Watch(self._planned, self._bar.update, self._finished)

    def _planned(self, seconds: float) -> None:
        self._bar.bar_format = _BAR
        self._bar.reset(max(seconds, 1e-3))  # a total of 0 is no total to tqdm

    def _finished(self, result: FileResult) -> None:
        if result.status == "failed":
            self._bar.clear()
            print(f"slimclean: {result.file}: {result.error}", file=sys.stderr)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


_BAR = "{percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} s of audio, {rate_fmt}, {remaining} left"
