"""A plot of what a compiler made of programs: kernels by phase, or of the whole program where it has no phases."""

from typing import Any

from jaxpsn.report import figures
from jaxpsn.report.figures import BLUE, GREEN, INK, ORANGE, SKY, SOFT, VERMILION, Plot

_COLORS = (BLUE, ORANGE, GREEN, SKY, VERMILION, INK)


def kernels(told: dict[str, Any]) -> Plot:
    """Kernels of every program, its phases stacked; ``told``: the JSON file."""
    rows = [row for row in told["rows"] if "kernels" in row]
    programs = {(row["program"], row["arm"]): row for row in rows if row["phase"] == "all"}
    parts: dict[str, dict[tuple[str, str], float]] = {}
    for row in rows:
        if row["phase"] != "all":
            parts.setdefault(row["phase"], {})[row["program"], row["arm"]] = row["kernels"]
    most = max(programs.values(), key=lambda row: row["kernels"])
    finding = (
        f"A {most['program']} of {most['arm'][:40]} is {most['kernels']:,.0f} kernels on {told['machine']['device']}"
    )
    with figures.style():
        figure, (axes,) = figures.figure(finding, [1.0 + 0.34 * len(programs)])
        ends = dict.fromkeys(programs, 0.0)
        order = sorted(parts, key=lambda name: -max(parts[name].values()))
        for place, name in enumerate(order):
            widths = [parts[name].get(key, 0.0) for key in programs]
            color = _COLORS[place] if place < len(_COLORS) else SOFT
            axes.barh(range(len(programs)), widths, left=list(ends.values()), color=color, height=0.62, label=name)
            ends = {key: end + width for (key, end), width in zip(ends.items(), widths, strict=True)}
        rest = [row["kernels"] - ends[key] for key, row in programs.items()]
        axes.barh(range(len(programs)), rest, left=list(ends.values()), color=SOFT, height=0.62)
        axes.set_yticks(range(len(programs)), [f"{program}, {arm}"[:44] for program, arm in programs])
        axes.invert_yaxis()
        axes.set_xlabel("kernels, along the dearest branches")
        axes.grid(axis="y", visible=False)
        if parts:
            figure.legend(loc="outside lower center", ncols=6, fontsize=8)
    return Plot("compile", figure, finding, told["assumptions"])
