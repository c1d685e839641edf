# SPDX-License-Identifier: Apache-2.0
"""A container's life under podman: create to rm, signals, logs, and what inspect says."""
import json
import os
import pathlib
import re
import subprocess
import time

import pytest

import harness
from conftest import CGROUPS, IMAGE
from harness import eventually

COUNTER = """trap 'echo caught USR1' USR1; trap 'echo caught TERM; exit 7' TERM
echo ready; while :; do sleep 0.2; done"""


def test_create_start_wait(podman):
    name = "steps"
    podman("create", "--name", name, "--network", "none", IMAGE, "sh", "-c", "echo hello; exit 3")
    try:
        assert podman("inspect", "-f", "{{.State.Status}}", name).stdout == "created\n"
        podman("start", name)
        assert podman("wait", name).stdout == "3\n"
        assert podman("logs", name).stdout == "hello\n"
        state = json.loads(podman("inspect", "-f", "{{json .State}}", name).stdout)
        assert (state["Status"], state["ExitCode"], state["Pid"]) == ("exited", 3, 0)
        # And once more: the same container starts again, in a new sandbox.
        r = podman("start", "--attach", name, check=False)
        assert (r.returncode, r.stdout) == (3, "hello\n")
    finally:
        podman("rm", "-f", name)


def test_init_then_start(podman):
    """`podman init` makes the sandbox, `podman start` only lets it go."""
    name = "steps"
    podman("create", "--name", name, "--network", "none", IMAGE, "sh", "-c", "echo hello")
    try:
        podman("init", name)
        assert podman("inspect", "-f", "{{.State.Status}}", name).stdout == "initialized\n"
        assert podman("logs", name).stdout == ""
        r = podman("start", "--attach", name)
        assert r.stdout == "hello\n"
    finally:
        podman("rm", "-f", name)


def test_start_attached_with_input(podman):
    name = "attached"
    podman("create", "-i", "--name", name, "--network", "none", IMAGE, "sh", "-c",
           "read x; echo got $x; exit 4")
    try:
        r = podman("start", "-a", "-i", name, input="fish\n", check=False)
        assert (r.returncode, r.stdout) == (4, "got fish\n")
    finally:
        podman("rm", "-f", name)


def test_attach(podman):
    with podman.running("-i", script="while read x; do echo got $x; done; echo end") as c:
        r = podman("attach", c.name, input="one\ntwo\n")
        assert r.stdout.split("\n")[:3] == ["got one", "got two", "end"]


def test_inspect_and_ps(podman):
    with podman.running("--label", "purpose=looks", network="podman") as c:
        state = json.loads(podman("inspect", "-f", "{{json .State}}", c.name).stdout)
        assert state["Status"] == "running" and state["Running"]
        pid = state["Pid"]
        assert pathlib.Path(f"/proc/{pid}/comm").read_text() == "caisson-proxy\n"
        assert pathlib.Path(f"/proc/{pid}").stat().st_uid != 0
        health = state.get("Health")    # None, empty or not there, as the version has it
        assert not health or health["Status"] == ""
        assert c.get(".OCIRuntime") == str(harness.CAISSON)
        rows = podman("ps", "--format", "{{.Names}} {{.Status}}", "--filter",
                      "label=purpose=looks").stdout
        assert rows.startswith(f"{c.name} Up ")


def test_cgroup(podman):
    """Proxy and monitor are where the cgroup manager of this run has containers."""
    with podman.running() as c:
        identity = c.get(".Id")
        place = f"machine.slice/libpod-{identity}.scope" if CGROUPS == "systemd" \
            else f"libpod_parent/libpod-{identity}"
        record = json.loads(podman.host("cat", f"/run/caisson/{identity}/state.json").stdout)
        for pid in (c.get(".State.Pid"), record["monitor"]["pid"]):
            text = pathlib.Path(f"/proc/{pid}/cgroup").read_text()
            assert re.search(f"/{re.escape(place)}$", text, re.MULTILINE), text


def test_signals(podman):
    with podman.running(script=COUNTER) as c:
        c.wait_log("ready")
        podman("kill", "-s", "USR1", c.name)
        c.wait_log("caught USR1")
        assert c.get(".State.Status") == "running"
        podman("kill", "-s", "TERM", c.name)
        assert podman("wait", c.name).stdout == "7\n"
        assert c.logs().splitlines() == ["ready", "caught USR1", "caught TERM"]
        assert c.get(".State.ExitCode") == "7"


def test_kill(podman):
    with podman.running() as c:
        podman("kill", c.name)
        assert podman("wait", c.name).stdout == "137\n"
        assert c.get(".State.ExitCode") == "137"
        assert c.get(".State.Status") == "exited"


