# SPDX-License-Identifier: Apache-2.0
"""Whoever dies when: at each phase of a container's life each of our processes is killed.
Then no command hangs, and `delete --force` removes everything.

CAISSON_STOP_AT=PHASE stops the process that reaches the phase (lib/timeline.h).
"""
import os
import pathlib
import signal
import subprocess

import pytest

from support import (BOUND, Process, alive, call_detached, cgroup_path, descendants, engine,
                     eventually,
                     no_network, reap, use_netns)

# The engine's own process: with kvm that is the monitor.
HELPER = ["helper"] if engine() == "emu" else []
EARLY = ["command", "config", "state", "image", "cgroup", "proxy", "hooks", "network"]
# Phases of a create, with the processes that there are by then beside the command.
CREATE = [(phase, ["command"] + (["proxy"] if phase in EARLY[5:] else [])) for phase in EARLY] + [
    ("spawned", ["command", "proxy", "monitor"]),
    ("monitor", ["command", "proxy", "monitor"]),
    ("engine", ["command", "proxy", "monitor", *HELPER]),
    ("agent", ["command", "proxy", "monitor", *HELPER]),
    ("guest-setup", ["command", "proxy", "monitor", *HELPER]),
    ("created", ["command", "proxy", "monitor", *HELPER]),
    ("ready", ["command", "proxy", "monitor", *HELPER]),
]
CASES = [(phase, victim) for phase, victims in CREATE for victim in victims]
# The word that all is well was on its way already; what comes after is the container's end.
LATE = {("created", "monitor"), ("created", "helper")}
WITH_NETNS = {"network", "engine", "ready"}


def stop_at(phase):
    return {**os.environ, "CAISSON_STOP_AT": phase}


def victim_pid(box, command, victim):
    """The pid of one of the processes of a sandbox in the making; None while it is not there."""
    record = box.record()
    if victim == "command":
        return command.pid
    if victim == "proxy":
        return record.get("init", {}).get("pid") or None
    monitor = record.get("monitor", {}).get("pid") or None
    if victim == "monitor":
        return monitor
    return next((p.pid for p in descendants(monitor).values()), None) if monitor else None


def stopped():
    return {p.pid for p in descendants().values() if p.state == "T"}


