"""What a reasoning study's numbers say in words: the finding, warnings, and the cells of its tables."""

from collections.abc import Iterator, Sequence

from jaxpsn.core import text
from jaxpsn.report import page
from jaxpsn.report.page import Cell
from jaxpsn.report.reasoning.study import hypotheses, training
from jaxpsn.report.reasoning.study.hypotheses import Answer
from jaxpsn.report.reasoning.study.scores import ALL, REFERENCE, Contrast, Results
from jaxpsn.report.study import folder
from jaxpsn.report.study.folder import FAILED, FINISHED
from jaxpsn.report.study.words import NONE, cell, grouped, interval, seeds
from jaxpsn.stats import pass_at_k
from jaxpsn.stats.evaluations import BASE
from jaxpsn.stats.hypotheses import CONTRADICTED, OPEN, SUPPORTED, UNDECIDED
from jaxpsn.stats.statistics import Estimate

_FEW = 10  # seeds below which an interval tends to be too narrow
_SATURATED = 0.95  # pass@k of the base above which an arm has no room to gain
_SHOWN = 6  # unfinished runs that are named


def points(value: float, *, signed: bool = False) -> str:
    """A share in percent with one decimal, without its unit."""
    return text.share(100 * value, 1, signed=signed)


def named(results: Results, name: str, task: str) -> str:
    """The name of a plot: that of the finding's task has no suffix."""
    return name if task == results.chief else f"{name}-{task}"


def where(results: Results, task: str) -> str:
    """A task in words."""
    return f"mean of {len(results.averaged)} tasks" if task == ALL else task


def _gained(value: float) -> str:
    return points(value, signed=True)


def gain(found: Estimate) -> str:
    """A difference in points, with its interval."""
    return interval(found, _gained)


def lede(results: Results) -> str:
    """The finding: who leads at the largest k, how that compares to the reference, and how the pattern fares."""
    task, k = results.chief, results.largest
    if task is None or len(results.arms(task)) < 2:
        return "No arm is finished yet, so nothing can be compared."
    found = {label: results.passed(task, label, k) for label in results.arms(task)}
    known = {label: one for label, one in found.items() if one is not None}
    best = max((label for label in known if label != BASE), key=lambda label: known[label].value)
    first = [
        f"{label} {interval(known[label], points)} %" for label in (BASE, REFERENCE) if label in known and label != best
    ]
    parts = [f"pass@{k}, {where(results, task)}: {', '.join(first)}{', ' * bool(first)}highest"
             f" {best} {interval(known[best], points)} %."]  # fmt: skip
    contrast = results.contrast(task, best, REFERENCE, k)
    if contrast is not None and best != REFERENCE:
        parts.append(f"That is {gain(contrast.estimate)} points on {REFERENCE}, paired.")
    parts += _verdicts(hypotheses.answers(results, task))
    return " ".join(parts)


def _verdicts(answers: Sequence[Answer]) -> Iterator[str]:
    """How many of the paper's statements are supported, contradicted, undecided."""
    found = [answer.verdict for answer in answers if answer.hypothesis.paper]
    counts = [(found.count(word), word) for word in (SUPPORTED, CONTRADICTED, UNDECIDED, OPEN)]
    if found:
        shown = text.listed([f"{count} {word}" for count, word in counts if count])
        yield f"Of the paper's {len(found)} statements: {shown}."


def warnings(results: Results) -> list[str]:
    """What a reader must know before the numbers."""
    study = results.study
    unlike = folder.unlike_versions((label, study.versions(label, [FINISHED])) for label in study.labels)
    return [*unlike, *_absent(results), *_unequal(results), *_saturated(results)]


def _absent(results: Results) -> Iterator[str]:
    """Arms without results, seeds that are not complete, and tasks that the mean leaves out."""
    study, wanted = results.study, results.study.seeds
    for task in study.tasks:
        none = [arm for arm in study.labels if not study.cells[task.label, arm].finished]
        if none:
            shown = "any arm" if len(none) == len(study.labels) else text.listed(none)
            yield f"{task.label}: no results yet of {shown}."
        few = {arm: len(study.cells[task.label, arm].finished) for arm in study.labels if arm not in none}
        short = [f"{arm} ({count})" for arm, count in few.items() if wanted is not None and count < wanted]
        if short:
            yield f"{task.label}: fewer than {wanted} seeds are complete of {text.listed(short)}."
    for failed in (True, False):
        found = [
            f"{cell.task}/{cell.arm}/{seed} ({told.detail})"
            for cell in study.cells.values()
            for seed, told in cell.others
            if (told.status == FAILED) == failed
        ]
        if found:
            more = [f"{len(found) - _SHOWN} more"] * (len(found) > _SHOWN)
            what = "Stopped and left out" if failed else "Under way and left out"
            yield f"{what}: {text.listed([*found[:_SHOWN], *more])}."
    left = [task.label for task in study.tasks if task.label not in results.averaged]
    if results.averaged and left:
        yield (
            f"The findings rest on {text.listed(results.averaged)}: too few arms have results on {text.listed(left)}."
        )


