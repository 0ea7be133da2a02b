"""Charts of the studies of deep exploration."""

from typing import Any

from benchmarks.bars import bar, row_panel
from jaxpsn.core import text
from jaxpsn.report.charts.spec import Axis, Chart, Line, Panel, Text

_COLORS = {"parameter": "blue", "bootstrap-prior": "vermilion", "bootstrap": "orange", "epsilon": "ink",
           "noisynet": "green"}  # fmt: skip


def solving(told: dict[str, Any]) -> Chart:
    """Share of seeds that solve each size, a panel for each mapping, a line for each way to explore."""
    rows, panels = [row for row in told["rows"] if row["share_low"] is not None], []  # a seed alone has no interval
    sizes = sorted({row["size"] for row in rows})
    for mapping in dict.fromkeys(row["mapping"] for row in rows):
        lines = []
        for arm in dict.fromkeys(row["arm"] for row in rows):
            of = sorted((row for row in rows if (row["mapping"], row["arm"]) == (mapping, arm)),
                        key=lambda row: row["size"])  # fmt: skip
            if of:
                shares = [row["solved"] / row["seeds"] for row in of]
                low, high = ([row[f"share_{end}"] for row in of] for end in ("low", "high"))
                color = _COLORS.get(arm, "soft")
                lines.append(Line([row["size"] for row in of], shares, color, arm, low, high, shade=0.1, marker=True))
        x = Axis("length N", ticks=tuple((size, str(size)) for size in sizes))
        panels.append(Panel(lines, x, Axis("share of seeds that solve it", low=0, high=1), f"{mapping} mapping"))
    solved, runs = (sum(row[name] for row in rows) for name in ("solved", "seeds"))
    finding = f"{solved} of {runs} seeds solve their task within {told['settings']['episodes']:,} episodes"
    caption = "Bands: Wilson's 95 % intervals. Cells that were not run, or with one seed alone, are left out."
    return Chart(told["benchmark"], finding, caption, panels, columns=2)


def untrained(told: dict[str, Any]) -> Chart:
    """Share of episodes that reach the far end before anything is learnt, a bar for each case, log axis."""
    rows = told["rows"]
    least = min(row["share_high"] for row in rows)
    layers: list[Any] = []
    for place, row in enumerate(rows):
        color = "soft" if row["noise"] == "uniform" else "blue" if row["mapping"] == "fixed" else "vermilion"
        value = max(row["share"], least / 10)
        layers += bar(place, value, color, Text(row["share_high"] * 1.2, place, text.number(row["share"]), "soft",
                                                "start"))  # fmt: skip
        layers.append(Line([max(row["share_low"], least / 10), row["share_high"]], [place] * 2, "ink", width=1.2))
    x = Axis("share of episodes that reach the far end (log axis)", "log", low=least / 10, high=10)
    panel = row_panel(layers, x, [row["name"] for row in rows], 0.7 + 0.3 * len(rows))
    return Chart("untrained", _contrast(rows), "Whiskers: Wilson's 95 % intervals.", [panel])


def _contrast(rows: list[dict[str, Any]]) -> str:
    parts = []
    for task in dict.fromkeys(row["task"] for row in rows):
        of = [row for row in rows if row["task"] == task and row["noise"] != "uniform"]
        fixed, other = (sum(row["reached"] for row in of if row["mapping"] == name) for name in ("fixed", "random"))
        parts.append(f"{task} {text.number(fixed / other)} times" if other else f"{task} {fixed} episodes against none")
    return "Held noise reaches the far end more often with the fixed mapping: " + ", ".join(parts)
