# SPDX-License-Identifier: Apache-2.0
"""What a machine holds, so that a test can see whether many sandboxes left something behind.

All of it is the whole machine's: on one that does nothing else, after the first sandboxes, which fill
its caches.
"""
import gc
import json
import os
import pathlib
import re
import time

# What a machine of some age does to itself between two looks; a leak of a page, a descriptor or a
# dentry per sandbox is more in a hundred of them, or in the slope of a table.
MEMORY_KB = 24 << 10
SLAB_KB = 8 << 10
FILES = 64      # the kernel counts open files in batches


def count_files():
    """Descriptors of all processes."""
    total = 0
    for p in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            total += len(os.listdir(p / "fd"))
        except OSError:
            pass
    return total


def meminfo():
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    return {k: int(v.split()[0]) for k, v in (line.split(":") for line in lines)}


def free_per_cpu_kb():
    """Free pages that a CPU keeps at hand (up to some ten MB each), which MemFree leaves out."""
    text = pathlib.Path("/proc/zoneinfo").read_text()
    return sum(map(int, re.findall(r"^ +count: +(\d+)", text, re.M))) * os.sysconf("SC_PAGESIZE") >> 10


def look():
    """What the machine holds.  Caches that can be dropped are, so that the rest can be seen."""
    gc.collect()
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
    time.sleep(1)
    m, at_hand = meminfo(), free_per_cpu_kb()
    user = [p for p in pathlib.Path("/proc").glob("[0-9]*") if readable(p / "exe")]
    return {
        "available_kb": m["MemAvailable"] + at_hand, "slab_kb": m["Slab"],
        "unreclaimable_kb": m["SUnreclaim"],
        # Where available memory went, should it go.
        "anon_kb": m["AnonPages"], "shmem_kb": m["Shmem"], "cached_kb": m["Cached"],
        "tables_kb": m["PageTables"] + m["KernelStack"], "percpu_kb": m["Percpu"],
        "vmalloc_kb": m["VmallocUsed"], "free_kb": m["MemFree"],
        "at_hand_kb": at_hand,
        "huge_free": m["HugePages_Free"],
        "file_nr": int(pathlib.Path("/proc/sys/fs/file-nr").read_text().split()[0]),
        "descriptors": count_files(), "processes": len(user),
        "mounts": len(pathlib.Path("/proc/self/mountinfo").read_text().splitlines()),
        "cgroups": sum(1 for _ in pathlib.Path("/sys/fs/cgroup").rglob("cgroup.procs")),
        "links": len(os.listdir("/sys/class/net")),
    }


def readable(link):
    try:
        return bool(os.readlink(link))
    except OSError:     # a thread of the kernel has none
        return False


def row(n, values):
    """A line of a table of looks, below the names of what was counted."""
    return f"{n:>6} " + " ".join(f"{v:>{len(k)}}" for k, v in values.items())


def check_nothing_grew(first, last, descriptors=0):
    """`descriptors`: so many more may be open, by services that keep some for themselves."""
    table = json.dumps([first, last], indent=1)
    for name in ("processes", "mounts", "cgroups", "links"):
        assert last[name] <= first[name], (name, table)
    assert last["descriptors"] <= first["descriptors"] + descriptors, table
    assert last["huge_free"] >= first["huge_free"], table
    assert last["file_nr"] <= first["file_nr"] + FILES, table
    assert first["available_kb"] - last["available_kb"] < MEMORY_KB, table
    assert last["unreclaimable_kb"] - first["unreclaimable_kb"] < SLAB_KB, table
