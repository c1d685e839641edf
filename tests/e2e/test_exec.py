# SPDX-License-Identifier: Apache-2.0
"""exec: more processes in a running container.  One container serves nearly all tests."""
import json
import os
import signal
import subprocess
import threading

from support import (TIMEOUT, Console, alive, assert_sentence, eventually, exited, own_terminal,
                     reap, read_until, set_size, unique)


def caps(text):
    return {line.split()[0].rstrip(":"): int(line.split()[1], 16)
            for line in text.splitlines() if line.startswith("Cap")}


def test_options(shared_box):
    """-e, --cwd, --user, -g, --cap and --no-new-privs change the process, and nothing else."""
    sh = shared_box.sh
    plain = caps(sh("cat /proc/self/status"))
    assert sh("echo $A-$B; pwd; id -u", ["-e", "A=1", "--env", "B=x y"]) == "1-x y\n/\n0\n"
    assert sh("pwd", ["--cwd", "/usr/bin"]) == "/usr/bin\n"
    assert sh("id -u; id -g", ["--user", "1000:2000"]) == "1000\n2000\n"
    assert sh("id -u; id -g", ["-u", "1000"]) == "1000\n0\n"
    assert set(sh("id -G", ["-g", "55", "--additional-gids", "66"]).split()) >= {"55", "66"}
    more = caps(sh("cat /proc/self/status", ["--cap", "CAP_SYS_TIME"]))
    assert more["CapEff"] == plain["CapEff"] | 1 << 25
    assert "NoNewPrivs:\t1" in sh("cat /proc/self/status", ["--no-new-privs"])
    assert caps(sh("cat /proc/self/status")) == plain


def test_bad_options(shared_box):
    """Bad values are refused in a sentence that names them, and no process is made."""
    before = shared_box.caisson("ps", shared_box.id).stdout
    for options, words in (
            (["--user", "root"], "--user 'root'"), (["--user", "1:x"], "--user '1:x'"),
            (["--user", "4294967295"], "--user '4294967295'"), (["--cwd", "tmp"], "--cwd 'tmp'"),
            (["-e", "NOVALUE"], "'NOVALUE'"), (["--cap", "CAP_MAGIC"], "'CAP_MAGIC'"),
            (["-g", "-1"], "'-1'"), (["--preserve-fds", "x"], "'x'"),
            (["--cwd", "/no/such/dir"], "/no/such/dir"), (["--tty", "--detach"], "terminal")):
        assert_sentence(shared_box.exec("true", options=options), words, status=255)
    assert_sentence(shared_box.exec(), "program", status=255)
    assert_sentence(shared_box.exec("/no/such/program"), "/no/such/program", status=255)
    assert_sentence(shared_box.caisson("exec", "nobody", "true"), "'nobody'", status=255)
    r = shared_box.exec("true", options=["--pid-file", "/no/such/dir/pid"])
    assert_sentence(r, "/no/such/dir/pid", status=255)
    eventually(lambda: shared_box.caisson("ps", shared_box.id).stdout == before,
               "as many processes as before")


