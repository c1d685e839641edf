# SPDX-License-Identifier: Apache-2.0
"""QEMU's command line for a host."""
import os

from channel import PORTS
from host import LabError

# tsc=reliable: under load the clock watchdog would drop the TSC for no fault of its own.
# sysrq_always_enabled: a host that does not answer any more is asked by the keyboard (Instance.stuck).
APPEND = ("console=ttyS0 panic=-1 tsc=reliable audit=0 sysrq_always_enabled "
          "systemd.unit=lab.target systemd.log_level=notice systemd.show_status=false")


def qemu_program(root):
    """QEMU out of the image's directory, by the loader and the libraries that it was built for."""
    libraries = f"{root}/usr/lib/x86_64-linux-gnu"
    return [f"{root}/usr/lib64/ld-linux-x86-64.so.2", "--library-path", libraries,
            f"{root}/usr/bin/qemu-system-x86_64", "-L", f"{root}/usr/share/qemu",
            "-L", f"{root}/usr/share/seabios", "-L", f"{root}/usr/lib/ipxe/qemu"]


def qemu_environment(root, directory):
    return {**os.environ, "QEMU_MODULE_DIR": f"{root}/usr/lib/x86_64-linux-gnu/qemu",
            "TMPDIR": str(directory)}


def accelerator(icount):
    """("tcg" or "kvm", its options); the environment's ACCEL chooses."""
    accel = os.environ.get("ACCEL") or "tcg"
    if accel == "kvm":
        if icount:
            raise LabError("instructions can be counted only under emulation, not with ACCEL=kvm")
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            raise LabError("ACCEL=kvm: this machine has no usable /dev/kvm")
        return "kvm", ["-accel", "kvm"]
    if accel != "tcg":
        raise LabError(f"ACCEL: '{accel}' is not one of tcg, kvm")
    if icount:
        # One instruction is one nanosecond, and idle time passes at once.
        return "tcg", ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]
    return "tcg", ["-accel", "tcg,thread=multi"]


def nic_arguments(count):
    """NICs on one wire; a root port each, so that each has a function level reset of its own."""
    words = []
    for n in range(count):
        words += ["-device", f"pcie-root-port,id=rp{n},bus=pcie.0,chassis={n + 1},slot={n + 1},"
                             f"addr={0x10 + n:#x}",
                  "-netdev", f"hubport,id=wire{n},hubid=0",
                  "-device", f"igb,id=nic{n},bus=rp{n},netdev=wire{n},mac=52:54:00:ca:15:{n:02x}"]
    return words


def spare_arguments(count):
    """Functions for tests that lend one: ivshmem (memory in a prefetchable BAR of 4 MiB), and an NVMe
    controller without a disk (registers, and an MSI-X table among them)."""
    words = []
    for n in range(count):
        words += ["-object", f"memory-backend-ram,id=spare{n},size=4M,share=on",
                  "-device", f"ivshmem-plain,memdev=spare{n}",
                  "-device", f"nvme,serial=spare{n}"]
    return words


def iommu_arguments(kind):
    return {"none": [], "intel": ["-device", "intel-iommu,intremap=on"],
            "amd": ["-device", "amd-iommu,intremap=on"]}[kind]


def machine_command(host, image, shares, icount=False):
    """The command, to be run in the host's directory, where the initramfs is and the sockets will be.

    shares: {tag: (path, writable)}.
    """
    root = image / "root"
    kind, accel = accelerator(icount)
    iommu = host.iommu != "none"
    append = [APPEND, host.append]
    if iommu:
        append.append("intel_iommu=on" if host.iommu == "intel" else "amd_iommu=on")
    if host.hugepages:
        append.append(f"hugepages={host.hugepages}")
    cpu = host.cpu
    if kind == "kvm":
        cpu = "host,-svm,-vmx" if "-svm" in host.cpu.split(",") else "host"
    if icount:
        # Guests of the host have been seen to stall without them.
        cpu = cpu.replace(",-erms,-fsrm", "")
    # The HPET would tick 250 times a second for ever; the hosts' clock is the TSC.
    machine = "q35,hpet=off"
    if kind == "kvm" and iommu:
        machine += ",kernel-irqchip=split"
    words = [
        *qemu_program(root), *accel,
        "-cpu", cpu, "-smp", str(host.cpus),
        "-M", machine, "-m", host.memory,
        # The IOMMU is there before what it is to translate.
        *iommu_arguments(host.iommu),
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-serial", "file:serial.log", "-monitor", "unix:monitor,server=on,wait=off",
        "-kernel", str(image / "vmlinuz"), "-initrd", "initrd", "-append", " ".join(append),
        "-drive", f"file={image}/root.img,if=none,id=disk,format=raw,snapshot=on",
        "-device", "virtio-blk-pci,drive=disk", "-device", "virtio-serial-pci,id=channel",
    ]
    for n in range(PORTS):
        words += ["-chardev", f"socket,id=port{n},path=port{n},server=on,wait=off",
                  "-device", f"virtserialport,bus=channel.0,chardev=port{n},name=caisson-lab.{n}"]
    for tag, (path, writable) in shares.items():
        if "," in str(path):
            raise LabError(f"'{path}' cannot be shared: there is a comma in it")
        words += ["-fsdev", f"local,id={tag},path={path},security_model=none,multidevs=remap"
                            + ("" if writable else ",readonly=on"),
                  "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
    return words + nic_arguments(host.nics) + spare_arguments(host.spares)
