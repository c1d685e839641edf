# SPDX-License-Identifier: Apache-2.0
"""The form of every benchmark: raw series, the machine, the clock, and claims.

A claim compares a measured value with a goal and says whether it holds.  It is
printed either way, and a benchmark never fails because one does not hold.
"""
import json
import operator
import os
import pathlib
import platform
import statistics
import time

OPERATORS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


def machine():
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo")
                if line.startswith("model name")), "unknown")
    return {"cpu": cpu, "cpus": os.cpu_count(), "kernel": platform.release(),
            "memory_kib": int(next(line.split()[1] for line in open("/proc/meminfo"))),
            "load_before": os.getloadavg()}


def clock():
    """What its figures were measured with; in the lab, which says so, not the host's own time."""
    lab = os.environ.get("CAISSON_CLOCK")
    if not lab and "TCG" in machine()["cpu"]:
        lab = "emulated wall clock (QEMU TCG)"
    return lab or "wall clock"


def summary(series):
    """Median and spread (smallest, largest, quartiles) of a series."""
    q = statistics.quantiles(series, n=4) if len(series) > 1 else [series[0]] * 3
    return {"n": len(series), "median": statistics.median(series), "min": min(series),
            "max": max(series), "q1": q[0], "q3": q[2]}


class Report:
    def __init__(self, name, clock, build):
        self.data = {"name": name, "clock": clock, "machine": machine(),
                     "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                     "series": {}, "claims": []}
        # In the lab the build is read-only, and results have a place of their own.
        top = os.environ.get("CAISSON_RESULTS") or pathlib.Path(build) / "bench"
        self.directory = pathlib.Path(top) / name
        self.directory.mkdir(parents=True, exist_ok=True)

    def series(self, name, values, unit):
        self.data["series"][name] = {"unit": unit, "values": values, **summary(values)}

    def median(self, name):
        return self.data["series"][name]["median"]

    def claim(self, name, value, unit, op, goal):
        self.data["claims"].append({"name": name, "value": value, "unit": unit, "op": op,
                                    "goal": goal, "holds": OPERATORS[op](value, goal)})

    def finish(self):
        """Writes results.json and prints the series and the claims."""
        path = self.directory / "results.json"
        path.write_text(json.dumps(self.data, indent=1) + "\n")
        print(f"\n{self.data['name']}: clock: {self.data['clock']}")
        for name, s in self.data["series"].items():
            print(f"  {name:34} median {s['median']:9.4f} {s['unit']:5} "
                  f"({s['min']:.4f} .. {s['max']:.4f}, n={s['n']})")
        print(f"\n  {'claim':44} {'value':>9}    {'goal':>9}  holds")
        for c in self.data["claims"]:
            print(f"  {c['name']:44} {c['value']:9.3f} {c['op']:2} {c['goal']:9.3f}  "
                  f"{'yes' if c['holds'] else 'NO'}  {c['unit']}")
        print(f"\nraw series: {path}")
