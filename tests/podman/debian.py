# SPDX-License-Identifier: Apache-2.0
"""A Debian as a container's root file system, out of packages that are installed on this machine: no archive
and no network is needed, so it can be made in a host of the lab, too."""
import functools
import os
import re
import subprocess

LEFT_OUT = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/info/")
# Drivers for screens and the sanitizers: named by what needs nothing of them here, and half of it all.
UNUSED = re.compile("libllvm|libz3|mesa-|lib(a|t|l|hwa|ub)san")
# Files that no package brings: who is who, and what is installed.
BESIDE = ["/etc/passwd", "/etc/group", "/etc/ld.so.cache", "/var/lib/dpkg/status"]
DIRECTORIES = ["/dev", "/proc", "/run", "/sys", "/tmp", "/var/tmp"]


def dpkg(*args):
    return subprocess.run(["dpkg-query", *args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, check=True).stdout


@functools.cache
def installed():
    """{name: packages that it needs} and {name: who provides it}, of all that is installed."""
    needs, provides = {}, {}
    form = "${db:Status-Abbrev}|${Package}|${Pre-Depends}, ${Depends}|${Provides}\\n"
    for line in dpkg("-W", "-f", form).splitlines():
        status, name, depends, provided = line.split("|", 2) + [""]
        depends, _, provided = depends.rpartition("|")
        if status.startswith("ii"):
            needs[name] = [names(group) for group in depends.split(",") if group.strip()]
            for other in names(provided.replace(",", "|")):
                provides.setdefault(other, name)
    return needs, provides


def names(alternatives):
    """Of "a (>= 1) | b:any": a, b."""
    found = (re.match(r"\s*([a-z0-9][a-z0-9+.-]*)", a) for a in alternatives.split("|"))
    return [m[1] for m in found if m]


def closure(packages):
    """The packages, and what they need of what is installed (a name: its first provider)."""
    needs, provides = installed()
    todo, found = list(packages), set()
    while todo:
        name = todo.pop()
        if name in found or UNUSED.match(name):
            continue
        if name not in needs:
            raise LookupError(f"Debian package {name} is not installed")
        found.add(name)
        for alternatives in needs[name]:
            there = [a if a in needs else provides.get(a) for a in alternatives]
            todo += [a for a in there if a][:1]
    return found


def files(packages):
    """Their files by the names that they have with /usr merged, directories first."""
    listed = {*BESIDE, *DIRECTORIES}
    for package in sorted(closure(packages)):
        listed.update(dpkg("-L", package).splitlines())
    found = {"/" + d for d in os.listdir("/") if os.path.islink("/" + d) and "/" not in
             os.readlink("/" + d).removeprefix("usr/")}
    for path in listed:
        if not path.startswith("/") or path == "/." or path.startswith(LEFT_OUT):
            continue
        path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        if os.path.lexists(path):
            found.add(path)
    return sorted(found)


def copy(packages, directory):
    """Makes the root file system in `directory`: the packages, what they need, and what is essential."""
    essential = dpkg("-W", "-f", "${Essential} ${db:Status-Abbrev} ${Package}\n").splitlines()
    paths = files([*(line.split()[2] for line in essential if line.startswith("yes ii")), *packages])
    directory.mkdir()
    tar = ["tar", "-C", "/", "-c", "--no-recursion", "--null", "--verbatim-files-from", "-T", "-"]
    with subprocess.Popen(tar, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p, \
            subprocess.Popen(["tar", "-C", directory, "-x"], stdin=p.stdout) as q:
        p.stdin.write("\0".join("." + path for path in paths).encode())
        p.stdin.close()
        p.stdout.close()
    assert (p.returncode, q.returncode) == (0, 0)
