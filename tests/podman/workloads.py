# SPDX-License-Identifier: Apache-2.0
"""What people run: a Debian with redis, sqlite, Python, a compiler and stress-ng, on one and two vCPUs,
several sandboxes at once, with a network.  Each result is checked against one that was not computed there.

A suite of its own (tests/run BUILD podman/workloads.py): it takes minutes, and packages that a host of the
lab has."""
import hashlib
import os
import subprocess
import threading

import pytest

import debian
import harness

PACKAGES = ["gcc", "libc6-dev", "make", "python3", "redis-server", "redis-tools", "sqlite3", "stress-ng"]
MEMORY = 256        # MiB: three at once have room in the huge pages of a host of the lab
VCPUS = [1, 2]


@pytest.fixture(scope="module")
def image(podman):
    """A root file system of this machine's own packages, as podman's options.  (A directory: an image
    is the same to caisson, but podman's hashing of it takes minutes in an emulated host.)"""
    if missing := [p for p in PACKAGES if p not in debian.installed()[0]]:
        harness.missing(f"Debian packages {', '.join(missing)} are not installed")
    rootfs = podman.path / "debian"
    debian.copy(PACKAGES, rootfs)
    return "--rootfs", rootfs


def sized(vcpus, memory=MEMORY):
    return ["--annotation", f"io.caisson.vcpus={vcpus}", "--annotation", f"io.caisson.memory={memory}M"]


@pytest.fixture(params=VCPUS)
def work(podman, image, request):
    """work(script): what it prints in a Debian of its own, with so many vCPUs."""
    def run(script, *args, network="none", memory=MEMORY):
        return podman.run(*sized(request.param, memory), *image, "bash", "-euc", script, "bash", *args,
                          network=network, timeout=4 * harness.TIMEOUT).stdout
    run.vcpus = request.param
    return run


def test_debian(work):
    """It is one, with all of its packages, on a kernel and CPUs of its own."""
    out = work(". /etc/os-release; echo $ID; nproc; uname -r;"
               "dpkg-query -W -f '${Package}\\n' gcc redis-server")
    assert out.split() == ["debian", str(work.vcpus), out.split()[2], "gcc", "redis-server"]
    assert out.split()[2] != os.uname().release


def test_sqlite(work):
    """A table on disk, in transactions, with an index and a rollback."""
    out = work("""sqlite3 /var/tmp/db <<'END'
        PRAGMA journal_mode=WAL;
        CREATE TABLE t(n INTEGER PRIMARY KEY, square INTEGER, text TEXT);
        WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000)
            INSERT INTO t SELECT n, n * n, 'row ' || n FROM c;
        CREATE INDEX by_text ON t(text);
        BEGIN; DELETE FROM t WHERE n % 2; ROLLBACK;
        BEGIN; DELETE FROM t WHERE n > 10000; COMMIT;
        VACUUM;
END
        sqlite3 /var/tmp/db "PRAGMA integrity_check; SELECT count(*), sum(square) FROM t;
                             SELECT n FROM t WHERE text = 'row 777'" """)
    assert out.split() == ["wal", "ok", f"10000|{sum(n * n for n in range(1, 10001))}", "777"]


PYTHON = """
import asyncio, collections, hashlib, multiprocessing, subprocess, threading

def digest(n):
    h = hashlib.sha256(str(n).encode())
    for _ in range(20000):
        h = hashlib.sha256(h.digest())
    return h.hexdigest()

def processes():
    with multiprocessing.Pool(4) as pool:
        return pool.map(digest, range(8))

def threads():
    out = collections.Counter()
    def add():
        for _ in range(2000):
            with lock:
                out["n"] += 1
    lock = threading.Lock()
    ts = [threading.Thread(target=add) for _ in range(8)]
    [t.start() for t in ts], [t.join() for t in ts]
    return out["n"]

async def sockets():
    async def serve(r, w):
        while line := await r.readline():
            w.write(line.upper())
            await w.drain()
        w.close()
    async def ask(n):
        r, w = await asyncio.open_connection("127.0.0.1", 7777)
        for k in range(50):
            w.write(b"word %d %d\\n" % (n, k))
            assert await r.readline() == b"WORD %d %d\\n" % (n, k)
        w.close()
        return 50
    async with await asyncio.start_server(serve, "127.0.0.1", 7777):
        return sum(await asyncio.gather(*(ask(n) for n in range(10))))

if __name__ == "__main__":
    print(hashlib.sha256("".join(processes()).encode()).hexdigest())
    print(threads())
    print(asyncio.run(sockets()))
    print(sum(subprocess.run(["true"]).returncode == 0 for _ in range(20)))
"""


def test_python(work):
    """Processes that compute, threads on one lock, sockets, and many short programs."""
    names = {"__name__": "here"}
    exec(PYTHON, names)     # the same function, here
    wanted = hashlib.sha256("".join(map(names["digest"], range(8))).encode()).hexdigest()
    assert work("echo \"$1\" >/tmp/work.py; python3 /tmp/work.py", PYTHON).split() == [
        wanted, "16000", "500", "20"]


