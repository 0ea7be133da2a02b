"""The report of a reasoning run: pass@k before and after, how it was learnt, what the noise did, sample answers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxpsn.core import text
from jaxpsn.report import page
from jaxpsn.report.charts import picture
from jaxpsn.report.charts.spec import Chart
from jaxpsn.report.reasoning import evaluation_plot, folder, run_plots, samples
from jaxpsn.report.reasoning.folder import Judged
from jaxpsn.report.runs import Run, setting
from jaxpsn.stats import comparison
from jaxpsn.stats.comparison import Comparison
from jaxpsn.stats.evaluations import Evaluation

_NOTES = (
    "pass@k is the chance that at least one of k answers to a problem is right, estimated without bias from all its"
    " answers (Chen et al. 2021). Policies are judged clean, without noise, unless marked noisy.",
    "Intervals are 95 % percentile intervals of a bootstrap over problems: how far other problems of this kind might"
    " change the number, not how far another seed would. A number that is equal on all problems has none to show.",
    "The difference is paired: both policies answered the same problems, so what makes one hard for both cancels.",
    "T is the sampling temperature. Distinct solutions are different right answers to one problem; the more answers"
    " are drawn, the more of them are found.",
    "Sigma is the scale of the weight noise. KL(noisy || clean) is how far it moves the policy, in nats a token.",
    "The indicator of Variant II is high when probe answers are alike and the policy is sure of them: too little"
    " exploration. Above its target sigma rises, below it sigma falls.",
    "Importance ratios are those of the clean policy to the noisy one that sampled, before any truncation.",
    "A group whose answers all score the same has no advantage and teaches nothing.",
)
_ADVANTAGES = {
    "group": "GRPO", "batch": "GRPO with batch normalisation", "none": "Dr.GRPO", "leave_one_out": "RLOO",
    "pass_at_k": "Pass@k training",
}  # fmt: skip
_RULES = {"fixed": "fixed sigma", "staged": "staged decay", "kl": "sigma by KL", "composite": "sigma by indicator"}
_PHYSICS = ("brax", "mujoco", "mujoco-mjx")  # installed, but no part of a language model's run
_MIDDLE = 64  # the k between 1 and the largest that the tables show
_LISTED = 50  # problems named in the lists of gained and lost

Card = tuple[str, str, str, bool]


def content(run: Run) -> page.Content:
    """Write the plots of a reasoning run; returns what its report says.

    What is missing or broken among its evaluations and samples only leaves its section saying so.
    """
    judged = folder.judged(run.path)
    drawn = picture.write(run_plots.charts(run, judged), run.path / "plots")
    over_steps = [name for name in drawn if name != evaluation_plot.NAME]
    sections = (
        page.Section("numbers", "Key numbers", [page.Cards([*_judged_numbers(judged), *_run_numbers(run)])]),
        page.Section("evaluations", "pass@k", list(_evaluations(judged, drawn))),
        page.Section("plots", "Training", page.shown(drawn, *over_steps)),
        page.Section("samples", "Sample answers", list(_samples(run.path / folder.SAMPLES))),
    )
    return page.Content(_title(run, judged), _lede(drawn), sections, _NOTES, unused=_PHYSICS)


def _title(run: Run, judged: Judged) -> str:
    """Task or data, algorithm and noise, as far as the config tells them; else what was evaluated."""
    data, task = setting(run.config, "data"), setting(run.config, "task")
    subject = Path(str(data)).name if data else task
    algorithm = _ADVANTAGES.get(str(setting(run.config, "algorithm.advantage")))
    if algorithm is None:
        tasks = sorted({one.task for one in judged.evaluations})
        return ", ".join(text.visible(name, 60) for name in tasks) or run.path.resolve().name
    noisy, structure = setting(run.config, "noise") == "psn", setting(run.config, "noise.structure")
    model = setting(run.config, "model")
    parts = [subject, model and Path(str(model)).name, f"PSN-{algorithm}" if noisy else algorithm]
    if noisy:
        per, rule = setting(run.config, "noise.per"), setting(run.config, "noise.sigma")
        parts += [f"{structure} noise per {per}", _RULES.get(str(rule), rule)]
    return ", ".join(str(part) for part in parts if part)


def _lede(drawn: Mapping[str, Chart]) -> str:
    learnt = evaluation_plot.NAME if evaluation_plot.NAME in drawn else "learning"
    found = [drawn[name].finding for name in (learnt, "noise") if name in drawn]
    if not found:
        return "This run has neither evaluations nor metrics yet."
    return ". ".join(one[0].upper() + one[1:] for one in found) + "."


def _judged_numbers(judged: Judged) -> Iterable[Card]:
    """pass@1 and pass@k at the largest k, and distinct solutions: of the pair, or of each policy alone."""
    if judged.comparison is not None:
        yield from _compared_numbers(judged.comparison)
        return
    for one in judged.evaluations:
        curve = one.curve
        for index in sorted({0, len(curve.ks) - 1}):
            value, low, high = comparison.point(curve.band, index)
            shown = "one problem, no interval" if low is None else f"[{text.share(low)}, {text.share(high)}]"
            yield (
                f"pass@{curve.ks[index]}, {one.label}",
                text.share(value),
                f"{shown}, {len(one.ids)} problems",
                not index,
            )


def _compared_numbers(found: Comparison) -> Iterable[Card]:
    ours, theirs = found.ours, found.theirs
    who = f"{theirs.label} → {ours.label}"
    rows = found.rows()
    for row in (rows[0], *rows[1:][-1:]):
        gain = text.interval(row["difference"], row["difference_low"], row["difference_high"], signed=True)
        value = f"{text.share(row['theirs'])} → {text.share(row['ours'])}"
        yield f"pass@{row['k']}, {who}", value, f"{gain}, paired", True
    pairs = (("Distinct solutions", "mean_distinct", 2), ("Share of all solutions", "share_of_solutions", 3))
    for label, name, digits in pairs:
        sides = [getattr(side, name)() for side in (theirs, ours)]
        if found.distinct is None or None in sides:
            continue
        value = " → ".join(text.share(side.value[0], digits) for side in sides)
        gain = text.interval(*comparison.point(found.distinct, 0), digits=2, signed=True)
        detail = f"{gain}, paired" if name == "mean_distinct" else "found, mean of the problems where it is known"
        yield label, value, detail, False
    solved = f"{ours.label} alone / {theirs.label} alone, of {len(ours.ids)} problems"
    yield "Problems that one alone solves", f"{len(found.gained)} / {len(found.lost)}", solved, False


def _run_numbers(run: Run) -> Iterable[Card]:
    if not run.columns["step"].size:
        return
    updates = run.series("updates")
    detail = "of each seed" if updates is None else f"{text.count(np.nanmax(updates.values))} gradient updates"
    yield "Training steps", text.count(run.columns["step"].max()), detail, False
    if (series := run.series("seconds")) is not None:
        yield _wall_time(float(np.nanmax(series.values)), run.events)
    if (series := folder.series(run, "tokens per second")) is not None:
        yield "Tokens per second", text.count(np.nanmedian(series.values)), "sampled, median over steps", False
    for k, series in list(folder.pass_at(run).items())[:1]:
        yield f"Last short evaluation, pass@{k}", *page.estimate(series, -1), False
    for meaning, label in (
        ("sigma", "Final sigma"),
        ("kl", "Final KL, nats a token"),
        ("indicator", "Final indicator"),
    ):
        if (series := folder.series(run, meaning)) is not None:
            yield label, *page.estimate(series, -1), False


def _wall_time(training: float, events: Iterable[Mapping[str, Any]]) -> Card:
    """Seconds in all: training with its short evaluations, and the phases before and after it that were timed."""
    seconds: dict[str, float] = {}
    for event in events:
        if isinstance(event.get("seconds"), int | float):
            name = "compiling" if event.get("event") == "compile" else str(event.get("detail"))
            seconds[name] = seconds.get(name, 0.0) + event["seconds"]
    parts = [f"training {text.duration(training)}", *(f"{name} {text.duration(one)}" for name, one in seconds.items())]
    if not seconds:
        return "Wall time", text.duration(training), "training and its evaluations; nothing else was timed", False
    return "Wall time", text.duration(training + sum(seconds.values())), ", ".join(parts), False


def _evaluations(judged: Judged, drawn: Mapping[str, Chart]) -> Iterator[page.Block]:
    """The chart, the table of every policy, and the paired comparison; or why they are not there."""
    if evaluation_plot.NAME in drawn:
        yield page.drawn(drawn[evaluation_plot.NAME])
    if not judged.evaluations:
        yield page.Missing("No evaluation was recorded: evaluations/ holds no readable file.")
    yield from map(page.Missing, judged.problems)
    if judged.evaluations:
        yield _table(judged.evaluations)
    if judged.comparison is not None:
        yield from _compared(judged.comparison)
    else:
        yield from (page.Missing(f"{one.label}: {note}") for one in judged.evaluations for note in one.curve.notes)


def _table(found: Sequence[Evaluation]) -> page.Table:
    """A row for each policy; the largest k has a column of its own name where it is the same for all."""
    largest = {one.curve.ks[-1] for one in found}
    middle = all(_MIDDLE in one.curve.ks[:-1] for one in found)
    name = f"pass@{max(largest)}" if len(largest) == 1 else "largest k"
    between = (f"pass@{_MIDDLE}",) if middle else ()
    head = ("policy", "step", "problems x answers", "T", "pass@1", *between, name, "distinct", "share of all")
    return page.Table(head, [_row(one, middle, named=len(largest) > 1) for one in found])


def _row(one: Evaluation, middle: bool, named: bool) -> tuple[Any, ...]:
    curve = one.curve
    distinct, share = one.mean_distinct(), one.share_of_solutions()
    last = text.interval(*comparison.point(curve.band, -1))
    between = (text.interval(*comparison.point(curve.band, curve.ks.index(_MIDDLE))),) if middle else ()
    return (
        one.label + (" (noisy)" if one.noisy and "noisy" not in one.label else ""),
        "unknown" if one.step is None else f"{one.step:,}",
        f"{len(one.ids):,} x {one.n:,}",
        f"{one.temperature:g}",
        text.interval(*comparison.point(curve.band, 0)),
        *between,
        f"pass@{curve.ks[-1]} {last}" if named else last,
        "unknown" if distinct is None else text.share(distinct.value[0], 2),
        "unknown" if share is None else text.share(share.value[0]),
    )


def _compared(found: Comparison) -> Iterator[page.Block]:
    """Every k in a table, and the problems that one of the two alone solved."""
    ours, theirs = found.ours.label, found.theirs.label
    rows = {
        row["k"]: (
            f"pass@{row['k']}",
            *(
                text.interval(row[side], row[f"{side}_low"], row[f"{side}_high"], signed=side == "difference")
                for side in ("theirs", "ours", "difference")
            ),
        )
        for row in found.rows()
    }
    head = ("", theirs, ours, "difference, paired")
    yield from map(page.Missing, found.notes)
    yield page.Table(head, [row for k, row in rows.items() if k in (1, _MIDDLE, max(rows))])
    yield page.Details("Every k, with intervals", [page.Table(head, list(rows.values()))])
    prompts: Mapping[str, str] = dict(zip(found.ours.ids, found.ours.prompts, strict=True))
    for who, ids in ((ours, found.gained), (theirs, found.lost)):
        if ids:
            more = f" (the first {_LISTED})" if len(ids) > _LISTED else ""
            listed = [(text.visible(name, 80), text.visible(prompts[name], 200)) for name in ids[:_LISTED]]
            summary = f"Problems that {who} alone solves: {len(ids)}{more}"
            yield page.Details(summary, [page.Table(("id", "prompt"), listed)])


def _samples(path: Path) -> Iterator[page.Block]:
    if not path.is_file():
        yield page.Missing("No answers were logged: samples.jsonl is not in the run folder.")
        return
    steps, problems = samples.read(path)
    yield from map(page.Missing, problems)
    for step in steps:
        yield from samples.blocks(step)
