"""A chart of what a compiler made of programs: kernels by phase, or of the whole program where it has no phases."""

from typing import Any

from benchmarks.bars import row_panel
from jaxpsn.core import text
from jaxpsn.report.charts.spec import Axis, Box, Chart, Layer

_COLORS = ("blue", "orange", "green", "sky", "vermilion", "ink")
_SMALL = "smaller phases"


def kernels(told: dict[str, Any]) -> Chart:
    """Kernels of every program, its phases stacked; ``told``: the JSON file."""
    rows = [row for row in told["rows"] if "kernels" in row]
    programs = {(row["program"], row["arm"]): row for row in rows if row["phase"] == "all"}
    parts: dict[str, dict[tuple[str, str], float]] = {}
    for row in rows:
        if row["phase"] != "all":
            parts.setdefault(row["phase"], {})[row["program"], row["arm"]] = row["kernels"]
    most = max(programs.values(), key=lambda row: row["kernels"])
    largest = f"{most['program']}, {most['arm'][:40]}".capitalize()
    finding = f"{largest}: {most['kernels']:,.0f} kernels on {told['machine']['device']}"
    order = sorted(parts, key=lambda name: -max(parts[name].values()))
    layers: list[Layer] = []
    for place, (key, row) in enumerate(programs.items()):
        counts = {name: parts[name].get(key, 0.0) for name in order}
        left = 0.0
        for name, count in (counts | {"": row["kernels"] - sum(counts.values())}).items():
            own = name in order[: len(_COLORS)]
            color, label = (_COLORS[order.index(name)], name) if own else ("soft", name and _SMALL)
            box, tip = (left, left + count, place - 0.31, place + 0.31), f"{name or 'rest'}: {text.count(count)}"
            layers.append(Box(box, color, 0.85, label, tip))
            left += count
    x, names = Axis("kernels, along the dearest branches", unit="count", low=0), [f"{p}, {a}"[:44] for p, a in programs]
    panel = row_panel(layers, x, names, 1.0 + 0.34 * len(programs))
    return Chart("compile", finding, told["assumptions"], [panel])
