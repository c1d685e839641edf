# SPDX-License-Identifier: Apache-2.0
"""A whole `caisson run` of /bin/true on the emu engine, against bare QEMU.

Compared, turn by turn in one run: QEMU with the very machine, memory and kernel command line that
a running sandbox shows, booting the same kernel with an init that ends at once.  The difference is
all that Caisson adds: its own processes, the devices, the agent, the root file system, the
container.  Also: the phases of a start, as medians over the rounds.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import harness
import phases
import report

# What of QEMU's command line makes the machine; the rest are Caisson's devices and its jail.
MACHINE_FLAGS = {"-nodefaults", "-no-user-config", "-no-reboot"}
MACHINE_OPTIONS = {"-display", "-monitor", "-M", "-global", "-accel", "-cpu", "-smp", "-m", "-append"}


def bare_command(caisson, bundle):
    """QEMU as it runs in a sandbox, without devices."""
    cid = "bench-look"
    looker = harness.Bundle(bundle.path.parent / "look", bundle.config["root"]["path"],
                            ["sleep", "1000"])
    # Not with pipes: the sandbox keeps its standard streams.
    subprocess.run(caisson.command("run", "--detach", "--bundle", looker.path, cid), check=True,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    state = json.loads((caisson.root / cid / "state.json").read_text())
    monitor = state["monitor"]["pid"]
    qemu = pathlib.Path(f"/proc/{monitor}/task/{monitor}/children").read_text().split()[0]
    words = pathlib.Path(f"/proc/{qemu}/cmdline").read_text().split("\0")[:-1]
    caisson("delete", "--force", cid, check=True)
    command = [words[0], "-kernel", harness.BUILD / "vmlinux",
               "-initrd", harness.BUILD / "bench/start/init.cpio"]
    for word, value in zip(words[1:], words[2:] + [""]):
        if word in MACHINE_FLAGS:
            command.append(word)
        elif word in MACHINE_OPTIONS:
            command += [word, value]
    return command


def timed(command):
    start = time.monotonic()
    r = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                       timeout=120)
    took = time.monotonic() - start
    if r.returncode != 0:
        sys.exit(f"bench-start: {command[0]} ended with {r.returncode}: {r.stderr}")
    return took


def main(options):
    series, parts = {"caisson run": [], "bare QEMU": []}, {}
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        caisson = harness.Caisson(tmp / "caisson", engine="emu")
        bundle = harness.Bundle(tmp / "bundle", harness.make_rootfs(tmp / "rootfs"), ["/bin/true"])
        timeline = tmp / "timeline"
        run = caisson.command("--timeline", timeline, "run", "--bundle", bundle.path, "bench")
        bare = bare_command(caisson, bundle)
        for round_ in range((options.rounds or 15) + 1):
            for name, command in (("caisson run", run), ("bare QEMU", bare)):
                took = timed(command)
                if round_ == 0:
                    continue  # the first makes the image and warms the page cache
                series[name].append(took)
                print(f"round {round_}: {name}: {took:.3f} s", flush=True)
            for phase, seconds in phases.read(timeline).items():
                if round_:
                    parts.setdefault(phase, []).append(seconds)
    out = report.Report("start", f"{report.clock()}, host monotonic; engine emu (QEMU TCG)",
                        options.build)
    for name, values in series.items():
        out.series(name, values, "s")
    out.series("ratio, pair by pair", [a / b for a, b in zip(*series.values())], "")
    for phase, values in parts.items():
        out.series("phase: " + phase, values, "s")
    out.claim("caisson run against bare QEMU (medians)",
              out.median("caisson run") / out.median("bare QEMU"), "ratio", "<=", 1.25)
    out.finish()
