"""Charts of a control run: what was learnt, what the noise did, how the losses went. Only those that have data."""

from collections.abc import Iterator

import numpy as np

from jaxpsn.core import text
from jaxpsn.report import curves, series
from jaxpsn.report.charts.spec import Axis, Chart, Layer, Panel
from jaxpsn.report.control import exploring
from jaxpsn.report.runs import Run, Series
from jaxpsn.stats import statistics

_STEPS = "environment steps"


def charts(run: Run) -> Iterator[Chart | None]:
    """Every chart that ``run`` has data for."""
    return (make(run) for make in (learning, noise, losses))


def learning(run: Run) -> Chart | None:
    """Return per episode over environment steps: the clean policy's, and that of the behaviour that explores."""
    clean, behaviour = run.series("eval_return"), run.series("return")
    first, seeds = clean if clean is not None else behaviour, len(run.seeds)
    if first is None:
        return None
    layers: list[Layer] = []
    if behaviour is not None:
        layers += curves.curve(behaviour, "orange", "behaviour (explores)")
    if clean is not None:
        layers += curves.curve(clean, "blue", "clean policy (evaluation)", marker=True)
    spread = (
        f"Thin lines: the {seeds} seeds. Thick: their interquartile mean, with its 95 % bootstrap interval."
        if seeds > 1
        else "One seed: no interval can be given."
    )
    title = "one seed" if seeds == 1 else f"{seeds} seeds: interquartile mean, 95 % interval"
    panel = Panel(layers, curves.steps([clean, behaviour], _STEPS), Axis("return per episode"), title, height=3.9)
    return Chart("learning", _learning_finding(first, clean is not None), f"Return of an episode. {spread}", [panel])


def noise(run: Run) -> Chart | None:
    """Sigma and action distance against its target, on log axes, over environment steps."""
    sigmas = [(name, found) for name in _members(run, "sigma") if (found := series.positive(run.series(name)))]
    distance, target = series.positive(run.series("distance")), series.positive(run.series("target"))
    if not sigmas and distance is None:
        return None
    x, panels = curves.steps([distance, *dict(sigmas).values()], _STEPS), []
    if sigmas:
        layers: list[Layer] = []
        for name, found in sigmas:
            only = name == "sigma"
            label = "noise scale sigma" if only else name.replace("_", " ")
            layers += curves.curve(found, "green", label, thin=not only)
        panels.append(Panel(layers, x, Axis("sigma of the weight noise", "log"), height=2.3))
    if distance is not None:
        layers = curves.curve(distance, "purple", "measured distance")
        layers += curves.target(target)
        panels.append(Panel(layers, x, Axis(exploring.distance(run.config)[0], "log"), height=2.3))
    finding = _noise_finding(dict(sigmas).get("sigma"), distance, target)
    return Chart("noise", finding, "Log axes. Sigma follows the measured distance to its target.", panels)


def losses(run: Run) -> Chart | None:
    """Critic loss, actor loss and mean Q over environment steps, one panel each."""
    wanted = (
        ("critic_loss", "critic loss", "vermilion"),
        ("actor_loss", "actor loss", "blue"),
        ("q", "mean Q", "green"),
    )
    found = [(one, label, color) for name, label, color in wanted if (one := run.series(name)) is not None]
    if not found:
        return None
    panels = []
    for one, label, color in found:
        values = one.values[np.isfinite(one.values)]
        steep = label == "critic loss" and values.min() > 0 and values.max() > 20 * values.min()
        y = Axis(scale="log" if steep else "linear")
        panels.append(Panel(curves.curve(one, color, label), curves.steps([one], _STEPS), y, label, height=2.6))
    finding = "Losses: " + ", ".join(f"{label} ends at {text.number(series.last(one))}" for one, label, _ in found)
    caption = "A critic loss or a Q that grows without bound is a sign of divergence."
    return Chart("losses", finding, caption, panels, columns=len(found))


def _members(run: Run, name: str) -> list[str]:
    """Columns of ``name`` and of its parts (``sigma``, ``sigma_min``, ``sigma_3``), the parts first, to lie below."""
    return [*sorted(column for column in run.columns if column.startswith(f"{name}_")), name]


def _learning_finding(series: Series, clean: bool) -> str:
    """What the curve did, from its first to its best and last point."""
    value = statistics.curve(series.values, resamples=1).value
    who, first, last, best = "Clean policy" if clean else "Behaviour", value[0], value[-1], int(np.argmax(value))
    if len(value) == 1:
        return f"{who}: return {text.number(last)} at {text.count(series.steps[-1])} steps"
    change = f"{who}: return {text.number(first)} → {text.number(last)} in {text.count(series.steps[-1])} steps"
    if best < len(value) - 1:
        change += f" (best {text.number(value[best])} at {text.count(series.steps[best])})"
    return change


def _noise_finding(sigma: Series | None, distance: Series | None, target: Series | None) -> str:
    """Where sigma ends, and how far the distance is from its target over the last quarter of the run."""
    parts = []
    if sigma is not None:
        start, end = series.last(sigma, lambda band: band[:1]), series.last(sigma)
        parts.append(
            f"sigma stays at {text.number(end)}"
            if np.isclose(start, end, rtol=0.01)
            else f"sigma {text.number(start)} → {text.number(end)}"
        )
    if distance is not None:
        late = series.last(distance, lambda band: band[-max(1, len(band) // 4) :])
        if target is None:
            parts.append(f"distance ends at {text.number(late)}")
        else:
            off = late / series.last(target) - 1
            parts.append(f"distance {'on' if abs(off) < 0.1 else f'{off:+.0%} off'} its target in the last quarter")
    found = "; ".join(parts)
    return found[0].upper() + found[1:]
