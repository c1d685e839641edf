# SPDX-License-Identifier: Apache-2.0
"""The command line: life cycle, states, and what each command says and leaves."""
import datetime
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

from conftest import missing, new_caisson
from support import (BUILD, CAISSON, TIMEOUT, alive, assert_sentence, call_detached, cgroup_path,
                     engine, eventually, no_network, unique, use_netns)
from kernel_module import Module, is_lab

COMMANDS = ["create", "start", "state", "kill", "delete", "run", "exec", "ps", "list", "pause",
            "resume", "update", "events", "trace", "spec", "features", "doctor", "slots", "help", "completion",
            "man"]


def test_life_cycle(box, caisson):
    """Every status comes in its turn, each with the fields of the OCI specification, and what
    is refused in a status is refused with a sentence and changes nothing."""
    b = box(["sh", "-c", "trap 'exit 42' TERM; echo on; while :; do sleep 0.1; done"])
    b.config["annotations"] = {"org.example.key": "a value"}
    assert_sentence(caisson("state", b.id), b.id, "does not exist")
    b.create()
    s = caisson.state(b.id)
    assert s["ociVersion"] == b.config["ociVersion"]
    assert (s["id"], s["status"], s["pid"]) == (b.id, "created", b.pid)
    assert s["bundle"] == str(b.bundle.path)
    assert s["annotations"] == {"org.example.key": "a value"}
    created = datetime.datetime.strptime(s["created"][:19] + "Z", "%Y-%m-%dT%H:%M:%S%z")
    assert abs(created.timestamp() - time.time()) < 600
    assert alive(b.pid) and b.out.read_text() == ""

    again = caisson("create", "--bundle", b.bundle.path, b.id)
    assert_sentence(again, b.id, "exists already")
    assert_sentence(caisson("pause", b.id), "created, not running")
    b.start()
    assert b.status() == "running"
    eventually(lambda: b.out.read_text() == "on\n", "the container runs")
    assert_sentence(b.start(check=False), b.id, "is running, not created")
    assert_sentence(b.delete(check=False), b.id, "it is running")
    assert_sentence(caisson("create", "--bundle", b.bundle.path, b.id), "exists already")
    assert_sentence(caisson("resume", b.id), "running, not paused")
    assert b.status() == "running" and alive(b.pid)

    pid = b.pid
    b.kill()
    assert b.wait() == 42
    s = caisson.state(b.id)
    assert s["status"] == "stopped" and s["pid"] == 0 and not alive(pid)
    assert_sentence(b.start(check=False), "is stopped, not created")
    assert_sentence(b.kill(check=False), "container not running")
    assert_sentence(b.exec("true"), "stopped", status=255)
    assert_sentence(caisson("ps", b.id), "stopped")
    b.delete()
    assert_sentence(caisson("state", b.id), "does not exist")
    assert os.listdir(caisson.root) == []


def test_delete_created(box, no_leaks):
    """A created container may be deleted: its process goes unborn, and the id is free again."""
    b = box(["sh", "-c", "echo never"])
    for _ in range(2):
        b.create()
        b.delete()
        assert b.out.read_text() == ""
        no_leaks()


def test_delete_missing(caisson):
    """Deleting what is not there is an error, and none with --force; both leave nothing."""
    assert_sentence(caisson("delete", "nobody"), "container 'nobody' does not exist")
    caisson("delete", "--force", "nobody", check=True)
    caisson("delete", "-f", "nobody", check=True)
    assert not caisson.root.exists()


def test_delete_force_running(box):
    """delete --force ends a running container that ignores signals, and everything of it."""
    b = box(["sh", "-c", "trap '' TERM INT HUP; while :; do sleep 1000; done"]).up()
    monitor, proxy = b.monitor(), b.pid
    b.delete("--force")
    assert not alive(monitor) and not alive(proxy)
    assert b.status() is None


