# SPDX-License-Identifier: Apache-2.0
"""Malformed and hostile input: one sentence that names what is bad, a status that is not
zero, and nothing made that stays.
"""
import json
import os
import socket
import subprocess

import pytest

from support import BUILD, assert_sentence, call_detached, unique, use_netns


class Input:
    """What a case may spoil: the configuration, files, and the command line."""

    def __init__(self, box, work, rootfs):
        self.box, self.work, self.rootfs = box, work, rootfs
        self.dir = box.bundle.path
        self.config = box.config
        self.text = None  # instead of the configuration: bytes
        self.options = []  # of create
        self.before = []  # of caisson
        self.id = box.id

    def refused(self, *words):
        path = self.dir / "config.json"
        if self.text is None:
            path.write_text(json.dumps(self.config))
        elif self.text is not False:
            path.write_bytes(self.text)
        r = call_detached(self.box.caisson, *self.before, "create", "--bundle", self.dir,
                          "--pid-file", self.box.pid_file, *self.options, self.id,
                          out=self.work / unique("out"), check=False)
        assert_sentence(r, *words)
        root = self.box.caisson.root
        assert not root.is_dir() or not os.listdir(root)
        assert not self.box.pid_file.exists()
        return r


@pytest.fixture
def bad(box, caisson, rootfs):
    return Input(box(), caisson.path, rootfs)


def at(value, *path):
    """Sets a member of the configuration, whatever is above it."""
    def spoil(config):
        for key in path[:-1]:
            if isinstance(config, dict):
                config = config.setdefault(key, {})
            else:
                config = config[key]
        config[path[-1]] = value
    return spoil


def mount(**m):
    return lambda c: c["mounts"].append({"destination": "/mnt", "type": "bind", "source": "/tmp",
                                         **m})


def netns(path):
    return lambda c: use_netns(c, path)


def without(*path):
    def spoil(config):
        for key in path[:-1]:
            config = config[key]
        del config[path[-1]]
    return spoil


