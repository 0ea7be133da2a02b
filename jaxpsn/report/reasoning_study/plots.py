"""Plots of a reasoning study's judgement: pass@k, its difference to the reference, and the paper's pattern."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxpsn.report import figures
from jaxpsn.report.figures import GREEN, INK, LINE, SOFT, VERMILION, Plot
from jaxpsn.report.reasoning_study import curves, hypotheses, look
from jaxpsn.report.reasoning_study.hypotheses import CONTRADICTED, MARGIN, SUPPORTED, Answer, Part
from jaxpsn.report.reasoning_study.scores import ALL, REFERENCE, Results
from jaxpsn.report.reasoning_study.words import named, points, where
from jaxpsn.report.study import look as study_look
from jaxpsn.report.study.look import Look
from jaxpsn.stats.evaluations import BASE
from jaxpsn.stats.statistics import Band, Estimate

_INTERVALS = "95 % bootstrap intervals over problems and seeds"
_SIGNS = {"above": ">", "below": "<", "equal": "≈"}
_COLUMNS = 4  # of small panels


def write(results: Results, folder: str | Path) -> figures.Written:
    """Write every plot that the study has data for to ``folder`` as PNG; returns name -> (path, plot)."""
    return figures.write(_plots(results), folder)


def _plots(results: Results) -> Iterator[Plot | None]:
    yield pattern(results)
    yield difference(results)
    for task in results.tasks:
        yield pass_at_k(results, task)
        yield curves.trajectories(results, task)
    yield curves.seconds(results)
    yield curves.tuning(results)


def pass_at_k(results: Results, task: str) -> Plot | None:
    """pass@k of base, reference and all arms on a task, in as many panels as keep the lines apart."""
    if len(results.arms(task)) < 2:
        return None
    looks, groups = look.looks(results.study.labels), look.groups(results, task)
    shaded = REFERENCE if REFERENCE in results.arms(task) else BASE
    with figures.style():
        finding, ks = _passed_finding(results, task), np.array(results.ks)
        figure, panels = figures.figure(finding, [3.2] * len(groups))
        for axes, group in zip(panels, groups, strict=True):
            for label in group[::-1]:
                value, low, high = results.sampled[task, label].estimates(len(ks))
                if label == shaded:
                    axes.fill_between(ks, low, high, color=looks[label].color, alpha=0.12, lw=0)
                width = 2.4 if label == REFERENCE else 1.7
                axes.plot(ks, value, color=looks[label].color, ls=looks[label].dashes, lw=width)
            axes.set_ylabel("pass@k")
            _over_k(axes, results.ks)
            figures.percent(axes)
        low, high = (side(axes.get_ylim()[end] for axes in panels) for end, side in enumerate((min, max)))
        for axes, group in zip(panels, groups, strict=True):
            axes.set_ylim(max(0.0, low), min(1.02, high))
            _name_ends(axes, results, task, group, looks)
        panels[-1].set_xlabel("k: answers to each problem")
    caption = (
        f"Chance that at least one of k answers is right, {where(results, task)}. Shade: {_INTERVALS} of {shaded}; the"
        " other arms' are about as wide (see the tables). Differences are paired and known better than that."
    )
    return Plot(named(results, "pass_at_k", task), figure, finding, caption)


def _name_ends(axes: Axes, results: Results, task: str, group: Sequence[str], looks: Mapping[str, Look]) -> None:
    last = len(results.ks) - 1
    study_look.label_ends(
        axes,
        (
            (results.largest, float(results.sampled[task, label].value[last]), label, looks[label].color)
            for label in group
        ),
    )


def _over_k(axes: Axes, ks: Sequence[int], size: float | None = None) -> None:
    """An x axis of powers of two."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(ks, [str(k) for k in ks], fontsize=size)
    axes.minorticks_off()


def _passed_finding(results: Results, task: str) -> str:
    """pass@k at the largest k of the base and the reference, and the arm that leads."""
    found = {label: results.passed(task, label, results.largest) for label in results.arms(task)}
    values = {label: one.value for label, one in found.items() if one is not None}
    best = max((label for label in values if label != BASE), key=lambda label: values[label])
    names = [label for label in (BASE, REFERENCE, best) if label in values]
    shown = ", ".join(f"{label} {points(values[label])} %" for label in dict.fromkeys(names))
    return f"pass@{results.largest}, {where(results, task)}: {shown}" + (" (highest)" if len(values) > 2 else "")


