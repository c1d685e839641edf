# SPDX-License-Identifier: Apache-2.0
"""What a container sees of the host, and what it can do to it: nothing but what is shared."""
import errno
import os
import pathlib
import stat
import subprocess

import pytest

from ptrace import call_in
from support import (CAISSON, assert_sentence, descendants, engine, eventually, libc, make_rootfs,
                     no_network, use_netns)

# What QEMU's file server may use (vmm/jail.c): CHOWN, DAC_OVERRIDE, FOWNER, FSETID.  Not
# DAC_READ_SEARCH: with open_by_handle_at(2) it would reach every file of a share's file system.
FILE_CAPS = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4
# and virtiofsd: SETUID and SETGID
VIRTIOFSD_CAPS = 1 << 6 | 1 << 7
ALL_CAPS = ["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_CHOWN",
            "CAP_FOWNER", "CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_FSETID",
            "CAP_SETUID", "CAP_SETGID", "CAP_SYS_RESOURCE", "CAP_KILL"]


# The sanitizers' run time makes system calls of its own: such builds have no filter of ours.
SANITIZED = b"__asan_init" in CAISSON.read_bytes()


def all_caps(config):
    config["process"]["capabilities"] = {
        s: ALL_CAPS for s in ("bounding", "effective", "permitted")}
    config["process"]["noNewPrivileges"] = False


def volume(source, destination="/data", *options):
    return {"destination": destination, "type": "bind", "source": str(source),
            "options": ["bind", *options]}


def outcome(function):
    """What it returns, or None if it was not the time for it."""
    try:
        return function()
    except AssertionError:
        return None


