# SPDX-License-Identifier: Apache-2.0
"""A pod as the kubelet makes it."""
import json
import pathlib
import socket
import subprocess
import time
import urllib.request

import pytest

import harness
from conftest import RUNTIME

IMAGE = "localhost/busybox:1"
RUNNING, EXITED = 1, 2


def fetch(url, timeout=60):
    until = time.monotonic() + timeout
    while True:
        try:
            return urllib.request.urlopen(url, timeout=timeout).read().decode()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def test_pod_with_two_containers(pod):
    """Two containers share network, host name and IPC, and have processes and files of their own;
    exec, logs, a port from outside, exit status, restart.
    """
    p = pod(ports={18080: 8080})
    web = p.run(IMAGE, ["sh", "-c", "mkdir /www; echo from the pod >/www/index.html; echo ready; "
                        "exec httpd -f -p 8080 -h /www"], name="web", env={"WHO": "web"})
    side = p.run(IMAGE, ["sh", "-c", "echo out; echo err >&2; exec sleep 100000"], name="side")
    assert p.container(web).state == p.container(side).state == RUNNING

    out, err, status = p.exec(web, ["sh", "-c", 'hostname; echo "$WHO"; echo oops >&2; exit 7'])
    assert (out.splitlines(), err, status) == (["pod-1", "web"], "oops\n", 7)
    assert p.exec(side, ["hostname"])[0] == "pod-1\n"
    assert p.exec(side, ["ls", "/www"])[2] != 0
    assert p.exec(web, ["sh", "-c", "pidof httpd"])[2] == 0
    assert p.exec(side, ["sh", "-c", "pidof httpd"])[2] != 0

    assert fetch(f"http://{p.address}:8080/") == "from the pod\n"
    assert fetch(f"http://{socket.gethostbyname('localhost')}:18080/") == "from the pod\n"
    out, _, status = p.exec(side, ["wget", "-q", "-O-", "http://127.0.0.1:8080/"])
    assert (out, status) == ("from the pod\n", 0)

    assert p.log(web) == [("stdout", "ready")]
    assert sorted(p.log(side)) == [("stderr", "err"), ("stdout", "out")]

    p.stop_container(side, timeout=0)
    assert p.wait(side).exit_code == 137
    assert p.container(web).state == RUNNING
    p.remove_container(side)
    again = p.run(IMAGE, ["sh", "-c", "exit 3"], name="side")
    assert p.wait(again).exit_code == 3


def test_pods_apart(pod):
    """Two pods have addresses of their own and reach each other."""
    one, two = pod(), pod()
    server = one.run(IMAGE, ["httpd", "-f", "-p", "80", "-h", "/etc"])
    client = two.run(IMAGE, ["sleep", "100000"])
    assert one.address != two.address
    out, err, status = two.exec(client, ["wget", "-q", "-O-", f"http://{one.address}/group"])
    assert status == 0 and out.startswith("root:"), err
    one.stop()
    assert one.container(server).state == EXITED
    assert two.container(client).state == RUNNING


def test_figures(pod, cri):
    """What a pod costs the host is in its cgroup: the machine with all that its containers do.
    Which of them does it, the guest knows."""
    p = pod()
    busy = p.run(IMAGE, ["sh", "-c", "while :; do :; done"], name="busy")
    idle = p.run(IMAGE, ["sleep", "100000"], name="idle")

    def of_pod():
        return cri("PodSandboxStats", pod_sandbox_id=p.id).stats.linux

    def of(container):
        return cri("ContainerStats", container_id=container).stats

    before = of_pod().cpu.usage_core_nano_seconds.value
    time.sleep(5)
    after = of_pod()
    assert after.cpu.usage_core_nano_seconds.value - before > 1_000_000_000
    for c in (busy, idle):
        assert of(c).attributes.id == c and of(c).memory.working_set_bytes.value > 0
    if RUNTIME == "caisson":
        assert after.memory.working_set_bytes.value > 16 << 20, "the guest's memory is in it"
        # The host's cgroup of a member has its proxy, which does nothing.
        assert of(busy).cpu.usage_core_nano_seconds.value < 1_000_000_000
        cpu = {c: figures(c)["cpu"]["usage"]["total"] for c in (busy, idle)}
        assert cpu[busy] > 1_000_000_000 > cpu[idle]


def figures(container):
    r = subprocess.run([harness.CAISSON, "--root", "/run/containerd/runc/k8s.io", "events",
                        "--stats", container], check=True, stdout=subprocess.PIPE)
    return json.loads(r.stdout)["data"]


def test_figures_of_one():
    """`ctr task metrics` of a container without a pod: the shim reads the cgroup of the pid that it
    was given, which has the monitor and the machine."""
    if RUNTIME != "caisson":
        pytest.skip("hardware: no guest behind this runtime")
    ctr = ["ctr", "-n", "k8s.io"]
    subprocess.run([*ctr, "run", "--detach", "--runtime", "io.containerd.runc.v2", "--runc-binary",
                    str(harness.CAISSON), IMAGE, "one", "sh", "-c", "while :; do :; done"],
                   check=True)
    try:
        def metrics():
            out = subprocess.run([*ctr, "task", "metrics", "--format", "json", "one"], check=True,
                                 stdout=subprocess.PIPE).stdout
            return json.loads(out)

        before = metrics()
        time.sleep(5)
        after = metrics()
        assert int(after["cpu"]["usage_usec"]) - int(before["cpu"]["usage_usec"]) > 1_000_000
        assert int(after["memory"]["usage"]) > 16 << 20
        names = {pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
                 for pid in cgroup_of("one").read_text().split()}
        assert {"caisson-proxy", "caisson-vmm"} <= names
    finally:
        subprocess.run([*ctr, "task", "kill", "--signal", "KILL", "one"], check=True)
        subprocess.run([*ctr, "task", "rm", "--force", "one"])
        subprocess.run([*ctr, "container", "rm", "one"], check=True)


def cgroup_of(container):
    state = json.loads(pathlib.Path(f"/run/containerd/runc/k8s.io/{container}/state.json").read_text())
    path = pathlib.Path(f"/proc/{state['init']['pid']}/cgroup").read_text().split("::")[1].strip()
    return pathlib.Path("/sys/fs/cgroup" + path) / "cgroup.procs"


def test_volume(pod, tmp_path):
    (tmp_path / "in").write_text("given")
    p = pod()
    c = p.run(IMAGE, ["sleep", "100000"],
              mounts=[{"host_path": str(tmp_path), "container_path": "/data"}])
    assert p.exec(c, ["sh", "-c", "cat /data/in; echo -n made >/data/out"])[0] == "given"
    assert (tmp_path / "out").read_text() == "made"
