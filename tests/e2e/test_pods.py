# SPDX-License-Identifier: Apache-2.0
"""Pods: several containers in one guest, as containerd, CRI-O and podman ask for them."""
import contextlib
import os
import pathlib
import socket
import struct
import subprocess
import threading
import time

import pytest

from conftest import new_caisson
from support import assert_sentence, eventually

MANAGERS = {
    "containerd": ("io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"),
    "cri-o": ("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"),
    "podman": (None, "io.kubernetes.cri-o.SandboxID"),  # from version 5 on
}


def annotate(config, kind, sandbox, manager="containerd"):
    type_key, id_key = MANAGERS[manager]
    given = config.setdefault("annotations", {})
    given[id_key] = sandbox
    if type_key:
        given[type_key] = kind


def set_namespaces(config, **paths):
    """Namespaces with a path are joined; others stay as they are."""
    for n in config["linux"]["namespaces"]:
        if n["type"] in paths:
            n["path"] = str(paths[n["type"]])


@pytest.fixture
def pod(box, netns):
    """A sandbox with a network, and a maker of its members."""
    net = netns()
    sandbox = box()
    annotate(sandbox.config, "sandbox", sandbox.id)
    sandbox.config["hostname"] = "the-pod"
    set_namespaces(sandbox.config, network=net.path)
    sandbox.up()

    def member(args=("sleep", "1000000"), manager="containerd", share=("ipc", "uts"), **kw):
        b = box(args, **kw)
        annotate(b.config, "container", sandbox.id, manager)
        b.config.pop("hostname", None)
        set_namespaces(b.config, network=net.path,
                       **{s: f"/proc/{sandbox.pid}/ns/{s}" for s in share})
        return b

    member.sandbox, member.net = sandbox, net
    return member


def namespaces(b):
    return dict(line.split() for line in
                b.sh("for n in ipc uts net pid mnt cgroup; do echo $n $(readlink "
                     "/proc/self/ns/$n); done").splitlines())


def test_members_share_the_guest(pod, rootfs, tmp_path):
    """Two members beside the sandbox: one kernel, one network, IPC and host name; files, processes
    and control groups are each one's own."""
    volume = tmp_path / "volume"
    volume.mkdir()
    a = pod(manager="podman")
    a.config["mounts"].append({"destination": "/data", "type": "bind", "source": str(volume),
                               "options": ["rbind", "rw"]})
    b = pod(manager="cri-o")
    b.config["mounts"].append({"destination": "/data", "type": "bind", "source": str(volume),
                               "options": ["rbind", "ro"]})
    a.up()
    b.up()
    boxes = (pod.sandbox, a, b)
    assert len({x.sh("cat /proc/sys/kernel/random/boot_id") for x in boxes}) == 1
    assert {x.sh("hostname") for x in boxes} == {"the-pod\n"}
    assert all(pod.net.address in x.sh("ip addr show eth0") for x in boxes)
    seen = [namespaces(x) for x in boxes]
    for name in ("ipc", "uts", "net"):
        assert len({s[name] for s in seen}) == 1, name
    for name in ("pid", "mnt", "cgroup"):
        assert len({s[name] for s in seen}) == 3, name
    # What one writes to its root no other sees; a volume is live for all who have it.
    a.sh("echo mine >/file; echo yours >/data/file")
    assert "file" not in b.sh("ls /") and "file" not in pod.sandbox.sh("ls /")
    assert b.sh("cat /data/file") == "yours\n"
    assert (volume / "file").read_text() == "yours\n"
    b.sh("touch /data/new", status=1)
    # Each has its own first process, and one more that looks.
    for x in boxes:
        assert len(x.caisson("ps", x.id).stdout.split()) == 2
    # One monitor, one machine.
    assert "monitor" not in a.record() or not a.record()["monitor"].get("pid")


def test_member_has_the_sandboxes_engine(pod, work, cache):
    """Whatever its settings say: a member has no machine of its own."""
    engine = pod.sandbox.record()["engine"]
    for name in {"cki", "emu", "kvm", "auto"} - {engine}:
        c = new_caisson(work, cache, engine=name, kernel="/no/such/kernel")
        c.root = pod.sandbox.caisson.root
        a = pod(["true"], caisson=c)
        a.up()
        assert a.record()["engine"] == engine
        assert a.wait() == 0
        a.delete()


