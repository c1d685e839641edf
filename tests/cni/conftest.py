# SPDX-License-Identifier: Apache-2.0
"""caisson-cni driven as a container runtime does it: environment, configuration on standard input,
JSON on standard output.  In network and mount namespaces of the test process's own.
"""
import ctypes
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent),
                str(pathlib.Path(__file__).resolve().parent.parent)]
import harness  # noqa: E402
from harness import missing  # noqa: E402
from caissond import Caissond, Function  # noqa: E402

PLUGIN = harness.BUILD / "caisson-cni"
PLUGINS = "/usr/lib/cni"  # of Debian's containernetworking-plugins
ATTACHMENT_COMMANDS = ("ADD", "DEL", "CHECK")


@pytest.fixture(scope="session", autouse=True)
def isolated():
    if os.geteuid() != 0:
        missing("not root")
    if not os.path.exists(f"{PLUGINS}/host-local"):
        missing("containernetworking-plugins is not installed")
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x00020000 | 0x40000000) == 0  # CLONE_NEWNS | CLONE_NEWNET
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "run", "/run"], check=True)


class CniError(Exception):
    def __init__(self, answer):
        super().__init__(answer["msg"])
        self.code, self.version = answer["code"], answer["cniVersion"]


class Netns:
    def __init__(self, name):
        self.name, self.path = name, f"/run/netns/{name}"
        subprocess.run(["ip", "netns", "add", name], check=True)

    def ip(self, *args):
        out = subprocess.run(["ip", "-n", self.name, "-j", "-d", *args], check=True,
                             stdout=subprocess.PIPE).stdout
        return json.loads(out) if out.strip() else []

    def do(self, *args):
        subprocess.run(["ip", "-n", self.name, *args], check=True)

    def links(self):
        return {x["ifname"]: x for x in self.ip("address")}

    def remove(self):
        if os.path.exists(self.path):
            subprocess.run(["ip", "netns", "del", self.name], check=True)


class Runtime:
    """Calls the plugin as libcni does."""

    def __init__(self, path, daemon):
        self.daemon, self.reservations = daemon, path / "ipam"
        self.config = {
            "cniVersion": "1.1.0", "name": "fast", "type": "caisson-cni", "socket": daemon.path,
            "ipam": {"type": "host-local", "dataDir": str(self.reservations),
                     "ranges": [[{"subnet": "10.7.0.0/24"}]],
                     "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.168.9.0/24",
                                                      "gw": "10.7.0.9"}]},
        }
        self.path = PLUGINS

    def process(self, command, container="c1", ifname="eth0", netns=None, config=None, text=None,
                args="IgnoreUnknown=1;K8S_POD_NAME=pod", env=None, **kw):
        e = {"PATH": os.environ["PATH"], "CNI_COMMAND": command, "CNI_PATH": self.path}
        if command in ATTACHMENT_COMMANDS:
            e.update(CNI_CONTAINERID=container, CNI_IFNAME=ifname, CNI_ARGS=args)
            if netns:
                e["CNI_NETNS"] = getattr(netns, "path", netns)
        e.update(env or {})
        if text is None:
            text = json.dumps({**self.config, **(config or {})})
        p = subprocess.Popen([PLUGIN], env={k: v for k, v in e.items() if v is not None},
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, **kw)
        p.text = text
        return p

    def __call__(self, command, *args, **kw):
        p = self.process(command, *args, **kw)
        out, err = p.communicate(p.text, timeout=harness.TIMEOUT)
        assert err == ""
        assert p.returncode in (0, 1), f"ended with {p.returncode}"
        if p.returncode:
            answer = json.loads(out)
            assert set(answer) == {"cniVersion", "code", "msg"}
            assert "\n" not in answer["msg"] and answer["msg"]
            raise CniError(answer)
        return json.loads(out) if out else None

    def reserved(self):
        """Addresses that host-local has given out and not got back."""
        return sorted(p.name for p in self.reservations.glob("fast/*")
                      if p.name[0].isdigit() or ":" in p.name)

    def nothing_left(self, *namespaces):
        assert self.daemon.leased() == {}
        assert self.reserved() == []
        for n in namespaces:
            assert set(n.links()) == {"lo"}


@pytest.fixture
def daemon(tmp_path):
    d = Caissond(tmp_path / "caissond.sock",
                 [Function(f"0000:01:10.{i}", f"02:00:00:00:01:{i:02x}") for i in range(4)])
    yield d
    d.close()


@pytest.fixture
def runtime(tmp_path, daemon):
    return Runtime(tmp_path, daemon)


@pytest.fixture
def netns():
    made = []

    def make(name=None):
        made.append(Netns(name or f"pod{len(made) + 1}"))
        return made[-1]

    yield make
    for n in made:
        n.remove()


@pytest.fixture
def plugin(tmp_path, runtime):
    """Makes an IPAM plugin of a shell script's text; its name."""
    directory = tmp_path / "plugins"
    directory.mkdir()
    shutil.copytree(PLUGINS, directory, symlinks=True, dirs_exist_ok=True)
    runtime.path = f"/nowhere:{directory}"

    def make(script, name="scripted"):
        path = directory / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return name

    return make
