# SPDX-License-Identifier: Apache-2.0
"""`caisson slots`, and what a long life leaves behind."""
import json
import os
import pathlib
import subprocess

from daemon import BUILD, MB
from harness import eventually


def caisson(*args, **kw):
    return subprocess.run([BUILD / "caisson", *map(str, args)], stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.PIPE, **kw)


def slots(d, *args):
    return caisson("slots", "--socket", d.socket, *args)


def test_command(daemon):
    d = daemon([{"memory": "4M", "count": 2}]).start().wait_ready(2)
    p = d.process()
    id = p.lease(owner="somebody", memory=4 * MB)["id"]
    lines = slots(d).stdout.splitlines()
    assert lines[0].split() == ["SLOT", "STATE", "SINCE", "MEMORY", "FUNCTION", "PF", "HOLDER",
                                "OWNER"]
    assert [x.split()[1] for x in lines[1:]] == ["leased", "ready"]
    assert lines[1].split()[-2:] == [str(p.pid), "somebody"]
    listed = json.loads(slots(d, "--json", "list").stdout)
    assert [s["lease"] for s in listed if s["state"] == "leased"] == [id]
    assert listed[1]["memory"] == 4 * MB and not listed[1]["drained"]
    assert slots(d, "drain", 1).returncode == 0
    eventually(lambda: "drained" in slots(d).stdout, "it is drained")
    assert slots(d, "undrain").returncode == 0
    p.die()
    d.wait_ready(2)
    assert slots(d, "retry").returncode == 0
    status = json.loads(slots(d, "--json", "status").stdout)
    assert status["slots"]["ready"] == 2 and status["granted"] == 1
    assert "ready        2\n" in slots(d, "status").stdout


def test_command_refused(daemon, tmp_path):
    d = daemon([{"memory": "4M"}]).start().wait_ready(1)
    for args, word in ((["frobnicate"], "frobnicate"), (["list", "x"], "x"),
                       (["drain", "nothing"], "nothing"), (["drain", "1", "2"], "2")):
        r = slots(d, *args)
        assert r.returncode == 1 and r.stderr.count("\n") == 1 and word in r.stderr, r.stderr
    r = caisson("slots", "--socket", tmp_path / "none")
    assert r.returncode == 1 and "none" in r.stderr and r.stderr.count("\n") == 1
    # Without the option it is the settings' socket.
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"slots_socket": str(d.socket)}))
    assert caisson("--config", config, "slots").stdout.count("\n") == 2


def test_configuration(daemon):
    """What it is told of DMA is checked before anything is opened; with memory alone it changes nothing."""
    for value in ("type2", "", 1, None, ["type1"]):
        r = daemon([{"memory": "4M"}], iommu=value).run("--check")
        assert r.returncode == 1 and "iommu" in r.stderr and r.stderr.count("\n") == 1, r.stderr
    for value in ("auto", "type1", "iommufd"):
        d = daemon([{"memory": "4M"}], iommu=value)
        assert d.run("--check").returncode == 0
        assert d.start().wait_ready(1).slots()[0]["iommu"] is None
        d.stop()


def held(d):
    """Descriptors, threads, mappings and resident memory (MiB) of the daemon."""
    p = pathlib.Path(f"/proc/{d.popen.pid}")
    status = dict(x.split(":", 1) for x in (p / "status").read_text().splitlines() if ":" in x)
    fds = sorted(os.readlink(x) for x in (p / "fd").iterdir())
    return [f for f in fds if "caisson-guest" in f or not f.startswith("socket")], \
        status["Threads"].strip(), int(status["RssAnon"].split()[0])


def test_a_hundred_cycles(daemon):
    """A hundred leases later the daemon has what it had."""
    d = daemon([{"memory": "4M", "count": 2}]).start().wait_ready(2)
    before = None
    for i in range(110):
        p = d.process()
        p.take(id=p.lease(owner="o", memory=(1 + i % 2) * 4 * MB, wait_ms=60000)["id"])
        p.die()
        if i == 9:
            d.wait_ready(2)
            before = held(d)
    d.wait_ready(2)
    after = held(d)
    assert [f.split(" ")[0] for f in after[0]] == [f.split(" ")[0] for f in before[0]]
    assert after[1] == before[1] and after[2] < before[2] + 1024
    assert d.client().status()["returned"] == 110
