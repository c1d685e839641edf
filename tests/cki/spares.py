# SPDX-License-Identifier: Apache-2.0
"""Functions of the lab's hosts that no driver takes (`spares` in lab/README.md)."""
import pathlib

import pytest

IDS = {"memory": ("0x1af4", "0x1110"),       # ivshmem
       "registers": ("0x1b36", "0x0010")}    # nvme


def spare(kind):
    """The function's directory in sysfs; its memory is switched on."""
    for function in sorted(pathlib.Path("/sys/bus/pci/devices").iterdir()):
        found = tuple((function / name).read_text().strip() for name in ("vendor", "device"))
        if found == IDS[kind]:
            if (function / "enable").read_text().strip() == "0":
                (function / "enable").write_text("1")
            return function
    pytest.skip("hardware: no function to lend")


def vfio_group(function):
    """The file of the function's IOMMU group, with vfio-pci as its driver; for good."""
    if not (function / "iommu_group").exists():
        pytest.skip("hardware: no IOMMU")
    if not (function / "driver").exists():
        (function / "driver_override").write_text("vfio-pci")
        pathlib.Path("/sys/bus/pci/drivers_probe").write_text(function.name)
    return pathlib.Path("/dev/vfio") / (function / "iommu_group").resolve().name
