"""Charts of a reasoning study's judgement: pass@k, its difference to the reference, and the paper's pattern."""

from collections.abc import Iterator, Sequence

from jaxpsn.report.charts.spec import Axis, Box, Chart, Dots, Layer, Line, Panel, Rule
from jaxpsn.report.reasoning.evaluation_plot import over_k
from jaxpsn.report.reasoning.study import curves, hypotheses, look
from jaxpsn.report.reasoning.study.hypotheses import MARGIN, Answer, Part
from jaxpsn.report.reasoning.study.scores import ALL, REFERENCE, Results
from jaxpsn.report.reasoning.study.words import gain, named, points, where
from jaxpsn.report.study import plots as shared
from jaxpsn.stats.evaluations import BASE
from jaxpsn.stats.hypotheses import CONTRADICTED, SUPPORTED

_INTERVALS = "95 % bootstrap intervals over problems and seeds"
_SIGNS = {"above": ">", "below": "<", "equal": "≈"}
_COLUMNS = 4  # of small panels
_TASKS = ("dashed", "dotted", "dashdot", "solid")


def charts(results: Results) -> Iterator[Chart | None]:
    """Every chart that the study has data for."""
    yield pattern(results)
    yield difference(results)
    for task in results.tasks:
        yield pass_at_k(results, task)
        yield curves.trajectories(results, task)
    yield curves.seconds(results)
    yield curves.tuning(results)


def pass_at_k(results: Results, task: str) -> Chart | None:
    """pass@k of base, reference and all arms on a task, in as many panels as keep the lines apart."""
    if len(results.arms(task)) < 2:
        return None
    looks, ks = look.looks(results.study.labels), results.ks
    shaded = REFERENCE if REFERENCE in results.arms(task) else BASE
    panels = []
    for group in look.groups(results, task):
        lines = []
        for label in group[::-1]:
            value, low, high = results.sampled[task, label].estimates(len(ks))
            band = {"low": low, "high": high} if label == shaded else {}
            width = 2.4 if label == REFERENCE else 1.7
            look_ = looks[label]
            lines.append(Line(ks, value, look_.color, label, dash=look_.dash, width=width, shade=0.12, **band))
        panels.append(Panel(lines, over_k(ks), Axis("pass@k", unit="percent"), height=3.2))
    caption = (
        f"Chance that at least one of k answers is right, {where(results, task)}. Shade: {_INTERVALS} of {shaded}; the"
        " other arms' are about as wide (see the tables). Differences are paired and known better than that."
    )
    return Chart(named(results, "pass_at_k", task), _passed_finding(results, task), caption, panels, alike="all")


def _passed_finding(results: Results, task: str) -> str:
    """pass@k at the largest k of the base and the reference, and the arm that leads."""
    found = {label: results.passed(task, label, results.largest) for label in results.arms(task)}
    values = {label: one.value for label, one in found.items() if one is not None}
    best = max((label for label in values if label != BASE), key=lambda label: values[label])
    names = [label for label in (BASE, REFERENCE, best) if label in values]
    shown = ", ".join(f"{label} {points(values[label])} %" for label in dict.fromkeys(names))
    return f"pass@{results.largest}, {where(results, task)}: {shown}" + (" (highest)" if len(values) > 2 else "")


def difference(results: Results) -> Chart | None:
    """pass@k of every arm minus the reference's over k, one small panel for each arm."""
    task = results.chief
    arms = [label for label in results.arms(task or "") if label not in (BASE, REFERENCE)]
    if task is None or not arms or REFERENCE not in results.arms(task):
        return None
    looks = look.looks(results.study.labels)
    x = over_k(results.ks, "")._replace(ticks=tuple((float(k), str(k)) for k in results.ks[::2]))
    panels = [
        Panel(_differences(results, task, label, looks[label].color), x, Axis(unit="points"), label,
              looks[label].color, 1.5)
        for label in arms
    ]  # fmt: skip
    finding = _difference_finding(results, task, arms)
    caption = f"pass@k minus that of {REFERENCE} over k, in points; equal axes. Bands: paired {_INTERVALS}."
    return Chart("difference", finding, caption, panels, min(_COLUMNS, len(arms)), "all")


def _differences(results: Results, task: str, label: str, color: str) -> list[Layer]:
    """The difference on the finding's task in its band, and thin lines for the tasks that it is the mean of."""
    ks = results.ks
    layers: list[Layer] = [Rule(0, color="ink", dash="solid")]
    for number, one in enumerate(results.averaged if task == ALL else ()):
        each = results.sampled[one, label].value - results.sampled[one, REFERENCE].value
        layers.append(Line(ks, each[: len(ks)], "soft", one, dash=_TASKS[number % len(_TASKS)], width=0.9))
    value, low, high = (results.sampled[task, label] - results.sampled[task, REFERENCE]).estimates(len(ks))
    layers.append(Line(ks, value, color, where(results, task), low, high, width=2.0, shade=0.2))
    return layers


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


def pattern(results: Results) -> Chart | None:
    """Every contrast of the hypotheses with its interval, coloured by its verdict."""
    task = results.chief
    found = _contrasts(hypotheses.answers(results, task)) if task is not None else []
    if task is None or not found:
        return None
    layers: list[Layer] = [Rule(0, True, color="ink", dash="solid")]
    for place, (answer, part) in enumerate(found):
        if answer.hypothesis.expects == "equal":
            layers.append(Box((-MARGIN, MARGIN, place - 0.5, place + 0.5), "line", 0.7))
        layers += _contrast(results, part, place)
    names = tuple((place, _reads(*one)) for place, one in enumerate(found))
    panel = shared.rows(layers, Axis("difference of pass@k, points", unit="points"), names, 0.8 + 0.26 * len(found))
    caption = (
        f"What is expected of each difference, and what was found ({where(results, task)}; {_INTERVALS}). Green: as"
        " expected; red: the opposite; grey: undecided. Shade: about equal. Small marks: single tasks."
    )
    return Chart("pattern", _pattern_finding(found), caption, [panel])


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


def _contrast(results: Results, part: Part, place: int) -> list[Layer]:
    contrast, estimate = part.contrast, part.contrast.estimate
    color = {SUPPORTED: "green", CONTRADICTED: "vermilion"}.get(part.verdict, "soft")
    layers: list[Layer] = []
    for one in results.averaged if contrast.task == ALL else ():
        each = results.contrast(one, contrast.ours, contrast.theirs, contrast.k)
        if each is not None:
            tip = f"{one}: {gain(each.estimate)}"
            layers.append(Dots([each.estimate.value], [place], "soft", tips=[tip], shape="tick", alpha=0.8))
    if estimate.low is not None and estimate.high is not None:
        layers.append(Line([estimate.low, estimate.high], [place] * 2, color, width=1.8))
    tip = f"{gain(estimate)}: {part.verdict}"
    return [*layers, Dots([estimate.value], [place], color, tips=[tip], size=4.0, alpha=1.0)]


def _pattern_finding(found: Sequence[tuple[Answer, Part]]) -> str:
    verdicts = [part.verdict for _, part in found]
    expected, opposite = verdicts.count(SUPPORTED), verdicts.count(CONTRADICTED)
    rest = len(verdicts) - expected - opposite
    return f"Of {len(verdicts)} differences {expected} are as expected, {opposite} the opposite, {rest} undecided"
