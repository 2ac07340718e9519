"""Texts of old programs, which did not say in what code page they wrote."""

from __future__ import annotations

import re


def decoded(texts: list[bytes]) -> list[str]:
    """Decode texts of one file by the code page that fits them all: UTF-8, Shift-JIS, or one of Windows'."""
    whole = b"\n".join(texts)
    for page in ("utf-8", "cp932", "cp1251"):
        try:
            text = whole.decode(page)
        except UnicodeDecodeError:
            continue
        if (
            page == "utf-8"
            or (page == "cp932" and _is_japanese(whole, text))
            or (page == "cp1251" and re.search(rb"[\xc0-\xff]{3}", whole))
        ):
            return [each.decode(page) for each in texts]
    return [each.decode("cp1252", "replace") for each in texts]


def _is_japanese(raw: bytes, text: str) -> bool:
    """Tell whether what decodes as Shift-JIS is that: kana and kanji, in pairs of bytes unlike Western text."""
    wide = [character for character in text if ord(character) > 0x7F]
    full = [
        c for c in wide if "\u3000" <= c <= "\u30ff" or "\u4e00" <= c <= "\u9fff" or "\uff01" <= c <= "\uff5e"
    ]
    return len(full) == len(wide) and bool(re.search(rb"[\x81-\x9f]", raw))
