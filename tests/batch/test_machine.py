"""Memory in containers: limits of control groups, of which a warm cache is no part."""

from __future__ import annotations

import math
import sys

import pytest

from slimclean.batch.machine import available_bytes

GB = 1 << 30
MEMINFO = f"MemTotal: {64 * GB // 1024} kB\nMemFree: 1024 kB\nMemAvailable: {50 * GB // 1024} kB\n"


@pytest.fixture
def system(tmp_path):
    """A function that writes files under a root of its own."""

    def write(**files):
        for name, text in {"proc/meminfo": MEMINFO, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(text))
        return tmp_path

    return write


def test_what_is_available_counts_not_what_is_free(system):
    assert available_bytes(system()) == 50 * GB


def test_a_limit_of_version_2(system):
    """10 GB, of which 8 are used, 5 of these by a cache that can go."""
    group = "sys/fs/cgroup/kubepods/pod1/"
    stat = f"anon {3 * GB}\ninactive_file {4 * GB}\nactive_file {1 * GB}\nshmem 5\n"
    files = {
        "proc/self/cgroup": "0::/kubepods/pod1\n",
        group + "memory.max": "max",
        group + "memory.stat": stat,
    }
    assert available_bytes(system(**files)) == 50 * GB
    files |= {group + "memory.max": 10 * GB, group + "memory.current": 8 * GB}
    assert available_bytes(system(**files)) == 7 * GB
    files |= {group + "memory.high": 6 * GB}
    assert available_bytes(system(**files)) == 3 * GB
    above = {"sys/fs/cgroup/kubepods/memory.max": 2 * GB, "sys/fs/cgroup/kubepods/memory.current": GB}
    assert available_bytes(system(**files, **above)) == GB


def test_a_container_that_sees_its_own_group_as_the_root(system):
    files = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": 2 * GB,
        "sys/fs/cgroup/memory.current": 3 * GB,  # a limit that was lowered
    }
    assert available_bytes(system(**files)) == 0
    files["proc/self/cgroup"] = "0::/../../host\n"
    assert available_bytes(system(**files)) == 0


def test_a_limit_of_version_1(system):
    group = "sys/fs/cgroup/memory/docker/abc/"
    files = {
        "proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/docker/abc\n0::/\n",
        group + "memory.limit_in_bytes": 4 * GB,
        group + "memory.usage_in_bytes": 3 * GB,
        group + "memory.stat": f"inactive_file 7\ntotal_inactive_file {GB}\ntotal_active_file {GB}\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712,
    }
    assert available_bytes(system(**files)) == 3 * GB


@pytest.mark.skipif(sys.platform == "win32", reason="sysconf")
def test_systems_that_tell_less(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert available_bytes(tmp_path) == 2_048_000
    monkeypatch.delattr("os.sysconf")
    assert available_bytes(tmp_path) == math.inf


@pytest.mark.parametrize("text", ["", "0", "::", "0::", "a:b", "\0", "0::/\n\n1:memory"])
def test_crooked_files_do_no_harm(system, text):
    files = {
        "proc/self/cgroup": text,
        "sys/fs/cgroup/memory.max": "much",
        "sys/fs/cgroup/memory.stat": "x\ny z\n",
    }
    assert available_bytes(system(**files)) == 50 * GB
