# SPDX-License-Identifier: Apache-2.0
"""Guests with functions of the host's (docs/passthrough.md), on engine kvm: `lab/lab test sriov
passthrough`; on engine cki: `lab/lab test cki-vf passthrough`."""
import re
import subprocess
import time

import functions
from conftest import HOST
from guest import LENDER, UP, VMM


def test_two_guests(cards, guest):
    """Two at once, on functions of two cards, reach each other."""
    script = UP.format(address="10.77.0.{}") + """
wait_for 'ping -c 1 -w 2 10.77.0.{} >/dev/null'
ping -c 5 -i 0.2 -w 20 10.77.0.{}
sleep 10
"""
    a = guest(script.replace("{}", "3", 1).replace("{}", "4"), [cards[0].functions[1]])
    b = guest(script.replace("{}", "4", 1).replace("{}", "3"), [cards[1].functions[0]],
              options=["-H"])
    for g in (a, b):
        out, err = g.result()
        assert " 0% packet loss" in out, out + err


def test_two_functions(cards, guest):
    """One guest with two functions, one of each card."""
    out, err = guest("""
wait_for '[ -e /sys/class/net/eth1 ]'
cat /sys/class/net/eth[01]/address
""", [cards[0].functions[2], cards[1].functions[2]]).result()
    assert {cards[0].functions[2].mac, cards[1].functions[2].mac} <= set(out.split()), out + err


def test_ping_host(cards, guest):
    """The guest's own driver binds, takes interrupts, and reaches the host by the card's wire."""
    f = cards[0].functions[0]
    script = UP.format(address="10.77.0.2") + f"""
for d in /sys/bus/pci/devices/*; do
    echo $(basename $d) $(cat $d/vendor) $(cat $d/device) $(readlink $d/driver | sed "s,.*/,,")
done
cat /sys/class/net/eth0/address
ping -c 5 -i 0.2 -w 20 {HOST}
grep eth0 /proc/interrupts
"""
    out, err = guest(script, [f]).result()
    assert "0000:00:01.0 0x8086 0x10ca igbvf" in out, out + err
    assert f.mac in out, out
    assert " 0% packet loss" in out, out + err
    # Of the MSI-X vectors for sending and receiving, each was used.
    used = re.findall(r"(\d+) +(?:PCI-MSIX-0000:00:01.0 +\d|caisson +)-edge +eth0-[tr]x-0", out)
    assert len(used) == 2 and all(int(n) >= 5 for n in used), out


def test_host_wants_it_back(cards, guest):
    """Unbinding it on the host ends the guest with a sentence, and goes through as soon as the lender has
    let go, too."""
    f = cards[1].functions[3]
    g = guest("""
wait_for '[ -e /sys/class/net/eth0 ]'
ip link set eth0 up
ip addr add 10.77.0.5/24 dev eth0
sleep 600
""", [f], options=["-t", 600])
    until = time.monotonic() + 120
    while subprocess.run(["ping", "-c", "1", "-W", "1", "10.77.0.5"],
                         stdout=subprocess.DEVNULL).returncode:
        assert time.monotonic() < until, "the guest does not come up"
    unbind = subprocess.Popen(["sh", "-c", f"echo {f.address} >/sys/bus/pci/drivers/vfio-pci/unbind"])
    out, err = g.result()
    assert f"function {f.address}: the host wants it back" in out.splitlines()[0], out + err
    assert unbind.wait(60) == 0
    assert functions.driver(f.device) is None
    f.bind()


def test_bad_functions(cards, guest):
    """What cannot be lent says why; nothing is left open."""
    for address, why in (("0000:00:1f.9", "not the address of a function"),
                         ("../0000:01:10.0", "not the address of a function"),
                         ("0000:7f:00.0", "no such function, or no IOMMU"),
                         (cards[0].device.name, "bound to 'igb', not to vfio-pci")):
        r = subprocess.run([LENDER, "-k", "x", "-i", "x", "-f", address, VMM],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        assert r.returncode == 1 and why in r.stderr and r.stderr.count("\n") == 1, r.stderr
    f = cards[1].functions[4]
    g = guest("sleep 30", [f])
    until = time.monotonic() + 60
    while not functions.opened(f.device):
        assert time.monotonic() < until
        time.sleep(0.1)
    r = subprocess.run([LENDER, "-k", "x", "-i", "x", "-f", f.address, VMM], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=60)
    assert r.returncode == 1 and "somebody else has '/dev/vfio/" in r.stderr, r.stderr
    g.result()
