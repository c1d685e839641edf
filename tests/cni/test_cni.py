# SPDX-License-Identifier: Apache-2.0
import concurrent.futures
import json
import os
import signal
import threading
import time

import pytest

import caissond
from conftest import CniError

MAC = "02:00:00:00:01:00"  # of the first function
OWNER = "cni/fast/c1/eth0"


def fails(runtime, code, match, command="ADD", **kw):
    with pytest.raises(CniError, match=match) as e:
        runtime(command, **kw)
    assert e.value.code == code
    return e.value


# --- VERSION ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked, told", [("0.3.1", "0.3.1"), ("1.0.0", "1.0.0"),
                                         ("1.1.0", "1.1.0"), ("9.9.9", "1.1.0")])
def test_version(runtime, asked, told):
    answer = runtime("VERSION", text=json.dumps({"cniVersion": asked}))
    assert answer == {"cniVersion": told,
                      "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]}


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_versions(runtime, netns, version):
    """All it accepts: the result has that version's form (SPEC.md of each)."""
    ns, config = netns(), {"cniVersion": version}
    result = runtime("ADD", netns=ns, config=config)
    old, new = version < "1.0.0", version >= "1.1.0"
    assert result["cniVersion"] == version
    assert result["interfaces"] == [{"name": "eth0", "mac": MAC, "sandbox": ns.path,
                                     **({"mtu": 1500, "pciID": "0000:01:10.0"} if new else {})}]
    assert result["ips"] == [{"address": "10.7.0.2/24", "gateway": "10.7.0.1", "interface": 0,
                              **({"version": "4"} if old else {})}]
    assert result["routes"] == [{"dst": "0.0.0.0/0"}, {"dst": "192.168.9.0/24", "gw": "10.7.0.9"}]
    config["prevResult"] = result
    for command, since in (("CHECK", "0.4.0"), ("STATUS", "1.1.0")):
        if version >= since:
            assert runtime(command, netns=ns, config=config) is None
        else:
            fails(runtime, 1, f"{command} is of cniVersion {since} and later", command,
                  netns=ns, config=config)
    assert runtime("DEL", netns=ns, config=config) is None
    runtime.nothing_left(ns)


@pytest.mark.parametrize("version", ["0.2.0", "0.1.0", "1.2.0", "2.0.0", "", None])
def test_version_that_is_not_ours(runtime, netns, version):
    e = fails(runtime, 1, "is not one of 0.3.1, 0.4.0, 1.0.0 and 1.1.0", netns=netns(),
              config={"cniVersion": version})
    assert e.version == "1.1.0"


# --- ADD and DEL --------------------------------------------------------------------------------------


def test_placeholder(runtime, daemon, netns):
    """What is in the namespace afterwards: what engines, monitoring and the runtime expect to see."""
    ns = netns()
    runtime("ADD", netns=ns)
    link = ns.links()["eth0"]
    assert link["address"] == MAC and link["mtu"] == 1500 and "UP" in link["flags"]
    assert link["linkinfo"]["info_kind"] in ("dummy", "ifb")
    assert link["ifalias"] == f"caisson lease {daemon.leased()[OWNER].lease}"
    v4 = [a for a in link["addr_info"] if a["family"] == "inet"]
    assert [(a["local"], a["prefixlen"], a["broadcast"]) for a in v4] == [
        ("10.7.0.2", 24, "10.7.0.255")]
    routes = {(r["dst"], r.get("gateway")) for r in ns.ip("route")}
    assert routes == {("default", "10.7.0.1"), ("10.7.0.0/24", None),
                      ("192.168.9.0/24", "10.7.0.9")}
    assert runtime.reserved() == ["10.7.0.2"]
    runtime("DEL", netns=ns)
    runtime.nothing_left(ns)


def test_both_families(runtime, netns):
    """Also in a namespace that has IPv6 turned off, as container runtimes make them."""
    ns = netns()
    for where in ("all", "default"):
        os.system(f"ip netns exec {ns.name} sysctl -qw net.ipv6.conf.{where}.disable_ipv6=1")
    ipam = {**runtime.config["ipam"], "ranges": [[{"subnet": "10.7.0.0/24"}],
                                                 [{"subnet": "fd07::/64"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}
    result = runtime("ADD", netns=ns, config={"ipam": ipam})
    assert [x["address"] for x in result["ips"]] == ["10.7.0.2/24", "fd07::2/64"]
    a = {x["local"]: x for x in ns.links()["eth0"]["addr_info"]}
    assert a["fd07::2"]["prefixlen"] == 64 and not a["fd07::2"].get("tentative")
    assert ("default", "fd07::1") in {(r["dst"], r.get("gateway")) for r in ns.ip("-6", "route")}
    runtime("CHECK", netns=ns, config={"ipam": ipam, "prevResult": result})
    runtime("DEL", netns=ns, config={"ipam": ipam})
    runtime.nothing_left(ns)


def test_static_addresses(runtime, netns):
    """Another IPAM plugin of the same packages, with a route's attributes of 1.1.0."""
    ns = netns()
    ipam = {"type": "static", "addresses": [{"address": "10.9.0.5/16", "gateway": "10.9.0.1"}],
            "routes": [{"dst": "0.0.0.0/0"}], "dns": {"nameservers": ["10.9.0.1"]}}
    result = runtime("ADD", netns=ns, config={"ipam": ipam})
    assert result["ips"][0]["address"] == "10.9.0.5/16"
    assert result["dns"] == {"nameservers": ["10.9.0.1"]}
    runtime("DEL", netns=ns, config={"ipam": ipam})
    result = runtime("ADD", netns=ns, config={"ipam": ipam, "dns": {"nameservers": ["10.9.0.2"]}})
    assert result["dns"] == {"nameservers": ["10.9.0.2"]}
    runtime("DEL", netns=ns, config={"ipam": ipam})
    runtime.nothing_left(ns)


def test_route_attributes(runtime, netns, plugin):
    name = plugin('''test "$CNI_COMMAND" = ADD || exit 0
        echo '{"cniVersion": "1.1.0", "ips": [{"address": "10.9.0.5/16"}], "routes": [
            {"dst": "10.20.0.0/16", "gw": "10.9.0.1", "mtu": 1400, "priority": 77},
            {"dst": "10.30.0.0/16", "scope": 253}]}' ''')
    ns = netns()
    result = runtime("ADD", netns=ns, config={"ipam": {"type": name}})
    assert result["routes"] == [
        {"dst": "10.20.0.0/16", "gw": "10.9.0.1", "mtu": 1400, "priority": 77},
        {"dst": "10.30.0.0/16", "scope": 253}]
    routes = {r["dst"]: r for r in ns.ip("route")}
    assert routes["10.20.0.0/16"]["metric"] == 77
    assert routes["10.20.0.0/16"]["metrics"] == [{"mtu": 1400}]
    assert routes["10.30.0.0/16"]["scope"] == "link"


def test_without_addresses(runtime, daemon, netns):
    ns = netns()
    result = runtime("ADD", netns=ns, config={"ipam": {}})
    assert result["ips"] == [] and result["routes"] == []
    assert list(daemon.leased()) == [OWNER] and "eth0" in ns.links()
    runtime("CHECK", netns=ns, config={"ipam": {}, "prevResult": result})
    runtime("DEL", netns=ns, config={"ipam": {}})
    runtime.nothing_left(ns)


def test_mtu(runtime, netns):
    ns = netns()
    result = runtime("ADD", netns=ns, config={"mtu": 1400})
    assert result["interfaces"][0]["mtu"] == ns.links()["eth0"]["mtu"] == 1400


def test_several_interfaces(runtime, daemon, netns):
    """As Multus does it: one pod, several networks or several of one."""
    ns = netns()
    runtime("ADD", netns=ns)
    result = runtime("ADD", netns=ns, ifname="net1")
    assert result["interfaces"][0]["mac"] == "02:00:00:00:01:01"
    assert set(daemon.leased()) == {OWNER, "cni/fast/c1/net1"}
    runtime("DEL", netns=ns)
    assert set(ns.links()) == {"lo", "net1"} and list(daemon.leased()) == ["cni/fast/c1/net1"]
    runtime("DEL", netns=ns, ifname="net1")
    runtime.nothing_left(ns)


def test_add_twice(runtime, daemon, netns):
    """The second fails and leaves the first as it is."""
    ns = netns()
    result = runtime("ADD", netns=ns)
    fails(runtime, 100, "interface 'eth0' exists already in network namespace", netns=ns)
    fails(runtime, 100, "has a lease already", netns=netns())
    runtime("CHECK", netns=ns, config={"prevResult": result})
    assert list(daemon.leased()) == [OWNER] and runtime.reserved() == ["10.7.0.2"]


def test_interface_of_someone_else(runtime, netns):
    """Its name is taken: ADD fails, and DEL does not touch it."""
    ns = netns()
    ns.do("link", "add", "eth0", "type", "veth", "peer", "name", "other")
    fails(runtime, 100, "interface 'eth0' exists already", netns=ns)
    runtime("DEL", netns=ns)
    assert set(ns.links()) == {"lo", "eth0", "other"}


def test_del_is_idempotent(runtime, netns):
    ns = netns()
    runtime("DEL", netns=ns)  # without an ADD
    runtime("ADD", netns=ns)
    runtime("DEL", netns=ns)
    runtime("DEL", netns=ns)
    runtime.nothing_left(ns)


@pytest.mark.parametrize("how", ["no CNI_NETNS", "gone", "unmounted", "a file", "the host's"])
def test_del_without_namespace(runtime, netns, tmp_path, how):
    ns = netns()
    runtime("ADD", netns=ns)
    ns.remove()
    path = ns.path
    if how == "a file":
        (tmp_path / "file").touch()
        path = str(tmp_path / "file")
    elif how == "unmounted":
        open(path, "w").close()
    elif how == "the host's":
        path = "/proc/self/ns/net"  # the PID of a path is somebody else's by now
    runtime("DEL", netns=None if how == "no CNI_NETNS" else path)
    runtime.nothing_left()


def test_del_needs_nothing_else(runtime, netns):
    """Neither a prevResult that makes sense nor a namespace: runtimes forget."""
    ns = netns()
    runtime("ADD", netns=ns)
    runtime("DEL", netns=ns, config={"prevResult": {"cniVersion": "1.1.0", "ips": "?"}}, args=None)
    runtime.nothing_left(ns)


def test_del_without_daemon(runtime, daemon, netns):
    """It fails, so that the runtime tries again; then nothing has been lost."""
    ns = netns()
    runtime("ADD", netns=ns)
    os.rename(daemon.path, daemon.path + ".away")
    fails(runtime, 11, "connect to caissond", "DEL", netns=ns)
    assert runtime.reserved() == ["10.7.0.2"]  # not given out while the function may still send
    os.rename(daemon.path + ".away", daemon.path)
    runtime("DEL", netns=ns)
    runtime.nothing_left(ns)


def test_address_is_given_back_last(runtime, daemon, netns):
    ns, seen = netns(), []
    runtime("ADD", netns=ns)
    daemon.on[caissond.RELEASE] = lambda _: seen.append(runtime.reserved())
    runtime("DEL", netns=ns)
    assert seen == [["10.7.0.2"]]


def test_all_at_once(runtime, daemon, netns):
    """Many pods, fewer functions: each function goes to one, the others are told to try again."""
    daemon.functions[:] = [caissond.Function(f"0000:02:{i // 8:02x}.{i % 8}",
                                             f"02:00:00:00:02:{i:02x}") for i in range(12)]
    namespaces = [netns() for _ in range(16)]

    def add(i):
        try:
            return runtime("ADD", container=f"c{i}", netns=namespaces[i])
        except CniError as e:
            assert e.code == 11, str(e)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        results = [r for r in pool.map(add, range(16)) if r]
        assert len(results) == len({r["interfaces"][0]["mac"] for r in results}) == 12
        assert len({r["ips"][0]["address"] for r in results}) == 12
        list(pool.map(lambda i: runtime("DEL", container=f"c{i}", netns=namespaces[i]),
                      range(16)))
    runtime.nothing_left(*namespaces)


# --- Failures of ADD: one sentence, nothing left -----------------------------------------------------------

BAD_ENVIRONMENT = {
    "no container": ({"CNI_CONTAINERID": None}, "CNI_CONTAINERID is not set"),
    "container": ({"CNI_CONTAINERID": "../etc"}, "'../etc' is not a container's name"),
    "long container": ({"CNI_CONTAINERID": "c" * 500}, "is too long"),
    "no interface": ({"CNI_IFNAME": None}, "CNI_IFNAME is not set"),
    "interface": ({"CNI_IFNAME": "a/b"}, "'a/b' is not an interface's name"),
    "long interface": ({"CNI_IFNAME": "abcdefghijklmnop"}, "is not an interface's name"),
    "no namespace": ({"CNI_NETNS": None}, "CNI_NETNS is not set"),
    "host's namespace": ({"CNI_NETNS": "/proc/self/ns/net"}, "is the host's own"),
    "arguments": ({"CNI_ARGS": "nonsense"}, "CNI_ARGS: 'nonsense' is not KEY=VALUE"),
    "unknown argument": ({"CNI_ARGS": "COLOUR=red"}, "CNI_ARGS: 'COLOUR' is not known"),
}


@pytest.mark.parametrize("case", BAD_ENVIRONMENT)
def test_bad_environment(runtime, netns, case):
    env, match = BAD_ENVIRONMENT[case]
    ns = netns()
    fails(runtime, 4, match, netns=ns, env=env)
    runtime.nothing_left(ns)


def test_command_that_is_not_one(runtime):
    fails(runtime, 4, "CNI_COMMAND 'REMOVE' is not known", "REMOVE")
    fails(runtime, 4, "CNI_COMMAND is not set: this program is a plugin", "ADD",
          env={"CNI_COMMAND": None})


@pytest.mark.parametrize("path", ["/nowhere", "file", "link"])
def test_bad_namespace(runtime, netns, tmp_path, path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(netns().path)
    fails(runtime, 3, "network namespace|symbolic link", netns=str(tmp_path / path))
    runtime.nothing_left()


BAD_TEXT = {
    "empty": "", "not JSON": "{", "a list": "[]", "twice": "{} {}", "NUL": '{"name": "a\\u0000b"}',
    "deep": '{"a":' * 100 + "1" + "}" * 100, "binary": "\x01\x02",
}


@pytest.mark.parametrize("case", BAD_TEXT)
def test_bad_text(runtime, netns, case):
    fails(runtime, 6, "network configuration", netns=netns(), text=BAD_TEXT[case])


def test_text_without_end(runtime, netns):
    fails(runtime, 6, "longer than 1048576 bytes", netns=netns(), text=" " * (1 << 20) + "{}")


BAD_CONFIG = {
    "no name": ({"name": None}, 7, "name is missing"),
    "name": ({"name": "a/b"}, 7, "'a/b' is not the name of a network"),
    "long name": ({"name": "n" * 200}, 7, "is not the name of a network"),
    "misspelt": ({"spoofcheck": "off"}, 2, "'spoofcheck' is not known"),
    "device": ({"deviceID": "0000:01:10.0"}, 2, "caissond's choice"),
    "not first": ({"prevResult": {"cniVersion": "1.1.0"}}, 7, "has to come first"),
    "mac": ({"mac": "02:00:00:00:00"}, 7, "mac '02:00:00:00:00' is not the MAC"),
    "mac of many": ({"mac": "01:00:5e:00:00:01"}, 7, "is not the MAC of one interface"),
    "mac of nobody": ({"mac": "00:00:00:00:00:00"}, 7, "is not the MAC of one interface"),
    "runtime's mac": ({"runtimeConfig": {"mac": "x"}}, 7, "runtimeConfig.mac 'x' is not the MAC"),
    "args' mac": ({"args": {"cni": {"mac": 7}}}, 7, "args.cni.mac 7 is not a string"),
    "vlan": ({"vlan": 4095}, 7, "vlan 4095 is greater than 4094"),
    "vlan text": ({"vlan": "7"}, 7, "vlan '7' is not an integer"),
    "priority": ({"vlan": 7, "vlanQoS": 8}, 7, "vlanQoS 8 is greater than 7"),
    "priority alone": ({"vlanQoS": 3}, 7, "vlanQoS needs a vlan"),
    "protocol": ({"vlan": 7, "vlanProto": "802.1x"}, 7, "'802.1x' is not one of 802.1q, 802.1ad"),
    "rates": ({"min_tx_rate": 10, "max_tx_rate": 5}, 7, "10 is greater than max_tx_rate 5"),
    "rate": ({"max_tx_rate": -1}, 7, "max_tx_rate -1 is less than 0"),
    "spoof check": ({"spoofchk": "maybe"}, 7, "'maybe' is not one of off, on"),
    "trust": ({"trust": True}, 7, "trust true is not a string"),
    "link": ({"link_state": "up"}, 7, "'up' is not one of auto, enable, disable"),
    "mtu": ({"mtu": 10}, 7, "mtu 10 is less than 68"),
    "wait": ({"wait": 1000}, 7, "wait 1000 is greater than 120"),
    "socket": ({"socket": "run/x"}, 7, "'run/x' is not an absolute path"),
    "no daemon": ({"socket": "/nowhere/x.sock"}, 11, "connect to caissond at '/nowhere/x.sock'"),
    "long socket": ({"socket": "/" + "s" * 200}, 11, "is too long for a socket"),
    "pf": ({"pf": "eno9"}, 7, "lease a function: no function of 'eno9' is configured"),
    "ipam": ({"ipam": "host-local"}, 7, "ipam 'host-local' is not an object"),
    "ipam type": ({"ipam": {"subnet": "10.0.0.0/8"}}, 7, "ipam.type is missing"),
    "ipam path": ({"ipam": {"type": "../x"}}, 7, "'../x' is not the name of a plugin"),
    "dhcp": ({"ipam": {"type": "dhcp"}}, 2, "a function sends only in the guest"),
    "no plugin": ({"ipam": {"type": "gone"}}, 7, "'gone': it is in no directory of CNI_PATH"),
    "ipam's": ({"ipam": {"type": "host-local"}}, None, "IPAM plugin 'host-local': no IP ranges"),
    # a function whose physical function is not here: nothing can be set on it
    "settings without PF": ({"vlan": 7}, 7, "has no physical function here"),
}


@pytest.mark.parametrize("case", BAD_CONFIG)
def test_bad_config(runtime, netns, case):
    config, code, match = BAD_CONFIG[case]
    ns = netns()
    with pytest.raises(CniError, match=match) as e:
        runtime("ADD", netns=ns, config=config)
    assert code is None or e.value.code == code
    runtime.nothing_left(ns)


def test_none_free(runtime, daemon, netns):
    for i in range(4):
        runtime("ADD", container=f"c{i}", netns=netns())
    ns = netns()
    fails(runtime, 11, "lease a function: all functions are lent", container="c9", netns=ns,
          config={"wait": 3})
    assert daemon.log[-1][1]["wait_ms"] == 3000
    assert set(ns.links()) == {"lo"} and len(runtime.reserved()) == 4


BAD_IPAM = {
    "silent": ("exit 3", 5, "ended with status 3 and gave no reason"),
    "signal": ("kill -9 $$", 5, "ended with signal 9"),
    "no JSON": ("echo hello; exit 1", 5, "gave no reason"),
    "its code": ('echo \'{"code": 120, "msg": "no more", "details": "of them"}\'; exit 1', 120,
                 "network 'fast': IPAM plugin 'scripted': no more: of them"),
    "two lines": ('printf \'{"code": 7, "msg": "a\\\\nb"}\'; exit 1', 7, "a b"),
    "nothing": ("exit 0", 6, "its result: the JSON text ends too early"),
    "no address": ("echo '{}'", 6, "its result has no address"),
    "address": ('echo \'{"ips": [{"address": "10.0.0.300/8"}]}\'', 6,
                r"ips\[0\].address '10.0.0.300/8' is not an address"),
    "prefix": ('echo \'{"ips": [{"address": "10.0.0.3/33"}]}\'', 6, "10.0.0.3/33"),
    "gateway": ('echo \'{"ips": [{"address": "10.0.0.3/8", "gateway": "fd00::1"}]}\'', 6,
                "'fd00::1' is not an IPv4 address"),
    "table": ('echo \'{"ips": [{"address": "10.0.0.3/8"}], '
              '"routes": [{"dst": "0.0.0.0/0", "table": 7}]}\'', 6, "main table only"),
    "too much": ("head -c 2000000 /dev/zero", 6, "it says more than"),
    "unreachable": ('echo \'{"ips": [{"address": "10.0.0.3/8"}], '
                    '"routes": [{"dst": "0.0.0.0/0", "gw": "192.168.0.1"}]}\'', 5,
                    "interface 'eth0': add route to 0.0.0.0/0: Network is unreachable"),
}


@pytest.mark.parametrize("case", BAD_IPAM)
def test_bad_ipam(runtime, netns, plugin, tmp_path, case):
    """Whatever the plugin does, it is told to take its addresses back."""
    script, code, match = BAD_IPAM[case]
    name = plugin(f'''if test "$CNI_COMMAND" = DEL; then touch {tmp_path}/deleted; exit 0; fi
{script}''')
    ns = netns()
    fails(runtime, code, match, netns=ns, config={"ipam": {"type": name}})
    runtime.nothing_left(ns)
    assert (tmp_path / "deleted").exists()


def test_ipam_gets_what_we_get(runtime, netns, plugin, tmp_path):
    name = plugin(f'''env >{tmp_path}/env.$CNI_COMMAND; cat >{tmp_path}/config.$CNI_COMMAND
        echo '{{"cniVersion": "1.1.0", "ips": [{{"address": "10.0.0.3/8"}}]}}' ''')
    ns, config = netns(), {"ipam": {"type": name, "x": [1, "ü/"]}}
    runtime("ADD", netns=ns, config=config)
    runtime("DEL", netns=ns, config=config)
    for command in ("ADD", "DEL"):
        env = (tmp_path / f"env.{command}").read_text().splitlines()
        assert {f"CNI_COMMAND={command}", "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0",
                f"CNI_NETNS={ns.path}", f"CNI_PATH={runtime.path}",
                "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=pod"} <= set(env)
        assert json.loads((tmp_path / f"config.{command}").read_text()) == {**runtime.config,
                                                                            **config}


def killed(runtime, p):
    p.stdin.write(p.text)
    p.stdin.close()
    return p


def test_killed_after_the_lease(runtime, daemon, netns):
    """The plugin dies when the daemon has lent and it does not know yet: DEL finds the lease."""
    ns, lent, go = netns(), threading.Event(), threading.Event()
    daemon.on[caissond.LEASE] = lambda _: (lent.set(), go.wait(20)) and None
    p = killed(runtime, runtime.process("ADD", netns=ns))
    assert lent.wait(20)
    p.kill()
    p.wait()
    go.set()
    assert list(daemon.leased()) == [OWNER]
    daemon.on.clear()
    runtime("DEL", netns=ns)
    runtime.nothing_left(ns)


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_killed_in_ipam(runtime, netns, plugin, tmp_path, sig):
    name = plugin(f'''if test "$CNI_COMMAND" = ADD; then {runtime.path.split(":")[1]}/host-local \
        >{tmp_path}/out; touch {tmp_path}/there; exec sleep 30; fi
exec {runtime.path.split(":")[1]}/host-local''')
    ns, config = netns(), {"ipam": {**runtime.config["ipam"], "type": name},
                           "cniVersion": "1.0.0"}
    p = killed(runtime, runtime.process("ADD", netns=ns, config=config))
    until = time.monotonic() + 20
    while not (tmp_path / "there").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    p.send_signal(sig)
    p.wait()
    assert runtime.reserved() == ["10.7.0.2"]
    runtime("DEL", netns=ns, config=config)
    runtime.nothing_left(ns)


def test_daemon_goes_away(runtime, daemon, netns):
    """In the middle of a LEASE, which was granted: as after every failed ADD the runtime says DEL."""
    ns = netns()
    daemon.on[caissond.LEASE] = lambda _: False
    fails(runtime, 11, "lease a function: caissond went away", netns=ns)
    daemon.on.clear()
    runtime("DEL", netns=ns)
    runtime.nothing_left(ns)


# --- CHECK ------------------------------------------------------------------------------------------------

TAMPER = {
    "nothing": (None, None),
    "removed": (lambda ns: ns.do("link", "del", "eth0"), "interface 'eth0': it does not exist"),
    "down": (lambda ns: ns.do("link", "set", "eth0", "down"), "it is down"),
    "mtu": (lambda ns: ns.do("link", "set", "eth0", "mtu", "1300"), "its MTU is 1300"),
    "alias": (lambda ns: ns.do("link", "set", "eth0", "alias", "mine"),
              "not the placeholder of a function"),
    "lease": (lambda ns: ns.do("link", "set", "eth0", "alias", f"caisson lease {77:032x}"),
              "another lease"),
    "address": (lambda ns: ns.do("address", "del", "10.7.0.2/24", "dev", "eth0"),
                "does not have address 10.7.0.2/24"),
    "default route": (lambda ns: ns.do("route", "del", "default"),
                      "does not have the route to 0.0.0.0/0"),
    "another gateway": (lambda ns: ns.do("route", "replace", "192.168.9.0/24", "via", "10.7.0.77"),
                        "does not have the route to 192.168.9.0/24"),
}


@pytest.mark.parametrize("case", TAMPER)
def test_check(runtime, netns, case):
    tamper, match = TAMPER[case]
    ns, config = netns(), {"mtu": 1400}
    config["prevResult"] = runtime("ADD", netns=ns, config=config)
    if tamper:
        tamper(ns)
        fails(runtime, 101, match, "CHECK", netns=ns, config=config)
    else:
        assert runtime("CHECK", netns=ns, config=config) is None
    del config["prevResult"]
    runtime("DEL", netns=ns, config=config)
    if case not in ("alias",):  # then it is not ours any more
        runtime.nothing_left(ns)


def test_check_of_what_is_not_there(runtime, daemon, netns):
    ns = netns()
    fails(runtime, 7, "prevResult is missing", "CHECK", netns=ns)
    result = runtime("ADD", netns=ns)
    config = {"prevResult": result}
    fails(runtime, 7, "has no interface 'net7'", "CHECK", netns=ns, ifname="net7", config=config)
    fails(runtime, 101, "container 'c2' has no lease", "CHECK", container="c2", netns=ns,
          config=config)
    daemon.release(None, OWNER)
    fails(runtime, 101, "container 'c1' has no lease for interface 'eth0'", "CHECK", netns=ns,
          config=config)
    fails(runtime, 7, "prevResult.ips", "CHECK", netns=ns, config={"prevResult": {"ips": 3}})


def test_check_asks_ipam(runtime, netns):
    ns = netns()
    config = {"prevResult": runtime("ADD", netns=ns)}
    (runtime.reservations / "fast/10.7.0.2").unlink()
    with pytest.raises(CniError, match="IPAM plugin 'host-local'"):
        runtime("CHECK", netns=ns, config=config)


# --- GC and STATUS ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_gc(runtime, daemon, netns, key):
    """What is not valid goes, with its addresses; what is another network's stays."""
    keep, lose = netns(), netns()
    runtime("ADD", container="keep", netns=keep)
    runtime("ADD", container="lose", netns=lose)
    runtime("ADD", container="keep", ifname="net1", netns=keep)
    runtime("ADD", container="other", netns=netns(), config={"name": "fast2"})
    assert len(daemon.leased()) == 4
    lose.remove()
    runtime("GC", config={key: [{"containerID": "keep", "ifname": "eth0"}]})
    assert set(daemon.leased()) == {"cni/fast/keep/eth0", "cni/fast2/other/eth0"}
    assert runtime.reserved() == ["10.7.0.2"]
    runtime("GC", config={key: []})
    assert set(daemon.leased()) == {"cni/fast2/other/eth0"} and runtime.reserved() == []


def test_gc_of_many(runtime, daemon, netns):
    """More than one answer of the daemon holds."""
    daemon.functions[:] = [caissond.Function(f"0000:02:{i // 8:02x}.{i % 8}",
                                             f"02:00:00:00:02:{i:02x}") for i in range(70)]
    for i in range(70):
        assert daemon.lease(f"cni/fast/c{i}/eth0", 1, None, 0, 1, None, 0)[0] == 0
    runtime("GC", config={"cni.dev/valid-attachments": [{"containerID": "c69", "ifname": "eth0"}]})
    assert list(daemon.leased()) == ["cni/fast/c69/eth0"]


def test_gc_with_ipam_that_knows_it(runtime, daemon, netns, plugin, tmp_path):
    name = plugin(f'''echo $CNI_COMMAND >>{tmp_path}/asked
        case $CNI_COMMAND in
        VERSION) echo '{{"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]}}' ;;
        GC) cat >{tmp_path}/gc ;;
        esac''')
    config = {"ipam": {"type": name}, "cni.dev/valid-attachments": []}
    runtime("GC", config=config)
    assert (tmp_path / "asked").read_text().split() == ["VERSION", "GC"]
    assert json.loads((tmp_path / "gc").read_text())["cni.dev/valid-attachments"] == []


def test_gc_goes_on(runtime, daemon, netns, plugin):
    """An IPAM plugin that fails does not keep functions from coming back; it is told at the end."""
    for i in range(3):
        runtime("ADD", container=f"c{i}", netns=netns())
    name = plugin("exit 9")
    fails(runtime, 5, "of container 'c2': IPAM plugin 'scripted': it ended with status 9", "GC",
          config={"ipam": {"type": name}, "cni.dev/valid-attachments": []})
    assert daemon.leased() == {}


def test_gc_must_be_told(runtime, daemon, netns):
    """Without the list nothing is removed: a runtime that forgot it would lose every pod's network."""
    runtime("ADD", netns=netns())
    fails(runtime, 7, "cni.dev/valid-attachments is missing", "GC")
    fails(runtime, 7, r"valid-attachments\[0\].ifname is missing", "GC",
          config={"cni.dev/valid-attachments": [{"containerID": "c1"}]})
    assert list(daemon.leased()) == [OWNER]


def test_status(runtime, daemon, plugin):
    assert runtime("STATUS") is None
    daemon.functions[0].pf = "eno1"
    assert runtime("STATUS", config={"pf": "eno1"}) is None
    fails(runtime, 50, "no functions of eno2 to lend", "STATUS", config={"pf": "eno2"})
    fails(runtime, 50, "connect to caissond", "STATUS", config={"socket": "/nowhere"})
    fails(runtime, 7, "in no directory of CNI_PATH", "STATUS", config={"ipam": {"type": "gone"}})
    name = plugin('''case $CNI_COMMAND in
        VERSION) echo '{"supportedVersions": ["1.1.0"]}' ;;
        *) echo '{"code": 50, "msg": "no address left"}'; exit 1 ;;
        esac''')
    fails(runtime, 50, "IPAM plugin 'scripted': no address left", "STATUS",
          config={"ipam": {"type": name}})
    for f in daemon.functions:
        f.state = caissond.QUARANTINED
    fails(runtime, 50, "no functions to lend", "STATUS")
