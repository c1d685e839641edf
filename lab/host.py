# SPDX-License-Identifier: Apache-2.0
"""Host descriptions: files of `key = value` lines in lab/hosts."""
import dataclasses
import pathlib

TOP = pathlib.Path(__file__).resolve().parent.parent
HOSTS = TOP / "lab/hosts"
IOMMUS = ("none", "intel", "amd")


class LabError(Exception):
    """One sentence for the person at the terminal."""


class HostLost(LabError):
    """A host that ran does not answer any more, or has gone away."""


@dataclasses.dataclass
class Host:
    name: str
    about: str = ""
    memory: str = "4G"      # as QEMU's -m takes it
    cpus: int = 2
    cpu: str = "max"        # QEMU's CPU model and flags; under ACCEL=kvm it is the machine's own
    iommu: str = "none"
    nics: int = 0           # igb, each behind its own root port, all on one wire
    spares: int = 0         # two functions that no driver takes: memory, registers with MSI-X
    hugepages: int = 0      # of 2 MiB, set aside at boot
    modules: str = ""       # loaded before the first process
    append: str = ""        # kernel command line, beside the lab's own
    suites: str = ""        # what `lab test` runs
    engine: str = ""        # that they test (CAISSON_TEST_ENGINE); none: what "auto" takes

    def set(self, key, value):
        known = {f.name: f.type for f in dataclasses.fields(self) if f.name != "name"}
        if key not in known:
            raise LabError(f"host {self.name}: there is no key '{key}'")
        if known[key] is int:
            if not value.isdigit():
                raise LabError(f"host {self.name}: {key}: '{value}' is not a number")
            value = int(value)
        if key == "iommu" and value not in IOMMUS:
            raise LabError(f"host {self.name}: iommu: '{value}' is not one of {', '.join(IOMMUS)}")
        setattr(self, key, value)


def host_names():
    return sorted(p.name for p in HOSTS.iterdir() if p.is_file())


def host_read(name, changes=()):
    """The host of that name; `changes` are KEY=VALUE strings that go over its description."""
    if name not in host_names():
        raise LabError(f"there is no host '{name}' (there are {', '.join(host_names())})")
    host = Host(name)
    for line in (HOSTS / name).read_text().splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            key, _, value = line.partition("=")
            host.set(key.strip(), value.strip())
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise LabError(f"'{change}' is not KEY=VALUE")
        host.set(key.strip(), value.strip())
    return host