def resume(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


def every_command_returns(box):
    """state, list, ps, kill, exec, start, delete: each ends in bounded time, and a refusal is one
    sentence."""
    for args in (["state", box.id], ["list"], ["ps", box.id], ["kill", box.id, "KILL"],
                 ["exec", box.id, "true"], ["start", box.id], ["delete", box.id]):
        r = call_detached(box.caisson, *args, out=box.bundle.path / "command", check=False,
                          timeout=BOUND)
        assert r.returncode >= 0, (args, r)  # no command dies of a signal
        if r.returncode:
            assert r.stderr.startswith("caisson: ") and r.stderr.count("\n") == 1, (args, r.stderr)


def clean_up(box, no_leaks):
    r = box.caisson("delete", "--force", box.id, timeout=BOUND)
    assert (r.returncode, r.stderr) == (0, "")
    assert box.status() is None and not list(box.caisson.root.glob("*"))
    no_leaks()


def prepared(box, netns, phase):
    b = box()
    b.config["linux"]["cgroupsPath"] = cgroup_path()
    n = netns() if phase in WITH_NETNS else None
    if n:
        use_netns(b.config, n.path)
    elif phase in ("hooks", "agent"):
        use_netns(b.config)  # a namespace of the sandbox's own
    else:
        no_network(b.config)
    b.bundle.write()
    return b, n


def create_until(b, phase):
    """A create that stands still at the phase, and who it is that stands still."""
    with open(b.out, "wb") as out:
        command = b.caisson.popen("create", "--bundle", b.bundle.path, b.id,
                                  env=stop_at(phase), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=out)
    who = eventually(lambda: stopped() or command.poll() is not None and {0},
                     f"a process stops at '{phase}'")
    assert who != {0}, f"create ended before '{phase}': {b.out.read_text()}"
    return command, who


@pytest.mark.parametrize("phase,victim", CASES, ids=[f"{p}-{v}" for p, v in CASES])
def test_create(box, netns, no_leaks, phase, victim):
    """One process dies at one phase of `create`; nothing hangs and nothing stays."""
    b, n = prepared(box, netns, phase)
    command, who = create_until(b, phase)
    pid = eventually(lambda: victim_pid(b, command, victim), f"there is a {victim}")
    os.kill(pid, signal.SIGKILL)
    resume(who)
    status = command.wait(BOUND)
    if victim == "command":
        assert status == -signal.SIGKILL
    elif phase != "ready" and (phase, victim) not in LATE:
        assert status == 1, b.out.read_text()
        text = b.out.read_text()
        assert text.startswith("caisson: ") and text.count("\n") == 1
        assert b.status() is None  # a create that fails undoes itself
        no_leaks()
    every_command_returns(b)
    clean_up(b, no_leaks)
    if n:
        n.assert_restored()


@pytest.mark.parametrize("phase", ["state", "proxy", "engine", "created", "ready"])
def test_hung(box, netns, no_leaks, phase):
    """Nobody dies, but a process stands still for ever: delete --force ends it all the same."""
    b, n = prepared(box, netns, phase)
    command, who = create_until(b, phase)
    r = b.caisson("state", b.id, timeout=BOUND)
    assert r.returncode == 0
    r = b.caisson("delete", b.id, timeout=BOUND)
    assert r.returncode == 1 and r.stderr.count("\n") == 1
    clean_up(b, no_leaks)
    assert command.wait(BOUND) != 0
    if n:
        n.assert_restored()


def running(box, netns=None):
    b = box()
    b.config["linux"]["cgroupsPath"] = cgroup_path()
    n = netns() if netns else None
    if n:
        use_netns(b.config, n.path)
    return b.up(), n


@pytest.mark.parametrize("victim", ["proxy", "monitor", *HELPER])
def test_running(box, netns, no_leaks, victim):
    """One process dies under a running container: it is stopped, as if it had been killed."""
    b, n = running(box, netns)
    proxy = b.pid
    p = b.caisson.popen("exec", b.id, "sleep", "1000000", stderr=subprocess.DEVNULL)
    eventually(lambda: b.sh("ps").count("sleep 1000000") == 2, "the exec runs")
    os.kill(victim_pid(b, None, victim), signal.SIGKILL)
    assert os.WTERMSIG(reap(proxy, BOUND)) == signal.SIGKILL
    assert p.wait(BOUND) == 128 + signal.SIGKILL
    assert b.status() == "stopped"
    every_command_returns(b)
    clean_up(b, no_leaks)
    n.assert_restored()


@pytest.mark.parametrize("victim", ["proxy", "monitor", *HELPER])
def test_running_stopped(box, no_leaks, victim):
    """A process that stands still under a running container does not keep delete --force."""
    b, _ = running(box)
    os.kill(victim_pid(b, None, victim), signal.SIGSTOP)
    assert b.caisson("state", b.id, timeout=BOUND).returncode == 0
    clean_up(b, no_leaks)


@pytest.mark.parametrize("victim", ["command", "proxy", "monitor", *HELPER])
def test_start(box, no_leaks, victim):
    """One process dies when `start` has let the container's process go, and not yet said so."""
    b = box()
    b.create()
    command = b.caisson.popen("start", b.id, env=stop_at("started"), stdin=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    eventually(lambda: command.pid in stopped(), "start stops")
    os.kill(victim_pid(b, command, victim), signal.SIGKILL)
    resume({command.pid})
    status = command.wait(BOUND)
    assert (status == -signal.SIGKILL) == (victim == "command")
    every_command_returns(b)
    clean_up(b, no_leaks)


@pytest.mark.parametrize("phase,victim", [("exited", "proxy"), ("machine-gone", "monitor"),
                                          ("destroyed", "command")])
def test_end(box, netns, no_leaks, phase, victim):
    """One process dies at the end of a container: of its process, its machine, or its record."""
    b = box()
    n = netns()
    use_netns(b.config, n.path)
    b.config["linux"]["cgroupsPath"] = cgroup_path()
    env = os.environ if victim == "command" else stop_at(phase)
    b.create(env=env)
    b.start()
    if victim == "command":
        command = b.caisson.popen("delete", "--force", b.id, env=stop_at(phase))
        eventually(lambda: command.pid in stopped(), "delete stops")
        os.kill(command.pid, signal.SIGKILL)
        assert command.wait(BOUND) == -signal.SIGKILL
    else:
        pid = victim_pid(b, None, victim)
        b.caisson("kill", b.id, "KILL", check=True)
        eventually(lambda: not alive(pid) or Process(pid).state == "T", f"{victim} stops")
        os.kill(pid, signal.SIGKILL)
    every_command_returns(b)
    clean_up(b, no_leaks)
    n.assert_restored()


def test_exec_killed(box, no_leaks):
    """An exec whose command is killed at once takes its process along, and no other."""
    b, _ = running(box)
    for _ in range(3):
        command = b.caisson.popen("exec", b.id, "sleep", "4321", env=stop_at("created"),
                                  stdin=subprocess.DEVNULL)
        eventually(stopped, "the proxy of the exec stops")
        command.kill()
        assert command.wait(BOUND) == -signal.SIGKILL
        resume(stopped())
        eventually(lambda: "sleep 4321" not in b.sh("ps"), "its process is gone", BOUND)
    assert b.status() == "running"
    clean_up(b, no_leaks)


def test_state_damaged(box, no_leaks):
    """With a state.json that cannot be read, commands say so; what is left is removable by force
    once its processes are gone (an operator's hand was in it)."""
    b = box()
    b.create()
    pids = {b.pid, b.monitor()}
    path = pathlib.Path(b.caisson.root) / b.id / "state.json"
    path.write_text("{")
    every_command_returns(b)
    assert path.exists()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    clean_up(b, no_leaks)
