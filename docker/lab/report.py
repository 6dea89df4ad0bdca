# SPDX-License-Identifier: GPL-2.0
"""The table of all ways for a terminal."""
import statistics
import textwrap

HEAD = ("", "req/s", "× plain", "× tuned", "× nft", "p50 ms", "p99 ms", "failed")
WIDE = 120


def table(result, columns=WIDE):
    """Without ranges where there is no room for them."""
    families = sorted({way["family"] for way in result["ways"]})
    for ranges in (True, False):
        blocks = [block(result["ways"], family, ranges) for family in families]
        widths = [max(map(len, column)) for column in zip(HEAD, *sum(blocks, []))]
        if sum(widths) + 2 * len(widths[1:]) <= columns:
            break
    lines = []
    for family, rows in zip(families, blocks):
        lines += [show((f"IPv{family}", *HEAD[1:]), widths)]
        lines += [show(row, widths) for row in rows] + [""]
    for note in notes(result, ranges):
        lines += textwrap.wrap(note, min(columns, WIDE), subsequent_indent="  ")
    return "\n".join(lines) + "\n"


def show(row, widths):
    cells = [row[0].ljust(widths[0])] + [cell.rjust(w) for cell, w in zip(row[1:], widths[1:])]
    return "  ".join(cells).rstrip()


def block(ways, family, ranges):
    return [(way["title"], rate(way["requests_per_second"], ranges),
             ratio(way.get("ratio_to_course"), ranges), ratio(way.get("ratio_to_tuned"), ranges),
             median(way.get("ratio_to_nft")), median(way["p50_us"], 1e3, 1),
             median(way["p99_us"], 1e3, 1), failed(way))
            for way in ways if way["family"] == family]


def rate(spread, ranges):
    if not spread:
        return "-"
    low, middle, high = (spread[key] / 1e3 for key in ("min", "median", "max"))
    return f"{middle:.1f}k" + (f" ({low:.1f}..{high:.1f})" if ranges and low < high else "")


def ratio(spread, ranges):
    if not spread:
        return "-"
    low, middle, high = (spread[key] for key in ("min", "median", "max"))
    return f"{middle:.2f}" + (f" ({low:.1f}..{high:.1f})" if ranges and low < high else "")


def median(spread, unit=1, digits=2):
    return f"{spread['median'] / unit:.{digits}f}" if spread else "-"


def failed(way):
    runs = f" + {way['failed_runs']} runs" if way["failed_runs"] else ""
    return f"{way['failed']}{runs}"


def notes(result, ranges):
    machine = result["machine"]
    medians = "Medians (lowest..highest)" if ranges else "Medians (table.txt has the ranges, too)"
    lines = [f"{medians} of {rounds(result)}; ratios are of runs of one round.",
             "p50 and p99 are wrk's, of its whole run. wrk has 2 threads and 100 connections.",
             "plain: a line in a log and a new connection for each request, as in courses;",
             "tuned: connections are kept, no log. nft and weir look at packets, not at HTTP.",
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
