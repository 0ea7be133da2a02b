"""The chart of a thicket probe: shares of better perturbations over sigma, for each structure."""

from jaxpsn.report.charts.spec import Axis, Chart, Layer, Line, Panel, Rule
from jaxpsn.stats import thickets
from jaxpsn.stats.thickets import Thickets

NAME = "thickets"
_COLORS = ("blue", "vermilion", "green", "purple", "orange", "sky", "wine", "olive")
_TITLES = {"better": "raise pass@1", "new": "solve a problem that the policy never does"}


def chart(found: Thickets) -> Chart:
    """Share of perturbations that raise pass@1, and that solve what the policy never does, over sigma."""
    listed = thickets.rows(found)
    control, rest = listed[0], listed[1:]
    structures = list(dict.fromkeys(row["structure"] for row in rest))
    ticks = tuple((float(sigma), f"{sigma:g}") for sigma in sorted({row["sigma"] for row in rest}))
    x = Axis("sigma", "log", low=ticks[0][0] / 1.3, high=ticks[-1][0] * 1.3, ticks=ticks)
    panels = []
    for name, title in _TITLES.items():
        layers: list[Layer] = [Rule(control[name], label="luck", color="soft")]
        for place, structure in enumerate(structures):
            own = sorted((row for row in rest if row["structure"] == structure), key=lambda row: row["sigma"])
            y, low, high = ([row[key] for row in own] for key in (name, f"{name}_low", f"{name}_high"))
            color = _COLORS[place % len(_COLORS)]
            layers.append(Line([row["sigma"] for row in own], y, color, structure, low=low, high=high, marker=True))
        panels.append(Panel(layers, x, Axis("share of perturbations", low=0.0, high=1.0), title, height=2.4))
    best = max(rest, key=lambda row: row["better"])
    finding = f"{best['better']:.0%} of perturbations raise pass@1 at {best['structure']}, sigma {best['sigma']:g}"
    finding += f"; luck alone: {control['better']:.0%}"
    caption = f"{len(found.base)} perturbations each, {found.base.shape[1]} problems. Bands: Wilson's 95 % intervals."
    return Chart(NAME, finding, caption, panels, columns=2)
