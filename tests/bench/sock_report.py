#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Table and JSON of what tests/bench/sock.sh has measured. A ratio is attached to plain, of one round; what
is shown is the rounds' median and their [20th..80th percentile]. The CPU time is that of both ends, of
all servers and of weir."""
import argparse
import json
import pathlib
import re
import statistics
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
from machine import machine  # noqa: E402

# Field of a run, its unit, and what that is worth.
RATES = {
    "requests_per_second": ("k requests/s", 1e3),
    "rounds_per_second": ("k round trips/s", 1e3),
    "connections_per_second": ("k connections/s", 1e3),
    "gigabytes_per_second": ("GB/s", 1),
}
CPU_TIMES = {
    "cpu_microseconds_per_request": ("us", 1),
    "cpu_us_per_round": ("us", 1),
    "cpu_us_per_connection": ("us", 1),
    "cpu_seconds_per_gigabyte": ("s/GB", 1),
}
P50S = {"p50_microseconds": ("us", 1), "p50_us": ("us", 1)}
P99S = {"p99_microseconds": ("us", 1), "p99_us": ("us", 1)}
TARGET = re.compile(r"(rate|cpu|p50)(>=|<=)([0-9.]+)(?:/([0-9.]+))?")


def pick(run, fields):
    return next((name for name in fields if run.get(name)), None)


def percentile(values, share):
    values = sorted(values)
    at = share * (len(values) - 1)
    low = int(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (at - low)


def spread(values):
    if not values:
        return None
    return {"median": statistics.median(values), "percentile_20": percentile(values, 0.2),
            "percentile_80": percentile(values, 0.8)}


def ratios(rounds, fields):
    return spread([pair["attached"][name] / pair["plain"][name] for pair in rounds
                   if (name := pick(pair["plain"], fields)) and pair["attached"].get(name)])


def share_short_cut(pair):
    """Of the bytes, by what TCP or the devices did not see, whatever weir says."""
    run = pair["attached"]
    total = run.get("bytes", run.get("sent"))
    if total and "bytes_by_tcp" in run:
        return max(0, 1 - run["bytes_by_tcp"] / total)
    if run.get("device_bytes_per_request"):
        seen = run["device_bytes_per_request"] / pair["plain"]["device_bytes_per_request"]
        return max(0, 1 - seen)
    return None


def targets(text, congestion):
    for metric, relation, cubic, bbr in TARGET.findall(text):
        yield metric, relation, float(bbr if bbr and congestion == "bbr" else cubic)


def met(case):
    """None if there is no target, or nothing to hold against it."""
    verdict = None
    for metric, target in case["targets"].items():
        ratio = case[f"{metric}_ratio"]
        if not ratio:
            return None
        value = ratio["median"]
        holds = value >= target["least"] if "least" in target else value <= target["most"]
        verdict = holds if verdict is None else verdict and holds
    return verdict


def summarize(name, runs):
    workload, congestion, bound = name.split("/")
    by_round = {}
    for run in runs:
        by_round.setdefault(run["round"], {})[run["way"]] = run
    rounds = [pair for pair in by_round.values()
              if len(pair) == 2 and not any("error" in run for run in pair.values())]
    case = {"workload": workload, "congestion_control": congestion, "pinned": bound == "pinned",
            "rounds": len(rounds), "failed_runs": sum("error" in run for run in runs),
            "failed_requests": sum(run.get("failed", 0) for run in runs), "plain": {}}
    for run in (pair["plain"] for pair in rounds):
        for field in (*RATES, *CPU_TIMES, *P50S, *P99S):
            if run.get(field):
                case["plain"].setdefault(field, []).append(run[field])
    case["plain"] = {field: spread(values) for field, values in case["plain"].items()}
    case["rate_ratio"] = ratios(rounds, RATES)
    case["cpu_ratio"] = ratios(rounds, CPU_TIMES)
    case["p50_ratio"] = ratios(rounds, P50S)
    case["p99_ratio"] = ratios(rounds, P99S)
    shares = [share_short_cut(pair) for pair in rounds]
    case["share_of_bytes_short_cut"] = spread([share for share in shares if share is not None])
    case["targets"] = {metric: {"least" if relation == ">=" else "most": value} for
                       metric, relation, value in targets(runs[0]["target"], congestion)}
    case["met"] = met(case)
    return case


def show_ratio(ratio):
    if not ratio:
        return "-"
    return f"**{ratio['median']:.2f}** [{ratio['percentile_20']:.2f}..{ratio['percentile_80']:.2f}]"


def show_plain(case, fields):
    field = pick(case["plain"], fields)
    if not field:
        return "-"
    unit, worth = fields[field]
    value = case["plain"][field]["median"] / worth
    return f"{value:.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"


def show_targets(case):
    signs = {"least": "≥", "most": "≤"}
    wanted = ", ".join(f"{metric} {signs[bound]} {value:g}" for metric, target in
                       case["targets"].items() for bound, value in target.items())
    return wanted + {None: "", True: ": yes", False: ": no"}[case["met"]]


def show_trouble(case):
    trouble = []
    if case["failed_runs"]:
        trouble.append(f"{case['failed_runs']} runs failed")
    if case["failed_requests"]:
        trouble.append(f"{case['failed_requests']} requests failed")
    return ", ".join(trouble)


def row(case):
    share = case["share_of_bytes_short_cut"]
    return [case["workload"], case["congestion_control"], "pinned" if case["pinned"] else "free",
            str(case["rounds"]), show_plain(case, RATES), show_ratio(case["rate_ratio"]),
            show_plain(case, CPU_TIMES), show_ratio(case["cpu_ratio"]),
            show_plain(case, P50S), show_ratio(case["p50_ratio"]),
            f"{100 * share['median']:.0f} %" if share else "-",
            show_targets(case), show_trouble(case)]


HEAD = ["workload", "congestion", "CPUs", "rounds", "plain", "rate", "plain CPU", "CPU",
        "plain p50", "p50", "short-cut", "target", "trouble"]


def print_table(cases):
    rows = [HEAD] + [row(case) for case in cases]
    widths = [max(len(cells[i]) for cells in rows) for i in range(len(HEAD))]
    rows.insert(1, ["-" * width for width in widths])
    for cells in rows:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--runs", required=True, help="file with one JSON document a line")
    p.add_argument("--seconds", type=int, required=True)
    p.add_argument("--warm", type=int, required=True)
    p.add_argument("--control", action="store_true")
    p.add_argument("--json", help="file to write")
    arguments = p.parse_args()
    with open(arguments.runs, encoding="utf-8") as lines:
        runs = [json.loads(line) for line in lines]
    names = list(dict.fromkeys(run["name"] for run in runs))
    cases = [summarize(name, [run for run in runs if run["name"] == name]) for name in names]

    host = machine()
    print(f"Linux {host['kernel']}, {host['cpu']}, {host['cpus']} CPUs. Ratios are attached to "
          "plain, median [20th..80th percentile] of the rounds.")
    print(f"{arguments.warm} s of warm-up, then {arguments.seconds} s timed on the same connections; "
          "wrk's latencies are of both. Short-cut is the share of bytes that TCP did not see.")
    if arguments.control:
        print("Control: nothing was attached, so every ratio should be 1.")
    print()
    print_table(cases)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({**host, "warm_up_seconds": arguments.warm,
                       "seconds": arguments.seconds, "control": arguments.control,
                       "cases": cases, "runs": runs}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    sys.exit(main())
