# SPDX-License-Identifier: Apache-2.0
"""The agent from outside: what a container sees, does and leaves behind."""
import errno
import hashlib
import os
import random
import re
import shutil
import struct
import time

import pytest

import wire as w
from conftest import NIC_MAC
from guest import Result

KILL, TERM, USR1 = 9, 15, 10


def status_of(text, field):
    return re.search(rf"^{field}:\s*(.*)$", text, re.M).group(1)


def cannot_create(guest, match, code, args=("/bin/true",), **options):
    with pytest.raises(Result, match=match) as e:
        guest.run(list(args), **options)
    assert e.value.code == code
    return e.value.text


# --- Life of a container ----------------------------------------------------------------------------


def test_ready(guest):
    version, uptime_us = guest.ready
    assert version == w.VERSION and 0 < uptime_us < 60e6


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_code(guest, code):
    assert guest.sh(f"exit {code}") == ("", "", (code, 0, False))


def test_output_and_errors(guest):
    assert guest.sh("echo out; echo err >&2; exit 3") == ("out\n", "err\n", (3, 0, False))


def test_killed_by_signal(guest):
    s = guest.background("victim")
    guest.signal("victim", KILL)
    assert s.wait() == (0, KILL, False)


def test_signal_handled(guest):
    s = guest.background("handler", "trap 'echo got; exit 7' TERM; echo on; while :; do sleep 1 & wait $!; done")
    s.expect("on")
    guest.signal("handler", TERM)
    assert s.wait() == (7, 0, False)
    assert s.out() == "on\ngot\n"


def test_signal_of_own_session(guest):
    s = guest.background("own")
    s.request(w.SIGNAL, w.string(None) + w.i32(KILL) + w.boolean(False))
    assert s.wait() == (0, KILL, False)


def test_signal_all(guest):
    s = guest.background("everyone", "trap : USR1; sh -c 'trap \"echo child; exit\" USR1; echo on; while :; do sleep 0.1; done' & wait $!; wait; echo parent")
    s.expect("on")
    guest.signal("everyone", USR1, all=True)
    s.wait()
    assert "child" in s.out() and "parent" in s.out()


def test_created_is_not_started(guest):
    s = guest.create("waiting", w.process(["/bin/echo", "hello"]))
    guest.idle(0.3)
    assert s.out() == "" and s.exited is None
    with pytest.raises(Result, match="exists"):
        guest.create("waiting", w.process(["/bin/true"]))
    guest.start("waiting")
    assert s.wait() == (0, 0, False)
    assert s.out() == "hello\n"


def test_start_twice(guest):
    s = guest.background("twice")
    with pytest.raises(Result, match="already started"):
        guest.start("twice")
    guest.kill(s)


def test_kill_before_start(guest):
    s = guest.create("never", w.process(["/bin/true"]))
    guest.signal("never", KILL)
    assert s.wait() == (0, KILL, False)


def test_gone_after_exit(guest):
    guest.run(["/bin/true"], id="gone")
    with pytest.raises(Result, match="'gone' does not exist") as e:
        guest.signal("gone", TERM)
    assert e.value.code == errno.ENOENT
    assert guest.run(["/bin/true"], id="gone")[2] == (0, 0, False)


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "x" * 256])
def test_bad_id(guest, id):
    with pytest.raises(Result, match="not allowed"):
        guest.create(id, w.process(["/bin/true"]))


def test_children_die_with_the_first(guest):
    s = guest.background("family", "sleep 1000 & setsid sleep 1000 & echo on; wait $!")
    s.expect("on")
    guest.kill(s)
    assert {1, 2} <= s.ended


@pytest.mark.parametrize("unshare", [0, w.NEWPID, w.NEWPID | w.NEWIPC | w.NEWUTS | w.NEWCGROUP | w.NEWNET])
def test_leftovers_die(guest, unshare):
    out, _, status = guest.sh("setsid sleep 1000 & setsid sh -c 'sleep 1000; echo never' & exit 5",
                              unshare=unshare, hostname=None)
    assert (out, status) == ("", (5, 0, False))


def test_orphans_are_reaped(guest):
    s = guest.background("orphans", unshare=0, hostname=None)
    for _ in range(5):
        guest.exec("orphans", ["/bin/sh", "-c", "(sleep 0.1 & ) ; exit 0"]).wait()
    guest.idle(0.5)
    e = guest.exec("orphans", ["/bin/sh", "-c", "grep -l 'State:.Z' /proc/[0-9]*/status"])
    e.wait()
    assert e.out() == ""
    guest.kill(s)


def test_many_in_a_row_leave_nothing(guest):
    def look():
        """The number of cgroups, descriptors in use and mounted superblocks of the guest."""
        out, _, _ = guest.sh("grep memory /proc/cgroups | cut -f3; cut -f1 /proc/sys/fs/file-nr")
        return [int(x) for x in out.split()]
    before = look()
    for _ in range(20):
        assert guest.run(["/bin/true"])[2] == (0, 0, False)
    guest.idle(0.5)
    after = look()
    assert after[0] <= before[0] + 5 and after[1] <= before[1] + 20, (before, after)


def test_many_at_once(guest):
    all = [guest.background(f"m{i}", f"read x; echo {i}$x; exit {i}") for i in range(8)]
    for s in all:
        s.write(b"!\n")
    for i, s in enumerate(all):
        assert s.wait() == (i, 0, False)
        assert s.out() == f"{i}!\n"


# --- Standard streams ---------------------------------------------------------------------------------


def test_echo(guest):
    assert guest.run(["/bin/cat"], stdin=b"hello\n")[0] == "hello\n"


def test_large_both_ways(guest):
    data = os.urandom(1 << 20) * 3
    s = guest.background("pipe", "cat")
    s.write(data)
    s.close()
    assert s.wait() == (0, 0, False)
    assert hashlib.sha256(s.output[1]).digest() == hashlib.sha256(data).digest()


def test_slow_reader(guest):
    """Without credit the agent sends a window and no more; the process waits."""
    s = guest.create("slow", w.process(["/bin/sh", "-c", "head -c 1500000 /dev/zero; echo end >&2"]))
    s.auto_credit = False
    guest.start("slow")
    guest.pump(lambda: s.unconsumed.get(1) == w.WINDOW, 10, "a full window")
    guest.idle(0.5)
    assert s.unconsumed[1] == w.WINDOW and s.out(2) == ""
    other = guest.run(["/bin/echo", "not held up"])
    assert other[0] == "not held up\n"
    while not s.exited:
        guest.pump(lambda: s.exited or s.unconsumed[1] >= 50000 or
                   len(s.output[1]) == 1500000, 10, "more")
        if s.unconsumed[1]:
            s.give(1, min(50000, s.unconsumed[1]))
        guest.step(0.01)
    assert len(s.output[1]) == 1500000
    assert s.out(2) == "end\n"


