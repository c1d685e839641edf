# SPDX-License-Identifier: Apache-2.0
"""caisson trace: timelines of starts as Trace Event JSON and as a picture."""
import json
import os
import pathlib
import stat
import subprocess
import xml.etree.ElementTree as ET

import pytest

from conftest import new_caisson
from support import Box, assert_sentence, call_detached, eventually

SVG = "{http://www.w3.org/2000/svg}"
ORDER = ["command", "config", "state", "image", "proxy", "hooks", "network", "spawned", "monitor",
         "engine", "launch", "agent", "guest-setup", "created", "ready", "start", "started",
         "exited", "machine-gone", "delete", "destroyed"]
# Every millisecond one, from a second after the machine's start.
WHOLE = "".join(f"{10 ** 9 + i * 10 ** 6} {name}\n" for i, name in enumerate(ORDER))


@pytest.fixture
def files(tmp_path):
    def write(**contents):
        for name, text in contents.items():
            (tmp_path / name).write_text(text)
        return [tmp_path / name for name in contents]
    return write


def trace(caisson, *args):
    r = caisson("trace", *args, check=True)
    assert not r.stderr
    return r.stdout


def events(text, kind="X"):
    """The events of a kind, after a look at what every reader of the format relies on."""
    whole = json.loads(text)
    assert set(whole) == {"traceEvents", "displayTimeUnit", "otherData"}
    for e in whole["traceEvents"]:
        assert {"ph", "name", "pid", "tid"} <= set(e) and e["ph"] in "XMi", e
        assert e["ph"] == "M" or e["ts"] >= 0, e
        assert e["ph"] != "X" or e["dur"] >= 0, e
        assert e["ph"] != "i" or e["s"] == "p", e
    return [e for e in whole["traceEvents"] if e["ph"] == kind]


def names(text, what="process_name"):
    return {(e["pid"], e["tid"]): e["args"]["name"] for e in events(text, "M") if e["name"] == what}


def assert_no_overlap(phases):
    """A thread of the trace does one thing at a time, or viewers draw nonsense."""
    for thread in {(e["pid"], e["tid"]) for e in phases}:
        own = sorted((e["ts"], e["ts"] + e["dur"]) for e in phases if (e["pid"], e["tid"]) == thread)
        for (_, end), (begin, _) in zip(own, own[1:]):
            assert begin >= end - 0.0005, own


def test_phases(caisson, files):
    """Each phase lies between its two marks, to the nanosecond, in the lane of who spends it."""
    path, = files(web=WHOLE)
    text = trace(caisson, path)
    phases = {e["name"]: e for e in events(text)}
    ms = {name: 10 ** 6 + i * 1000 for i, name in enumerate(ORDER)}  # in microseconds
    for e in phases.values():
        assert e["ts"] == ms[e["args"]["from"]], e
        assert e["ts"] + e["dur"] == ms[e["args"]["to"]], e
    assert phases["kernel boots"]["args"] == {"from": "launch", "to": "agent"}
    assert phases["process"]["dur"] == 1000
    assert_no_overlap(list(phases.values()))
    lanes = names(text, "thread_name")
    assert lanes[(1, phases["kernel boots"]["tid"])] == "guest"
    assert lanes[(1, phases["machine made"]["tid"])] == "monitor"
    assert names(text) == {(1, 0): "web"}
    # All of a start is accounted for.
    covered = {m for e in phases.values() for m in (e["args"]["from"], e["args"]["to"])}
    assert covered == set(ORDER)


def test_clock(caisson, files):
    """Starts stand where they were on the machine's clock, or with --align all at 0."""
    later = "".join(f"{int(line.split()[0]) + 123456789} {line.split()[1]}\n"
                    for line in WHOLE.splitlines())
    paths = files(a=WHOLE, b=later)
    first = {e["pid"]: e["ts"] for e in events(trace(caisson, *paths)) if e["name"] == "configuration"}
    assert first == {1: 1e6, 2: 1e6 + 123456.789}
    phases = events(trace(caisson, "--align", *paths))
    assert [e["ts"] for e in phases if e["name"] == "configuration"] == [0, 0]
    strip = lambda pid: [{**e, "pid": 0} for e in phases if e["pid"] == pid]  # noqa: E731
    assert strip(1) == strip(2)


