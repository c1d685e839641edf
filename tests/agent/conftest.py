# SPDX-License-Identifier: Apache-2.0
"""What the agent's tests run on.

    CAISSON_VMLINUX  the guest kernel (else: guest/kernel/build is asked)
    CAISSON_INIT     caisson-init (else: it is built here)

Without a kernel or QEMU the tests are skipped, and say why; with STRICT=1 that is
a failure.
"""
import os
import shutil
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import wire  # noqa: E402
from guest import Guest  # noqa: E402
from harness import missing  # noqa: E402

CFLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-Os", "-static", "-Wall", "-Wextra", "-Wl,--gc-sections",
          "-ffunction-sections", "-fdata-sections", "-s"]
NIC_MAC = "52:54:00:12:34:56"


@pytest.fixture(scope="session")
def kernel():
    if shutil.which("qemu-system-x86_64") is None:
        missing("qemu-system-x86_64 is not installed")
    path = os.environ.get("CAISSON_VMLINUX")
    if not path:
        build = os.path.join(ROOT, "guest/kernel/build")
        if not os.access(build, os.X_OK):
            missing("no guest kernel: set CAISSON_VMLINUX")
        path = subprocess.check_output([build], text=True).splitlines()[-1]
    if not os.path.exists(path):
        missing(f"the guest kernel {path} does not exist")
    return path


@pytest.fixture(scope="session")
def tmp(tmp_path_factory):
    return str(tmp_path_factory.mktemp("agent"))


@pytest.fixture(scope="session")
def initrd(tmp):
    init = os.environ.get("CAISSON_INIT")
    if not init:
        init = os.path.join(tmp, "caisson-init")
        sources = [os.path.join(ROOT, "guest/init", f)
                   for f in sorted(os.listdir(os.path.join(ROOT, "guest/init")))
                   if f.endswith(".c")]
        sources += [os.path.join(ROOT, "lib", f"{f}.c") for f in ("msg", "spec", "wire", "error")]
        subprocess.check_call(["gcc", *CFLAGS, "-I", ROOT, "-o", init, *sources])
    out = os.path.join(tmp, "init.cpio")
    subprocess.check_call([os.path.join(ROOT, "guest/init/mkinitramfs"), out, init])
    return out


def make_tree(root):
    """An image: busybox, a user, and everything a bad image may do with links."""
    for d in ("bin", "dev", "etc", "proc", "sys", "tmp", "root", "data/sub", "srv", "sandbox"):
        os.makedirs(os.path.join(root, d))
    os.chmod(os.path.join(root, "tmp"), 0o1777)

    def put(path, text="", mode=0o644):
        with open(os.path.join(root, path), "w") as f:
            f.write(text)
        os.chmod(os.path.join(root, path), mode)

    put("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
    put("etc/hostname", "image\n")
    put("plain", "text")
    put("script", "#!/bin/sh\necho script \"$@\"\n", 0o755)
    put("bad-interpreter", "#!/nowhere\n", 0o755)
    put("no-format", "no program\n", 0o755)
    put("data/a", "A")
    put("data/sub/b", "B", 0o600)
    os.chmod(os.path.join(root, "data/sub"), 0o750)
    os.symlink("sub/b", os.path.join(root, "data/link"))
    os.makedirs(os.path.join(root, "secret"), 0o700)
    put("secret/tool", "#!/bin/sh\n", 0o755)
    os.symlink("/made/absolute", os.path.join(root, "link-absolute"))
    os.symlink("../../../../made/relative", os.path.join(root, "link-relative"))
    os.symlink("../../../../../..", os.path.join(root, "link-up"))
    os.symlink("loop-b", os.path.join(root, "loop-a"))
    os.symlink("loop-a", os.path.join(root, "loop-b"))
    shutil.copy(shutil.which("busybox"), os.path.join(root, "bin/busybox"))
    for applet in subprocess.check_output(["busybox", "--list"], text=True).split():
        if applet != "busybox":
            os.symlink("busybox", os.path.join(root, "bin", applet))
    subprocess.check_call(["gcc", "-static", "-Os", "-s", "-o", os.path.join(root, "bin/helper"),
                           os.path.join(HERE, "helper.c")])


@pytest.fixture(scope="session")
def image(tmp):
    for tool in ("busybox", "mkfs.erofs", "gcc"):
        if shutil.which(tool) is None:
            missing(f"{tool} is not installed")
    root, out = os.path.join(tmp, "root"), os.path.join(tmp, "root.erofs")
    make_tree(root)
    subprocess.check_call(["mkfs.erofs", "--quiet", "--all-root", out, root],
                          stdout=subprocess.DEVNULL)
    return out


@pytest.fixture(scope="session")
def share(tmp):
    """What the host exports: entry N is share number N."""
    root = os.path.join(tmp, "shares")
    os.makedirs(os.path.join(root, "0/sub"))
    with open(os.path.join(root, "0/hello"), "w") as f:
        f.write("from the host")
    with open(os.path.join(root, "1"), "w") as f:
        f.write("a file")
    os.makedirs(os.path.join(root, "2"))
    return root


class Boot:
    """Boots when asked for the first time, and again if the last test took the guest down."""

    def __init__(self, kernel, initrd, **options):
        self.make = lambda: Guest(kernel, initrd, **options)
        self.guest = None

    def get(self):
        if self.guest and (self.guest.eof or self.guest.qemu.poll() is not None):
            self.guest.close()
            self.guest = None
        if not self.guest:
            self.guest = self.make()
        return self.guest

    def close(self):
        if self.guest:
            self.guest.close()


@pytest.fixture(scope="session")
def booted(kernel, initrd, image, share, tmp):
    scratch = os.path.join(tmp, "scratch")
    with open(scratch, "wb") as f:
        f.truncate(32 << 20)
    subprocess.check_call(["mkfs.ext4", "-q", scratch])
    boot = Boot(kernel, initrd, disks=[("lower", image, True), ("scratch", scratch, False)],
                share=share, nics=[(NIC_MAC, "user,restrict=on")])
    yield boot
    boot.close()


@pytest.fixture
def guest(booted):
    g = booted.get()
    if not getattr(g, "is_set_up", False):
        g.setup(shares=wire.SHARES_9P)
        g.is_set_up = True
    return g


@pytest.fixture
def fresh(kernel, initrd, image):
    """A guest of the test's own, not set up."""
    g = Guest(kernel, initrd, disks=[("lower", image, True)])
    yield g
    g.close()
