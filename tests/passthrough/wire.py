# SPDX-License-Identifier: Apache-2.0
"""Frames on a card's wire, as the host sees and sends them."""
import socket
import threading
import time

HOSTILE_TYPE = 0x88b5  # hostile.c


class Sniffer(threading.Thread):
    """Payloads of the frames of one EtherType that arrive at an interface."""

    def __init__(self, interface):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(HOSTILE_TYPE))
        self.socket.bind((interface, HOSTILE_TYPE))
        self.socket.settimeout(0.2)
        self.payloads, self.over = [], False
        self.start()

    def run(self):
        while not self.over:
            try:
                self.payloads.append(self.socket.recv(4096)[14:])
            except TimeoutError:
                pass

    def wait_for(self, start, timeout=180):
        """Until a payload that begins so has arrived."""
        until = time.monotonic() + timeout
        while not any(p.startswith(start) for p in list(self.payloads)):
            assert time.monotonic() < until, f"{len(self.payloads)} frames, but not this one"
            time.sleep(0.05)

    def stop(self):
        self.over = True
        self.join()
        self.socket.close()
        return self.payloads


class Sender(threading.Thread):
    """Sends the payload to an address again and again."""

    def __init__(self, interface, mac, payload):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.socket.bind((interface, 0))
        own = self.socket.getsockname()[4]
        self.frame = bytes.fromhex(mac.replace(":", "")) + own + b"\x88\xb6" + payload
        self.over = threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.02):
            self.socket.send(self.frame)

    def stop(self):
        self.over.set()
        self.join()
        self.socket.close()
