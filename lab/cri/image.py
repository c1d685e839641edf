#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""image.py NAME ROOTFS [COMMAND...]: a directory as an image archive on standard output, in the
format of `docker save`, which ctr and podman import:

    lab/cri/image.py localhost/busybox:1 /tmp/rootfs sh | ctr -n k8s.io images import -
"""
import hashlib
import io
import json
import sys
import tarfile


def layer(directory):
    def reproducible(info):
        info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
        return info

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.add(directory, ".", filter=reproducible)
    return out.getvalue()


def write(out, name, directory, command):
    data = layer(directory)
    config = json.dumps({
        "architecture": "amd64", "os": "linux",
        "config": {"Cmd": command, "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(data).hexdigest()]},
    }).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name],
                            "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(fileobj=out, mode="w|") as tar:
        for path, content in ((config_name, config), ("layer.tar", data),
                              ("manifest.json", manifest)):
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    write(sys.stdout.buffer, sys.argv[1], sys.argv[2], sys.argv[3:] or ["/bin/sh"])