def test_slow_process(guest):
    """The agent takes a window of input for a process that does not read."""
    s = guest.background("lazy", "read x; cat | wc -c")
    s.write(b"x" * (w.WINDOW // 2))
    guest.idle(0.3)
    assert s.credit[0] < w.WINDOW // 2 + 65536 + 1
    s.write(b"\n")
    s.write(b"y" * 300000)
    s.close()
    s.wait()
    assert s.out().strip() == "300000"


def test_input_nobody_reads(guest):
    s = guest.background("deaf", "exec <&-; while :; do sleep 1 & wait $!; done")
    s.write(b"z" * 500000)
    guest.pump(lambda: s.credit[0] == w.WINDOW, 10, "all credit back")
    guest.kill(s)


def test_output_nobody_reads(guest):
    """A client that ends an output stream: the process gets SIGPIPE, as from a closed pipe."""
    s = guest.background("piped")
    e = guest.exec("piped", ["yes"])
    e.expect("y")
    e.close(1)
    assert e.wait() == (0, 13, False)
    guest.kill(s)


def test_exec_does_not_wait_for_grandchild(guest):
    s = guest.background("host")
    e = guest.exec("host", ["/bin/sh", "-c", "sleep 1000 & echo done"])
    assert e.wait(5) == (0, 0, False)
    assert e.out() == "done\n"
    guest.kill(s)


def test_exec_with_noisy_grandchild(guest):
    s = guest.background("noisy")
    e = guest.exec("noisy", ["/bin/sh", "-c", "yes & sleep 0.2"])
    assert e.wait(10) == (0, 0, False)
    guest.kill(s)


def test_extra_descriptors(guest):
    s = guest.create("extra", w.process(["/bin/sh", "-c", "read a <&3; echo 3:$a >&3; cat <&4 >&4; helper fds"],
                                        extra_fds=2))
    guest.start("extra")
    s.write(b"three\n", 3)
    s.expect("3:three\n", 3)
    s.write(b"four", 4)
    s.close(4)
    s.wait()
    assert s.out(4) == "four"
    assert s.out(1) == "0 1 2 3 4 \n"


def test_no_descriptor_leaks(guest):
    assert guest.run(["/bin/helper", "fds"])[0] == "0 1 2 \n"
    s = guest.background("fds")
    e = guest.exec("fds", ["/bin/helper", "fds"])
    e.wait()
    assert e.out() == "0 1 2 \n"
    guest.kill(s)


def test_user_can_open_its_streams(guest):
    out, err, status = guest.sh("echo a >/dev/stdout; echo b >/dev/stderr; cat /dev/stdin",
                                uid=1000, gid=1000, stdin=b"c")
    assert (out, err, status[0]) == ("a\nc", "b\n", 0)


# --- Terminal -------------------------------------------------------------------------------------------


def test_terminal(guest):
    s = guest.create("tty", w.process(["/bin/sh", "-c", "tty; stty size; test -c /dev/console && echo console; read x; stty size; echo \"<$x>\" >/dev/tty; exit 4"],
                                      terminal=True, rows=30, columns=90))
    guest.start("tty")
    s.expect("console")
    s.send(w.RESIZE, w.u16(50) + w.u16(132))
    s.write(b"typed\n")
    assert s.wait() == (4, 0, False)
    out = s.out().replace("\r", "")
    assert "/dev/pts/0\n30 90\nconsole\n" in out and "50 132\n<typed>\n" in out


def test_terminal_interrupt(guest):
    s = guest.create("ctrl-c", w.process(["/bin/sh", "-c", "trap 'echo int; exit 9' INT; echo on; while :; do sleep 0.1; done"],
                                         terminal=True))
    guest.start("ctrl-c")
    s.expect("on")
    s.write(b"\x03")
    assert s.wait() == (9, 0, False)


def test_terminal_large_output(guest):
    s = guest.create("tty-out", w.process(["/bin/sh", "-c", "seq 1 20000"], terminal=True))
    guest.start("tty-out")
    s.wait()
    assert s.out().split() == [str(i) for i in range(1, 20001)]


def test_terminal_of_exec(guest):
    s = guest.background("tty-exec")
    e = guest.exec("tty-exec", ["/bin/sh", "-c", "tty; stty size; tty </dev/tty"], terminal=True,
                   rows=11, columns=22)
    assert e.wait() == (0, 0, False)
    assert e.out().replace("\r", "").startswith("/dev/pts/0\n11 22\n")
    guest.kill(s)


def test_terminal_of_user(guest):
    s = guest.create("tty-user", w.process(["/bin/sh", "-c", "echo hi >$(tty)"], terminal=True,
                                           uid=1000, gid=1000))
    guest.start("tty-user")
    assert s.wait()[0] == 0
    assert s.out() == "hi\r\n"


def test_terminal_without_devpts(guest):
    s = guest.create("tty-none", w.process(["/bin/sh", "-c", "test -t 0 && echo yes"],
                                           terminal=True), mounts=[w.DEFAULT_MOUNTS[0]])
    guest.start("tty-none")
    s.wait()
    assert s.out() == "yes\r\n"


# --- Processes in a container -----------------------------------------------------------------------


def test_exec(guest):
    s = guest.background("target")
    e = guest.exec("target", ["/bin/sh", "-c", "echo $0 in; cat; hostname; cat /proc/1/cmdline | tr '\\0' ' '; exit 6"])
    e.write(b"input\n")
    e.close()
    assert e.wait() == (6, 0, False)
    assert e.out().startswith("/bin/sh in\ninput\nbox\n/bin/sh -c trap")
    guest.kill(s)


def test_exec_dies_with_the_container(guest):
    s = guest.background("doomed")
    e = guest.exec("doomed", ["/bin/sleep", "1000"])
    guest.kill(s)
    assert e.wait() == (0, KILL, False)


def test_exec_in_nothing(guest):
    with pytest.raises(Result, match="'nothing' does not exist"):
        guest.exec("nothing", ["/bin/true"])


def test_exec_missing_program(guest):
    s = guest.background("exec-missing")
    with pytest.raises(Result) as e:
        guest.exec("exec-missing", ["nope"])
    assert e.value.text == "exec 'nope': executable file not found in $PATH"
    assert guest.exec("exec-missing", ["/bin/true"]).wait() == (0, 0, False)
    guest.kill(s)


def test_exec_before_start(guest):
    s = guest.create("early", w.process(["/bin/true"]))
    e = guest.exec("early", ["/bin/sh", "-c", "for f in /proc/1/fd/* /proc/1/exe /proc/1/root; do readlink $f; done; cat /proc/1/environ /proc/1/maps; hostname"])
    e.wait()
    assert e.out() == "box\n"  # nothing of the agent can be seen through its child
    guest.start("early")
    assert s.wait() == (0, 0, False)


def test_exec_when_the_container_nests_groups(guest):
    s = guest.background("nested", "mkdir /sys/fs/cgroup/sub; echo 1 >/sys/fs/cgroup/sub/cgroup.procs; echo +pids >/sys/fs/cgroup/cgroup.subtree_control; echo on; while :; do sleep 1 & wait $!; done",
                         mounts=[*w.DEFAULT_MOUNTS[:-1], w.mount("/sys/fs/cgroup", "cgroup")])
    s.expect("on")
    e = guest.exec("nested", ["/bin/cat", "/proc/self/cgroup"])
    e.wait()
    assert e.out() == "0::/sub\n"
    assert guest.session().request(w.PS, w.string("nested")).split()[0] == "1"
    guest.kill(s)
    assert guest.run(["/bin/true"], id="nested")[2] == (0, 0, False)


def test_ps(guest):
    s = guest.background("listed", "sleep 1000 & sleep 1000 & echo on; wait")
    s.expect("on")
    rows = [line.split() for line in
            guest.session().request(w.PS, w.string("listed")).splitlines()]
    assert [r[0] for r in rows] == ["1", "2", "3"] and rows[0][3] == "sh"
    assert all(int(r[1]) >= 0 and int(r[2]) > 0 for r in rows)
    guest.kill(s)


def test_stats(guest):
    """Figures of the container's group, by the kernel's own names; none for strangers."""
    s = guest.background("counted", limits=w.resources(pids_max=33))
    text = guest.session().request(w.STATS, w.string("counted"))
    stats = dict(line.rsplit(" ", 1) for line in text.splitlines())
    assert int(stats["pids.current"]) >= 1 and stats["pids.max"] == "33"
    assert int(stats["memory.current"]) > 0 and "cpu.stat.usage_usec" in stats
    with pytest.raises(Result) as e:
        guest.session().request(w.STATS, w.string("nobody"))
    assert e.value.code == errno.ENOENT
    guest.kill(s)


def test_freeze(guest):
    s = guest.background("cold", "while :; do echo x; sleep 0.05; done")
    s.expect("x")

    def freeze(on):
        guest.session().request(w.FREEZE, w.string("cold") + w.boolean(on))

    freeze(True)
    guest.idle(0.1)
    n = len(s.out())
    guest.idle(0.5)
    assert len(s.out()) == n
    freeze(True)
    freeze(False)
    guest.pump(lambda: len(s.out()) > n, 5, "output after the thaw")
    freeze(True)
    assert guest.kill(s) == (0, KILL, False)


def test_hangup_kills_the_container(guest):
    s = guest.background("hung")
    e = guest.exec("hung", ["/bin/sleep", "1000"])
    s.send(w.HANGUP)
    assert e.wait() == (0, KILL, False)
    guest.idle(0.1)
    with pytest.raises(Result, match="does not exist"):
        guest.signal("hung", 0)


def test_hangup_kills_an_exec_only(guest):
    s = guest.background("still")
    e = guest.exec("still", ["/bin/sh", "-c", "yes"])
    e.auto_credit = False
    guest.idle(0.3)
    e.send(w.HANGUP)
    e.wait()
    assert guest.session().request(w.PS, w.string("still")).split()[0] == "1"
    guest.kill(s)


# --- What the process is -----------------------------------------------------------------------------


def test_identity(guest):
    out, _, _ = guest.sh("id -u; id -g; cat /proc/self/status; umask; pwd; echo $HOME; ulimit -n",
                         uid=1000, gid=1001, gids=[5, 7], umask=0o027, cwd="/tmp")
    assert out.startswith("1000\n1001\n") and out.endswith("0027\n/tmp\n/home/user\n1024\n")
    assert status_of(out, "Groups").split() == ["5", "7"]
    assert {status_of(out, f"Cap{c}") for c in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}
    assert int(status_of(out, "CapBnd"), 16) == w.DEFAULT_CAPS
    assert status_of(out, "SigBlk") == status_of(out, "SigIgn") == "0" * 16


def test_capabilities(guest):
    out, _, _ = guest.run(["/bin/cat", "/proc/self/status"], bounding=0b1111, effective=0b0001,
                          permitted=0b0111, inheritable=0b0110, ambient=0b0010, uid=1000)
    # what execve(2) makes of them for a user: permitted and effective from ambient
    got = {c: int(status_of(out, f"Cap{c}"), 16) for c in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
    assert got == {"Inh": 0b0110, "Prm": 0b0010, "Eff": 0b0010, "Bnd": 0b1111, "Amb": 0b0010}


def test_all_capabilities(guest):
    out, _, _ = guest.run(["/bin/cat", "/proc/self/status"], caps=(1 << 64) - 1)
    assert int(status_of(out, "CapEff"), 16) == w.ALL_CAPS


def test_no_new_privileges(guest):
    assert status_of(guest.run(["/bin/cat", "/proc/self/status"], nnp=True)[0], "NoNewPrivs") == "1"
    assert status_of(guest.run(["/bin/cat", "/proc/self/status"])[0], "NoNewPrivs") == "0"


def test_limits(guest):
    out, _, _ = guest.sh("ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj",
                         rlimits=[(7, 100, 200), (4, 0, 0)], oom_score_adj=123)
    assert out == "100\n200\n0\n123\n"
    assert guest.run(["/bin/cat", "/proc/self/oom_score_adj"])[0] == "0\n"


def test_bad_limit(guest):
    cannot_create(guest, "resource limit 99", errno.EINVAL, rlimits=[(99, 1, 1)])


def deny(number):
    """A filter that lets every call of this machine through but one, which fails with EPERM."""
    return b"".join(struct.pack("<HBBI", *i) for i in (
        (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7FFF0000)))


@pytest.mark.parametrize("nnp", [False, True])
@pytest.mark.parametrize("uid", [0, 1000])
def test_seccomp(guest, nnp, uid):
    out, err, _ = guest.sh("mkdir /tmp/x; cat /proc/self/status", seccomp=deny(83), nnp=nnp,
                           uid=uid)
    assert "Operation not permitted" in err
    assert status_of(out, "Seccomp") == "2" and status_of(out, "NoNewPrivs") == str(int(nnp))
    assert int(status_of(out, "CapEff"), 16) == (0 if uid else w.DEFAULT_CAPS)
    s = guest.background("filtered")
    e = guest.exec("filtered", ["/bin/mkdir", "/tmp/x"], seccomp=deny(83), nnp=nnp, uid=uid)
    assert e.wait()[0] == 1
    guest.kill(s)


def test_working_directory(guest):
    assert guest.run(["/bin/pwd"], cwd="/made/for/this")[0] == "/made/for/this\n"
    cannot_create(guest, "change directory to '/plain': Not a directory", errno.ENOTDIR, cwd="/plain")


@pytest.mark.parametrize("args, text, code", [
    (["foo"], "exec 'foo': executable file not found in $PATH", errno.ENOENT),
    (["plain"], "exec 'plain': executable file not found in $PATH", errno.ENOENT),
    (["/bin/foo"], "exec '/bin/foo': no such file or directory", errno.ENOENT),
    (["/plain"], "exec '/plain': permission denied", errno.EACCES),
    (["/etc"], "exec '/etc': permission denied", errno.EACCES),
    (["/plain/x"], "exec '/plain/x': Not a directory", errno.ENOTDIR),
    ([""], "exec '': executable file not found in $PATH", errno.ENOENT),
])
def test_missing_program(guest, args, text, code):
    with pytest.raises(Result) as e:
        guest.create("missing", w.process(args))
    assert (e.value.text, e.value.code) == (text, code)


def test_program_the_user_cannot_reach(guest):
    with pytest.raises(Result) as e:
        guest.create("private", w.process(["/secret/tool"], uid=1000))
    assert e.value.text == "exec '/secret/tool': permission denied"


@pytest.mark.parametrize("path, text, status", [
    ("/bad-interpreter", "exec '/bad-interpreter': no such file or directory", 127),
    ("/no-format", "exec '/no-format': Exec format error", 126),
])
def test_program_that_cannot_start(guest, path, text, status):
    s = guest.create("unable", w.process([path]))
    with pytest.raises(Result) as e:
        guest.start("unable")
    assert e.value.text == text
    assert s.wait() == (status, 0, False)


def test_program_by_path(guest):
    assert guest.run(["script", "a b"], env=["PATH=/nowhere:/"])[0] == "script a b\n"
    assert guest.run(["./script"], cwd="/")[0] == "script\n"


def test_environment(guest):
    assert guest.run(["env"], env=["PATH=/bin", "A=1", "HOME="])[0].split() == [
        "PATH=/bin", "A=1", "HOME=/root"]
    assert guest.run(["/bin/env"], env=[], uid=4242)[0].split() == ["HOME=/"]


# --- What the container sees -----------------------------------------------------------------------


def test_namespaces(guest):
    out, _, _ = guest.sh("echo $$; hostname; ps | wc -l; cat /proc/self/cgroup; cat /proc/sys/kernel/domainname",
                         domainname="example.org")
    assert out == "1\nbox\n4\n0::/\nexample.org\n" or re.match(r"1\nbox\n\d\n0::/\nexample.org\n", out)


def test_network_namespace(guest):
    out, _, _ = guest.sh("ls /sys/class/net; ip addr show lo", unshare=w.NEWPID | w.NEWNET)
    assert out.split()[0] == "lo" and "eth0" not in out and "127.0.0.1/8" in out


def test_mount_table(guest):
    out, _, _ = guest.sh("cat /proc/self/mountinfo")
    points = [line.split()[4] for line in out.splitlines()]
    assert points[:8] == ["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys",
                          "/sys/fs/cgroup"]
    assert all(p.startswith(("/proc/", "/sys/", "/dev/")) for p in points[8:])


def test_default_devices(guest):
    out, _, _ = guest.sh("""cd /dev; stat -c '%n %a %t,%T' null zero full random urandom tty
        for f in fd stdin stdout stderr ptmx; do readlink $f; done; ls; head -c 3 zero | wc -c; echo x >null""")
    assert out.splitlines()[:6] == ["null 666 1,3", "zero 666 1,5", "full 666 1,7",
                                    "random 666 1,8", "urandom 666 1,9", "tty 666 5,0"]
    assert "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n" in out
    assert "vport" not in out and "vda" not in out and "console" not in out


def test_channel_cannot_be_opened(guest):
    out, err, _ = guest.sh("""set -- $(sed 's/:/ /' /sys/class/virtio-ports/vport*p1/dev)
        mknod /tmp/port c $1 $2 && cat /tmp/port""", caps=w.ALL_CAPS,
                           mounts=[m for m in w.DEFAULT_MOUNTS])
    assert "busy" in err.lower()


def test_devices(guest):
    out, _, _ = guest.sh("stat -c '%F %a %t,%T %u:%g' /dev/deep/er /dev/pipe; echo x >/dev/deep/er",
                         devices=[w.device("/dev/deep/er", 0o20640, 1, 3, 5, 6),
                                  w.device("/dev/pipe", 0o10600, 0, 0)])
    assert out == "character special file 640 1,3 5:6\nfifo 600 0,0 0:0\n"


def test_masked_and_readonly(guest):
    out, err, _ = guest.sh("""cat /etc/hostname; ls /data | wc -l; ls /data/sub; touch /srv/x
        echo 1 >/proc/sys/kernel/panic; chmod 777 /etc/hostname""", caps=w.ALL_CAPS,
                           masked=["/etc/hostname", "/data", "/absent"],
                           readonly_paths=["/srv", "/proc/sys", "/absent"])
    assert out == "0\n"
    assert len(re.findall("touch: .*Read-only|create .*Read-only|chmod: .*Read-only", err)) == 3


def test_sysctl(guest):
    out, _, _ = guest.sh("cat /proc/sys/kernel/shmmax /proc/sys/net/ipv4/ip_forward",
                         sysctl={"kernel.shmmax": "12345", "net.ipv4.ip_forward": "1"},
                         unshare=w.NEWPID | w.NEWIPC | w.NEWNET)
    assert out == "12345\n1\n"
    cannot_create(guest, "set sysctl 'kernel.nope' to '1': No such file", errno.ENOENT,
                  sysctl={"kernel.nope": "1"})
    cannot_create(guest, "set sysctl 'a.//.x' to '1': Invalid argument", errno.EINVAL,
                  sysctl={"a.//.x": "1"})  # dots and slashes change places: a/../x


# --- Root file system and mounts ---------------------------------------------------------------------


@pytest.mark.parametrize("scratch", [None, "scratch"])
def test_root_is_writable(guest, scratch):
    out, _, status = guest.sh("echo new >/etc/hostname; rm /plain; mkdir /d; cat /etc/hostname; ls /plain; stat -c %a:%u /",
                              scratch=scratch)
    assert out == "new\n755:0\n"
    if not scratch:  # and each container has its own
        assert guest.sh("cat /etc/hostname /plain")[0] == "image\ntext"


def test_root_is_limited(guest):
    out, err, _ = guest.sh("dd if=/dev/zero of=/big bs=100k count=50; stat -c %s /big", upper_size=1 << 20)
    assert "No space left" in err and int(out) <= 1 << 20


def test_readonly_root(guest):
    _, err, status = guest.sh("touch /x; touch /tmp/y && touch /dev/shm/ok", readonly=True,
                              mounts=[*w.DEFAULT_MOUNTS, w.mount("/tmp", "tmpfs", "tmpfs")])
    assert err.count("Read-only file system") == 1 and status[0] == 0


def test_missing_disk(guest):
    began = time.monotonic()
    cannot_create(guest, "disk 'absent': not there", errno.ENOENT, lower="absent")
    assert time.monotonic() - began < 15


def test_propagation(guest):
    out, _, _ = guest.sh("head -1 /proc/self/mountinfo", propagation=w.SHARED)
    assert "shared:" in out
    out, _, _ = guest.sh("grep ' /srv ' /proc/self/mountinfo",
                         mounts=[w.DEFAULT_MOUNTS[0],
                                 w.mount("/srv", "tmpfs", propagation=w.SHARED)])
    assert "shared:" in out


@pytest.mark.parametrize("destination, seen", [
    ("/link-absolute", "/made/absolute"),
    ("/link-relative", "/made/relative"),
    ("/link-up/up", "/up"),
    ("/../../dots", "/dots"),
    ("/link-absolute/deep/../er", "/made/absolute/er"),
])
def test_destination_stays_inside(guest, destination, seen):
    out, err, _ = guest.sh("cut -d' ' -f5 /proc/self/mountinfo | tail -1; cat " + seen + "/hello",
                           masked=(), readonly_paths=(),
                           mounts=[w.DEFAULT_MOUNTS[0], w.bind(destination, 0)])
    assert out == f"{seen}\nfrom the host"


def test_destination_while_others_rename(guest):
    """openat2(2) gives EAGAIN for a path with ".." when a rename anywhere gets in its way.

    Mount points were refused now and then, when another container was being unmounted.
    """
    s = guest.background("renamer", "cd /tmp; touch a; while :; do mv a b; mv b a; done")
    for _ in range(10):
        assert guest.run(["/bin/true"], mounts=[w.DEFAULT_MOUNTS[0],
                                                w.bind("/link-up/link-up/../link-up/up", 0)])[2][0] == 0
    guest.kill(s)


@pytest.mark.parametrize("destination", ["/", "/..", "/link-up"])
def test_destination_is_not_the_root(guest, destination):
    cannot_create(guest, "is the root", errno.EINVAL, mounts=[w.mount(destination, "tmpfs")])


def test_destination_loop(guest):
    cannot_create(guest, "'/loop-a/x'", errno.ELOOP, mounts=[w.mount("/loop-a/x", "tmpfs")])


def test_copy_up(guest):
    out, _, _ = guest.sh("cat /data/a /data/sub/b /data/link; stat -c %a /data/sub /data/sub/b; grep -c ' /data ' /proc/self/mountinfo; echo >/data/new",
                         mounts=[w.DEFAULT_MOUNTS[0], w.mount("/data", "tmpfs", copy_up=True)])
    assert out == "ABB750\n600\n1\n"


def test_tmpfs(guest):
    out, err, _ = guest.sh("stat -c %a /tmp /srv; touch /srv/x; grep ' /srv ' /proc/self/mountinfo",
                           mounts=[w.DEFAULT_MOUNTS[0], w.mount("/tmp", "tmpfs"),
                                   w.mount("/srv", "tmpfs", flags=w.RDONLY | w.NOEXEC,
                                           data="mode=0700,size=64k")])
    assert out.startswith("1777\n700\n") and "ro,noexec" in out and "Read-only" in err


def test_mount_fails(guest):
    text = cannot_create(guest, "mount", errno.ENODEV,
                         mounts=[w.mount("/srv", "nonesuch", "source")])
    assert text == "mount 'source' on '/srv': the guest has no file system 'nonesuch'"
    cannot_create(guest, "mount '/etc' on '/srv': not shared with the guest", errno.EINVAL,
                  mounts=[w.mount("/srv", "bind", "/etc", w.BIND)])


def test_cgroup_mount(guest):
    out, err, _ = guest.sh("cd /sys/fs/cgroup; ls cgroup.procs pids.max; cat cgroup.procs | head -1; mkdir x")
    assert out == "cgroup.procs\npids.max\n1\n" and "Read-only" in err
    # without a namespace of its own: its own group nevertheless
    out, _, _ = guest.sh("cat /sys/fs/cgroup/pids.max", unshare=w.NEWPID,
                         limits=w.resources(pids_max=77))
    assert out == "77\n"


# --- Shares of the host -----------------------------------------------------------------------------------


def test_share_writable(guest, share):
    out, err, status = guest.sh("""cat /mnt/hello; echo from the guest >/mnt/sub/reply; mv /mnt/sub/reply /mnt/sub/moved
        ls /mnt/sub; cat /proc/self/mountinfo | grep ' /mnt '""",
                                mounts=[w.DEFAULT_MOUNTS[0], w.bind("/mnt", 0)])
    assert status[0] == 0, err
    assert out.startswith("from the hostmoved\n") and " 9p " in out
    with open(os.path.join(share, "0/sub/moved")) as f:
        assert f.read() == "from the guest\n"
    os.unlink(os.path.join(share, "0/sub/moved"))


def test_share_readonly(guest):
    out, err, _ = guest.sh("cat /mnt/hello; echo x >/mnt/hello; grep ' /mnt ' /proc/self/mountinfo",
                           mounts=[w.DEFAULT_MOUNTS[0],
                                   w.bind("/mnt", 0, flags=w.RDONLY | w.NOSUID | w.NODEV | w.NOEXEC)])
    assert "from the host" in out and "Read-only" in err and "ro,nosuid,nodev,noexec" in out


def test_share_file(guest, share):
    out, err, _ = guest.sh("cat /etc/made/file /etc/hostname; echo more >>/etc/made/file",
                           mounts=[w.DEFAULT_MOUNTS[0], w.bind("/etc/made/file", 1, False),
                                   w.bind("/etc/hostname", 1, False, flags=w.RDONLY)])
    assert out == "a filea file"
    with open(os.path.join(share, "1")) as f:
        assert f.read() == "a filemore\n"
    with open(os.path.join(share, "1"), "w") as f:
        f.write("a file")


def test_share_sees_only_itself(guest):
    out, _, _ = guest.sh("ls /mnt/..; ls /mnt", mounts=[w.bind("/mnt", 2)], masked=())
    assert "hello" not in out and "shares" not in out


def test_share_mapped(guest, share):
    path = os.path.join(share, "2/map")
    with open(path, "wb") as f:
        f.write(b"-" * 4096)
    _, err, status = guest.sh("helper map /mnt/map written", mounts=[w.bind("/mnt", 2)])
    assert status[0] == 0, err
    with open(path, "rb") as f:
        assert f.read(8) == b"written-"


def test_share_mapping_is_coherent(guest, share):
    with open(os.path.join(share, "2/both"), "wb") as f:
        f.write(b"-" * 4096)
    out, err, status = guest.sh("helper coherent /mnt/both", mounts=[w.bind("/mnt", 2)])
    assert status[0] == 0, out + err


def test_share_runs_programs(guest, share):
    shutil.copy(shutil.which("busybox"), os.path.join(share, "2/busybox"))
    out, err, _ = guest.run(["/mnt/busybox", "echo", "run"], mounts=[w.bind("/mnt", 2)])
    assert out == "run\n", err


def test_share_is_live(guest, share):
    path = os.path.join(share, "2/live")
    with open(path, "w") as f:
        f.write("one")
    s = guest.background("live", "while read x; do cat /mnt/$x; echo .; done", mounts=[w.bind("/mnt", 2)])
    s.write(b"live\n")
    s.expect("one.\n")
    with open(path, "w") as f:
        f.write("second")
    s.write(b"live\n")
    s.expect("second.\n")
    with open(os.path.join(share, "2/new"), "w") as f:
        f.write("new")
    s.write(b"new\n")
    s.expect("new.\n")
    os.unlink(path)
    s.write(b"live\n")
    s.expect("No such file", 2)
    guest.kill(s)


def test_share_is_live_while_open(guest, share):
    """What the host appends is seen through a descriptor that was open before."""
    path = os.path.join(share, "2/grows")
    with open(path, "w") as f:
        f.write("one")
    s = guest.background("follow", "exec helper follow /mnt/grows", mounts=[w.bind("/mnt", 2)])
    s.write(b"\n")
    s.expect("[one]")
    with open(path, "a") as f:
        f.write("two")
    s.write(b"\n")
    s.expect("[onetwo]")
    guest.kill(s)


def test_share_missing(guest):
    cannot_create(guest, "mount share 9 on '/mnt'", errno.ENOENT, mounts=[w.bind("/mnt", 9)])


# --- Limits ----------------------------------------------------------------------------------------------


def test_oom(guest):
    _, _, status = guest.run(["/bin/helper", "eat"], limits=w.resources(memory_max=16 << 20))
    assert status == (0, KILL, True)
    _, _, status = guest.sh("helper eat; echo $?", limits=w.resources(memory_max=16 << 20))
    assert status == (0, 0, True)


def test_no_memory_to_begin_with(guest):
    with pytest.raises(Result, match="killed by signal 9 \\(out of memory\\)"):
        guest.create("starved", w.process(["/bin/true"]), limits=w.resources(memory_max=8192))
    assert guest.run(["/bin/true"], id="starved")[2] == (0, 0, False)


def test_pids_limit(guest):
    _, err, _ = guest.sh("for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done", limits=w.resources(pids_max=5))
    assert "fork" in err


def test_pids_limit_beyond_the_kernels(guest):
    assert guest.run(["/bin/cat", "/sys/fs/cgroup/pids.max"],
                     limits=w.resources(pids_max=(1 << 31) - 1))[0] == "max\n"


def test_resources(guest):
    out, _, _ = guest.sh("cd /sys/fs/cgroup; cat memory.max memory.low pids.max cpu.max cpu.weight memory.high",
                         limits=w.resources(memory_max=64 << 20, memory_low=1 << 20, pids_max=99,
                                            cpu_quota=50000, cpu_period=100000, cpu_weight=42,
                                            unified={"memory.high": "33554432"}))
    assert out.split() == ["67108864", "1048576", "99", "50000", "100000", "42", "33554432"]
    cannot_create(guest, "'../x' is not a cgroup file", errno.EINVAL,
                  limits=w.resources(unified={"../x": "1"}))
    cannot_create(guest, "write 'nonsense' to cgroup file 'pids.max'", errno.EINVAL,
                  limits=w.resources(unified={"pids.max": "nonsense"}))


def test_update(guest):
    s = guest.background("updated")
    guest.session().request(w.UPDATE, w.string("updated") + w.resources(pids_max=50, memory_max=64 << 20))
    e = guest.exec("updated", ["/bin/cat", "/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/memory.max"])
    e.wait()
    assert e.out() == "50\n67108864\n"
    guest.kill(s)


def test_agent_outlives_hunger(guest):
    """A container without limits takes all memory: it dies, the agent does not."""
    _, _, status = guest.run(["/bin/helper", "eat"])
    assert status[1] == KILL and status[2]
    assert guest.run(["/bin/true"])[2] == (0, 0, False)


# --- The sandbox ---------------------------------------------------------------------------------------------


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def test_setup(kernel, initrd, image):
    from guest import Guest
    g = Guest(kernel, initrd, disks=[("lower", image, True)], nics=[(NIC_MAC, "user,restrict=on")])
    try:
        with pytest.raises(Result, match="not set up"):
            g.run(["/bin/true"])
        v4 = bytes([10, 1, 2, 3])
        now = 1234567890
        g.setup(hostname="guesthost", realtime_ns=now * 10**9, entropy=bytes(range(32)), nics=[w.nic(
            "pod0", mac(NIC_MAC), 1400,
            addresses=[w.address(2, 24, v4, bytes([10, 1, 2, 255])),
                       w.address(10, 64, bytes.fromhex("fd00" + "00" * 13 + "05"), flags=2)],
            routes=[w.route(2, 32, bytes([169, 254, 1, 1]), scope=253),
                    w.route(2, 0, b"", gateway=bytes([169, 254, 1, 1]), metric=7, mtu=1300),
                    w.route(2, 16, bytes([10, 9, 0, 0]), gateway=bytes([10, 1, 2, 1]), source=v4)],
            neighbours=[w.neighbour(2, bytes([10, 1, 2, 1]), mac("02:00:00:00:00:01"))])])
        out, err, _ = g.sh("""date +%s; hostname; ip addr; ip route; ip neigh; ip -6 addr; ip -6 route""",
                           hostname=None, unshare=w.NEWPID)
        assert now <= int(out.split()[0]) < now + 60 and out.split()[1] == "guesthost"
        for text in ("pod0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1400", "10.1.2.3/24 brd 10.1.2.255",
                     "fd00::5/64", "169.254.1.1 dev pod0 scope link", "127.0.0.1/8",
                     "default via 169.254.1.1 dev pod0", "10.9.0.0/16 via 10.1.2.1 dev pod0",
                     "src 10.1.2.3", "10.1.2.1 dev pod0 lladdr 02:00:00:00:00:01"):
            assert text in out, (text, out, err)
        with pytest.raises(Result, match="already"):
            g.setup()
        assert g.shutdown() < 5
    finally:
        g.close()


def test_setup_without_its_nic(fresh):
    with pytest.raises(Result, match="network interface 'eth9': find MAC 02:00:00:00:00:09"):
        fresh.setup(nics=[w.nic("eth9", mac("02:00:00:00:00:09"))])


# --- Links that come late ---------------------------------------------------------------------------

LATE_MAC = "02:00:00:00:00:09"
RAW = dict(hostname=None, masked=(), readonly_paths=(),
           mounts=[m for m in w.DEFAULT_MOUNTS if b"sysfs" not in m] +
           [w.mount("/sys", "sysfs", "sysfs")],
           devices=[w.device("/dev/net/tun", 0o20666, 10, 200)])


def late_nic(address, name="pod0"):
    return w.nic(name, mac(address), 1400, late=True,
                 addresses=[w.address(2, 24, bytes([10, 1, 2, 3]), bytes([10, 1, 2, 255]))],
                 routes=[w.route(2, 0, b"", gateway=bytes([10, 1, 2, 1]))])


def network(guest, container="main"):
    e = guest.exec(container, ["sh", "-c", "ip addr show pod0; ip route"])
    e.wait()
    return e.out()


def do(guest, script, container="main", **kw):
    e = guest.exec(container, ["sh", "-ec", script], caps=w.ALL_CAPS)
    assert e.wait(**kw)[:2] == (0, 0), e.out() + e.out(2)
    return e.out()


def until(guest, condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, guest.console()[-3000:]
        guest.idle(0.1)


def configured(guest):
    text = network(guest)
    return all(x in text for x in ("UP,LOWER_UP> mtu 1400", "10.1.2.3/24 brd 10.1.2.255",
                                   "default via 10.1.2.1 dev pod0"))


@pytest.fixture
def late(kernel, initrd, image):
    """A guest of the test's own with one NIC, not set up."""
    from guest import Guest
    g = Guest(kernel, initrd, disks=[("lower", image, True)], nics=[(NIC_MAC, "user,restrict=on")])
    yield g
    assert "Oops" not in g.console()
    g.close()


def test_late_link_is_not_waited_for(late):
    """The container runs without it; it is configured when it is there."""
    began = time.monotonic()
    late.setup(nics=[late_nic(LATE_MAC)])
    late.background("main", caps=w.ALL_CAPS, **RAW)
    assert time.monotonic() - began < 9  # what a link that is not late gets
    assert "pod0" not in network(late)
    do(late, f"ip link set eth0 address {LATE_MAC}")
    until(late, lambda: configured(late))


def test_late_link_that_is_there(late):
    """It is ready before the first container is."""
    late.setup(nics=[late_nic(NIC_MAC)])
    out, _, _ = late.sh("ip addr show pod0; ip route", hostname=None)
    assert "10.1.2.3/24" in out and "default via 10.1.2.1 dev pod0" in out


def test_late_link_comes_again(late):
    """Its driver lets go of the device and takes it again, as a card's reset does: a new link."""
    late.setup(nics=[late_nic(NIC_MAC)])
    late.background("main", caps=w.ALL_CAPS, **RAW)
    device = do(late, "basename $(readlink /sys/class/net/pod0/device)").strip()
    index = do(late, "cat /sys/class/net/pod0/ifindex")
    for _ in range(3):
        do(late, f"echo {device} >/sys/bus/virtio/drivers/virtio_net/unbind")
        assert "pod0" not in network(late) and "default" not in network(late)
        do(late, f"echo {device} >/sys/bus/virtio/drivers/virtio_net/bind")
        until(late, lambda: configured(late))
    assert do(late, "cat /sys/class/net/pod0/ifindex") != index


def test_late_link_and_its_copies(late):
    """What a container stacks on the link has its MAC, and is the container's."""
    late.setup(nics=[late_nic(NIC_MAC)])
    late.background("main", caps=w.ALL_CAPS, **RAW)
    do(late, f"tunctl -t copy; ip link set copy address {NIC_MAC}; ip link set copy up")
    late.idle(0.5)
    assert configured(late)
    assert "mtu 1500" in do(late, "ip addr show copy") and "10.1.2.3" not in do(late, "ip addr show copy")


def test_late_link_takes_its_name(late):
    """The kernel named another link so: that one gets out of the way."""
    late.setup(nics=[late_nic(LATE_MAC)])
    late.background("main", caps=w.ALL_CAPS, **RAW)
    do(late, f"tunctl -t pod0; ip link set eth0 address {LATE_MAC}")
    until(late, lambda: configured(late))
    assert "unnamed0" in do(late, "ip link")


def test_names_of_late_and_other_links(kernel, initrd, image):
    """The kernel gave each the name that the other is to have."""
    from guest import Guest
    macs = [NIC_MAC, "52:54:00:12:34:57"]
    g = Guest(kernel, initrd, disks=[("lower", image, True)],
              nics=[(m, "user,restrict=on") for m in macs])
    try:
        # Their order is the kernel's: both ways round, one is it.
        for first, second in (macs, macs[::-1]):
            if g.eof:
                g.close()
                g = Guest(kernel, initrd, disks=[("lower", image, True)],
                          nics=[(m, "user,restrict=on") for m in macs])
            g.setup(nics=[w.nic("eth1", mac(first)), late_nic(second, "eth0")])
            out, _, _ = g.sh("cat /sys/class/net/eth1/address /sys/class/net/eth0/address; ip addr",
                             hostname=None)
            assert out.split()[:2] == [first, second] and "10.1.2.3/24" in out
            g.shutdown()
            g.eof = True
    finally:
        g.close()


def test_start_waits_for_the_network(late):
    late.setup(nics=[late_nic(LATE_MAC)], network_wait_ms=60000)
    s = late.create("main", w.process(["/bin/sh", "-c", "ip addr show pod0; sleep 1000"],
                                      caps=w.ALL_CAPS), **RAW)
    start = late.session()
    start.send(w.START, w.string("main"))
    late.idle(1)
    assert not start.results and s.out() == ""
    do(late, f"ip link set eth0 address {LATE_MAC}")
    late.pump(lambda: start.results, 20, "result of START")
    assert start.results == [(0, None)]
    s.expect("10.1.2.3/24")
    late.kill(late.background("second"))  # nothing waits any more


def test_start_gives_up(late):
    """After a bounded time and with a sentence; the next start waits again."""
    late.setup(nics=[late_nic(LATE_MAC)], network_wait_ms=1000)
    s = late.create("main", w.process(["/bin/sh", "-c", "sleep 1000"], caps=w.ALL_CAPS),
                    **RAW)
    for _ in range(2):
        with pytest.raises(Result, match=r"network interface 'pod0' \(MAC 02:00:00:00:00:09\) is not "
                           "there after 1000 ms") as e:
            late.start("main")
        assert e.value.code == errno.ETIMEDOUT
    do(late, f"tunctl -t tap; ip link set tap address {LATE_MAC}")
    with pytest.raises(Result, match="network interface 'pod0' has no carrier after 1000 ms"):
        late.start("main")
    do(late, f"ip link del pod0; ip link set eth0 address {LATE_MAC}")
    late.start("main")
    assert late.kill(s) == (0, KILL, False)


def test_start_of_a_network_that_cannot_be(late):
    """A route that the guest's kernel refuses is no reason to wait to the end."""
    bad = w.nic("pod0", mac(NIC_MAC), late=True,
                routes=[w.route(2, 0, b"", gateway=bytes([192, 168, 0, 1]))])
    late.setup(nics=[bad], network_wait_ms=60000)
    late.create("main", w.process(["/bin/true"]))
    began = time.monotonic()
    with pytest.raises(Result, match="network interface 'pod0': add route to 0.0.0.0/0"):
        late.start("main")
    assert time.monotonic() - began < 30
    until(late, lambda: "pod0': add route" in late.console())


def test_start_whose_client_goes(late):
    """A client that does not wait any longer has not started anything."""
    late.setup(nics=[late_nic(LATE_MAC)], network_wait_ms=60000)
    s = late.create("main", w.process(["/bin/echo", "ran"], caps=w.ALL_CAPS),
                    **RAW)
    start = late.session()
    start.send(w.START, w.string("main"))
    late.idle(0.5)
    start.send(w.HANGUP)
    do(late, f"ip link set eth0 address {LATE_MAC}")
    until(late, lambda: "10.1.2.3" in network(late))
    late.idle(0.5)
    assert s.out() == "" and not start.results
    late.start("main")
    assert s.wait() == (0, 0, False) and s.out() == "ran\n"


def test_shutdown_with_containers(fresh):
    fresh.setup()
    fresh.background("one")
    s = fresh.background("two", "yes", unshare=0, hostname=None)
    s.auto_credit = False
    assert fresh.shutdown() < 3
    assert fresh.qemu.returncode == 0


def test_lost_channel_ends_the_guest(fresh):
    fresh.setup()
    fresh.background("one")
    fresh.sock.close()
    fresh.qemu.wait(10)


HOSTILE = {
    "unknown type": w.frame(200, 1),
    "guest's frame": w.frame(w.READY, 0, w.u32(1) + w.u64(1)),
    "oversized": struct.pack("<IBBHI", 1 << 21, w.CREATE, 0, 0, 1),
    "padding": struct.pack("<IBBHI", 0, w.HANGUP, 0, 1, 1),
    "stream": struct.pack("<IBBHI", 0, w.DATA, 32, 0, 1),
    "empty create": w.frame(w.CREATE, 1),
    "truncated create": w.frame(w.CREATE, 1, w.container("x", w.process(["x"]))[:-3]),
    "longer create": w.frame(w.CREATE, 1, w.container("x", w.process(["x"])) + b"x"),
    "endless list": w.frame(w.CREATE, 1, w.string("x") + w.string(None) * 2 + w.u64(0) +
                            w.string("l") + w.string(None) + w.u64(0) + b"\0" + w.u64(0) +
                            w.u32(0xFFFFFFF0)),
    "no args": w.frame(w.CREATE, 1, w.container("x", w.process([]))),
    "NUL in a string": w.frame(w.START, 1, w.string("a\0b")),
    "random": None,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_frame(fresh, what):
    """A host that cannot be understood ends the guest; nothing of it is carried out."""
    fresh.setup()
    fresh.outgoing += HOSTILE[what] or os.urandom(200)
    fresh.idle(5)
    fresh.qemu.wait(10)
    assert "malformed" in fresh.console()
    assert "panic" not in fresh.console().lower()


def test_more_than_the_window(fresh):
    fresh.setup()
    s = fresh.background("flood")
    del fresh.sessions[s.number]  # its credits are of no interest
    for _ in range(w.WINDOW // w.DATA_MAX * 3):
        s.send(w.DATA, bytes(w.DATA_MAX))
    fresh.idle(5)
    fresh.qemu.wait(10)
    assert "malformed" in fresh.console()


def strange_container(r, n):
    """Well formed, and nothing a sane host would ask for."""
    number = lambda: r.choice([0, 1, 2, 7, 255, 4096, 1 << 15, 1 << 20, (1 << 31) - 1,
                               r.getrandbits(16), r.getrandbits(31)])
    path = lambda: r.choice(["/", "/dev", "/proc", "/proc/self", "/proc/1/fd/0", "/sys", "//", "/.", "/..",
                             "/bin/sh", "/loop-a", "/link-up/x", "/" + "a" * 300, "/" + "a/" * 2000,
                             "/new\n\x7f%s%n", "/dev/pts/ptmx", "/tmp", "/data"])
    text = lambda: r.choice([None, "", "x", "proc", "tmpfs", "overlay", "bind", "cgroup", "9p", "devpts",
                             "ext4", "size=-1", "mode=0", "%s%n", "a" * 5000])
    mounts = [w.mount(path(), text(), text(), r.getrandbits(26) & ~32 if r.random() < .5 else number(), text(),
                      r.choice([0, 0, w.SHARED, w.PRIVATE | w.REC, w.SLAVE | w.SHARED, number()]),
                      r.choice([-1, -1, 0, 5, (1 << 31) - 1]), r.random() < .5, r.random() < .3)
              for _ in range(r.randrange(4))]
    odd = lambda usual, strange: strange() if r.random() < .08 else usual
    some = lambda make: [make() for _ in range(r.randrange(4))]
    process = w.process(
        odd(["/bin/sleep", "100"], lambda: [text() or "", "a"]), terminal=r.random() < .3,
        rows=r.getrandbits(16), columns=r.getrandbits(16), cwd=odd("/", path),
        env=odd(["A=1"], lambda: some(lambda: r.choice(["PATH=", "HOME", "=", "", "A=" + "b" * 3000]))),
        uid=odd(0, number), gid=odd(0, number), gids=some(number), umask=number(),
        caps=odd(w.DEFAULT_CAPS, lambda: r.getrandbits(64)), ambient=odd(0, lambda: r.getrandbits(41)),
        rlimits=odd((), lambda: [(r.randrange(18), number(), number())]), nnp=r.random() < .5,
        oom_score_adj=odd(None, lambda: r.choice([-1000, 1000, 9999])),
        seccomp=odd(b"", lambda: r.choice([r.randbytes(8 * r.randrange(5)), deny(59), deny(83)])),
        seccomp_flags=odd(0, number), extra_fds=odd(0, lambda: r.choice([3, 29, 30, number()])))
    return w.container(
        f"strange{n}", process, hostname=odd("box", text), domainname=odd(None, text),
        unshare=odd(w.NEWPID | w.NEWUTS, lambda: r.choice([0, w.NEWPID | w.NEWNET, r.getrandbits(31)])),
        upper_size=odd(0, number), readonly=r.random() < .3, propagation=odd(0, number),
        mounts=[*w.DEFAULT_MOUNTS[:r.randrange(8)], *odd([], lambda: mounts)],
        devices=odd((), lambda: [w.device(path(), number(), number(), number())]),
        sysctl=odd((), lambda: [(text() or "", text() or "")]),
        masked=odd((), lambda: some(path)), readonly_paths=odd((), lambda: some(path)),
        limits=odd(None, lambda: w.resources(*(number() for _ in range(6)))))


@pytest.mark.parametrize("seed", range(3))
def test_strange_requests(guest, seed):
    """Each is carried out or refused with one sentence, and the agent goes on."""
    r = random.Random(seed)
    made = 0
    for n in range(60):
        s = guest.session()
        s.send(w.CREATE, strange_container(r, n))
        try:
            s.result()
        except Result as e:
            assert e.code > 0 and e.text and len(e.text) < 1100 and e.text.isprintable(), e.text
            continue
        made += 1
        try:
            guest.start(f"strange{n}")
            guest.exec(f"strange{n}", ["/bin/true"], terminal=r.random() < .5)
        except Result:
            pass
        s.send(w.HANGUP)
        s.wait()
    assert made > 5
    assert guest.run(["/bin/true"])[2] == (0, 0, False)


def test_frames_in_pieces(fresh):
    fresh.setup()
    data = w.frame(w.CREATE, 77, w.container("slowly", w.process(["/bin/true"])))
    s = fresh.session(77)
    for i in range(0, len(data), 97):
        fresh.outgoing += data[i:i + 97]
        fresh.idle(0.01)
    s.result()
    fresh.start("slowly")
    assert s.wait() == (0, 0, False)
    for kind in (w.DATA, w.HANGUP):  # late ones are no fault
        s.send(kind)
    s.send(w.CREDIT, w.u32(5), 1)
    assert fresh.run(["/bin/true"])[2] == (0, 0, False)
