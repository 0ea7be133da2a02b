"""The report of a study: the finding, the final table, curves, comparisons, how scales were tuned, and the method."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpsn.core import text
from jaxpsn.report import page, runs, series
from jaxpsn.report.charts import look
from jaxpsn.report.charts.spec import Chart
from jaxpsn.report.control.study import curves, scores, words
from jaxpsn.report.control.study.folder import Study
from jaxpsn.report.control.study.scores import LAST, Results
from jaxpsn.report.study import preregistered
from jaxpsn.report.study import words as shared
from jaxpsn.report.study.folder import Choice, mapping
from jaxpsn.stats import statistics

_FEW = 10  # seeds below which the intervals come with a warning

_NOTES = (
    "IQM is the interquartile mean: the mean of the middle half of the seeds. It ignores the best and worst quarter,"
    " so an arm that solves the task in few seeds has the IQM of those that do not; its share of seeds says the rest.",
    "Intervals that overlap are no proof of equality, and no proof of a difference: more seeds would tell.",
    "An interval over seeds says how far other seeds of this study might fall, not how another task would turn out.",
    "Scales that are called alike do not move actions alike: compare arms by their action distance.",
)


def tables(results: Results) -> dict[str, str]:
    """The tables of the study by the names of their files."""
    return {"table.csv": scores.table_csv(results), "pairs.csv": scores.pairs_csv(results)}


def content(results: Results, drawn: Mapping[str, Chart]) -> page.Content:
    """What the report of a study says; ``drawn`` are its charts."""
    study = results.study
    sections = (
        *preregistered.sections(study.content, results.difference),
        page.Section("results", "Final numbers", _table(results)),
        page.Section("learning", "Learning curves", [*page.shown(drawn, "learning", "behaviour"), *_details(drawn)]),
        page.Section("exploration", "Exploration", _exploration(results, drawn)),
        page.Section("returns", "Arms against each other", _returns(results, drawn)),
        page.Section("tuning", "Tuning", _tuning(results, drawn)),
        page.Section("method", "Method", shared.method(_terms(results), study.content)),
    )
    return page.Content(
        title=_title(study),
        lede=words.lede(results),
        sections=sections,
        notes=(*_NOTES, *_few(study)),
        kind="Study",
        warnings=words.warnings(results),
        source="the numbers are in table.csv, pairs.csv and tidy.csv",
    )


def _few(study: Study) -> Iterator[str]:
    """A warning where an interval rests on few seeds."""
    seeds = [len(arm.run.seeds) for arm in study.shown if arm.run is not None]
    if seeds and 1 < min(seeds) < _FEW:
        yield f"A bootstrap over {min(seeds)} seeds draws from few values: its intervals tend to be too narrow."


def _title(study: Study) -> str:
    common = _learner(study.content.get("control") or {})
    names = (_learner(mapping(about)) or common for about in study.content["arms"].values())
    learners = dict.fromkeys(name.upper() for name in names if name)
    by = f", {' and '.join(learners)}" if learners else ""
    return f"{study.task}: {shared.ways(len(study.arms))}{by}"


def _learner(config: Mapping[str, Any]) -> str:
    return runs.named(config, "agent") or runs.named(config, "agent", "algorithm")


def _table(results: Results) -> list[page.Block]:
    looks, ranked = look.looks(results.study.labels), results.ranked
    best = ranked[0].arm.label if len(ranked) > 1 else None
    rows = [
        page.Row(words.cells(results, row), looks[row.arm.label].color, row.arm.label == best) for row in results.rows
    ]
    return [page.Table(words.heads(results), rows, look="arms"), page.Text(words.footnote(results))]


def _details(drawn: Mapping[str, Chart]) -> list[page.Block]:
    return [page.Details("Every seed's curve", page.shown(drawn, "seeds"))] if "seeds" in drawn else []


def _exploration(results: Results, drawn: Mapping[str, Chart]) -> list[page.Block]:
    parts: list[page.Block] = []
    if not curves.exploring(results) and any(row.rewarded is not None for row in results.rows):
        parts.append(page.Missing("Rewards are dense here: every seed of every arm sees one at once."))
    if results.study.threshold is None:
        parts.append(page.Missing("No return was named that counts as solved, so no time to it is shown."))
    return [*parts, *page.shown(drawn, "events", "coverage", "distance", "noise")]


def _returns(results: Results, drawn: Mapping[str, Chart]) -> list[page.Block]:
    more = [page.Details("Every pair, in every measure", [_pairs(results)])] if results.pairs else []
    return [*page.shown(drawn, "profile", "improvement", "finals"), *more]


def _pairs(results: Results) -> page.Table:
    """Each pair once (the other way round is what is missing to one), with a column for each measure."""
    measures = list(dict.fromkeys(pair.of for pair in results.pairs))
    found = {(pair.ours, pair.theirs, pair.of): pair.estimate for pair in results.pairs}
    labels = list(dict.fromkeys(label for pair in results.pairs for label in pair[:2]))
    rows = []
    for ours, theirs in itertools.combinations([arm.label for arm in results.study.arms if arm.label in labels], 2):
        cells = [found.get((ours, theirs, of)) for of in measures]
        rows.append((f"{ours} over {theirs}", *("-" if cell is None else words.share(cell) for cell in cells)))
    return page.Table(("", *measures), rows)


def _tuning(results: Results, drawn: Mapping[str, Chart]) -> list[page.Block]:
    tuned = [(arm.label, arm.tuning) for arm in results.study.arms if arm.tuning is not None]
    tables = (
        page.Details(f"{label}: every {one.field} that was tried", [page.Table(_TRIED, list(_tried(one)))])
        for label, one in tuned
    )
    return shared.tuning(tuned, drawn, tables)


_TRIED = ("scale", "final return, IQM", "steps to first reward, median", "saw a reward", "cells visited", "seeds", "")


def _tried(one: Choice) -> Iterator[Sequence[Any]]:
    for index in np.argsort(one.values):
        first = one.scores["first_reward"][index]
        times = first[~np.isnan(first)]
        middle = statistics.median_time(times, resamples=1).value if times.size else float("nan")
        yield (
            text.tick(one.values[index]),
            _middle(one.scores["final"][index]),
            "unknown" if not times.size else "more than half never" if np.isinf(middle) else text.count(middle),
            f"{int(np.isfinite(times).sum())} of {times.size}" if times.size else "unknown",
            _middle(one.scores["coverage"][index]),
            shared.seeds(one.seeds[index]),
            "chosen" if one.values[index] == one.chosen else "",
        )


def _middle(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    return text.number(float(statistics.iqm(known))) if known.size else "unknown"


def _terms(results: Results) -> Iterable[tuple[str, str]]:
    """What was done, and what each number of the table is."""
    study = results.study
    control = study.content.get("control") or {}
    yield "Arms", "One task, one learner, one budget; what differs is named: " + "; ".join(_arms(study)) + "."
    yield "Seeds", "; ".join(_seeds_of(study)) + ". All seeds of an arm run side by side in one program."
    yield "Scales", "; ".join(_scales(study)) + "."
    yield (
        "Final return, IQM",
        f"A seed's final return is the mean of its last {LAST} evaluations; an evaluation is the mean return of"
        f" {runs.setting(control, 'eval_envs', 'several')} episodes of the clean policy, without any noise. Shown is"
        " the interquartile mean over seeds with the 95 % percentile interval of a stratified bootstrap over seeds"
        " (2000 samples; Agarwal et al. 2021).",
    )
    yield "Mean over the curve", "The area under a seed's evaluations over their length (trapezoidal), IQM over seeds."
    first = study.arms[0].label
    yield (
        f"P({first} ends above)",
        f"The probability that the final return of a seed of {first} is above one of the row's arm, a tie counting one"
        " half (Mann-Whitney U over its maximum), with a bootstrap interval; 0.5 is no difference.",
    )
    yield "Threshold", _threshold(study)
    warmup = runs.setting(control, "warmup")
    random = f" The first {text.count(warmup)} steps are random in every arm." if warmup else ""
    yield (
        "Steps",
        "Environment steps of all environments of a seed together, warm-up included. The time to the first reward is"
        f" that up to the first positive reward in training, counted as for the threshold.{random}",
    )
    yield (
        "Reward of the behaviour",
        "Mean over all steps of the training, explored as the arm does; no episode is left out.",
    )
    yield "Cells visited", "Distinct cells of a fixed division of the observation space seen in training, by its end."
    yield (
        "Action distance",
        "Root mean square, over environments and action dimensions, of the executed minus the clean policy's action:"
        " mean of the run after its warm-up. Actions lie in [-1, 1].",
    )
    yield (
        "Wall time",
        "Training and evaluation of all seeds of the arm together, without compilation, whatever else the machine did.",
    )
    yield "Curves", f"Those of the training are drawn from at most {series.POINTS} means of equal stretches."


def _threshold(study: Study) -> str:
    if study.threshold is None:
        return "None was named."
    return (
        f"A seed solves the task at its first evaluation of at least {text.tick(study.threshold)}. Count of seeds"
        " with Wilson's 95 % interval. The time is the first by which half of the seeds had solved it; where more than"
        " half never do, it lies beyond the budget ('≥'), and 'never' is no seed at all. It is known to one evaluation."
    )


def _arms(study: Study) -> Iterator[str]:
    for arm in study.arms:
        yield arm.label if arm.spec == arm.label else f"{arm.label} is {arm.spec}"


def _seeds_of(study: Study) -> Iterator[str]:
    told = ((arm.label, shared.seeds(arm.run.seeds)) for arm in study.shown if arm.run is not None)
    groups = shared.grouped(told)
    for seeds, labels in groups.items():
        yield f"{seeds} in every arm" if len(groups) == 1 else f"{seeds} in {text.listed(labels)}"
    if not groups:
        yield "none yet"


def _scales(study: Study) -> Iterator[str]:
    for arm in study.arms:
        if arm.scale is None:
            yield f"{arm.label} has no scale"
        elif arm.tuning is not None:
            one = arm.tuning
            tried, seeds = ", ".join(text.tick(value) for value in np.sort(one.values)), shared.seeds(one.seeds)
            chosen = f"{arm.label}: {one.field} {text.tick(one.chosen)} by {one.by}"
            yield f"{chosen}, of {tried} on seeds {seeds}"
        else:
            yield f"{arm.label}: {arm.scale.get('field')} {arm.scale.get('value')} as given"