def test_odd_timelines(caisson, files):
    """One that is being written, one of two starts, marks that nobody knows, and what is none."""
    half, two, odd, blind = files(half=WHOLE[:WHOLE.index("engine") + 3], two=WHOLE + WHOLE,
                                  odd="5 command\n9 lease\n7 config\n", blind="5 agent\n3 launch\n")
    assert {e["args"]["to"] for e in events(trace(caisson, half))} == {
        "config", "state", "image", "proxy", "hooks", "network", "monitor"}
    text = trace(caisson, two)
    assert names(text) == {(1, 0): "two", (2, 0): "two"}
    text = trace(caisson, odd)
    assert [(e["name"], e["ts"]) for e in events(text, "i")] == [("lease", 0.009)]
    assert [e["name"] for e in events(text)] == ["configuration"]
    assert [e["dur"] for e in events(trace(caisson, blind))] == [0.002]
    for bad in ("", "x command\n", "5 command\n5\n", "5 command\n5 a b\n", "5 command\n\n",
                "-5 command\n", f"{'9' * 20} command\n", f"5 {'a' * 32}\n", "5 <script>\n",
                "5 command"):
        path, = files(bad=bad)
        assert_sentence(caisson("trace", path), str(path), "mark")
    assert_sentence(caisson("trace", "/no/such/file"), "/no/such/file")
    assert_sentence(caisson("trace", "--format", "png", half), "'png' is neither json nor svg")
    assert_sentence(caisson("trace", "--whole", half), "--whole")
    assert_sentence(caisson("trace", "nobody"), "'nobody' does not exist")
    assert_sentence(caisson("trace"), "there is no container with a timeline")
    big, = files(big=WHOLE * 5000)
    assert_sentence(caisson("trace", big), "big")


def bars(root):
    return [r for r in root.iter(SVG + "rect") if r.find(SVG + "title") is not None]


def test_picture(caisson, files):
    """A row per start, bars within the picture and one after the other, and nothing of a name
    becomes markup."""
    paths = files(**{"a<b>&'\"": WHOLE, "web": WHOLE, "early": WHOLE[:WHOLE.index("agent")]})
    odd = pathlib.Path(os.fsdecode(os.fsencode(paths[0].parent) + b"/n\xff\x01\xc3"))
    odd.write_text(WHOLE)
    for options in ([], ["--align"], ["--whole"], ["--align", "--whole"]):
        root = ET.fromstring(trace(caisson, "--format", "svg", *options, *paths, odd))
        assert root.tag == SVG + "svg"
        texts = [t.text or "" for t in root.iter(SVG + "text")]
        assert "a<b>&'\"" in texts and "web" in texts and "n???" in texts
        assert any("4 starts" in t for t in texts)
        rows = {}
        for r in bars(root):
            x, y, w = (float(r.get(k)) for k in ("x", "y", "width"))
            assert 0 <= x and x + w <= float(root.get("width")) and y < float(root.get("height"))
            rows.setdefault(y, []).append((x, x + w))
        assert len(rows) == 4
        for row in rows.values():
            row.sort()
            assert all(b[0] >= a[1] - 0.32 for a, b in zip(row, row[1:])), row
        said = {t.text.split(":")[0] for r in bars(root) for t in r.iter(SVG + "title")}
        assert "kernel boots" in said and "waits for the guest" not in said
        assert ("process" in said) == ("--whole" in options)


def test_starts(work, cache, rootfs, no_leaks):
    """Real starts, several at once: the timeline is there without being asked for, goes on with
    later commands, and stays where the settings say."""
    kept = work / "timelines"
    caisson = new_caisson(work, cache, timelines=str(kept))
    boxes = [Box(caisson, work, rootfs) for _ in range(3)]
    runs = [subprocess.Popen(caisson.command("run", "--detach", "--bundle", b.bundle.path, b.id),
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) for b in boxes]
    assert [r.wait(300) for r in runs] == [0, 0, 0]
    text = trace(caisson)
    assert sorted(names(text).values()) == sorted(b.id for b in boxes)
    phases = events(text)
    assert_no_overlap(phases)
    for pid in (1, 2, 3):
        got = {e["name"] for e in phases if e["pid"] == pid}
        assert {"configuration", "machine made", "kernel boots", "guest set up",
                "container created", "container started"} <= got
    assert len(bars(ET.fromstring(trace(caisson, "--format", "svg", boxes[0].id, boxes[1].id)))) > 10
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    for b in boxes:
        b.kill("KILL")
        eventually(lambda b=b: b.status() == "stopped", "it ends")
        b.delete()
    text = trace(caisson, *kept.iterdir())
    assert {"process", "machine goes", "deleted"} <= {e["name"] for e in events(text)}
    assert len(names(text)) == 3
    no_leaks()


def test_timeline_goes_with_its_container(box, caisson):
    """Without a setting nothing stays; with --timeline it is that file that has it."""
    b = box().up()
    assert {"command", "ready", "start", "started"} <= {
        line.split()[1] for line in (caisson.root / b.id / "timeline").read_text().splitlines()}
    b.delete("--force")
    assert list(caisson.root.iterdir()) == []
    b, path = box(), caisson.path / "elsewhere"
    call_detached(caisson, "--timeline", path, "create", "--bundle", b.bundle.path, b.id, out=b.out)
    assert_sentence(caisson("trace", b.id), "has no timeline")
    assert "kernel boots" in {e["name"] for e in events(trace(caisson, path))}
