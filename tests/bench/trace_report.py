#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tables and JSON of what tests/bench/trace.sh has measured."""
import argparse
import json
import pathlib
import statistics
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
from machine import machine  # noqa: E402

FEWEST = 500  # events, below which a mean says nothing

# Nanoseconds of an event that a program should not exceed.
TARGETS = {"weir_states": 300, "weir_rtt": 40, "weir_life_read": 30, "weir_drops": 40}


def read(path):
    return json.loads(path.read_text(encoding="ascii"))


def cost(before, after, program):
    """Runs and nanoseconds a run of this program between the two readings."""
    runs = after[program].get("run_cnt", 0) - before.get(program, {}).get("run_cnt", 0)
    ns = after[program].get("run_time_ns", 0) - before.get(program, {}).get("run_time_ns", 0)
    return runs, ns / runs if runs else None


def hook(link):
    return link.get("tp_name") or link.get("attach_type") or link["type"]


def programs_of(at):
    """Of one tracer under one workload. Where no empty program ran often enough, the cheapest one is taken
    off."""
    tracer, workload = at.stem.split(".")
    before = {p["id"]: p for p in read(at.with_suffix(".before"))}
    after = {p["id"]: p for p in read(at.with_suffix(".after"))}
    empty = {}
    for link in read(at.with_suffix(".links")):
        program = after.get(link["prog_id"])
        if program and program.get("name", "").startswith("empty_"):
            empty[hook(link)] = cost(before, after, link["prog_id"])
    floors = [ns for runs, ns in empty.values() if runs >= FEWEST]
    for line in at.with_suffix(".pins").read_text(encoding="ascii").splitlines():
        link = json.loads(line)
        runs, ns = cost(before, after, link["prog_id"])
        floor_runs, floor = empty.get(hook(link), (0, None))
        if floor_runs < FEWEST:
            floor = min(floors, default=None)
        if runs:
            yield {"tracer": tracer, "program": link["name"], "workload": workload,
                   "hook": hook(link), "events": runs, "ns": ns, "empty_ns": floor,
                   "net_ns": ns - floor if floor and runs >= FEWEST else None,
                   "target_ns": TARGETS.get(link["name"])}


def ratio(rates, kind):
    """Pinned to none, round by round."""
    rounds = {}
    for r in rates:
        if r["kind"] == kind:
            rounds.setdefault(r["round"], {})[r["how"]] = r["rate"]
    ratios = [r["pinned"] / r["none"] for r in rounds.values()]
    return {"kind": kind, "none_per_second": statistics.median(r["none"] for r in rounds.values()),
            "pinned_per_second": statistics.median(r["pinned"] for r in rounds.values()),
            "ratio": statistics.median(ratios), "ratios": ratios}


def text(value, form="%.0f"):
    return "-" if value is None else form % value


def show(rows):
    print("| program | workload | events | ns | empty | net ns/event | target |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for r in rows:
        if r["events"] < FEWEST:
            continue
        print("| %s %s | %s | %d | %s | %s | %s | %s |" % (
            r["tracer"], r["program"], r["workload"], r["events"], text(r["ns"]),
            text(r["empty_ns"]), text(r["net_ns"]), text(r["target_ns"], "%d")))
    print("\nPrograms that ran less than %d times are left out." % FEWEST)


def show_ratios(ratios):
    print("\n| wrk, nginx, loopback | none, requests/s | all pinned | ratio | least..most |")
    print("|---|--:|--:|--:|--:|")
    for r in ratios:
        name = "connections kept" if r["kind"] == "kept" else "a connection each"
        print("| %s | %.0f | %.0f | %.3f | %.3f..%.3f |" % (
            name, r["none_per_second"], r["pinned_per_second"], r["ratio"], min(r["ratios"]),
            max(r["ratios"])))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("scratch", type=pathlib.Path)
    p.add_argument("--json")
    a = p.parse_args()
    rows = [r for at in sorted((a.scratch / "runs").glob("*.pins")) for r in programs_of(at)]
    rates = [json.loads(line) for line in (a.scratch / "rates").read_text(encoding="ascii").splitlines()]
    ratios = [ratio(rates, kind) for kind in ("kept", "each")]
    print("%(kernel)s, %(cpu)s, %(cpus)d CPUs\n" % machine())
    show(rows)
    show_ratios(ratios)
    if a.json:
        with open(a.json, "w", encoding="ascii") as file:
            json.dump({"machine": machine(), "programs": rows, "wrk": ratios}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    sys.exit(main())
