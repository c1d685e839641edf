# SPDX-License-Identifier: Apache-2.0
"""podman run: what its options mean inside the sandbox."""
import hashlib
import os
import random

import pytest

from conftest import IMAGE

# CAP_* by number (linux/capability.h)
CAP_CHOWN, CAP_NET_RAW, CAP_SYS_ADMIN, CAP_SYS_TIME = 0, 13, 21, 25


def fields(text):
    """{name: value} of lines `name=value`."""
    return dict(line.split("=", 1) for line in text.splitlines())


def capabilities(podman, *options):
    text = podman.sh("grep ^CapEff /proc/self/status", *options)
    return int(text.split()[1], 16)


def test_image(podman):
    r = podman.run(IMAGE, "sh", "-c", "echo out; echo err >&2; cat /etc/group")
    assert r.stdout == "out\nroot:x:0:\nuser:x:1000:\nextra:x:2000:user\n"
    assert r.stderr == "err\n"


def test_guest_kernel(podman):
    assert podman.sh("uname -r").strip() != os.uname().release


def test_rootfs_directory(podman):
    r = podman("run", "--rm", "--network", "none", "--rootfs", podman.path / "rootfs",
               "sh", "-c", "cat /etc/group; echo gone >/etc/group")
    assert "extra:x:2000:user" in r.stdout
    # What the container writes is the sandbox's: never the directory's.
    assert "extra" in (podman.path / "rootfs/etc/group").read_text()


def test_stdin_is_carried_whole(podman):
    data = random.Random(1).randbytes(5_000_000)
    r = podman.run("-i", IMAGE, "sha256sum", input=data, text=False)
    assert r.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_stdout_is_carried_whole(podman):
    r = podman.run(IMAGE, "sh", "-c", "seq 1 400000; echo done >&2", text=False)
    assert r.stdout == b"".join(b"%d\n" % n for n in range(1, 400001))
    assert r.stderr == b"done\n"


def test_stdin_is_closed_unless_asked_for(podman):
    assert podman.sh("cat; echo end", input="nobody reads this") == "end\n"


def test_process(podman):
    """Environment, hostname, user by name, groups, directory and entry point."""
    script = ('echo A=$A; echo F=$F; echo host=$(hostname); echo cwd=$(pwd); echo id=$(id);'
              'echo home=$HOME; echo args="$0 $@"; umask')
    file = podman.path / "env"
    file.write_text("F=from a file\n")
    text = podman.run("-e", "A=b c=d", "--env-file", file, "--hostname", "nautilus", "-w", "/tmp",
                      "-u", "user", "--group-add", "4242", "--entrypoint", "/bin/sh",
                      "--umask", "027",
                      IMAGE, "-c", script, "zero", "one two").stdout
    *pairs, umask = text.splitlines()
    assert fields("\n".join(pairs)) == {
        "A": "b c=d", "F": "from a file", "host": "nautilus", "cwd": "/tmp",
        "id": "uid=1000(user) gid=1000(user) groups=1000(user),2000(extra),4242",
        "home": "/home", "args": "zero one two"}
    assert umask == "0027"


@pytest.mark.parametrize("user, ids", [
    ("1234", "1234 0 0"),
    ("1234:567", "1234 567 567"),
    ("user:extra", "1000 2000 2000"),
])
def test_user(podman, user, ids):
    assert podman.sh("echo $(id -u) $(id -g) $(id -G)", "-u", user).strip() == ids


def test_etc_files_of_podman(podman):
    text = podman.sh("cat /etc/hostname /etc/hosts /etc/resolv.conf /run/.containerenv && echo ok",
                     "--hostname", "nautilus", "--add-host", "reef:192.0.2.9",
                     "--dns", "192.0.2.10", network="podman")
    assert "nautilus" in text.splitlines()[0]
    assert "192.0.2.9\treef" in text
    assert "nameserver 192.0.2.10" in text
    assert text.endswith("ok\n")


# --- Volumes --------------------------------------------------------------------------------


@pytest.fixture
def directory(podman, tmp_path):
    (tmp_path / "file").write_text("from the host\n")
    return tmp_path


