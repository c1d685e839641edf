# SPDX-License-Identifier: Apache-2.0
"""--systemd-cgroup: a sandbox's processes in a scope that systemd makes, and podman with that.
Only where systemd runs the machine, as in a host of the lab: `lab/lab test kvm e2e`.
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess

import pytest

from conftest import missing
from support import (BOUND, CAISSON, TAG, Caisson, Process, assert_sentence, engine, eventually, reap,
                     unique)

CGROUP = pathlib.Path("/sys/fs/cgroup")
PREFIX = TAG.replace("-", "_")      # a dash in a slice's name is a level


@pytest.fixture(autouse=True)
def systemd():
    if not os.path.isdir("/run/systemd/system"):
        pytest.skip("hardware: systemd does not run this machine")
    if not (CGROUP / "cgroup.controllers").exists():
        pytest.skip("hardware: no unified cgroup hierarchy (cgroup v2)")
    yield
    eventually(lambda: not units(), "every scope is gone", 10)
    assert not list(CGROUP.rglob(f"{PREFIX}*"))


def units():
    return systemctl("list-units", "--all", "--no-legend", f"{PREFIX}*")


def systemctl(*args):
    return subprocess.run(["systemctl", "--no-pager", *args], check=True, text=True,
                          stdout=subprocess.PIPE).stdout


class SystemdCaisson(Caisson):
    """Which podman and containerd call like this."""

    def command(self, *args):
        one, *rest = super().command(*args)
        return [one, "--systemd-cgroup", *rest]


class Scope:
    """The unit of a container."""

    def __init__(self, slice_name, name):
        self.unit = f"{PREFIX}-{name}.scope"
        self.path = CGROUP / slice_name / self.unit
        self.given = f"{slice_name}:{PREFIX}:{name}"

    def get(self, name):
        return systemctl("show", "--value", "--property", name, self.unit).strip()

    def pids(self):
        try:
            return {int(p) for p in (self.path / "cgroup.procs").read_text().split()}
        except OSError:
            return set()

    def there(self):
        return self.get("ActiveState") == "active", self.path.exists()


@pytest.fixture
def scoped(box, work, cache):
    """Makes containers (b) with a scope (b.scope)."""
    path = work / unique("systemd")

    def make(args=("sleep", "1000000"), slice_name="machine.slice", edit=None):
        b = box(args, edit, caisson=SystemdCaisson(path, cache=str(cache), memory="192M"),
                path=path)
        b.scope = Scope(slice_name, b.id)
        b.config["linux"]["cgroupsPath"] = b.scope.given
        return b

    return make


def test_scope(scoped):
    """The scope is in its slice and delegated, has the proxy, the monitor and what is started
    later, and goes with the container."""
    b = scoped().up()
    assert b.scope.there() == (True, True)
    assert b.scope.get("Slice") == "machine.slice"
    assert b.scope.get("Delegate") == "yes"
    assert b.scope.get("ControlGroup") == f"/machine.slice/{b.scope.unit}"
    assert {b.pid, b.monitor()} <= b.scope.pids()
    assert os.getpid() not in b.scope.pids()
    proxy = b.exec_detached("sleep", "1000000")
    assert proxy in b.scope.pids()
    assert int(b.scope.get("MemoryCurrent")) > 0
    b.kill("KILL")
    assert b.wait() == "SIGKILL"
    reap(proxy)
    b.delete()
    assert b.scope.there() == (False, False)


def test_slice_of_a_slice(scoped):
    """systemd makes the slices on the way, as for a pod."""
    b = scoped(["true"], slice_name=f"machine-{PREFIX}.slice")
    b.scope.path = CGROUP / "machine.slice" / f"machine-{PREFIX}.slice" / b.scope.unit
    b.up()
    assert b.scope.path.exists()
    assert b.wait() == 0
    b.delete()
    systemctl("stop", f"machine-{PREFIX}.slice")


def test_limits(scoped):
    """Limits of the configuration and of `update` are systemd's, so that they survive its reload."""
    b = scoped()
    b.config["linux"]["resources"] = {"cpu": {"quota": 50000, "period": 100000, "shares": 512}}
    b.up()
    cpu_max = b.scope.path / "cpu.max"
    assert cpu_max.read_text() == "50000 100000\n"
    assert b.scope.get("CPUQuotaPerSecUSec") == "500ms"
    before = int((b.scope.path / "cpu.weight").read_text())
    assert b.caisson("update", "--cpu-quota", "30000", "--cpu-period", "50000", "--cpu-share",
                     "1024", "--cpuset-cpus", "0", b.id).stderr == ""
    systemctl("daemon-reload")
    assert cpu_max.read_text() == "30000 50000\n"
    assert b.scope.get("CPUQuotaPerSecUSec") == "600ms"
    assert int((b.scope.path / "cpu.weight").read_text()) > before
    assert b.caisson("update", "--cpu-quota", "-1", b.id).stderr == ""
    assert cpu_max.read_text().split()[0] == "max"
    assert b.scope.get("CPUQuotaPerSecUSec") == "infinity"
    assert b.scope.get("AllowedCPUs") == "0"
    assert (b.scope.path / "cpuset.cpus").read_text() == "0\n"
    # What is the guest's alone is none of systemd's business.
    said = b.caisson("update", "--memory", "64M", b.id).stderr
    assert ("the host gets no memory back" in said) == (engine() != "kvm"), said
    assert b.scope.get("MemoryMax") == "infinity"
    assert b.scope.there() == (True, True)


