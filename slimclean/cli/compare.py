"""`slimclean compare`."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from slimclean.cli.common import (
    LONGEST_S,
    Device,
    Model,
    TargetUf,
    Track,
    UfText,
    one_line_errors,
    show,
)
from slimclean.cli.results import check_file
from slimclean.cli.values import parse_uf
from slimclean.defaults import TARGET_UF


def compare(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The recording before.")],
    enhanced: Annotated[
        Path | None, typer.Option(help="The recording after. Default: enhance it here, without writing it.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The page. Default: NAME-compare.html beside it, and open it."),
    ] = None,
    track: Track = None,
    start: Annotated[float, typer.Option(min=0, max=LONGEST_S, help="Where to begin, in seconds.")] = 0.0,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="How much to show of it.")] = 60.0,
    uf: UfText = "auto",
    target_uf: TargetUf = TARGET_UF,
    model: Model = None,
    device: Device = "auto",
) -> None:
    """Make a page that switches between before and after at the same instant.

    Spectrograms, levels, loudness, and one player for both sides, in one file
    that opens without a network. Nothing is enhanced with --enhanced.

    Without --output the page is opened in a browser, where there is a screen.
    Loudness in LUFS needs PyAV: pip install 'slimclean\\[av]'

    Example: slimclean compare take.wav --enhanced enhanced/take.wav -o take.html
    """
    with one_line_errors():
        parsed_uf = parse_uf(uf, ctx)
        from slimclean.audio.atomic import shared_mode
        from slimclean.audio.av.film import track_in
        from slimclean.show.compare import write_comparison
        from slimclean.show.page import check_page
        from slimclean.show.stretch import read_stretch

        page = output or file.with_name(f"{file.stem}-compare.html")
        check_page(page)
        check_file(page, [file, enhanced])
        before = read_stretch(file, start, seconds, track)
        if enhanced is not None:
            mode = shared_mode([file, enhanced])
            after = read_stretch(enhanced, start, seconds, track_in(enhanced, file, track))
            write_comparison(page, file.name, before, after, mode=mode)
        else:
            from slimclean.enhancer import Enhancer

            enhancer = Enhancer(parsed_uf, target_uf, model, device=device)
            write_comparison(page, file.name, before, enhancer, mode=shared_mode([file]))
    show(str(page))
    if output is None and has_screen():
        webbrowser.open(page.absolute().as_uri())


def has_screen() -> bool:
    """Tell whether a browser window would be seen."""
    if not sys.stdout.isatty():
        return False
    return sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
