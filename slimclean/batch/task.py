"""What a batch is made of: one recording, and where its result goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STREAM = Path("-")
"""Standard input as a source, standard output as a destination."""


@dataclass(frozen=True)
class Task:
    """One recording to enhance, where the result goes, and a clean reference where one was asked for.

    What cannot be begun has a `problem`: a folder that may not be read. Where a folder was given, `tree`
    holds that and the one that mirrors it.
    """

    source: Path
    destination: Path
    reference: Path | None = None
    problem: str = ""
    tree: tuple[Path, Path] | None = None
