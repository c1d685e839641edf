# SPDX-License-Identifier: Apache-2.0
"""A caissond that lends functions which do not exist: lib/lease.h's protocol, written down a second
time, so that a mistake in one of the two shows.
"""
import itertools
import os
import pathlib
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "agent"))
from wire import Reader, boolean, i32, i64, listing, string, u8, u16, u32, u64  # noqa: E402

VERSION = 4
LEASE, TAKE, HOLD, RELEASE, LIST, DRAIN, RETRY, STATUS = range(1, 9)
READY, LEASED, QUARANTINED = 2, 3, 5
EAGAIN, EEXIST, ENOENT = 11, 17, 2
PACKET_MAX = 65536


class Function:
    """A slot with a function.  Without a physical function's interface nothing can be set on it."""

    def __init__(self, address, mac, pf="", vf=0):
        self.address, self.mac, self.pf, self.vf = address, mac, pf, vf
        self.lease = self.owner = None
        self.state = READY
        self.lent = 0

    def encode(self):
        mac = bytes.fromhex(self.mac.replace(":", "")) if self.mac else bytes(6)
        return string(self.address) + string(self.pf) + u32(self.vf) + mac


class Caissond:
    """Serves at a socket until close().  `on` may hold, per operation, a function that is called
    with the request before the answer; one that returns False makes the daemon hang up instead.
    """

    def __init__(self, path, functions):
        self.path, self.functions, self.on, self.log = str(path), functions, {}, []
        self.lock = threading.Lock()
        self.numbers = itertools.count(1)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen(64)
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        os.unlink(self.path)

    def leased(self):
        return {f.owner: f for f in self.functions if f.lease}

    def accept(self):
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection:
            while packet := connection.recv(PACKET_MAX):
                answer = self.answer(Reader(packet))
                if answer is None:
                    return
                try:
                    connection.send(answer)
                except BrokenPipeError:
                    return

    def answer(self, r):
        version, op = r.number("H"), r.number("B")
        assert version == VERSION
        fields = {
            LEASE: lambda: {"owner": r.string(), "function": r.number("B"), "pf": r.string(),
                            "memory": r.number("Q"), "kept": r.number("B"), "engine": r.string(),
                            "wait_ms": r.number("I")},
            RELEASE: lambda: {"id": r.string(), "owner": r.string()},
            LIST: lambda: {"owner": r.string(), "first": r.number("I")},
            STATUS: dict,
        }[op]()
        r.end()
        self.log.append((op, fields))
        with self.lock:
            code, body = {LEASE: self.lease, RELEASE: self.release, LIST: self.list,
                          STATUS: self.status}[op](**fields)
        if op in self.on and self.on[op](fields) is False:
            return None
        return u16(VERSION) + u8(op) + i32(code) + (
            string(body) if code else string(None) + body)

    def lease(self, owner, function, pf, memory, kept, engine, wait_ms):
        assert function and kept and not memory
        if owner in self.leased():
            return EEXIST, f"owner '{owner}' has a lease already"
        mine = [f for f in self.functions if pf in (None, f.pf)]
        if not mine:
            return ENOENT, f"no function of '{pf}' is configured"
        free = [f for f in mine if f.state == READY]
        if not free:
            return EAGAIN, "all functions are lent"
        f = free[0]
        f.owner, f.lease, f.state = owner, f"{next(self.numbers):032x}", LEASED
        f.lent += 1
        return 0, string(f.lease) + u64(0) + f.encode()

    def release(self, id, owner):
        for f in self.functions:
            if f.lease and (f.lease == id or f.owner == owner):
                f.lease = f.owner = None
                f.state = READY
        return 0, b""

    def list(self, owner, first):
        def encode(pair):
            n, f = pair
            return b"".join((u32(n), u8(f.state), boolean(False), boolean(False), boolean(False),
                             u64(0), u64(0), u64(f.lent), i64(int(time.time())), f.encode(),
                             string(f.lease), string(f.owner), boolean(f.lease is not None),
                             i32(0), string(None), string(None)))
        chosen = [(n, f) for n, f in enumerate(self.functions)
                  if owner is None or f.owner == owner]
        part, rest = chosen[first:first + 32], chosen[first + 32:]
        return 0, u32(first + 32 if rest else 0) + listing(part, encode)

    def status(self):
        return 0, (u32(os.getpid()) + i64(0) + boolean(False) + b"".join(u32(0) for _ in range(6)) +
                   b"".join(u64(0) for _ in range(4)))
