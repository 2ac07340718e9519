"""Sizes that headers state: which of them mean "unknown", and what is said where they are wrong."""

from __future__ import annotations

UNKNOWN = 0xFFFF_FFFF
"""The size of 32 bits that FFmpeg writes where it cannot know one, and RF64 where one of 64 bits holds."""
UNKNOWN_FROM = 0x7FFF_0000
"""From this size on, a size of 32 bits stands for "unknown", as in files that were written to a pipe."""
UNKNOWN_FROM_64 = 1 << 62
"""From this size on, a size of 64 bits is nonsense, and stands for "unknown" too."""
UNKNOWN_IF_CUT_FROM = 0x7F00_0000
"""From this size on, one of 32 bits does so in AIFF and CAF where less is there: SoX writes it into pipes."""


def truncated(there: int, said: int) -> str:
    """Say that sound is missing, in bytes."""
    return f"truncated: {there} of {said} bytes of sound are there"


def other_size(said: int, there: int) -> str:
    """Say that all sound was read, and that its bytes are not those of the header."""
    return f"its header says {said} bytes of sound, {there} are there and were read"


def other_length(said_s: float, there_s: float, header: str = "its header") -> str:
    """Say that all sound was read, and that it is not as long as the header says, in seconds."""
    return f"{header} says {said_s:.2f} s, {there_s:.2f} s are there and were read"
