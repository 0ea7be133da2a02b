"""The report of a reasoning study: the paper's pattern, the judgement, the training, tuning, and the method."""

from collections.abc import Iterator, Sequence

import numpy as np

from jaxpsn.core import text
from jaxpsn.report import figures, page, runs
from jaxpsn.report.reasoning_study import hypotheses, look, words
from jaxpsn.report.reasoning_study.draws import RESAMPLES
from jaxpsn.report.reasoning_study.folder import Tuning
from jaxpsn.report.reasoning_study.hypotheses import MARGIN
from jaxpsn.report.reasoning_study.scores import ALL, REFERENCE, Contrast, Results
from jaxpsn.report.runs import Run
from jaxpsn.report.study import page as study_page
from jaxpsn.report.study.page import Cell
from jaxpsn.stats.evaluations import BASE

_NOTES = (
    "pass@k is the chance that at least one of k answers to a problem is right, estimated without bias from all its"
    " answers (Chen et al. 2021). Every policy is judged clean, without noise.",
    "Differences are paired: all arms answered the same problems, and arms with the same seeds were trained on the same"
    " problems. The intervals of two arms may overlap where that of their difference excludes zero.",
    "Each interval covers its own number 95 times of 100; of many, some will exclude zero by chance.",
    "Undecided is no sign of equality: the points that it names are how large a difference may still be.",
)


def content(results: Results, written: figures.Written) -> page.Content:
    """What the report of a reasoning study says; ``written`` are its plots."""
    study, task = results.study, results.chief
    sections = (
        page.section("pattern", "The paper's pattern", _pattern(results, written)),
        page.section("results", "Final numbers", _tables(results)),
        page.section("judgement", "pass@k", _judgement(results, written)),
        page.section("training", "Training", _training(results, written)),
        page.section("tuning", "Tuning", _tuning(results, written)),
        page.section("method", "Method", study_page.method(_terms(results), study.content)),
    )
    return page.Content(
        title=_title(results),
        lede=words.lede(results),
        sections=sections,
        notes=(*_NOTES, *words.few(results)) if task is not None else _NOTES,
        kind="Study",
        warnings=words.warnings(results),
        source="the numbers are in table.csv, contrasts.csv and hypotheses.csv",
    )


def as_run(results: Results) -> Run:
    """The study as the shared page reads a run."""
    study = results.study
    told = [(f"{cell.task}/{cell.arm}/{one.seed}", one.run) for cell in study.cells.values() for one in cell.finished]
    told += [
        (f"{cell.task}/{cell.arm}/{seed}", told.run)
        for cell in study.cells.values()
        for seed, told in cell.others
        if told.run is not None
    ]
    return study_page.as_run(study.path, study.content, told, study.notes)


def _title(results: Results) -> str:
    study = results.study
    tasks, arms = len(study.tasks), len(study.arms)
    ways = "one way to explore" if arms == 1 else f"{arms} ways to explore"
    return f"Reasoning: {ways} on {study.tasks[0].label if tasks == 1 else f'{tasks} tasks'}"


def _others(results: Results) -> list[str]:
    """The tasks beside the one in which the findings are told."""
    return [task for task in results.tasks if task != results.chief]


def _pattern(results: Results, written: figures.Written) -> str:
    task = results.chief
    if task is None:
        return page.missing("No arm has results yet.")
    found = hypotheses.answers(results, task)
    if not found:
        return page.missing("The study has none of the arms that the paper's pattern is about.")
    parts = []
    for paper, heading in ((True, "What the paper reports"), (False, "Beyond the paper")):
        rows = [words.answer_cells(one) for one in found if one.hypothesis.paper == paper]
        if rows:
            parts.append(f"<h3>{heading}</h3>{_answers(rows)}")
    where = page.escape(words.where(results, task))
    parts.append(f'<p class="detail">Differences of pass@k in points, {where}. {_VERDICTS}</p>')
    parts.append(study_page.shown(written, "pattern"))
    for other in _others(results):
        rows = [words.answer_cells(one) for one in hypotheses.answers(results, other)]
        parts.append(page.details(f"The same on {other}", _answers(rows)))
    return "".join(parts)


_VERDICTS = (
    "Supported: the interval of every difference lies on the expected side of zero (about equal: within"
    f" &plusmn;{100 * MARGIN:.0f} points). Contradicted: that of one lies on the other side (about equal: wholly"
    " beyond). Else undecided."
)


def _answers(rows: Sequence[tuple[str, tuple[str, ...], str]]) -> str:
    """A table whose cells may be long, so that its lines break; a line for each difference."""
    body = "".join(
        f'<tr><td>{page.escape(says)}</td><td style="white-space: nowrap">'
        f"{'<br>'.join(map(page.escape, shown))}</td>"
        f"<td><b>{page.escape(verdict)}</b></td></tr>"
        for says, shown, verdict in rows
    )
    head = "".join(f"<th>{name}</th>" for name in ("statement", "difference, points", "verdict"))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _tables(results: Results) -> str:
    task = results.chief
    if task is None:
        return page.missing("No arm has results yet.")
    more = "".join(page.details(f"The same on {other}", _table(results, other)) for other in _others(results))
    return _table(results, task) + more


