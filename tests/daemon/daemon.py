# SPDX-License-Identifier: Apache-2.0
"""caissond on a socket and in a directory of the test's own, and processes that are its
clients (lease.py).
"""
import json
import os
import pathlib
import signal
import subprocess
import sys

import lease
from harness import eventually

BUILD = pathlib.Path(os.environ["CAISSON_BUILD"])
BOUND = 60  # seconds; longer is a hang
MB = 1 << 20


def process_state(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return stat.rsplit(")", 1)[1].split()[0]


class Process:
    """A client in a process of its own; its methods are lease.Client's."""

    def __init__(self, path):
        self.popen = subprocess.Popen([sys.executable, lease.__file__, path], text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self.popen.pid

    def begin(self, name, **kw):
        self.popen.stdin.write(json.dumps([name, kw]) + "\n")
        self.popen.stdin.flush()

    def end(self):
        answer = json.loads(self.popen.stdout.readline())
        if "code" in answer:
            raise lease.Failed(answer["code"], answer["text"])
        if "gone" in answer:
            raise EOFError(answer["gone"])
        return answer["ok"]

    def __getattr__(self, name):
        def call(**kw):
            self.begin(name, **kw)
            return self.end()
        return call

    def die(self):
        self.popen.kill()
        self.popen.wait()


class Daemon:
    def __init__(self, path, **config):
        self.path = pathlib.Path(path)
        self.path.mkdir(exist_ok=True)
        self.socket = self.path / "caissond.sock"
        self.state_file = self.path / "state.json"
        self.log = self.path / "log"
        self.popen = None
        self.processes = []
        self.config = {"directory": str(self.path), "cpu": 0, **config}

    def run(self, *args, **kw):
        """The program to its end."""
        (self.path / "slots.json").write_text(json.dumps(self.config))
        return subprocess.run([BUILD / "caissond", "--config", self.path / "slots.json", *args],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=BOUND, **kw)

    def spawn(self, **environ):
        (self.path / "slots.json").write_text(json.dumps(self.config))
        self.popen = subprocess.Popen(
            [BUILD / "caissond", "--config", self.path / "slots.json"],
            stdin=subprocess.DEVNULL, stdout=self.log.open("a"), stderr=subprocess.STDOUT,
            env={**os.environ, **environ})
        return self

    def start(self, **environ):
        self.spawn(**environ)
        eventually(self.answers, "the daemon answers")
        return self

    def answers(self):
        assert self.popen.poll() is None, self.log.read_text()
        try:
            return lease.Client(self.socket)
        except OSError:
            return None

    def kill(self):
        self.popen.kill()
        self.popen.wait()

    def stop(self):
        self.popen.terminate()
        assert self.popen.wait(BOUND) == 0, self.log.read_text()

    def stopped(self):
        """It has stopped itself at a step (CAISSON_STOP_AT)."""
        return process_state(self.popen.pid) == "T"

    def client(self):
        return lease.Client(self.socket)

    def process(self):
        self.processes.append(Process(self.socket))
        return self.processes[-1]

    def slots(self, state=None, **fields):
        return [s for s in self.client().list()
                if (not state or s["state"] == state)
                and all(s[k] == v for k, v in fields.items())]

    def wait_ready(self, n, bound=BOUND):
        """n slots are ready and no other is on its way."""
        def look():
            states = [s["state"] for s in self.slots()]
            return states.count("ready") == n and "preparing" not in states \
                and "dirty" not in states and "cold" not in states
        try:
            eventually(look, f"{n} ready slots", bound)
        except AssertionError as e:
            raise AssertionError(f"{e}: {self.slots()}: {self.log.read_text()}") from None
        return self

    def done(self):
        for p in self.processes:
            p.die()
        if self.popen and self.popen.poll() is None:
            os.kill(self.popen.pid, signal.SIGCONT)
            self.kill()
