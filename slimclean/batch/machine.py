"""What this machine can spare: memory that a new process may take, as far as a container allows."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

ROOT = Path("/")
_CACHE = frozenset({"inactive_file", "active_file", "slab_reclaimable"})
"""What a control group counts as used, and gives back where it is needed."""


def available_bytes(root: Path = ROOT) -> float:
    """Return the memory that can be had without swapping, a warm file cache included.

    The least of what the system and each control group (version 1 or 2) around this process have left. Half of
    all memory where a system tells only that, as macOS does; infinite where it tells nothing.
    """
    return min([_system_bytes(root), *_group_bytes(root)])


def _system_bytes(root: Path) -> float:
    found = _numbers(root / "proc/meminfo")
    if "MemAvailable" in found:
        return found["MemAvailable"] * 1024
    with suppress(ValueError, AttributeError, OSError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    return math.inf


def _group_bytes(root: Path) -> Iterator[float]:
    for line in _text(root / "proc/self/cgroup").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        inside = PurePosixPath(path.lstrip("/"))
        groups = [group for group in (inside, *inside.parents) if ".." not in group.parts]
        if not controllers:
            for group in (root / "sys/fs/cgroup" / group for group in groups):
                limit = min(_number(group / "memory.max"), _number(group / "memory.high"))
                yield _left(limit, _number(group / "memory.current", 0), _numbers(group / "memory.stat"))
        elif "memory" in controllers.split(","):
            for group in (root / "sys/fs/cgroup/memory" / group for group in groups):
                limit = _number(group / "memory.limit_in_bytes")
                stat = _numbers(group / "memory.stat")
                totals = {
                    name.removeprefix("total_"): n for name, n in stat.items() if name.startswith("total_")
                }
                yield _left(limit, _number(group / "memory.usage_in_bytes", 0), totals)


def _left(limit: float, used: float, stat: dict[str, int]) -> float:
    return max(0.0, limit - max(0.0, used - sum(n for name, n in stat.items() if name in _CACHE)))


def _number(path: Path, absent: float = math.inf) -> float:
    """Return what a file holds that is one number; "max" is none."""
    text = _text(path).strip()
    return int(text) if text.isdecimal() else absent


def _numbers(path: Path) -> dict[str, int]:
    """Return what a file of lines of a name and a number holds."""
    words = (line.replace(":", " ").split() for line in _text(path).splitlines())
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdecimal()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
