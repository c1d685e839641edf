# SPDX-License-Identifier: Apache-2.0
"""The lab from outside: what runs in its hosts, what comes back, what is left."""
import fcntl
import os
import re
import signal
import struct
import termios
import time

from conftest import BOOT
from harness import eventually

BUSYBOX = """
mkdir -p /tmp/bb/bin && cp /bin/busybox /tmp/bb/bin/ && ln -sf busybox /tmp/bb/bin/sh
podman image exists localhost/bb ||
    tar -C /tmp/bb -c . | podman import - localhost/bb >/dev/null 2>&1
"""


def test_streams_and_status(hosts):
    """Output, error output, input and exit status are those of the command."""
    r = hosts("run", "kvm", "sh", "-c", "cat; echo err >&2; exit 3", input="in", check=False)
    assert (r.stdout, r.stderr, r.returncode) == ("in", "err\n", 3)
    assert hosts("run", "kvm", "sh", "-c", "kill -9 $$", check=False).returncode == 137
    r = hosts("run", "kvm", "/nothing", check=False)
    assert (r.returncode, r.stderr) == (127, "lab: /nothing: No such file or directory\n")
    assert hosts("run", "kvm", "-e", "A=b c", "--cwd", "/tmp", "sh", "-c",
                 'echo "$A" "$PWD"').stdout == "b c /tmp\n"


def test_much_of_everything(hosts):
    """More than any buffer holds, both ways at once, with a reader that is not there at first."""
    data = os.urandom(8 << 20)
    r = hosts("run", "kvm", "sh", "-c", "sleep 1; cat", input=data, text=False)
    assert r.stdout == data


def test_kvm_host_virtualizes(hosts):
    assert hosts.sh("kvm", "test -w /dev/kvm; grep -ow -m1 svm /proc/cpuinfo; ls -d /sys/module/kvm_amd"
                    ).split() == ["svm", "/sys/module/kvm_amd"]
    assert "deb13" in hosts.sh("kvm", "uname -r")       # the distribution's own kernel


def test_guest_runs_on_kvm(hosts):
    """A guest of QEMU on KVM gets as far as its firmware's debug port."""
    out = hosts.sh("kvm", "timeout 60 qemu-system-x86_64 -M q35 -accel kvm -m 64M -nodefaults "
                          "-display none -no-reboot -chardev stdio,id=d "
                          "-device isa-debugcon,iobase=0x402,chardev=d </dev/null & "
                          "sleep 8; kill $!", check=False)
    assert "SeaBIOS" in out


def test_host_in_a_host(hosts):
    """By its KVM a host runs a host, which has KVM, too."""
    out = hosts.sh("kvm", "cd /caisson && ACCEL=kvm lab/lab run cloud --set memory=1G --set hugepages=0 "
                          f"--build /build --boot-timeout {BOOT} -- "
                          "sh -c 'hostname; test -w /dev/kvm && echo kvm'")
    assert out.split() == ["cloud", "kvm"]
    assert hosts.sh("kvm", "ls /run/lab").split() == ["results"]


def test_cki_host_does_not_virtualize(hosts):
    flags = hosts.sh("cki", "grep -m1 ^flags /proc/cpuinfo").split()
    assert "pku" in flags and "svm" not in flags and "vmx" not in flags
    assert hosts("run", "cki", "test", "-e", "/dev/kvm", check=False).returncode == 1
    assert hosts.sh("cki", "hostname") == "cki\n"


def test_timeout_kills(hosts):
    """The command and what it has started are gone, and the console's last words are shown."""
    r = hosts("run", "kvm", "--timeout", "1", "sh", "-c", "sleep 98765 & echo begun; sleep 98765",
              check=False)
    assert (r.returncode, r.stdout) == (124, "begun\n")
    assert "did not end within 1 s" in r.stderr and "  | " in r.stderr
    assert hosts("run", "kvm", "pgrep", "-f", "sleep 98765", check=False).returncode == 1