LONG = "/" + "x" * 5000
CONFIGS = {
    "version-missing": (without("ociVersion"), ["ociVersion"]),
    "version-2": (at("2.0.0", "ociVersion"), ["2.0.0"]),
    "version-number": (at(1.0, "ociVersion"), ["ociVersion", "1.0"]),
    "root-missing": (without("root"), ["root"]),
    "root-empty": (at("", "root", "path"), ["root.path"]),
    "root-number": (at(7, "root", "path"), ["root.path", "7"]),
    "root-long": (at(LONG, "root", "path"), ["root.path", "/xxx"]),
    "root-nowhere": (at("/no/such/root", "root", "path"), ["/no/such/root"]),
    "root-file": (at("/etc/passwd", "root", "path"), ["/etc/passwd"]),
    "root-device": (at("/dev/null", "root", "path"), ["/dev/null"]),
    "process-missing": (without("process"), ["process"]),
    "process-list": (at([], "process"), ["process"]),
    "args-missing": (without("process", "args"), ["args"]),
    "args-none": (at([], "process", "args"), ["args"]),
    "args-empty-name": (at([""], "process", "args"), ["args[0]"]),
    "args-null": (at(["a", None], "process", "args"), ["args[1]"]),
    "args-string": (at("sh", "process", "args"), ["args", "sh"]),
    "cwd-missing": (without("process", "cwd"), ["cwd"]),
    "cwd-relative": (at("tmp", "process", "cwd"), ["process.cwd", "'tmp'"]),
    "env-no-value": (at(["PATH"], "process", "env"), ["env[0]", "'PATH'"]),
    "uid-negative": (at(-1, "process", "user", "uid"), ["uid", "-1"]),
    "uid-all-ones": (at(2 ** 32 - 1, "process", "user", "uid"), ["uid", "4294967295"]),
    "uid-huge": (at(2 ** 70, "process", "user", "uid"), [str(2 ** 70)]),
    "uid-string": (at("root", "process", "user", "uid"), ["uid", "root"]),
    "gids-mixed": (at([1, "x"], "process", "user", "additionalGids"), ["additionalGids", "x"]),
    "capability": (at({"bounding": ["CAP_MAGIC"]}, "process", "capabilities"), ["CAP_MAGIC"]),
    "rlimit-name": (at([{"type": "RLIMIT_X", "soft": 1, "hard": 1}], "process", "rlimits"),
                    ["RLIMIT_X"]),
    "rlimit-order": (at([{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 1}], "process", "rlimits"),
                     ["9"]),
    "terminal-string": (at("yes", "process", "terminal"), ["terminal", "yes"]),
    "hostname-long": (at("h" * 65, "hostname"), ["hostname", "hhh"]),
    "mount-no-destination": (lambda c: c["mounts"].append({"type": "tmpfs"}),
                             ["mounts[", "destination"]),
    "mount-relative": (mount(destination="mnt"), ["'mnt'"]),
    "mount-source-missing": (mount(source="/no/such/dir", options=["bind"]), ["/no/such/dir"]),
    "mount-device": (mount(source="/dev/vda", options=["bind"]), ["/dev/vda"])
    if os.path.exists("/dev/vda") else (mount(source="/dev/kmsg", options=["bind"]),
                                        ["/dev/kmsg"]),
    "mount-host-proc": (mount(source="/proc/1", options=["bind"]), ["/proc/1"]),
    "mount-host-sys": (mount(source="/sys/kernel", options=["rbind"]), ["/sys/kernel"]),
    "mount-option": (mount(options=["bind", "nosiud"]), ["nosiud"]),
    "mount-on-root": (mount(destination="/", options=["bind"]), ["'/'"]),
    "mount-unknown-type": (mount(type="magicfs", source="x"), ["'x' on '/mnt'"]),
    "mounts-object": (at({}, "mounts"), ["mounts"]),
    "hook-relative": (at([{"path": "bin/hook"}], "hooks", "prestart"), ["bin/hook"]),
    "hook-no-path": (at([{"args": []}], "hooks", "poststop"), ["poststop[0]", "path"]),
    "hook-timeout": (at([{"path": "/x", "timeout": -5}], "hooks", "prestart"), ["timeout", "-5"]),
    "hook-env": (at([{"path": "/x", "env": ["="]}], "hooks", "prestart"), ["'='"]),
    "namespace-unknown": (at([{"type": "warp"}], "linux", "namespaces"), ["'warp'"]),
    "namespace-twice": (at([{"type": "pid"}, {"type": "pid"}], "linux", "namespaces"), ["'pid'"]),
    "namespace-join": (at([{"type": "pid", "path": "/proc/1/ns/pid"}], "linux", "namespaces"),
                       ["/proc/1/ns/pid"]),
    "namespace-user": (at([{"type": "user"}], "linux", "namespaces"), ["user"]),
    "netns-missing": (netns("/run/netns/none-such"), ["/run/netns/none-such"]),
    "netns-file": (netns("/etc/passwd"), ["/etc/passwd"]),
    "netns-host": (netns("/proc/1/ns/net"), ["/proc/1/ns/net"]),
    "netns-other-kind": (netns("/proc/1/ns/uts"), ["/proc/1/ns/uts"]),
    "device-type": (at([{"type": "z", "path": "/dev/z"}], "linux", "devices"), ["'z'"]),
    "sysctl-path": (at({"../../etc/x": "1"}, "linux", "sysctl"), ["../../etc/x"]),
    "cgroup-dots": (at("/a/../../b", "linux", "cgroupsPath"), ["/a/../../b", "'..'"]),
    "memory-string": (at("1G", "linux", "resources", "memory", "limit"), ["limit", "1G"]),
    "cpuset": (at("0-", "linux", "resources", "cpu", "cpus"), ["'0-'"]),
    "unified-path": (at({"../x": "1"}, "linux", "resources", "unified"), ["../x"]),
    "seccomp-action": (at({"defaultAction": "SCMP_ACT_DANCE"}, "linux", "seccomp"),
                       ["SCMP_ACT_DANCE"]),
    "seccomp-arch": (at({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["PDP11"]}, "linux",
                        "seccomp"), ["PDP11"]),
    "masked-relative": (at(["proc/x"], "linux", "maskedPaths"), ["proc/x"]),
    "annotation-number": (at(7, "annotations", "k"), ["annotations", "7"]),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_config(bad, no_leaks, case):
    """A configuration with one bad value is refused with that value's name."""
    spoil, words = CONFIGS[case]
    spoil(bad.config)
    bad.refused(*words)
    no_leaks()


DOCUMENTS = {
    "empty": (b"", ["config.json"]),
    "not-json": (b"caisson", ["config.json"]),
    "list": (b"[]", ["config.json"]),
    "cut": (b'{"ociVersion": "1.0', ["config.json"]),
    "two": (b"{} {}", ["config.json"]),
    "deep": (b'{"a":' * 100000 + b"1" + b"}" * 100000, ["config.json"]),
    "nul": (b'{"ociVersion": "1.2.0\x00"}', ["config.json"]),
    "nul-escape": (b'{"ociVersion": "1.2.0\\u0000"}', ["config.json"]),
    "latin-1": (b'{"ociVersion": "\xe9"}', ["config.json"]),
    "huge": (b'{"x": "' + b"y" * (5 << 20) + b'"}', ["config.json", "larger"]),
    "newline-in-value": (b'{"ociVersion": "one\\ntwo\\u001b[31m"}', ["ociVersion"]),
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_document(bad, case):
    """What is not a JSON object of a sane size is refused, in one line whatever it holds."""
    bad.text, words = DOCUMENTS[case]
    bad.refused(*words)


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "loop"])
def test_config_file(bad, kind):
    """config.json has to be a file; a FIFO that nobody writes does not hang the command."""
    path = bad.dir / "config.json"
    path.unlink()
    bad.text = False
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to("config.json")
    bad.refused("config.json")


