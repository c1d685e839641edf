# SPDX-License-Identifier: Apache-2.0
"""lib/lease.h once more, in Python, from its header alone; and a process that can be told what to
ask for, hold on to and die with (python3 lease.py SOCKET reads a JSON request per line).
"""
import array
import errno
import fcntl
import json
import mmap
import os
import select
import signal
import socket
import struct
import sys

VERSION = 4
# Whose guests slots are for: the tests' daemons lend to these.
ENGINE = "cki" if os.environ.get("CAISSON_TEST_ENGINE") == "cki" else "kvm"
LEASE, TAKE, HOLD, RELEASE, LIST, DRAIN, RETRY, STATUS = range(1, 9)
STATES = ["cold", "preparing", "ready", "leased", "dirty", "quarantined"]


class Failed(Exception):
    """The daemon's code and sentence."""

    def __init__(self, code, text):
        super().__init__(f"[{os.strerror(code)}] {text}")
        self.code, self.text = code, text


def string(s):
    if s is None:
        return b"\xff\xff\xff\xff"
    b = s.encode()
    return struct.pack("<I", len(b)) + b + b"\0"


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def get(self, fmt):
        values = struct.unpack_from("<" + fmt, self.data, self.at)
        self.at += struct.calcsize("<" + fmt)
        return values[0] if len(values) == 1 else values

    def string(self):
        n = self.get("I")
        if n == 0xffffffff:
            return None
        s = self.data[self.at:self.at + n].decode()
        self.at += n + 1
        return s

    def function(self):
        address, pf = self.string(), self.string()
        vf, mac = self.get("I6s")
        return {"address": address, "pf": pf, "vf": vf, "mac": mac.hex(":")}

    def slot(self):
        s = dict(zip(("number", "state", "drained", "hugepages", "on_demand", "memory", "growth",
                      "lent", "since"), self.get("IB???QQQq")))
        s["state"] = STATES[s["state"]]
        s["function"] = self.function()
        s["lease"], s["owner"] = self.string(), self.string()
        s["kept"], s["holder"] = self.get("?i")
        s["iommu"], s["reason"] = self.string(), self.string()
        return s


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(150)
        self.socket.connect(str(path))
        self.fds = []

    def exchange(self, op, body=b"", fds=()):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([struct.pack("<HB", VERSION, op) + body], control)
        return self.receive(op)

    def receive(self, op):
        data, control, _, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(12))
        if not data:
            raise EOFError("caissond went away")
        self.fds = [fd for _, _, b in control for fd in array.array("i", b)] or self.fds
        r = Reader(data)
        version, got, code = r.get("HBi")
        text = r.string()
        assert version == VERSION
        if code:
            raise Failed(code, text)
        assert got == op
        return r

    def lease(self, owner, memory=0, function=False, pf=None, kept=False, wait_ms=0, engine=None):
        r = self.exchange(LEASE, string(owner) + struct.pack("<?", function) + string(pf)
                          + struct.pack("<Q?", memory, kept) + string(engine)
                          + struct.pack("<I", wait_ms))
        return {"id": r.string(), "memory": r.get("Q"), "function": r.function()}

    def take(self, id, memory=0, max=0, wait_ms=0, engine=ENGINE):
        r = self.exchange(TAKE, string(id) + struct.pack("<QQ", memory, max) + string(engine)
                          + struct.pack("<I", wait_ms))
        memory, hugepages = r.get("Q?")
        taken = {"memory": memory, "hugepages": hugepages, "function": r.function(),
                 "growth": r.get("Q"), "fds": len(self.fds)}
        self.growth = self.fds.pop() if taken["growth"] else None
        return taken

    def hold(self, id, pid):
        fd = os.pidfd_open(pid)
        try:
            self.exchange(HOLD, string(id), [fd])
        finally:
            os.close(fd)

    def release(self, id=None, owner=None):
        self.exchange(RELEASE, string(id) + string(owner))

    def list(self, owner=None):
        slots, first = [], 0
        while True:
            r = self.exchange(LIST, string(owner) + struct.pack("<I", first))
            first, n = r.get("II")
            slots += [r.slot() for _ in range(n)]
            if not first:
                return slots

    def drain(self, what=None, drain=True):
        self.exchange(DRAIN, struct.pack("<?", drain) + string(what))

    def retry(self, what=None):
        self.exchange(RETRY, string(what))

    def status(self):
        r = self.exchange(STATUS)
        s = dict(zip(("pid", "since", "draining"), r.get("Iq?")))
        s["slots"] = dict(zip(STATES, r.get("6I")))
        s["waiting"] = r.get("I")
        s |= zip(("granted", "refused", "returned", "quarantined"), r.get("4Q"))
        return s

    # What the holder does with what it took; the first descriptor is the memory.

    def is_zero(self):
        with mmap.mmap(self.fds[0], 0) as m:
            return not any(m[i:i + 65536].strip(b"\0") for i in range(0, len(m), 65536))

    def present(self):
        """Bytes of the memory that are there."""
        return os.fstat(self.fds[0]).st_blocks * 512

    def grown(self, wait=True):
        """What is said of the growth next: bytes, 0 when no more comes; None: nothing yet."""
        if not wait and not select.select([self.growth], [], [], 0)[0]:
            return None
        data = os.read(self.growth, 8)
        return struct.unpack("<Q", data)[0] if data else 0

    def plant(self, pattern):
        with mmap.mmap(self.fds[0], 0) as m:
            m[:] = (pattern.encode() * (len(m) // len(pattern) + 1))[:len(m)]

    def size(self):
        return os.fstat(self.fds[0]).st_size

    def close_growth(self):
        os.close(self.growth)

    def resize(self, size):
        os.ftruncate(self.fds[0], size)

    def register(self, offset, value=None):
        """A 32-bit register in the first window of the function; the device is the last descriptor.
        VFIO_DEVICE_GET_REGION_INFO, VFIO_PCI_BAR0_REGION_INDEX and the config space's command
        register, as in linux/vfio.h.
        """
        fd = self.fds[-1]

        def region(index):
            info = bytearray(struct.pack("<IIIIQQ", 32, 0, index, 0, 0, 0))
            fcntl.ioctl(fd, ord(";") << 8 | 108, info)
            return struct.unpack("<IIIIQQ", info)[4:]
        _, at = region(7)
        os.pwrite(fd, struct.pack("<H", 6), at + 4)  # memory, bus master
        size, at = region(0)
        assert offset < size
        if value is not None:
            os.pwrite(fd, struct.pack("<I", value), at + offset)
        return struct.unpack("<I", os.pread(fd, 4, at + offset))[0]

    def reattach(self):
        """Takes the function out of its DMA address space and puts it back, which the holder can with
        iommufd: the errno value of the latter.  VFIO_DEVICE_DETACH_IOMMUFD_PT and ..._ATTACH_...; the
        space is the one object there is of its kind.
        """
        fd = self.fds[-1]
        fcntl.ioctl(fd, ord(";") << 8 | 120, struct.pack("<II", 8, 0))
        codes = []
        for ioas in range(1, 9):
            try:
                fcntl.ioctl(fd, ord(";") << 8 | 119, bytearray(struct.pack("<III", 12, 0, ioas)))
                return 0
            except OSError as e:
                codes.append(e.errno)
        # EINVAL, ENOENT: no such object, or another.
        return next((c for c in codes if c not in (errno.EINVAL, errno.ENOENT)), codes[-1])

    def fork(self):
        """A process that has everything this one has."""
        pid = os.fork()
        if pid == 0:
            while True:
                signal.pause()
        return pid

    def raw(self, hex):
        self.socket.send(bytes.fromhex(hex))
        return self.receive(STATUS) is None


def main():
    client = Client(sys.argv[1])
    for line in sys.stdin:
        name, kw = json.loads(line)
        try:
            answer = {"ok": getattr(client, name)(**kw)}
        except Failed as e:
            answer = {"code": e.code, "text": e.text}
        except (OSError, EOFError) as e:
            answer = {"gone": str(e)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