@pytest.mark.parametrize("args", [["KILL"], ["9"], ["SIGKILL"], ["sigkill"], ["--all", "KILL"]])
def test_kill_spellings(box, args):
    """A signal goes by name and by number; the proxy dies of what the container died of."""
    b = box().up()
    options, names = [a for a in args if a[0] == "-"], [a for a in args if a[0] != "-"]
    b.caisson("kill", *options, b.id, *names, check=True)
    assert b.wait() == "SIGKILL"


def test_kill_all(box):
    """kill --all reaches every process of the container, a plain kill only the first."""
    b = box(["sh", "-c", "trap 'echo first' USR1; (trap 'echo second' USR1; "
             "echo ready; while :; do sleep 0.1; done) & while :; do sleep 0.1; done"]).up()
    eventually(lambda: b.out.read_text() == "ready\n", "both run")
    b.kill("USR1")
    eventually(lambda: "first" in b.out.read_text(), "the first has it")
    assert "second" not in b.out.read_text()
    # The second hears it; the sleeps, which do not catch it, die of it.
    b.caisson("kill", "--all", b.id, "USR1", check=True)
    eventually(lambda: "second" in b.out.read_text(), "the second has it")
    assert_sentence(b.caisson("kill", b.id, "NOSUCH"), "'NOSUCH' is not a signal")
    assert_sentence(b.caisson("kill", b.id, "65"), "'65' is not a signal")
    assert b.status() == "running"


def test_pause_resume(box, no_leaks):
    """A paused container does not move, says so, takes no exec, and goes on after resume."""
    b = box(["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"]).up()
    count = lambda: len(b.out.read_text().splitlines())  # noqa: E731
    eventually(lambda: count() > 3, "it counts")
    b.caisson("pause", b.id, check=True)
    assert b.status() == "paused"
    before = eventually(lambda: (lambda n: time.sleep(1) or n == count() and n)(count()),
                        "it stands still")
    time.sleep(1)
    assert count() == before
    assert_sentence(b.exec("true"), "paused", status=255)
    assert_sentence(b.caisson("pause", b.id), "paused, not running")
    assert_sentence(b.delete(check=False), "it is paused")
    b.caisson("resume", b.id, check=True)
    assert b.status() == "running"
    eventually(lambda: count() > before + 3, "it counts again")
    b.caisson("pause", b.id, check=True)
    b.delete("--force")  # what is frozen must go, too
    no_leaks()


def test_list(box, caisson, rootfs):
    """list shows each container in each format, and nothing of a directory that is not there."""
    assert caisson("list", "--quiet", check=True).stdout == ""
    assert json.loads(caisson("list", "--format", "json", check=True).stdout) == []
    a, b = box().up(), box()
    b.create()
    assert set(caisson("list", "-q", check=True).stdout.split()) == {a.id, b.id}
    shown = {s["id"]: s for s in json.loads(caisson("list", "-f", "json", check=True).stdout)}
    assert shown == {a.id: caisson.state(a.id), b.id: caisson.state(b.id)}
    head, *lines = caisson("list", check=True).stdout.splitlines()
    assert head.split() == ["ID", "PID", "STATUS", "ENGINE", "BUNDLE", "CREATED"]
    fields = {line.split()[0]: line.split() for line in lines}
    assert fields[a.id][1:5] == [str(a.pid), "running", engine(), str(a.bundle.path)]
    assert fields[b.id][2] == "created"
    assert_sentence(caisson("list", "--format", "xml"), "'xml'")
    # A file in the root that is no container, and a directory without a state, are not shown.
    (caisson.root / "stray").mkdir()
    assert set(caisson("list", "-q", check=True).stdout.split()) == {a.id, b.id}
    (caisson.root / "stray").rmdir()