def test_all_killed(scoped):
    """SIGKILL for every process of the scope: it is gone, and `delete --force` removes the rest."""
    b = scoped().up()
    for pid in b.scope.pids():
        os.kill(pid, signal.SIGKILL)
    assert b.wait() == "SIGKILL"
    eventually(lambda: b.scope.there() == (False, False), "the scope ends", 10)
    assert b.status() == "stopped"
    assert b.delete("--force").stderr == ""
    assert not list(b.caisson.root.iterdir())


def test_forced_delete(scoped):
    """`delete --force` of one that runs takes the unit along, each time.  (Its cgroup was removed as
    soon as its processes were gone, mostly after systemd had heard that it was empty.)"""
    for _ in range(8):
        b = scoped()
        b.create()
        assert b.scope.there() == (True, True)
        assert b.delete("--force").stderr == ""
        assert b.scope.there() == (False, False)
        b.wait()


def test_scope_stopped(scoped):
    """`systemctl stop` of the scope ends the container."""
    b = scoped().up()
    systemctl("stop", b.scope.unit)
    b.wait()
    eventually(lambda: b.status() == "stopped", "it is stopped", 30)
    assert b.delete().stderr == ""


def test_create_that_fails(scoped):
    """A start that comes to nothing leaves no scope."""
    b = scoped(["/no/such/program"])
    r = b.create(check=False)
    if r.returncode == 0:
        assert b.start(check=False).returncode == 1
        b.delete("--force")
    eventually(lambda: b.scope.there() == (False, False), "the scope ends", 10)