def test_hang_is_noticed(hosts):
    """A host that has stopped to answer ends the command that runs in it, however long that may be
    silent."""
    hosts("boot", "kvm", "--name", "hung", timeout=BOOT)
    try:
        p = hosts.popen("run", "kvm", "--name", "hung", "sh", "-c", "echo begun; sleep 98763")
        assert p.stdout.readline() == b"begun\n"
        time.sleep(90)      # to be silent is not to hang
        assert p.poll() is None
        os.kill(int((hosts.state / "hung/pid").read_text()), signal.SIGSTOP)
        _, err = p.communicate(timeout=200)
        assert p.returncode == 125 and b"does not answer" in err
    finally:
        hosts("stop", "hung")


def test_hang_is_explained(lab):
    """The kernel of a host that does not answer tells what its CPUs do and what is blocked, and on what."""
    lab("boot", "kvm", "--name", "stuck", timeout=BOOT)
    try:
        # The parent of a vfork waits in uninterruptible sleep.
        vfork = ("import ctypes, os; libc = ctypes.CDLL(None); "
                 "p = libc.syscall(56, 0x4000 | 17, 0, 0, 0, 0); "
                 "p or libc.sleep(98762)")
        r = lab("run", "kvm", "--name", "stuck", "sh", "-c",
                  f"""python3 -c '{vfork}' >/dev/null 2>&1 & sleep 20
                  kill -STOP $(pgrep -f caisson-lab/agent)""", check=False, timeout=300)
        assert r.returncode == 125
        assert r.stderr.splitlines()[-1] == "lab: stuck: the host does not answer"
        assert "sysrq: Show backtrace of all active CPUs" in r.stderr
        blocked = r.stderr.partition("sysrq: Show Blocked State")[2]
        assert "task:python3 " in blocked
    finally:
        lab("stop", "stuck")


def test_killed_client_kills_command(hosts):
    for number in (signal.SIGTERM, signal.SIGKILL):
        p = hosts.popen("run", "kvm", "sh", "-c", "echo begun; exec sleep 98764")
        assert p.stdout.readline() == b"begun\n"
        p.send_signal(number)
        p.communicate()
        eventually(lambda: hosts("run", "kvm", "pgrep", "-f", "^sleep 98764",
                                 check=False).returncode == 1, "the command is gone")


def test_what_a_command_leaves_runs_on(hosts):
    """A daemon started by a command survives it and does not keep it from ending."""
    hosts.sh("kvm", "setsid sleep 98763 & echo $!", timeout=30)
    assert hosts.sh("kvm", "pgrep -f 'sleep 98763$' | xargs kill") == ""


def test_commands_at_once(hosts):
    """In one host and in two."""
    started = [hosts.popen("run", host, "sh", "-c", f"sleep 2; hostname; echo {n}")
               for n, host in enumerate(["kvm", "cki", "kvm", "cki"])]
    assert [p.communicate()[0].decode().split() for p in started] == [
        ["kvm", "0"], ["cki", "1"], ["kvm", "2"], ["cki", "3"]]


def test_shares(hosts):
    """The build is there as it is now, and read-only; results come back."""
    file = hosts.build / "probe"
    for text in ("one", "another, longer"):
        file.write_text(text)
        assert hosts.sh("kvm", "cat /build/probe") == text
    assert hosts("run", "kvm", "touch", "/build/x", check=False).returncode == 1
    assert hosts("run", "kvm", "touch", "/caisson/x", check=False).returncode == 1
    hosts.sh("kvm", "echo 42 >/results/figure")
    assert (hosts.state / "results/kvm/figure").read_text() == "42\n"


def test_podman_with_systemd(hosts):
    """podman, crun and systemd's cgroups, all Debian's."""
    out = hosts.sh("kvm", BUSYBOX + "podman run --rm --network none localhost/bb sh -c "
                   "'busybox echo in the container'; podman info --format "
                   "'{{.Host.CgroupManager}} {{.Host.OCIRuntime.Name}}'")
    assert out == "in the container\nsystemd crun\n"


