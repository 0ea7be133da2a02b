"""Plots of benchmark tables, as PNG: ratios against the number of members with their bands, or bars with whiskers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes

from benchmarks import compile_plot, peers_plot, response_plot, spectra_plot
from jaxpsn.core import text
from jaxpsn.report import figures
from jaxpsn.report.figures import BLUE, GREEN, INK, ORANGE, SKY, SOFT, VERMILION, Plot

Row = dict[str, Any]

_DASHED, _DOTTED = (0, (4, 2)), (0, (1, 1.2))
_LOOKS: dict[str, tuple[str, Any]] = {
    "flipout": (BLUE, "-"),
    "flipout-sign": (BLUE, _DASHED),
    "flipout-normal": (BLUE, _DOTTED),
    "lowrank": (ORANGE, "-"),
    "lowrank-no-head": (ORANGE, _DASHED),
    "lowrank-4": (ORANGE, _DOTTED),
    "factorised": (GREEN, "-"),
    "input-gain": (SKY, "-"),
    "dense-groups": (VERMILION, _DOTTED),
    "dense": (VERMILION, "-"),
    "dense-bf16": (VERMILION, _DASHED),
    "flipout-pink": (SKY, _DASHED),
    "lowrank-pink": (GREEN, _DASHED),
    "lowrank-drift": (GREEN, _DOTTED),
    "vmap": (INK, "-"),
}
"""Families share a colour. What is not listed is grey."""

_STAGES = ("import", "build", "trace", "compile", "first state", "first step")
_WARMTH = (SOFT, SKY, ORANGE, VERMILION, GREEN, BLUE)


class _Panel(NamedTuple):
    title: str
    keep: Callable[[Row], bool]
    suffix: str  # of the names in this panel


def write(path: Path) -> Path:
    """Plot the table in ``path``, a JSON file of ``experiments/benchmark.py``; returns the PNG beside it."""
    told = json.loads(path.read_text(encoding="utf-8"))
    makers = {
        "acting": acting,
        "startup": startup,
        "memory": memory,
        "physics": physics,
        "response": response_plot.response,
    }
    whole = {"peers": peers_plot.peers, "spectra": spectra_plot.spectra, "compile": compile_plot.kernels}
    name = told["benchmark"]
    plot = whole[name](told) if name in whole else makers.get(name, bars)(told["rows"])
    ((written, _),) = figures.write([plot._replace(name=path.stem)], path.parent).values()
    return written


def acting(rows: list[Row]) -> Plot:
    """Ratio to the clean batch against the number of members: noise held, redrawn, and in the step of a task."""
    panels = (
        _Panel("noise held", lambda row: row["part"] == "policy step" and " + " not in row["name"], ""),
        _Panel("redraw of 1 % at every step", lambda row: row["name"].endswith("redraw 1%"), " + redraw 1%"),
        _Panel("redraw of all at every step", lambda row: row["name"].endswith("redraw"), " + redraw"),
        _Panel("environment step, redraw at episode ends", lambda row: row["part"] == "environment step", ""),
    )
    timed = [row for row in rows if row.get("ratio") is not None]
    shown = [panel for panel in panels if any(panel.keep(row) and row["name"] != "clean" for row in timed)]
    finding = _acting_finding(timed)
    with figures.style():
        figure, axes = figures.figure(finding, [2.6] * -(-len(shown) // 2), columns=min(2, len(shown)), share=False)
        for panel, each in zip(shown, axes, strict=False):
            _ratio_panel(each, panel, timed)
        for spare in axes[len(shown) :]:
            spare.set_visible(False)
        figure.legend(*_legend(axes), loc="outside lower center", ncols=6, fontsize=8)
    caption = "Seconds over the clean batch's of the same round: median, 10 % and 90 % of rounds. Log axes."
    return Plot("acting", figure, finding, caption)


def _ratio_panel(axes: Axes, panel: _Panel, rows: list[Row]) -> None:
    kept = [row for row in rows if panel.keep(row)]
    for name in dict.fromkeys(row["name"] for row in kept):
        of = sorted((row for row in kept if row["name"] == name), key=lambda row: row["members"])
        form = name.removesuffix(panel.suffix)
        if form == "clean":
            continue
        color, line = _LOOKS.get(form, (SOFT, "-"))
        members = [row["members"] for row in of]
        low, high = ([row[f"ratio_{end}"] for row in of] for end in ("low", "high"))
        axes.fill_between(members, low, high, color=color, alpha=0.1, lw=0)
        axes.plot(members, [row["ratio"] for row in of], color=color, ls=line, lw=1.5, marker="o", ms=2.6, label=form)
    axes.axhline(1.0, color=INK, lw=0.8)
    axes.set_xscale("log", base=2)
    figures.log(axes)
    counts = sorted({row["members"] for row in kept})
    axes.set_xticks(counts, [text.tick(count) for count in counts])
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.set_title(panel.title)
    axes.set_xlabel("members")
    axes.set_ylabel("times the clean batch")


def _legend(axes: list[Axes]) -> tuple[list[Any], list[str]]:
    """Every label once, in the order of the looks."""
    found: dict[str, Any] = {}
    for each in axes:
        for handle, label in zip(*each.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    labels = sorted(found, key=lambda label: list(_LOOKS).index(label) if label in _LOOKS else len(_LOOKS))
    return [found[label] for label in labels], labels


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


def startup(rows: list[Row]) -> Plot:
    """Seconds of every stage of a start, one bar for each arm, cold and warm; whiskers on the whole."""
    totals = [row for row in rows if row["stage"] == "total"]
    arms = list(dict.fromkeys(row["arm"] for row in totals))
    found = {(row["arm"], row["cache"]): row for row in totals}
    cold, warm = (text.number(found[arms[0], cache]["seconds"]) for cache in ("cold", "warm"))
    finding = f"First training step after {cold} s, with compiled programs at hand {warm} s ({arms[0]})"
    if len(arms) > 1:
        last = found[arms[-1], "cold"]
        finding += f"; {arms[-1]} takes {text.number(last['base_ratio'])} times the cold start"
    with figures.style():
        figure, (axes,) = figures.figure(finding, [0.9 + 0.42 * len(totals)])
        for place, total in enumerate(totals):
            left = 0.0
            of = {row["stage"]: row for row in rows if (row["arm"], row["cache"]) == (total["arm"], total["cache"])}
            for stage, color in zip(_STAGES, _WARMTH, strict=True):
                seconds = of[stage]["seconds"]
                axes.barh(place, seconds, left=left, color=color, height=0.66, label=stage if not place else None)
                left += seconds
            told = (
                f"{text.number(total['seconds'])} s, {text.number(total['base_ratio'])} times {arms[0]} "
                f"({text.number(total['base_ratio_low'])} .. {text.number(total['base_ratio_high'])})"
            )
            axes.text(left, place, f"  {told}", va="center", fontsize=8, color=SOFT)
        axes.set_yticks(range(len(totals)), [f"{row['arm']}, {row['cache']}" for row in totals])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.45 * max(row["seconds"] for row in totals))
        axes.set_xlabel("seconds from the start of the process (medians by stage)")
        axes.grid(axis="y", visible=False)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=6, borderaxespad=0.2, fontsize=8)
    return Plot("startup", figure, finding, "Medians over rounds of fresh processes; cold: an empty compilation cache.")


def memory(rows: list[Row]) -> Plot:
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
    with figures.style():
        heights = [0.6 + 0.2 * len(part) for part in (held, steps) if part]
        figure, panels = figures.figure(finding, heights, share=False)
        panels = iter(panels)
        if held:
            of = list(held.values())
            _bars(next(panels), of, "member_bytes", "bytes of state per member (log axis)", text.tick, log=True)
        if steps:
            _bars(next(panels), steps, "ratio", f"bytes of a training step, times those of {steps[0]['name']}", _ratio)
    return Plot("memory", figure, finding, "From the arrays, and from XLA's own account of the compiled steps.")


def bars(rows: list[Row]) -> Plot:
    """Ratio to the baseline, a bar for each row, whiskers from 10 % to 90 % of rounds."""
    most = max(rows, key=lambda row: row["ratio"])
    finding = f"At most {text.number(most['ratio'])} times the time of {rows[0]['name']} ({most['name']})"
    return _timed("bars", rows, finding, rows[0]["name"])


def physics(rows: list[Row]) -> Plot:
    """The same of physics in lanes, each against Brax's own layout of the same task and number of environments."""
    ours = [row for row in rows if row["name"].endswith("lanes")]
    low, high = (text.number(end(row["ratio"] for row in ours)) for end in (min, max))
    return _timed("physics", ours, f"In lanes physics takes {low} to {high} times as long", "Brax's own layout")


