# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share: the build under test, a busybox root file system,
bundles, and a look at what the machine holds (to see that nothing is left behind).

The build directory comes from CAISSON_BUILD (tests/run sets it), state and cache are
the test's own, so tests neither see nor disturb containers of the machine.
"""
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("CAISSON_BUILD", TOP / "build")).resolve()
CAISSON = BUILD / "caisson"
APPLETS = """ash awk basename cat chmod chown cp cut date dd df dirname dmesg echo env expr false
find free grep groups head hostname httpd id ifconfig install ip kill link ln ls md5sum mkdir
mkfifo mknod mktemp more mount mv nc nproc od ping printf ps pwd readlink reboot rm rmdir route
sed seq setsid sh sha256sum sleep sort stat stty su sync sysctl tail tee test timeout top touch
tr true truncate tty ulimit umount uname uniq unlink uptime usleep vi wc wget which whoami xargs
yes zcat""".split()

# Emulation on a shared machine is slow; a test that waits longer than this has found a hang.  (In a
# host of the lab, where there are two emulations, it is given: lab/lab.)
TIMEOUT = int(os.environ.get("CAISSON_TIMEOUT") or 120)


# The engine under test: "auto", as users have it, or one by name (CAISSON_TEST_ENGINE; a host of the lab
# may say which, lab/hosts).  It goes into the settings of every command that a test runs.
ENGINE = os.environ.get("CAISSON_TEST_ENGINE") or "auto"


@functools.cache
def engine():
    """The name of the engine that sandboxes get here: with "auto", what doctor says; None: no engine."""
    if ENGINE != "auto":
        return ENGINE
    r = subprocess.run([CAISSON, "doctor"], stdout=subprocess.PIPE, text=True)
    found = re.search(r"they get engine (\w+)", r.stdout)
    return found[1] if found else None


def missing(reason):
    """Skips the test; with STRICT=1 it fails."""
    import pytest  # the benchmarks, which use this file, do without
    if os.environ.get("STRICT"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def eventually(condition, what, timeout=TIMEOUT):
    """Waits until condition() is true, and returns what it returned."""
    until = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < until, f"not within {timeout} s: {what}"
        time.sleep(0.05)
    return value


def make_rootfs(path):
    """A busybox root file system (Debian's busybox-static) in the directory `path`."""
    path = pathlib.Path(path)
    for d in ("bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr/bin", "var"):
        (path / d).mkdir(parents=True, exist_ok=True)
    (path / "tmp").chmod(0o1777)
    shutil.copy("/bin/busybox", path / "bin/busybox")
    for a in APPLETS:
        (path / "bin" / a).unlink(missing_ok=True)
        (path / "bin" / a).symlink_to("busybox")
    (path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n")
    (path / "etc/group").write_text("root:x:0:\nuser:x:1000:\nextra:x:2000:user\n")
    return path


class Bundle:
    """A bundle whose config.json is `self.config` until write()."""

    def __init__(self, path, rootfs, args=("true",)):
        self.path = pathlib.Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "config.json").unlink(missing_ok=True)
        subprocess.run([CAISSON, "spec", "--bundle", self.path], check=True)
        self.config = json.loads((self.path / "config.json").read_text())
        self.config["process"]["terminal"] = False
        self.config["process"]["args"] = list(args)
        self.config["root"] = {"path": str(rootfs), "readonly": False}
        self.write()

    def write(self):
        (self.path / "config.json").write_text(json.dumps(self.config))
        return self


class Caisson:
    """The command with a root, a cache and settings of its own below `path`."""

    def __init__(self, path, **settings):
        self.path = pathlib.Path(path)
        self.root = self.path / "root"
        self.settings = self.path / "settings.json"
        self.path.mkdir(parents=True, exist_ok=True)
        self.settings.write_text(json.dumps({"cache": str(self.path / "cache"),
                                             "boot_timeout": TIMEOUT, "engine": ENGINE,
                                             **settings}))

    def command(self, *args):
        return [str(CAISSON), "--root", str(self.root), "--config", str(self.settings),
                *map(str, args)]

    def __call__(self, *args, check=False, timeout=TIMEOUT, **kw):
        """Runs a command; stdout and stderr are text in the result, stdin is empty."""
        kw.setdefault("stdin", None if "input" in kw else subprocess.DEVNULL)
        kw.setdefault("text", True)
        r = subprocess.run(self.command(*args), timeout=timeout, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, **kw)
        if check:
            assert r.returncode == 0, f"{args}: {r.returncode}: {r.stderr}"
        return r

    def popen(self, *args, **kw):
        return subprocess.Popen(self.command(*args), **kw)

    def state(self, cid):
        r = self("state", cid)
        return json.loads(r.stdout) if r.returncode == 0 else None

    def status(self, cid):
        s = self.state(cid)
        return s["status"] if s else None

    def wait_status(self, cid, status, timeout=TIMEOUT):
        eventually(lambda: self.status(cid) == status, f"{cid} is {status}", timeout)


def processes(word):
    """{pid: command line} of the processes whose command line or name contains `word`."""
    found = {}
    for p in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            line = (p / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            name = (p / "comm").read_text().strip()
        except OSError:
            continue
        if word in line or word in name:
            found[int(p.name)] = line or name
    return found