def test_stop(podman):
    """TERM first, which this container obeys."""
    with podman.running(script=COUNTER) as c:
        c.wait_log("ready")
        podman("stop", "-t", "60", c.name)
        assert c.get(".State.ExitCode") == "7"


def test_stop_kills_after_the_grace(podman):
    with podman.running(script="trap '' TERM; while :; do sleep 1; done") as c:
        podman("stop", "-t", "1", c.name)
        assert c.get(".State.ExitCode") == "137"


def test_stop_signal(podman):
    with podman.running("--stop-signal", "USR1",
                        script="trap 'exit 9' USR1; echo ready; while :; do sleep 0.2; done") as c:
        c.wait_log("ready")
        podman("stop", "-t", "60", c.name)
        assert c.get(".State.ExitCode") == "9"


def test_pause(podman, tmp_path):
    with podman.running("-v", f"{tmp_path}:/v", script="while :; do date +%s%N >/v/beat; sleep 0.1;"
                        "done") as c:
        beat = tmp_path / "beat"
        eventually(beat.exists, "the first beat")
        podman("pause", c.name)
        assert c.get(".State.Status") == "paused"
        time.sleep(0.5)
        before = beat.read_text()
        time.sleep(1)
        assert beat.read_text() == before
        r = c.exec("true", check=False)
        assert r.returncode != 0 and "running" in r.stderr
        podman("unpause", c.name)
        assert c.get(".State.Status") == "running"
        eventually(lambda: beat.read_text() != before, "the next beat")
        assert c.sh("echo alive") == "alive\n"


def test_rm_of_a_paused_container(podman):
    with podman.running() as c:
        podman("pause", c.name)
        podman("rm", "-f", "-t", "0", c.name)
        assert podman("ps", "-aq", "--filter", f"name={c.name}").stdout == ""


def test_rm_refuses_a_running_container(podman):
    with podman.running() as c:
        r = podman("rm", c.name, check=False)
        assert r.returncode != 0 and "running" in r.stderr
        assert c.sh("echo alive") == "alive\n"
        podman("rm", "-f", "-t", "0", c.name)


def test_rename(podman):
    with podman.running() as c:
        podman("rename", c.name, "another")
        assert podman("exec", "another", "echo", "alive").stdout == "alive\n"
        podman("rename", "another", c.name)


def test_restart_is_a_new_sandbox(podman):
    """What a container writes into its root file system lives as long as its sandbox: unlike
    with a runtime that shares the host's kernel, restart begins from the image."""
    with podman.running() as c:
        boot = c.sh("cat /proc/sys/kernel/random/boot_id; touch /written")
        pid = c.get(".State.Pid")
        podman("restart", "-t", "5", c.name)
        assert c.get(".State.Status") == "running"
        assert c.get(".State.Pid") != pid
        assert c.sh("cat /proc/sys/kernel/random/boot_id") != boot
        assert c.exec("test", "-e", "/written", check=False).returncode == 1


def test_restart_on_failure(podman, tmp_path):
    with podman.running("--restart", "on-failure:2", "-v", f"{tmp_path}:/v",
                        script="echo run >>/v/runs; exit 5") as c:
        eventually(lambda: c.get(".State.Status") == "exited" and c.get(".RestartCount") == "2",
                   "two restarts")
        assert (tmp_path / "runs").read_text() == "run\n" * 3
        assert c.get(".State.ExitCode") == "5"


def test_the_sandbox_dies(podman):
    """Whoever kills the monitor: the container has ended, as if killed, and can be removed."""
    with podman.running() as c:
        identity = c.get(".Id")
        state = json.loads(podman.host(harness.CAISSON, "state", identity).stdout)
        assert state["status"] == "running"
        record = json.loads(podman.host("cat", f"/run/caisson/{identity}/state.json").stdout)
        podman.host("kill", "-9", record["monitor"]["pid"])
        assert podman("wait", c.name).stdout == "137\n"
        assert c.get(".State.Status") == "exited"


# --- Logs -----------------------------------------------------------------------------------


def test_logs(podman):
    with podman.running(script="echo out 1; echo err 1 >&2; printf partial; sleep 1000") as c:
        c.wait_log("partial")
        r = podman("logs", c.name)
        assert r.stdout.splitlines() == ["out 1", "partial"]
        assert r.stderr.splitlines() == ["err 1"]


def test_logs_follow(podman):
    with podman.running(script="echo first; while [ ! -e /go ]; do sleep 0.1; done;"
                        "echo second") as c:
        follow = subprocess.Popen(podman.podman("logs", "-f", c.name), stdout=subprocess.PIPE,
                                  text=True)
        assert follow.stdout.readline() == "first\n"
        c.sh("touch /go")
        assert follow.stdout.readline() == "second\n"
        assert follow.stdout.read() == ""
        assert follow.wait(harness.TIMEOUT) == 0


