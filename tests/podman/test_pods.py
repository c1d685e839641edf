# SPDX-License-Identifier: Apache-2.0
"""Podman's pods: an infra container and others in one guest."""
import pathlib

import pytest

from conftest import IMAGE

BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


@pytest.fixture
def pod(podman):
    name = next(podman.names)
    podman("pod", "create", "--name", name, "--infra-image", IMAGE, "--infra-command",
           "sleep 1000000")
    pod_id = podman("pod", "inspect", name, "--format", "{{.Id}}").stdout.strip()
    yield name
    podman("pod", "rm", "--force", "--time", "0", name)
    # The pod's own cgroup is podman's, which forgets the hierarchies it has no limits in.
    for place in pathlib.Path("/sys/fs/cgroup").glob(f"*/libpod_parent/{pod_id}"):
        place.rmdir()


def test_pod(podman, pod):
    """A server and its client: one guest, one loopback; logs, exec and exit codes of each."""
    server = next(podman.names)
    podman("run", "--detach", "--pod", pod, "--name", server, IMAGE, "sh", "-c",
           "echo hello >/index.html; echo serving; exec httpd -f -p 8080 -h /")
    client = podman("run", "--rm", "--pod", pod, IMAGE, "sh", "-c",
                    "i=0; until wget -qO- http://127.0.0.1:8080/; do i=$((i+1)); "
                    f"test $i -lt 50; usleep 100000; done; {BOOT_ID}; hostname; exit 7", check=False)
    assert client.returncode == 7, client.stderr
    answer, boot_id, hostname = client.stdout.split()
    assert (answer, hostname) == ("hello", pod)
    assert podman("exec", server, "sh", "-c", BOOT_ID).stdout.strip() == boot_id
    assert podman("logs", server).stdout == "serving\n"


def test_restart_in_a_pod(podman, pod):
    """One container of a pod is stopped and started again; the pod's guest goes on."""
    name = next(podman.names)
    podman("run", "--detach", "--pod", pod, "--name", name, IMAGE, "sleep", "1000000")
    first = podman("exec", name, "sh", "-c", BOOT_ID).stdout
    podman("restart", "--time", "0", name)
    assert podman("exec", name, "sh", "-c", BOOT_ID).stdout == first