@pytest.mark.parametrize("phase", ["scope", "proxy", "spawned", "ready"])
@pytest.mark.parametrize("victim", ["command", "proxy"])
def test_dies_in_the_making(scoped, phase, victim):
    """The command, or the process that the scope began with, is killed at a phase: the scope goes
    (before it is on record, too), nothing hangs, and the id and the unit can be used again."""
    b = scoped()
    b.bundle.write()
    with open(b.out, "wb") as out:
        command = b.caisson.popen("create", "--bundle", b.bundle.path, b.id,
                                  env={**os.environ, "CAISSON_STOP_AT": phase},
                                  stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    eventually(lambda: Process(command.pid).state == "T", "it stops")
    others = b.scope.pids()
    assert others and command.pid not in others
    if victim == "command":
        command.kill()
        command.wait()
    else:
        os.kill(min(others), signal.SIGKILL)
        command.send_signal(signal.SIGCONT)
        # The word that all is well was on its way already.
        assert command.wait(BOUND) == (0 if phase == "ready" else 1)
    if phase != "ready":
        eventually(lambda: b.scope.there() == (False, False), "the scope ends by itself", 10)
    assert b.delete("--force").stderr == ""
    eventually(lambda: b.scope.there() == (False, False), "the scope ends", 10)
    b.up()
    assert b.scope.there() == (True, True)
    assert b.sh("echo again") == "again\n"


def test_refused(scoped):
    """A path that is none, and a unit that is there already; the other's unit is not touched."""
    for path, words in (("/machine/x", "slice:prefix:name"), ("a:b", "slice:prefix:name"),
                        (f"machine:{PREFIX}:x", "not a slice"),
                        (f"../x.slice:{PREFIX}:x", "slice:prefix:name")):
        b = scoped()
        b.config["linux"]["cgroupsPath"] = path
        b.create(check=False)
        assert_sentence(b.create(check=False), words)
    first, second = scoped().up(), scoped()
    second.config["linux"]["cgroupsPath"] = first.scope.given
    assert_sentence(second.create(check=False), first.scope.unit)
    assert first.scope.there() == (True, True)
    assert first.sh("echo here") == "here\n"


@pytest.fixture
def podman(work, rootfs):
    """podman with its default, systemd, and storage of the test's own."""
    if not shutil.which("podman"):
        missing("podman is not installed")
    if subprocess.run(["podman", "info", "--format", "{{.Host.CgroupManager}}"], text=True,
                      stdout=subprocess.PIPE).stdout.strip() != "systemd":
        missing("podman's cgroup manager is not systemd")
    path = work / unique("podman")
    path.mkdir()
    (path / "settings.json").write_text(json.dumps({"boot_timeout": 120}))

    def call(*args, status=0, **kw):
        r = subprocess.run(
            ["podman", "--root", path / "root", "--runroot", path / "run", "--tmpdir",
             path / "tmp", "--storage-driver", "vfs", "--events-backend", "none", "--runtime",
             CAISSON, "--runtime-flag", f"config={path}/settings.json", *args],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=kw.pop("text", True),
            timeout=300, **kw)
        assert r.returncode == status, (args, r.returncode, r.stdout, r.stderr)
        return r.stdout

    tar = subprocess.run(["tar", "-C", rootfs, "-c", "."], stdout=subprocess.PIPE, check=True)
    call("import", "-", "localhost/busybox", input=tar.stdout, text=False)
    yield call
    call("rm", "--all", "--force", "--time", "0")


def test_podman(podman):
    """Runs, execs and removes in scopes below machine.slice."""
    podman("run", "--rm", "--network", "none", "localhost/busybox", "sh", "-c", "exit 7", status=7)
    cid = podman("run", "--detach", "--network", "none", "--cpus", "0.5", "localhost/busybox",
                 "sleep", "1000000").strip()
    scope = CGROUP / "machine.slice" / f"libpod-{cid}.scope"
    names = {pathlib.Path(f"/proc/{p}/comm").read_text().strip()
             for p in (scope / "cgroup.procs").read_text().split()}
    assert "caisson-vmm" in names and len(names) >= 2, names
    assert (scope / "cpu.max").read_text() == "50000 100000\n"
    assert podman("exec", cid, "sh", "-c", "echo in") == "in\n"
    podman("update", "--cpus", "0.25", cid)
    assert (scope / "cpu.max").read_text() == "25000 100000\n"
    podman("kill", cid)
    podman("rm", "--force", "--time", "0", cid)
    assert not scope.exists()
    eventually(lambda: cid not in systemctl("list-units", "--all", "--no-legend"),
               "podman's units end", 30)
