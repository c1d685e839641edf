# SPDX-License-Identifier: Apache-2.0
"""The second CPU model: a machine of Bochs's that starts the lab's kernel from a disc, runs jobs one after
the other, and ends.

Bochs has what the lab's other emulator has not: PCID and INVPCID, global translations that outlive a change
of CR3, accessed bits of descriptors, supervisor-only instructions that fault in every ring but 0.  It is one
CPU and slow, and its time is the instructions it has executed: the same jobs give the same result, however
little of the real CPU there is for it.

    jobs     {name: text of a shell script}; run in the directory of the files
    files    {name: path}; what a program needs of shared libraries comes with it
"""
import dataclasses
import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from host import LabError, TOP  # noqa: E402
from initrd import Archive  # noqa: E402
from instance import image_build  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
MEMORY = 1024           # MiB
HUGE_PAGES = 192
# Instructions in a second of its time: fewer, and it has little else to do than its clock's interrupts; more,
# and it is long in waiting for anything, the disc before all.
SPEED = 10_000_000
TIME = 1_790_000_000    # when it starts
CPU_SECONDS = 1800      # that it may use of the real one
# The TSC counts its instructions, which is exact; what CPUID says of its frequency is of another clock.  A
# panic is a reset, and a reset is the end (below).  The rest is what the start can do without.
APPEND = (f"console=ttyS0 quiet loglevel=4 nokaslr no5lvl tsc=reliable tsc_early_khz={SPEED // 1000} panic=-1 "
          f"oops=panic reboot=t hugepages={HUGE_PAGES} audit=0 cryptomgr.notests init_on_alloc=0 nomodeset "
          "8250.nr_uarts=1")

GRUB = f"""linux /vmlinuz {APPEND}
initrd /initrd
boot
"""

BOCHSRC = """cpu: model=arrow_lake, count=1, ips={speed}, reset_on_triple_fault=0
memory: guest={memory}, host={memory}
romimage: file=$BXSHARE/BIOS-bochs-latest
vgaromimage: file=$BXSHARE/VGABIOS-lgpl-latest
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=disc, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=serial.log
display_library: term
log: bochs.log
clock: sync=none, time0={time}
# A reset and a power-off are panics for it: the end.
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
"""


@dataclasses.dataclass
class Result:
    status: int | None = None   # the script's; None: the machine died of it
    output: str = ""
    kernel: str = ""            # what the machine's kernel said meanwhile


def tree():
    r = subprocess.run([HERE / "tree"], stdout=subprocess.PIPE, text=True)
    if r.returncode != 0:
        raise LabError("Bochs could not be made ready")
    return pathlib.Path(r.stdout.splitlines()[-1])


def program(root, name):
    """A program of the directory's, by the directory's loader and libraries."""
    return [f"{root}/usr/lib64/ld-linux-x86-64.so.2", "--library-path",
            f"{root}/usr/lib/x86_64-linux-gnu", f"{root}/usr/bin/{name}"]


def libraries(path):
    """Shared libraries that a program of this machine's needs."""
    if pathlib.Path(path).read_bytes()[:4] != b"\x7fELF":
        return []
    r = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return re.findall(r"(/\S+) \(0x", r.stdout)


def module(directory, name, define=""):
    r = subprocess.run([TOP / "lab/module", *(["--define", define] if define else []), name, directory],
                       stdout=subprocess.PIPE, text=True)
    if r.returncode != 0:
        raise LabError(f"module {name} could not be built")
    return pathlib.Path(r.stdout.splitlines()[-1])


def initrd(image, jobs, files):
    archive = Archive()
    for name in ("dev", "proc", "sys", "tmp"):
        archive.add(name, 0o40755)
    archive.add("dev/console", 0o20600, rdev=(5, 1))
    archive.file("bin/busybox", (image / "root/usr/bin/busybox").read_bytes(), 0o755)
    archive.file("init", (HERE / "init").read_bytes(), 0o755)
    archive.file("quirk.ko", module(HERE / "quirk", "quirk").read_bytes())
    needed = set()
    for name, path in files.items():
        path = pathlib.Path(path)
        archive.file(f"files/{name}", path.read_bytes(), path.stat().st_mode & 0o755)
        needed |= set(libraries(path))
    for path in sorted(needed):
        archive.file(path.lstrip("/"), pathlib.Path(path).read_bytes(), 0o755)
    # In the order of their names.
    for n, (name, text) in enumerate(jobs.items()):
        archive.file(f"jobs/{n:03}-{name}", text.encode())
    return archive.bytes()


