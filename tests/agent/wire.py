# SPDX-License-Identifier: Apache-2.0
"""The wire and the specs (lib/wire.h, lib/spec.h), written down a second time.

Nothing here is shared with the C code, so that a mistake in one of the two shows.
"""
import struct

VERSION = 3
SHARES_NONE, SHARES_9P, SHARES_VIRTIOFS = range(3)
WINDOW = 131072
DATA_MAX = 32768
STREAMS_MAX = 32

SETUP, CREATE, START, EXEC, SIGNAL, FREEZE, PS, UPDATE, STATS, SHUTDOWN = range(1, 11)
RESIZE, HANGUP = 32, 33
DATA, CREDIT = 48, 49
READY, RESULT, EXITED = 64, 65, 66

# sched.h
NEWNS, NEWCGROUP, NEWUTS = 0x00020000, 0x02000000, 0x04000000
NEWIPC, NEWPID, NEWNET = 0x08000000, 0x20000000, 0x40000000
# sys/mount.h
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
BIND, REC = 4096, 16384
UNBINDABLE, PRIVATE, SLAVE, SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20
STRICTATIME = 1 << 24

U32_MAX = 0xFFFFFFFF


def u8(x): return struct.pack("<B", x)
def u16(x): return struct.pack("<H", x)
def u32(x): return struct.pack("<I", x)
def i32(x): return struct.pack("<i", x)
def u64(x): return struct.pack("<Q", x)
def i64(x): return struct.pack("<q", x)
def boolean(x): return u8(1 if x else 0)


def string(s):
    if s is None:
        return u32(U32_MAX)
    b = s.encode("utf-8", "surrogateescape") if isinstance(s, str) else s
    return u32(len(b)) + b + b"\0"


def listing(items, encode):
    items = list(items)
    return u32(len(items)) + b"".join(encode(x) for x in items)


def strv(v): return listing(v, string)
def blob(b): return u32(len(b)) + b
def pair(p): return string(p[0]) + string(p[1])
def pairs(d): return listing(d.items() if isinstance(d, dict) else d, pair)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if n > len(self.data) - self.at:
            raise ValueError("message too short")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, fmt):
        return struct.unpack("<" + fmt, self.take(struct.calcsize(fmt)))[0]

    def string(self):
        n = self.number("I")
        if n == U32_MAX:
            return None
        b = self.take(n + 1)
        if b[-1] or 0 in b[:-1]:
            raise ValueError("bad string")
        return b[:-1].decode("utf-8", "replace")

    def end(self):
        if self.at != len(self.data):
            raise ValueError("bytes left over")


def frame(kind, session, payload=b"", stream=0):
    return struct.pack("<IBBHI", len(payload), kind, stream, 0, session) + payload


ALL_CAPS = (1 << 41) - 1
# what podman and docker give by default
DEFAULT_CAPS = sum(1 << n for n in (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31))

ENV = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"]


def process(args, *, terminal=False, rows=0, columns=0, env=None, cwd="/", uid=0, gid=0, gids=(),
            umask=U32_MAX, caps=DEFAULT_CAPS, bounding=None, effective=None, inheritable=0,
            permitted=None, ambient=0, rlimits=(), nnp=False, oom_score_adj=None, seccomp=b"",
            seccomp_flags=0, extra_fds=0):
    if uid and effective is None and permitted is None:
        effective = permitted = ambient
    sets = (bounding, effective, inheritable, permitted, ambient)
    return b"".join((
        boolean(terminal), u16(rows), u16(columns), strv(args), strv(ENV if env is None else env),
        string(cwd), u32(uid), u32(gid), listing(gids, u32), u32(umask),
        b"".join(u64(caps if s is None else s) for s in sets),
        listing(rlimits, lambda r: u32(r[0]) + u64(r[1]) + u64(r[2])),
        boolean(nnp), boolean(oom_score_adj is not None), i32(oom_score_adj or 0),
        blob(seccomp), u32(seccomp_flags), u32(extra_fds)))


