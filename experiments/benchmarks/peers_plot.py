"""The chart of a comparison with other libraries: speed, and returns over the time of training."""

from typing import Any

import numpy as np

from benchmarks.bars import bar, row_panel
from jaxpsn.core import text
from jaxpsn.report.charts.spec import Axis, Chart, Layer, Line, Panel, Text

Row = dict[str, Any]

_COLORS = {"brax-sac": "orange", "rejax-td3": "green", "evosax-es": "purple"}
_GRID = 61  # points of a mean over seeds


def peers(told: dict[str, Any]) -> Chart:
    """What ``peers.json`` says: a row of panels for learning and one for evolution, whichever were compared."""
    rows = [row for row in told["rows"] if row.get("seconds") is not None]
    parts = {part: [row for row in rows if row["part"] == part] for part in dict.fromkeys(row["part"] for row in rows)}
    panels = []
    for part, of in parts.items():
        panels += [_speeds(part, of), _curves([row["name"] for row in of], told["curves"])]
    finding = "; ".join(_finding(part, of) for part, of in parts.items())
    caption = "Medians over rounds of one chunk each, in turns. Compiling and evaluations do not count as training."
    return Chart("peers", finding, caption, panels, columns=2)


def _finding(part: str, rows: list[Row]) -> str:
    """How much faster than the fastest peer, and the returns of the two at equal time."""
    ours, *others = rows
    if not others:
        return f"{part}: {ours['name']} alone"
    best = min(others, key=lambda row: row["seconds"])
    scores = " against ".join(text.number(row["return"]) for row in (ours, best))
    return (
        f"{text.number(best['ratio'])} times the environment steps a second of {best['name']}, "
        f"return {scores} after {text.number(ours['return_seconds'])} s"
    )


def _speeds(part: str, rows: list[Row]) -> Panel:
    layers: list[Layer] = []
    most = max(row["steps_per_second"] for row in rows)
    for place, row in enumerate(rows):
        value = row["steps_per_second"]
        told = text.count(value) + f", ours {text.number(row['ratio'])} x" * bool(place)
        layers += bar(place, value, _color(row["name"]), Text(value + 0.02 * most, place, told, "soft", "start"))
    x = Axis("environment steps a second", unit="count", low=0, high=1.9 * most)
    return row_panel(layers, x, [row["name"] for row in rows], 2.5, part)


def _curves(names: list[str], curves: list[Row]) -> Panel:
    layers: list[Layer] = []
    for name in names:
        of = [each for each in curves if each["name"] == name]
        alpha = 0.35 if len(of) > 1 else 1.0
        layers += [Line(each["seconds"], each["score"], _color(name), width=0.7, alpha=alpha) for each in of]
        grid = np.linspace(0, min(each["seconds"][-1] for each in of), _GRID)
        mean = np.mean([np.interp(grid, each["seconds"], each["score"]) for each in of], axis=0)
        layers.append(Line(grid, mean, _color(name), name))
    return Panel(layers, Axis("seconds of training", low=0), Axis("return"), height=2.5)


def _color(name: str) -> str:
    return _COLORS.get(name, "blue")
