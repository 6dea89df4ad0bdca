# SPDX-License-Identifier: GPL-2.0
"""The table of all ways for a terminal."""
import statistics

HEAD = ("", "requests/s", "× plain", "× tuned", "× nft", "p50 ms", "p99 ms", "failed")


def table(result):
    families = sorted({way["family"] for way in result["ways"]})
    blocks = [block(result["ways"], family) for family in families]
    widths = [max(map(len, column)) for column in zip(HEAD, *sum(blocks, []))]
    lines = []
    for family, rows in zip(families, blocks):
        lines += [show((f"IPv{family}", *HEAD[1:]), widths)]
        lines += [show(row, widths) for row in rows] + [""]
    return "\n".join(lines + notes(result)) + "\n"


def show(row, widths):
    cells = [row[0].ljust(widths[0])] + [cell.rjust(w) for cell, w in zip(row[1:], widths[1:])]
    return "  ".join(cells).rstrip()


def block(ways, family):
    return [(way["title"], rate(way["requests_per_second"]), ratio(way.get("ratio_to_course")),
             ratio(way.get("ratio_to_tuned")), median(way.get("ratio_to_nft")),
             median(way["p50_us"], 1e3, 1), median(way["p99_us"], 1e3, 1), failed(way))
            for way in ways if way["family"] == family]


def rate(spread):
    if not spread:
        return "-"
    low, middle, high = (spread[key] / 1e3 for key in ("min", "median", "max"))
    return f"{middle:.1f}k" + (f" ({low:.1f}..{high:.1f})" if low < high else "")


def ratio(spread):
    if not spread:
        return "-"
    low, middle, high = (spread[key] for key in ("min", "median", "max"))
    return f"{middle:.2f}" + (f" ({low:.1f}..{high:.1f})" if low < high else "")


def median(spread, unit=1, digits=2):
    return f"{spread['median'] / unit:.{digits}f}" if spread else "-"


def failed(way):
    runs = f" + {way['failed_runs']} runs" if way["failed_runs"] else ""
    return f"{way['failed']}{runs}"


def notes(result):
    machine = result["machine"]
    lines = [f"Medians (lowest..highest) of {rounds(result)}; ratios are of runs of one round.",
             "p50 and p99 are wrk's, of its whole run. wrk has 2 threads and 100 connections.",
             "plain: each request is a line in a log and a new connection to a backend, as in "
             "courses;",
             "tuned: connections are kept, no log. nft and weir do not look into HTTP: they do "
             "less.",
             f"Linux {machine['kernel']}, {machine['cpu']}, {machine['cpus']} CPUs."]
    return lines + [f"IPv{way['family']}, {way['title']}: {remark}"
                    for way in result["ways"] for remark in remarks(way["samples"])]


def remarks(samples):
    errors = [sample["error"] for sample in samples if "error" in sample]
    if errors:
        yield f"{len(errors)} of {len(samples)} runs failed: {errors[0]}"
    shares = [sample["short_cut_percent"] for sample in samples if "short_cut_percent" in sample]
    if shares:
        yield "of the bytes, short-cut were " + ", ".join(
            f"{statistics.median(share[host] for share in shares):.0f} % with {host}"
            for host in shares[0])


def rounds(result):
    several = f"{result['rounds']} interleaved rounds" if result["rounds"] > 1 else "one round"
    return f"{several} of {result['seconds']:g} s"