def difference(results: Results) -> Plot | None:
    """pass@k of every arm minus the reference's over k, one small panel for each arm."""
    task = results.chief
    arms = [label for label in results.arms(task or "") if label not in (BASE, REFERENCE)]
    if task is None or not arms or REFERENCE not in results.arms(task):
        return None
    looks, rows = look.looks(results.study.labels), -(-len(arms) // _COLUMNS)
    with figures.style():
        finding = _difference_finding(results, task, arms)
        figure, panels = figures.figure(finding, [1.5] * rows, min(_COLUMNS, len(arms)))
        for number, (axes, label) in enumerate(zip(panels, arms, strict=False)):
            axes.axhline(0, color=INK, lw=0.8)
            _differences(axes, results, task, label, looks[label].color)
            axes.set_title(label, color=looks[label].color)
            _over_k(axes, results.ks[::2], 8.0)
            if number % _COLUMNS == 0:
                axes.set_ylabel("points")
            axes.yaxis.set_major_formatter(lambda y, _: points(y, signed=True).removesuffix(".0"))
        for axes in panels[len(arms) :]:
            axes.set_axis_off()
        for axes in panels[max(0, len(arms) - _COLUMNS) : len(arms)]:
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("k")
        _alike(panels[: len(arms)])
        _task_legend(figure, panels, len(arms))
    caption = f"pass@k minus that of {REFERENCE}, in points; equal axes. Bands: paired {_INTERVALS}."
    return Plot("difference", figure, finding, caption)


def _differences(axes: Axes, results: Results, task: str, label: str, color: str) -> None:
    """The difference on the finding's task in its band, and thin lines for the tasks that it is the mean of."""
    ks = np.array(results.ks)
    band = Band(*(results.sampled[task, label] - results.sampled[task, REFERENCE]).estimates(len(ks)))
    for number, one in enumerate(results.averaged if task == ALL else ()):
        each = results.sampled[one, label].value - results.sampled[one, REFERENCE].value
        dashes = ((0, (4, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), "-")[number % 4]
        axes.plot(ks, each[: len(ks)], color=SOFT, lw=0.9, ls=dashes, label=one)
    axes.fill_between(ks, band.low, band.high, color=color, alpha=0.2, lw=0)
    axes.plot(ks, band.value, color=color, lw=2.0)


def _task_legend(figure: Figure, panels: Sequence[Axes], count: int) -> None:
    """The lines of single tasks, in a panel that is empty, or below all panels."""
    lines, labels = panels[0].get_legend_handles_labels()
    if lines and len(panels) > count:
        panels[count].legend(lines, labels, loc="center left", title="single tasks", alignment="left")
    elif lines:
        figure.legend(lines, labels, loc="outside lower center", ncols=min(5, len(lines)))


def _alike(panels: Sequence[Axes]) -> None:
    """One y axis for all."""
    limits = [axes.get_ylim() for axes in panels]
    for axes in panels:
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _difference_finding(results: Results, task: str, arms: Sequence[str]) -> str:
    found = [results.contrast(task, label, REFERENCE, results.largest) for label in arms]
    signs = [
        (one.estimate.low > 0) - (one.estimate.high < 0)
        for one in found
        if one is not None and one.estimate.low is not None and one.estimate.high is not None
    ]
    above, below = signs.count(1), signs.count(-1)
    return (
        f"pass@{results.largest} against {REFERENCE}: {above} of {len(arms)} arms above and {below} below it beyond"
        " their interval"
    )


def pattern(results: Results) -> Plot | None:
    """Every contrast of the hypotheses with its interval, coloured by its verdict."""
    task = results.chief
    found = _contrasts(hypotheses.answers(results, task)) if task is not None else []
    if task is None or not found:
        return None
    with figures.style():
        finding = _pattern_finding(found)
        figure, (axes,) = figures.figure(finding, [0.8 + 0.26 * len(found)])
        axes.axvline(0, color=INK, lw=0.9)
        for place, (answer, part) in enumerate(found):
            if answer.hypothesis.expects == "equal":
                axes.fill_betweenx([place - 0.5, place + 0.5], -MARGIN, MARGIN, color=LINE, alpha=0.7, lw=0)
            _contrast(axes, results, part, place)
        axes.set_yticks(range(len(found)), [_reads(*one) for one in found], fontsize=9)
        axes.tick_params(axis="y", labelcolor=INK, length=0)
        axes.set_ylim(len(found) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("difference of pass@k, points")
        axes.xaxis.set_major_formatter(lambda x, _: points(x, signed=True).removesuffix(".0"))
    caption = (
        f"What is expected of each difference, and what was found ({where(results, task)}; {_INTERVALS}). Green: as"
        " expected; red: the opposite; grey: undecided. Shade: about equal. Small marks: single tasks."
    )
    return Plot("pattern", figure, finding, caption)


def _contrasts(found: Sequence[Answer]) -> list[tuple[Answer, Part]]:
    """Each contrast once, in the order of the hypotheses."""
    seen: dict[tuple[str, str, str, int], tuple[Answer, Part]] = {}
    for answer in found:
        for part in answer.parts:
            seen.setdefault((answer.hypothesis.expects, *part.contrast[1:4]), (answer, part))
    return list(seen.values())


def _reads(answer: Answer, part: Part) -> str:
    contrast = part.contrast
    return f"{contrast.ours} {_SIGNS[answer.hypothesis.expects]} {contrast.theirs}, k = {contrast.k}"


def _contrast(axes: Axes, results: Results, part: Part, place: int) -> None:
    contrast = part.contrast
    color = {SUPPORTED: GREEN, CONTRADICTED: VERMILION}.get(part.verdict, SOFT)
    for one in results.averaged if contrast.task == ALL else ():
        each = results.contrast(one, contrast.ours, contrast.theirs, contrast.k)
        if each is not None:
            axes.plot(each.estimate.value, place, "|", color=SOFT, ms=6, mew=0.9, alpha=0.8)
    estimate: Estimate = contrast.estimate
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [place] * 2, color=color, lw=1.8)
    axes.plot(estimate.value, place, "o", color=color, ms=6, mec="white", mew=0.6)


def _pattern_finding(found: Sequence[tuple[Answer, Part]]) -> str:
    verdicts = [part.verdict for _, part in found]
    expected, opposite = verdicts.count(SUPPORTED), verdicts.count(CONTRADICTED)
    rest = len(verdicts) - expected - opposite
    return f"Of {len(verdicts)} differences {expected} are as expected, {opposite} the opposite, {rest} undecided"