def test_process_document(shared_box):
    """--process takes an OCI process as the containerd shim and conmon write it."""
    path = shared_box.bundle.path / "process.json"
    doc = {"terminal": False, "user": {"uid": 1000, "gid": 1000, "additionalGids": [2000]},
           "args": ["sh", "-c", "id -u; id -G; pwd; echo $X; cat /proc/self/status"],
           "env": ["PATH=/bin", "X=y"], "cwd": "/tmp", "noNewPrivileges": True,
           "capabilities": {"bounding": ["CAP_KILL"], "effective": [], "permitted": []},
           "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]}
    path.write_text(json.dumps(doc))
    r = shared_box.exec(options=["--process", path])
    assert r.returncode == 0, r.stderr
    uid, gids, cwd, x, *status = r.stdout.splitlines()
    assert (uid, sorted(gids.split()), cwd, x) == ("1000", ["1000", "2000"], "/tmp", "y")
    assert caps("\n".join(status)) == {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 1 << 5,
                                       "CapAmb": 0}
    doc["args"] = ["sh", "-c", "ulimit -n; ulimit -Hn"]
    path.write_text(json.dumps(doc))
    assert shared_box.exec(options=["-p", path]).stdout.split() == ["77", "88"]
    assert_sentence(shared_box.exec("ls", options=["-p", path]), "'ls'", "--process", status=255)


def test_streams(shared_box):
    """stdin, stdout and stderr of an exec are its own, whole, and end when they end."""
    data = os.urandom(300_000)
    assert shared_box.exec("cat", input=data, text=False).stdout == data
    r = shared_box.exec("sh", "-c", "echo out; echo err >&2")
    assert (r.stdout, r.stderr) == ("out\n", "err\n")
    p = shared_box.caisson.popen("exec", shared_box.id, "yes", stdout=subprocess.PIPE)
    assert p.stdout.readline() == b"y\n"
    p.stdout.close()
    assert p.wait(TIMEOUT) == 128 + signal.SIGPIPE


def test_many_at_once(shared_box):
    """Sixteen execs at the same time each get their own bytes and status."""
    results = {}

    def one(i):
        results[i] = shared_box.exec("sh", "-c", f"cat; echo {i}; exit {i}", input=f"in{i}\n")

    threads = [threading.Thread(target=one, args=(i,)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for i in range(16):
        assert (results[i].returncode, results[i].stdout) == (i, f"in{i}\n{i}\n"), results[i]


def test_detach(shared_box):
    """exec --detach returns while the process runs; its proxy takes signals and is waited for."""
    pid = shared_box.exec_detached("sh", "-c", "trap 'exit 21' TERM; while :; do sleep 0.1; done")
    assert alive(pid)
    eventually(lambda: shared_box.sh("ps").count("exit 21"), "its shell runs")
    shared_box.sh("sleep 0.5")
    os.kill(pid, signal.SIGTERM)
    assert exited(reap(pid)) == 21


def test_proxy_killed(shared_box):
    """When the proxy of an exec is killed, its process in the guest goes, and no other."""
    pid = shared_box.exec_detached("sleep", "424242")
    eventually(lambda: "sleep 424242" in shared_box.sh("ps"), "it runs")
    os.kill(pid, signal.SIGKILL)
    assert exited(reap(pid)) == "SIGKILL"
    eventually(lambda: "sleep 424242" not in shared_box.sh("ps"), "it is gone")
    assert shared_box.status() == "running"


def test_console_socket(shared_box):
    """exec --tty --console-socket: a terminal with its own size, as `podman exec -t` has it."""
    console = Console(shared_box.bundle.path / unique("console"))
    pid = shared_box.exec_detached("sh", "-c", "trap 'stty size' WINCH; tty; "
                                   "while :; do sleep 0.1; done",
                                   options=["--tty", "--console-socket", console.path])
    master = console.receive()
    read_until(master, b"/dev/")
    set_size(master, 33, 111)
    read_until(master, b"33 111")
    os.kill(pid, signal.SIGKILL)
    reap(pid)
    console.close()


def test_tty(shared_box):
    """exec --tty on the caller's terminal: input, output, ^C as a signal, exit status."""
    argv = shared_box.caisson.command("exec", "--tty", shared_box.id, "sh", "-c",
                                      "trap 'echo INT; exit 12' INT; test -t 0 && echo tty; "
                                      "while :; do sleep 0.1; done")
    with own_terminal(argv) as (pid, master):
        read_until(master, b"tty")
        os.write(master, b"\x03")
        read_until(master, b"INT")
        assert exited(reap(pid)) == 12


def test_in_created(box):
    """exec works in a container that is created and not started, as the specification allows."""
    b = box()
    b.create()
    r = b.exec("sh", "-c", "echo early")
    assert (r.returncode, r.stdout) == (0, "early\n"), r.stderr
    assert b.status() == "created"


def test_ends_with_container(box):
    """When the container's first process ends, an exec in it ends, too: killed."""
    b = box().up()
    p = b.caisson.popen("exec", b.id, "sleep", "1000000")
    eventually(lambda: b.sh("ps").count("sleep 1000000") == 2, "both run")
    b.kill("KILL")
    assert p.wait(TIMEOUT) == 128 + signal.SIGKILL
    assert b.wait() == "SIGKILL"
