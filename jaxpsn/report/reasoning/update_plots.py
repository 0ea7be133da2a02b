"""Plots of what an update did, how far whole answers were from the clean policy, and how unlike the members were."""

import numpy as np
from matplotlib.axes import Axes

from jaxpsn.core import text
from jaxpsn.report import figures
from jaxpsn.report.figures import BLUE, GREEN, INK, ORANGE, PURPLE, SKY, VERMILION, Plot
from jaxpsn.report.reasoning import folder
from jaxpsn.report.runs import Run, Series

_STEPS = "training steps"


def update(run: Run) -> Plot | None:
    """Norm of the gradient, shares of clipped tokens, and the KL to the base where the loss has it, over steps."""
    norm, kl = folder.series(run, "grad norm"), folder.series(run, "reference kl")
    clips = folder.named(
        run, ("clip low", BLUE, "low"), ("clip high", ORANGE, "high"), ("clip dual", VERMILION, "dual")
    )
    if norm is None:
        return None
    with figures.style():
        finding = f"Gradient norm {text.number(figures.last(norm))} at the end"
        if kl is not None:
            finding += f"; KL to the base {text.number(figures.last(kl))} nats a token"
        figure, panels = figures.figure(finding, [1.9] * (1 + bool(clips) + (kl is not None)))
        rest = iter(panels)
        _panel(next(rest), norm, INK, "norm of the gradient, before it is clipped", "norm")
        if clips:
            axes = next(rest)
            for series, color, label in clips:
                figures.jittery(axes, series, color, label)
            axes.set_title("tokens whose ratio of current to clean old policy is clipped")
            axes.set_ylabel("share")
            axes.set_ylim(bottom=0)
            figures.percent(axes)
            axes.legend(loc="best", ncols=3)
        if kl is not None:
            _panel(next(rest), kl, PURPLE, "KL(policy || base), estimated on the answers", "nats a token")
        figures.steps(panels[-1], [norm, kl, *(series for series, *_ in clips)], _STEPS)
    caption = "" if kl is not None else " The KL to the base is not measured with algorithm.kl_coefficient = 0."
    return Plot("update", figure, finding, f"With one update a step nothing can be clipped.{caption}")


def sequences(run: Run) -> Plot | None:
    """Importance ratios of whole answers (products of their tokens'), over steps."""
    found = [figures.positive(folder.series(run, f"sequence ratio {name}")) for name in ("min", "mean", "max")]
    if None in found:
        return None
    low, mean, high = found
    with figures.style():
        ends = text.number(np.nanmin(low.values)), text.number(np.nanmax(high.values))
        finding = f"Ratios of whole answers between {ends[0]} and {ends[1]}"
        figure, (axes,) = figures.figure(finding, [2.3])
        axes.axhline(1, color=INK, lw=0.8)
        for series, color, label in ((low, SKY, "smallest"), (high, SKY, "largest"), (mean, BLUE, "mean")):
            figures.curve(axes, series, color, label, thin=color == SKY)
        axes.set_title("importance ratio of an answer: clean / noisy")
        axes.set_ylabel("ratio")
        figures.log(axes)
        axes.legend(loc="best", ncols=3)
        figures.steps(axes, [low, mean, high], _STEPS)
    caption = "Products of the ratios of an answer's tokens, before any truncation; on a log axis, clamped at e^±20."
    return Plot("sequences", figure, finding, caption)


def members(run: Run) -> Plot | None:
    """Standard deviation over perturbations of their mean rewards, over steps."""
    spread = folder.series(run, "spread of members")
    if spread is None:
        return None
    with figures.style():
        finding = (
            f"Rewards of the perturbations differ by {text.number(figures.last(figures.smooth(spread)))} at the end"
        )
        figure, (axes,) = figures.figure(finding, [1.9])
        _panel(axes, spread, GREEN, "spread of rewards over perturbations", "standard deviation")
        figures.steps(axes, [spread], _STEPS)
    return Plot("members", figure, finding, "Deviation of the mean rewards of a step's perturbations; chance included.")


def _panel(axes: Axes, series: Series, color: str, title: str, label: str) -> None:
    figures.jittery(axes, series, color, title)
    axes.set_title(title)
    axes.set_ylabel(label)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    figures.plain(axes)
