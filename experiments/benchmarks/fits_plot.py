"""A chart of how much of an accelerator's memory every preset takes."""

from typing import Any

from benchmarks.bars import bar, row_panel
from jaxpsn.core import text
from jaxpsn.report.charts.spec import Axis, Chart, Layer, Text

_COLORS = {"control": "blue", "rlvr": "orange"}


def memory(told: dict[str, Any]) -> Chart:
    """A panel for every target: the dearest program of every preset, in percent of the memory of one device."""
    rows = [row for row in told["rows"] if "needed_bytes" in row]
    largest: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        key = row["target"], row["home"], row["preset"]
        largest[key] = max(largest.get(key, row), row, key=lambda one: one["needed_bytes"])
    panels = []
    for target in dict.fromkeys(row["target"] for row in rows):
        of = [row for key, row in largest.items() if key[0] == target]
        most = max(100 * row["share"] for row in of)
        layers: list[Layer] = []
        for place, row in enumerate(of):
            value = 100 * row["share"]
            words = Text(value + 0.01 * most, place, _words(row), "soft", "start")
            layers += bar(place, value, _COLORS[row["home"]], words)
        x = Axis(f"% of one device's memory, {target}", low=0, high=1.6 * most)
        panels.append(row_panel(layers, x, [row["preset"] for row in of], 0.7 + 0.3 * len(of), target))
    worst = max(largest.values(), key=lambda row: row["share"])
    finding = f"{worst['preset']} takes most: {text.number(100 * worst['share'])} % of {worst['target']}"
    caption = "Counted in compiled programs, nothing was run. Behind the bars: bytes, and environments that fit."
    return Chart("fits", finding, caption, panels, columns=len(panels))


def _words(row: dict[str, Any]) -> str:
    words = f"{text.number(row['needed_bytes'] / 1e9)} GB"
    return words + (f", {row['largest_num_envs']:,} fit" if row.get("largest_num_envs") is not None else "")
