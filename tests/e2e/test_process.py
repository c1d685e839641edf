# SPDX-License-Identifier: Apache-2.0
"""The container's first process: its end, its streams, its terminal, and hooks around it."""
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import time

import pytest

from support import (TIMEOUT, Console, assert_sentence, cgroup_path, descendants, eventually,
                     exited, own_terminal, reap, read_until, set_size)

DATA = random.Random(7).randbytes(1_500_000)


def test_exit_statuses_of_init(box):
    """The process that the pid file names ends as the container's first process does, seen by
    its adoptive parent as conmon sees it."""
    for code in (0, 7, 255):
        b = box(["sh", "-c", f"exit {code}"]).up()
        assert b.wait() == code
        b.delete()


def test_exit_statuses_of_exec(shared_box):
    """Exit statuses and deadly signals of other processes, foreground and detached, one boot."""
    for code in (0, 1, 7, 42, 126, 127, 255):
        assert shared_box.exec("sh", "-c", f"exit {code}").returncode == code
        pid = shared_box.exec_detached("sh", "-c", f"exit {code}")
        assert exited(reap(pid)) == code
    for name in ("KILL", "TERM", "SEGV", "ABRT", "PIPE", "USR1", "HUP", "ALRM"):
        number = getattr(signal, "SIG" + name)
        assert shared_box.exec("sh", "-c", f"kill -{name} $$").returncode == 128 + number
        status = reap(shared_box.exec_detached("sh", "-c", f"kill -{name} $$"))
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == number
        assert not os.WCOREDUMP(status)


def test_run_foreground(box, no_leaks):
    """run gives the exit status, stdout and stderr apart, and leaves nothing."""
    b = box(["sh", "-c", "echo out; echo err >&2; exit 3"])
    r = b.run()
    assert (r.returncode, r.stdout, r.stderr) == (3, "out\n", "err\n")
    assert b.status() is None
    no_leaks()


def test_run_killed(box):
    """run ends with 128 + the signal that killed the container."""
    b = box()
    p = b.popen_run()
    b.caisson.wait_status(b.id, "running")
    b.kill("KILL")
    assert p.wait(TIMEOUT) == 128 + signal.SIGKILL
    assert b.status() is None


def test_run_forwards_signals(box):
    """A signal to `run` goes to the container, whose answer is run's exit status."""
    b = box(["sh", "-c", "trap 'exit 9' TERM; echo on; while :; do sleep 0.1; done"])
    p = b.popen_run(stdout=subprocess.PIPE)
    assert p.stdout.readline() == b"on\n"
    p.send_signal(signal.SIGTERM)
    assert p.wait(TIMEOUT) == 9


def test_run_program_missing(box, no_leaks):
    """A program that is not there is the runtime's error, named, and nothing stays."""
    b = box(["/no/such/program"])
    assert_sentence(b.run(), "/no/such/program", status=255)
    assert b.status() is None
    no_leaks()
    b = box(["/etc/passwd"])
    assert_sentence(b.run(), "/etc/passwd", "ermission denied", status=255)


def test_run_keep(box):
    """run --keep leaves the stopped container for whoever looks at it."""
    b = box(["true"])
    assert b.run("--keep").returncode == 0
    assert b.status() == "stopped"
    b.delete()


def test_streams_both_ways(box):
    """A megabyte and a half goes through cat byte for byte, and the end of stdin ends it."""
    b = box(["cat"])
    r = b.run(input=DATA, text=False)
    assert r.returncode == 0 and r.stderr == b""
    assert hashlib.sha256(r.stdout).digest() == hashlib.sha256(DATA).digest()
    b = box(["sh", "-c", "cat >&2"])
    r = b.run(input=DATA, text=False)
    assert r.returncode == 0 and r.stdout == b""
    assert r.stderr == DATA


