# SPDX-License-Identifier: Apache-2.0
"""The module on the second CPU model: micro guests and attacks, a fallen monitor, a kernel by the boot
protocol, the guest's Linux up to a shell.  All in one start of the machine.
"""
import os
import pathlib
import re
import stat
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from jobs import TOP, bochs, guest, guest_files, with_module  # noqa: E402

import guests  # noqa: E402
from guests import PASS, SPECIAL  # noqa: E402
from harness import BUILD  # noqa: E402

NAMES = [name for name in guests.NAMES if name not in guests.WINDOW]     # it has no function to lend
VMLINUX = pathlib.Path(os.environ.get("CAISSON_VMLINUX", BUILD / "vmlinux"))
STEPS = re.findall(r'\{"([a-z-]+)", step_\w+\}', (TOP / "tests/cki/linux-init.c").read_text())
LINUX_SECONDS = 900
# What is the guest's: a shell, which forks and execs, and whose children fault, copy and end.
SHELL = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
exec >/dev/kmsg 2>&1
echo "shell: pid $$, $(uname -s) in ring 1"
n=0
while [ $n -lt 20 ]; do n=$(expr $n + 1); done
echo "shell: counted $n"
echo "shell: sum $(seq 1 2000 | md5sum | cut -c1-8)"
dd if=/dev/zero of=/tmp-file bs=1k count=4096 2>/dev/null
echo "shell: wrote $(wc -c </tmp-file)"
sh -c 'kill -SEGV $$'
echo "shell: child ended with $?"
echo "shell: faults $(awk '$1 == "pgfault" { print ($2 > 500) }' /proc/vmstat)"
poweroff -f
"""
SAID = ["pid 1, Linux in ring 1", "counted 20", "sum ", "wrote 4194304", "child ended with 139",
        "faults 1"]


GATES = ("cr3", "pks")


def linux(initramfs, gate, **parameters):
    return with_module(["./cki-linux", "-m", "128", "-t", str(LINUX_SECONDS), "-i", initramfs, "-a",
                        "panic=-1 printk.devkmsg=on quiet loglevel=7", "./vmlinux"], gate=gate, **parameters)


def jobs_of(gate):
    jobs = {f"guest-{name}": guest(name, gate=gate) for name in NAMES}
    jobs["monitor"] = with_module(["./cki-monitor"], gate=gate)
    jobs["kernel"] = with_module(["./cki-engine", "-i", "./initrd", "./cki-kernel"], gate=gate)
    jobs["linux"] = linux("./steps.cpio", gate)
    jobs["shell"] = linux("./shell.cpio", gate)
    return {f"{gate}-{name}": job for name, job in jobs.items()}


JOBS = {"model": "cat /proc/cpuinfo", **jobs_of("cr3"), **jobs_of("pks"),
        "barrier-linux": linux("./steps.cpio", "cr3", ibpb=2)}


def shell_archive(busybox):
    archive = bochs.Archive()
    for name in ("bin", "dev", "proc"):
        archive.add(name, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, rdev=(5, 1))
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    archive.file("init", SHELL.encode(), 0o755)
    return archive.bytes()


def files(directory):
    (directory / "shell").write_bytes(shell_archive(bochs.image_build() / "root/usr/bin/busybox"))
    (directory / "initrd").write_text("a test's initramfs")
    subprocess.run([TOP / "guest/init/mkinitramfs", directory / "steps",
                    BUILD / "tests/cki/cki-linux-init"], check=True)
    return {"caisson.ko": BUILD / "caisson.ko", "vmlinux": VMLINUX, "initrd": directory / "initrd",
            "steps.cpio": directory / "steps", "shell.cpio": directory / "shell",
            **guest_files(BUILD, NAMES),
            **{name: BUILD / "tests/cki" / name for name in
               ("cki-monitor", "cki-engine", "cki-kernel", "cki-linux")}}


@pytest.fixture(scope="session")
def machine(request, tmp_path_factory):
    """What the jobs of the wanted tests came to."""
    wanted = {item.callspec.params["job"] for item in request.session.items if "machine" in item.fixturenames}
    jobs = {name: text for name, text in JOBS.items() if name in wanted}
    return bochs.batch(jobs, files(tmp_path_factory.mktemp("files")),
                       keep=os.environ.get("BOCHS_KEEP") or None)


@pytest.fixture
def result(machine, job):
    results, wrong = machine
    found = results.get(job)
    assert found, f"the machine did not come to it: {wrong}"
    assert found.status is not None, f"the machine died of it: {wrong}\n{found.output[-3000:]}"
    return found


def is_well(result):
    """No guest makes the machine's kernel say anything."""
    assert result.kernel == ""


@pytest.mark.parametrize("job", ["model"])
def test_model(result, job):
    """It has what it is here for."""
    flags = set(re.search(r"^flags\s*: (.*)$", result.output, re.M)[1].split())
    assert {"pge", "pcid", "invpcid", "smep", "umip", "fsgsbase", "pku", "ibt"} <= flags


@pytest.mark.parametrize("job", [name for name in JOBS if "-guest-" in name])
def test_guest(result, job):
    outcome, reason = SPECIAL.get(job.split("-guest-")[1], (PASS, ""))
    assert result.status == outcome, result.output
    assert reason in result.output
    is_well(result)


@pytest.mark.parametrize("job", [f"{gate}-monitor" for gate in GATES])
def test_fallen_monitor(result, job):
    assert result.status == 0, result.output
    is_well(result)


@pytest.mark.parametrize("job", [f"{gate}-kernel" for gate in GATES])
def test_kernel(result, job):
    assert result.status == 0, result.output
    assert "all is well\n" in result.output
    is_well(result)


def guests_kernel_is_well(output):
    assert not re.search(r"WARNING:|BUG:|Oops|Call Trace|Firmware Bug", output), output


@pytest.mark.parametrize("job", [f"{kind}-linux" for kind in (*GATES, "barrier")])
def test_linux(result, job):
    assert result.status == 0, result.output[-3000:]
    assert re.findall(r"\] ok ([a-z-]+)$", result.output, re.M) == STEPS, result.output[-3000:]
    assert "] done\n" in result.output
    guests_kernel_is_well(result.output)
    is_well(result)


@pytest.mark.parametrize("job", [f"{gate}-shell" for gate in GATES])
def test_shell(result, job):
    assert result.status == 0, result.output[-3000:]
    said = re.findall(r"\] shell: (.*)$", result.output, re.M)
    assert len(said) == len(SAID), result.output[-3000:]
    assert all(line.startswith(wanted) for line, wanted in zip(said, SAID)), said
    guests_kernel_is_well(result.output)
    is_well(result)


def test_command():
    """`lab/bochs/run`, without a file, which once left the machine without a directory to run in."""
    r = subprocess.run([TOP / "lab/bochs/run", "sh", "-c", "echo said; exit 7"], stdout=subprocess.PIPE,
                       text=True)
    assert r.returncode == 7 and "\nsaid\n" in r.stdout, r.stdout[-3000:]
