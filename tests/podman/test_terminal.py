# SPDX-License-Identifier: Apache-2.0
"""podman run -it and exec -it, with a terminal of the test's own in the operator's place."""
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

import pytest

import harness
from conftest import IMAGE


class Terminal:
    """A program at a terminal.  What it prints is read with expect()."""

    def __init__(self, command, rows=24, columns=80):
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execvp(command[0], command)

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern, timeout=harness.TIMEOUT):
        """Reads up to a match, drops it and what came before, and returns the match."""
        until = time.monotonic() + timeout
        while not (m := re.search(pattern, self.text)):
            ready, _, _ = select.select([self.fd], [], [], until - time.monotonic())
            assert ready, f"no {pattern!r} in {self.text!r}"
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            assert data, f"ended without {pattern!r}: {self.text!r}"
            self.text += data.decode(errors="replace")
        self.text = self.text[m.end():]
        return m

    def wait(self):
        """Reads to the end; the program's exit status."""
        with contextlib.suppress(OSError):  # EIO is the end of a terminal
            while select.select([self.fd], [], [], harness.TIMEOUT)[0]:
                self.text += os.read(self.fd, 65536).decode(errors="replace")
            self.kill()
            raise AssertionError(f"does not end: {self.text!r}")
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)

    def kill(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0
            os.close(self.fd)


@pytest.fixture
def shell(podman):
    t = Terminal(podman.podman("run", "--rm", "-it", "--name", "shell", "--network", "none", "-e",
                               "PS1=% ", IMAGE, "sh"), rows=31, columns=97)
    try:
        t.expect("% ")
        yield t
    finally:
        t.kill()
        podman("rm", "-f", "-i", "-t", "0", "shell")


def run_line(t, line, pattern):
    t.type(line + "\n")
    return t.expect(pattern)


def test_run(podman, shell):
    assert run_line(shell, "tty", r"\r\n(/dev/\S+)\r\n% ").group(1) == "/dev/pts/0"
    run_line(shell, "test -t 0 && test -t 1 && test -t 2; echo =$?=", "\r\n=0=\r\n% ")
    # The size, at the start and after it has changed
    assert run_line(shell, "stty size", r"\r\n(\d+ \d+)\r\n% ").group(1) == "31 97"
    shell.resize(45, 133)
    size = ""
    until = time.monotonic() + harness.TIMEOUT
    while size != "45 133":
        assert time.monotonic() < until, size
        size = run_line(shell, "stty size", r"\r\n(\d+ \d+)\r\n").group(1)
    # Line editing: backspace, and the line before with an arrow
    shell.type("echo wromg\x7f\x7fng\n")
    shell.expect("\r\nwrong\r\n")
    shell.expect("% ")
    shell.type("\x1b[A\n")
    shell.expect("\r\nwrong\r\n")
    # An interrupt is for the program in the foreground
    shell.type("sleep 1000; echo =$?=\n")
    time.sleep(1)
    shell.type("\x03")
    shell.expect("% ")
    run_line(shell, "echo =$?=", "=130=")
    # Job control
    shell.type("sleep 1000\n")
    time.sleep(1)
    shell.type("\x1a")
    shell.expect("Stopped")
    run_line(shell, "kill -KILL %1; wait; echo killed", r"\r\nkilled\r\n(?s:.*?)% ")
    run_line(shell, "true", r"true\r\n(?s:.*?)% ")  # the shell says that the job was killed
    # The end of input ends the shell
    shell.type("\x04")
    assert shell.wait() == 0


def test_exit_status(podman):
    t = Terminal(podman.podman("run", "--rm", "-it", "--network", "none", IMAGE, "sh", "-c",
                               "echo hello; exit 6"))
    t.expect("hello\r\n")
    assert t.wait() == 6


def test_long_output(podman):
    t = Terminal(podman.podman("run", "--rm", "-it", "--network", "none", IMAGE, "seq", "1",
                               "30000"))
    assert t.wait() == 0
    assert t.text == "".join(f"{n}\r\n" for n in range(1, 30001))


def test_exec(podman):
    with podman.running() as c:
        t = Terminal(podman.podman("exec", "-it", "-e", "PS1=% ", c.name, "sh"), 17, 71)
        t.expect("% ")
        run_line(t, "tty", "/dev/pts/[0-9]+\r\n")
        assert run_line(t, "stty size", r"\r\n(\d+ \d+)\r\n").group(1) == "17 71"
        t.resize(20, 60)
        size = ""
        until = time.monotonic() + harness.TIMEOUT
        while size != "20 60":
            assert time.monotonic() < until, size
            size = run_line(t, "stty size", r"\r\n(\d+ \d+)\r\n").group(1)
        t.type("exit 9\n")
        assert t.wait() == 9
        assert c.get(".State.Status") == "running"


def test_detach_and_attach(podman):
    """The detach keys leave the container running; attach comes back to the same shell."""
    with podman.running("-it", "-e", "PS1=% ", script="exec sh") as c:
        t = Terminal(podman.podman("attach", c.name))
        run_line(t, "x=kept; echo =$x=", "\r\n=kept=\r\n")
        t.type("\x10")  # podman looks for the keys in reads of one byte each
        time.sleep(1)
        t.type("\x11")
        t.wait()
        assert c.get(".State.Status") == "running"
        t = Terminal(podman.podman("attach", c.name))
        run_line(t, "echo =$x$x=", "\r\n=keptkept=\r\n")
        t.type("exit 5\n")
        t.wait()
        assert podman("wait", c.name).stdout == "5\n"


def test_tty_without_input(podman):
    """-t alone: a terminal for the output, and one stream."""
    r = podman.run("-t", IMAGE, "sh", "-c", "test -t 1 && echo out; echo err >&2", text=False)
    assert (r.stdout, r.stderr) == (b"out\r\nerr\r\n", b"")
