"""What of tags the new sound makes untrue: loudness, lengths, places of bytes."""

from __future__ import annotations

from typing import Any

from slimclean.audio.attached import STALE, STALE_FRAMES

_NO_BYTE = 0xFFFF_FFFF
"""Of a chapter that does not say at which bytes it lies."""


def drop_stale(id3: Any) -> bool:
    """Take out of ID3 what is of the old sound or its bytes, and tell whether there was any."""
    found = False
    for key, frame in list(id3.items()):
        if frame.FrameID in STALE_FRAMES or STALE.match(getattr(frame, "desc", "") or ""):
            del id3[key]
            found = True
        elif frame.FrameID == "CHAP" and (frame.start_offset, frame.end_offset) != (_NO_BYTE, _NO_BYTE):
            frame.start_offset = frame.end_offset = _NO_BYTE
            found = True
    return found
