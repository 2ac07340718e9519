"""What is made of a recording for people to look at, in the process that enhanced it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from slimclean.batch.report import FileResult
from slimclean.batch.trace import Comparison
from slimclean.errors import reason
from slimclean.show.plot import plot_comparison
from slimclean.show.view import View, view_of


@dataclass(frozen=True)
class ViewMaker:
    """Draws the `picture` of a recording, and returns the `View` of it where a `page` follows; picklable."""

    picture: Path | None
    page: bool

    def __call__(self, result: FileResult, comparison: Comparison) -> View:
        """Draw, and return the view; what goes wrong is its `problem`, since the recording is enhanced."""
        view = View()
        try:
            if self.page:
                view = view_of(comparison)
            if self.picture is not None:
                plot_comparison(comparison, self.picture, Path(result.file))
        except Exception as error:
            return dataclasses.replace(view, problem=reason(error))
        return view