def test_podmans_infra_container(box, netns):
    """Podman 5 does not say which of its containers is the first of a pod; one without any volume
    can take members all the same."""
    net = netns()
    infra = box()
    infra.config["annotations"] = {"io.container.manager": "libpod"}
    infra.config["mounts"] = [m for m in infra.config["mounts"] if m["type"] != "bind"]
    set_namespaces(infra.config, network=net.path)
    infra.up()
    a = box(["sh", "-c", "exit 5"])
    annotate(a.config, "container", infra.id, "podman")
    set_namespaces(a.config, network=net.path)
    a.up()
    assert a.wait() == 5
    a.delete()


def test_member_talks_on_the_pods_loopback(pod):
    server = pod(["sh", "-c", "echo hello >/index.html; exec httpd -f -p 127.0.0.1:8080 -h /"])
    client = pod()
    server.up()
    client.up()
    eventually(lambda: client.exec("wget", "-qO-", "http://127.0.0.1:8080/").stdout == "hello\n",
               "an answer over lo")


def test_shared_processes(pod):
    """With the sandbox's pid namespace, members see each other's processes."""
    a = pod(["sleep", "424242"], share=("ipc", "uts", "pid"))
    b = pod(share=("ipc", "uts", "pid"))
    a.up()
    b.up()
    assert "424242" in b.sh("ps") and "424242" in pod.sandbox.sh("ps")
    a.kill("KILL")
    assert a.wait() == "SIGKILL"
    assert pod.sandbox.status() == "running" and b.status() == "running"


def test_member_ends_alone(pod, tmp_path):
    """A member's end, by itself, by kill or by force, is its own; the same id may come again."""
    a = pod(["sh", "-c", "exit 42"])
    b = pod()
    b.up()
    a.up()
    assert a.wait() == 42
    a.delete()
    for _ in range(2):  # what a restart does
        a.up()
        assert a.wait() == 42
        a.delete()
    c = pod()
    c.config["mounts"].append({"destination": "/data", "type": "bind", "source": str(tmp_path),
                               "options": ["rbind", "rw"]})
    for end in (lambda: c.kill("KILL"), lambda: os.kill(c.pid, 9)):
        c.up()
        c.sh("test -d /data")
        end()
        assert c.wait() == "SIGKILL"
        c.delete()
    c.up()
    c.delete("--force")
    assert pod.sandbox.status() == "running" and b.status() == "running"
    root = pod.sandbox.served()
    first, n = b.record()["sharesFirst"], b.record()["sharesCount"]
    assert sorted(map(int, os.listdir(root))) == list(range(first, first + n)), \
        "the file server has what the living use"


def test_pause_of_one(pod):
    a, b = pod(), pod(["sh", "-c", "while :; do date +%s >/tick; usleep 100000; done"])
    a.up()
    b.up()
    a.caisson("pause", a.id, check=True)
    assert a.status() == "paused" and b.status() == "running"
    old = eventually(lambda: b.sh("cat /tick 2>/dev/null || echo"), "a tick") or b.sh("cat /tick")
    eventually(lambda: b.sh("cat /tick") != old, "the other goes on")
    a.caisson("resume", a.id, check=True)
    assert a.status() == "running"


def test_pause_of_the_sandbox(pod):
    """Alone it takes its machine along, and nobody joins meanwhile; later it stands still alone."""
    a, s = pod(["sh", "-c", "while :; do date +%s.%N >/tick; usleep 50000; done"]), pod.sandbox
    s.caisson("pause", s.id, check=True)
    assert_sentence(s.caisson("ps", s.id), "the machine is paused")
    r = a.create(check=False)
    assert r.returncode != 0 and "it is paused" in r.stderr, r.stderr
    s.caisson("resume", s.id, check=True)
    a.up()
    s.caisson("pause", s.id, check=True)
    assert (s.status(), a.status()) == ("paused", "running")
    old = eventually(lambda: a.sh("cat /tick"), "a tick")
    eventually(lambda: a.sh("cat /tick") != old, "the other goes on")
    s.caisson("resume", s.id, check=True)
    assert s.status() == "running"


def test_end_of_the_sandbox(pod):
    """With the sandbox's machine go its members; all can be deleted, in any order."""
    a, b = pod(), pod()
    a.up()
    b.up()
    pod.sandbox.delete("--force")
    for x in (a, b):
        eventually(lambda x=x: x.status() == "stopped", "the member is stopped")
        x.wait()
        x.delete()


def test_sandbox_process_ends_first(pod):
    """The guest lives for as long as any of its containers."""
    a = pod()
    a.up()
    pod.sandbox.kill("KILL")
    pod.sandbox.wait()
    time.sleep(0.5)
    assert a.sh("echo here") == "here\n"
    a.kill("KILL")
    a.wait()
    a.delete()


