"""The report of a reasoning study: the paper's pattern, the judgement, the training, tuning, and the method."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from jaxpsn.core import text
from jaxpsn.report import page, runs
from jaxpsn.report.charts.spec import Chart
from jaxpsn.report.page import Cell, Row
from jaxpsn.report.reasoning.study import hypotheses, look, words
from jaxpsn.report.reasoning.study import tables as csv
from jaxpsn.report.reasoning.study.draws import RESAMPLES
from jaxpsn.report.reasoning.study.hypotheses import MARGIN
from jaxpsn.report.reasoning.study.scores import ALL, REFERENCE, Contrast, Results
from jaxpsn.report.study import preregistered
from jaxpsn.report.study import words as shared
from jaxpsn.report.study.folder import Choice
from jaxpsn.stats.evaluations import BASE

_NOTES = (
    "pass@k is the chance that at least one of k answers to a problem is right, estimated without bias from all its"
    " answers (Chen et al. 2021). Every policy is judged clean, without noise.",
    "Differences are paired: all arms answered the same problems, and arms with the same seeds were trained on the same"
    " problems. The intervals of two arms may overlap where that of their difference excludes zero.",
    "Each interval covers its own number 95 times of 100; of many, some will exclude zero by chance.",
    "Undecided is no sign of equality: the points that it names are how large a difference may still be.",
)


def tables(results: Results) -> dict[str, str]:
    """The tables of the study by the names of their files."""
    found = {"table.csv": csv.table, "contrasts.csv": csv.contrasts, "hypotheses.csv": csv.hypotheses}
    return {name: make(results) for name, make in found.items()}


def content(results: Results, drawn: Mapping[str, Chart]) -> page.Content:
    """What the report of a reasoning study says; ``drawn`` are its charts."""
    study, task = results.study, results.chief
    parts = [("pattern", "The paper's pattern", _pattern), ("results", "Final numbers", _tables),
             ("judgement", "pass@k", _judgement), ("training", "Training", _training)]  # fmt: skip
    empty = [page.Missing("No arm has results yet.")]
    sections = [
        page.Section(name, heading, empty if task is None else list(make(results, task, drawn)))
        for name, heading, make in parts
    ]
    method = shared.method(_terms(results), study.content)
    return page.Content(
        title=_title(results),
        lede=words.lede(results),
        sections=[*preregistered.sections(study.content, results.difference), *sections,
                  page.Section("tuning", "Tuning", _tuning(results, drawn)), page.Section("method", "Method", method)],
        notes=(*_NOTES, *words.few(results)) if task is not None else _NOTES,
        kind="Study",
        warnings=words.warnings(results),
        source="the numbers are in table.csv, contrasts.csv, hypotheses.csv and tidy.csv",
    )  # fmt: skip


def _title(results: Results) -> str:
    tasks = results.study.tasks
    on = tasks[0].label if len(tasks) == 1 else f"{len(tasks)} tasks"
    return f"Reasoning: {shared.ways(len(results.study.arms))} on {on}"


def _others(results: Results) -> list[str]:
    """The tasks beside the one in which the findings are told."""
    return [task for task in results.tasks if task != results.chief]


def _pattern(results: Results, task: str, drawn: Mapping[str, Chart]) -> Iterator[page.Block]:
    found = hypotheses.answers(results, task)
    if not found:
        yield page.Missing("The study has none of the arms that the paper's pattern is about.")
        return
    for paper, heading in ((True, "What the paper reports"), (False, "Beyond the paper")):
        rows = [words.answer_cells(one) for one in found if one.hypothesis.paper == paper]
        if rows:
            yield page.Heading(heading)
            yield _answers(rows)
    yield page.Text(f"Differences of pass@k in points, {words.where(results, task)}. {_VERDICTS}")
    yield from page.shown(drawn, "pattern")
    for other in _others(results):
        rows = [words.answer_cells(one) for one in hypotheses.answers(results, other)]
        yield page.Details(f"The same on {other}", [_answers(rows)])


_VERDICTS = (
    "Supported: the interval of every difference lies on the expected side of zero (about equal: within"
    f" ±{100 * MARGIN:.0f} points). Contradicted: that of one lies on the other side (about equal: wholly beyond)."
    " Else undecided."
)


def _answers(rows: Sequence[tuple[str, tuple[str, ...], str]]) -> page.Table:
    """A table of statements; a line for each difference."""
    shown = [(says, Cell(found[0], found[1:]), verdict) for says, found, verdict in rows]
    return page.Table(("statement", "difference, points", "verdict"), shown, look="said")


def _tables(results: Results, task: str, drawn: Mapping[str, Chart]) -> Iterator[page.Block]:
    yield from _table(results, task)
    yield from (page.Details(f"The same on {other}", _table(results, other)) for other in _others(results))


def _table(results: Results, task: str) -> list[page.Block]:
    looks, arms = look.looks(results.study.labels), results.arms(task)
    known = {arm: results.passed(task, arm, results.largest) for arm in arms}
    values = {arm: one.value for arm, one in known.items() if one is not None}
    best = max(values, key=lambda arm: values[arm]) if len(values) > 1 else None
    rows = [Row(words.cells(results, task, arm), looks[arm].color, arm == best) for arm in arms]
    return [page.Table(words.heads(results), rows, look="arms"), page.Text(words.footnote(results, task))]


def _judgement(results: Results, task: str, drawn: Mapping[str, Chart]) -> Iterator[page.Block]:
    yield from page.shown(drawn, "pass_at_k", "difference")
    yield from _elsewhere(results, drawn, "pass_at_k", "pass@k on")
    found = list(results.contrasts())
    heads = ("arm", *(f"k = {k}" for k in dict.fromkeys(one.k for one in found)))
    for one in results.tasks:
        rows = list(_contrasts(results, [contrast for contrast in found if contrast.task == one]))
        if rows:
            title = f"Every arm minus {REFERENCE}, {words.where(results, one)}"
            yield page.Details(title, [page.Table(heads, rows, look="arms")])


def _elsewhere(results: Results, drawn: Mapping[str, Chart], name: str, title: str) -> Iterator[page.Block]:
    """A chart of the other tasks."""
    for other in _others(results):
        if f"{name}-{other}" in drawn:
            yield page.Details(f"{title} {other}", page.shown(drawn, f"{name}-{other}"))


def _contrasts(results: Results, found: Sequence[Contrast]) -> Iterator[Row]:
    """The differences of every arm in points, with their intervals and P."""
    looks = look.looks(results.study.labels)
    for arm in dict.fromkeys(one.ours for one in found):
        yield Row([Cell(arm), *(words.contrast_cell(one) for one in found if one.ours == arm)], looks[arm].color)


def _training(results: Results, task: str, drawn: Mapping[str, Chart]) -> Iterator[page.Block]:
    looks, arms = look.looks(results.study.labels), [arm for arm in results.arms(task) if arm != BASE]
    rows = [Row(words.training_cells(results, task, arm), looks[arm].color) for arm in arms]
    if rows:
        yield page.Table(words.training_heads(), rows, look="arms")
    yield page.Text(_TRAINED)
    yield from page.shown(drawn, "trajectories", "seconds")
    yield from _elsewhere(results, drawn, "trajectories", "Training on")


_TRAINED = (
    "Means over steps, seeds and tasks; in brackets 95 % bootstrap intervals over seeds. A group whose answers all"
    f" score the same has no advantage and teaches nothing; the share of such groups is compared to that of {REFERENCE}"
    " at the same seed and step, where the prompts are the same: below zero, groups were rescued. KL(noisy || clean) is"
    " in nats."
)


def _tuning(results: Results, drawn: Mapping[str, Chart]) -> list[page.Block]:
    tuned = results.study.tunings
    rows = [(f"{task}, {arm}", *_tried(one)) for (task, arm), one in tuned.items()]
    table = page.Details("Every scale that was tried", [page.Table(("", "field", "tried: score, %", "chosen"), rows)])
    found = [(f"{task}/{arm} ({text.tick(one.chosen)})", one) for (task, arm), one in tuned.items()]
    return shared.tuning(found, drawn, [table])


def _tried(one: Choice) -> tuple[str, str, str]:
    scores = [row[np.isfinite(row)] for row in one.scores["scores"]]
    shown = [
        f"{text.tick(value)}: {words.points(float(row.mean())) if row.size else 'unknown'}"
        for value, row in sorted(zip(one.values.tolist(), scores, strict=True), key=lambda pair: pair[0])
    ]
    return one.field, "; ".join(shown), text.tick(one.chosen)


def _terms(results: Results) -> Iterator[tuple[str, str]]:
    """What was done, and what each number is."""
    study = results.study
    tasks = [one.label if one.spec == one.label else f"{one.label} ({one.spec})" for one in study.tasks]
    yield "Tasks", "; ".join(tasks) + ". On each, all arms start from one policy, the base."
    yield "Arms", "One learner, one budget; what differs: " + "; ".join(_arms(results)) + "."
    groups = shared.grouped(
        (f"{cell.task}/{cell.arm}", shared.seeds(cell.seeds)) for cell in study.cells.values() if cell.finished
    )
    told = [f"{seeds} ({text.listed(cells)})" for seeds, cells in groups.items()]
    yield "Seeds", ("; ".join(groups if len(groups) == 1 else told) or "none yet") + "."
    yield "Scales", "; ".join(_scales(results)) + "."
    steps = runs.setting(study.content.get("study") or {}, "steps")
    samples = runs.setting(study.content.get("shared") or {}, "rollout")
    if steps is not None and isinstance(samples, dict):
        budget = f"{steps} steps of {samples.get('prompts')} prompts with {samples.get('samples')} answers to each"
        yield "Budget", f"{budget}, the same prompts at the same seed and step in every arm."
    if results.chief is not None:
        yield "Judgement", words.footnote(results, results.chief)
    yield "Intervals", _intervals()
    yield (
        "Seconds a step",
        "Median over the steps of a seed, without evaluations, whatever else the machine did; mean over seeds.",
    )


def _intervals() -> str:
    return (
        f"95 % percentile intervals of {RESAMPLES} bootstrap samples. In each, the problems of every task are drawn"
        " anew, and so are the seeds (one fewer than there are, which makes up for their small number; Rao and Wu"
        " 1988), independently of each other (Owen 2007) and of other tasks; all arms share the draws of problems, and"
        " arms with the same seeds share those of seeds. A mean over tasks is the mean of the tasks' own: an interval"
        " says how far other problems and seeds of these tasks might fall, not how another task would turn out. P is"
        " the share of the samples in which a difference is above zero."
    )


def _arms(results: Results) -> Iterator[str]:
    for arm in results.study.arms:
        changes = ", ".join(f"{name} = {value}" for name, value in arm.changes.items())
        yield f"{arm.label} ({changes or 'no change'})"


def _scales(results: Results) -> Iterator[str]:
    for arm in results.study.arms:
        if arm.scale is None:
            continue
        like, factor = arm.scale.get("like") or arm.label, arm.scale.get("factor", 1.0)
        tuned = any(label == like for _, label in results.study.tunings)
        source = "as given" if not tuned else "tuned" if like == arm.label else f"as tuned for {like}"
        times = f", times {text.tick(factor)}" if isinstance(factor, int | float) and factor != 1 else ""
        groups = shared.grouped(
            (task, words.scale(results, task, arm.label))
            for task in results.tasks
            if task != ALL and (task, arm.label) in results.sampled
        )
        values = [value + f" ({', '.join(tasks)})" * (len(groups) > 1) for value, tasks in groups.items()]
        yield ": ".join((f"{arm.label} {source}{times}", *([", ".join(values)] if values else [])))
    if not any(arm.scale for arm in results.study.arms):
        yield "no arm has a scale"
