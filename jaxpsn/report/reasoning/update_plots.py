"""Charts of what an update did, how far whole answers were from the clean policy, and how unlike the members were."""

import numpy as np

from jaxpsn.core import text
from jaxpsn.report import curves
from jaxpsn.report.charts.spec import Axis, Chart, Panel, Rule
from jaxpsn.report.reasoning import folder
from jaxpsn.report.runs import Run, Series
from jaxpsn.report.series import last, positive, smooth

_STEPS = "training steps"


def update(run: Run) -> Chart | None:
    """Norm of the gradient, shares of clipped tokens, and the KL to the base where the loss has it, over steps."""
    norm, kl = folder.series(run, "grad norm"), folder.series(run, "reference kl")
    clips = folder.named(
        run, ("clip low", "blue", "low"), ("clip high", "orange", "high"), ("clip dual", "vermilion", "dual")
    )
    if norm is None:
        return None
    x = curves.steps([norm, kl, *(series for series, *_ in clips)], _STEPS)
    panels = [_panel(norm, "ink", "norm of the gradient, before it is clipped", "norm", x)]
    if clips:
        layers = [layer for part in clips for layer in curves.jittery(*part)]
        title = "tokens whose ratio of current to clean old policy is clipped"
        panels.append(Panel(layers, x, Axis("share", unit="percent", zero=True), title, height=1.9))
    finding = f"Gradient norm {text.number(last(norm))} at the end"
    caption = " The KL to the base is not measured with algorithm.kl_coefficient = 0."
    if kl is not None:
        panels.append(_panel(kl, "purple", "KL(policy || base), estimated on the answers", "nats a token", x))
        finding, caption = f"{finding}; KL to the base {text.number(last(kl))} nats a token", ""
    return Chart("update", finding, f"With one update a step nothing can be clipped.{caption}", panels)


def sequences(run: Run) -> Chart | None:
    """Importance ratios of whole answers (products of their tokens'), over steps."""
    low, mean, high = (positive(folder.series(run, f"sequence ratio {name}")) for name in ("min", "mean", "max"))
    if low is None or mean is None or high is None:
        return None
    layers = [Rule(1, color="ink", dash="solid"), *curves.curve(low, "sky", "smallest", thin=True),
              *curves.curve(high, "teal", "largest", thin=True), *curves.curve(mean, "blue", "mean")]  # fmt: skip
    title, y = "importance ratio of an answer: clean / noisy", Axis("ratio", "log")
    panel = Panel(layers, curves.steps([low, mean, high], _STEPS), y, title, height=2.3)
    ends = text.number(np.nanmin(low.values)), text.number(np.nanmax(high.values))
    caption = "Products of the ratios of an answer's tokens, before any truncation; on a log axis, clamped at e^±20."
    return Chart("sequences", f"Ratios of whole answers between {ends[0]} and {ends[1]}", caption, [panel])


def members(run: Run) -> Chart | None:
    """Standard deviation over perturbations of their mean rewards, over steps."""
    spread = folder.series(run, "spread of members")
    if spread is None:
        return None
    finding = f"Rewards of the perturbations differ by {text.number(last(smooth(spread)))} at the end"
    x = curves.steps([spread], _STEPS)
    panel = _panel(spread, "green", "spread of rewards over perturbations", "standard deviation", x)
    return Chart(
        "members", finding, "Deviation of the mean rewards of a step's perturbations; chance included.", [panel]
    )


def _panel(series: Series, color: str, title: str, label: str, x: Axis) -> Panel:
    return Panel(curves.jittery(series, color, title), x, Axis(label, zero=True), title, height=1.9)
