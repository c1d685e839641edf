# SPDX-License-Identifier: Apache-2.0
"""Tools of the end-to-end tests: what belongs to the test process, containers with
a hand on them, terminals, and network namespaces.
"""
import array
import contextlib
import ctypes
import difflib
import itertools
import json
import os
import pathlib
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from harness import (BUILD, CAISSON, TIMEOUT, Bundle, Caisson, engine,  # noqa: E402,F401
                     eventually, make_rootfs, missing)

libc = ctypes.CDLL(None, use_errno=True)
TAG = f"caisson-e2e-{os.getpid()}"
PEER = "e2epeer"  # names of the tests' own ends of veth pairs begin so
BOUND = 90  # seconds; "returns in bounded time" (the guest's own limit for an answer is 60)
_numbers = itertools.count(1)


def unique(prefix="t"):
    """A name that no other test, worker or run on this machine has."""
    return f"{prefix}-{os.getpid()}-{next(_numbers)}"


def cgroup_path():
    """A cgroupsPath of the test's own (absolute, so that nothing above it is made)."""
    return f"/{TAG}-{next(_numbers)}"


def call(name, *args):
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), f"{name}{args}")


def isolate():
    """The test process adopts the orphans of its children (as conmon does) and lives in
    mount and network namespaces of its own, so that what it counts there is only its own
    doing.  Mounts are shared with namespaces made from it: what a child mounts before it
    has made its mounts private would be seen, as it would be on a machine with systemd.
    """
    # A shell in the background may have had them ignored, which the command would keep.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    call("prctl", 36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    call("unshare", 0x00020000 | 0x40000000)  # CLONE_NEWNS | CLONE_NEWNET
    call("mount", None, b"/", None, 0x4000 | (1 << 18), None)  # MS_REC | MS_PRIVATE
    call("mount", None, b"/", None, 0x4000 | (1 << 20), None)  # MS_REC | MS_SHARED
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


class Process:
    """A line of /proc/PID/stat."""

    def __init__(self, pid):
        self.pid = pid
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
        fields = text[text.rindex(")") + 2:].split()
        self.name = text[text.index("(") + 1:text.rindex(")")]
        self.state, self.parent = fields[0], int(fields[1])

    def __repr__(self):
        return f"{self.pid} {self.name} {self.state}"


def descendants(of=None):
    """{pid: Process} of all living processes below `of` (this process)."""
    everyone, found = {}, {}
    for p in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            everyone[int(p.name)] = Process(int(p.name))
    above = {of or os.getpid()}
    while above:
        below = {pid: p for pid, p in everyone.items() if p.parent in above and p.state != "Z"}
        found.update(below)
        above = set(below)
    return found


