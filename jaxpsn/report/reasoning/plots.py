"""Plots of a reasoning run, as PNG: pass@k, learning, noise, what corrects for it, update, answers, groups, time.

Only those that have data; columns are found by :data:`jaxpsn.report.reasoning.folder.COLUMNS`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes

from jaxpsn.core import text
from jaxpsn.report import figures
from jaxpsn.report.figures import BLUE, GREEN, INK, ORANGE, PURPLE, SKY, VERMILION, Plot
from jaxpsn.report.reasoning import evaluation_plot
from jaxpsn.report.reasoning import folder as reasoning
from jaxpsn.report.reasoning.folder import Judged
from jaxpsn.report.reasoning.update_plots import members, sequences, update
from jaxpsn.report.runs import Run, Series
from jaxpsn.stats import statistics

_STEPS = "training steps"
_CUT = "cut off at the limit"
_SMOOTHED = "Thin: each step. Thick: running mean over a twentieth of the run."
_PHASES = (("sample", BLUE), ("update", ORANGE), ("probe", PURPLE), ("verify", GREEN))


def write(run: Run, judged: Judged, folder: str | Path) -> figures.Written:
    """Write every plot that a reasoning run has data for to ``folder`` as PNG; returns name -> (path, plot)."""
    makers = (learning, noise, correction, sequences, members, update, answers, groups, time)
    over_steps = (make(run) for make in makers)
    return figures.write((evaluation_plot.pass_at_k(judged), *over_steps), folder)


def learning(run: Run) -> Plot | None:
    """Reward of the training answers, and pass@1 and pass@K of the clean policy on held-out problems, over steps."""
    passed = reasoning.pass_at(run)
    wanted = (("clean reward", GREEN, "clean answers"), ("noisy reward", PURPLE, "noisy answers"),
              ("reward", ORANGE, "all answers"))  # fmt: skip
    rewards = reasoning.named(run, *wanted)
    if len(rewards) == 2:  # all answers are clean, or all are noisy: one curve would hide the other
        rewards = rewards[1:]
    if not passed and not rewards:
        return None
    with figures.style():
        finding = _learning_finding(passed, rewards)
        figure, panels = figures.figure(finding, [2.7] * (bool(passed) + bool(rewards)))
        if passed:
            for (k, series), color in zip(
                reversed(passed.items()), [BLUE, SKY, GREEN][: len(passed)][::-1], strict=False
            ):
                figures.curve(panels[0], series, color, f"pass@{k}", markers=True)
            panels[0].set_title("clean policy on problems it is not trained on")
            panels[0].set_ylabel("pass@k")
        if rewards:
            for series, color, label in rewards:
                if label == "all answers":
                    figures.jittery(panels[-1], series, color, label)
                else:
                    figures.curve(panels[-1], figures.smooth(series), color, label)
            panels[-1].set_title("answers it is trained on")
            panels[-1].set_ylabel("mean reward")
        for axes in panels:
            figures.plain(axes)
            axes.legend(loc="best", ncols=3)
        figures.steps(panels[-1], [*passed.values(), *(series for series, *_ in rewards)], _STEPS)
    return Plot("learning", figure, finding, f"Reward is that of the sampled answers, noise included. {_SMOOTHED}")


def noise(run: Run) -> Plot | None:
    """Sigma, the KL it causes, and for Variant II the indicator with its parts, over steps."""
    sigma = figures.positive(reasoning.series(run, "sigma"))
    kl = reasoning.named(run, ("kl", PURPLE, "k1"), ("kl k3", SKY, "k3"))
    parts = reasoning.named(run, ("similarity", SKY, "similarity"), ("certainty", ORANGE, "certainty"))
    indicator = reasoning.series(run, "indicator")
    if sigma is None and not kl:
        return None
    target = reasoning.series(run, "target")
    with figures.style():
        finding = _noise_finding(sigma, kl, indicator, target)
        figure, panels = figures.figure(finding, [2.1] * ((sigma is not None) + bool(kl) + (indicator is not None)))
        rest = iter(panels)
        if sigma is not None:
            axes = next(rest)
            figures.curve(axes, sigma, GREEN, "sigma")
            axes.set_ylabel("sigma")
            axes.set_title("scale of the weight noise")
            figures.log(axes)
        if kl:
            _kl(next(rest), kl, target if indicator is None else None)
        if indicator is not None:
            axes = next(rest)
            for series, color, label in [*parts, (indicator, PURPLE, "indicator")]:
                figures.jittery(axes, series, color, label)
            _target(axes, target)
            axes.set_title("indicator of the probes: above its target sigma rises")
            axes.set_ylabel("indicator")
            figures.plain(axes)
            axes.legend(loc="best", ncols=4)
        figures.steps(panels[-1], [sigma, indicator, *(series for series, *_ in kl)], _STEPS)
    return Plot("noise", figure, finding, f"KL is how far the noise moves the policy, in nats a token. {_SMOOTHED}")


def _kl(axes: Axes, kl: Sequence[tuple[Series, str, str]], target: Series | None) -> None:
    """KL on a log axis; a linear one where an estimate is not positive, as k1 may be."""
    for series, color, label in kl:
        figures.jittery(axes, series, color, f"{label} estimate")
    _target(axes, target)
    axes.set_title("KL(noisy || clean) of a token")
    axes.set_ylabel("nats a token")
    if all((series.values[np.isfinite(series.values)] > 0).all() for series, *_ in kl):
        figures.log(axes)
    else:
        axes.axhline(0, color=INK, lw=0.8)
        figures.plain(axes)
    axes.legend(loc="best", ncols=3)


def _target(axes: Axes, target: Series | None) -> None:
    if target is not None:
        wanted = np.nanmean(target.values, axis=0)
        axes.plot(target.steps, wanted, color=INK, lw=1.3, ls=(0, (4, 3)), label="target")


def correction(run: Run) -> Plot | None:
    """Importance ratios of clean to noisy policy before truncation, the truncated share, effective sample size."""
    low, mean, high = (figures.positive(reasoning.series(run, f"ratio {name}")) for name in ("min", "mean", "max"))
    shares = reasoning.named(
        run, ("truncated", VERMILION, "truncated tokens"), ("effective", BLUE, "effective sample size")
    )
    ratios = [found for found in (low, mean, high) if found is not None]
    if not ratios and not shares:
        return None
    with figures.style():
        finding = _correction_finding(low, high, shares)
        figure, panels = figures.figure(finding, [2.3] * (bool(ratios) + len(shares)))
        rest = iter(panels)
        if ratios:
            _ratios(next(rest), low, mean, high)
        for (series, color, label), axes in zip(shares, rest, strict=True):
            figures.jittery(axes, series, color, label)
            counted = np.nanmax(series.values) > 1.001  # runs of old have shares that rounding made larger than 1
            axes.set_title(label)
            axes.set_ylabel("tokens" if counted else "share")
            axes.set_ylim(bottom=0 if label.startswith("truncated") else None)
            (figures.plain if counted else figures.percent)(axes)
        figures.steps(panels[-1], [*ratios, *(series for series, *_ in shares)], _STEPS)
    return Plot(
        "correction",
        figure,
        finding,
        f"Ratios before any truncation, on a log axis; equal policies have 1. {_SMOOTHED}",
    )


def _ratios(axes: Axes, low: Series | None, mean: Series | None, high: Series | None) -> None:
    """The range of the ratios as a shade, with their mean."""
    axes.axhline(1, color=INK, lw=0.8)
    if low is not None and high is not None and np.array_equal(low.steps, high.steps):
        ends = (np.nanmin(low.values, axis=0), np.nanmax(high.values, axis=0))
        axes.fill_between(low.steps, *ends, color=SKY, alpha=0.25, lw=0, label="smallest to largest")
    else:
        for series, label in ((low, "smallest"), (high, "largest")):
            if series is not None:
                figures.curve(axes, series, SKY, label, thin=True)
    if mean is not None:
        figures.curve(axes, mean, BLUE, "mean")
    axes.set_title("importance ratio of a token: clean / noisy")
    axes.set_ylabel("ratio")
    figures.log(axes)
    axes.legend(loc="best", ncols=2)


def answers(run: Run) -> Plot | None:
    """Length of the answers, the share that hit the limit, and entropy, one panel each."""
    found = reasoning.named(run, ("length", BLUE, "length, tokens"), ("clipped length", VERMILION, _CUT),
                   ("entropy", GREEN, "entropy, nats a token"))  # fmt: skip
    sampler = reasoning.series(run, "sampler entropy")
    if not found:
        return None
    with figures.style():
        ends = [f"{label.split(',')[0]} {_from_to(series, _shown(label))}" for series, _, label in found]
        finding = _sentence(ends)
        figure, panels = figures.figure(finding, [2.4], columns=len(found))
        for axes, (series, color, label) in zip(panels, found, strict=True):
            figures.jittery(axes, series, color, label)
            axes.set_title(label)
            axes.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
            (figures.percent if label == _CUT else figures.plain)(axes)
            if label.startswith("entropy") and sampler is not None:
                figures.curve(axes, figures.smooth(sampler), PURPLE, "of the sampler, estimated", thin=True)
                axes.legend(loc="best")
            figures.steps(axes, [series], _STEPS)
    return Plot("answers", figure, finding, f"Where entropy falls to nothing, so does variety. {_SMOOTHED}")


def groups(run: Run) -> Plot | None:
    """Groups whose answers all score the same and so teach nothing, stacked; and those that noise rescued or lost."""
    found = reasoning.named(run, ("all wrong", VERMILION, "all wrong"), ("all correct", GREEN, "all correct"))
    changed = reasoning.named(run, ("lost", INK, "lost"), ("rescued", BLUE, "rescued"))
    everything = [series for series, *_ in [*found, *changed]]
    if not everything:
        return None
    shares = all(np.nanmax(series.values) <= 1 for series in everything)
    with figures.style():
        ends = [
            f"{label} {_from_to(series, _percent if shares else text.number)}" for series, _, label in found or changed
        ]
        finding = f"Groups {'that teach nothing' if found else 'changed by noise'}: {', '.join(ends)}"
        figure, (axes,) = figures.figure(finding, [2.6])
        _stack(axes, found)
        for series, color, label in changed:
            figures.curve(axes, figures.smooth(series), color, label)
        axes.set_ylabel("share of groups" if shares else "groups")
        axes.set_ylim(0, 1 if shares else None)
        (figures.percent if shares else figures.plain)(axes)
        figures.legend_above(axes)
        figures.steps(axes, everything, _STEPS)
    caption = "Running means. Groups above the shades have unlike rewards, so they teach."
    if changed:
        caption += (
            " Rescued: the clean answers alone would teach nothing, as many noisy ones do. Lost: the reverse."
            " Noise that changes nothing rescues as many as it loses."
        )
    return Plot("groups", figure, finding, caption)


def time(run: Run) -> Plot | None:
    """Seconds of a step by phase, stacked, and tokens sampled in a second."""
    found = reasoning.named(run, *((f"seconds {name}", color, name) for name, color in _PHASES))
    rate = reasoning.series(run, "tokens per second")
    if not found and rate is None:
        return None
    with figures.style():
        finding = _time_finding(found, rate)
        figure, panels = figures.figure(finding, [2.4] * bool(found) + [1.7] * (rate is not None))
        if found:
            _stack(panels[0], found)
            panels[0].set_ylabel("seconds a step")
            panels[0].set_ylim(bottom=0)
            figures.plain(panels[0])
            figures.legend_above(panels[0])
        if rate is not None:
            figures.jittery(panels[-1], rate, BLUE, "tokens per second")
            panels[-1].set_ylabel("tokens / s")
            panels[-1].set_ylim(bottom=0)
            panels[-1].yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: text.count(y)))
        figures.steps(panels[-1], [*(series for series, *_ in found), rate], _STEPS)
    return Plot("time", figure, finding, "Stacked: the height is a whole step. Probes are those of Variant II.")


def _stack(axes: Axes, parts: Sequence[tuple[Series, str, str]]) -> None:
    """Running means on top of each other; what is absent at a step counts nothing there."""
    if not parts:
        return
    steps = np.unique(np.concatenate([series.steps for series, *_ in parts]))
    heights = np.zeros((len(parts), len(steps)))
    for height, (series, *_) in zip(heights, parts, strict=True):
        value = statistics.curve(figures.smooth(series).values, resamples=1).value
        height[np.searchsorted(steps, series.steps)] = np.nan_to_num(value)
    colors, labels = ([part[index] for part in parts] for index in (1, 2))
    edge = steps if len(steps) > 1 else np.array([0.0, steps[0] or 1.0])  # a single step as a block
    heights = heights if len(steps) > 1 else np.repeat(heights, 2, axis=1)
    axes.stackplot(edge, heights, colors=colors, labels=labels, alpha=0.75, lw=0)


def _from_to(series: Series, show: Callable[[float], str] = text.number) -> str:
    """Where the running mean starts and where it ends."""
    found = figures.smooth(series)
    start, end = figures.last(found, lambda band: band[:1]), figures.last(found)
    same = np.isclose(start, end, rtol=0.01, atol=1e-9)
    return f"at {show(end)}" if same else f"{show(start)} → {show(end)}"


def _shown(label: str) -> Callable[[float], str]:
    return _percent if label == _CUT else text.number


def _sentence(parts: Sequence[str]) -> str:
    found = "; ".join(parts)
    return found[:1].upper() + found[1:]


def _learning_finding(passed: dict[int, Series], rewards: Sequence[tuple[Series, str, str]]) -> str:
    last = max(series.steps[-1] for series in [*passed.values(), *(series for series, *_ in rewards)])
    shown = [f"pass@{k} {_moved(series, text.share)}" for k, series in passed.items()]
    shown += [f"reward {_from_to(series)}" for series, _, label in rewards if label == "all answers"]
    return _sentence([*shown[:2], *shown[2:][-1:]]) + f" in {text.count(last)} steps"


def _moved(series: Series, show: Callable[[float], str]) -> str:
    """The first and the last value."""
    start, end = (show(figures.last(series, part)) for part in (lambda band: band[:1], lambda band: band[-1:]))
    return f"{start} → {end}" if start != end else end


def _noise_finding(
    sigma: Series | None, kl: Sequence[tuple[Series, str, str]], indicator: Series | None, target: Series | None
) -> str:
    """Where sigma ends, and how far what it is steered by is from its target over the last quarter of the run."""
    parts = [] if sigma is None else [f"sigma {_moved(sigma, text.number)}"]
    steered = ("indicator", indicator) if indicator is not None else ("KL", kl[0][0] if kl else None)
    name, series = steered
    if series is not None:
        late = figures.last(series, lambda band: band[-max(1, len(band) // 4) :])
        wanted = None if target is None else figures.last(target)
        parts.append(
            f"{name} {text.number(late)} in the last quarter"
            + ("" if wanted is None else f", target {text.number(wanted)}")
        )
    return _sentence(parts)


def _correction_finding(low: Series | None, high: Series | None, shares: Sequence[tuple[Series, str, str]]) -> str:
    parts = []
    if low is not None and high is not None:
        ends = np.nanmin(low.values), np.nanmax(high.values)
        parts.append(f"ratios between {text.number(ends[0])} and {text.number(ends[1])}")
    for series, _, label in shares:
        value = float(np.nanmean(series.values))
        parts.append(f"{label} {text.number(value) if value > 1 else _percent(value)} on average")
    return _sentence(parts or ["importance ratios"])


def _percent(value: float) -> str:
    return f"{text.tick(float(f'{100 * value:.2g}' if value < 0.9 else f'{100 * value:.1f}'))} %"


def _time_finding(parts: Sequence[tuple[Series, str, str]], rate: Series | None) -> str:
    if not parts:
        return f"{text.count(figures.last(rate, np.nanmedian))} tokens a second"
    medians = {label: float(np.nanmedian(series.values)) for series, _, label in parts}
    total = sum(medians.values())
    shares = ", ".join(f"{name} {_percent(value / total)}" for name, value in medians.items()) if total else ""
    return f"A step takes {text.duration(total)}: {shares}" if total else "Steps take no time"
