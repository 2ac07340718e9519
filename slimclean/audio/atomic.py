"""Files that are there whole or not at all: written beside their place, flushed, and renamed into it.

Recordings, checkpoints, pages, pictures and tables are all written through here.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import platform
import re
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from slimclean.errors import SlimcleanError, told

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from typing_extensions import Self  # until Python 3.11 `typing` has none

STALE_S = 24 * 3600
"""A temporary file whose writer cannot be asked, and that is older than this, was left by a run that died."""

_PART = re.compile(r"\.slimclean-[0-9a-f]{12}-(?P<machine>[0-9a-f]{8})-[0-9a-f]{32}\.part")
NO_MACHINE = "0" * 8
"""Stands in names of files that are not locked."""
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What file systems answer that know no flushing."""


class AtomicFile:
    """The next form of the file `path`; a context manager.

    Write to `temporary`; `commit` makes that the file. Leaving without `commit` removes it and leaves `path` as
    it was. Folders are made. A link stays, and its target changes. What is no file, such as /dev/stdout, is
    written directly. Everything raises `OSError`.

    The file is for those who may see what it is made from: `like` names that. Where that is `path` itself,
    mode, extended attributes and, where allowed, the owner stay; else its mode is what the umask leaves of that
    of `like`, and so it goes for folders that are made. Where there are several, `mode` is a number (see
    `shared_mode`). A file that is replaced stays as closed as it was.
    """

    def __init__(self, path: Path, like: Path | None = None, mode: int = 0o666) -> None:
        self.path = Path(os.path.realpath(path))
        self._before = _stat(path)
        if self._before is not None and stat.S_ISDIR(self._before.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        self._direct = self._before is not None and not stat.S_ISREG(self._before.st_mode)
        self._lock: int | None = None
        self.committed: os.stat_result | None = None
        """What the file was like when it was put into its place."""
        self.temporary = path
        if self._direct:
            return
        self._source = _stat(like) if like is not None else None
        self._in_place = _same(self._before, self._source)
        make_folder(self.path.parent, None if like is None or self._in_place else like.parent)
        if self._source is not None:
            mode = 0 if self._in_place else self._source.st_mode
        self.temporary, self._lock = _create(self.path, mode & 0o666 | 0o600)
        try:
            self._mode = self.temporary.stat().st_mode & 0o777  # what the umask left
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def commit(self, mtime_ns: int | None = None, check: Callable[[], None] = lambda: None) -> None:
        """Flush `temporary` to the disk and rename it over `path`, on request with the time `mtime_ns`.

        `check` is called right before: what it raises leaves `path` as it was.
        """
        if self._direct:
            return
        self._lock_again()
        self._set_mode()
        if mtime_ns is not None:
            os.utime(self.temporary, ns=(mtime_ns, mtime_ns))
        _sync(self.temporary)
        if os.name != "posix":
            self._release()  # there, what is open is not renamed
        check()
        self.committed = self.temporary.stat()
        self.temporary.replace(self.path)
        with contextlib.suppress(OSError):  # its `st_ctime` is new
            self.committed = self.path.stat()
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
            self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _lock_again(self) -> None:
        """Lock what a writer put into the place of the file that it was given."""
        if self._lock is None or sys.platform == "win32":
            return
        if os.path.samestat(os.fstat(self._lock), self.temporary.stat()):
            return
        self._release()
        self._lock = os.open(self.temporary, os.O_RDWR)
        lock(self._lock)

    def _set_mode(self) -> None:
        """Set owner, group and mode as the class says."""
        if os.name != "posix":
            return
        now = self.temporary.stat()
        mode = self._mode
        if self._before is not None:
            for uid, gid in ((self._before.st_uid, -1), (-1, self._before.st_gid)):
                with contextlib.suppress(OSError):
                    os.chown(self.temporary, uid, gid)
            now = self.temporary.stat()
            mode = self._before.st_mode & 0o777 if self._in_place else mode & (self._before.st_mode | 0o600)
        if self._in_place:
            with contextlib.suppress(OSError):  # attributes that this file system, or this user, cannot set
                shutil.copystat(self.path, self.temporary)
            with contextlib.suppress(OSError):
                os.utime(self.temporary)
        group = self._source.st_gid if self._source is not None else now.st_gid
        if now.st_gid != group:  # another group gets no more than everybody
            mode &= ~0o070 | (mode & 0o007) << 3
        if mode != now.st_mode & 0o777 or self._in_place:
            with contextlib.suppress(OSError):  # FAT and some shares have none
                self.temporary.chmod(mode)


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Give a path to write to, which becomes `path` where the block ends without an error; raises `OSError`."""
    remove_leftovers(Path(os.path.realpath(path)).parent)
    with AtomicFile(path, mode=mode) as file:
        yield file.temporary
        file.commit()


@contextlib.contextmanager
def writing(path: Path, *others: type[Exception]) -> Iterator[None]:
    """Raise `SlimcleanError` for an `OSError` within, or one of the `others`: it names `path` and why."""
    errors: tuple[type[Exception], ...] = (OSError, *others)
    try:
        yield
    except errors as error:
        raise SlimcleanError(f"cannot write {path} ({told(error)})") from error


def open_text(path: Path) -> TextIO:
    """Open a new CSV or JSON file; raises `OSError`."""
    # File names need not be UTF-8: what came in as bytes goes out as the same bytes.
    return path.open("w", newline="", encoding="utf-8", errors="surrogateescape")


def shared_mode(paths: Iterable[Path]) -> int:
    """Return the mode of a file that tells of all of `paths`: open to those to whom each of them is."""
    mode = 0o666
    for path in paths:
        with contextlib.suppress(OSError):  # one that is gone, or closed to us
            mode &= path.stat().st_mode | 0o600
    return mode


def make_folder(folder: Path, like: Path | None = None) -> None:
    """Make `folder` and what is missing above it, each as closed as the one at its place in the path `like`."""
    missing: list[tuple[Path, Path | None]] = []
    model = None if like is None else Path(os.path.realpath(like))
    while not os.path.lexists(folder):
        missing.append((folder, model))
        folder, model = folder.parent, model.parent if model is not None else None
    for new, model in reversed(missing):
        status = _stat(model) if model is not None else None
        new.mkdir(0o777 if status is None else status.st_mode & 0o777 | 0o700, exist_ok=True)
    if not missing:
        folder.mkdir(exist_ok=True)  # raises where it is something else


def remove_leftovers(folder: Path) -> None:
    """Remove what runs that died left in `folder` of files they were writing.

    The writer of a temporary file holds a lock on it for as long as it lives, which tells within this machine,
    containers included. Of other machines, and where locks are unknown, files older than `STALE_S` go.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        left = [Path(entry.path) for entry in entries if entry.name.startswith(".slimclean-")]
        for path in left:
            if path.name.endswith(".part"):
                with contextlib.suppress(OSError):
                    _remove_if_left(path)


def lock(descriptor: int) -> bool:
    """Lock an open file for as long as it is open; False where it is locked already, by whomever."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # no locks here
    return True


def _remove_if_left(path: Path) -> None:
    name = _PART.fullmatch(path.name)
    if name and name["machine"] == _machine() and sys.platform != "win32":
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            return
        except BlockingIOError:
            return
        except OSError:
            pass  # no locks here
        finally:
            os.close(descriptor)
    if time.time() - path.lstat().st_mtime > STALE_S:
        path.unlink()


def _create(path: Path, mode: int) -> tuple[Path, int | None]:
    """Make a hidden file beside `path`, locked while its descriptor is open; its name is never too long."""
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]
    machine = _machine()
    while True:
        new = path.with_name(f".slimclean-{digest}-{machine}-{uuid.uuid4().hex}.part")
        descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        try:
            if sys.platform == "win32" or machine == NO_MACHINE:
                os.close(descriptor)
                return new, None
            if lock(descriptor) and os.fstat(descriptor).st_nlink:  # else it was taken for a leftover just now
                if _is_open_to_us(new):
                    return new, descriptor
                machine = NO_MACHINE
                new.unlink()
            os.close(descriptor)
        except BaseException:  # an interrupt, say
            with contextlib.suppress(OSError):
                os.close(descriptor)
            with contextlib.suppress(OSError):
                new.unlink()
            raise


def _is_open_to_us(path: Path) -> bool:
    """Tell whether a locked file can be written through another descriptor: Windows shares may forbid that."""
    try:
        with path.open("r+b") as file:
            file.write(b"x")
            file.truncate(0)
    except OSError:
        return False
    return True


@functools.cache
def _machine() -> str:
    """Name what processes that see one another's locks have in common: one boot of one kernel."""
    name = platform.node()
    with contextlib.suppress(OSError):
        name = Path("/proc/sys/kernel/random/boot_id").read_text()
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _same(one: os.stat_result | None, other: os.stat_result | None) -> bool:
    return one is not None and other is not None and os.path.samestat(one, other)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() or os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)