def reap_all():
    """Buries what has ended; only when nobody waits for a certain one any more."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def alive(pid):
    try:
        return Process(pid).state not in "ZX"
    except OSError:
        return False


def reap(pid, timeout=TIMEOUT):
    """The wait status of an adopted child."""
    return eventually(lambda: (lambda r: r if r[0] else None)(os.waitpid(pid, os.WNOHANG)),
                      f"process {pid} ends", timeout)[1]


def exited(status):
    """7 for exit(7), "SIGKILL" for death by that signal."""
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return os.WEXITSTATUS(status)


def assert_sentence(result, *words, status=1):
    """The command failed with one line on stderr that holds the words, and said nothing else."""
    assert result.returncode == status, (result.returncode, result.stdout, result.stderr)
    assert result.stderr.startswith("caisson: "), result.stderr
    assert result.stderr.count("\n") == 1 and result.stderr.endswith("\n"), result.stderr
    assert all(c.isprintable() for c in result.stderr[:-1]), result.stderr
    for w in words:
        assert str(w) in result.stderr, (w, result.stderr)
    assert not result.stdout, result.stdout


def call_detached(caisson, *args, out, timeout=TIMEOUT, check=True, **kw):
    """Runs a command whose process lives on and keeps stdout and stderr: they go to the files
    OUT and OUT.err; what is in them when the command ends is in the result.
    """
    kw.setdefault("stdin", subprocess.DEVNULL)
    err = pathlib.Path(str(out) + ".err")
    with open(out, "wb") as o, open(err, "wb") as e:
        r = subprocess.run(caisson.command(*args), stdout=o, stderr=e, timeout=timeout, **kw)
    r.stdout, r.stderr = pathlib.Path(out).read_text(), err.read_text()
    assert not check or r.returncode == 0, (args, r.returncode, r.stderr)
    return r


class Box:
    """A container: its bundle, its id, and the commands on it."""

    def __init__(self, caisson, path, rootfs, args=("sleep", "1000000"), edit=None):
        self.caisson = caisson
        self.id = unique()
        self.bundle = Bundle(pathlib.Path(path) / self.id, rootfs, args)
        self.config = self.bundle.config
        self.pid_file = self.bundle.path / "pid"
        if edit:
            edit(self.config)
        self.bundle.write()

    @property
    def out(self):
        """The file with the output of the container, when it was created (not run)."""
        return self.bundle.path / "out"

    def create(self, *options, **kw):
        self.bundle.write()
        return call_detached(self.caisson, "create", "--bundle", self.bundle.path, "--pid-file",
                             self.pid_file, *options, self.id, out=self.out, **kw)

    def start(self, check=True):
        return self.caisson("start", self.id, check=check)

    def up(self, *options, **kw):
        self.create(*options, **kw)
        self.start()
        return self

    def run(self, *options, **kw):
        self.bundle.write()
        return self.caisson("run", "--bundle", self.bundle.path, *options, self.id, **kw)

    def popen_run(self, *options, **kw):
        self.bundle.write()
        return self.caisson.popen("run", "--bundle", self.bundle.path, *options, self.id, **kw)

    @property
    def pid(self):
        return int(self.pid_file.read_text())

    def record(self):
        """state.json as the runtime keeps it; {} when there is none."""
        try:
            return json.loads((self.caisson.root / self.id / "state.json").read_text())
        except OSError:
            return {}

    def monitor(self):
        return self.record()["monitor"]["pid"]

    def helper(self):
        """The monitor's child: QEMU (engine emu), the file server (kvm, with volumes), or None."""
        return next(iter(descendants(self.monitor())), None)

    def served(self):
        """The directory in which the file server has the shares."""
        root = pathlib.Path(f"/proc/{self.helper()}/root")
        return root / "shares" if (root / "shares").exists() else root

    def status(self):
        return self.caisson.status(self.id)

    def exec(self, *args, options=(), **kw):
        return self.caisson("exec", *options, self.id, *args, **kw)

    def exec_detached(self, *args, options=(), **kw):
        """Pid of the proxy, the child of this process that stands for the new process."""
        pid_file = self.bundle.path / unique("exec")
        call_detached(self.caisson, "exec", "--detach", "--pid-file", pid_file, *options, self.id,
                      *args, out=str(pid_file) + ".out", **kw)
        return int(pid_file.read_text())

    def sh(self, script, options=(), status=0, **kw):
        """Output of a shell script in the container, which must end with that status."""
        r = self.exec("sh", "-c", script, options=options, **kw)
        assert r.returncode == status, (script, r.returncode, r.stdout, r.stderr)
        return r.stdout

    def kill(self, *args, check=True):
        return self.caisson("kill", self.id, *args, check=check)

    def delete(self, *options, check=True):
        return self.caisson("delete", *options, self.id, check=check)

    def wait(self):
        """How the container ended (see exited()); only after create, and once."""
        return exited(reap(self.pid))


