# SPDX-License-Identifier: Apache-2.0
"""Commands in a running host, from outside.

A host has a few virtio-serial ports, each a socket here; a port carries one command at a time, and
who uses one holds the lock of the file beside it.  The protocol, which guest/overlay/usr/lib/
caisson-lab/agent speaks at the other end:

    -> caisson-lab hello NONCE\\n      repeated until it is answered; what else is on the way is stale
    <- caisson-lab ready NONCE\\n
    then frames: type (1 byte), size (4 bytes, big endian, at most 64 KiB), payload
    -> R  the command: {"argv", "cwd", "env", "tty", "window": [rows, columns]}
    -> I  input, empty at its end       -> W  [rows, columns]      -> K  kill it
    <- O  output    <- X  error output  <- Z  {"status"}: the last one

Closing the socket kills the command and all it has started.
"""
import fcntl
import json
import os
import secrets
import select
import socket
import struct
import time

from host import HostLost, LabError

PORTS = 8
HEADER = struct.Struct(">cI")
CHUNK = 32768
KILL_SECONDS = 20       # for the answer to a kill
TIMED_OUT = 124         # as timeout(1)
# A host that hangs is silent, as many a command is: after so long it is asked, on another port.
SILENT_SECONDS = 60
ANSWER_SECONDS = 60


class PortsInUse(LabError):
    pass


class Channel:
    """A port that is ours, greeted.  `alive` says whether the host is still there."""

    def __init__(self, directory, alive, timeout):
        self.directory, self.alive = directory, alive
        self.received, self.unsent = bytearray(), bytearray()
        self.lock = self._take(directory)
        self.socket = None
        try:
            self.socket = socket.socket(socket.AF_UNIX)
            # The directory's path may be longer than a socket's can be.
            fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
            try:
                self.socket.connect(f"/proc/self/fd/{fd}/port{self.number}")
            finally:
                os.close(fd)
            self._greet(time.monotonic() + timeout)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.socket:
            self.socket.close()
        os.close(self.lock)

    def _take(self, directory):
        for self.number in range(PORTS):
            fd = os.open(directory / f"port{self.number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return fd
            except BlockingIOError:
                os.close(fd)
        raise PortsInUse(f"all {PORTS} ports of the host are in use")

    def _greet(self, until):
        nonce = secrets.token_hex(8)
        answer = f"caisson-lab ready {nonce}\n".encode()
        while answer not in self.received:
            if time.monotonic() > until:
                raise HostLost("the host does not answer")
            # A hello that cannot be sent is one of many that wait to be read.
            try:
                self.socket.send(f"caisson-lab hello {nonce}\n".encode(), socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass
            self._receive(0.5)
        del self.received[:self.received.index(answer) + len(answer)]

    def _receive(self, seconds):
        if select.select([self.socket], [], [], seconds)[0]:
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                raise HostLost("the host has gone away")
            self.received += data
        elif not self.alive():
            raise HostLost("the host has gone away")

    def _send(self, kind, payload=b""):
        self.unsent += HEADER.pack(kind, len(payload)) + payload
        self._flush()

    def _flush(self):
        # Never blocks: the host may wait for us to take its output before it takes our input.
        try:
            while self.unsent:
                del self.unsent[:self.socket.send(self.unsent, socket.MSG_DONTWAIT)]
        except BlockingIOError:
            pass
        except OSError:
            raise HostLost("the host has gone away") from None

    def _frames(self):
        while len(self.received) >= HEADER.size:
            kind, size = HEADER.unpack_from(self.received)
            if len(self.received) < HEADER.size + size:
                return
            payload = bytes(self.received[HEADER.size:HEADER.size + size])
            del self.received[:HEADER.size + size]
            yield kind, payload

    def run(self, argv, env=None, cwd="/", stdin=None, output=None, timeout=None, window=None):
        """Runs a command; its exit status (128 + signal, or TIMED_OUT).

        stdin is a descriptor or None, output(stream, bytes) gets what it prints as it comes (stream
        is 1 or 2).  window is a function that gives [rows, columns]: the command gets a terminal.
        """
        size = window() if window else None
        self._send(b"R", json.dumps({"argv": argv, "cwd": cwd, "env": env or {},
                                     "tty": bool(window), "window": size}).encode())
        if stdin is None:
            self._send(b"I")
        until = time.monotonic() + timeout if timeout else None
        heard = time.monotonic()
        timed_out = False
        while True:
            for kind, payload in self._frames():
                if kind == b"Z":
                    return TIMED_OUT if timed_out else json.loads(payload)["status"]
                if output:
                    output(2 if kind == b"X" else 1, payload)
            if until and time.monotonic() > until:
                if timed_out:
                    raise HostLost("the host does not answer")
                timed_out, until = True, time.monotonic() + KILL_SECONDS
                self._send(b"K")
            ready = select.select(
                [self.socket] + ([] if stdin is None or self.unsent else [stdin]),
                [self.socket] if self.unsent else [], [], 0.5)
            self._flush()
            if stdin in ready[0]:
                data = os.read(stdin, CHUNK)
                self._send(b"I", data)
                if not data:
                    stdin = None
            if window and window() != size:
                size = window()
                self._send(b"W", json.dumps(size).encode())
            if self.socket in ready[0] or not any(ready):
                self._receive(0)
            if self.received:
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENT_SECONDS:
                self._ask()
                heard = time.monotonic()

    def _ask(self):
        """Whether the host lives: its console does not tell, when all its CPUs spin."""
        try:
            Channel(self.directory, self.alive, ANSWER_SECONDS).close()
        except PortsInUse:
            pass
