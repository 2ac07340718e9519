"""What a batch is made of: one recording, and where its result goes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

STREAM = Path("-")
"""Standard input as a source, standard output as a destination."""
FileState = tuple[int, int, int] | None
"""Size, time of change and inode of a file; None where there is none."""


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

    @property
    def replaces_source(self) -> bool:
        """Whether the result takes the place of the recording."""
        return os.path.realpath(self.destination) == os.path.realpath(self.source)

    def state(self) -> FileState:
        """Return what is another if somebody changes the source."""
        try:
            status = self.source.stat()
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns, status.st_ino
