"""The plot of a comparison with other libraries: speed, and returns over the time of training."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jaxpsn.core import text
from jaxpsn.report import figures
from jaxpsn.report.figures import BLUE, GREEN, ORANGE, PURPLE, SOFT, Plot

Row = dict[str, Any]

_COLORS = {"brax-sac": ORANGE, "rejax-td3": GREEN, "evosax-es": PURPLE}
_GRID = 61  # points of a mean over seeds


def peers(told: dict[str, Any]) -> Plot:
    """What ``peers.json`` says: a row of panels for learning and one for evolution, whichever were compared."""
    rows = [row for row in told["rows"] if row.get("seconds") is not None]
    parts = {part: [row for row in rows if row["part"] == part] for part in dict.fromkeys(row["part"] for row in rows)}
    finding = "; ".join(_finding(part, of) for part, of in parts.items())
    with figures.style():
        figure, axes = figures.figure(finding, [2.5] * len(parts), columns=2, share=False)
        for place, (part, of) in enumerate(parts.items()):
            speed, learning = axes[2 * place : 2 * place + 2]
            _speeds(speed, of)
            speed.set_title(part)
            _curves(learning, [row["name"] for row in of], told["curves"])
    caption = "Medians over rounds of one chunk each, in turns. Compiling and evaluations do not count as training."
    return Plot("peers", figure, finding, caption)


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


def _speeds(axes: Axes, rows: list[Row]) -> None:
    values = [row["steps_per_second"] for row in rows]
    axes.barh(range(len(rows)), values, color=[_color(row["name"]) for row in rows], height=0.62)
    for place, (row, value) in enumerate(zip(rows, values, strict=True)):
        axes.annotate(
            f"{text.count(value)}, ours {text.number(row['ratio'])} x" if place else text.count(value),
            (value, place), (4, 0), textcoords="offset points", va="center", fontsize=8, color=SOFT,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.6 * max(values))
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel("environment steps a second")
    axes.grid(axis="y", visible=False)


def _curves(axes: Axes, names: list[str], curves: list[Row]) -> None:
    for name in names:
        of = [each for each in curves if each["name"] == name]
        for each in of:
            axes.plot(each["seconds"], each["score"], color=_color(name), lw=0.7, alpha=0.35 if len(of) > 1 else 1.0)
        end = min(each["seconds"][-1] for each in of)
        grid = np.linspace(0, end, _GRID)
        mean = np.mean([np.interp(grid, each["seconds"], each["score"]) for each in of], axis=0)
        axes.plot(grid, mean, color=_color(name), label=name)
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("return")
    axes.legend(loc="upper left", fontsize=8)


def _color(name: str) -> str:
    return _COLORS.get(name, BLUE)