class Console:
    """A listener for --console-socket; `fd` is the master that came."""

    def __init__(self, path):
        self.path = str(path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(1)
        self.listener.settimeout(TIMEOUT)
        self.fd = -1

    def receive(self):
        peer, _ = self.listener.accept()
        fds = array.array("i")
        message, control, _, _ = peer.recvmsg(4096, socket.CMSG_SPACE(fds.itemsize))
        assert message, "the master comes with a name"
        assert len(control) == 1
        fds.frombytes(control[0][2][:fds.itemsize])
        peer.close()
        self.fd = fds[0]
        return self.fd

    def close(self):
        self.listener.close()
        if self.fd >= 0:
            os.close(self.fd)


def read_until(fd, wanted, timeout=TIMEOUT):
    """Reads a terminal until `wanted` (bytes) has come; all that came."""
    seen = b""
    until = time.monotonic() + timeout
    while wanted not in seen:
        ready, _, _ = select.select([fd], [], [], max(0, until - time.monotonic()))
        assert ready, f"{wanted} did not come; this came: {seen}"
        try:
            more = os.read(fd, 65536)
        except OSError:  # EIO: the other side is closed
            more = b""
        assert more, f"the terminal ended before {wanted}: {seen}"
        seen += more
    return seen


def set_size(fd, rows, columns):
    termios.tcsetwinsize(fd, (rows, columns))


@contextlib.contextmanager
def own_terminal(argv, size=(24, 80)):
    """Runs a command in a session with a terminal of its own: (pid, master)."""
    pid, master = pty.fork()
    if pid == 0:
        try:
            termios.tcsetwinsize(0, size)
            os.execv(argv[0], argv)
        finally:
            os._exit(127)
    try:
        yield pid, master
    finally:
        os.close(master)


class Netns:
    """A network namespace with one end of a veth pair, as a CNI plugin leaves it."""

    def __init__(self, subnet):
        self.name = unique("e2e")
        self.path = f"/run/netns/{self.name}"
        self.peer = f"{PEER}{next(_numbers)}"
        self.address, self.gateway = f"10.99.{subnet}.2", f"10.99.{subnet}.1"
        ip = ["ip"]
        for args in (["netns", "add", self.name],
                     ["link", "add", self.peer, "type", "veth", "peer", "name", "eth0", "netns",
                      self.name],
                     ["addr", "add", f"{self.gateway}/24", "dev", self.peer],
                     ["link", "set", self.peer, "addrgenmode", "none"],
                     ["-n", self.name, "link", "set", "eth0", "addrgenmode", "none"],
                     ["link", "set", self.peer, "up"],
                     ["-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0"],
                     ["-n", self.name, "link", "set", "eth0", "up"],
                     ["-n", self.name, "route", "add", "default", "via", self.gateway]):
            subprocess.run(ip + args, check=True)
        eventually(lambda: "state UP" in self.look(), "the pair is up", 30)
        self.before = self.look()

    def look(self):
        """Everything in the namespace that a runtime could leave changed."""
        text = ""
        for args in (["-o", "link"], ["-o", "addr"], ["route"]):
            text += subprocess.run(["ip", "-n", self.name] + args, check=True, text=True,
                                   stdout=subprocess.PIPE).stdout
        for args in (["qdisc"], ["filter", "show", "dev", "eth0", "ingress"]):
            text += subprocess.run(["tc", "-n", self.name] + args, check=True, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        return text

    def assert_restored(self):
        now = self.look()
        assert now == self.before, "\n".join(difflib.unified_diff(
            self.before.splitlines(), now.splitlines(), lineterm=""))

    def remove(self):
        subprocess.run(["ip", "netns", "del", self.name], check=True)
        # The kernel takes its end of the pair away a moment later.
        eventually(lambda: self.peer not in subprocess.run(
            ["ip", "-o", "link"], check=True, text=True, stdout=subprocess.PIPE).stdout,
            f"{self.peer} goes away", 30)


def use_netns(config, path=None):
    """Lets a configuration have a network namespace: path, or a new one."""
    spaces = [n for n in config["linux"]["namespaces"] if n["type"] != "network"]
    spaces.append({"type": "network", **({"path": path} if path else {})})
    config["linux"]["namespaces"] = spaces


def no_network(config):
    config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"]
                                     if n["type"] != "network"]
