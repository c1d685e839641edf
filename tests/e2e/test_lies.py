# SPDX-License-Identifier: Apache-2.0
"""A guest that has fallen to its container and lies to the host: liar.c is its init."""
import subprocess
import time

import pytest

from conftest import new_caisson
from harness import TOP
from support import BOUND, BUILD, alive, eventually

LIAR = BUILD / "tests/e2e/liar"


@pytest.fixture
def liar(box, work, cache):
    """Makes a running container whose guest tells that lie."""
    def make(lie):
        initrd = work / "liar.cpio"
        subprocess.run([TOP / "guest/init/mkinitramfs", initrd, LIAR], check=True)
        c = new_caisson(work, cache, initrd=str(initrd), kernel_cmdline=f"LIE={lie}")
        return box(caisson=c, path=c.path).up()

    return make


def test_kill_does_not_take_its_word(liar):
    """It says that SIGKILL was delivered, and lets the container live: the host ends it."""
    b = liar("deaf")
    monitor = b.monitor()
    b.kill("TERM")
    assert b.status() == "running"
    begun = time.monotonic()
    assert b.caisson("kill", b.id, "KILL", timeout=BOUND).returncode == 0
    assert time.monotonic() - begun < BOUND
    assert b.wait() == "SIGKILL"
    assert b.status() == "stopped"
    eventually(lambda: not alive(monitor), "the monitor ends")
    b.delete()


# SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU would stop the proxy for ever; SIGCHLD and SIGCONT end nobody.
@pytest.mark.parametrize("number", [19, 20, 21, 22, 17, 18])
def test_killed_by_what_does_not_kill(liar, number):
    """The proxy ends all the same, with the status a shell gives for that signal."""
    b = liar(f"exit:{number}")
    b.kill("TERM")
    assert b.wait() == 128 + number
    assert b.status() == "stopped"
    b.delete()
