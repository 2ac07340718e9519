"""Style sheets and scripts of pages: files beside this one, put into the page whole."""

from __future__ import annotations

from importlib.resources import files


def asset(name: str) -> str:
    """Return the text of a file of this package, such as `page.css`."""
    return files("slimclean.show").joinpath(name).read_text(encoding="utf-8")