def mount(destination, type=None, source=None, flags=0, data=None, propagation=0, share=-1,
          share_is_dir=False, copy_up=False):
    return b"".join((string(source), string(destination), string(type), u64(flags),
                     u64(propagation), string(data), i32(share), boolean(share_is_dir),
                     boolean(copy_up)))


def bind(destination, share, is_dir=True, flags=0, **more):
    return mount(destination, "bind", None, BIND | REC | flags, share=share, share_is_dir=is_dir,
                 **more)


DEFAULT_MOUNTS = (
    mount("/proc", "proc", "proc"),
    mount("/dev", "tmpfs", "tmpfs", NOSUID | STRICTATIME, "mode=755,size=65536k"),
    mount("/dev/pts", "devpts", "devpts", NOSUID | NOEXEC,
          "newinstance,ptmxmode=0666,mode=0620,gid=5"),
    mount("/dev/shm", "tmpfs", "shm", NOSUID | NOEXEC | NODEV, "mode=1777,size=65536k"),
    mount("/dev/mqueue", "mqueue", "mqueue", NOSUID | NOEXEC | NODEV),
    mount("/sys", "sysfs", "sysfs", NOSUID | NOEXEC | NODEV | RDONLY),
    mount("/sys/fs/cgroup", "cgroup", "cgroup", NOSUID | NOEXEC | NODEV | RDONLY),
)
MASKED = ("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
          "/proc/timer_list", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
          "/sys/fs/selinux", "/sys/dev/block")
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def resources(memory_max=-1, memory_low=-1, swap_max=-1, pids_max=-1, cpu_quota=-1, cpu_period=-1,
              cpu_weight=0, unified=()):
    return (i64(memory_max) + i64(memory_low) + i64(swap_max) + i64(pids_max) + i64(cpu_quota) +
            i64(cpu_period) + u64(cpu_weight) + pairs(unified))


def device(path, mode, major, minor, uid=0, gid=0):
    return string(path) + u32(mode) + u32(major) + u32(minor) + u32(uid) + u32(gid)


def container(id, process, *, hostname="box", domainname=None,
              unshare=NEWPID | NEWIPC | NEWUTS | NEWCGROUP, lower="lower", lower_share=-1,
              pid_of=None, scratch=None,
              upper_size=0, readonly=False, propagation=0, mounts=DEFAULT_MOUNTS, devices=(),
              sysctl=(), masked=MASKED, readonly_paths=READONLY, limits=None):
    return b"".join((
        string(id), string(hostname), string(domainname), u64(unshare), string(pid_of),
        string(lower), i32(lower_share), string(scratch), u64(upper_size), boolean(readonly), u64(propagation),
        listing(mounts, lambda m: m), listing(devices, lambda d: d), pairs(sysctl), strv(masked),
        strv(readonly_paths), limits or resources(), process))


def address(family, prefix, addr, broadcast=b"", flags=0, scope=0):
    return (u8(family) + u8(prefix) + addr.ljust(16, b"\0") + broadcast.ljust(16, b"\0") +
            u32(flags) + u8(scope))


def route(family, prefix, dst, gateway=None, source=None, metric=0, mtu=0, scope=0, protocol=3,
          type=1, flags=0):
    return (u8(family) + u8(prefix) + dst.ljust(16, b"\0") + boolean(gateway is not None) +
            boolean(source is not None) + (gateway or b"").ljust(16, b"\0") +
            (source or b"").ljust(16, b"\0") + u32(metric) + u32(mtu) + u8(scope) + u8(protocol) +
            u8(type) + u32(flags))


def neighbour(family, addr, mac):
    return u8(family) + addr.ljust(16, b"\0") + mac


def nic(name, mac, mtu=0, addresses=(), routes=(), neighbours=(), late=False):
    return (string(name) + mac + u32(mtu) + boolean(late) + listing(addresses, lambda x: x) +
            listing(routes, lambda x: x) + listing(neighbours, lambda x: x))


def sandbox(hostname="sandbox", realtime_ns=0, entropy=bytes(32), shares=0, nics=(), network_wait_ms=0):
    return (string(hostname) + i64(realtime_ns) + entropy + u8(shares) +
            listing(nics, lambda x: x) + u32(network_wait_ms))
