# SPDX-License-Identifier: GPL-2.0
"""A bar chart of all ways as SVG: requests per second as multiples of a plain nginx, the
rounds' median and range. It brings its own background, light or dark as the reader has it; what
knows no media queries shows the light one."""
from xml.sax.saxutils import escape

from .report import rounds

WIDTH, LEFT, RIGHT, TOP = 860, 206, 70, 98
BAR, GROUP, GAP = 14, 38, 12  # height of a bar, of a way's bars, and between kinds of ways
LIGHT = {"page": "#ffffff", "edge": "#d1d9e0", "ink": "#1f2328", "faint": "#59636e",
         "grid": "#e7ebef", "range": "#3b434d",
         "weir-4": "#0d8a80", "weir-6": "#7cccc3", "other-4": "#76838f", "other-6": "#bdc6cf"}
DARK = {"page": "#0d1117", "edge": "#3d444d", "ink": "#f0f6fc", "faint": "#9198a1",
        "grid": "#222932", "range": "#e6edf3",
        "weir-4": "#2bb3a5", "weir-6": "#1c716b", "other-4": "#7f8b98", "other-6": "#48525d"}
STYLE = """
text { font: 13px -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif; }
.title { font-size: 18px; font-weight: 600; } .small { font-size: 11px; }
.value { font-size: 11.5px; font-weight: 600; paint-order: stroke; stroke-width: 4px;
         stroke-linejoin: round; }
.end { text-anchor: end; } .middle { text-anchor: middle; }
.one { stroke-dasharray: 3 3; } .range { stroke-width: 1.2; fill: none; }
"""


def svg(result):
    ways = [way for way in result["ways"] if way.get("ratio_to_course")]
    keys = list(dict.fromkeys(way["key"] for way in ways))
    families = sorted({way["family"] for way in ways})
    most = max(way["ratio_to_course"]["max"] for way in ways)
    scale = (WIDTH - LEFT - RIGHT) / most
    body, y, before = [], TOP, None
    for key in keys:
        own = [way for way in ways if way["key"] == key]
        if before not in (None, kind(own[0])):
            y += GAP
        before = kind(own[0])
        body += group(own, families, y, scale)
        y += GROUP
    return "\n".join([*head(y + 82), *legend(families), *grid(most, scale, y), *body,
                      *foot(result, y), "</svg>", ""])


def kind(way):
    """What stands together, with a gap before and behind."""
    return next((word for word in ("sock", "weir", "backend") if word in way["title"]), "others")


def colors(of):
    filled = ("ink", "faint", "weir-4", "weir-6", "other-4", "other-6")
    drawn = {"value": "page", "grid": "grid", "one": "faint", "range": "range"}
    return " ".join([f".page {{ fill: {of['page']}; stroke: {of['edge']}; }}",
                     *(f".{name} {{ fill: {of[name]}; }}" for name in filled),
                     *(f".{name} {{ stroke: {of[color]}; }}" for name, color in drawn.items())])


def head(height):
    title = "Requests per second, as multiples of nginx as a plain proxy"
    return [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">',
            f"<style>{STYLE}{colors(LIGHT)}",
            f"@media (prefers-color-scheme: dark) {{ {colors(DARK)} }}", "</style>",
            f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8" '
            'class="page"/>',
            text(24, 38, "title ink", title)]


def legend(families):
    parts, x = [], 24
    for color, name in (("weir", "with weir"), ("other", "without")):
        for family in families:
            parts.append(f'<rect x="{x}" y="55" width="12" height="12" rx="2" '
                         f'class="{color}-{family}"/>')
            parts.append(text(x + 18, 65.5, "faint", f"IPv{family} {name}"))
            x += 130
    return parts


def grid(most, scale, bottom):
    parts = []
    for value in range(0, int(most) + 1, 1 + int(most) // 12):
        x = LEFT + value * scale
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{bottom}" '
                     f'class="{"one" if value == 1 else "grid"}"/>')
        parts.append(text(round(x, 1), bottom + 16, "small middle faint", f"{value}×"))
    return parts


def group(own, families, top, scale):
    color = "weir" if "weir" in own[0]["title"] else "other"
    height = BAR * len(families)
    parts = [text(LEFT - 12, top + height / 2 + 4.5, "end ink", own[0]["title"])]
    for way in own:
        ratio = way["ratio_to_course"]
        y = top + BAR * families.index(way["family"])
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{ratio["median"] * scale:.1f}" '
                     f'height="{BAR - 1}" rx="1.5" class="{color}-{way["family"]}"/>')
        low, high, middle = (LEFT + ratio["min"] * scale, LEFT + ratio["max"] * scale,
                             y + (BAR - 1) / 2)
        if high > low:
            parts.append(f'<path d="M{low:.1f} {middle - 3}v6m0-3H{high:.1f}m0-3v6" '
                         'class="range"/>')
        parts.append(text(round(high + 8, 1), middle + 4, "value ink", f"{ratio['median']:.2f}×"))
    return parts


def foot(result, y):
    machine = result["machine"]
    return [text(24, y + 46, "small faint",
                 f"Bars: median of {rounds(result)}, lines: lowest to highest. wrk with 100 "
                 "connections; client, balancer and two nginx backends"),
            text(24, y + 62, "small faint",
                 f"in containers of one machine: Linux {machine['kernel']}, {machine['cpu']}, "
                 f"{machine['cpus']} CPUs. IPv6 is compared with IPv6.")]


def text(x, y, classes, words):
    return f'<text x="{x}" y="{y}" class="{classes}">{escape(words)}</text>'
