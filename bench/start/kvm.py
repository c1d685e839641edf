# SPDX-License-Identifier: Apache-2.0
"""A start on KVM: Caisson against QEMU's microvm and against crun, on one kernel and root file system.

All of it turn by turn in one run.  The machines have one CPU, the same memory of 2 MiB pages
(memfd, shared, made as it is touched), the same guest kernel, the same erofs image as a virtio disk,
and beside it a console of two ports, entropy and a balloon.

First instruction.  A micro guest (bench/vmm/idle.S) in place of the kernel; from the moment before
the monitor's process is made to KVM's first entry into the guest, and to the guest's own first act, a
write to a port.  Both by the host's tracepoints.  The monitor is caisson-vmm as the command starts
it, jail and all.  QEMU's first entry is into its firmware; ours is into the kernel.

Init, process, end.  From the start of the command to: init's first word (ours: the agent's READY at
the monitor; QEMU's: a byte on its console), the first byte that the process in the root file system
has printed, and the end of the command.  Caisson and crun run a bundle; QEMU's guest has an init
of a page that mounts the image and runs the program: no container, no agent, no jail, no network
namespace, which is all in QEMU's favour.

Memory, of sandboxes that sleep: Private_Dirty of /proc/PID/smaps_rollup, of the monitor and of all
processes that stand for the sandbox (ours: monitor and proxy; QEMU's: itself; crun's: the container's
process); what of the guest's RAM is touched, in 2 MiB pages (HugePages_Free before and after);
and what the host has less (MemAvailable), which also counts the kernel's part.
"""
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import harness
import kvmtrace
import phases
import report
import starts

MIB = 96
INIT = b"\1"        # what bench/start/init.c says first
SAID = b"P"
PROCESS = ["/bin/echo", "P"]
SLEEPER = ["/bin/sleeper"]  # a script of ours: the kernel's command line has no blanks in words
NAMES = ("caisson", "QEMU", "crun")
MICRO = harness.BUILD / "bench/vmm/idle"
LAUNCH = harness.BUILD / "bench/start/launch"

# What QEMU's documentation gives for the shortest start of microvm.
QEMU = """qemu-system-x86_64 -nodefaults -no-user-config -display none -monitor none -no-reboot
    -accel kvm -cpu host -smp 1
    -object memory-backend-memfd,id=ram,share=on,hugetlb=on,hugetlbsize=2M,size={mib}M -m {mib}M
    -M microvm,memory-backend=ram,x-option-roms=off,isa-serial=off,acpi=off,usb=off,pcie=off,\
graphics=off,rtc=off,pit=off,pic=off
    -global virtio-mmio.force-legacy=false
    -device virtio-serial-device,max_ports=3 -chardev {console} -device virtconsole,chardev=console,nr=0
    -chardev null,id=agent -device virtserialport,chardev=agent,name=caisson.agent,nr=1
    -drive if=none,id=disk,format=raw,readonly=on,file={image} -device virtio-blk-device,drive=disk
    -device virtio-rng-device -device virtio-balloon-device"""
# No "--": QEMU adds where its devices are.  What the kernel does not know it gives to init.
CMDLINE = ("quiet console=hvc0 reboot=t panic=-1 pci=off 8250.nr_uarts=0 rcupdate.rcu_expedited=1 "
           "random.trust_cpu=on cgroup_no_v1=all ")


class Bench:
    def __init__(self, tmp):
        self.tmp = tmp
        self.rootfs = harness.make_rootfs(tmp / "rootfs")
        self.caisson = harness.Caisson(tmp / "caisson", engine="kvm", memory=f"{MIB}M", hugepages=1,
                                       boot_timeout=starts.TIMEOUT)
        self.bundles = {}

    def bundle(self, i, args):
        key = (i, args[-1])
        if key not in self.bundles:
            b = harness.Bundle(self.tmp / f"bundle-{len(self.bundles)}", self.rootfs, args)
            b.config["linux"]["cgroupsPath"] = f"/caisson-bench/{len(self.bundles)}"
            self.bundles[key] = b.write()
        return self.bundles[key].path

    def timeline(self, i):
        return self.tmp / f"timeline-{i}"

    def image(self):
        """The one that Caisson has made of the root file system."""
        return next((self.tmp / "caisson/cache").glob("*.erofs"))

    def qemu(self, console):
        return QEMU.format(mib=MIB, console=console, image=self.image()).split()

    def command(self, name, i, args, options=()):
        """The command that runs the program in sandbox number i."""
        if name == "caisson":
            self.timeline(i).unlink(missing_ok=True)  # of another that had the number
            return self.caisson.command("--timeline", self.timeline(i), "run", *options, "--bundle",
                                        self.bundle(i, args), f"bench-{i}")
        if name == "crun":
            return ["crun", "--root", str(self.tmp / "crun"), "--cgroup-manager", "cgroupfs", "run",
                    *options, "--bundle", str(self.bundle(i, args)), f"bench-{i}"]
        return [*self.qemu("stdio,id=console,signal=off"), "-kernel", str(harness.BUILD / "vmlinux"),
                "-initrd", str(harness.BUILD / "bench/start/init.cpio"),
                "-append", CMDLINE + " ".join(args)]