def disc(root, image, directory, archive):
    """Writes what it starts from."""
    content = directory / "content"
    content.mkdir()
    (content / "vmlinuz").symlink_to(image / "vmlinuz")
    (content / "initrd").write_bytes(archive)
    (directory / "grub.cfg").write_text(GRUB)
    for command in (
            [*program(root, "grub-mkimage"), "-O", "i386-pc-eltorito", "-d", f"{root}/usr/lib/grub/i386-pc",
             "-p", "(cd)/", "-c", directory / "grub.cfg", "-o", content / "grub", "biosdisk", "iso9660",
             "linux"],
            [*program(root, "xorriso"), "-as", "mkisofs", "-quiet", "-follow-links", "-r", "-o", directory / "disc",
             "-b", "grub", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", content]):
        r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if r.returncode != 0:
            raise LabError(f"the disc could not be made: {r.stdout.strip()[-300:]}")


def environment(root):
    return {"BXSHARE": f"{root}/usr/share/bochs", "TERM": "vt100", "HOME": "/nonexistent",
            "LTDL_LIBRARY_PATH": f"{root}/usr/lib/x86_64-linux-gnu/bochs/plugins",
            "TERMINFO_DIRS": f"{root}/usr/lib/terminfo:{root}/usr/share/terminfo"}


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Listener:
    """What the machine says on its serial port, as it comes."""

    def __init__(self, path, said):
        self.path, self.said = path, said
        self.at, self.rest = 0, ""
        self.results, self.name, self.done, self.booted = {}, None, False, False

    def listen(self):
        with open(self.path, "rb") as f:
            f.seek(self.at)
            data = f.read()
        self.at += len(data)
        *lines, self.rest = (self.rest + data.decode(errors="replace").replace("\r", "")).split("\n")
        for line in lines:
            self.line(line)

    def line(self, line):
        word, _, rest = line.partition(" ")
        if word == "@boot":
            self.booted = True
        elif word == "@begin":
            self.name = rest.partition("-")[2]
            self.results[self.name] = Result()
        elif word == "@end":
            self.results[self.name].status = int(rest.rpartition(" ")[2])
            self.name = None
        elif word == "@done":
            self.done = True
        elif self.name and word == "@kernel":
            self.results[self.name].kernel += rest + "\n"
        elif self.name:
            self.results[self.name].output += line + "\n"
        self.said(line)


def machine(root, directory, listener, seconds):
    """Runs until it ends, or says that it is done."""
    (directory / "bochsrc").write_text(BOCHSRC.format(speed=SPEED, memory=MEMORY, time=TIME))
    (directory / "serial.log").write_bytes(b"")
    screen, terminal = pty.openpty()
    with open(directory / "stderr", "wb") as stderr:
        p = subprocess.Popen([*program(root, "bochs-bin"), "-q", "-f", "bochsrc"], cwd=directory,
                             env=environment(root), stdin=terminal, stdout=terminal, stderr=stderr,
                             start_new_session=True)
    os.close(terminal)
    try:
        while p.poll() is None and not listener.done:
            if select.select([screen], [], [], 0.5)[0]:
                try:
                    os.read(screen, 65536)
                except OSError:     # its last descriptor of it is closed
                    time.sleep(0.5)
            listener.listen()
            if p.poll() is None and cpu_seconds(p.pid) > seconds:
                return f"it was not done after {seconds} s of CPU time"
    finally:
        p.kill()
        p.wait()
        os.close(screen)
    listener.listen()
    return None if listener.done else "it ended before it was done"


def batch(jobs, files, seconds=CPU_SECONDS, said=lambda line: None, keep=None):
    """({name: Result}, None or what went wrong).  A job that the machine died of has no status, those
    after it have no result.  `said` is called with each line of the serial port; `keep`: a directory for
    what else is to be seen.
    """
    root, image = tree(), image_build()
    with tempfile.TemporaryDirectory(prefix="bochs.") as tmp:
        directory = pathlib.Path(keep or tmp)
        directory.mkdir(exist_ok=True)
        disc(root, image, directory, initrd(image, jobs, files))
        listener = Listener(directory / "serial.log", said)
        wrong = machine(root, directory, listener, seconds)
    if not listener.booted:
        raise LabError(f"the machine did not start: {wrong}; with --keep DIR there is more to be seen")
    return listener.results, wrong