def _unequal(results: Results) -> Iterator[str]:
    """Seeds that are one, or that differ between arms; answers too few for the reported k."""
    cells = [cell for cell in results.study.cells.values() if cell.finished]
    if any(len(cell.seeds) == 1 for cell in cells):
        alone = dict.fromkeys(cell.arm for cell in cells if len(cell.seeds) == 1)
        yield (
            f"One seed of {text.listed([*alone])}: intervals are over problems alone and say nothing of other seeds."
        )
    for task in results.study.tasks:
        groups = grouped((cell.arm, seeds(cell.seeds)) for cell in cells if cell.task == task.label)
        if len(groups) > 1:
            shown = "; ".join(f"{seeds} ({', '.join(arms)})" for seeds, arms in groups.items())
            yield f"{task.label}: arms with different seeds are not paired by seed: {shown}."
    if cells and results.largest < pass_at_k.KS[-1]:
        yield f"The largest k is {results.largest}, as an evaluation has no more answers; it stands for larger ones."


def _saturated(results: Results) -> Iterator[str]:
    for task in results.study.tasks:
        found = results.passed(task.label, BASE, results.largest)
        if found is not None and found.value > _SATURATED:
            yield (
                f"{task.label}: the base already solves {points(found.value)} % at k = {results.largest}, which leaves"
                " little to gain."
            )


def few(results: Results) -> Iterator[str]:
    """A note where intervals rest on few seeds."""
    counts = [len(cell.finished) for cell in results.study.cells.values() if cell.finished]
    if counts and 1 < min(counts) < _FEW:
        yield f"Intervals rest on {min(counts)} seeds of an arm: with so few they tend to be too narrow."


def heads(results: Results) -> list[str]:
    """The headings of the table of the judgement."""
    return [
        "arm", *(f"pass@{k}, %" for k in _table_ks(results)), f"pass@{results.largest} minus {REFERENCE}, points",
        "distinct solutions", "new / lost problems",
    ]  # fmt: skip


def _table_ks(results: Results) -> list[int]:
    """Every other power of two: 1, 4, 16, 64, 256."""
    return [k for k in results.ks[::2] if k != results.largest] + [results.largest]


def cells(results: Results, task: str, arm: str) -> list[Cell]:
    """The cells of an arm in the table of the judgement."""
    passed = [cell(results.passed(task, arm, k), points) for k in _table_ks(results)]
    contrast = None if arm == REFERENCE else results.contrast(task, arm, REFERENCE, results.largest)
    against = Cell(NONE) if contrast is None else cell(contrast.estimate, _gained)
    distinct = cell(results.estimate(task, arm, "distinct"), lambda value: text.share(value, 2))
    return [Cell(arm, tuple(_about(results, task, arm))), *passed, against, distinct, _solved(results, task, arm)]


def _about(results: Results, task: str, arm: str) -> Iterator[str]:
    """What is behind a row where its label does not say it: its arguments, and the seeds that it lacks."""
    if arm == BASE:
        yield "before training"
        return
    spec = next(one.spec for one in results.study.arms if one.label == arm)
    if spec != arm:
        yield spec
    counts = sorted({len(cell.finished) for cell in results.cells(task, arm)})
    if results.study.seeds is not None and counts[0] < results.study.seeds:
        yield f"{counts[0]} of {results.study.seeds} seeds"


def contrast_cell(found: Contrast) -> Cell:
    """A difference in points with its interval and the share of samples above zero."""
    shown = cell(found.estimate, _gained)
    return shown._replace(details=(*shown.details, f"P {text.share(found.probability, 2)}"))