def test_stream_slow_reader(box):
    """A reader that is late loses nothing and holds up nothing else."""
    b = box(["sh", "-c", "dd if=/dev/zero bs=1000 count=2000 2>/dev/null; echo done >&2"])
    p = b.popen_run(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    b.caisson.wait_status(b.id, "running")
    assert b.exec("echo", "alive").stdout == "alive\n"
    assert len(p.stdout.read()) == 2_000_000
    assert p.stderr.read() == b"done\n" and p.wait(TIMEOUT) == 0


def test_stdin_ends(box):
    """Nothing on stdin is an end of file at once; a closed stdin is as good as /dev/null."""
    b = box(["sh", "-c", "cat; echo end"])
    assert b.run().stdout == "end\n"
    assert b.run(stdin=None, preexec_fn=lambda: os.close(0)).stdout == "end\n"


def test_stdout_closed_early(box):
    """`run | head -1`: when nobody reads any more the writer gets SIGPIPE, and run ends so."""
    b = box(["sh", "-c", "yes; exit $?"])  # no signal of its own kills a namespace's first process
    p = b.popen_run(stdout=subprocess.PIPE)
    assert p.stdout.readline() == b"y\n"
    p.stdout.close()
    assert p.wait(TIMEOUT) == 128 + signal.SIGPIPE
    assert b.status() is None


def test_run_detached(box):
    """run --detach returns while the container runs; its end can be waited for."""
    b = box(["sh", "-c", "trap 'exit 4' TERM; while :; do sleep 0.1; done"])
    p = b.popen_run("--detach", "--pid-file", b.pid_file, stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL)
    assert p.wait(TIMEOUT) == 0
    assert b.status() == "running"
    time.sleep(0.5)
    b.kill()
    assert b.wait() == 4
    b.delete()


def test_preserve_fds(box):
    """--preserve-fds carries descriptors from 3 on, both ways where the descriptor has two."""
    b = box(["sh", "-c", "read line <&3; echo \"got $line\" >&3; echo four >&4; ls /proc/self/fd"])
    ours, theirs = socket.socketpair()
    read_end, write_end = os.pipe()

    def give():
        os.dup2(theirs.fileno(), 103)
        os.dup2(write_end, 104)
        os.dup2(103, 3)
        os.dup2(104, 4)
        os.closerange(5, 200)

    ours.sendall(b"hello\n")
    r = b.run("--preserve-fds", "2", close_fds=False, preexec_fn=give)
    theirs.close()
    os.close(write_end)
    assert r.returncode == 0, r.stderr
    assert ours.recv(100) == b"got hello\n"
    assert os.read(read_end, 100) == b"four\n"
    os.close(read_end)
    ours.close()
    assert r.stdout.split()[:5] == ["0", "1", "2", "3", "4"] and len(r.stdout.split()) <= 6


def test_preserve_fds_refused(box):
    """More descriptors than there are open, or than can be, are refused before anything is made."""
    b = box()
    assert_sentence(b.create("--preserve-fds", "1", check=False), "--preserve-fds 1", "not open")
    assert_sentence(b.create("--preserve-fds", "17", check=False), "--preserve-fds 17")


def test_only_own_descriptors(box):
    """Nothing but the three streams of the caller gets into the container."""
    r = box(["ls", "/proc/self/fd"]).run(close_fds=False)
    assert r.stdout.split() == ["0", "1", "2", "3"]  # 3: ls's own


def test_console_socket(box):
    """The terminal's master comes over the console socket; bytes, size and ^C work on it."""
    b = box(["sh", "-c", "stty size; trap 'stty size' WINCH; trap 'echo INT; exit 5' INT; tty; "
             "while :; do sleep 0.1; done"])
    b.config["process"]["terminal"] = True
    b.config["process"]["consoleSize"] = {"height": 30, "width": 100}
    console = Console(b.bundle.path / "console")
    b.create("--console-socket", console.path)
    master = console.receive()
    b.start()
    seen = read_until(master, b"/dev/")
    assert b"30 100" in seen
    set_size(master, 50, 132)
    read_until(master, b"50 132")
    os.write(master, b"\x03")
    read_until(master, b"INT")
    assert b.wait() == 5
    b.delete()
    console.close()


def test_run_terminal(box):
    """run with a terminal on the caller's: raw while it runs, sized, and as before afterwards."""
    b = box(["sh", "-c", "test -t 0 && test -t 1 && test -t 2 && stty size && read x && "
             "echo \"<$x>\" && exit 6"])
    b.config["process"]["terminal"] = True
    b.bundle.write()
    argv = b.caisson.command("run", "--bundle", b.bundle.path, b.id)
    with own_terminal(argv, (40, 90)) as (pid, master):
        assert b"40 90" in read_until(master, b"40 90")
        os.write(master, b"word\r")
        read_until(master, b"<word>")
        assert exited(reap(pid)) == 6


def test_terminal_refused(box):
    """A terminal that nobody holds the other side of is refused in a sentence."""
    b = box()
    b.config["process"]["terminal"] = True
    assert_sentence(b.create(check=False), "process.terminal", "--console-socket")
    assert_sentence(b.run(), "standard input is not a terminal", status=255)
    b.config["process"]["terminal"] = False
    r = b.create("--console-socket", "/tmp/nothing", check=False)
    assert_sentence(r, "--console-socket '/tmp/nothing'", "process.terminal")


def hook(path, name, extra="", **more):
    script = f"echo {name} >>{path}/order; cat >{path}/{name}.json; {extra}"
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["NAME=" + name], **more}


