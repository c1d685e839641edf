# SPDX-License-Identifier: Apache-2.0
"""Guests for tests: an initramfs of busybox and a script, run by the lender."""
import os
import pathlib
import stat
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402

LENDER = harness.BUILD / "tests/passthrough/lender"
VMM = harness.BUILD / "caisson-vmm"
# With "auto" these tests take what has functions anywhere.
ENGINE = "cki" if harness.ENGINE == "cki" else "kvm"
KERNEL = pathlib.Path(os.environ.get("CAISSON_VMLINUX", harness.BUILD / "vmlinux"))
PROLOGUE = """#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
wait_for() { n=0; until eval "$1"; do n=$((n + 1)); [ $n -lt 300 ] || { echo "never: $1"; break; }; sleep 0.1; done; }
"""
# The interface that is the first function, with an address and a carrier.
UP = """
wait_for '[ -e /sys/class/net/eth0 ]'
ip link set eth0 up
ip addr add {address}/24 dev eth0
wait_for '[ "$(cat /sys/class/net/eth0/carrier 2>/dev/null)" = 1 ]'
"""
# On kvm a triple fault, which ends the monitor.
EPILOGUE = "\necho the end\nreboot -f\n"


def entry(name, mode, data=b"", rdev=(0, 0)):
    path = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *rdev, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % f for f in fields) + path
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def initramfs(path, script, files=()):
    """busybox, the script as init, and files: (name in the guest, path on the host), executable."""
    applets = subprocess.run(["/bin/busybox", "--list"], stdout=subprocess.PIPE, text=True,
                             check=True).stdout.split()
    out = b""
    for d in ("bin", "dev", "proc", "sys", "tmp"):
        out += entry(d, stat.S_IFDIR | 0o755)
    out += entry("dev/console", stat.S_IFCHR | 0o600, rdev=(5, 1))
    out += entry("bin/busybox", stat.S_IFREG | 0o755, pathlib.Path("/bin/busybox").read_bytes())
    for a in applets:
        if a != "busybox":
            out += entry(f"bin/{a}", stat.S_IFLNK | 0o777, b"busybox")
    for name, host in files:
        out += entry(name, stat.S_IFREG | 0o755, pathlib.Path(host).read_bytes())
    out += entry("init", stat.S_IFREG | 0o755, (PROLOGUE + script + EPILOGUE).encode())
    pathlib.Path(path).write_bytes(out + entry("TRAILER!!!", 0))
    return path


class Guest:
    """Runs as soon as it is made; result() is (what it said, what the lender said)."""

    def __init__(self, tmp, script, functions=(), mib=128, options=(), files=()):
        image = initramfs(pathlib.Path(tmp) / f"guest{id(self)}.cpio", script, files)
        words = [LENDER, "-k", KERNEL, "-i", image, "-e", ENGINE, "-m", mib, *options]
        for f in functions:
            words += ["-f", f.address]
        self.process = subprocess.Popen(list(map(str, words + [VMM])), stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)

    def result(self, timeout=harness.TIMEOUT * 2):
        out, err = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 0, f"{out}\n{err}"
        return out, err

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate()
