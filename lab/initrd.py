# SPDX-License-Identifier: Apache-2.0
"""The initramfs of a host: the modules that its disk and shares need, those of its description,
and the tree of files (lab/guest/overlay) that is laid over the disk at every boot.

Not compressed: the emulated machine would be long in unpacking it.
"""
import hashlib
import lzma
import pathlib
import stat

from host import LabError, TOP

GUEST = TOP / "lab/guest"
# The disk, the shares, the command channel.
MODULES = ["virtio_blk", "crc32c_generic", "ext4", "9pnet_virtio", "9p", "virtio_console"]


class Archive:
    """A cpio archive in the kernel's format (newc)."""

    def __init__(self):
        self.parts, self.names = [], set()

    def add(self, name, mode, data=b"", rdev=(0, 0)):
        parent = name.rpartition("/")[0]
        if parent and parent not in self.names:
            self.add(parent, stat.S_IFDIR | 0o755)
        self.names.add(name)
        self._entry(name, mode, data, rdev)

    def _entry(self, name, mode, data, rdev):
        path = name.encode() + b"\0"
        fields = (len(self.names), mode, 0, 0, 2 if stat.S_ISDIR(mode) else 1, 0, len(data), 0, 0,
                  *rdev, len(path), 0)
        head = b"070701" + b"".join(b"%08X" % f for f in fields) + path
        self.parts += [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]

    def file(self, name, data, mode=0o644):
        self.add(name, stat.S_IFREG | mode, data)

    def link(self, name, target):
        self.add(name, stat.S_IFLNK | 0o777, target.encode())

    def bytes(self):
        self._entry("TRAILER!!!", 0, b"", (0, 0))
        return b"".join(self.parts)


def module_name(path):
    return pathlib.Path(path).name.split(".")[0].replace("-", "_")


def module_order(directory, wanted):
    """Paths below `directory` of the wanted modules and all they need, in loading order."""
    needs, paths = {}, {}
    for line in (directory / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        paths[module_name(path)] = path
        needs[path] = rest.split()
    built_in = {module_name(p) for p in (directory / "modules.builtin").read_text().split()}
    order = []

    def visit(path):
        for other in needs[path]:
            visit(other)
        if path not in order:
            order.append(path)

    for name in (n.replace("-", "_") for n in wanted):
        if name in paths:
            visit(paths[name])
        elif name not in built_in:
            raise LabError(f"the lab's kernel has no module '{name}'")
    return order


def initrd_make(image, host):
    """The archive's bytes; `image` is an entry of the image cache."""
    root = image / "root"
    modules = root / "usr/lib/modules" / (image / "release").read_text().strip()
    archive = Archive()
    for name in ("dev", "proc", "sys", "root"):
        archive.add(name, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, rdev=(5, 1))
    archive.file("bin/busybox", (root / "usr/bin/busybox").read_bytes(), 0o755)
    archive.file("init", (GUEST / "init").read_bytes(), 0o755)
    order = module_order(modules, MODULES + host.modules.split())
    for path in order:
        data = (modules / path).read_bytes()
        archive.file(f"modules/{module_name(path)}.ko",
                     lzma.decompress(data) if path.endswith(".xz") else data)
    archive.file("modules/order", "".join(module_name(p) + "\n" for p in order).encode())
    overlay = GUEST / "overlay"
    for path in sorted(p for p in overlay.rglob("*") if p.is_file()):
        archive.file(f"overlay/{path.relative_to(overlay)}", path.read_bytes(),
                     path.stat().st_mode & 0o755)
    for line in (GUEST / "masked-units").read_text().splitlines():
        unit = line.partition("#")[0].strip()
        if unit:
            kind = "system-generators" if unit.endswith("-generator") else "system"
            archive.link(f"overlay/etc/systemd/{kind}/{unit}", "/dev/null")
    # Without a machine-id, every boot is a first boot.
    machine_id = hashlib.md5(host.name.encode()).hexdigest()
    for name, text in (("machine-id", machine_id), ("hostname", host.name),
                       ("hosts", f"127.0.0.1 localhost {host.name}\n::1 localhost")):
        archive.file(f"overlay/etc/{name}", f"{text}\n".encode())
    return archive.bytes()
