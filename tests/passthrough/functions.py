# SPDX-License-Identifier: Apache-2.0
"""Virtual functions of a host for tests: made, given addresses, bound to vfio-pci."""
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402
import kernel_module  # noqa: E402

PCI = pathlib.Path("/sys/bus/pci")
IGB, IGB_VF = "0x8086:0x10c9", "0x8086:0x10ca"


def identity(device):
    return f"{(device / 'vendor').read_text().strip()}:{(device / 'device').read_text().strip()}"


def driver(device):
    link = device / "driver"
    return os.readlink(link).rsplit("/", 1)[1] if link.exists() else None


def physical():
    """Network cards that can have virtual functions, by address."""
    return sorted(d for d in (PCI / "devices").iterdir()
                  if (d / "sriov_totalvfs").exists() and (d / "net").exists())


def missing():
    """Why this machine has no function to pass through, or None."""
    if harness.ENGINE == "cki" and not kernel_module.is_lab():
        return "hardware: not a host of the lab, where the module can be loaded"
    if harness.ENGINE != "cki" and not pathlib.Path("/dev/kvm").exists():
        return "hardware: no /dev/kvm"
    if not pathlib.Path("/sys/kernel/iommu_groups/0").exists():
        return "hardware: no IOMMU"
    if not physical():
        return "hardware: no network card with virtual functions"
    return None


# How the host maps for DMA: with iommufd its kernel gets the modules for it (lab/iommufd) if it has
# none; else it is taken as it is.
IOMMU = os.environ.get("CAISSON_TEST_IOMMU", "")
CONTEXT = pathlib.Path("/dev/iommu")


def set_up_iommu():
    assert IOMMU in ("", "type1", "iommufd"), f"CAISSON_TEST_IOMMU is {IOMMU}"
    if IOMMU == "iommufd":
        source, build = (pathlib.Path(os.environ[f"CAISSON_{x}"]) for x in ("SOURCE", "BUILD"))
        assert (build / "lab-iommufd/iommufd.ko").exists(), "it is not built: make lab-iommufd"
        run(source / "lab/guest/iommufd", build / "lab-iommufd")
    assert CONTEXT.exists() == (IOMMU == "iommufd") or not IOMMU


def kind():
    """What is expected to be used."""
    return "iommufd" if CONTEXT.exists() else "type1"


def nodes(device):
    """The names in /dev by which a function can be opened: its group's, its own."""
    own = next((device / "vfio-dev").iterdir()).name
    return (pathlib.Path("/dev/vfio") / (device / "iommu_group").resolve().name,
            pathlib.Path("/dev/vfio/devices") / own)


def opened(device):
    """Whether somebody has a function open."""
    names = set(map(str, nodes(device)))
    for fd in pathlib.Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(fd) in names:
                return True
        except OSError:
            pass
    return False


def run(*words):
    r = subprocess.run(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, timeout=60)
    assert r.returncode == 0, f"{words}: {r.stdout}"
    return r.stdout


class Card:
    """A physical function, up, with `n` virtual ones bound to vfio-pci."""

    def __init__(self, device, n):
        self.device = device
        self.name = next((device / "net").iterdir()).name
        run("ip", "link", "set", self.name, "up")
        if int((device / "sriov_numvfs").read_text()) == 0:
            # Their drivers on the host would only be in the way.
            (device / "sriov_drivers_autoprobe").write_text("0")
            (device / "sriov_numvfs").write_text(str(n))
        self.functions = [Function(self, i, (device / f"virtfn{i}").resolve())
                          for i in range(int((device / "sriov_numvfs").read_text()))]


class Function:
    def __init__(self, card, number, device):
        self.card, self.number, self.device = card, number, device
        self.address = device.name
        self.mac = f"02:00:{card.device.name[5:7]}:00:00:{number + 1:02x}"
        run("ip", "link", "set", card.name, "vf", number, "mac", self.mac)
        self.bind()

    def bind(self):
        device = self.device
        if driver(device) != "vfio-pci":
            (device / "driver_override").write_text("vfio-pci")
            (PCI / "drivers_probe").write_text(self.address)
        until = time.monotonic() + 10
        while driver(device) != "vfio-pci":
            assert time.monotonic() < until, f"{self.address} is bound to {driver(device)}"
            time.sleep(0.05)
