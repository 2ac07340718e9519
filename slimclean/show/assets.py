"""Style sheets and scripts of pages: files beside this one, put into the page whole."""

from __future__ import annotations

import html
from importlib.resources import files


def asset(name: str) -> str:
    """Return the text of a file of this package, such as `page.css`."""
    return files("slimclean.show").joinpath(name).read_text(encoding="utf-8")


def escaped(text: str) -> str:
    """Escape text for a page, in quotes or out of them; bytes that are no UTF-8 become question marks."""
    return html.escape(text.encode("utf-8", "replace").decode())
