# SPDX-License-Identifier: Apache-2.0
"""The stage of the podman tests: podman as it is installed, with its default network and its
default directories, in mount and network namespaces of its own.  There is no setting of podman's
that keeps its locks (/dev/shm) and names of network namespaces (/run/netns) apart, so the
directories are the test's own instead: what the tests leave, or a killed test run leaves,
is neither on the machine nor in the way of the next run.

"The host" of these tests is therefore the stage: `Stage.network()` enters its network.

    PODMAN_CGROUPS  who makes podman's cgroups: cgroupfs (also if not set), or systemd, where it runs
                    the machine, as in a host of the lab
"""
import contextlib
import ctypes
import itertools
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402
from kernel_module import engine_module  # noqa: E402

CLONE_NEWNET = 0x40000000
IMAGE = "localhost/busybox:latest"
CGROUPS = os.environ.get("PODMAN_CGROUPS") or "cgroupfs"
libc = ctypes.CDLL(None, use_errno=True)

# $1: the test's directory, $2: CGROUPS.  The last line says that the stage is set.
SETUP = """
set -e
dir=$1
[ -d /etc/containers ] && cp -a /etc/containers "$dir/etc"
mkdir -p "$dir/etc/networks" "$dir/lib" "$dir/cache"
rm -rf "$dir"/etc/networks/* "$dir/etc/containers.conf.d"
if [ "$2" = systemd ]; then
    mkdir "$dir/systemd" "$dir/dbus"
    mount --bind /run/systemd "$dir/systemd"
    mount --bind /run/dbus "$dir/dbus"
fi
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
if [ "$2" = systemd ]; then
    mkdir /run/systemd /run/dbus
    mount --move "$dir/systemd" /run/systemd
    mount --move "$dir/dbus" /run/dbus
fi
mkdir -p /run/lock /run/netns /var/lib/containers /var/cache/caisson /etc/containers
mount --bind "$dir/etc" /etc/containers
mount --bind "$dir/lib" /var/lib/containers
mount --bind "$dir/cache" /var/cache/caisson
ip link set lo up
# The machine's name servers and uplink are not here; names of containers are what is tested.
echo 'nameserver 192.0.2.53' >"$dir/resolv.conf"
mount --bind "$dir/resolv.conf" "$(readlink -f /etc/resolv.conf)" 2>/dev/null || true
echo ready
exec sleep infinity
"""


