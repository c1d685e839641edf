# SPDX-License-Identifier: Apache-2.0
"""A hostile guest makes its function read and write wherever it can name an address: the host's memory,
another guest's, what is no memory.  Nothing of it leaves or changes; its own memory works."""
import mmap
import pathlib
import re
import signal
import subprocess
import time

import pytest

import functions
from conftest import HOST
from guest import ENGINE, UP, VMM
from harness import BUILD
from physical import Pages, Plant
from wire import Sender, Sniffer

MIB = 128
RAM = MIB << 20
HOST_SECRET, GUEST_SECRET = b"the host's own secret. ", b"another guest's secret. "
HOSTILE = BUILD / "tests/passthrough/hostile"
OVER = "10.77.0.99"  # the host has it when the victim may end

VICTIM = f"""
hostile hold "{GUEST_SECRET.decode()}" 16 &
wait_for '[ -e /sys/class/net/eth0 ]'
ip link set eth0 up
ip addr add 10.77.0.50/24 dev eth0
n=0
until ping -c 1 -w 1 {OVER} >/dev/null; do n=$((n + 1)); [ $n -lt 300 ] || break; done
"""
ATTACK = """
wait_for '[ -e /sys/class/net/eth0 ]'
d=/sys/bus/pci/devices/0000:00:01.0
hostile $d send own {places} own
hostile $d receive own {nowhere} own
hostile $d ring {nowhere}
hostile $d send own own
"""
# Engine cki: a guest's page tables are in its address space, but not in its function's: what they are in,
# nobody but the module writes.  Each attempt has a line in the host's log of its own: that is limited.
ATTACK_TABLES = """
for w in send receive ring; do
    sleep 6
    hostile $d $w table own
done
"""
# A frame from here begins in the guest's own memory.  Nothing is received here: it would overwrite what
# the guest's kernel has in its last bytes, and the guest may die of it.
ACROSS = RAM - 64
# What is no memory of a guest: behind its end, the hole with its windows and interrupt controllers, and
# far away.
NOWHERE = [RAM, RAM + (1 << 20), 0xc0000000, 0xd0000000, 0xe0000000, 0xe0004000, 0xfec00000,
           0xfee00000, 0xfffff000, 1 << 32, 1 << 36, (1 << 39) - 4096, 1 << 40, 1 << 47, 1 << 63]


def host_memory():
    """(first, last, what) of the host's memory map."""
    return [(int(a, 16), int(b, 16), what) for a, b, what in
            re.findall(r"([0-9a-f]+)-([0-9a-f]+) : (.*)", pathlib.Path("/proc/iomem").read_text())]


def nowhere():
    """Addresses that cannot mean the attacker's own memory."""
    if ENGINE != "cki":
        return NOWHERE
    memory = host_memory()
    kernel = [first for first, _, what in memory if what in ("Kernel code", "Kernel data")]
    assert len(kernel) == 2
    return kernel + [a for a in NOWHERE if not any(first <= a <= last and what == "System RAM"
                                                   for first, last, what in memory)]


def monitor_of(lender):
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for p in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                words = (p / "stat").read_text().rsplit(")", 1)[1].split()
                if int(words[1]) == lender and (p / "exe").resolve() == VMM.resolve():
                    return int(p.name)
            except (OSError, IndexError):
                pass
        time.sleep(0.2)
    raise AssertionError("the monitor does not come up")


def victim_pages(victim, count):
    """The other guest's memory, as soon as the secret is in it."""
    pid = monitor_of(victim.process.pid)
    until = time.monotonic() + 240
    while time.monotonic() < until:
        pages = Pages(pid, "memfd:lent", GUEST_SECRET, count)
        if len(pages.found) == count:
            return pages
        time.sleep(1)
    raise AssertionError("the victim does not plant its secret")


@pytest.fixture
def released(cards):
    yield
    subprocess.run(["ip", "addr", "del", f"{OVER}/24", "dev", cards[0].name], check=False)