def test_bundle(bad):
    """A bundle that is not there, or is no directory, is named."""
    bad.options = ["--bundle", "/no/such/bundle"]
    bad.refused("/no/such/bundle")
    bad.options = ["--bundle", "/etc/passwd"]
    bad.refused("/etc/passwd")


IDS = ["", ".", "..", "../x", "a/b", "/abs", "a b", "a\nb", "a;b", "\N{SNOWMAN}", "x" * 251,
       "x" * 100_000, "a\x1b[31m"]


@pytest.mark.parametrize("cid", IDS, ids=range(len(IDS)))
def test_id(bad, caisson, cid):
    """What is not a name for a container is refused by every command, and never becomes a path."""
    bad.id = cid
    bad.refused("container ID")
    for command in ("state", "start", "kill", "delete", "ps", "pause", "resume"):
        assert_sentence(caisson(command, "--", cid), "container")
    assert_sentence(caisson("exec", "--", cid, "true"), "container", status=255)


OPTIONS = {
    "unknown": (["create", "--warp", "x"], ["--warp"]),
    "letter": (["create", "-Z", "x"], ["-Z"]),
    "no-value": (["create", "--bundle"], ["--bundle"]),
    "flag-value": (["delete", "--force=maybe", "x"], ["maybe"]),
    "number": (["create", "--preserve-fds", "two", "x"], ["'two'"]),
    "negative": (["create", "--preserve-fds", "-1", "x"], ["'-1'"]),
    "overflow": (["create", "--preserve-fds", "9" * 30, "x"], ["9" * 30]),
    "no-id": (["create"], ["ID"]),
    "too-many": (["state", "a", "b"], ["'b'"]),
    "command": (["frobnicate"], ["'frobnicate'"]),
    "global": (["--frob", "list"], ["--frob"]),
    "log-format": (["--log-format", "xml", "list"], ["'xml'"]),
    "cgroup-manager": (["--cgroup-manager", "magic", "list"], ["'magic'"]),
    "settings-missing": (["--config", "/no/such.json", "doctor"], ["/no/such.json"]),
    "timeline": (["--timeline", "/no/such/dir/t", "list"], ["/no/such/dir/t"]),
    "root-empty": (["--root", "", "list"], ["--root"]),
    "root-long": (["--root", "/" + "r" * 5000, "list"], ["--root", "/rrr"]),
    "root-file": (["--root", "/etc/passwd", "list"], ["/etc/passwd"]),
    "signal": (["kill", "x", "SIGNOTHING"], ["'SIGNOTHING'"]),
    "help": (["help", "frobnicate"], ["'frobnicate'"]),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_option(case):
    """A bad command line is refused in a sentence that names the bad word."""
    words, named = OPTIONS[case]
    r = subprocess.run([BUILD / "caisson", *words], stdin=subprocess.DEVNULL, text=True,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert_sentence(r, *named)


@pytest.mark.parametrize("root,words", [
    ("/proc/caisson", ["/proc"]), ("/etc/passwd/x", ["/etc/passwd"]),
    ("/sys/kernel/caisson", ["/sys/kernel"])])
def test_root_unwritable(bad, root, words):
    """A state directory that cannot be made is named."""
    bad.before = ["--root", root]
    bad.refused(*words)


def test_root_long_works(box, caisson):
    """A state directory longer than a socket's address may be is not an error."""
    caisson.root = caisson.path / "root" / ("d" * 200)
    b = box(["true"])
    assert b.run().returncode == 0
    caisson.root.rmdir()
    caisson.root = caisson.path / "root"


SETTINGS = {
    "not-json": ("x", ["settings.json"]),
    "list": ("[]", ["settings.json"]),
    "unknown": ('{"warp": 9}', ["'warp'"]),
    "type": ('{"memory": []}', ["memory"]),
    "size": ('{"memory": "lots"}', ["memory", "'lots'"]),
    "range": ('{"vcpus": 0}', ["vcpus", "'0'"]),
    "negative": ('{"vcpus": -1}', ["vcpus", "'-1'"]),
    "engine": ('{"engine": "warp"}', ["'warp'"]),
    "kernel": ('{"kernel": "/no/vmlinux"}', ["/no/vmlinux"]),
    "initrd": ('{"initrd": "/no/initrd"}', ["/no/initrd"]),
    "monitor": ('{"monitor": "/no/monitor"}', ["/no/monitor"]),
    "network": ('{"network": "later"}', ["network", "'later'", "start, wait"]),
    "network-timeout": ('{"network_timeout": 60}', ["network_timeout", "'60'"]),
    "annotations": ('{"annotations": ["warp"]}', ["'warp'"]),
    "annotations-type": ('{"annotations": "all"}', ["annotations"]),
    "cache": ('{"cache": "/proc/cache"}', ["/proc"]),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings(bad, no_leaks, case):
    """A bad settings file is refused with its name or the bad value's."""
    text, words = SETTINGS[case]
    bad.box.caisson.settings.write_text(text)
    bad.refused(*words)
    no_leaks()


@pytest.mark.parametrize("kind", ["missing", "file", "nobody", "long"])
def test_console_socket(bad, no_leaks, kind):
    """A console socket that nobody listens on fails the create; nothing stays."""
    bad.config["process"]["terminal"] = True
    path = bad.dir / "console"
    if kind == "file":
        path.write_text("")
    elif kind == "nobody":
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(str(path))
    elif kind == "long":
        path = bad.dir / ("c" * 200)
    bad.options = ["--console-socket", path]
    bad.refused("--console-socket", path)
    no_leaks()


def test_pid_file(bad, no_leaks):
    """A pid file that cannot be written fails the create, which undoes the started guest."""
    bad.options = ["--pid-file", "/no/such/dir/pid"]
    bad.refused("--pid-file '/no/such/dir/pid'")
    no_leaks()


PROCESSES = {
    "missing": (None, ["process.json"]), "not-json": (b"x", ["process.json"]),
    "empty": (b"{}", ["args"]), "args": (b'{"args": [], "cwd": "/"}', ["args"]),
    "cwd": (b'{"args": ["true"], "cwd": "x"}', ["cwd", "'x'"]),
    "cap": (b'{"args": ["true"], "cwd": "/", "capabilities": {"bounding": ["CAP_NO"]}}',
            ["CAP_NO"]),
    "user": (b'{"args": ["true"], "cwd": "/", "user": {"uid": -5}}', ["-5"]),
}


def test_process_document(shared_box):
    """exec --process with a bad document is refused, and the container goes on."""
    path = shared_box.bundle.path / "process.json"
    for data, words in PROCESSES.values():
        path.unlink(missing_ok=True)
        if data is not None:
            path.write_bytes(data)
        assert_sentence(shared_box.exec(options=["--process", path]), *words, status=255)
    assert shared_box.sh("echo on") == "on\n"