def _timed(name: str, rows: list[Row], finding: str, baseline: str) -> Plot:
    with figures.style():
        figure, (axes,) = figures.figure(finding, [0.7 + 0.3 * len(rows)])
        _bars(axes, rows, "ratio", f"seconds, times those of {baseline}", _ratio)
    return Plot(name, figure, finding, "Ratio within a round: median, 10 % and 90 % of rounds.")


def _ratio(value: float) -> str:
    return text.share(value, 2)


def _bars(
    axes: Axes, rows: list[Row], field: str, label: str, show: Callable[[Any], str], *, log: bool = False
) -> None:
    values = np.array([float(row[field]) for row in rows])
    baseline = rows[0]["name"] if field == "ratio" and values[0] == 1.0 else None
    colors = [_LOOKS.get(row["name"], (SOFT if row["name"] == baseline else BLUE, "-"))[0] for row in rows]
    axes.barh(range(len(rows)), values, color=colors, height=0.62)
    ends = values
    if f"{field}_low" in rows[0]:
        low, ends = (np.array([row[f"{field}_{end}"] for row in rows]) for end in ("low", "high"))
        axes.errorbar(
            values, range(len(rows)), xerr=(np.maximum(values - low, 0), np.maximum(ends - values, 0)),
            fmt="none", ecolor=INK, elinewidth=1.1, capsize=2.5,
        )  # fmt: skip
    for place, (value, end) in enumerate(zip(values, np.maximum(values, ends), strict=True)):
        axes.annotate(
            show(value), (end, place), (4, 0), textcoords="offset points", va="center", fontsize=8, color=SOFT
        )
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.grid(axis="y", visible=False)
    if log:
        axes.set_xscale("log")
        axes.set_xlim(right=4 * values.max())
    else:
        axes.set_xlim(0, 1.12 * float(np.max(np.maximum(values, ends))))
        axes.axvline(1.0, color=INK, lw=0.8, ls=_DOTTED)