def test_hostile_dma(cards, guest, released):
    attacker, other = cards[0].functions[3], cards[0].functions[4]
    victim = guest(VICTIM, [other], mib=MIB, options=["-t", 600],
                   files=[("bin/hostile", HOSTILE)])
    plant = Plant(HOST_SECRET)
    pages = victim_pages(victim, 8)
    # Only where the address cannot mean the attacker's own memory.
    places = [p for p in plant.places if p and p >= RAM][:2] + \
             [p for p in pages.found.values() if p and p >= RAM][:3]
    assert len(places) == 5, f"{plant.places} {pages.found}"

    sniffer = Sniffer(cards[0].name)
    sender = Sender(cards[0].name, attacker.mac, b"overwritten " * 20)
    bad = " ".join(map(hex, places + nowhere()))
    across = "" if ENGINE == "cki" else hex(ACROSS)
    script = ATTACK.format(nowhere=bad, places=f"{bad} {across}")
    if ENGINE == "cki":
        script += ATTACK_TABLES
    out, err = guest(script, [attacker], mib=MIB,
                     options=["-t", 300], files=[("bin/hostile", HOSTILE)]).result(timeout=480)
    sender.stop()
    payloads = sniffer.stop()

    # It can do it at all, before and after.  (The first frame after the rings may end up as the rest of
    # one that an attempt has begun.)
    own = [p for p in payloads if p.startswith(b"mine to send")]
    more = ENGINE == "cki"
    assert len(own) in (3 + more, 4 + more), f"{out}\n{err}\n{len(payloads)} frames"
    assert out.count("receive own: done, in own memory") == 2 + more, out
    # From nowhere else did anything come: zeros at most.
    leaked = [p[:32] for p in payloads if p not in own and p.strip(b"\0")]
    assert not leaked
    assert plant.intact() and plant.places == plant.find()
    assert pages.intact()
    # It was the IOMMU that refused it.
    faults = functions.run("dmesg")
    assert f"[{attacker.address[5:]}] fault addr {places[0]:#x}" in faults, faults[-4000:]
    tables = re.findall(r"(?:send|receive|ring) table: at (0x[0-9a-f]+)", out)
    assert len(tables) == 3 * more and len(set(tables)) == more, out
    for kind in ("DMA Read", "DMA Write") if more else ():
        assert re.search(rf"\[{kind} .*\[{attacker.address[5:]}\] fault addr {tables[0]}\b", faults), \
            faults[-4000:]

    functions.run("ip", "addr", "add", f"{OVER}/24", "dev", cards[0].name)
    out, err = victim.result(timeout=480)
    assert "the end" in out, out + err


@pytest.mark.kvm
def test_growth(cards, guest):
    """A guest that starts small grows while it runs.  Before, its function reads nothing where the growth
    will be; afterwards what it reads there was never anybody else's."""
    f, base, growth = cards[1].functions[5], 4 << 30, 256
    places = " ".join(hex(base + (i << 22)) for i in range(growth // 4))
    g = guest(f"""
total() {{ awk '/MemTotal/ {{ print $2 }}' /proc/meminfo; }}
wait_for '[ -e /sys/class/net/eth0 ]'
d=/sys/bus/pci/devices/0000:00:01.0
before=$(total)
hostile $d send {places} own
wait_for "[ \\$(total) -gt $((before + 200000)) ]"
echo grown by $(($(total) - before))
hostile $d send {places} {base + (growth << 20):#x} high own
dmesg | grep -i virtio_mem
""", [f], mib=MIB, options=["-g", growth, "-t", 300], files=[("bin/hostile", HOSTILE)])
    sniffer = Sniffer(cards[1].name)
    sniffer.wait_for(b"mine to send")
    # What the host's memory is made of now.
    dirt = mmap.mmap(-1, (growth + 64) << 20)
    dirt.write((HOST_SECRET * 100000)[:1 << 20] * (growth + 64))
    dirt.close()
    before = list(sniffer.payloads)
    g.process.send_signal(signal.SIGUSR1)
    out, err = g.result(timeout=480)
    after = sniffer.stop()[len(before):]
    assert before[-1].startswith(b"mine to send"), before
    assert not [p[:32] for p in before[:-1] if p.strip(b"\0")]
    grown = re.search(r"grown by (\d+)", out)
    assert grown and int(grown.group(1)) >= 240 << 10, out + err
    # The function reaches all of it, as the guest does: a page of it was sent.
    assert sum(p.startswith(b"mine to send") for p in after) == 2, out + err
    assert not [p[:32] for p in after if HOST_SECRET[:8] in p]
    faults = re.findall(rf"\[{f.address[5:]}\] fault addr (0x[0-9a-f]+)", functions.run("dmesg"))
    assert base in [int(a, 16) for a in faults], faults


def test_hostile_registers(cards, guest):
    """Every register that the monitor answers for, written at will; the next guest finds the function as
    it was."""
    f = cards[1].functions[6]
    real = (f.device / "config").read_bytes()
    out, err = guest("""
wait_for '[ -e /sys/class/net/eth0 ]'
hostile /sys/bus/pci/devices/0000:00:01.0 wild
""", [f], files=[("bin/hostile", HOSTILE)], options=["-c", 2]).result()
    assert "wild: identity is the same" in out and "the end" in out, out + err
    now = (f.device / "config").read_bytes()
    # The command register is VFIO's; what counts is that DMA is off.
    assert now[:4] == real[:4] and now[6:] == real[6:] and not now[4] & 4
    out, err = guest(UP.format(address="10.77.0.6") + f"ping -c 3 -w 20 {HOST}\n", [f]).result()
    assert " 0% packet loss" in out, out + err
