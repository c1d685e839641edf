# SPDX-License-Identifier: Apache-2.0
"""Podman's bridge networks: netavark makes them, the sandbox takes them over."""
import hashlib
import json
import random
import re
import socket
import threading

import pytest

from conftest import IMAGE

SIZE = 8_000_000
PING = ["--cap-add", "NET_RAW"]  # busybox's ping knows no other way


@pytest.fixture(scope="module")
def cargo(podman):
    """A directory with a file of SIZE bytes, and the file's SHA-256."""
    directory = podman.path / "www"
    directory.mkdir()
    data = random.Random(4).randbytes(SIZE)
    (directory / "cargo").write_bytes(data)
    (directory / "index.html").write_text("served\n")
    return directory, hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def server(podman, cargo):
    """A web server on the default network, with a published port."""
    with podman.running("-v", f"{cargo[0]}:/www:ro", "-p", "18080:80", network="podman",
                        script="exec httpd -f -p 80 -h /www") as c:
        podman.connect(c.address, 80).close()
        yield c


def receive_all(s):
    digest = hashlib.sha256()
    while data := s.recv(1 << 16):
        digest.update(data)
    return digest.hexdigest()


def get_http(s, path):
    """(head, SHA-256 of the body)"""
    s.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    data = b""
    while more := s.recv(1 << 16):
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    return head.decode(), hashlib.sha256(body).hexdigest()


def test_none(podman):
    assert podman.sh("ip -o link; ip route").splitlines()[0].split()[1] == "lo:"
    assert podman.sh("ip -o link | wc -l; ip route | wc -l; ping -c 1 -W 5 127.0.0.1 >/dev/null;"
                     "echo $?", *PING).split() == ["1", "0", "0"]


def test_as_inspect_says(podman, server):
    """Address, prefix, gateway, MAC and MTU are podman's; and so is the host's end."""
    said = json.loads(podman("inspect", "-f", "{{json .NetworkSettings}}", server.name).stdout)
    link = server.sh("ip -o link show eth0")
    assert f"link/ether {said['MacAddress']}" in link
    assert " mtu 1500 " in link and "LOWER_UP" in link
    assert f"inet {said['IPAddress']}/{said['IPPrefixLen']} " in server.sh("ip -o addr show eth0")
    assert f"default via {said['Gateway']} dev eth0" in server.sh("ip route")
    # The link-local address follows from the MAC, as if there were no sandbox in between.
    assert re.search(r"inet6 fe80::\S+/64", server.sh("ip -o addr show eth0"))


def test_container_to_container(podman, server, cargo):
    address = server.address
    text = podman.sh(f"ping -c 2 -W 20 {address} | grep -c ttl=; wget -qO- http://{address}/;"
                     f"wget -qO- http://{address}/cargo | sha256sum", *PING, network="podman")
    assert text.split() == ["2", "served", cargo[1], "-"]


def test_container_to_container_both_ways(podman, cargo):
    """A stream to the other container, and its answer on the same connection."""
    with podman.running(network="podman",
                        script=f"exec nc -l -p 5000 -e sh -c 'head -c {SIZE} | sha256sum'") as c:
        text = podman.sh(f"for i in $(seq 50); do nc {c.address} 5000 </www/cargo && break;"
                         "sleep 0.2; done", "-v", f"{cargo[0]}:/www:ro", network="podman")
        assert text == f"{cargo[1]}  -\n"


def test_host_to_container(podman, server, cargo):
    with podman.connect(server.address, 80) as s:
        head, digest = get_http(s, "/cargo")
    assert " 200 " in head.splitlines()[0]
    assert digest == cargo[1]


def test_container_to_host(podman, server, cargo):
    """A server of the host's at the bridge's address: both ways, with a half-closed stream."""
    data = random.Random(5).randbytes(SIZE)
    gateway = server.get(".NetworkSettings.Gateway")
    with podman.network():
        listener = socket.create_server((gateway, 0))
    got = []

    def serve():
        s, _ = listener.accept()
        with s:
            got.append(receive_all(s))
            s.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    port = listener.getsockname()[1]
    text = server.sh(f"nc {gateway} {port} </www/cargo | sha256sum")
    thread.join(60)
    listener.close()
    assert got == [cargo[1]]
    assert text.split()[0] == hashlib.sha256(data).hexdigest()


def test_published_port(podman, server, cargo):
    gateway = server.get(".NetworkSettings.Gateway")
    with podman.connect(gateway, 18080) as s:
        assert get_http(s, "/cargo")[1] == cargo[1]
    with podman.connect("127.0.0.1", 18080) as s:
        assert get_http(s, "/cargo")[1] == cargo[1]
    assert podman("port", server.name).stdout == "80/tcp -> 0.0.0.0:18080\n"


def test_mac_and_address_by_option(podman):
    text = podman.sh("ip -o addr show eth0; ip -o link show eth0", "--ip", "10.88.77.66",
                     "--mac-address", "52:54:00:ab:cd:ef", network="podman")
    assert "inet 10.88.77.66/16" in text and "52:54:00:ab:cd:ef" in text


@pytest.fixture(scope="module")
def user_network(podman):
    podman("network", "create", "--opt", "mtu=1400", "--subnet", "10.99.0.0/24", "--ipv6",
           "--subnet", "fd99::/64", "deep")
    yield "deep"
    podman("network", "rm", "-f", "-t", "0", "deep")


def test_user_network(podman, user_network, cargo):
    """MTU, IPv6 and another subnet, with a transfer through all of it."""
    with podman.running("-v", f"{cargo[0]}:/www:ro", network=user_network,
                        script="exec httpd -f -p 80 -h /www") as c:
        link = c.sh("ip -o link show eth0; ip -o addr show eth0")
        assert " mtu 1400 " in link and "inet 10.99.0." in link and "inet6 fd99::" in link
        address6 = c.get(f'(index .NetworkSettings.Networks "{user_network}").GlobalIPv6Address')
        with podman.connect(address6, 80) as s:
            assert get_http(s, "/cargo")[1] == cargo[1]
        text = podman.sh(f"ping -c 1 -W 20 {address6} | grep -c 'bytes from';"
                         f"wget -qO- http://[{address6}]/cargo | sha256sum", *PING,
                         network=user_network)
        assert text.split() == ["1", cargo[1], "-"]


def test_names(podman, user_network, cargo):
    """aardvark-dns: a container finds another one by its name and its alias."""
    with podman.running("-v", f"{cargo[0]}:/www:ro", "--network-alias", "galley",
                        network=user_network, script="exec httpd -f -p 80 -h /www") as c:
        podman.connect(c.get(f'(index .NetworkSettings.Networks "{user_network}").IPAddress'),
                       80).close()
        text = podman.sh(f"wget -qO- http://{c.name}/; wget -qO- http://galley/",
                         network=user_network)
        assert text == "served\nserved\n"


def test_two_networks(podman, user_network):
    text = podman.sh("ip -o -4 addr show", network=f"podman,{user_network}")
    assert re.search(r"eth\d\s+inet 10\.88\.", text)
    assert re.search(r"eth\d\s+inet 10\.99\.0\.", text)


def test_networks_are_apart(podman, server, user_network):
    """Nothing of the sandbox's own lets a container out of the network it was given."""
    r = podman.run(*PING, IMAGE, "ping", "-c", "1", "-W", "3", server.address, check=False)
    assert r.returncode != 0
