# SPDX-License-Identifier: Apache-2.0
"""Guests with functions of the host's, on engine kvm (docs/passthrough.md): `lab/lab test sriov
passthrough`."""
import re

from conftest import HOST
from guest import Guest

UP = """
wait_for '[ -e /sys/class/net/eth0 ]'
ip link set eth0 up
ip addr add {address}/24 dev eth0
wait_for '[ "$(cat /sys/class/net/eth0/carrier 2>/dev/null)" = 1 ]'
"""


def test_two_guests(cards, tmp_path):
    """Two at once, on functions of two cards, reach each other."""
    script = UP.format(address="10.77.0.{}") + """
wait_for 'ping -c 1 -w 2 10.77.0.{} >/dev/null'
ping -c 5 -i 0.2 -w 20 10.77.0.{}
sleep 10
"""
    a = Guest(tmp_path, script.replace("{}", "3", 1).replace("{}", "4"), [cards[0].functions[1]])
    b = Guest(tmp_path, script.replace("{}", "4", 1).replace("{}", "3"), [cards[1].functions[0]],
              options=["-H"])
    for g in (a, b):
        out, err = g.result()
        assert " 0% packet loss" in out, out + err


def test_two_functions(cards, tmp_path):
    """One guest with two functions, one of each card."""
    out, err = Guest(tmp_path, """
wait_for '[ -e /sys/class/net/eth1 ]'
cat /sys/class/net/eth[01]/address
""", [cards[0].functions[2], cards[1].functions[2]]).result()
    assert {cards[0].functions[2].mac, cards[1].functions[2].mac} <= set(out.split()), out + err


def test_ping_host(cards, tmp_path):
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
    out, err = Guest(tmp_path, script, [f]).result()
    assert "0000:00:01.0 0x8086 0x10ca igbvf" in out, out + err
    assert f.mac in out, out
    assert " 0% packet loss" in out, out + err
    # Of the MSI-X vectors for sending and receiving, each was used.
    used = re.findall(r"(\d+) +PCI-MSIX-0000:00:01.0 +\d-edge +eth0-[tr]x-0", out)
    assert len(used) == 2 and all(int(n) >= 5 for n in used), out