@pytest.mark.parametrize("phase", ["state", "image", "joined", "proxy", "hooks", "spawned", "ready"])
def test_member_dies_in_the_making(pod, phase, tmp_path):
    """The command that makes a member is killed at a phase: the member can be deleted, its shares
    are gone, and the sandbox goes on and takes another."""
    before = sorted(os.listdir(pod.sandbox.served()))
    a = pod()
    a.config["mounts"].append({"destination": "/data", "type": "bind", "source": str(tmp_path),
                               "options": ["rbind", "rw"]})
    a.bundle.write()
    with open(a.bundle.path / "out", "wb") as out:
        command = a.caisson.popen("create", "--bundle", a.bundle.path, a.id,
                                  env={**os.environ, "CAISSON_STOP_AT": phase},
                                  stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    state = pathlib.Path(f"/proc/{command.pid}/stat")
    eventually(lambda: state.read_text().rsplit(")", 1)[1].split()[0] == "T", "it stops")
    command.kill()
    command.wait()
    a.delete("--force")
    assert a.status() is None
    eventually(lambda: sorted(os.listdir(pod.sandbox.served())) == before, "its shares are gone")
    assert pod.sandbox.sh("echo here") == "here\n"
    b = pod()
    b.up()
    assert b.sh("echo here") == "here\n"


def test_refusals(pod, box, netns):
    """Each in a sentence, with nothing left behind and the sandbox as it was."""
    other = netns()

    def refused(b, *words):
        b.bundle.write()
        r = b.caisson("create", "--bundle", b.bundle.path, b.id)
        assert_sentence(r, *words)
        assert not (b.caisson.root / b.id).exists()

    lost = pod()
    annotate(lost.config, "container", "nobody")
    refused(lost, "'nobody' does not exist")
    strange = pod()
    set_namespaces(strange.config, network=other.path)
    refused(strange, other.path, pod.sandbox.id)
    private = pod()
    for n in private.config["linux"]["namespaces"]:
        n.pop("path", None)
    refused(private, "the network of its sandbox")
    self_made = pod()
    annotate(self_made.config, "container", self_made.id)
    refused(self_made, self_made.id)
    nested = pod()
    annotate(nested.config, "container", "../" + pod.sandbox.id)
    refused(nested, "is not")
    odd = pod()
    annotate(odd.config, "something", pod.sandbox.id)
    refused(odd, "'something'")
    gone = pod()
    gone.config["mounts"].append({"destination": "/x", "type": "bind", "source": "/no/such/dir",
                                  "options": ["bind"]})
    refused(gone, "/no/such/dir")
    twice = pod()
    twice.config["linux"]["namespaces"].append(
        {"type": "ipc", "path": f"/proc/{pod.sandbox.pid}/ns/ipc"})
    refused(twice, "twice")
    lonely = box()
    set_namespaces(lonely.config, ipc=f"/proc/{pod.sandbox.pid}/ns/ipc")
    refused(lonely, "cannot be joined")
    member = pod()
    member.up()
    grandchild = pod()
    annotate(grandchild.config, "container", member.id)
    refused(grandchild, member.id)
    assert pod.sandbox.sh("echo here") == "here\n"


def test_stopped_sandbox(pod):
    pod.sandbox.kill("KILL")
    pod.sandbox.wait()
    late = pod()
    late.bundle.write()
    r = late.caisson("create", "--bundle", late.bundle.path, late.id)
    assert_sentence(r, pod.sandbox.id, "stopped")


def test_guest_that_never_forgets(pod):
    """A guest may answer for a member for ever, and slowly: delete waits for it, but not that
    long."""
    a = pod()
    a.up()
    a.kill("KILL")
    a.wait()
    path = a.caisson.root / a.id / "agent.sock"
    path.unlink()
    liar = socket.socket(socket.AF_UNIX)
    liar.bind(str(path))
    liar.listen()
    result = struct.pack("<iI", 0, 0xffffffff)  # code, no text (lib/wire.h)

    def lie():
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                peer, _ = liar.accept()
                with peer:
                    peer.recv(4096)
                    time.sleep(2)
                    peer.sendall(struct.pack("<IBBHI", len(result), 65, 0, 0, 0) + result)

    threading.Thread(target=lie, daemon=True).start()
    try:
        assert a.caisson("delete", a.id, timeout=30).returncode == 0
    finally:
        liar.shutdown(socket.SHUT_RDWR)
        liar.close()
    assert a.status() is None and pod.sandbox.sh("echo here") == "here\n"