def _table(results: Results, task: str) -> str:
    looks, arms = look.looks(results.study.labels), results.arms(task)
    known = {arm: results.passed(task, arm, results.largest) for arm in arms}
    values = {arm: one.value for arm, one in known.items() if one is not None}
    best = max(values, key=lambda arm: values[arm]) if len(values) > 1 else None
    rows = ((looks[arm].color, arm == best, words.cells(results, task, arm)) for arm in arms)
    table = study_page.arms(words.heads(results), rows)
    return f'{table}<p class="detail">{page.escape(words.footnote(results, task))}</p>'


def _judgement(results: Results, written: figures.Written) -> str:
    parts = [study_page.shown(written, "pass_at_k", "difference")]
    for task in _others(results):
        if f"pass_at_k-{task}" in written:
            parts.append(page.details(f"pass@k on {task}", page.figure(*written[f"pass_at_k-{task}"])))
    found = list(results.contrasts())
    for task in results.tasks:
        rows = list(_contrasts(results, [one for one in found if one.task == task]))
        if rows:
            title = f"Every arm minus {REFERENCE}, {words.where(results, task)}"
            heads = ("arm", *(f"k = {k}" for k in dict.fromkeys(one.k for one in found)))
            parts.append(page.details(title, study_page.arms(heads, rows)))
    return "".join(parts)


def _contrasts(results: Results, found: Sequence[Contrast]) -> Iterator[tuple[str, bool, Sequence[Cell]]]:
    """The differences of every arm in points, with their intervals and P."""
    looks = look.looks(results.study.labels)
    for arm in dict.fromkeys(one.ours for one in found):
        cells = [words.contrast_cell(one) for one in found if one.ours == arm]
        yield looks[arm].color, False, [Cell(arm), *cells]


def _training(results: Results, written: figures.Written) -> str:
    task = results.chief
    if task is None:
        return page.missing("No arm has results yet.")
    looks = look.looks(results.study.labels)
    rows = [
        (looks[arm].color, False, words.training_cells(results, task, arm)) for arm in results.arms(task) if arm != BASE
    ]
    table = study_page.arms(words.training_heads(), rows) if rows else ""
    shown = study_page.shown(written, "trajectories", "seconds")
    more = "".join(
        page.details(f"Training on {other}", page.figure(*written[f"trajectories-{other}"]))
        for other in _others(results)
        if f"trajectories-{other}" in written
    )
    return f'{table}<p class="detail">{page.escape(_TRAINED)}</p>{shown}{more}'


_TRAINED = (
    "Means over steps, seeds and tasks; in brackets 95 % bootstrap intervals over seeds. A group whose answers all"
    f" score the same has no advantage and teaches nothing; the share of such groups is compared to that of {REFERENCE}"
    " at the same seed and step, where the prompts are the same: below zero, groups were rescued. KL(noisy || clean) is"
    " in nats."
)


def _tuning(results: Results, written: figures.Written) -> str:
    tuned = results.study.tunings
    if not tuned:
        return page.missing("No scale was tuned in this study: each arm ran at the scale that it was given.")
    ends = [f"{task}/{arm} ({text.tick(one.chosen)})" for (task, arm), one in tuned.items() if one.at_an_end]
    note = f"Chosen at an end of what was tried: {', '.join(ends)}. A wider grid might serve better."
    rows = [(f"{task}, {arm}", *_tried(one)) for (task, arm), one in tuned.items()]
    table = page.details("Every scale that was tried", page.table(("", "field", "tried: score, %", "chosen"), rows))
    return study_page.shown(written, "tuning") + (page.missing(note) if ends else "") + table


def _tried(one: Tuning) -> tuple[str, str, str]:
    scores = [row[np.isfinite(row)] for row in one.scores]
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
    groups = study_page.grouped(
        (f"{cell.task}/{cell.arm}", study_page.seeds(cell.seeds)) for cell in study.cells.values() if cell.finished
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
    yield "Versions", study_page.versions(study.content)


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
        groups = study_page.grouped(
            (task, words.scale(results, task, arm.label))
            for task in results.tasks
            if task != ALL and (task, arm.label) in results.sampled
        )
        values = [value + f" ({', '.join(tasks)})" * (len(groups) > 1) for value, tasks in groups.items()]
        yield ": ".join((f"{arm.label} {source}{times}", *([", ".join(values)] if values else [])))
    if not any(arm.scale for arm in results.study.arms):
        yield "no arm has a scale"
