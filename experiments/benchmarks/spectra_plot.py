"""A plot of the colours of weight noise."""

from typing import Any

import numpy as np

from jaxpsn.report import figures
from jaxpsn.report.figures import BLUE, GREEN, INK, ORANGE, SKY, SOFT, VERMILION, Plot

_COLORS = (SKY, BLUE, VERMILION, GREEN, ORANGE, INK, SOFT)


def spectra(told: dict[str, Any]) -> Plot:
    """Power of what noise adds to actions over frequency, in units of its variance; a panel for each kind of states."""
    parts = list(next(iter(told["spectra"].values())))
    slopes = {row["name"]: row["slope"] for row in told["rows"]}
    pink = f"; that of pink by {-slopes['pink']:.2f}" if "pink" in slopes else ""
    finding = f"Spectra fall by exponents from {-max(slopes.values()):.2f} to {-min(slopes.values()):.2f}{pink}"
    with figures.style():
        figure, axes = figures.figure(finding, [2.8], columns=len(parts))
        for axis, part in zip(np.atleast_1d(axes), parts, strict=True):
            for index, (name, of) in enumerate(told["spectra"].items()):
                look = {"color": _COLORS[index % len(_COLORS)], "ls": "-" if index < len(_COLORS) else "--"}
                label = f"{name} ({slopes[name]:.2f})"
                axis.plot(of[part]["frequency"], of[part]["density"], lw=1.3, label=label, **look)
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.set_title(part)
            axis.set_xlabel("frequency (cycles per decision)")
        figure.legend(
            *np.atleast_1d(axes)[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8
        )
    caption = "Noisy minus clean actions of the same states. In brackets the slope on one state."
    return Plot("spectra", figure, finding, caption)
