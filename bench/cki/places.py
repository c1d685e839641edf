# SPDX-License-Identifier: Apache-2.0
"""The places where bench/cki compares the same work: bare (a chroot), crun (a container: what is called native),
cr3 and pks (containers on the cki engine, by either gate), kvm and emu (containers on these engines)."""
import contextlib
import os
import shutil
import subprocess
import sys

import starts

GATES = ("cr3", "pks")
PROGRAMS = ("caisson", "caisson-vmm", "initramfs.cpio", "vmlinux", "caisson.ko")
MEMORY_OF_GUEST = "384M"


def copy_with_libraries(program, rootfs):
    """A program of the host's, and what it is linked with."""
    said = subprocess.run(["ldd", program], check=True, text=True, stdout=subprocess.PIPE).stdout
    files = [word for line in said.splitlines() for word in line.split() if word.startswith("/")]
    for name in [program, *files]:
        to = rootfs / name.lstrip("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, to)


class Places:
    """Runs programs in each, with one root file system and one CPU.  The module is loaded anew for the other gate."""

    def __init__(self, tmp, build):
        programs = tmp / "programs"
        programs.mkdir()
        starts.copy_programs(build, programs, PROGRAMS)
        os.environ["CAISSON_BUILD"] = str(programs)
        import harness          # which reads that
        import kernel_module
        self.harness, self.tmp, self.n = harness, tmp, 0
        self.module = kernel_module.Module()
        self.rootfs = harness.make_rootfs(tmp / "rootfs")

    def _load(self, gate):
        if self.module.loaded():
            if self.module.gate() == gate:
                return
            r = self.module.unload()
            if r.returncode:
                sys.exit(f"bench-cki: {r.stderr}")
        r = self.module.load(f"gate={gate}")
        if r.returncode:
            sys.exit(f"bench-cki: gate {gate}: {r.stderr}")

    def _runtime(self, place):
        """The words before `run` and the like."""
        if place == "crun":
            return ["crun", "--root", self.tmp / "crun", "--cgroup-manager", "cgroupfs"]
        if place in GATES:
            self._load(place)
        return self.harness.Caisson(self.tmp / place, engine="cki" if place in GATES else place,
                                    memory=MEMORY_OF_GUEST, vcpus=1).command()

    def _bundle(self, script, namespace):
        self.n += 1
        b = self.harness.Bundle(self.tmp / f"b{self.n}", self.rootfs, ["sh", "-c", script])
        b.config["linux"]["cgroupsPath"] = f"/bench-cki/{self.n}"
        b.config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
        for n in b.config["linux"]["namespaces"]:
            if n["type"] == "network" and namespace:
                n["path"] = namespace
        return b.write().path

    def _bare(self, script):
        root = self.rootfs
        mounts = f"""mount -t proc proc {root}/proc && mount -t sysfs sysfs {root}/sys &&
            mount --bind /dev {root}/dev && mount -t tmpfs tmpfs {root}/tmp && exec taskset -c 0 chroot {root} "$@" """
        return said_by(["unshare", "--mount", "sh", "-c", mounts, "sh", "/bin/sh", "-c", script])

    def run(self, place, script):
        """What the script printed there."""
        if place == "bare":
            return self._bare(script)
        bundle = self._bundle(script, None)
        return said_by([*self._runtime(place), "run", "--bundle", bundle, f"c{self.n}"])

    @contextlib.contextmanager
    def running(self, place, script, namespace):
        """The script goes on there, in a network namespace (its path), until the end."""
        bundle, runtime = self._bundle(script, namespace), self._runtime(place)
        with open(self.tmp / "log", "w") as log:
            subprocess.run([*runtime, "run", "--detach", "--bundle", bundle, f"c{self.n}"], check=True,
                           stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=starts.TIMEOUT)
        try:
            yield
        finally:
            subprocess.run([*runtime, "delete", "--force", f"c{self.n}"], check=True, timeout=starts.TIMEOUT)


def said_by(words):
    return subprocess.run(words, check=True, text=True, timeout=starts.TIMEOUT,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout
