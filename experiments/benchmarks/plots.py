"""Charts of benchmark tables, as SVG: ratios against the number of members with their bands, or bars with whiskers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import compile_plot, deep_plot, fits_plot, ladder_plot, peers_plot, response_plot, spectra_plot
from benchmarks.bars import bar, row_panel
from jaxpsn.core import text
from jaxpsn.report.charts import picture
from jaxpsn.report.charts.spec import Axis, Box, Chart, Layer, Line, Panel, Rule, Text

Row = dict[str, Any]

_LOOKS: dict[str, tuple[str, str]] = {
    "flipout": ("blue", "solid"), "flipout-sign": ("blue", "dashed"), "flipout-normal": ("blue", "dotted"),
    "lowrank": ("orange", "solid"), "lowrank-no-head": ("orange", "dashed"), "lowrank-4": ("orange", "dotted"),
    "factorised": ("green", "solid"), "input-gain": ("sky", "solid"), "dense-groups": ("vermilion", "dotted"),
    "dense": ("vermilion", "solid"), "dense-bf16": ("vermilion", "dashed"), "flipout-pink": ("sky", "dashed"),
    "lowrank-pink": ("green", "dashed"), "lowrank-drift": ("green", "dotted"), "vmap": ("ink", "solid"),
}  # fmt: skip
"""Families share a colour. What is not listed is grey."""

_STAGES = ("import", "build", "trace", "compile", "first state", "first step")
_WARMTH = ("soft", "sky", "orange", "vermilion", "green", "blue")


class _Part(NamedTuple):
    title: str
    keep: Callable[[Row], bool]
    suffix: str  # of the names in this panel


def write(path: Path) -> Path:
    """Draw the table in ``path``, a JSON file of ``experiments/benchmark.py``; returns the SVG beside it."""
    told = json.loads(path.read_text(encoding="utf-8"))
    makers = {
        "acting": acting,
        "startup": startup,
        "memory": memory,
        "physics": physics,
        "price": price,
        "response": response_plot.response,
    }
    whole = {
        "peers": peers_plot.peers,
        "spectra": spectra_plot.spectra,
        "compile": compile_plot.kernels,
        "fits": fits_plot.memory,
        "chain": deep_plot.solving,
        "deepsea": deep_plot.solving,
        "untrained": deep_plot.untrained,
        "ladder": ladder_plot.ladder,
    }
    name = told["benchmark"]
    chart = whole[name](told) if name in whole else makers.get(name, bars)(told["rows"])
    picture.write([chart], path.parent, path.stem)
    return path.with_suffix(".svg")


def acting(rows: list[Row]) -> Chart:
    """Ratio to the clean batch against the number of members: noise held, redrawn, and in the step of a task."""
    parts = (
        _Part("noise held", lambda row: row["part"] == "policy step" and " + " not in row["name"], ""),
        _Part("redraw of 1 % at every step", lambda row: row["name"].endswith("redraw 1%"), " + redraw 1%"),
        _Part("redraw of all at every step", lambda row: row["name"].endswith("redraw"), " + redraw"),
        _Part("environment step, redraw at episode ends", lambda row: row["part"] == "environment step", ""),
    )
    timed = [row for row in rows if row.get("ratio") is not None]
    shown = [part for part in parts if any(part.keep(row) and row["name"] != "clean" for row in timed)]
    panels = [_ratios(part, [row for row in timed if part.keep(row)]) for part in shown]
    caption = "Seconds over the clean batch's of the same round: median, 10 % and 90 % of rounds. Log axes."
    return Chart("acting", _acting_finding(timed), caption, panels, columns=min(2, len(shown)))


def _ratios(part: _Part, rows: list[Row]) -> Panel:
    layers: list[Layer] = [Rule(1.0, color="ink", dash="solid")]
    for name in dict.fromkeys(row["name"] for row in rows):
        form = name.removesuffix(part.suffix)
        if form != "clean":
            of = sorted((row for row in rows if row["name"] == name), key=lambda row: row["members"])
            value, low, high = ([row[f"ratio{end}"] for row in of] for end in ("", "_low", "_high"))
            color, dash = _LOOKS.get(form, ("soft", "solid"))
            layers.append(Line([row["members"] for row in of], value, color, form, low, high, dash, 1.5, shade=0.1,
                               marker=True))  # fmt: skip
    counts = sorted({row["members"] for row in rows})
    x = Axis("members", "log", ticks=tuple((count, text.tick(count)) for count in counts))
    return Panel(layers, x, Axis("times the clean batch", "log"), part.title, height=2.6)


def _acting_finding(rows: list[Row]) -> str:
    """What the cheapest form of noise costs with the most members, by the policy step and in a task."""
    most = max(row["members"] for row in rows)
    parts = []
    for part in ("policy step", "environment step"):
        of = [row for row in rows if row["members"] == most and row["part"] == part]
        of = [row for row in of if row["name"] not in ("clean", "vmap") and " + " not in row["name"]]
        if of:
            best = min(of, key=lambda row: row["ratio"])
            parts.append(f"{part} {text.number(best['ratio'])} times the clean one ({best['name']})")
    return f"{most:,} distinct policies: " + "; ".join(parts) if parts else f"{most:,} policies: only the clean batch"


def startup(rows: list[Row]) -> Chart:
    """Seconds of every stage of a start, one bar for each arm, cold and warm; the spread of the whole beside it."""
    totals = [row for row in rows if row["stage"] == "total"]
    arms = list(dict.fromkeys(row["arm"] for row in totals))
    found = {(row["arm"], row["cache"]): row for row in totals}
    cold, warm = (text.number(found[arms[0], cache]["seconds"]) for cache in ("cold", "warm"))
    finding = f"First training step after {cold} s, with compiled programs at hand {warm} s ({arms[0]})"
    if len(arms) > 1:
        last = found[arms[-1], "cold"]
        finding += f"; {arms[-1]} takes {text.number(last['base_ratio'])} times the cold start"
    layers: list[Layer] = []
    for place, total in enumerate(totals):
        left = 0.0
        of = {row["stage"]: row for row in rows if (row["arm"], row["cache"]) == (total["arm"], total["cache"])}
        for stage, color in zip(_STAGES, _WARMTH, strict=True):
            right, tip = left + of[stage]["seconds"], f"{stage}: {text.number(of[stage]['seconds'])} s"
            layers.append(Box((left, right, place - 0.33, place + 0.33), color, 0.85, stage, tip))
            left = right
        low, high = (text.number(total[f"base_ratio_{end}"]) for end in ("low", "high"))
        told = (
            f" {text.number(total['seconds'])} s, {text.number(total['base_ratio'])} times {arms[0]} ({low} .. {high})"
        )
        layers.append(Text(left + 0.3, place, told, "soft", "start"))
    x = Axis("seconds from the start of the process (medians by stage)", low=0,
             high=1.6 * max(row["seconds"] for row in totals))  # fmt: skip
    panel = row_panel(layers, x, [f"{row['arm']}, {row['cache']}" for row in totals], 0.9 + 0.42 * len(totals))
    return Chart(
        "startup", finding, "Medians over rounds of fresh processes; cold: an empty compilation cache.", [panel]
    )


def memory(rows: list[Row]) -> Chart:
    """Bytes of a member's state, and what the compiled steps need at once in terms of the clean ones."""
    held = {row["name"]: row for row in rows if row.get("member_bytes") is not None}
    steps = [row for row in rows if row.get("planned_bytes") is not None and row["part"] == "training step"]
    least = min(held.values(), key=lambda row: row["member_bytes"], default=None)
    finding = (
        f"{text.count(least['member_bytes'])} bytes a member with {least['name']}, "
        f"{text.number(100 * least['weights'])} % of a copy of the weights"
        if least
        else "No perturbation was counted"
    )
    panels = []
    if held:
        label = "bytes of state per member (log axis)"
        panels.append(_bars(list(held.values()), "member_bytes", label, text.tick, log=True))
    if steps:
        panels.append(_bars(steps, "ratio", f"bytes of a training step, times those of {steps[0]['name']}", _ratio))
    return Chart("memory", finding, "From the arrays, and from XLA's own account of the compiled steps.", panels)


def bars(rows: list[Row]) -> Chart:
    """Ratio to the baseline, a bar for each row, whiskers from 10 % to 90 % of rounds."""
    first, *others = rows
    least, most = (end(others or rows, key=lambda row: row["ratio"]) for end in (min, max))
    low, high = (f"{text.number(row['ratio'])} ({row['name']})" for row in (least, most))
    times = high if least is most else f"{low} to {high}"
    return _timed("bars", rows, f"{times} times the time of {first['name']}", first["name"])


def physics(rows: list[Row]) -> Chart:
    """The same of physics in lanes, each against Brax's own layout of the same task and number of environments."""
    ours = [row for row in rows if row["name"].endswith("lanes")]
    low, high = (text.number(end(row["ratio"] for row in ours)) for end in (min, max))
    return _timed("physics", ours, f"In lanes physics takes {low} to {high} times as long", "Brax's own layout")


def price(rows: list[Row]) -> Chart:
    """Products and bytes of a training step with noise in weights, in terms of those of the same step without."""
    most = {one: max(row[f"{one}_ratio"] for row in rows) for one in ("flops", "bytes")}
    finding = "Noise in weights adds at most " + " and ".join(
        f"{text.number(100 * (value - 1))} % to the {name} of a training step"
        for name, value in zip(("products", "bytes"), most.values(), strict=True)
    )
    labels = {"flops": "matrix products", "bytes": "bytes moved", "seconds": "processor seconds"}
    panels = [
        _bars(rows, f"{one}_ratio", f"{label} of a training step, times those without", _ratio)
        for one, label in labels.items()
        if f"{one}_ratio" in rows[0]
    ]
    caption = "Counted in compiled programs, physics left out."
    if "seconds_ratio" in rows[0]:
        caption += " Seconds: median, 10 % and 90 % of rounds."
    return Chart("price", finding, caption, panels, columns=len(panels))


def _timed(name: str, rows: list[Row], finding: str, baseline: str) -> Chart:
    panel = _bars(rows, "ratio", f"seconds, times those of {baseline}", _ratio)
    return Chart(name, finding, "Ratio within a round: median, 10 % and 90 % of rounds.", [panel])


def _ratio(value: float) -> str:
    return text.share(value, 2)


def _bars(rows: list[Row], field: str, label: str, show: Callable[[Any], str], *, log: bool = False) -> Panel:
    ends = [float(row.get(f"{field}_high") or row[field]) for row in rows]
    layers: list[Layer] = [] if log else [Rule(1.0, True, color="ink", dash="dotted")]
    for place, (row, end) in enumerate(zip(rows, ends, strict=True)):
        baseline = field == "ratio" and not place and row[field] == 1.0
        color, _ = _LOOKS.get(row["name"], ("soft" if baseline else "blue", ""))
        after = end * 1.06 if log else end + 0.012 * max(ends)
        layers += bar(place, float(row[field]), color, Text(after, place, show(row[field]), "soft", "start"))
        if f"{field}_low" in row:
            layers.append(Line([row[f"{field}_low"], end], [place] * 2, "ink", width=1.2))
    x = Axis(label, "log", high=4 * max(ends)) if log else Axis(label, low=0, high=1.12 * max(ends))
    return row_panel(layers, x, [row["name"] for row in rows], 0.7 + 0.3 * len(rows))
