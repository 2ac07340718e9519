"""What `slimclean enhance` draws and writes for people to look at: pictures and a page."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slimclean.batch.task import STREAM
from slimclean.cli.common import complain
from slimclean.cli.results import check_file
from slimclean.errors import SlimcleanError, UsageError

if TYPE_CHECKING:
    from slimclean.batch.report import FileResult
    from slimclean.batch.task import Task
    from slimclean.enhancer import Enhancer
    from slimclean.show.view_maker import ViewMaker


def check(plots: Path | None, html: Path | None, report: Path | None, *, dry_run: bool = False) -> None:
    """Raise before any work if what is wanted cannot be made; a dry run only looks, and writes nothing."""
    if dry_run:
        wanted = (report, html, plots and plots / "picture.png")
        for path in filter(None, wanted):
            _check_place(path)
    if html is not None:
        from slimclean.show.page import check_page

        check_page(html)
        if not dry_run:
            check_file(html)
    if plots is not None:
        if plots == STREAM:
            raise UsageError("`plots` takes a folder, not -")
        from slimclean.show.plot import require_matplotlib

        require_matplotlib()
        if not dry_run:
            check_file(plots / "picture.png")


def _check_place(path: Path) -> None:
    """Raise `SlimcleanError` where a file could not be put, as far as can be told without trying."""
    from slimclean.audio.folder import exists, is_device, is_folder

    real = Path(os.path.realpath(path))
    place = real if is_device(real) else next(filter(exists, real.parents))
    if place != real and not is_folder(place):
        raise SlimcleanError(f"cannot write {path} ({os.strerror(errno.ENOTDIR)})")
    if not os.access(place, os.W_OK):
        raise SlimcleanError(f"cannot write {path} ({os.strerror(errno.EACCES)})")


def pictures(tasks: Sequence[Task], inputs: Sequence[Path], plots: Path | None) -> dict[str, Path]:
    """Say where the picture of each recording goes, by its path; nowhere without a folder `plots`."""
    if plots is None:
        return {}
    from slimclean.audio.folder import is_folder
    from slimclean.show.plot import picture_names

    files = [str(task.source) for task in tasks]
    names = picture_names(files, list(filter(is_folder, inputs)))
    return {os.path.abspath(file): plots.absolute() / name for file, name in zip(files, names, strict=True)}  # noqa: PTH100


def look(
    tasks: Sequence[Task], pictures: Mapping[str, Path], html: Path | None
) -> Callable[[Path], ViewMaker | None]:
    """Return what says how a recording is to be drawn while the run goes on."""
    if not pictures and html is None:
        return lambda _: None
    from slimclean.show.page import SHOWN
    from slimclean.show.view_maker import ViewMaker

    startable = [task.source for task in tasks if not task.problem]
    on_page = set(startable[:SHOWN]) if html is not None else set()

    def of(source: Path) -> ViewMaker | None:
        picture = pictures.get(os.path.abspath(source))  # noqa: PTH100
        return ViewMaker(picture, source in on_page) if picture or source in on_page else None

    return of


def write(
    results: Sequence[FileResult],
    enhancer: Enhancer,
    pictures: Mapping[str, Path],
    html: Path | None,
    report: Path | None,
) -> bool:
    """Draw what the run did not, and write the page `html`; tell whether everything could be drawn.

    Of what was skipped, the `report` of earlier runs says more. What cannot be drawn is a line on stderr.
    """
    missing: list[str] = []
    if report is not None and (pictures or html is not None):
        from slimclean.batch.report_file import with_earlier

        results = with_earlier(results, report)
    if pictures:
        from slimclean.show.plot import plot_results

        plot_results(results, pictures, enhancer, missing.append)
    if html is not None:
        from slimclean.show.page import write_report

        write_report(results, html, enhancer, missing.append)
    for message in missing:
        complain(message)
    return not missing
