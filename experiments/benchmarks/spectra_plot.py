"""A chart of the colours of weight noise."""

from typing import Any

from jaxpsn.report.charts.spec import Axis, Chart, Line, Panel

_COLORS = ("sky", "blue", "vermilion", "green", "orange", "ink", "soft")


def spectra(told: dict[str, Any]) -> Chart:
    """Power of what noise adds to actions over frequency, in units of its variance; a panel for each kind of states."""
    parts = list(next(iter(told["spectra"].values())))
    slopes = {row["name"]: row["slope"] for row in told["rows"]}
    pink = f"; that of pink by {-slopes['pink']:.2f}" if "pink" in slopes else ""
    finding = f"Spectra fall by exponents from {-max(slopes.values()):.2f} to {-min(slopes.values()):.2f}{pink}"
    x, panels = Axis("frequency (cycles per decision)", "log"), []
    for part in parts:
        lines = []
        for index, (name, of) in enumerate(told["spectra"].items()):
            color, dash = _COLORS[index % len(_COLORS)], "solid" if index < len(_COLORS) else "dashed"
            label = f"{name} ({slopes[name]:.2f})"
            lines.append(Line(of[part]["frequency"], of[part]["density"], color, label, dash=dash, width=1.3))
        panels.append(Panel(lines, x, Axis(scale="log"), part, height=2.8))
    caption = "Noisy minus clean actions of the same states. In brackets the slope on one state."
    return Chart("spectra", finding, caption, panels, columns=len(parts))
