"""Titles of pictures: file names of any length, in any script that an installed font can write."""

from __future__ import annotations

import warnings
from typing import Any

FALLBACKS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR",
    "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC",
    "PingFang HK", "Hiragino Sans GB", "Hiragino Sans", "Apple SD Gothic Neo", "Microsoft YaHei", "SimHei",
    "Yu Gothic", "MS Gothic", "Malgun Gothic", "NanumGothic", "Arial Unicode MS", "Noto Sans Devanagari",
    "Noto Sans Thai", "Noto Sans Hebrew", "Noto Sans Arabic", "Noto Emoji", "Unifont",
)  # fmt: skip
"""Fonts for what matplotlib's own lacks: the first that has a letter writes it."""
ROOM = 0.97
"""Of the picture's width."""


def families() -> list[str]:
    """Return matplotlib's usual fonts and the installed fallbacks: it complains of those that are not."""
    from matplotlib import font_manager, rcParams

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [*rcParams["font.family"], *(name for name in FALLBACKS if name in installed)]


def set_title(figure: Any, name: str) -> None:
    """Write the name of a recording over a figure, shortened in the middle to what fits."""
    title = figure.suptitle("", fontfamily=families())
    room = ROOM * figure.bbox.width

    def fits(kept: int) -> bool:
        title.set_text(shortened(name, kept))
        return bool(title.get_window_extent().width <= room)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a box is what there is for a letter of no font
        if fits(len(name)):
            return
        low, high = 0, len(name)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        fits(low)


def shortened(text: str, kept: int) -> str:
    """Keep so many letters of a name, two thirds of them from its beginning and the others from its end.

    What comes out holds no mathematics for matplotlib, and question marks for bytes that are no UTF-8.
    """
    if kept < len(text):
        tail = kept // 3
        text = f"{text[: kept - tail]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - tail :]}"
    return text.encode("utf-8", "replace").decode().replace("$", r"\$")