def status_of(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def test_host_not_visible(box, caisson):
    """No process, file, device or kernel of the host is to be seen, by all of root's powers."""
    secret = caisson.path / "secret"
    secret.write_text("host")
    b = box(edit=all_caps).up()
    assert b.sh("uname -r").strip() != os.uname().release
    assert b.sh("cat /proc/sys/kernel/random/boot_id") != pathlib.Path(
        "/proc/sys/kernel/random/boot_id").read_text()
    inside = {int(p) for p in b.sh("ls /proc").split() if p.isdigit()}
    assert 1 in inside and len(inside) < 6
    assert not b.sh(f"cat {secret} 2>/dev/null; true")
    assert "mnt" not in b.sh("ls /").split()
    devices = b.sh("cat /proc/partitions; ls /sys/block").split()
    assert not {"vda2", "sda", "nvme0n1"} & set(devices)
    # With a node of its own making it reaches the guest's disk: its own root's image, which is
    # not written to, neither by the guest's kernel nor by the machine below.
    b.sh("mknod /tmp/d b 254 0; dd if=/dev/zero of=/tmp/d bs=512 count=1 2>/dev/null && exit 9; "
         "exit 8", status=8)


def test_paths_and_privileges(box):
    """Masked and read-only paths, capabilities, no_new_privs and rlimits are as configured."""
    b = box()
    p = b.config["process"]
    p["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
                    {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    b.config["linux"]["maskedPaths"] = ["/proc/kcore", "/sys/firmware", "/etc/passwd", "/home"]
    b.config["linux"]["readonlyPaths"] = ["/proc/sys", "/var", "/etc/group"]
    b.up()
    assert b.sh("cat /proc/kcore /etc/passwd; ls /home; ls /sys/firmware") == ""
    for write in ("echo 1 >/proc/sys/kernel/panic", "touch /var/x", "echo >>/etc/group",
                  "touch /home/x", "mount -t tmpfs x /mnt", "mknod /x c 1 3", "chown 1 /tmp",
                  "hostname x", "mount -o remount,rw /var"):
        b.sh(f"{write} 2>/dev/null && exit 9; exit 8", status=8)
    s = dict(line.split(":\t", 1) for line in b.sh("cat /proc/self/status").splitlines()
             if ":\t" in line)
    assert s["NoNewPrivs"] == "1"
    assert int(s["CapEff"], 16) == int(s["CapBnd"], 16) == 1 << 29 | 1 << 10 | 1 << 5
    assert int(s["CapInh"], 16) == int(s["CapAmb"], 16) == 0
    assert b.sh("ulimit -n; ulimit -Hn; ulimit -c").split() == ["100", "200", "0"]


def test_seccomp(box):
    """The configuration's seccomp filter is in force, for the first process and for execs."""
    b = box()
    b.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
                     {"names": ["mknod", "mknodat"], "action": "SCMP_ACT_KILL_PROCESS"}]}
    b.up()
    assert "Seccomp:\t2" in b.sh("cat /proc/1/status")
    assert "not supported" in b.sh("mkdir /tmp/x 2>&1; true")
    assert b.exec("mkfifo", "/tmp/f").returncode == 128 + 31
    b.sh("touch /tmp/x")


def test_readonly_root_and_writes(box, caisson):
    """Writes are the container's own: the host's directory keeps its bytes; read-only is."""
    root = make_rootfs(caisson.path / "rootfs")
    (root / "etc/keep").write_text("host")
    before = subprocess.run(["find", root, "-printf", "%p %m %s %u %T@\n"], check=True,
                            stdout=subprocess.PIPE).stdout
    b = box(rootfs=root, edit=all_caps).up()
    b.sh("echo guest >/etc/keep; rm -r /home; mkdir /new; chmod 777 /bin; chown 7 /etc/group")
    assert b.sh("cat /etc/keep; stat -c %a /bin") == "guest\n777\n"
    assert (root / "etc/keep").read_text() == "host"
    after = subprocess.run(["find", root, "-printf", "%p %m %s %u %T@\n"], check=True,
                           stdout=subprocess.PIPE).stdout
    assert after == before
    b.delete("--force")
    b = box(rootfs=root)
    b.config["root"]["readonly"] = True
    b.up()
    b.sh("echo x >/etc/keep", status=1)
    assert b.sh("cat /etc/keep") == "host"


def test_no_network(box):
    """Without a network namespace in the configuration there is loopback and nothing else."""
    b = box(edit=no_network).up()
    assert b.sh("ls /sys/class/net").split() == ["lo"]
    b.sh("ping -c1 -W1 127.0.0.1 >/dev/null 2>&1; nc -w1 8.8.8.8 53 </dev/null", status=1)


def test_network(box, netns):
    """A namespace's address, route and traffic are the guest's; afterwards all is as it was."""
    n = netns()
    b = box(edit=all_caps)
    b.config["process"]["capabilities"]["bounding"] = ALL_CAPS + ["CAP_NET_RAW"]
    for s in ("effective", "permitted"):
        b.config["process"]["capabilities"][s] = ALL_CAPS + ["CAP_NET_RAW"]
    use_netns(b.config, n.path)
    b.up()
    assert f"inet {n.address}/24" in b.sh("ip addr show dev eth0")
    assert f"default via {n.gateway}" in b.sh("ip route")
    b.sh(f"ping -c 2 -W 30 {n.gateway}")
    subprocess.run(["busybox", "ping", "-c", "1", "-W", "30", n.address], check=True,
                   stdout=subprocess.DEVNULL)
    # A second sandbox on the same namespace is refused, and does no harm to the first.
    other = box()
    use_netns(other.config, n.path)
    assert_sentence(other.create(check=False), n.path)
    b.sh(f"ping -c 1 -W 30 {n.gateway}")
    # Nor does one that fails before it ever came to the network.
    other.config["hooks"] = {"prestart": [{"path": "/bin/false"}]}
    assert_sentence(other.create(check=False), "/bin/false")
    b.sh(f"ping -c 1 -W 30 {n.gateway}")
    b.delete("--force")
    n.assert_restored()


def test_memory_limit(box):
    """Above its memory limit the container is killed (137), and nothing else is."""
    b = box(["sh", "-c", "read x; tail /dev/zero"])
    b.config["linux"]["resources"] = {"memory": {"limit": 48 << 20, "swap": 48 << 20}}
    r = b.run(input="go\n", timeout=300)
    assert r.returncode == 137, r
    b = box()
    b.config["linux"]["resources"] = {"memory": {"limit": 48 << 20, "swap": 48 << 20}}
    b.up()
    assert b.exec("tail", "/dev/zero", timeout=300).returncode == 137
    assert b.sh("cat /sys/fs/cgroup/memory.max").strip() == str(48 << 20)
    assert b.status() == "running"


def panics(box):
    b = box(["sh", "-c", "read x; echo 2 >/proc/sys/vm/panic_on_oom; tail /dev/zero"])
    b.config["linux"].update(readonlyPaths=[], maskedPaths=[])
    b.config["mounts"] = [{**m, "options": []} if m["destination"] == "/proc" else m
                          for m in b.config["mounts"]]
    return b


def test_panic(box):
    """A guest whose kernel gives up ends its sandbox, and `run` says why."""
    b = panics(box)
    r = b.run(input="go\n", timeout=300)
    assert r.returncode == 137, r
    said = r.stderr.splitlines()
    assert len(said) == 1, r
    assert said[0].startswith(f"caisson: run: {b.id}: "), r
    assert "Kernel panic - not syncing: Out of memory" in said[0], r


def test_panic_is_told_at_the_end(box):
    """The same, of a container that nobody waits for: `delete` is the last who can say it."""
    b = panics(box)
    b.config["process"]["args"][2] = b.config["process"]["args"][2].removeprefix("read x; ")
    b.create()
    b.start()
    eventually(lambda: b.status() == "stopped", "it ends", 300)
    r = b.delete()
    assert r.stderr.count("\n") == 1 and "Kernel panic - not syncing: Out of memory" in r.stderr, r


def test_fallen_monitor_says_why(box):
    """What is in its log is the monitor's word, which may have fallen: one line, nothing for the terminal."""
    b = box().up()
    with open(b.caisson.root / b.id / "vmm.log", "w") as log:
        log.write("\x1b[2Jall is well\x9b31m\r\nsecond line\n" + "x" * 4096)
    r = b.delete("--force")
    assert r.stderr.startswith("caisson: warning: delete: ") and r.stderr.count("\n") == 1, r
    assert "all is well" in r.stderr and r.stderr.rstrip("\n").isprintable(), r


def test_pids_limit(box):
    """Above its pids limit the container cannot fork, and a fork bomb stays in its guest."""
    b = box()
    b.config["linux"]["resources"] = {"pids": {"limit": 20}}
    b.up()
    out = b.exec("sh", "-c", "for i in $(seq 40); do sleep 1000 & done; true")
    assert "fork" in out.stderr, out
    pids = eventually(lambda: b.caisson("ps", b.id).stdout.split()[1:], "ps answers")
    assert len(pids) <= 20
    assert len(descendants()) < 20


def test_volumes(box, caisson):
    """Directories and files of the host: writes are seen at once on both sides, owners and modes
    are kept, read-only is read-only, and a rename or a hard link is one on the host."""
    d = caisson.path / "volume"
    (d / "sub").mkdir(parents=True)
    ro = caisson.path / "ro"
    ro.mkdir()
    (ro / "file").write_text("ro")
    single = caisson.path / "single"
    single.write_text("one")
    b = box(edit=all_caps)
    b.config["mounts"] += [volume(d), volume(ro, "/ro", "ro"), volume(single, "/etc/one"),
                           volume(single, "/etc/one-ro", "ro")]
    b.up()
    b.sh("echo guest >/data/g; mkdir /data/dir; ln /data/g /data/hard; mv /data/g /data/moved; "
         "ln -s moved /data/link; chmod 640 /data/moved; chown 1000:2000 /data/moved")
    st = (d / "moved").stat()
    assert (d / "hard").samefile(d / "moved") and st.st_nlink == 2
    assert (stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid) == (0o640, 1000, 2000)
    assert os.readlink(d / "link") == "moved" and not (d / "g").exists()
    (d / "from-host").write_text("host")
    assert b.sh("cat /data/from-host /etc/one; rm /data/from-host; echo two >/etc/one") == "hostone"
    assert not (d / "from-host").exists() and single.read_text() == "two\n"
    (d / "moved").write_text("changed by the host")
    assert b.sh("cat /data/moved /etc/one-ro") == "changed by the hosttwo\n"
    for write in ("touch /ro/x", "echo >/ro/file", "rm /ro/file", "echo >/etc/one-ro",
                  "chmod 777 /ro/file", "mount -o remount,rw /ro && touch /ro/x"):
        b.sh(f"{write} 2>/dev/null && exit 9; exit 8", status=8)
    assert sorted(os.listdir(ro)) == ["file"] and (ro / "file").read_text() == "ro"
    # A device node in a shared directory would be one of the host.
    b.sh("mknod /data/node c 1 3 2>/dev/null && exit 9; exit 8", status=8)
    assert not (d / "node").exists()


def test_volume_links_stay_inside(box, caisson):
    """Symbolic links in a volume, made by the container or there before, lead into the container
    and never to the host's files; neither reading nor writing nor mounting through them."""
    outside = caisson.path / "outside"
    outside.write_text("secret of the host")
    d = caisson.path / "volume"
    d.mkdir()
    (d / "absolute").symlink_to(outside)
    (d / "shadow").symlink_to("/etc/shadow")
    (d / "up").symlink_to("../" * 20 + str(outside)[1:])
    (d / "dir").symlink_to(caisson.path)
    b = box(edit=all_caps)
    b.config["mounts"].append(volume(d))
    b.up()
    b.sh(f"ln -s {outside} /data/own; ln -s ../../../../../../../../etc/shadow /data/own-up")
    for name in ("absolute", "shadow", "up", "dir/outside", "own", "own-up"):
        b.sh(f"cat /data/{name} >/dev/null 2>&1 && exit 9; exit 8", status=8)
    b.sh(f"mkdir -p {caisson.path}; echo evil >/data/absolute; echo evil >/data/up; true")
    assert outside.read_text() == "secret of the host"
    assert b.sh("cat /data/absolute") == "evil\n"  # the container's own file of that name
    b.sh("cd /data; cat ../../../outside ../outside /data/../outside 2>/dev/null && exit 9; exit 8",
         status=8)
    b.sh("mv /data/own /data/../../moved; rm -rf /data/dir/ /data/dir; true")
    assert outside.exists() and caisson.root.exists()


@pytest.mark.parametrize("link,destination", [
    ("/../../../etc", "/data/inside"), ("/etc", "/data"), ("../../../../tmp", "/data/deep/er"),
    ("/proc/1/root", "/data/x"), ("/proc/self/fd", "/data/x"), ("data", "/data"),
    ("/dev/../../..", "/data/y")])
def test_mount_destination_links(box, caisson, link, destination):
    """A root file system that has symbolic links where a mount goes: the mount is made inside it
    or refused, and the host gets no file."""
    root = make_rootfs(caisson.path / "rootfs")
    (root / "data").symlink_to(link)
    source = caisson.path / "volume"
    source.mkdir()
    (source / "mark").write_text("here")
    b = box(["sh", "-c", f"cat {destination}/mark 2>/dev/null || echo elsewhere"], rootfs=root)
    b.config["mounts"].append(volume(source, destination))
    watched = ["/etc", "/tmp", "/"]
    before = [set(os.listdir(w)) for w in watched]
    r = b.run()
    if r.returncode:
        assert_sentence(r, status=255)
    else:
        assert r.stdout in ("here", "elsewhere\n")
    for w, names in zip(watched, before):
        new = set(os.listdir(w)) - names
        assert not new & {"inside", "deep", "er", "x", "y", "mark"}
    assert os.listdir(source) == ["mark"]


def test_processes_are_confined(box, caisson):
    """Monitor, its child (QEMU, or the file server) and proxy: a uid of their own, no capabilities
    but those of the file server, namespaces of their own, seccomp, and a root without the host's
    files.  With kvm and cki there is no child without volumes."""
    d = caisson.path / "volume"
    d.mkdir()
    plain = box(edit=no_network).up()
    shared = box(edit=no_network)
    shared.config["mounts"].append(volume(d))
    shared.up()
    uids = set()
    inside = engine() != "emu"      # the machine is the monitor
    server_caps = FILE_CAPS | (VIRTIOFSD_CAPS if inside else 0)
    assert inside == (plain.helper() is None)
    for b, helper_caps in ((plain, 0), (shared, server_caps)):
        for pid, caps in ((b.monitor(), 0), (b.helper(), helper_caps)):
            if pid is None:
                continue
            s = status_of(pid)
            ids = set(s["Uid"].split()) | set(s["Gid"].split())
            assert len(ids) == 1 and int(ids.copy().pop()) >= 0x70000000, s
            uids |= ids
            assert not s["Groups"].strip()
            for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh"):
                assert int(s[kind], 16) & ~caps == 0, (kind, s[kind])
            assert s["NoNewPrivs"] == "1"
            assert s["Seccomp"] == "2" or (SANITIZED and pid == b.monitor())
            names = set(os.listdir(f"/proc/{pid}/root"))
            if names != {"0"}:  # Debian 12's virtiofsd: its root is what it serves
                assert names <= {"dev", "shares", "proc", "pids", "usr", "lib", "lib64", "kernel",
                                 "initrd"}
                assert set(os.listdir(f"/proc/{pid}/root/dev")) <= {"null", "urandom"}
            for ns in ("pid", "ipc", "uts", "net", "mnt"):
                assert os.readlink(f"/proc/{pid}/ns/{ns}") != os.readlink(f"/proc/self/ns/{ns}")
            # A filter holds for a thread.
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                text = (task / "status").read_text()
                assert "NoNewPrivs:\t1" in text and ("Seccomp:\t2" in text or SANITIZED), text
    assert len(uids) == 2  # one per sandbox
    for b in (plain, shared):  # the proxy reads what the guest writes
        s = status_of(b.pid)
        assert int(s["Uid"].split()[0]) >= 0x70000000 and s["Uid"].split()[0] not in uids
        assert int(s["CapPrm"], 16) == int(s["CapBnd"], 16) == 0
        assert s["NoNewPrivs"] == "1" and (s["Seccomp"] == "2" or SANITIZED)
    assert not os.listdir(f"/proc/{plain.helper() or plain.monitor()}/root/shares")
    # What the server may write: nothing but the volumes.
    for line in pathlib.Path(f"/proc/{shared.helper()}/mountinfo").read_text().splitlines():
        point, options = line.split()[4:6]
        if "rw" in options.split(","):
            assert (point.startswith("/shares/") or inside and point == "/0" or
                    point in ("/", "/dev/null", "/dev/urandom")), line


def test_callers_keys(box):
    """Who calls us has keys in its session; none of our processes that stay has them."""
    if not os.path.exists("/proc/keys"):
        pytest.skip("hardware: this kernel has no keys")
    keyctl, session = 250, (0, -3, 0)   # KEYCTL_GET_KEYRING_ID of KEY_SPEC_SESSION_KEYRING

    def session_of(pid):
        # Woken, it may be on its way to wait again.
        serial = eventually(lambda: outcome(lambda: call_in(pid, keyctl, *session)), "it waits")
        assert serial > 0, os.strerror(-serial)
        return serial

    assert libc.syscall(keyctl, 1, b"caisson-e2e") > 0      # KEYCTL_JOIN_SESSION_KEYRING
    own = libc.syscall(keyctl, *session)
    bystander = subprocess.Popen(["sleep", "1000000"])
    try:
        eventually(lambda: session_of(bystander.pid) == own, "it has them, as every child")
    finally:
        bystander.kill()
        bystander.wait()
    b = box()
    b.config["mounts"].append(volume("/tmp"))
    b.up()
    proxy = b.exec_detached("sleep", "1000000")
    assert b.sh("echo here") == "here\n"
    for pid in (b.pid, proxy, b.monitor(), b.helper()):
        assert session_of(pid) != own, pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    assert b.sh("echo here") == "here\n"


def test_image_cannot_be_written(box, caisson):
    """A file server, taken over, has no way to the image.  QEMU, which is one and reads the image
    itself, could open its descriptor of the image again for writing, through /proc: it belongs to a
    read-only mount, and so it cannot.  Neither holds a descriptor of the monitor's (the socket that
    clients connect to, log, timeline)."""
    d = caisson.path / "volume"
    d.mkdir()
    b = box(edit=no_network)
    b.config["mounts"].append(volume(d))
    b.up()
    fds = {f: os.readlink(f) for f in pathlib.Path(f"/proc/{b.helper()}/fd").iterdir()}
    images = [f for f in fds if stat.S_ISREG(os.stat(f).st_mode) and os.stat(f).st_size
              and "memfd:" not in fds[f]]
    assert bool(images) == (engine() == "emu"), fds
    for f in images:
        for attempt in (lambda: os.open(f, os.O_RDWR), lambda: os.chmod(f, 0o777),
                        lambda: os.truncate(f, 0)):
            with pytest.raises(OSError) as refused:
                attempt()
            assert refused.value.errno == errno.EROFS
    monitor = {os.readlink(f) for f in pathlib.Path(f"/proc/{b.monitor()}/fd").iterdir()}
    listening = [line.split()[6] for line in open("/proc/net/unix")
                 if line.strip().endswith("agent.sock")]
    assert any(f"socket:[{i}]" in monitor for i in listening)
    for target in fds.values():
        assert target not in [f"socket:[{i}]" for i in listening]
        assert "vmm.log" not in target and "timeline" not in target


def build_root(kind, root):
    """Hostile trees; what runs in them is in the static busybox of /bin/sh."""
    make_rootfs(root)
    if kind == "device":
        os.mknod(root / "disk", stat.S_IFBLK | 0o666, os.stat("/").st_dev)
    elif kind == "fifo-socket":
        os.mkfifo(root / "fifo")
        os.mknod(root / "socket", stat.S_IFSOCK | 0o666)
    elif kind == "loops":
        (root / "a").symlink_to("b")
        (root / "b").symlink_to("a")
        (root / "self").symlink_to("self")
        (root / "up").symlink_to("../" * 50)
    elif kind == "odd-names":
        for name in ("...", "..x", " ", "-rf", "new\nline", "\x01\x1b[31m", "x" * 255):
            (root / name).write_text(name)
        (root.joinpath(os.fsdecode(b"\xff\xfe"))).write_text("bytes")
    elif kind == "absolute-links":
        (root / "usr/bin/evil").symlink_to("/etc/shadow")
        (root / "etc/resolv.conf").symlink_to("/etc/hostname")
    elif kind == "proc-link":
        (root / "proc").rmdir()
        (root / "proc").symlink_to("/etc")
    elif kind == "dev-link":
        (root / "dev").rmdir()
        (root / "dev").symlink_to("../../../dev")
    elif kind == "sparse":
        with open(root / "sparse", "wb") as f:
            f.truncate(1 << 40)
    elif kind == "setuid":
        (root / "bin/busybox").chmod(0o6755)
    elif kind == "deep":
        at = root
        for _ in range(600):
            at = at / "d"
            at.mkdir()
    return root


@pytest.mark.parametrize("kind", ["device", "fifo-socket", "loops", "odd-names", "absolute-links",
                                  "proc-link", "dev-link", "sparse", "setuid", "deep"])
def test_hostile_rootfs(box, caisson, kind):
    """A hostile root file system runs in its guest, or is refused with a sentence; the host's
    files are as before."""
    root = build_root(kind, caisson.path / "rootfs")
    b = box(["/bin/busybox", "sh", "-c", "echo ran; cat /etc/shadow /usr/bin/evil 2>/dev/null"],
            rootfs=root)
    etc, dev = set(os.listdir("/etc")), set(os.listdir("/dev"))
    r = b.run(timeout=300)
    if "ran" in r.stdout:
        assert r.stdout == "ran\n" and kind not in ("sparse", "deep")
    else:
        assert_sentence(r, str(root) if kind in ("sparse", "deep") else "", status=255)
    assert set(os.listdir("/etc")) == etc and set(os.listdir("/dev")) == dev


def test_rootfs_is_a_link(box, caisson, rootfs):
    """A root that is itself a symbolic link is followed, as engines make them; one that leads
    nowhere or in a circle is refused."""
    link = caisson.path / "link"
    link.symlink_to(rootfs)
    assert box(["true"], rootfs=link).run().returncode == 0
    link.unlink()
    link.symlink_to("link")
    assert_sentence(box(["true"], rootfs=link).run(), str(link), status=255)