def test_ps(shared_box):
    """ps lists the pids in the container, as many as there are, in both formats."""
    child = shared_box.exec_detached("sleep", "1000000")
    ps = shared_box.caisson("ps", shared_box.id, check=True).stdout.split()
    assert ps[0] == "PID" and len(ps) == 3 and "1" in ps
    pids = json.loads(shared_box.caisson("ps", "--format", "json", shared_box.id,
                                         check=True).stdout)
    assert sorted(pids) == sorted(map(int, ps[1:]))
    inside = shared_box.sh("cat /proc/%d/cmdline" % max(pids)).split("\0")
    assert inside[0] == "sleep"
    os.kill(child, signal.SIGTERM)  # the proxy passes it on
    eventually(lambda: not alive(child), "the process ends")


def test_log(caisson, work):
    """--log gets the sentence that stderr gets, in both formats, appended."""
    log = caisson.path / "log"
    for _ in range(2):
        r = caisson("--log", log, "--log-format", "json", "state", 'no"such')
        assert_sentence(r, 'no"such')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == 2
    for entry in lines:
        assert entry["level"] == "error" and entry["msg"] == r.stderr[len("caisson: "):-1]
        datetime.datetime.strptime(entry["time"], "%Y-%m-%dT%H:%M:%SZ")
    log.unlink()
    r = caisson("--log", log, "state", "gone")
    text = r.stderr[len("caisson: "):-1]
    assert re.fullmatch(r'time="[^"]+" level=error msg="%s"\n' % re.escape(text), log.read_text())
    assert_sentence(caisson("--log-format", "xml", "list"), "'xml'")
    # A log that cannot be written does not change what the command does.
    assert caisson("--log", "/nonexistent/log", "list", check=True).stderr.count("\n") <= 1


def test_spec(caisson, rootfs):
    """spec writes a configuration that create takes as it is, and does not overwrite one."""
    bundle = caisson.path / "bundle"
    bundle.mkdir()
    caisson("spec", "--bundle", bundle, check=True)
    config = json.loads((bundle / "config.json").read_text())
    assert config["ociVersion"].startswith("1.") and config["root"]["readonly"]
    assert_sentence(caisson("spec", "-b", bundle), "config.json", "File exists")
    caisson("spec", cwd=caisson.path, check=True)
    assert json.loads((caisson.path / "config.json").read_text()) == config
    (bundle / "rootfs").symlink_to(rootfs)
    config["process"]["terminal"] = False
    config["process"]["args"] = ["true"]
    (bundle / "config.json").write_text(json.dumps(config))
    r = caisson("run", unique(), cwd=bundle)
    assert (r.returncode, r.stdout, r.stderr) == (0, "", "")


def test_features(caisson):
    """features is JSON as the runtime specification has it, and names only hooks that run."""
    f = json.loads(caisson("features", check=True).stdout)
    assert f["ociVersionMin"].startswith("1.") and f["ociVersionMax"].startswith("1.")
    assert set(f["hooks"]) >= {"prestart", "createRuntime", "createContainer", "poststart",
                               "poststop"}
    assert {"bind", "rbind", "ro", "rw", "nosuid"} <= set(f["mountOptions"])
    assert len(f["mountOptions"]) == len(set(f["mountOptions"]))
    assert f["linux"]["seccomp"]["enabled"] and "network" in f["linux"]["namespaces"]


