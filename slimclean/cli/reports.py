"""What `slimclean enhance` draws and writes after a run, for people to look at."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slimclean.batch.report import FileResult
    from slimclean.enhancer import Enhancer


def check(plots: Path | None, html: Path | None) -> None:
    """Raise before any work if what is wanted cannot be made."""
    if html is not None:
        from slimclean.show.page import check_page

        check_page(html)
    if plots is not None:
        from slimclean.show.plot import require_matplotlib

        require_matplotlib()


def write(
    results: Sequence[FileResult],
    paths: Sequence[Path],
    enhancer: Enhancer,
    *,
    plots: Path | None,
    html: Path | None,
) -> None:
    """Pictures into the folder `plots`, a page to `html`; what cannot be drawn is a line on stderr."""

    def complain(message: str) -> None:
        print(f"slimclean: {message}", file=sys.stderr)

    if plots is not None:
        from slimclean.show.plot import plot_results

        plot_results(results, [path for path in paths if path.is_dir()], plots, enhancer, complain)
    if html is not None:
        from slimclean.show.page import write_report

        write_report(results, html, enhancer, complain)
