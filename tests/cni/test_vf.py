# SPDX-License-Identifier: Apache-2.0
"""What is set on a virtual function through its physical function; a card is needed (in the lab:
`lab test sriov cni`).  The physical function is moved into the test's namespace, which is the
plugin's host.
"""
import json
import os
import pathlib
import subprocess
import time

import pytest

from caissond import Function
from conftest import CniError

HOST = ["nsenter", "--net=/proc/1/ns/net"]


def ip(*args, host=False):
    return subprocess.run([*(HOST if host else []), "ip", *args], check=True,
                          stdout=subprocess.PIPE, text=True).stdout


def find_card():
    """The first interface of the host whose device can have virtual functions, and the device."""
    for path in sorted(pathlib.Path("/sys/devices").glob("pci*/**/sriov_totalvfs")):
        for interface in path.parent.glob("net/*"):
            return interface.name, path.parent
    return None, None


@pytest.fixture(scope="module")
def pf():
    name, device = find_card()
    if not name:
        pytest.skip("hardware: no network card with virtual functions")
    if (device / "sriov_numvfs").read_text() == "0\n":
        (device / "sriov_drivers_autoprobe").write_text("0")
        (device / "sriov_numvfs").write_text("7")
    ip("link", "set", name, "netns", str(os.getpid()), host=True)
    ip("link", "set", name, "up")
    yield name
    ip("link", "set", name, "netns", "1")


def wait_for_carrier(pf):
    """To the driver rates are shares of the wire's speed; a change of the MTU resets the card."""
    until = time.monotonic() + 60
    while "LOWER_UP" not in json.loads(ip("-j", "link", "show", pf))[0]["flags"]:
        assert time.monotonic() < until
        time.sleep(0.2)


def told(pf, number):
    return json.loads(ip("-j", "link", "show", pf))[0]["vfinfo_list"][number]


@pytest.fixture
def function(pf, daemon):
    """The daemon has one, that nobody has set anything on."""
    wait_for_carrier(pf)
    for words in (("mac", "00:00:00:00:00:00"), ("vlan", "0"), ("max_tx_rate", "0"),
                  ("spoofchk", "on"), ("trust", "off")):
        ip("link", "set", pf, "vf", "3", *words)
    daemon.functions[:] = [Function("0000:01:10.6", "", pf, 3)]
    return lambda: told(pf, 3)


def test_everything(runtime, netns, function):
    config = {"mac": "02:00:00:00:77:01", "vlan": 42, "vlanQoS": 3, "max_tx_rate": 100,
              "spoofchk": "off", "trust": "on"}
    ns = netns()
    config["prevResult"] = None
    result = runtime("ADD", netns=ns, config=config)
    vf = function()
    assert result["interfaces"][0]["mac"] == vf["address"] == config["mac"]
    assert vf["vlan_list"] == [{"vlan": 42, "qos": 3}]
    assert vf["rate"]["max_tx"] == 100
    assert vf["spoofchk"] is False and vf["trust"] is True
    assert ns.links()["eth0"]["address"] == config["mac"]
    config["prevResult"] = result
    assert runtime("CHECK", netns=ns, config=config) is None
    runtime("DEL", netns=ns, config=config)
    runtime.nothing_left(ns)


@pytest.mark.parametrize("how", ["runtimeConfig", "CNI_ARGS", "args"])
def test_mac_of_the_pod(runtime, netns, function, how):
    """What is asked for one pod goes before what the network says."""
    mac = "02:00:00:00:77:02"
    config = {"mac": "02:00:00:00:77:01"}
    if how != "CNI_ARGS":
        config[how] = {"mac": mac} if how == "runtimeConfig" else {"cni": {"mac": mac}}
    runtime("ADD", netns=netns(), config=config,
            args=f"IgnoreUnknown=1;MAC={mac}" if how == "CNI_ARGS" else "")
    assert function()["address"] == mac


def test_nothing_asked(runtime, netns, function, pf):
    """A guest is held to a MAC, may not forge another and is not trusted, whatever was before."""
    for words in (("spoofchk", "off"), ("trust", "on")):
        ip("link", "set", pf, "vf", "3", *words)
    result = runtime("ADD", netns=netns())
    vf = function()
    mac = result["interfaces"][0]["mac"]
    assert vf["address"] == mac and int(mac[:2], 16) & 3 == 2
    assert vf["spoofchk"] is True and vf["trust"] is False


def test_mtu_of_the_card(runtime, netns, function, pf):
    ip("link", "set", pf, "mtu", "1450")
    try:
        ns = netns()
        with pytest.raises(CniError, match=f"mtu 1500 is greater than that of physical function "
                                           f"'{pf}', 1450") as e:
            runtime("ADD", netns=ns, config={"mtu": 1500})
        assert e.value.code == 7
        runtime.nothing_left(ns)
        result = runtime("ADD", netns=ns)
        assert result["interfaces"][0]["mtu"] == ns.links()["eth0"]["mtu"] == 1450
    finally:
        ip("link", "set", pf, "mtu", "1500")


TAMPER = {"mac": ("mac", "02:00:00:00:77:09", "has MAC 02:00:00:00:77:09"),
          "vlan": ("vlan", "43", "has VLAN 43"),
          "rate": ("max_tx_rate", "0", "has rates from 0 to 0 Mbit/s"),
          "spoof check": ("spoofchk", "off", "has spoof check off"),
          "trust": ("trust", "on", "has trust on")}


@pytest.mark.parametrize("case", TAMPER)
def test_check(runtime, netns, function, pf, case):
    key, value, match = TAMPER[case]
    ns, config = netns(), {"vlan": 42, "max_tx_rate": 100}
    result = runtime("ADD", netns=ns, config=config)
    config["prevResult"] = result
    runtime("CHECK", netns=ns, config=config)
    ip("link", "set", pf, "vf", "3", key, value)
    with pytest.raises(CniError, match=f"virtual function 3 of '{pf}' {match}") as e:
        runtime("CHECK", netns=ns, config=config)
    assert e.value.code == 101


REFUSED = {  # by the card's driver (igb)
    "a guaranteed rate": ({"min_tx_rate": 5, "max_tx_rate": 10},
                          "set rates from 5 to 10 Mbit/s of virtual function 3 of"),
    "more than the wire": ({"max_tx_rate": 100000}, "set rates from 0 to 100000 Mbit/s"),
    "provider tags": ({"vlan": 7, "vlanProto": "802.1ad"},
                      r"set VLAN 7 \(priority 0, protocol 802.1ad\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_the_driver(runtime, netns, function, case):
    config, match = REFUSED[case]
    ns = netns()
    with pytest.raises(CniError, match=match) as e:
        runtime("ADD", netns=ns, config=config)
    assert e.value.code == 5
    runtime.nothing_left(ns)


@pytest.mark.parametrize("name, number, match", [
    ("gone0", 3, "physical function 'gone0': No such device"),
    (None, 99, "has no virtual function 99")])
def test_function_that_is_not_there(runtime, daemon, netns, function, pf, name, number, match):
    daemon.functions[:] = [Function("0000:01:10.6", "", name or pf, number)]
    ns = netns()
    with pytest.raises(CniError, match=match) as e:
        runtime("ADD", netns=ns)
    assert e.value.code == 5
    runtime.nothing_left(ns)


def test_time(runtime, netns, function):
    """ADD waits for nothing: IPAM and a few netlink messages.  (A hang shows, not a slow machine.)"""
    began = time.monotonic()
    runtime("ADD", netns=netns())
    assert time.monotonic() - began < 60
