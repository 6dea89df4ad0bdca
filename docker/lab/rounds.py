# SPDX-License-Identifier: GPL-2.0
"""All ways under wrk, round after round. A round runs each way once with each family, and begins
elsewhere in the list than the one before, so that whatever else the machine does meets all alike.
Ratios are of runs of one round."""
import statistics

from . import Failure, load, unless_interrupted
from .ways import WAYS

BASELINES = {"ratio_to_course": "course", "ratio_to_tuned": "tuned", "ratio_to_nft": "nft",
             "ratio_to_direct": "direct"}


def measure(site, rounds, seconds, say, ways=WAYS):
    """The list of what each way did with each family. A run that fails is told and counted."""
    runs = [(way, family) for family in site.families for way in ways]
    samples = {(way.key, family): [] for way, family in runs}
    for number in range(rounds):
        first = number * len(runs) // rounds
        for way, family in runs[first:] + runs[:first]:
            sample = one(site, way, family, seconds)
            samples[way.key, family].append(sample)
            say(f"round {number + 1} of {rounds}  IPv{family}  {way.title:<26}  {told(sample)}")
    return [summary(way, family, samples) for way, family in runs]


def one(site, way, family, seconds):
    try:
        with way.enter(site, family) as url:
            return load.wrk(site, url, seconds, way.by_tcp) | way.state(site)
    except Failure as failure:
        return {"error": unless_interrupted(failure)}


def told(sample):
    if "error" in sample:
        return f"FAILED: {sample['error']}"
    failed = f", {sample['failed']} FAILED" if sample["failed"] else ""
    shares = [f", {percent:.0f} % short-cut to {host}"
              for host, percent in sample.get("short_cut_percent", {}).items()]
    return f"{sample['requests_per_second']:8.0f} req/s{failed}{''.join(shares)}"


def summary(way, family, samples):
    own = samples[way.key, family]
    good = [sample for sample in own if "error" not in sample]
    entry = {"key": way.key, "title": way.title, "family": family}
    for field in ("requests_per_second", "p50_us", "p99_us"):
        entry[field] = spread([s[field] for s in good if s[field] is not None])
    for field, baseline in BASELINES.items():
        if (baseline, family) in samples:
            entry[field] = ratio(own, samples[baseline, family])
    entry["failed"] = sum(sample["failed"] for sample in good)
    entry["failed_runs"] = len(own) - len(good)
    entry["samples"] = own
    return entry


def ratio(runs, baselines):
    return spread([run["requests_per_second"] / baseline["requests_per_second"]
                   for run, baseline in zip(runs, baselines)
                   if "error" not in run and "error" not in baseline])


def spread(values):
    if not values:
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
