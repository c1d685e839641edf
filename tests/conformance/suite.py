# SPDX-License-Identifier: Apache-2.0
"""The OCI project's validation programs: built (see build), run against a runtime, their output
read, and the table of the cases that are known to fail (docs/conformance.md, the only one).

    suite.py RUNTIME [PROGRAM...]    runs them and counts, without judging; for comparisons
"""
import collections
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
DOC = HERE.parent.parent / "docs/conformance.md"
TIMEOUT = 900  # seconds for a program; the longest starts 32 containers
THE_PROGRAM = "(the program)"  # the case of a program that reports none, or ends with a status

# outcome: "passed", "failed" or "skipped" (also what the suite itself says is still to be done)
Case = collections.namedtuple("Case", "name outcome")
# most, least: how many cases of the name fail; they differ where the suite is racy
Known = collections.namedtuple("Known", "program pattern least most reason")


def build():
    """The directory of the built suite; a RuntimeError says why it cannot be built here."""
    r = subprocess.run([HERE / "build"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if r.returncode:
        raise RuntimeError(r.stderr.strip().rpartition("\n")[2])
    return pathlib.Path(r.stdout.splitlines()[-1])


def programs():
    return sorted(p.name for p in (build() / "bin").iterdir())


def run(program, runtime, tmp):
    """Its cases against a runtime (a path); its output stays in `tmp`, where its bundles are, too."""
    directory = build()
    out, err = pathlib.Path(tmp) / f"{program}.tap", pathlib.Path(tmp) / f"{program}.err"
    with open(out, "wb") as o, open(err, "wb") as e:
        # In a mount namespace: a runtime that shares the host's leaves mounts in it when told to.
        r = subprocess.run(["unshare", "--mount", directory / "bin" / program], cwd=directory,
                           timeout=TIMEOUT, stdout=o, stderr=e, stdin=subprocess.DEVNULL,
                           env={**os.environ, "RUNTIME": str(runtime), "TMPDIR": str(tmp)})
    return cases(out.read_text(errors="replace"), r.returncode)


def cases(text, status):
    """The cases in a program's output.  A program may report none: then it is one case, which has
    failed if it named an error or ended with a status."""
    found = []
    for line in text.splitlines():
        m = re.match(r"(not )?ok \d+ (?:- )?(.*)", line)
        if m:
            skipped = m[2].startswith(("# SKIP", "# TODO"))
            outcome = "skipped" if skipped else "failed" if m[1] else "passed"
            found.append(Case(m[2].replace("`", ""), outcome))
    if status or not found:
        failed = status or re.search(r'^    "error": "[^"]', text, re.MULTILINE)
        found.append(Case(THE_PROGRAM, "failed" if failed else "passed"))
    return found


def known():
    """The rows of the table in docs/conformance.md."""
    rows = []
    for line in DOC.read_text().splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        m = re.fullmatch(r"(\d+)(?:–(\d+))?", cells[2]) if len(cells) == 5 else None
        if m:
            rows.append(Known(cells[0], cells[1], int(m[1]), int(m[2] or m[1]), cells[3]))
    return rows


def judge(program, found, rows):
    """What is wrong with the cases, as lines; none when only what is known to fail has failed."""
    failed = [c.name for c in found if c.outcome == "failed"]
    wrong = []
    for row in (r for r in rows if r.program == program):
        pattern = re.escape(row.pattern).replace(r"\*", ".*")
        mine = [name for name in failed if re.fullmatch(pattern, name)]
        failed = [name for name in failed if name not in mine]
        if len(mine) < row.least:
            wrong.append(f"passes now: {row.pattern}: {len(mine)} failed, {row.least} were to")
        if len(mine) > row.most:
            wrong.append(f"fails: {row.pattern}: {len(mine)} failed, {row.most} are known")
    return wrong + [f"fails: {name}" for name in failed]


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    total = collections.Counter()
    for program in sys.argv[2:] or programs():
        with tempfile.TemporaryDirectory(prefix="conformance-") as tmp:
            os.chmod(tmp, 0o755)  # a user namespace's root has to get there
            found = run(program, sys.argv[1], tmp)
        count = collections.Counter(c.outcome for c in found)
        total += count
        print(f"{program}: {count['passed']} passed, {count['failed']} failed, "
              f"{count['skipped']} skipped", flush=True)
        for name, n in collections.Counter(c.name for c in found if c.outcome == "failed").items():
            print(f"    {n} {name}", flush=True)
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")


if __name__ == "__main__":
    main()