def test_sriov_host(sriov):
    """Two NICs of seven functions each, every function in an IOMMU group of its own, and a frame
    goes from one NIC to the other.
    """
    out = sriov.sh("sriov", """
        for nic in eth0 eth1; do
            echo 0 >/sys/class/net/$nic/device/sriov_drivers_autoprobe
            ip link set $nic up
            echo 7 >/sys/class/net/$nic/device/sriov_numvfs
        done
        for vf in /sys/class/net/eth[01]/device/virtfn*; do readlink $vf/iommu_group; done
        unshare -n sleep 60 & sleep 0.5
        ip link set eth1 netns $!
        nsenter -n -t $! ip addr add 192.0.2.2/24 dev eth1; nsenter -n -t $! ip link set eth1 up
        ip addr add 192.0.2.1/24 dev eth0; sleep 4
        ping -c 3 -W 5 192.0.2.2 | grep -o '[1-3] received'
        kill $!""")
    groups, received = out.splitlines()[:-1], out.splitlines()[-1]
    assert len(groups) == len(set(groups)) == 14 and received != "0 received"


def test_shell(hosts):
    """A terminal of the same size, with the shell's status."""
    master, slave = os.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 77, 0, 0))
    p = hosts.popen("shell", "kvm", stdin=slave, stdout=slave)
    os.close(slave)
    seen = b""
    for word, answer in (("", b"kvm:/caisson# "), ("stty size; tty\n", b"/dev/pts/"),
                         ("exit 5\n", b"exit 5")):
        os.write(master, word.encode())
        while answer not in seen:
            seen += os.read(master, 4096)
    assert p.wait(60) == 5 and b"30 77" in seen
    os.close(master)


def test_boot_that_fails(lab):
    """One sentence, the console's last words, nothing left; also when what boots it is killed."""
    r = lab("boot", "kvm", "--name", "broken", "--set", "append=rdinit=/nothing root=/dev/nothing",
            check=False)
    assert r.returncode == 1 and "Kernel panic" in r.stderr
    assert r.stderr.splitlines()[-1] == "lab: broken: the host has gone away"
    p = lab.popen("boot", "kvm", "--name", "broken")
    eventually((lab.state / "broken/pid").exists, "QEMU is started")
    p.terminate()
    assert p.wait(30) == 143
    assert not (lab.state / "broken").exists()
    assert not [line for line in lab.processes().values() if "broken" in line]


def test_bad_words(lab):
    for words, sentence in (
            (["boot", "nothing"], r"there is no host 'nothing' \(there are cki, cki-vf, cloud, kvm, sriov\)"),
            (["boot", "kvm", "--set", "memroy=1G"], "host kvm: there is no key 'memroy'"),
            (["boot", "kvm", "--set", "cpus=two"], "host kvm: cpus: 'two' is not a number"),
            (["boot", "kvm", "--name", "../x"], "'../x' is not a name: .*"),
            (["stop", "nothing"], "nothing is not running"),
            (["run", "kvm"], "run: there is no command")):
        r = lab(*words, check=False)
        assert r.returncode == 1 and re.fullmatch(f"lab: {sentence}\n", r.stderr), r.stderr


def test_bad_image(lab, monkeypatch):
    """An image that is named, and is none."""
    monkeypatch.setitem(lab.environment, "CAISSON_LAB_IMAGE", "/nothing")
    r = lab("boot", "kvm", "--name", "imageless", check=False)
    assert (r.returncode, r.stderr) == (
        1, "lab: imageless: CAISSON_LAB_IMAGE: '/nothing' is no image of the lab's\n")
    assert not (lab.state / "imageless").exists()


def test_nothing_is_left(lab):
    """A host for one command; then no process, no file but the results."""
    r = lab("run", "kvm", "--name", "short", "hostname", timeout=300)
    assert r.stdout == "kvm\n"
    assert sorted(os.listdir(lab.state / "results/short")) == ["serial.log"]
    assert not (lab.state / "short").exists()
    assert "short" not in lab("status").stdout
    assert not [p for p in lab.processes() if "short" in os.readlink(f"/proc/{p}/cwd")]
    assert set(os.listdir(lab.state.parent)) <= {"state", "build"}
