# SPDX-License-Identifier: Apache-2.0
"""A sandbox of the command's, whose settings name a daemon of the test's."""
import json
import os
import pathlib
import subprocess
import sys

from daemon import MB

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402

MEMORY = 192 * MB


class Sandbox:
    def __init__(self, path, rootfs, d, id="box", **settings):
        self.caisson = harness.Caisson(path / id, **{
            "memory": str(MEMORY), "slots_socket": str(d.socket), **settings})
        self.bundle = harness.Bundle(path / id / "bundle", rootfs, ["sleep", "100000"])
        self.id = id

    def create(self, check=True):
        return self.caisson("create", "--bundle", self.bundle.path, self.id,
                            check=check)

    def up(self):
        # conmon's part: a pipe would be kept open by the container.
        with open(os.devnull) as null:
            r = subprocess.run(self.caisson.command("create", "--bundle", self.bundle.path,
                                                    self.id),
                               stdin=null, stdout=subprocess.DEVNULL, timeout=harness.TIMEOUT)
        assert r.returncode == 0
        self.caisson("start", self.id, check=True)
        return self

    def sh(self, text):
        return self.caisson("exec", self.id, "sh", "-c", text, check=True).stdout

    def total(self):
        """MiB of RAM that the guest's kernel has."""
        return int(self.sh("awk '/MemTotal/ { print $2 }' /proc/meminfo")) >> 10

    def state(self):
        return json.loads((self.caisson.root / self.id / "state.json").read_text())

    def delete(self):
        self.caisson("delete", "--force", self.id, check=True)