def test_volume(podman, directory):
    text = podman.sh("cat /v/file; echo new >/v/made; chown 12:34 /v/made; chmod 640 /v/made;"
                     "mkdir /v/d; mv /v/file /v/d/; ln -s d/file /v/link; stat -c %u:%g /v/made",
                     "-v", f"{directory}:/v")
    assert text == "from the host\n12:34\n"
    made = (directory / "made").stat()
    assert (made.st_uid, made.st_gid, made.st_mode & 0o777) == (12, 34, 0o640)
    assert (directory / "made").read_text() == "new\n"
    assert (directory / "link").readlink().as_posix() == "d/file"
    assert (directory / "link").read_text() == "from the host\n"


def test_volume_is_shared_while_running(podman, directory):
    with podman.running("-v", f"{directory}:/v") as c:
        (directory / "later").write_text("written by the host\n")
        assert c.sh("cat /v/later; echo answer >/v/answer") == "written by the host\n"
        assert (directory / "answer").read_text() == "answer\n"
        (directory / "later").write_text("changed\n")
        assert c.sh("cat /v/later") == "changed\n"


def test_volume_read_only(podman, directory):
    r = podman.run("-v", f"{directory}:/v:ro", IMAGE, "sh", "-c",
                   "cat /v/file; touch /v/made; echo x >>/v/file; rm /v/file", check=False)
    assert r.returncode != 0
    assert r.stdout == "from the host\n"
    assert r.stderr.count("Read-only file system") == 3
    assert [f.name for f in directory.iterdir()] == ["file"]


def test_volume_of_a_file(podman, directory):
    text = podman.sh("cat /one /two; echo more >>/one; echo no >>/two; echo $?",
                     "-v", f"{directory}/file:/one", "-v", f"{directory}/file:/two:ro")
    assert text == "from the host\n" * 2 + "1\n"
    assert (directory / "file").read_text() == "from the host\nmore\n"


def test_volume_obeys_the_user(podman, directory):
    (directory / "file").chmod(0o600)
    directory.chmod(0o755)
    r = podman.run("-u", "1000:1000", "-v", f"{directory}:/v", IMAGE, "sh", "-c",
                   "cat /v/file; touch /v/made", check=False)
    assert r.returncode != 0
    assert r.stdout == ""
    assert r.stderr.count("Permission denied") == 2


def test_named_volume(podman):
    try:
        podman.sh("echo kept >/data/file", "-v", "hold:/data")
        assert podman.sh("cat /data/file", "-v", "hold:/data:ro") == "kept\n"
    finally:
        podman("volume", "rm", "hold")


def test_tmpfs_and_shm(podman):
    text = podman.sh("df -k /scratch /dev/shm | awk 'NR > 1 { print $6, $2 }';"
                     "touch /scratch/x /dev/shm/x; grep ' /scratch ' /proc/mounts",
                     "--tmpfs", "/scratch:size=3m,noexec", "--shm-size", "5m")
    lines = text.splitlines()
    assert lines[0] == "/scratch 3072"
    assert lines[1] == "/dev/shm 5120"
    assert "tmpfs" in lines[2] and "noexec" in lines[2]


def test_read_only(podman):
    r = podman.run("--read-only", IMAGE, "sh", "-c",
                   "touch /etc/x; touch /tmp/x /run/x /dev/shm/x && echo ok", check=False)
    assert r.stdout == "ok\n"
    assert "/etc/x: Read-only file system" in r.stderr


# --- Rights and limits ----------------------------------------------------------------------


def test_capabilities(podman):
    default = capabilities(podman)
    assert default >> CAP_CHOWN & 1 and not default >> CAP_SYS_ADMIN & 1
    assert capabilities(podman, "--cap-drop", "ALL") == 0
    assert capabilities(podman, "--cap-drop", "ALL", "--cap-add", "SYS_TIME") == 1 << CAP_SYS_TIME
    assert capabilities(podman, "-u", "user") == 0


def test_privileged_is_the_guests(podman):
    """--privileged: every capability, in the guest's kernel."""
    text = podman.sh("grep ^CapEff /proc/self/status; mount -t tmpfs none /tmp && echo mounted;"
                     "ls /dev | grep -c ^vd", "--privileged")
    assert int(text.split()[1], 16) >> CAP_SYS_ADMIN & 1
    assert "mounted" in text


