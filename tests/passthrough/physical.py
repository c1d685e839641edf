# SPDX-License-Identifier: Apache-2.0
"""Where a process's memory is in the machine's."""
import itertools
import mmap
import os
import re
import struct

PAGE = mmap.PAGESIZE


def physical(pid, address):
    """The physical address of a page that is there, or None."""
    with open(f"/proc/{pid}/pagemap", "rb") as f:
        f.seek(address // PAGE * 8)
        entry, = struct.unpack("<Q", f.read(8))
    return (entry & ((1 << 55) - 1)) * PAGE if entry >> 63 else None


class Plant:
    """Pages of a process that hold a pattern; here: our own."""

    def __init__(self, pattern, pages=16):
        self.pattern = (pattern * PAGE)[:PAGE]
        self.memory = mmap.mmap(-1, pages * PAGE)
        self.memory.write(self.pattern * pages)
        self.pages = pages
        self.places = self.find()

    def find(self):
        address = next(int(m.group(1), 16) for m in
                       re.finditer(r"^([0-9a-f]+)-([0-9a-f]+) .*$", open("/proc/self/maps").read(),
                                   re.M)
                       if self.holds(int(m.group(1), 16), int(m.group(2), 16)))
        return [physical("self", address + i * PAGE) for i in range(self.pages)]

    def holds(self, start, end):
        if end - start != self.pages * PAGE:
            return False
        with open("/proc/self/mem", "rb") as f:
            f.seek(start)
            try:
                return f.read(PAGE) == self.pattern
            except OSError:
                return False

    def intact(self):
        return self.memory[:] == self.pattern * self.pages


class Pages:
    """Pages of another process's mapping of a file called `name` that begin with the pattern."""

    def __init__(self, pid, name, pattern, count):
        self.pid, self.pattern, self.found = pid, (pattern * PAGE)[:PAGE], {}
        ranges = [range(int(a, 16), int(b, 16), PAGE) for a, b in
                  re.findall(rf"^([0-9a-f]+)-([0-9a-f]+) .*{re.escape(name)}",
                             open(f"/proc/{pid}/maps").read(), re.M)]
        fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
        for address in itertools.chain(*ranges):
            if os.pread(fd, PAGE, address) == self.pattern:
                self.found[address] = physical(pid, address)
            if len(self.found) == count:
                break
        os.close(fd)

    def intact(self):
        fd = os.open(f"/proc/{self.pid}/mem", os.O_RDONLY)
        same = all(os.pread(fd, PAGE, a) == self.pattern for a in self.found)
        os.close(fd)
        return same
