# SPDX-License-Identifier: Apache-2.0
"""A guest in QEMU (TCG) and the host's side of its agent channel."""
import os
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import time

import wire as w

TIMEOUT = float(os.environ.get("CAISSON_TEST_TIMEOUT", "30"))


class Result(Exception):
    """A failed WIRE_RESULT."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code, self.text = code, text


class Session:
    """One session; collects what comes in it."""

    def __init__(self, guest, number):
        self.guest, self.number = guest, number
        self.results, self.exited = [], None
        self.output = {}       # stream: bytes received
        self.ended = set()     # streams whose end came
        self.auto_credit = True
        self.credit = {}       # stream: what we may send
        self.unconsumed = {}   # stream: bytes received and not credited
        self.most_unconsumed = 0
        self.exited_at = None

    def send(self, kind, payload=b"", stream=0):
        self.guest.send(w.frame(kind, self.number, payload, stream))

    def request(self, kind, payload=b"", timeout=TIMEOUT):
        self.send(kind, payload)
        return self.result(timeout)

    def result(self, timeout=TIMEOUT):
        self.guest.pump(lambda: self.results, timeout, "a result")
        code, text = self.results.pop(0)
        if code:
            raise Result(code, text)
        return text

    def write(self, data, stream=0):
        """Sends all of data as credit allows."""
        while data:
            credit = self.credit.setdefault(stream, w.WINDOW)
            if not credit:
                self.guest.pump(lambda: self.credit[stream], TIMEOUT, "credit")
                continue
            n = min(credit, w.DATA_MAX, len(data))
            self.credit[stream] -= n
            self.send(w.DATA, data[:n], stream)
            data = data[n:]

    def close(self, stream=0):
        self.send(w.DATA, b"", stream)

    def give(self, stream, n):
        """Goes out with the next step: a step from here would recurse with every frame."""
        self.unconsumed[stream] -= n
        self.guest.outgoing += w.frame(w.CREDIT, self.number, w.u32(n), stream)

    def wait(self, timeout=TIMEOUT):
        self.guest.pump(lambda: self.exited, timeout, "the exit")
        return self.exited

    def out(self, stream=1):
        return bytes(self.output.get(stream, b"")).decode("utf-8", "replace")

    def expect(self, text, stream=1, timeout=TIMEOUT):
        self.guest.pump(lambda: text in self.out(stream), timeout, f"{text!r} in the output")

    def on_frame(self, kind, stream, payload):
        r = w.Reader(payload)
        if kind == w.RESULT:
            self.results.append((r.number("i"), r.string()))
            r.end()
        elif kind == w.EXITED:
            assert self.exited is None, "EXITED twice"
            status, signal, oom = r.number("i"), r.number("i"), r.number("B")
            r.end()
            self.exited, self.exited_at = (status, signal, bool(oom)), time.monotonic()
        elif kind == w.CREDIT:
            self.credit[stream] = self.credit.get(stream, w.WINDOW) + r.number("I")
            assert self.credit[stream] <= w.WINDOW, "more credit than the window"
        elif kind == w.DATA:
            assert self.exited is None, "output after EXITED"
            assert stream not in self.ended, "output after its end"
            if not payload:
                self.ended.add(stream)
            self.output.setdefault(stream, bytearray()).extend(payload)
            n = self.unconsumed[stream] = self.unconsumed.get(stream, 0) + len(payload)
            assert n <= w.WINDOW, "the agent sent more than its credit"
            self.most_unconsumed = max(self.most_unconsumed, n)
            if self.auto_credit and payload:
                self.give(stream, len(payload))
        else:
            raise AssertionError(f"frame {kind} from the guest")


class Guest:
    def __init__(self, kernel, initrd, disks=(), share=None, memory=256, nics=(), append="",
                 verbose=False):
        """disks: (serial, file, readonly); nics: (mac, qemu netdev options)."""
        self.dir = tempfile.mkdtemp(prefix="caisson-agent-")
        self.log = os.path.join(self.dir, "console")
        path = os.path.join(self.dir, "agent")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        args = [
            "qemu-system-x86_64", "-M",
            "microvm,acpi=off,x-option-roms=off,isa-serial=on,auto-kernel-cmdline=on",
            "-accel", "tcg", "-cpu", "max", "-m", str(memory),
            "-smp", os.environ.get("CAISSON_TEST_CPUS", "1"), "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", "-kernel", kernel, "-initrd", initrd, "-append",
            # no_timer_check: on a busy machine the ticks that it waits for do not come in time
            f"{'' if verbose else 'quiet'} earlyprintk=ttyS0,keep panic=-1 reboot=t no_timer_check {append} "
            # freed memory is filled with rubbish in the agent: to find what still uses it
            "GLIBC_TUNABLES=glibc.malloc.perturb=165",
            "-serial", f"file:{self.log}", "-device", "virtio-serial-device",
            "-chardev", f"socket,id=agent,path={path}",
            "-device", "virtserialport,chardev=agent,name=caisson.agent"]
        for i, (serial, file, readonly) in enumerate(disks):
            args += ["-drive", f"if=none,id=disk{i},file={file},format=raw,"
                     f"readonly={'on' if readonly else 'off'}",
                     "-device", f"virtio-blk-device,drive=disk{i},serial={serial}"]
        if share:
            args += ["-fsdev", f"local,id=share,path={share},security_model=none,multidevs=remap",
                     "-device", "virtio-9p-device,fsdev=share,mount_tag=caisson"]
        for i, (mac, options) in enumerate(nics):
            args += ["-netdev", f"{options},id=net{i}",
                     "-device", f"virtio-net-device,netdev=net{i},mac={mac}"]
        self.started_at = time.monotonic()
        self.qemu = subprocess.Popen(args, stdin=subprocess.DEVNULL)
        listener.settimeout(TIMEOUT)
        self.sock, _ = listener.accept()
        listener.close()
        self.sock.setblocking(False)
        self.buffer = bytearray()
        self.outgoing = bytearray()
        self.sessions = {}
        self.number = 0
        self.ready = None
        self.eof = False
        self.ignored = []
        self.pump(lambda: self.ready, TIMEOUT, "READY")
        self.ready_at = time.monotonic()

    def console(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def session(self, number=None):
        if number is None:
            self.number += 1
            number = self.number
        self.sessions[number] = Session(self, number)
        return self.sessions[number]

    def send(self, data):
        self.outgoing += data
        self.step(0)

    def step(self, timeout):
        """Moves bytes in both directions once."""
        if self.eof:
            return
        r, wr, _ = select.select([self.sock], [self.sock] if self.outgoing else [], [], timeout)
        try:
            if wr:
                n = self.sock.send(self.outgoing)
                del self.outgoing[:n]
            if r:
                data = self.sock.recv(1 << 20)
                if not data:
                    self.eof = True
                self.buffer += data
        except BlockingIOError:
            pass
        except (ConnectionResetError, BrokenPipeError):
            self.eof = True
        self.frames()

    def frames(self):
        while len(self.buffer) >= 12:
            size, kind, stream, zero, session = struct.unpack("<IBBHI", self.buffer[:12])
            assert size <= 65536 and zero == 0 and stream < 32, "malformed frame from the guest"
            if len(self.buffer) < 12 + size:
                return
            payload = bytes(self.buffer[12:12 + size])
            del self.buffer[:12 + size]
            if kind == w.READY:
                assert self.ready is None and session == 0
                r = w.Reader(payload)
                self.ready = (r.number("I"), r.number("Q"))
                r.end()
            elif session in self.sessions:
                self.sessions[session].on_frame(kind, stream, payload)
            else:
                self.ignored.append((kind, stream, session, payload))

    def pump(self, until, timeout, what):
        end = time.monotonic() + timeout
        while not until():
            left = end - time.monotonic()
            if left <= 0 or self.eof:
                raise AssertionError(f"no {what} ({'channel closed' if self.eof else 'timeout'});"
                                     f" console:\n{self.console()[-9000:]}")
            self.step(min(left, 1))

    def idle(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.eof:
            self.step(max(0, end - time.monotonic()))

    def setup(self, **options):
        self.session(0).request(w.SETUP, w.sandbox(**options))

    def create(self, id, process, **options):
        s = self.session()
        s.request(w.CREATE, w.container(id, process, **options))
        s.id = id
        return s

    def start(self, id):
        return self.session().request(w.START, w.string(id))

    def run(self, args, id=None, stdin=b"", **options):
        """Runs a container to its end: (output, errors, (status, signal, oom))."""
        names = w.process.__kwdefaults__
        process = {k: options.pop(k) for k in list(options) if k in names}
        id = id or f"c{self.number + 1}"
        s = self.create(id, w.process(args, **process), **options)
        self.start(id)
        if stdin:
            s.write(stdin)
        s.close()
        s.wait()
        return s.out(1), s.out(2), s.exited

    def sh(self, script, **options):
        return self.run(["/bin/sh", "-c", script], **options)

    def background(self, id, script="trap 'exit 7' TERM; while :; do sleep 1 & wait $!; done",
                   **options):
        s = self.create(id, w.process(["/bin/sh", "-c", script],
                                      **{k: options.pop(k) for k in list(options)
                                         if k in w.process.__kwdefaults__}), **options)
        self.start(id)
        return s

    def exec(self, id, args, **process):
        s = self.session()
        s.request(w.EXEC, w.string(id) + w.process(args, **process))
        return s

    def signal(self, id, number, all=False):
        return self.session().request(w.SIGNAL, w.string(id) + w.i32(number) + w.boolean(all))

    def kill(self, s):
        """Ends a container that runs in the background."""
        self.signal(s.id, 9)
        return s.wait()

    def shutdown(self):
        """Asks for the end: seconds until QEMU has ended."""
        began = time.monotonic()
        if self.qemu.poll() is None and not self.eof:
            self.session().request(w.SHUTDOWN)
        self.qemu.wait(TIMEOUT)
        return time.monotonic() - began

    def close(self):
        self.sock.close()
        if self.qemu.poll() is None:
            self.qemu.kill()
        self.qemu.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
