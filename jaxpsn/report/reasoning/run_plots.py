"""Charts of a reasoning run: learning, noise, what corrects for it, answers, groups, time.

Only those that have data; columns are found by :data:`jaxpsn.report.reasoning.folder.COLUMNS`.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from jaxpsn.core import text
from jaxpsn.report import curves
from jaxpsn.report.charts.spec import Area, Axis, Chart, Layer, Panel, Rule
from jaxpsn.report.curves import Part
from jaxpsn.report.reasoning import evaluation_plot, folder
from jaxpsn.report.reasoning.folder import Judged
from jaxpsn.report.reasoning.update_plots import members, sequences, update
from jaxpsn.report.runs import Run, Series
from jaxpsn.report.series import last, positive, smooth

_STEPS = "training steps"
_CUT = "cut off at the limit"
_SMOOTHED = "Thin: each step. Thick: running mean over a twentieth of the run."
_PHASES = (("sample", "blue"), ("update", "orange"), ("probe", "purple"), ("verify", "green"))


def charts(run: Run, judged: Judged) -> Iterator[Chart | None]:
    """Every chart that a reasoning run has data for."""
    yield evaluation_plot.pass_at_k(judged)
    for make in (learning, noise, correction, sequences, members, update, answers, groups, time):
        yield make(run)


def learning(run: Run) -> Chart | None:
    """Reward of the training answers, and pass@1 and pass@K of the clean policy on held-out problems, over steps."""
    passed = folder.pass_at(run)
    wanted = (("clean reward", "green", "clean answers"), ("noisy reward", "purple", "noisy answers"),
              ("reward", "orange", "all answers"))  # fmt: skip
    rewards = folder.named(run, *wanted)
    if len(rewards) == 2:  # all answers are clean, or all are noisy: one curve would hide the other
        rewards = rewards[1:]
    if not passed and not rewards:
        return None
    x, panels = curves.steps([*passed.values(), *(one for one, *_ in rewards)], _STEPS), []
    if passed:
        colored = list(zip(passed.items(), ("blue", "sky", "green"), strict=False))[::-1]
        layers = [layer for (k, one), color in colored for layer in curves.curve(one, color, f"pass@{k}", marker=True)]
        panels.append(Panel(layers, x, Axis("pass@k"), "clean policy on problems it is not trained on", height=2.7))
    if rewards:
        layers = curves.smoothed(rewards[:-1]) + curves.jittery(*rewards[-1])
        if rewards[-1][2] != "all answers":
            layers = curves.smoothed(rewards)
        panels.append(Panel(layers, x, Axis("mean reward"), "answers it is trained on", height=2.7))
    finding = _learning_finding(passed, rewards)
    return Chart("learning", finding, f"Reward is that of the sampled answers, noise included. {_SMOOTHED}", panels)


def noise(run: Run) -> Chart | None:
    """Sigma, the KL it causes, and for Variant II the indicator with its parts, over steps."""
    sigma = positive(folder.series(run, "sigma"))
    kl = folder.named(run, ("kl", "purple", "k1 estimate"), ("kl k3", "sky", "k3 estimate"))
    parts = folder.named(run, ("similarity", "sky", "similarity"), ("certainty", "orange", "certainty"))
    indicator, target = folder.series(run, "indicator"), folder.series(run, "target")
    if sigma is None and not kl:
        return None
    x, panels = curves.steps([sigma, indicator, *(one for one, *_ in kl)], _STEPS), []
    if sigma is not None:
        layers = curves.curve(sigma, "green", "sigma")
        panels.append(Panel(layers, x, Axis("sigma", "log"), "scale of the weight noise", height=2.1))
    if kl:
        panels.append(_kl(kl, target if indicator is None else None, x))
    if indicator is not None:
        found = [*parts, (indicator, "purple", "indicator")]
        layers = [*(layer for part in found for layer in curves.jittery(*part)), *curves.target(target)]
        title = "indicator of the probes: above its target sigma rises"
        panels.append(Panel(layers, x, Axis("indicator"), title, height=2.1))
    finding = _noise_finding(sigma, kl, indicator, target)
    return Chart("noise", finding, f"KL is how far the noise moves the policy, in nats a token. {_SMOOTHED}", panels)


def _kl(kl: Sequence[Part], target: Series | None, x: Axis) -> Panel:
    """KL on a log axis; a linear one where an estimate is not positive, as k1 may be."""
    above = all((one.values[np.isfinite(one.values)] > 0).all() for one, *_ in kl)
    layers = [*(layer for part in kl for layer in curves.jittery(*part)), *curves.target(target)]
    zero: list[Layer] = [] if above else [Rule(0, color="ink", dash="solid")]
    y = Axis("nats a token", "log" if above else "linear")
    return Panel([*zero, *layers], x, y, "KL(noisy || clean) of a token", height=2.1)


def correction(run: Run) -> Chart | None:
    """Importance ratios of clean to noisy policy before truncation, the truncated share, effective sample size."""
    low, mean, high = (positive(folder.series(run, f"ratio {name}")) for name in ("min", "mean", "max"))
    shares = folder.named(
        run, ("truncated", "vermilion", "truncated tokens"), ("effective", "blue", "effective sample size")
    )
    ratios = [found for found in (low, mean, high) if found is not None]
    if not ratios and not shares:
        return None
    x = curves.steps([*ratios, *(one for one, *_ in shares)], _STEPS)
    title = "importance ratio of a token: clean / noisy"
    panels = [Panel(_ratios(low, mean, high), x, Axis("ratio", "log"), title, height=2.3)] if ratios else []
    for one, color, label in shares:
        counted = np.nanmax(one.values) > 1.001  # runs of old have shares that rounding made larger than 1
        unit = Axis("tokens" if counted else "share", unit="number" if counted else "percent", zero=label[0] == "t")
        panels.append(Panel(curves.jittery(one, color, label), x, unit, label, height=2.3))
    caption = f"Ratios before any truncation, on a log axis; equal policies have 1. {_SMOOTHED}"
    return Chart("correction", _correction_finding(low, high, shares), caption, panels)


def _ratios(low: Series | None, mean: Series | None, high: Series | None) -> list[Layer]:
    """The range of the ratios as a shade, with their mean."""
    layers: list[Layer] = [Rule(1, color="ink", dash="solid")]
    if low is not None and high is not None and np.array_equal(low.steps, high.steps):
        ends = (np.nanmin(low.values, axis=0), np.nanmax(high.values, axis=0))
        layers.append(Area(low.steps, *ends, "sky", "smallest to largest"))
    else:
        for one, label in ((low, "smallest"), (high, "largest")):
            layers += [] if one is None else curves.curve(one, "sky", label, thin=True)
    return layers + ([] if mean is None else curves.curve(mean, "blue", "mean"))


def answers(run: Run) -> Chart | None:
    """Length of the answers, the share that hit the limit, and entropy, one panel each."""
    found = folder.named(run, ("length", "blue", "length, tokens"), ("clipped length", "vermilion", _CUT),
                         ("entropy", "green", "entropy, nats a token"))  # fmt: skip
    sampler = folder.series(run, "sampler entropy")
    if not found:
        return None
    panels = []
    for one, color, label in found:
        layers = curves.jittery(one, color, label)
        if label.startswith("entropy") and sampler is not None:
            layers += curves.smoothed([(sampler, "purple", "of the sampler, estimated")], thin=True)
        y = Axis(unit="percent" if label == _CUT else "number")
        panels.append(Panel(layers, curves.steps([one], _STEPS), y, label, height=2.4))
    finding = _sentence([f"{label.split(',')[0]} {_from_to(one, _shown(label))}" for one, _, label in found])
    caption = f"Where entropy falls to nothing, so does variety. {_SMOOTHED}"
    return Chart("answers", finding, caption, panels, columns=len(found))


def groups(run: Run) -> Chart | None:
    """Groups whose answers all score the same and so teach nothing, stacked; and those that noise rescued or lost."""
    found = folder.named(run, ("all wrong", "vermilion", "all wrong"), ("all correct", "green", "all correct"))
    changed = folder.named(run, ("lost", "ink", "lost"), ("rescued", "blue", "rescued"))
    everything = [one for one, *_ in [*found, *changed]]
    if not everything:
        return None
    shares = all(np.nanmax(one.values) <= 1 for one in everything)
    show = _percent if shares else text.number
    ends = [f"{label} {_from_to(one, show)}" for one, _, label in found or changed]
    finding = f"Groups {'that teach nothing' if found else 'changed by noise'}: {', '.join(ends)}"
    y = Axis("share of groups", unit="percent", low=0, high=1) if shares else Axis("groups", low=0)
    panel = Panel([*curves.stack(found), *curves.smoothed(changed)], curves.steps(everything, _STEPS), y, height=2.6)
    caption = "Running means. Groups above the shades have unlike rewards, so they teach."
    if changed:
        caption += (
            " Rescued: the clean answers alone would teach nothing, as many noisy ones do. Lost: the reverse."
            " Noise that changes nothing rescues as many as it loses."
        )
    return Chart("groups", finding, caption, [panel])


def time(run: Run) -> Chart | None:
    """Seconds of a step by phase, stacked, and tokens sampled in a second."""
    found = folder.named(run, *((f"seconds {name}", color, name) for name, color in _PHASES))
    rate = folder.series(run, "tokens per second")
    if not found and rate is None:
        return None
    x, panels = curves.steps([*(one for one, *_ in found), rate], _STEPS), []
    if found:
        panels.append(Panel(curves.stack(found), x, Axis("seconds a step", low=0), height=2.4))
    if rate is not None:
        layers = curves.jittery(rate, "blue", "tokens per second")
        panels.append(Panel(layers, x, Axis("tokens / s", unit="count", zero=True), height=1.7))
    caption = "Stacked: the height is a whole step. Probes are those of Variant II."
    return Chart("time", _time_finding(found, rate), caption, panels)


def _from_to(series: Series, show: Callable[[float], str] = text.number) -> str:
    """Where the running mean starts and where it ends."""
    found = smooth(series)
    start, end = last(found, lambda band: band[:1]), last(found)
    same = np.isclose(start, end, rtol=0.01, atol=1e-9)
    return f"at {show(end)}" if same else f"{show(start)} → {show(end)}"


def _shown(label: str) -> Callable[[float], str]:
    return _percent if label == _CUT else text.number


def _sentence(parts: Sequence[str]) -> str:
    found = "; ".join(parts)
    return found[:1].upper() + found[1:]


def _learning_finding(passed: dict[int, Series], rewards: Sequence[Part]) -> str:
    last = max(series.steps[-1] for series in [*passed.values(), *(series for series, *_ in rewards)])
    shown = [f"pass@{k} {_moved(series, text.share)}" for k, series in passed.items()]
    shown += [f"reward {_from_to(series)}" for series, _, label in rewards if label == "all answers"]
    return _sentence([*shown[:2], *shown[2:][-1:]]) + f" in {text.count(last)} steps"


def _moved(series: Series, show: Callable[[float], str]) -> str:
    """The first and the last value."""
    start, end = (show(last(series, part)) for part in (lambda band: band[:1], lambda band: band[-1:]))
    return f"{start} → {end}" if start != end else end


def _noise_finding(sigma: Series | None, kl: Sequence[Part], indicator: Series | None, target: Series | None) -> str:
    """Where sigma ends, and how far what it is steered by is from its target over the last quarter of the run."""
    parts = [] if sigma is None else [f"sigma {_moved(sigma, text.number)}"]
    steered = ("indicator", indicator) if indicator is not None else ("KL", kl[0][0] if kl else None)
    name, series = steered
    if series is not None:
        late = last(series, lambda band: band[-max(1, len(band) // 4) :])
        wanted = None if target is None else last(target)
        parts.append(
            f"{name} {text.number(late)} in the last quarter"
            + ("" if wanted is None else f", target {text.number(wanted)}")
        )
    return _sentence(parts)


def _correction_finding(low: Series | None, high: Series | None, shares: Sequence[Part]) -> str:
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


def _time_finding(parts: Sequence[Part], rate: Series | None) -> str:
    if not parts:
        return f"{text.count(last(rate, np.nanmedian))} tokens a second"
    medians = {label: float(np.nanmedian(series.values)) for series, _, label in parts}
    total = sum(medians.values())
    shares = ", ".join(f"{name} {_percent(value / total)}" for name, value in medians.items()) if total else ""
    return f"A step takes {text.duration(total)}: {shares}" if total else "Steps take no time"
