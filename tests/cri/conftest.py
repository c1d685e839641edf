# SPDX-License-Identifier: Apache-2.0
"""Pods through containerd's CRI, in a host of the lab: `lab test kvm cri`.

    CRI_RUNTIME     the runtime class: caisson (also if not set), crun or runc of the lab's
                    containerd configuration; the same tests hold for all of them
"""
import itertools
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent.parent),
                str(pathlib.Path(__file__).resolve().parent.parent.parent / "lab/cri")]
import harness  # noqa: E402

RUNTIME = os.environ.get("CRI_RUNTIME", "caisson")
IMAGES = {"localhost/pause:1": ["sleep", "1000000000"], "localhost/busybox:1": ["sh"]}
MAKE_IMAGE = harness.TOP / "lab/cri/image.py"
# Where the lab's containerd looks for them; on the host's own disk, because a program that is read over 9p
# hundreds of times has hung in it (lab/README.md, Limits).
INSTALLED = pathlib.Path("/usr/local/lib/caisson")
PROGRAMS = ("caisson", "caisson-vmm", "initramfs.cpio", "vmlinux")


@pytest.fixture(scope="session")
def cri(tmp_path_factory):
    reason = None
    if os.geteuid() != 0:
        reason = "not root"
    elif not os.path.exists("/usr/lib/caisson-lab/agent"):
        reason = "not in a host of the lab: see lab/README.md"
    if reason:
        harness.missing(reason)
    INSTALLED.mkdir(exist_ok=True)
    for name in PROGRAMS:
        shutil.copy2(harness.BUILD / name, INSTALLED)
    subprocess.run(["systemctl", "start", "containerd"], check=True)
    rootfs = harness.make_rootfs(tmp_path_factory.mktemp("image"))
    (rootfs / "etc/resolv.conf").touch()
    for name, command in IMAGES.items():
        archive = subprocess.run([MAKE_IMAGE, name, rootfs, *command], stdout=subprocess.PIPE,
                                 check=True).stdout
        subprocess.run(["ctr", "-n", "k8s.io", "images", "import", "-"], input=archive, check=True)
    from cri import Cri
    cri = Cri()
    yield cri
    cri.close()


@pytest.fixture
def pod(cri, tmp_path):
    """Makes pods; they are removed at the end."""
    from cri import Pod
    made = []

    def make(**kw):
        name = f"pod-{next(numbers)}"
        made.append(Pod(cri, name, RUNTIME, logs=tmp_path, **kw))
        return made[-1]

    yield make
    for p in made:
        p.remove()


numbers = itertools.count(1)