def test_no_new_privileges(podman):
    get = "grep NoNewPrivs /proc/self/status"
    assert podman.sh(get).split()[1] == "0"
    assert podman.sh(get, "--security-opt", "no-new-privileges").split()[1] == "1"


def test_seccomp(podman):
    """podman's default profile is in force, and can be switched off."""
    get = "grep ^Seccomp: /proc/self/status"
    assert podman.sh(get).split()[1] == "2"
    assert podman.sh(get, "--security-opt", "seccomp=unconfined").split()[1] == "0"


def test_ulimit(podman):
    assert podman.sh("ulimit -Sn; ulimit -Hn; ulimit -c", "--ulimit", "nofile=123:456",
                     "--ulimit", "core=0") == "123\n456\n0\n"


def test_sysctl(podman):
    assert podman.sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax"
                     " /proc/sys/net/ipv4/ping_group_range",
                     "--sysctl", "net.ipv4.ip_forward=1",
                     "--sysctl", "kernel.msgmax=12345").split() == ["1", "12345", "0", "0"]


def test_memory(podman):
    r = podman.run("--memory", "48m", "--memory-swap", "48m", IMAGE, "sh", "-c",
                   "tail -c 200m /dev/zero | tail -c 1 | wc -c; (tail /dev/zero); echo after $?",
                   check=False)
    assert "after 137" in r.stdout, r


def test_pids_limit(podman):
    r = podman.run("--pids-limit", "8", IMAGE, "sh", "-c",
                   "for i in $(seq 20); do sleep 30 & done; echo all", check=False)
    assert r.returncode != 0
    assert "Resource temporarily unavailable" in r.stderr
    assert "all" not in r.stdout


def test_device_is_the_guests(podman):
    """A node names the guest's device of that number, never the host's."""
    text = podman.sh("stat -c '%t %T' /dev/log0; head -n 40 /dev/log0",
                     "--device", "/dev/kmsg:/dev/log0", "--cap-add", "SYSLOG")
    number, *log = text.splitlines()
    assert number == "1 b"
    assert len(log) > 10 and os.uname().release not in text


def test_masked_and_read_only_paths(podman):
    r = podman.run(IMAGE, "sh", "-c", "for f in kcore keys timer_list; do head -c 1 /proc/$f;"
                   "done 2>/dev/null | wc -c; echo 1 >/proc/sys/kernel/panic", check=False)
    assert r.stdout == "0\n"
    assert "Read-only file system" in r.stderr


def need_catatonit():
    if not os.path.exists("/usr/libexec/podman/catatonit"):
        pytest.skip("podman's catatonit is not installed")


def test_init(podman):
    need_catatonit()
    text = podman.sh("cat /proc/1/comm; echo $$", "--init")
    assert text.splitlines()[0] == "podman-init"
    assert text.splitlines()[1] != "1"


def test_pid_one(podman):
    assert podman.sh("echo $$; ls /proc | grep -c '^[0-9]'").split()[0] == "1"


# --- The end of the process -----------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 1, 42, 125, 126, 127, 128, 255])
def test_exit_status(podman, status):
    assert podman.run(IMAGE, "sh", "-c", f"exit {status}", check=False).returncode == status


def test_killed_by_a_signal(podman):
    need_catatonit()
    r = podman.run("--init", IMAGE, "sh", "-c", "kill -SEGV $$", check=False)
    assert r.returncode == 139


@pytest.mark.parametrize("program, status", [("nosuch", 127), ("/no/such", 127),
                                             ("/etc/passwd", 126), ("/etc", 126)])
def test_no_program(podman, program, status):
    r = podman.run(IMAGE, program, check=False)
    assert r.returncode == status
    assert program in r.stderr
    assert len(r.stderr.strip().splitlines()) == 1, r.stderr


def test_bad_workdir(podman):
    r = podman.run("-w", "/etc/passwd/x", IMAGE, "true", check=False)
    assert r.returncode in (126, 127)
    assert "/etc/passwd/x" in r.stderr
