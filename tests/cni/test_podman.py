# SPDX-License-Identifier: Apache-2.0
"""podman with its CNI back end as the client (podman 4; later ones have none).  Its runtime is one
that knows nothing but network namespaces: so the container sees the placeholder.
"""
import json
import os
import pathlib
import subprocess

import pytest

import harness
from conftest import PLUGIN, PLUGINS, missing

RUNTIME = pathlib.Path(__file__).resolve().parent / "ociruntime"


@pytest.fixture
def podman(tmp_path, runtime):
    version = subprocess.run(["podman", "--version"], stdout=subprocess.PIPE, text=True).stdout
    if not version.startswith("podman version 4."):
        if version:
            pytest.skip(f"hardware: {version.strip()} has no CNI back end")
        missing("podman is not installed")
    rootfs = harness.make_rootfs(tmp_path / "rootfs")
    for name in ("plugins", "networks", "shm", "etc"):
        (tmp_path / name).mkdir()
    (tmp_path / "plugins/caisson-cni").symlink_to(PLUGIN)
    (tmp_path / "plugins/host-local").symlink_to(f"{PLUGINS}/host-local")
    plugin = {k: v for k, v in runtime.config.items() if k not in ("cniVersion", "name")}
    (tmp_path / "networks/10-fast.conflist").write_text(json.dumps(
        {"cniVersion": "1.0.0", "name": "fast", "plugins": [{**plugin,
                                                             "capabilities": {"mac": True}}]}))
    (tmp_path / "containers.conf").write_text(f"""
[network]
network_backend = "cni"
cni_plugin_dirs = ["{tmp_path}/plugins"]
network_config_dir = "{tmp_path}/networks"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
events_logger = "none"
""")
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    env = {**os.environ, "CONTAINERS_CONF": str(tmp_path / "containers.conf"),
           "TMPDIR": str(tmp_path)}
    # Locks of podman are one file in /dev/shm for all storages.
    mounted = subprocess.run(["mount", "-t", "tmpfs", "shm", "/dev/shm"]).returncode == 0

    def run(*args, check=True):
        r = subprocess.run(
            ["podman", "--cgroup-manager=cgroupfs", f"--runtime={RUNTIME}", f"--root={tmp_path}/lib",
             "--runroot=/run/podman", f"--tmpdir={tmp_path}/tmp", "--storage-driver=vfs", *args],
            env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, timeout=harness.TIMEOUT)
        assert not check or r.returncode == 0, f"podman {args}: {r.returncode}: {r.stderr}"
        return r

    run.rootfs = str(rootfs)
    yield run
    run("rm", "--all", "--force", "--time=0", check=False)
    if mounted:
        subprocess.run(["umount", "/dev/shm"], check=True)


def test_network(podman, runtime, daemon):
    """The container has the interface while it lives; then function and address are free again."""
    options = ["--network=fast", "--no-hosts", "--cgroups=no-conmon"]
    out = podman("run", "--rm", *options, "--rootfs", podman.rootfs, "ip", "addr").stdout
    assert "eth0" in out and "10.7.0.2/24" in out and "02:00:00:00:01:00" in out
    runtime.nothing_left()

    podman("run", "-d", "--name=one", *options, "--rootfs", podman.rootfs, "sleep", "1000")
    owner, = daemon.leased()
    container = json.loads(podman("inspect", "one").stdout)[0]
    assert owner == f"cni/fast/{container['Id']}/eth0"
    assert container["NetworkSettings"]["Networks"]["fast"]["IPAddress"] == "10.7.0.3"
    podman("rm", "-f", "-t", "0", "one")
    runtime.nothing_left()


def test_no_function_left(podman, runtime, daemon):
    """What the plugin says is what podman's user reads."""
    for i in range(len(daemon.functions)):
        daemon.lease(f"other{i}", 1, None, 0, 1, None, 0)
    r = podman("run", "--rm", "--network=fast", "--cgroups=no-conmon", "--rootfs", podman.rootfs,
               "true", check=False)
    assert r.returncode != 0
    assert "network 'fast': lease a function: all functions are lent" in r.stderr
    assert all(o.startswith("other") for o in daemon.leased()) and runtime.reserved() == []
