# SPDX-License-Identifier: Apache-2.0
"""A pod as the kubelet makes it."""
import socket
import time
import urllib.request

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


def test_volume(pod, tmp_path):
    (tmp_path / "in").write_text("given")
    p = pod()
    c = p.run(IMAGE, ["sleep", "100000"],
              mounts=[{"host_path": str(tmp_path), "container_path": "/data"}])
    assert p.exec(c, ["sh", "-c", "cat /data/in; echo -n made >/data/out"])[0] == "given"
    assert (tmp_path / "out").read_text() == "made"
