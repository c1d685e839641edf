# SPDX-License-Identifier: Apache-2.0
"""podman exec: further processes in a running container."""
import concurrent.futures
import hashlib
import random
import subprocess

import pytest

import harness
from harness import eventually


@pytest.fixture(scope="module")
def box(podman):
    """One container for all tests of this file."""
    with podman.running("-e", "GIVEN=by run", "-w", "/home", network="none") as c:
        yield c


def test_sees_the_container(box):
    box.sh("echo mine >/tmp/mine")
    assert box.sh("cat /tmp/mine; hostname; cat /proc/1/comm; echo $GIVEN; pwd").splitlines() == [
        "mine", box.get(".Config.Hostname"), "sh", "by run", "/home"]


def test_streams(box):
    r = box.exec("sh", "-c", "echo out; echo err >&2")
    assert (r.stdout, r.stderr) == ("out\n", "err\n")


def test_stdin_is_carried_whole(box):
    data = random.Random(2).randbytes(3_000_000)
    r = box.exec("sha256sum", options=["-i"], input=data, text=False)
    assert r.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_both_ways_at_once(box):
    data = random.Random(3).randbytes(2_000_000)
    r = box.exec("cat", options=["-i"], input=data, text=False)
    assert hashlib.sha256(r.stdout).digest() == hashlib.sha256(data).digest()


def test_options(box):
    assert box.sh("echo $A; pwd", "-e", "A=b c", "-w", "/tmp") == "b c\n/tmp\n"


@pytest.mark.parametrize("user, ids", [
    ("user", "1000 1000 1000 2000"),
    ("1234", "1234 0 0"),
    ("user:extra", "1000 2000 2000"),
    ("77:88", "77 88 88"),
])
def test_user(box, user, ids):
    assert box.sh("echo $(id -u) $(id -g) $(id -G)", "-u", user).strip() == ids


def test_unknown_user(box):
    r = box.exec("true", options=["-u", "nobodyknows"], check=False)
    assert r.returncode not in (0, 126, 127) and "nobodyknows" in r.stderr


def test_privileged(box):
    get = "grep ^CapEff /proc/self/status"
    assert int(box.sh(get, "--privileged").split()[1], 16) > int(box.sh(get).split()[1], 16)


def test_exit_statuses(box):
    """All of them, eight at a time."""
    def status(n):
        return box.exec("sh", "-c", f"exit {n}", check=False).returncode

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(status, range(256))) == list(range(256))


def test_killed_by_a_signal(box):
    assert box.exec("sh", "-c", "kill -KILL $$", check=False).returncode == 137
    assert box.exec("sh", "-c", "kill -SEGV $$", check=False).returncode == 139


@pytest.mark.parametrize("program, status", [("nosuch", 127), ("/no/such", 127),
                                             ("/etc/passwd", 126), ("/etc", 126)])
def test_no_program(box, program, status):
    r = box.exec(program, check=False)
    assert r.returncode == status
    assert program in r.stderr
    assert len(r.stderr.strip().splitlines()) == 1, r.stderr


def test_no_directory(box):
    r = box.exec("true", options=["-w", "/no/such"], check=False)
    assert r.returncode in (126, 127)
    assert "/no/such" in r.stderr


def test_detached(box):
    box.exec("sh", "-c", "sleep 1; echo later >/tmp/later; exec sleep 4321", options=["-d"])
    eventually(lambda: box.exec("cat", "/tmp/later", check=False).stdout == "later\n",
               "the detached process's file")
    assert "sleep 4321" in box.sh("ps")
    box.sh("kill $(ps | awk '$3 == \"sleep\" && $4 == 4321 { print $1 }')")


def test_signal_to_the_client_does_not_end_the_container(box):
    p = subprocess.Popen(box.stage.podman("exec", box.name, "sleep", "5678"))
    eventually(lambda: "sleep 5678" in box.sh("ps"), "the process")
    p.kill()
    p.wait()
    assert box.get(".State.Status") == "running"
    box.sh("kill $(ps | awk '$3 == \"sleep\" && $4 == 5678 { print $1 }')")


def test_many_at_once(box):
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        texts = list(pool.map(lambda n: box.sh(f"seq {n}000 {n}999 | md5sum"), range(1, 21)))
    assert texts == [hashlib.md5(b"".join(b"%d\n" % i for i in range(n * 1000, n * 1000 + 1000)))
                     .hexdigest() + "  -\n" for n in range(1, 21)]


def test_in_a_stopped_container(podman):
    with podman.running(script="exit 0") as c:
        podman("wait", c.name)
        r = c.exec("true", check=False)
        assert r.returncode != 0 and "running" in r.stderr


def test_ends_with_the_container(podman):
    with podman.running() as c:
        p = subprocess.Popen(podman.podman("exec", c.name, "sleep", "1000"),
                             stderr=subprocess.DEVNULL)
        eventually(lambda: "sleep 1000" in c.sh("ps"), "the process")
        podman("rm", "-f", "-t", "0", c.name)
        assert p.wait(harness.TIMEOUT) != 0