class Sandbox(starts.Start):
    def __init__(self, bench, name, i, args):
        self.bench, self.i = bench, i
        words = {"process": SAID} if name != "QEMU" else {"init": INIT, "process": SAID}
        super().__init__(name, [starts.Command(bench.command(name, i, args))], words)

    def give_up(self):
        if self.name == "caisson":
            self.bench.caisson("delete", "--force", f"bench-{self.i}", timeout=starts.TIMEOUT)
            self.bench.timeline(self.i).unlink(missing_ok=True)
        super().give_up()

    def end(self):
        super().end()
        if self.name == "caisson":
            marks = phases.read_marks(self.bench.timeline(self.i))
            self.marks["init"] = marks["agent"] / 1e9 - self.begun
            self.phases = phases.of(marks)
        return False


def run_at_once(bench, results, name, n):
    """n sandboxes started together, run to their ends; again when they stalled, which guests in an
    emulator that counts instructions do."""
    # There a start takes a fraction of a second, however busy the machine.
    limit = 2 + n if "counted" in report.clock() else starts.TIMEOUT

    def stalled():
        results.add(f"{n} at once, stalled and begun again: {name}", "", [1])

    return starts.until_done(lambda i: Sandbox(bench, name, i, PROCESS), n, limit, stalled)


def first_instruction(bench, trace, name, round_):
    """Seconds to KVM's first entry into the guest, and to the guest kernel's first act."""
    directory = bench.tmp / f"monitor-{round_}"
    if name == "caisson":
        directory.mkdir()
        words = ["monitor", harness.BUILD / "caisson-vmm", MICRO, bench.image(), MIB, directory]
    else:
        words = ["exec", *bench.qemu("null,id=console"), "-kernel", MICRO]
    trace.begin()
    with kvmtrace.launched(LAUNCH, *words) as (begun, _):
        act = trace.wait("kvm_pio", "at 0xe9")
        entry = trace.first("kvm_entry")
    return entry - begun, act - begun


def rollup(pid):
    """{name: KiB} of /proc/PID/smaps_rollup."""
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


def meminfo():
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


@contextlib.contextmanager
def sleeping(bench, name, n):
    """n sandboxes that sleep: for each, the pids of (monitor or None, all)."""
    found, running = [], []
    try:
        for i in range(n):
            if name == "QEMU":
                p = subprocess.Popen(bench.command(name, i, SLEEPER), stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE)
                running.append(p)
                while SAID not in os.read(p.stdout.fileno(), 4096):
                    pass
                found.append((p.pid, [p.pid]))
                continue
            out = bench.tmp / "sleeper.out"
            with open(out, "wb") as f:
                subprocess.run(bench.command(name, i, SLEEPER, ["--detach"]), check=True,
                               stdin=subprocess.DEVNULL, stdout=f, stderr=f, timeout=starts.TIMEOUT)
            while SAID not in out.read_bytes():
                time.sleep(0.05)
            found.append(bench_pids(bench, name, i))
        yield found
    finally:
        for p in running:
            p.kill()
            p.communicate()
        for i in range(len(found) if name != "QEMU" else 0):
            delete = {"caisson": bench.caisson.command("delete", "--force", f"bench-{i}"),
                      "crun": ["crun", "--root", str(bench.tmp / "crun"), "delete", "--force",
                               f"bench-{i}"]}[name]
            subprocess.run(delete, check=True, timeout=starts.TIMEOUT)


def bench_pids(bench, name, i):
    if name == "caisson":
        state = json.loads((bench.caisson.root / f"bench-{i}/state.json").read_text())
        monitor = state["monitor"]["pid"]
        children = pathlib.Path(f"/proc/{monitor}/task/{monitor}/children").read_text().split()
        return monitor, [monitor, state["init"]["pid"], *map(int, children)]
    state = json.loads(subprocess.run(["crun", "--root", str(bench.tmp / "crun"), "state",
                                       f"bench-{i}"], check=True, capture_output=True).stdout)
    return None, [state["pid"]]


def memory(bench, name, n):
    """Of n at once, KiB each: {what: [values]}."""
    found = {"monitor": [], "processes": []}
    before = meminfo()
    with sleeping(bench, name, n) as sandboxes:
        time.sleep(1)
        after = meminfo()
        for monitor, pids in sandboxes:
            sizes = {pid: rollup(pid)["Private_Dirty"] for pid in pids}
            if monitor:
                found["monitor"].append(sizes[monitor])
            found["processes"].append(sum(sizes.values()))
    found["guest RAM touched"] = [(before["HugePages_Free"] - after["HugePages_Free"])
                                  * after["Hugepagesize"] / n]
    found["host (MemAvailable)"] = [(before["MemAvailable"] - after["MemAvailable"]) / n]
    return found