class Stage:
    """Podman with caisson as its runtime.  Calling it runs `podman ARGS`."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        (self.path / "etc").mkdir(parents=True)
        (self.path / "etc/containers.conf").write_text('[engine]\nevents_logger = "file"\n')
        self.names = (f"t{n}" for n in itertools.count(1))
        self.keeper = subprocess.Popen(
            ["unshare", "--mount", "--net", "--propagation", "private", "--", "bash", "-c", SETUP,
             "stage", str(self.path), CGROUPS], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if self.keeper.stdout.readline() != b"ready\n":
            raise RuntimeError(self.keeper.stderr.read().decode())
        (self.path / "etc/policy.json").write_text(
            '{"default": [{"type": "insecureAcceptAnything"}]}')
        self.settings = self.path / "settings.json"
        settings = {"boot_timeout": harness.TIMEOUT, "engine": harness.ENGINE}
        if harness.ENGINE == "cki":
            settings["memory"] = "192M"  # of huge pages, that a host of the lab has few of
        self.settings.write_text(json.dumps(settings))

    def command(self, *args):
        """`args` run on the stage."""
        return ["nsenter", f"--mount=/proc/{self.keeper.pid}/ns/mnt",
                f"--net=/proc/{self.keeper.pid}/ns/net", "--", *map(str, args)]

    def podman(self, *args):
        return self.command("podman", f"--cgroup-manager={CGROUPS}", "--runtime",
                            harness.CAISSON, "--runtime-flag", f"config={self.settings}", *args)

    def host(self, *args, check=True, **kw):
        """Runs a program on the stage, outside of every container."""
        kw.setdefault("text", True)
        kw.setdefault("timeout", harness.TIMEOUT)
        r = subprocess.run(self.command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           **kw)
        assert not check or r.returncode == 0, f"{args}: {r.returncode}: {r.stderr}"
        return r

    def __call__(self, *args, check=True, timeout=harness.TIMEOUT, **kw):
        kw.setdefault("stdin", None if "input" in kw else subprocess.DEVNULL)
        kw.setdefault("text", True)
        r = subprocess.run(self.podman(*args), timeout=timeout, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, **kw)
        assert not check or r.returncode == 0, f"podman {args}: {r.returncode}: {r.stderr}"
        return r

    def run(self, *args, name=None, network="none", **kw):
        """`podman run --rm` of a command in the busybox image; without a network unless asked."""
        options = ["--rm", "--network", network]
        if name:
            options += ["--name", name]
        return self("run", *options, *args, **kw)

    def sh(self, script, *options, **kw):
        """What the script prints in a container of its own."""
        return self.run(*options, IMAGE, "sh", "-c", script, **kw).stdout

    @contextlib.contextmanager
    def running(self, *options, script="trap 'exit 0' TERM; while :; do sleep 1; done",
                network="none", image=(IMAGE,)):
        """A detached container, removed at the end."""
        name = next(self.names)
        try:
            self("run", "-d", "--name", name, "--network", network, *options, *image, "sh", "-c",
                 script)
            yield Container(self, name)
        finally:
            self("rm", "-f", "-t", "0", name, check=False)

    @contextlib.contextmanager
    def network(self):
        """This thread is in the network of the stage; a socket made here stays there."""
        with open("/proc/thread-self/ns/net") as home, \
                open(f"/proc/{self.keeper.pid}/ns/net") as there:
            enter(there.fileno())
            try:
                yield
            finally:
                enter(home.fileno())

    def connect(self, host, port, timeout=harness.TIMEOUT):
        """A connection from the host, as soon as somebody listens."""
        until = time.monotonic() + timeout
        while True:
            try:
                with self.network():
                    return socket.create_connection((host, port), timeout=timeout)
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def remains(self):
        """What is there beyond an empty stage: a line per thing.  (In a host of the lab the source
        tree is a 9p mount by our name.)"""
        found = []
        for pid, line in harness.processes(str(self.path)).items():
            found.append(f"process {pid}: {line}")
        mounts = self.host("cat", "/proc/mounts").stdout.splitlines()
        found += [f"mount {m}" for m in mounts if "/overlay-containers/" in m or "/merged" in m
                  or "/run/netns/" in m or "caisson" in m.split()[0] and m.split()[2] != "9p"]
        links = self.host("ip", "-o", "link").stdout.splitlines()
        found += [f"interface {line}" for line in links
                  if "veth" in line or "tap" in line or "ifb" in line]
        found += [f"state {name}" for name in self.host("ls", "/run/caisson", check=False)
                  .stdout.split()]
        found += [f"container {line}" for line in self("ps", "-aq").stdout.split()]
        created = set(self("events", "--stream=false", "--filter", "event=create",
                           "--format", "{{.ID}}").stdout.split())
        for c in created:
            found += [f"process {pid}: {line}" for pid, line in harness.processes(c).items()]
        for directory, _, _ in os.walk("/sys/fs/cgroup"):
            if any(c in os.path.basename(directory) for c in created):
                found.append(f"cgroup {directory}")
        if CGROUPS == "systemd":
            units = subprocess.run(["systemctl", "list-units", "--all", "--plain", "--no-legend"],
                                   stdout=subprocess.PIPE, text=True, check=True).stdout
            found += [f"unit {line}" for line in units.splitlines()
                      if any(c in line for c in created)]
        return found

    def close(self):
        """Whatever a failed test has left goes; a monitor ends when its proxy does."""
        ours = {pid for pid in harness.processes("")
                if in_namespace(pid, "mnt", self.keeper.pid)} | set(
                    harness.processes(str(self.path)))
        for pid in ours - {self.keeper.pid}:
            with contextlib.suppress(OSError):
                os.kill(pid, 9)
        self.keeper.kill()
        self.keeper.wait()


class Container:
    """A container by name."""

    def __init__(self, stage, name):
        self.stage, self.name = stage, name

    def exec(self, *args, options=(), **kw):
        return self.stage("exec", *options, self.name, *args, **kw)

    def sh(self, script, *options, **kw):
        return self.exec("sh", "-c", script, options=options, **kw).stdout

    def get(self, template):
        return self.stage("inspect", "--format", "{{" + template + "}}",
                          self.name).stdout.strip()

    @property
    def address(self):
        return self.get(".NetworkSettings.IPAddress")

    def logs(self):
        r = self.stage("logs", self.name)
        return r.stdout + r.stderr

    def wait_log(self, text, timeout=harness.TIMEOUT):
        harness.eventually(lambda: text in self.logs(), f"{text!r} in the log", timeout)


def enter(fd):
    if libc.setns(fd, CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), "setns")


def in_namespace(pid, kind, as_pid):
    try:
        return os.stat(f"/proc/{pid}/ns/{kind}").st_ino == \
            os.stat(f"/proc/{as_pid}/ns/{kind}").st_ino
    except OSError:
        return False


@pytest.fixture(scope="session")
def module():
    with engine_module():
        yield


@pytest.fixture(scope="session")
def session_stage(module, tmp_path_factory):
    for tool in ("podman", "unshare", "nsenter"):
        if not shutil.which(tool):
            harness.missing(f"{tool} is not installed")
    if CGROUPS == "systemd" and not os.path.isdir("/run/systemd/system"):
        pytest.skip("hardware: systemd does not run this machine")
    if os.geteuid() != 0:
        harness.missing("podman's default network and the emu engine's jail need root")
    stage = Stage(tmp_path_factory.mktemp("podman"))
    try:
        rootfs = harness.make_rootfs(stage.path / "rootfs")
        tar = subprocess.run(["tar", "-C", rootfs, "-c", "."], stdout=subprocess.PIPE, check=True)
        stage("import", "-", IMAGE, input=tar.stdout, text=False)
        yield stage
    finally:
        stage.close()


@pytest.fixture(scope="module")
def podman(session_stage):
    """The stage, for one file of tests, after which nothing of theirs is left."""
    yield session_stage
    # podman's own cleaning up after an exec goes on in the background.
    until = time.monotonic() + 30
    while (left := session_stage.remains()) and time.monotonic() < until:
        time.sleep(1)
    assert not left, "\n".join(["left behind:", *left])
