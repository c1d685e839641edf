# SPDX-License-Identifier: Apache-2.0
"""Starts of sandboxes that are begun together, and when each of them has said what."""
import dataclasses
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time

TIMEOUT = 600
STALLS_MAX = 4


def copy_programs(build, to, names):
    """What is run, on the machine's own disk: in the lab the build is on a network file system."""
    for name in names:
        if (build / name).is_dir():
            shutil.copytree(build / name, to / name)
        else:
            shutil.copy2(build / name, to / name)


class Failed(Exception):
    """A start ended before its time; what it said."""


@dataclasses.dataclass
class Command:
    args: object                # words; or a function that makes them of what the one before printed
    stdin: object = None        # path


class Start:
    """A start on its way: commands, one after the other, the last of which is the sandbox.

    words: {mark: bytes} that the last one prints.  marks: {mark: seconds from the beginning to the
    read that had its word}, and "end"; between: seconds to the beginning of each command but the
    first.  If the start is `held`, the last finds a line on its standard input when all that were
    begun with it have said all their words.
    """

    def __init__(self, name, commands, words, env=None, held=False):
        self.name, self.words, self.held = name, words, held
        self.env = {**os.environ, **(env or {})}
        self.commands = list(commands)
        self.marks, self.output, self.between = {}, b"", []
        self.errors = tempfile.TemporaryFile()
        self.begun = time.monotonic()
        self.spawn()

    def spawn(self):
        command = self.commands.pop(0)
        args = command.args(self.output) if callable(command.args) else command.args
        self.output = b""
        if command.stdin:
            stdin = open(command.stdin)
        else:
            stdin = subprocess.PIPE if self.held and not self.commands else subprocess.DEVNULL
        self.process = subprocess.Popen(args, env=self.env, stdin=stdin, stdout=subprocess.PIPE,
                                        stderr=self.errors)
        if command.stdin:
            stdin.close()

    def read(self):
        """Takes what it printed; whether that was the end."""
        data = os.read(self.process.stdout.fileno(), 4096)
        now = time.monotonic() - self.begun
        self.output += data
        for mark, word in self.words.items():
            if not self.commands and word in self.output:
                self.marks.setdefault(mark, now)
        return not data

    def said_all(self):
        return self.marks.keys() >= self.words.keys()

    def let_go(self):
        if self.process.stdin and not self.process.stdin.closed:
            try:
                self.process.stdin.write(b"\n")
                self.process.stdin.close()
            except BrokenPipeError:
                pass  # end() tells why it is gone

    def close(self):
        self.process.stdout.close()
        if self.process.stdin:
            self.process.stdin.close()

    def give_up(self):
        self.process.kill()
        self.process.wait()
        self.close()
        self.errors.close()

    def end(self):
        """One of its commands has ended: begins the next; whether there is one."""
        self.process.wait(TIMEOUT)
        self.close()
        if self.process.returncode or not self.commands and not self.said_all():
            self.errors.seek(0)
            raise Failed(f"{self.name} ended with {self.process.returncode} and {self.output!r}: "
                         f"{self.errors.read().decode()}")
        if self.commands:
            self.between.append(time.monotonic() - self.begun)
            self.spawn()
            return True
        self.marks["end"] = time.monotonic() - self.begun
        self.errors.close()
        return False


def at_once(make, n, limit, all_said=lambda: None):
    """make(i) for n starts, all run to their ends; None: that took longer than `limit` seconds, or
    one failed, which is said, and they were given up.  all_said() is called when the last of them
    has said all its words."""
    with selectors.DefaultSelector() as selector:
        all_ = []
        for i in range(n):
            all_.append(make(i))
            selector.register(all_[i].process.stdout, selectors.EVENT_READ, all_[i])
        until, said = time.monotonic() + limit, False
        while selector.get_map():
            for key, _ in selector.select(1):
                if key.data.read():
                    selector.unregister(key.fileobj)
                    try:
                        goes_on = key.data.end()
                    except Failed as e:
                        print(f"bench: given up: {e}", file=sys.stderr, flush=True)
                        until = 0
                        break
                    if goes_on:
                        selector.register(key.data.process.stdout, selectors.EVENT_READ, key.data)
            if not said and all(s.said_all() for s in all_):
                said = True
                all_said()
                for s in all_:
                    s.let_go()
            if time.monotonic() > until:
                for s in all_:
                    s.give_up()
                return None
    return all_


def until_done(make, n, limit, stalled, all_said=lambda: None):
    """The same, again when it stalled or failed, which stalled() is told."""
    for _ in range(STALLS_MAX):
        all_ = at_once(make, n, limit, all_said)
        if all_:
            return all_
        stalled()
    sys.exit(f"bench: {n} at once stalled or failed {STALLS_MAX} times")