def test_doctor(caisson):
    """doctor says whether KVM can be used, and in the words of the machine's owner why not."""
    r = caisson("doctor")
    assert r.returncode == 0, (r.stdout, r.stderr)
    assert f"Containers can run on this machine; they get engine {engine()}.\n" in r.stdout
    assert re.search(rf"^ok\s+{engine()}\b", r.stdout, re.M), r.stdout
    assert re.search(r"^ok\s+emu\b", r.stdout, re.M)
    kvm = re.search(r"^(ok|no)\s+kvm\s+(.*)$", r.stdout, re.M)
    cpu = re.search(r"^flags.*$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)[0].split()
    if "vmx" not in cpu and "svm" not in cpu:
        assert kvm[1] == "no" and "vmx" in kvm[2] and "svm" in kvm[2]
        assert ("/dev/kvm is there" in kvm[2]) == os.path.exists("/dev/kvm")
    assert not r.stderr


def test_doctor_with_kvm_and_cki(caisson):
    """Where both are good, containers get the CPU's own virtualization."""
    if engine() != "kvm" or not is_lab():
        pytest.skip("hardware: not a host of the lab with KVM, where the module can be loaded")
    m = Module()
    if not m.path.exists():
        missing(f"{m.path} is missing: make kmod")
    assert m.load().returncode == 0
    try:
        said = caisson("doctor", check=True).stdout
    finally:
        assert m.unload().returncode == 0
    assert re.search(r"^ok\s+kvm\b.*\n^ok\s+cki\b", said, re.M), said
    assert "they get engine kvm." in said


def test_doctor_missing_part(caisson, work, cache):
    """doctor names a missing part, and says by its status that containers cannot run."""
    c = new_caisson(work, cache, kernel="/nonexistent/vmlinux")
    r = c("doctor")
    assert r.returncode == 1 and "cannot run" in r.stderr
    assert re.search(r"^no\s+kernel\s+/nonexistent/vmlinux", r.stdout, re.M)


def test_version(caisson):
    """--version says the version, as engines parse it."""
    r = caisson("--version", check=True)
    assert re.match(r"caisson version \d+\.\d+\.\d+\nspec: 1\.\d+\.\d+\n", r.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_man(caisson, command):
    """Each command explains itself: help, --help and -h alike; its man page is clean roff."""
    by_name = caisson("help", command, check=True).stdout
    assert f" {command} " in by_name.splitlines()[0] + " "
    assert caisson(command, "--help", check=True).stdout == by_name
    assert caisson(command, "-h", check=True).stdout == by_name
    assert max(len(line) for line in by_name.splitlines()) < 400
    page = caisson("man", command, check=True).stdout
    check_roff(page, f"caisson-{command}")


def check_roff(page, *words):
    if not shutil.which("groff"):
        missing("groff is not installed")
    r = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-P-cbou"], input=page, text=True,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert r.returncode == 0 and r.stderr == ""
    for w in words:
        assert w in r.stdout.replace("\N{HYPHEN}", "-"), r.stdout


def test_help_lists_commands(caisson):
    """help without a command, --help and no command at all list all commands there are."""
    text = caisson("help", check=True).stdout
    assert [c for c in COMMANDS if not re.search(rf"^  {c} ", text, re.M)] == []
    listed = re.findall(r"^  (\w+)\s+\w", text.split("Global options")[0], re.M)
    assert sorted(listed) == sorted(COMMANDS)
    assert caisson("--help", check=True).stdout == text
    assert caisson(check=True).stdout == text
    check_roff(caisson("man", check=True).stdout, "create", "/run/caisson")


def test_completion(caisson):
    """The completion script is valid bash and completes commands and options."""
    script = caisson("completion", "bash", check=True).stdout
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)

    def complete(*words):
        r = subprocess.run(["bash", "--norc", "-c", script + """
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _caisson; printf '%s\\n' "${COMPREPLY[@]}"
            """, "bash", *words], stdout=subprocess.PIPE, text=True, check=True,
            env={"PATH": f"{BUILD}:/usr/bin:/bin"})
        return r.stdout.split()

    assert complete("caisson", "cre") == ["create"]
    assert complete("caisson", "exec", "--cw") == ["--cwd"]
    assert complete("caisson", "--systemd") == ["--systemd-cgroup"]
    assert "--force" in complete("caisson", "delete", "--")
    assert_sentence(caisson("completion", "tcsh"), "'tcsh'")


def test_settings_and_annotations(box, caisson, work, cache):
    """vCPUs and memory: the settings file decides, an annotation overrides, the guest shows it."""
    look = ["sh", "-c", "nproc; sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"]
    c = new_caisson(work, cache, vcpus=2, memory="256M")
    b = box(look, caisson=c, path=c.path)
    r = b.run()
    cpus, kib = map(int, r.stdout.split())
    assert cpus == 2 and 200 << 10 < kib < 256 << 10
    b.config["annotations"] = {"io.caisson.vcpus": "1", "io.caisson.memory": "160M",
                               "other.owner/key": "no business of ours"}
    cpus, kib = map(int, b.run().stdout.split())
    assert cpus == 1 and 110 << 10 < kib < 160 << 10


@pytest.mark.parametrize("key,value,words", [
    ("kernel", "/tmp/evil", "not allowed"), ("monitor", "/bin/sh", "not allowed"),
    ("kernel_cmdline", "init=/bin/sh", "not allowed"), ("cache", "/etc", "not allowed"),
    ("nonsense", "1", "not known"), ("memory", "lots", "'lots'"), ("memory", "1M", "'1M'"),
    ("vcpus", "0", "'0'"), ("vcpus", "1000", "'1000'"), ("engine", "warp", "'warp'")])
def test_annotation_refused(box, key, value, words):
    """An annotation that its writer may not set, or with a bad value, refuses the container."""
    b = box()
    b.config["annotations"] = {f"io.caisson.{key}": value}
    r = b.create(check=False)
    assert_sentence(r, words)
    assert not b.pid_file.exists()


def test_settings_may_forbid(box, work, cache):
    """The machine's owner can take annotations away from who writes containers."""
    c = new_caisson(work, cache, annotations=["vcpus"])
    b = box(caisson=c, path=c.path)
    b.config["annotations"] = {"io.caisson.memory": "160M"}
    assert_sentence(b.create(check=False), "io.caisson.memory", "not allowed")


def test_update(box):
    """update changes the limits that the guest's kernel enforces."""
    b = box()
    b.config["linux"]["resources"] = {"memory": {"limit": 100 << 20}, "pids": {"limit": 50}}
    b.up()
    look = "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max"
    assert b.sh(look).split()[:2] == [str(100 << 20), "50"]
    b.caisson("update", "--memory", "64M", "--pids-limit", "20", b.id, check=True)
    assert b.sh(look).split()[:2] == [str(64 << 20), "20"]
    b.caisson("update", "--cpu-quota", "50000", "--cpu-period", "100000", b.id, check=True)
    assert b.sh(look).split() == [str(64 << 20), "20", "50000", "100000"]
    assert_sentence(b.caisson("update", "--memory", "much", b.id), "--memory 'much'")
    assert b.sh(look).split()[0] == str(64 << 20)


def host_values(b, name):
    """What a file of the host's cgroup of a container says, in whatever hierarchy has it."""
    return {p.read_text().strip() for p in pathlib.Path("/sys/fs/cgroup").glob(
        "**" + b.config["linux"]["cgroupsPath"] + "/" + name)}


def test_update_takes_limits_away(box):
    """-1 is "no limit", which is another thing than "not given"."""
    b = box()
    b.config["linux"]["cgroupsPath"] = cgroup_path()
    b.config["linux"]["resources"] = {"memory": {"limit": 100 << 20}, "pids": {"limit": 50},
                                      "cpu": {"quota": 50000, "period": 100000}}
    b.up()
    look = "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max"
    assert b.sh(look).split() == [str(100 << 20), "50", "50000", "100000"]
    b.caisson("update", "--cpu-period", "200000", b.id, check=True)
    assert b.sh(look).split() == [str(100 << 20), "50", "50000", "200000"], "the quota stays"
    assert host_values(b, "cpu.max") <= {"50000 200000"}
    assert host_values(b, "cpu.cfs_quota_us") <= {"50000"}
    b.caisson("update", "--cpu-quota", "-1", b.id, check=True)
    assert b.sh(look).split() == [str(100 << 20), "50", "max", "200000"]
    assert host_values(b, "cpu.max") <= {"max 200000"}
    assert host_values(b, "cpu.cfs_quota_us") <= {"-1"}
    doc = {"memory": {"limit": -1, "swap": -1}, "pids": {"limit": -1}}
    b.caisson("update", "--resources", "-", b.id, input=json.dumps(doc), check=True)
    assert b.sh(look).split() == ["max", "max", "max", "200000"]
    assert_sentence(b.caisson("update", "--cpu-quota", "-2", b.id), "--cpu-quota '-2'")


def test_update_from_document(box):
    """--resources as containerd's shim and kubelet write it, from a file or standard input; what
    is the host's goes to the sandbox's cgroup there."""
    b = box()
    b.config["linux"]["cgroupsPath"] = cgroup_path()
    b.up()
    doc = {"memory": {"limit": 90 << 20}, "pids": {"limit": 33}, "cpu": {"shares": 512}}
    b.caisson("update", "--resources", "-", b.id, input=json.dumps(doc), check=True)
    assert b.sh("cd /sys/fs/cgroup; cat memory.max pids.max cpu.weight").split() == [
        str(90 << 20), "33", "20"]
    shares = [p.read_text().strip() for p in pathlib.Path("/sys/fs/cgroup").glob(
        "*" + b.config["linux"]["cgroupsPath"] + "/cpu.shares")]
    assert shares in ([], ["512"])
    path = b.bundle.path / "resources.json"
    path.write_text(json.dumps({"pids": {"limit": 44}}))
    b.caisson("update", "-r", path, b.id, check=True)
    assert b.sh("cat /sys/fs/cgroup/pids.max") == "44\n"
    path.write_text('{"cpu": {"quota": 1}}')
    assert_sentence(b.caisson("update", "-r", path, b.id), str(path), "1")
    path.write_text("{")
    assert_sentence(b.caisson("update", "-r", path, b.id), str(path))
    assert_sentence(b.caisson("update", "-r", "/no/such/file", b.id), "/no/such/file")
    assert_sentence(b.caisson("update", "--cpuset-cpus", "0;1", b.id), "'0;1'")


def test_events(box):
    """events: runc's figures from inside, the sandbox's cost from outside; memory that ran out."""
    b = box(["sh", "-c", "while :; do :; done"])
    b.config["linux"]["resources"] = {"memory": {"limit": 40 << 20}, "pids": {"limit": 50}}
    b.up()
    first = json.loads(b.caisson("events", "--stats", b.id, check=True).stdout)
    assert (first["type"], first["id"]) == ("stats", b.id)
    data = first["data"]
    assert data["memory"]["usage"]["limit"] == 40 << 20
    assert 0 < data["memory"]["usage"]["usage"] < 40 << 20
    assert data["pids"] == {"current": 1, "limit": 50}
    assert data["memory"]["raw"]["anon"] > 0
    names = [h["name"] for h in data["host"]]
    assert names[0] == "caisson-proxy" and "caisson-vmm" in names
    assert all(h["rss"] > 0 for h in data["host"])
    time.sleep(0.5)
    later = json.loads(b.caisson("events", "--stats", b.id, check=True).stdout)["data"]
    assert later["cpu"]["usage"]["total"] > data["cpu"]["usage"]["total"]
    p = b.caisson.popen("events", "--interval", "100ms", b.id, stdout=subprocess.PIPE, text=True)
    assert json.loads(p.stdout.readline())["type"] == "stats"
    b.exec("sh", "-c", "x=$(head -c 60000000 /dev/zero | tr '\\0' x)")
    eventually(lambda: json.loads(p.stdout.readline())["type"] == "oom", "an oom event")
    b.kill("KILL")
    b.wait()
    assert p.wait(TIMEOUT) == 0
    p.stdout.close()
    assert_sentence(b.caisson("events", "--stats", b.id), "stopped")
    assert_sentence(b.caisson("events", "--interval", "soon", b.id), "'soon'")


def test_ps_long(shared_box):
    """ps --long: processes inside, and what stands for them outside."""
    rows = [line.split() for line in
            shared_box.caisson("ps", "--long", shared_box.id, check=True).stdout.splitlines()]
    assert rows[0][0] == "WHERE"
    inside = [r for r in rows if r[0] == "guest"]
    outside = {r[4]: r for r in rows if r[0] == "host"}
    assert [(r[1], r[4]) for r in inside] == [("1", "sleep")]
    assert int(inside[0][3]) > 0
    assert outside["caisson-vmm"][1] == str(shared_box.monitor())


def test_cgroup_of_others(box):
    """A create that is refused its cgroup, since somebody else's processes are in it, leaves those
    processes alone."""
    path = cgroup_path()
    group = pathlib.Path("/sys/fs/cgroup/pids" + path)
    if not group.parent.is_dir():
        group = pathlib.Path("/sys/fs/cgroup" + path)
    group.mkdir()
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        (group / "cgroup.procs").write_text(str(stranger.pid))
        b = box(edit=no_network)
        b.config["linux"]["cgroupsPath"] = path
        assert_sentence(b.run(), path, status=255)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
        eventually(lambda: not (group / "cgroup.procs").read_text(), "the cgroup is empty")
        for p in pathlib.Path("/sys/fs/cgroup").glob("**/" + path[1:]):
            p.rmdir()


def test_cgroup(box):
    """cgroupsPath names the host's cgroup of all processes of the sandbox; delete removes it."""
    path = cgroup_path()
    b = box()
    b.config["linux"]["cgroupsPath"] = path
    b.up()
    ours = {b.pid, b.monitor(), b.helper() or b.monitor()}
    assert len(ours) == (3 if b.helper() else 2)
    for pid in ours:
        groups = [line.split(":", 2)[2] for line in
                  pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
        assert path in groups and all(g in (path, path + "/sandbox") for g in groups), groups
    b.delete("--force")
    assert not [p for p in pathlib.Path("/sys/fs/cgroup").glob("**/" + path[1:])]


def test_timeline(box, caisson):
    """The timeline of a start has the phases in their order, with one clock."""
    t = caisson.path / "timeline"
    b = box()
    use_netns(b.config)
    call_detached(caisson, "--timeline", t, "create", "--bundle", b.bundle.path, b.id, out=b.out)
    b.bundle.write()
    marks = [line.split() for line in t.read_text().splitlines()]
    phases = [m[1] for m in marks]
    for a, z in (("command", "config"), ("config", "state"), ("state", "image"),
                 ("image", "proxy"), ("proxy", "spawned"), ("spawned", "monitor"),
                 ("monitor", "agent"), ("agent", "guest-setup"), ("guest-setup", "created"),
                 ("created", "ready")):
        if (a, z) != ("spawned", "monitor"):  # two processes, no order between them
            assert phases.index(a) < phases.index(z), phases
    times = [int(m[0]) for m in marks]
    assert all(0 < n < time.monotonic_ns() for n in times)
    assert max(times) - min(times) < 10 ** 12


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_create(box, caisson, no_leaks, number):
    """A create that is interrupted while the guest boots undoes everything, and says so."""
    b = box()
    b.config["linux"]["cgroupsPath"] = cgroup_path()
    b.bundle.write()
    p = caisson.popen("create", "--bundle", b.bundle.path, "--pid-file", b.pid_file, b.id,
                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(b.out, "wb"))
    eventually(lambda: b.record().get("monitor", {}).get("pid"), "the monitor is there")
    time.sleep(0.1)
    p.send_signal(number)
    p.wait(60)
    assert p.returncode != 0
    assert "interrupted" in b.out.read_text()
    assert not b.pid_file.exists() and os.listdir(caisson.root) == []
    no_leaks()


def test_command_as_programmed(caisson):
    """The command under test is the build's own, and does not need a shell's environment."""
    r = subprocess.run([CAISSON, "--version"], env={}, cwd="/", stdout=subprocess.PIPE,
                       check=True, text=True)
    assert r.stdout.startswith("caisson version")