# $1 units of so many functions each, and a program that adds up what they return.
BUILD = r"""
mkdir /tmp/build; cd /tmp/build
{
    echo 'OBJECTS := main.o $(patsubst %,u%.o,$(shell seq 1 '$1'))'
    echo 'program: $(OBJECTS)'; printf '\tgcc -o $@ $^\n'
    echo '%.o: %.c'; printf '\tgcc -O2 -g -c -o $@ $<\n'
} >Makefile
for u in $(seq 1 $1); do
    {
        printf '#include <%s.h>\n' stdio stdlib string
        for f in $(seq 1 10); do
            echo "int f${u}_$f(void) { char t[32]; snprintf(t, sizeof(t), \"%d\", $u * $f);"
            echo "    return atoi(t) + (int)strlen(t); }"
        done
    } >u$u.c
done
{
    echo '#include <stdio.h>'
    for u in $(seq 1 $1); do for f in $(seq 1 10); do echo "int f${u}_$f(void);"; done; done
    echo 'int main(void) { long sum = 0;'
    for u in $(seq 1 $1); do for f in $(seq 1 10); do echo "sum += f${u}_$f();"; done; done
    echo 'printf("%ld\n", sum); return 0; }'
} >main.c
make -s -j$(($(nproc) + 1))
./program; ls *.o | wc -l
"""


def test_build(work):
    """make and gcc: a program of several units, which then runs."""
    numbers = [u * f for u in range(1, 9) for f in range(1, 11)]
    assert work(BUILD, "8").split() == [str(sum(n + len(str(n)) for n in numbers)), "9"]


STRESS = "--cpu 1 --vm 1 --vm-bytes 48M --fork 2 --pipe 1 --futex 1 --mmap 1 --mmap-bytes 16M --sigq 1 " \
    "--sock 1 --timer 1 --hdd 1 --hdd-bytes 8M --fault 1 --mprotect 1 --clone 1"


def test_stress(work):
    """stress-ng checks what it did (--verify), and fails if anything of it was wrong."""
    out = work(f"cd /tmp; stress-ng {STRESS} --verify --timeout 15s 2>&1; echo status $?")
    assert "successful run completed" in out and out.splitlines()[-1] == "status 0", out
    assert "fail:" not in out and "error:" not in out, out


def test_redis(podman, image, work):
    """A server, and redis-benchmark in a sandbox beside it, over podman's network."""
    server = "exec redis-server --save '' --appendonly no --protected-mode no --daemonize no"
    with podman.running(*sized(work.vcpus), script=server, network="podman", image=image) as c:
        podman.connect(c.address, 6379).close()
        out = work("redis-benchmark -h $1 -q -n 2000 -c 20 -P 4 -t set,get,incr,lpush,lrange_100 --csv;"
                   "redis-cli -h $1 set word caisson; redis-cli -h $1 get word;"
                   "redis-cli -h $1 get counter:__rand_int__; redis-cli -h $1 llen mylist",
                   c.address, network="podman")
        lines = out.splitlines()
        # LRANGE brings an LPUSH of its own: its elements are counted with the other's.
        assert lines[-4:] == ["OK", "caisson", "2000", "4000"], out
        assert {line.split(",")[0].strip('"').split()[0] for line in lines[1:-4]} == {
            "SET", "GET", "INCR", "LPUSH", "LRANGE_100"}, out
        assert "word" in podman("exec", c.name, "redis-cli", "keys", "w*").stdout


def test_several_at_once(podman, image):
    """Three sandboxes that work at the same time, each with a network, and all say the right thing."""
    results = {}

    def one(n):
        script = ("for i in $(seq 1 30); do seq 1 2000 | sha256sum; done | sort -u; "
                  f"python3 -c 'print(sum(range({n}000000)))'; "
                  f"sqlite3 /tmp/db 'create table t(n); insert into t values ({n}); select n from t'; "
                  "bash -c 'exec 3<>/dev/tcp/$0/6379; echo PING >&3; head -1 <&3' $1 | tr -d '\\r'")
        results[n] = podman.run(*sized(n), *image, "bash", "-euc", script, "bash", address, network="podman",
                                check=False, timeout=4 * harness.TIMEOUT)

    with podman.running(*sized(1), script="exec redis-server --save '' --protected-mode no",
                        network="podman", image=image) as server:
        address = server.address
        podman.connect(address, 6379).close()
        threads = [threading.Thread(target=one, args=(n,)) for n in VCPUS]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    seq = subprocess.run("seq 1 2000 | sha256sum", shell=True, check=True, text=True,
                         stdout=subprocess.PIPE).stdout.split()[0]
    for n in VCPUS:
        r = results[n]
        assert r.returncode == 0, r.stderr
        assert r.stdout.split() == [seq, "-", str(sum(range(n * 1000000))), str(n), "+PONG"], r.stdout