def test_hooks(box):
    """Hooks run in the specification's order, at their time, with the state on stdin."""
    b = box(["sh", "-c", "echo started; sleep 1000000"])
    at = b.bundle.path
    b.config["hooks"] = {
        kind: [hook(at, f"{kind}{i}") for i in (1, 2)]
        for kind in ("prestart", "createRuntime", "createContainer", "poststart", "poststop")}
    b.create()
    order = lambda: (at / "order").read_text().split()  # noqa: E731
    created = [f"{k}{i}" for k in ("prestart", "createRuntime", "createContainer") for i in (1, 2)]
    assert order() == created
    for name in created:
        s = json.loads((at / f"{name}.json").read_text())
        assert s["id"] == b.id and s["bundle"] == str(at) and s["pid"] == b.pid
        # As runtime-tools' validation/hooks_stdin has it; we said "creating".
        assert s["status"] == "created" and s["ociVersion"].startswith("1.")
    b.start()
    assert order() == created + ["poststart1", "poststart2"]
    assert json.loads((at / "poststart1.json").read_text())["status"] == "running"
    b.kill("KILL")
    assert b.wait() == "SIGKILL"
    b.delete()
    assert order() == created + ["poststart1", "poststart2", "poststop1", "poststop2"]
    assert json.loads((at / "poststop2.json").read_text())["status"] == "stopped"


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_hook_fails(box, no_leaks, kind):
    """A hook that fails fails the create, by name; nothing of it stays, later hooks do not run."""
    b = box()
    at = b.bundle.path
    b.config["linux"]["cgroupsPath"] = cgroup_path()
    b.config["hooks"] = {kind: [hook(at, "first"), hook(at, "bad", "exit 3"), hook(at, "later")]}
    assert_sentence(b.create(check=False), f"hook {kind}[1]", "'/bin/sh'", "status 3")
    assert (at / "order").read_text().split() == ["first", "bad"]
    assert b.status() is None and not b.pid_file.exists()
    no_leaks()


def test_hook_hangs(box):
    """A hook that outlives its timeout is killed, with what it started, and fails the create."""
    b = box()
    b.config["hooks"] = {"createRuntime": [{
        "path": "/bin/sh", "args": ["sh", "-c", "sleep 777001 & sleep 777002; true"],
        "timeout": 1}]}
    assert_sentence(b.create(check=False), "hook createRuntime[0]", "longer than 1 s")
    eventually(lambda: not [p for p in descendants().values() if p.name == "sleep"],
               "the hook's processes are gone", 10)


def test_hook_interrupted(box, no_leaks):
    """A create that waits for a hook can be interrupted; the hook ends with it."""
    b = box()
    b.config["hooks"] = {"createRuntime": [hook(b.bundle.path, "slow", "sleep 777003")]}
    b.bundle.write()
    p = b.caisson.popen("create", "--bundle", b.bundle.path, b.id, stdin=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL)
    eventually((b.bundle.path / "order").exists, "the hook runs")
    p.send_signal(signal.SIGTERM)
    assert p.wait(60) == 1
    assert b.status() is None and os.listdir(b.caisson.root) == []
    no_leaks()


def test_hook_missing(box):
    """A hook that is not there is named."""
    b = box()
    b.config["hooks"] = {"prestart": [{"path": "/no/such/hook"}]}
    assert_sentence(b.create(check=False), "/no/such/hook", "No such file")


def test_poststop_hook_of_run(box):
    """run, which deletes the container itself, runs the poststop hooks, too."""
    b = box(["true"])
    b.config["hooks"] = {"poststop": [hook(b.bundle.path, "after")]}
    assert b.run().returncode == 0
    assert json.loads((b.bundle.path / "after.json").read_text())["status"] == "stopped"


def test_poststop_hook_fails(box):
    """A failing poststop hook is a warning: the deletion goes through."""
    b = box()
    b.config["hooks"] = {"poststop": [hook(b.bundle.path, "bad", "exit 9")]}
    b.create()
    r = b.delete()
    assert r.stderr.startswith("caisson: warning: ") and "poststop[0]" in r.stderr
    assert b.status() is None


def test_process_settings(box):
    """user, groups, cwd, environment, umask, hostname and oomScoreAdj are what was asked for."""
    b = box(["sh", "-c", "id -u; id -g; id -G; pwd; echo $GREETING; umask; hostname; "
             "cat /proc/self/oom_score_adj"])
    p = b.config["process"]
    p["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [2000, 3000], "umask": 0o027}
    p["cwd"], p["env"] = "/usr/bin", ["PATH=/bin", "GREETING=hello  you"]
    p["oomScoreAdj"] = 300
    b.config["hostname"] = "some-host"
    out = b.run().stdout.splitlines()
    assert out[:2] == ["1000", "1000"] and sorted(out[2].split()) == ["1000", "2000", "3000"]
    assert out[3:] == ["/usr/bin", "hello you", "0027", "some-host", "300"]
