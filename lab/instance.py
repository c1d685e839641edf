# SPDX-License-Identifier: Apache-2.0
"""A running host: a directory for as long as it runs, and QEMU, which holds the directory's lock.

    lock      held by QEMU (and, before it, by who boots it): a lock that is free means a dead host
    pid       of QEMU, to be believed only while the lock is held
    ready     the host has answered
    port*     command channels (channel.py); monitor: QEMU's; serial.log -> the results directory
"""
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

from channel import Channel
from host import LabError, TOP
from initrd import initrd_make
from machine import machine_command, qemu_environment

STATE = pathlib.Path(os.environ.get("CAISSON_LAB_STATE") or TOP / "build/lab").absolute()
IMAGE = os.environ.get("CAISSON_LAB_IMAGE")    # in a host: the one that it was started from
BOOT_SECONDS = 300
STOP_SECONDS = 10
ANSWER_SECONDS = 60     # of a host that has answered before
SYSRQ_SECONDS = 5       # for a page or two on the console
LOOK_SECONDS = 0.2      # that others may hold a lock to see whether it is free


class RunsAlready(LabError):
    pass


def image_build():
    if IMAGE:
        if not os.path.exists(f"{IMAGE}/root.img"):
            raise LabError(f"CAISSON_LAB_IMAGE: '{IMAGE}' is no image of the lab's")
        return pathlib.Path(IMAGE)
    r = subprocess.run([TOP / "lab/image/build"], stdout=subprocess.PIPE, text=True)
    if r.returncode != 0:
        raise LabError("the image could not be made")
    return pathlib.Path(r.stdout.splitlines()[-1])


class Instance:
    def __init__(self, name):
        if not name or not all(c.isalnum() or c in "-_" for c in name):
            raise LabError(f"'{name}' is not a name: letters, digits, '-' and '_' are allowed")
        self.name = name
        self.directory = STATE / name
        self.results = STATE / "results" / name
        self.serial = self.results / "serial.log"

    def running(self):
        try:
            fd = os.open(self.directory / "lock", os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        finally:
            os.close(fd)

    def pid(self):
        """QEMU's, or None."""
        try:
            return int((self.directory / "pid").read_text()) if self.running() else None
        except (FileNotFoundError, ValueError):
            return None

    def info(self):
        return json.loads((self.directory / "info.json").read_text())

    def clock(self):
        """What time is in it; benchmarks say so with their figures."""
        info = self.info()
        if info["icount"]:
            return "counted instructions, 1 being 1 ns (QEMU TCG)"
        if "kvm" in info["command"]:    # real time, or that of the host that it runs in
            return os.environ.get("CAISSON_CLOCK", "wall clock")
        return "emulated wall clock (QEMU TCG)"

    def serial_tail(self, lines=25):
        try:
            text = self.serial.read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return "".join(f"  | {line}\n" for line in text.replace("\r", "").splitlines()[-lines:])

    def stuck(self):
        """Has the kernel write to the console what its CPUs do and which tasks are blocked (SysRq l, w,
        by the keyboard, which needs no process of the host's)."""
        try:
            with socket.socket(socket.AF_UNIX) as monitor:
                monitor.settimeout(SYSRQ_SECONDS)
                monitor.connect(str(self.directory / "monitor"))
                for key in "lw":
                    monitor.sendall(f"sendkey alt-sysrq-{key}\n".encode())
                    time.sleep(SYSRQ_SECONDS)
        except OSError:
            pass    # QEMU is gone

    # --- Start ----------------------------------------------------------------------------------

    def boot(self, host, build, icount=False, timeout=BOOT_SECONDS):
        """Starts the host and waits until it answers; what was made for it goes if it does not."""
        image = image_build()
        fd = self._create()
        try:
            begun = time.monotonic()
            self.results.mkdir(parents=True, exist_ok=True)
            self.serial.write_bytes(b"")
            (self.directory / "serial.log").symlink_to(self.serial)
            (self.directory / "initrd").write_bytes(initrd_make(image, host))
            shares = {"caisson": (TOP, False), "build": (build, False),
                      "results": (self.results, True), "image": (image, False)}
            command = machine_command(host, image, shares, icount)
            (self.directory / "info.json").write_text(json.dumps(
                {"host": vars(host), "build": str(build), "icount": icount, "command": command}))
            self._start(command, qemu_environment(image / "root", self.directory), fd)
            try:
                self.channel(timeout).close()
            except LabError as e:
                raise LabError(self._qemu_said() or e) from None
            return time.monotonic() - begun
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(fd)

    def _create(self):
        """The directory; the descriptor of its lock, which is ours."""
        path = self.directory / "lock"
        until = time.monotonic() + LOOK_SECONDS
        while True:
            self.directory.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Not the lock of a directory that was just removed
                if os.path.samestat(os.fstat(fd), os.stat(path)):
                    break
            except BlockingIOError:
                if time.monotonic() > until:
                    os.close(fd)
                    raise RunsAlready(f"{self.name} is running already") from None
            except FileNotFoundError:
                pass
            os.close(fd)
            time.sleep(0.02)
        for entry in self.directory.iterdir():      # of one that was killed
            if entry.name != "lock":
                entry.unlink()
        return fd

    def _start(self, command, environment, lock):
        with open(self.directory / "qemu.log", "wb") as out:
            process = subprocess.Popen(command, cwd=self.directory, env=environment,
                                       stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                       start_new_session=True, pass_fds=[lock])
        (self.directory / "pid").write_text(f"{process.pid}\n")
        while not (self.directory / "monitor").exists():
            if process.poll() is not None:
                raise LabError(self._qemu_said() or f"QEMU ended with {process.returncode}")
            time.sleep(0.02)
        self._process = process

    def _qemu_said(self):
        text = (self.directory / "qemu.log").read_text(errors="replace").strip()
        return f"QEMU: {text.splitlines()[-1].partition('qemu-system-x86_64: ')[2] or text}" \
            if text else ""

    # --- Use ------------------------------------------------------------------------------------

    def alive(self):
        process = getattr(self, "_process", None)
        return process.poll() is None if process else self.running()

    def channel(self, timeout=BOOT_SECONDS):
        """A command channel, as soon as the host answers; it may still be booting."""
        ready = self.directory / "ready"
        if ready.exists():
            timeout = min(timeout, ANSWER_SECONDS)
        until = time.monotonic() + timeout
        while True:
            try:
                channel = Channel(self.directory, self.alive, until - time.monotonic())
                ready.touch()
                return channel
            except (ConnectionError, FileNotFoundError):
                if not self.alive() or time.monotonic() > until:
                    raise LabError(f"{self.name} is not running") from None
            time.sleep(0.1)

    # --- Stop -----------------------------------------------------------------------------------

    def stop(self):
        """Ends it, whatever state it is in; whether there was anything to end."""
        if not self.directory.exists():
            return False
        process = getattr(self, "_process", None)
        pid = process.pid if process else self.pid()
        if pid:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                until = time.monotonic() + STOP_SECONDS
                while self.alive() and time.monotonic() < until:
                    time.sleep(0.05)
                if not self.alive():
                    break
        shutil.rmtree(self.directory, ignore_errors=True)
        return True


def instances():
    """Those that run, by name."""
    if not STATE.is_dir():
        return []
    names = sorted(p.name for p in STATE.iterdir() if p.name != "results" and (p / "lock").exists())
    return [i for i in map(Instance, names) if i.running()]