class Results:
    def __init__(self):
        self.series = {}

    def add(self, name, unit, values):
        self.series.setdefault((name, unit), []).extend(values)
        print(f"{name}: {' '.join(f'{v:.3f}' for v in values)} {unit}", flush=True)


def measure_monitors(bench, results, rounds):
    with kvmtrace.KvmTrace("kvm_entry", "kvm_pio") as trace:
        for round_ in range(rounds + 1):
            for name in ("caisson", "QEMU"):
                entry, act = first_instruction(bench, trace, name, round_)
                if round_:
                    results.add(f"monitor to first entry: {name}", "s", [entry])
                    results.add(f"monitor to first instruction: {name}", "s", [act])


def measure_starts(bench, results, n, rounds):
    for round_ in range(rounds + 1 if n == 1 else rounds):
        for name in NAMES:
            sandboxes = run_at_once(bench, results, name, n)
            if n == 1 and round_ == 0:
                continue  # the page cache is warm from here on
            for mark in ("init", "process", "end"):
                if mark in sandboxes[0].marks:
                    results.add(f"{n} at once, to {mark}: {name}", "s",
                                [s.marks[mark] for s in sandboxes])
            if name == "caisson":
                for phase in sandboxes[0].phases:
                    results.series.setdefault((f"{n} at once, phase: {phase}", "s"), []).extend(
                        s.phases[phase] for s in sandboxes)


def measure_memory(bench, results, n):
    for name in NAMES:
        for what, values in memory(bench, name, n).items():
            if values:
                results.add(f"{n} at once, memory, {what}: {name}", "KiB", values)


def check_pages(most):
    free, size = meminfo()["HugePages_Free"], meminfo()["Hugepagesize"]
    need = most * MIB * 1024 // size
    if free < need:
        sys.exit(f"bench-start: {need} free huge pages are needed, there are {free} (in the lab: "
                 f"--set hugepages={need}; else: sysctl vm.nr_hugepages={need})")


def claims(out, counts):
    def ratio(name, op, goal, what):
        series = [what.format(n) for n in ("caisson", "QEMU")]
        if all(s in out.data["series"] for s in series):
            out.claim(name, out.median(series[0]) / out.median(series[1]), "of QEMU's", op, goal)

    ratio("monitor's own start, to the first entry", "<=", 1 / 3, "monitor to first entry: {}")
    ratio("monitor's own start, to the first instruction", "<=", 1 / 3,
          "monitor to first instruction: {}")
    for n in counts:
        ratio(f"monitor's private memory, {n} at once", "<=", 1 / 5,
              f"{n} at once, memory, monitor: {{}}")
        ratio(f"sandbox's private memory, {n} at once", "<", 1,
              f"{n} at once, memory, processes: {{}}")
        ratio(f"guest RAM touched, {n} at once", "<=", 1,
              f"{n} at once, memory, guest RAM touched: {{}}")
    for n in counts:
        ratio(f"start to init, {n} at once", "<", 1, f"{n} at once, to init: {{}}")
        ratio(f"start to process, {n} at once", "<", 1, f"{n} at once, to process: {{}}")


def main(options):
    counts = [int(n) for n in (options.at_once or "1,4,16").split(",")]
    rounds = options.rounds or 8
    check_pages(max(counts))
    results = Results()
    with tempfile.TemporaryDirectory() as tmp:
        bench = Bench(pathlib.Path(tmp))
        sleeper = bench.rootfs / "bin/sleeper"
        sleeper.write_text("#!/bin/sh\necho P\nexec sleep 100000\n")
        sleeper.chmod(0o755)
        run_at_once(bench, results, "caisson", 1)  # makes the image
        try:
            measure(bench, results, options.only, counts, rounds)
        finally:  # what there is, is worth a look
            write_report(options, results, counts)


def measure(bench, results, only, counts, rounds):
    if only in (None, "monitor"):
        measure_monitors(bench, results, rounds)
    for n in counts:
        if only in (None, "memory"):
            measure_memory(bench, results, n)
    for n in counts:
        if only in (None, "start"):
            # As many samples from few rounds of many as from many rounds of few.
            measure_starts(bench, results, n, max(2, rounds // n))


def write_report(options, results, counts):
    out = report.Report("start", f"{report.clock()}, host monotonic; engine kvm", options.build)
    for (name, unit), values in results.series.items():
        out.series(name, values, unit)
    claims(out, counts)
    out.finish()