# --- Looking into it ------------------------------------------------------------------------


def test_top(podman):
    """Of podman's two forms of top, the one with ps's options runs ps in the container, where the
    processes are.  (Podman 5 does so only for a container that may trace; for others it runs the
    host's ps in the pid namespace of the container's pid, which is the proxy's and the host's.)
    The other one reads /proc where the container's pid is on the host: it shows nothing, and above
    all not the host's processes."""
    with podman.running("--cap-add", "SYS_PTRACE", script="sleep 1234 & wait") as c:
        lines = podman("top", c.name, "-o", "pid,args").stdout.splitlines()
        assert any(line.split() == ["1", "sh", "-c", "sleep", "1234", "&", "wait"]
                   for line in lines), lines
        assert any(line.split()[1:] == ["sleep", "1234"] for line in lines), lines
        r = podman("top", c.name, "pid", "args", check=False)
        assert len(r.stdout.splitlines()) <= 1


def test_stats(podman):
    with podman.running(network="podman") as c:
        r = podman("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.MemUsageBytes}}",
                   c.name)
        name, pids, usage = r.stdout.split(maxsplit=2)
        assert name == c.name
        assert int(pids) >= 2 and not usage.startswith("0B")


def test_healthcheck(podman):
    with podman.running("--health-cmd", "test -e /tmp/healthy", "--health-interval",
                        "disable") as c:
        assert podman("healthcheck", "run", c.name, check=False).returncode == 1
        c.sh("touch /tmp/healthy")
        assert podman("healthcheck", "run", c.name, check=False).returncode == 0


def test_cp(podman, tmp_path):
    """podman copies on the host.  What it puts there before the start the container finds; of a
    running container it enters the mount namespace by pid, where there must be nothing: podman
    once read and wrote the host's own files there."""
    (tmp_path / "file").write_text("cargo\n")
    name = "cp"
    podman("create", "--name", name, "--network", "none", IMAGE, "sh", "-c",
           "echo made >/made; while :; do sleep 1; done")
    try:
        podman("cp", tmp_path / "file", f"{name}:/cargo")
        podman("cp", f"{name}:/etc/group", tmp_path / "group")
        assert "extra" in (tmp_path / "group").read_text()
        podman("start", name)
        assert podman("exec", name, "cat", "/cargo").stdout == "cargo\n"
        # Both directions, with a file that only the host has
        r = podman("cp", f"{name}:{tmp_path}/file", "-", check=False)
        assert r.returncode != 0 and "cargo\n" not in r.stdout
        r = podman("cp", tmp_path / "file", f"{name}:{tmp_path}/copy", check=False)
        assert r.returncode != 0 and not (tmp_path / "copy").exists()
        pid = podman("inspect", "-f", "{{.State.Pid}}", name).stdout.strip()
        assert os.listdir(f"/proc/{pid}/root/") == []
        # The way that works with every runtime
        r = podman("exec", "-i", name, "sh", "-c", "cat >/copy", input="more cargo\n")
        assert podman("exec", name, "cat", "/copy", "/made").stdout == "more cargo\nmade\n"
    finally:
        podman("rm", "-f", "-t", "0", name)


def test_many_at_once(podman):
    names = [f"many{n}" for n in range(4)]
    try:
        started = [subprocess.Popen(podman.podman("run", "-d", "--name", n, "--network", "podman",
                                                  IMAGE, "sleep", "1000"),
                                    stdout=subprocess.DEVNULL) for n in names]
        assert [p.wait(harness.TIMEOUT) for p in started] == [0] * len(names)
        boots = {podman("exec", n, "cat", "/proc/sys/kernel/random/boot_id").stdout for n in names}
        assert len(boots) == len(names)
    finally:
        podman("rm", "-f", "-t", "0", *names, check=False)


@pytest.mark.parametrize("options", [["--ipc", "host"], ["--pid", "host"], ["--uts", "host"],
                                     ["--network", "host"]])
def test_namespaces_of_the_host(podman, options):
    """There is no sharing a namespace with another kernel: refused, or the sandbox's own."""
    r = podman("run", "--rm", *options, IMAGE, "sh", "-c",
               "cat /proc/[0-9]*/comm; hostname; ip -o link", check=False)
    if r.returncode == 0:
        # python3 and bash run this test
        assert not re.search("python|pytest|bash|conmon", r.stdout)
        assert "podman0" not in r.stdout
        assert "--network" not in options or "eth0" not in r.stdout