def _solved(results: Results, task: str, arm: str) -> Cell:
    found = results.solved(task, arm)
    if found is None:
        return Cell(NONE)
    mean = f"{text.share(found.new.value, 1)} / {text.share(found.lost.value, 1)}"
    return Cell(mean, (f"any seed {found.new_by_any} of {found.hard}", f"all seeds {found.lost_by_all}"))


TRAINING = {
    "zero advantage": ("groups without advantage, %", points),
    training.DIFFERENCE: (
        f"the same minus {REFERENCE}, points",
        _gained,
    ),
    "entropy first": ("entropy, first tenth", text.number),
    "entropy last": ("entropy, last tenth", text.number),
    "kl": ("KL of a token", text.number),
    "effective": ("effective sample size", lambda value: text.share(value, 3)),
    "seconds step": ("seconds a step", text.number),
}
"""Columns of the table of the training: number -> heading, and how it is shown."""
_INTERVALS = ("zero advantage", training.DIFFERENCE)


def training_heads() -> list[str]:
    """The headings of the table of the training."""
    return ["arm", "scale, sigma at the end", *(head for head, _ in TRAINING.values())]


def training_cells(results: Results, task: str, arm: str) -> list[Cell]:
    """The cells of an arm in the table of the training."""
    found = [(name, show, results.trained(task, arm, name)) for name, (_, show) in TRAINING.items()]
    cells = [cell(one if one is None or name in _INTERVALS else one._replace(low=None), show)
             for name, show, one in found]  # fmt: skip
    sigma = results.trained(task, arm, "sigma last")
    end = () if sigma is None or not sigma.value else (f"sigma {text.number(sigma.value)}",)
    return [Cell(arm), Cell(scale(results, task, arm) or "none", end), *cells]


def scale(results: Results, task: str, arm: str) -> str:
    """The scale at which an arm ran, one for each task where they differ; empty where it has none."""
    about = next(one.scale for one in results.study.arms if one.label == arm)
    if about is None:
        return ""
    values = [
        sorted({one.scale for one in cell.finished if one.scale is not None}) for cell in results.cells(task, arm)
    ]
    shown = [text.tick(value) for value in dict.fromkeys(value for found in values for value in found)]
    return f"{about.get('field')} {', '.join(shown) or 'unknown'}"


def answer_cells(answer: Answer) -> tuple[str, tuple[str, ...], str]:
    """A hypothesis as a row: its statement, its differences, and its verdict."""
    shown = tuple(
        f"{one.ours} minus {one.theirs} at {one.k}: {gain(one.estimate)}" + f" ({verdict})" * (len(answer.parts) > 1)
        for one, verdict in answer.parts
    )
    return answer.sentence, shown or (NONE,), answer.said


def markdown(results: Results) -> str:
    """The table of the judgement and the paper's pattern in Markdown, with a line on what the numbers are."""
    task = results.chief
    if task is None:
        return "No task has results yet.\n"
    table = page.markdown(heads(results), (cells(results, task, arm) for arm in results.arms(task)))
    found = hypotheses.answers(results, task)
    told = map(answer_cells, found)
    rows = [[Cell(says), Cell("; ".join(shown)), Cell(verdict)] for says, shown, verdict in told]
    pattern = page.markdown(("statement", "difference, points", "verdict"), rows)
    return "\n\n".join((table, footnote(results, task), *([pattern] if rows else []))) + "\n"


def footnote(results: Results, task: str) -> str:
    """What the numbers of the table are."""
    judged = [one.base for one in results.study.tasks if one.label in results.parts(task) and one.base is not None]
    problems = sorted({len(one.ids) for one in judged})
    samples = sorted({one.n for one in judged})
    seeds = sorted(
        {len(cell.finished) for arm in results.arms(task) if arm != BASE for cell in results.cells(task, arm)}
    )
    tasks = f"Mean of {text.listed(results.averaged)}" if task == ALL else task
    count, each, answers = (" or ".join(map(str, values)) or "no" for values in (seeds, problems, samples))
    spread = "problems" if seeds == [1] else "problems and seeds"
    return (
        f"{tasks}: {each} problems{' of each' if task == ALL else ''}, {answers} answers to each, {count}"
        f" seed{'' if seeds == [1] else 's'} of an arm; in brackets 95 % bootstrap intervals over {spread}."
        f" New: problems{' of all tasks' if task == ALL else ''} that the base never solves in its answers and a"
        " trained policy does; lost: the reverse. Mean over seeds; below it those that any seed solves, and that all"
        " lose."
    )
