# SPDX-License-Identifier: Apache-2.0
"""The kubelet's part, for a containerd without a Kubernetes: calls on its CRI socket.

    cri = Cri()
    pod = Pod(cri, "web", runtime="crun", logs="/tmp/logs", ports={8080: 80})
    container = pod.create("localhost/busybox:1", ["httpd", "-f"])
    pod.start(container)
    out, err, status = pod.exec(container, ["ps"])
    pod.remove()

The messages are made at run time from the definition in Debian's package (lab/image/cri-proto).
Fields are as in api.proto of the CRI, version v1.
"""
import os
import pathlib
import subprocess
import time

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SOCKET = "/run/containerd/containerd.sock"
DEFINITION = "/usr/share/cri/api.desc"
TCP = 0
# As the kubelet asks for it: network and IPC are the pod's, processes are the container's.
NAMESPACES = {"security_context": {"namespace_options": {"network": 0, "ipc": 0, "pid": 1}}}


class CriError(Exception):
    """METHOD: what the server said."""


class Cri:
    """Calling it calls a method: cri("ListContainers", filter={...})."""

    def __init__(self, socket=SOCKET):
        pool = descriptor_pool.DescriptorPool()
        definition = descriptor_pb2.FileDescriptorSet.FromString(
            pathlib.Path(DEFINITION).read_bytes())
        for file in definition.file:
            pool.Add(file)
        self.channel = grpc.insecure_channel(f"unix://{socket}")
        self.messages = message_factory.MessageFactory(pool)
        self.methods = {}
        for service in ("runtime.v1.RuntimeService", "runtime.v1.ImageService"):
            for method in pool.FindServiceByName(service).methods:
                self.methods[method.name] = method

    def __call__(self, method_name, rpc_seconds=120, **fields):
        method = self.methods[method_name]
        request = self.messages.GetPrototype(method.input_type)
        answer = self.messages.GetPrototype(method.output_type)
        call = self.channel.unary_unary(f"/{method.containing_service.full_name}/{method_name}",
                                        request.SerializeToString, answer.FromString)
        try:
            return call(request(**fields), timeout=rpc_seconds)
        except grpc.RpcError as e:
            raise CriError(f"{method_name}: {e.details()}") from None

    def close(self):
        self.channel.close()


class Pod:
    """A sandbox and its containers, by their ids."""

    def __init__(self, cri, name, runtime="", logs="/tmp", ports=None, annotations=None):
        self.cri, self.containers = cri, {}
        self.logs = pathlib.Path(logs) / name
        parent = "/lab.slice/lab-" + name.replace("-", "_") + ".slice"
        self.cgroup = pathlib.Path("/sys/fs/cgroup" + parent)
        self.config = {
            "metadata": {"name": name, "namespace": "lab", "uid": f"{name}-{os.getpid()}",
                         "attempt": 0},
            "hostname": name, "log_directory": str(self.logs), "annotations": annotations or {},
            "port_mappings": [{"protocol": TCP, "container_port": inside,
                               "host_port": outside}
                              for outside, inside in (ports or {}).items()],
            "linux": {"cgroup_parent": parent, **NAMESPACES},
        }
        self.id = cri("RunPodSandbox", config=self.config, runtime_handler=runtime).pod_sandbox_id

    def status(self):
        return self.cri("PodSandboxStatus", pod_sandbox_id=self.id).status

    @property
    def address(self):
        return self.status().network.ip

    def create(self, image, command, name="main", env=None, mounts=(), annotations=None):
        """A container that has not started; mounts are {"host_path", "container_path", ...}."""
        cid = self.cri("CreateContainer", pod_sandbox_id=self.id, sandbox_config=self.config, config={
            "metadata": {"name": name, "attempt": len(self.containers)},
            "image": {"image": image}, "command": list(command), "mounts": list(mounts),
            "envs": [{"key": k, "value": v} for k, v in (env or {}).items()],
            "annotations": annotations or {}, "log_path": f"{name}.log", "linux": NAMESPACES,
        }).container_id
        self.containers[cid] = name
        return cid

    def start(self, container):
        self.cri("StartContainer", container_id=container)

    def run(self, *args, **kw):
        container = self.create(*args, **kw)
        self.start(container)
        return container

    def exec(self, container, command, timeout=60):
        r = self.cri("ExecSync", container_id=container, cmd=list(command), timeout=timeout)
        return r.stdout.decode(), r.stderr.decode(), r.exit_code

    def container(self, container):
        """Its status: state (0 created, 1 running, 2 exited, 3 unknown), exit_code, reason, ..."""
        return self.cri("ContainerStatus", container_id=container).status

    def wait(self, container, state=2, timeout=120):
        until = time.monotonic() + timeout
        while self.container(container).state != state:
            if time.monotonic() > until:
                raise CriError(f"container {container[:12]} is not in state {state} after "
                               f"{timeout} s")
            time.sleep(0.2)
        return self.container(container)

    def log(self, container):
        """[(stream, line)] out of the log file, whose lines are `TIME STREAM TAGS TEXT`."""
        lines = (self.logs / f"{self.containers[container]}.log").read_text().splitlines()
        return [(stream, text) for _, stream, _, text in (line.split(" ", 3) for line in lines)]

    def stop_container(self, container, timeout=5):
        self.cri("StopContainer", container_id=container, timeout=timeout)

    def remove_container(self, container):
        self.cri("RemoveContainer", container_id=container)
        del self.containers[container]

    def stop(self):
        self.cri("StopPodSandbox", pod_sandbox_id=self.id)

    def remove(self):
        """With all its containers, running or not; and its slice, as kubelet does, in which nothing may
        be left by then.  More than once does no harm.
        """
        self.stop()
        self.cri("RemovePodSandbox", pod_sandbox_id=self.id)
        left = [entry.name for entry in self.cgroup.glob("*/")]
        if left:
            raise CriError(f"left in {self.cgroup}: {', '.join(left)}")
        subprocess.run(["systemctl", "--quiet", "stop", self.cgroup.name], check=True)
