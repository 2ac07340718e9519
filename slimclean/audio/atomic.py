"""Files that are there whole or not at all: written beside their place, flushed, and renamed into it.

Recordings, checkpoints, pages, pictures and tables are all written through here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

STALE_S = 24 * 3600
"""A temporary file of another machine that is older than this was left by a run that died."""

_HOST = re.sub(r"\W", "", socket.gethostname())[:16] or "host"


class AtomicFile:
    """The next form of the file `path`; a context manager.

    Write to `temporary`; `commit` makes that the file. Leaving without `commit` removes it and leaves `path` as
    it was. The folder is made, and what a killed run left of its attempt at the same `path` is removed. A link
    stays, and its target changes. What is no regular file, such as /dev/stdout, is written directly. Everything
    raises `OSError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))
        self._direct = path.exists() and not path.is_file()
        self.temporary = path if self._direct else _temporary(self.path)
        if not self._direct:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.path)

    def commit(self, mtime: float | None = None) -> None:
        """Flush `temporary` to the disk and rename it over `path`, on request with the time `mtime`."""
        if self._direct:
            return
        if mtime is not None:
            os.utime(self.temporary, (mtime, mtime))
        _sync(self.temporary)
        self.temporary.replace(self.path)
        if os.name == "posix":
            with contextlib.suppress(OSError):  # network shares refuse it, and the file is there
                _sync(self.path.parent)  # the new name is in the folder, not in the file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._direct:
            with contextlib.suppress(OSError):  # the error that brought us here says more
                self.temporary.unlink()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` where the block ends without an error; raises `OSError`."""
    with AtomicFile(path) as file:
        yield file.temporary
        file.commit()


def remove_leftovers(path: Path) -> None:
    """Remove what processes that died left of their attempts at `path`."""
    path = Path(os.path.realpath(path))
    for left in path.parent.glob(f"{_prefix(path)}*.part"):
        host, _, pid = left.stem.removeprefix(_prefix(path)).rpartition("-")
        with contextlib.suppress(OSError, ValueError):
            dead = host == _HOST and not _is_alive(int(pid))
            if dead or time.time() - left.stat().st_mtime > STALE_S:
                left.unlink()


def _temporary(path: Path) -> Path:
    """Hidden, beside `path`, named after machine and process; short whatever the length of the name."""
    return path.with_name(f"{_prefix(path)}{_HOST}-{os.getpid()}.part")


def _prefix(path: Path) -> str:
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]
    return f".slimclean-{digest}-"


def _is_alive(pid: int) -> bool:
    if os.name != "posix":
        return True  # there, asking would kill
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() or os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
