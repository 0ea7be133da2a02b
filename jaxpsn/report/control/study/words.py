"""What a study's numbers say in words: the finding, warnings, and the cells of its table."""

from collections.abc import Iterator, Sequence

import numpy as np

from jaxpsn.core import text
from jaxpsn.report import page
from jaxpsn.report.control.study import curves
from jaxpsn.report.control.study.curves import named
from jaxpsn.report.control.study.folder import Arm
from jaxpsn.report.control.study.scores import LAST, Results, Row
from jaxpsn.report.page import Cell
from jaxpsn.report.study import folder
from jaxpsn.report.study.folder import FAILED, MISSING, RUNNING
from jaxpsn.report.study.words import NONE, cell, interval
from jaxpsn.stats.statistics import Estimate

_NAMED = 3  # arms that the lede names as not apart from the first
_FEW = 5  # seeds from which an interval says little
_COUNTED = 6  # arms of which it counts the seeds


def lede(results: Results) -> str:
    """The finding: who leads by IQM, whether its interval is apart from the others', how many seeds solve the task."""
    ranked = results.ranked
    if not ranked:
        return "No arm is finished yet, so nothing can be compared."
    parts = [_lead(results, ranked)]
    if results.study.threshold is not None:
        parts.append(_solved(results, ranked))
    elif curves.exploring(results):
        parts.append(_rewarded(ranked))
    left = len(results.rows) - len(ranked)
    if left:
        parts.append(f"{left} of {len(results.rows)} arms {'is' if left == 1 else 'are'} left out: see below.")
    return " ".join(part for part in parts if part)


def _lead(results: Results, ranked: Sequence[Row]) -> str:
    best, *others = ranked
    final, who = best.final, best.arm.label
    if final is None:
        return ""
    opening = f"Highest IQM of the final return: {who}, {interval(final)}."
    if not others:
        return f"Final return of {who}, the only arm to show: {interval(final)} (IQM)."
    if final.low is None or final.high is None:
        return f"{opening} It is one seed, which gives no interval: how another seed would end is unknown."
    tied = [row for row in others if row.final is not None and row.final.value == final.value]
    if len(tied) == len(others):
        return f"All {len(ranked)} arms end at the same IQM of the final return, {interval(final)}."
    near = [row for row in others if row.final is not None and not _apart(final, row.final)]
    if not near:
        whose = "that of every other arm" if len(others) > 1 else "the other's"
        return f"{opening} Its 95 % interval is apart from {whose}; next is {_with_interval(others[0])}."
    rest = len(others) - len(near)
    shown = [f"{row.arm.label} ({interval(row.final)})" for row in near[:_NAMED] if row.final is not None]
    shown += [f"{len(near) - _NAMED} more"] * (len(near) > _NAMED)
    below = f"; {'the other arm lies' if rest == 1 else f'the other {rest} arms lie'} below it" if rest else ""
    whose = f"{'that' if len(near) == 1 else 'those'} of {text.listed(shown)}"
    return f"{opening} Its 95 % interval overlaps {whose}{below}.{_against_next(results, who, others[0].arm.label)}"


def _against_next(results: Results, ours: str, theirs: str) -> str:
    """How often the leader's runs beat those of the next."""
    found = results.pair(ours, theirs)
    if found is None or found.low is None or found.high is None:
        return ""
    sure = "excludes" if found.low > 0.5 or found.high < 0.5 else "includes"
    return f" A run of {ours} ends above one of {theirs} with probability {share(found)}, which {sure} one half."


def _with_interval(row: Row) -> str:
    return row.arm.label if row.final is None else f"{row.arm.label}, {interval(row.final)}"


def _apart(ours: Estimate, theirs: Estimate) -> bool:
    """Whether our interval lies above theirs; an end that is not known is the value itself."""
    high = theirs.value if theirs.high is None else theirs.high
    return ours.low is not None and ours.low > high


def _solved(results: Results, ranked: Sequence[Row]) -> str:
    threshold = text.tick(results.study.threshold or 0.0)
    found = [(row, row.solved) for row in ranked if row.solved is not None]
    if not any(hits(share) for _, share in found):
        return f"No seed of any arm reaches the threshold of {threshold}."
    return f"Solved (a clean return of at least {threshold}): {_counts(found)}."


def _counts(found: Sequence[tuple[Row, Estimate | None]]) -> str:
    """a 8 of 10 seeds, b 7 and c 0; each with its number of seeds where these differ."""
    known = [(row.arm.label, hits(share), share.runs) for row, share in found if share is not None]
    equal = len({runs for _, _, runs in known}) == 1
    named, others = (known, []) if len(known) <= _COUNTED else (known[: _COUNTED - 1], known[_COUNTED - 1 :])
    shown = [f"{label} {count}" + (f" of {runs}" if not equal else "") for label, count, runs in named]
    if equal:
        shown[0] += f" of {known[0][2]} seeds"
    counts = sorted(count for _, count, _ in others)
    if counts:
        span = str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
        shown.append(f"the other {len(counts)} arms {span}")
    return text.listed(shown)


def _rewarded(ranked: Sequence[Row]) -> str:
    found = [(row, row.rewarded) for row in ranked if row.rewarded is not None]
    return f"A reward is ever seen by {_counts(found)}." if found else ""


def hits(found: Estimate | None) -> int:
    """How many runs a share stands for."""
    return 0 if found is None else round(found.value * found.runs)


def share(found: Estimate) -> str:
    """A probability with its interval, if it has one."""
    if found.low is None or found.high is None:
        return text.share(found.value, 2)
    return text.interval(found.value, found.low, found.high, digits=2)


def warnings(results: Results) -> list[str]:
    """What a reader must know before the numbers: unlike versions, arms without numbers, unfair conditions."""
    unlike = folder.unlike_versions((arm.label, arm.told.versions) for arm in results.study.arms)
    return [*unlike, *_absent(results), *_unfair(results)]


def _absent(results: Results) -> Iterator[str]:
    what = {
        MISSING: "No numbers yet",
        RUNNING: "Not finished, marked * and left out of every comparison",
        FAILED: "Stopped by NaN or infinity, marked * and left out of every comparison",
    }
    for status, words in what.items():
        found = [f"{arm.label} ({arm.told.detail})" for arm in results.study.arms if arm.told.status == status]
        if found:
            yield f"{words}: {'; '.join(found)}."


def _unfair(results: Results) -> Iterator[str]:
    rows = [row for row in results.rows if row.arm.finished and row.scores is not None]
    ends = {text.count(row.scores.end) for row in rows if row.scores is not None}
    if len(ends) > 1:
        steps = text.listed(sorted(ends))
        yield f"Arms made different numbers of steps ({steps}): final returns are not at equal steps."
    seeds = {tuple(row.arm.run.seeds.tolist()) for row in rows if row.arm.run is not None}
    if len(seeds) > 1:
        yield "Arms were run with different seeds: see the method."
    for arm in results.study.arms:
        yield from _unfair_tuning(arm)
    scaled = [arm for arm in results.study.shown if arm.scale]
    tuned = [arm.label for arm in scaled if arm.scale and arm.scale.get("tuned")]
    if tuned and len(tuned) < len(scaled):
        fixed = [arm.label for arm in scaled if arm.label not in tuned]
        yield f"Tuned on other seeds: {text.listed(tuned)}; run at a given scale: {text.listed(fixed)}."


def _unfair_tuning(arm: Arm) -> Iterator[str]:
    if arm.tuning is None:
        return
    if arm.run is not None and np.isin(arm.tuning.seeds, arm.run.seeds).any():
        yield f"{arm.label}: its scale was tuned on seeds that are reported too, which flatters it."
    value = (arm.scale or {}).get("value")
    if isinstance(value, int | float) and not np.isclose(value, arm.tuning.chosen):
        yield f"{arm.label}: it ran at {text.tick(value)}, while its tuning chose {text.tick(arm.tuning.chosen)}."


HEADS = {
    "arm": "arm",
    "scale": "scale",
    "final": "final return, IQM",
    "area": "mean over the curve",
    "improvement": "P({first} ends above)",
    "solved": "seeds that solve",
    "threshold": "steps to solve, median",
    "first_reward": "steps to first reward, median",
    "coverage": "cells visited",
    "distance": "action distance",
    "seconds": "wall time",
}
"""Columns of the final table, in their order, with their headings."""


def columns(results: Results) -> list[str]:
    """The columns that say something in this study."""
    named = {"improvement", "solved", "threshold", "first_reward", "coverage", "distance"}
    found = [name for name in HEADS if name not in named or any(getattr(row, name) is not None for row in results.rows)]
    return [name for name in found if name != "first_reward" or curves.exploring(results)]


def heads(results: Results) -> list[str]:
    """The headings of :func:`columns`."""
    return [HEADS[name].format(first=results.study.arms[0].label) for name in columns(results)]


def cells(results: Results, row: Row) -> list[Cell]:
    """The cells of a row, one for each of :func:`columns`."""
    return [_cell(row, name) for name in columns(results)]


def _cell(row: Row, name: str) -> Cell:
    if name == "arm":
        return _arm_cell(row.arm)
    if name == "scale":
        return _scale_cell(row.arm)
    if name in ("first_reward", "threshold"):
        return _time_cell(row, name)
    if name == "solved":
        return _share_cell(row.solved)
    if name == "seconds":
        return _seconds_cell(row.arm.told.seconds)
    odds = (lambda value: text.share(value, 2)) if name == "improvement" else text.number
    return cell(getattr(row, name), odds, "one seed")


def _arm_cell(arm: Arm) -> Cell:
    about = [arm.spec] if arm.spec != arm.label else []
    about += [] if arm.finished else [f"{arm.told.status}: {arm.told.detail}"]
    return Cell(named(arm), tuple(about))


def _scale_cell(arm: Arm) -> Cell:
    scale = arm.scale
    if not scale:
        return Cell("none")
    value = scale.get("value")
    shown = text.tick(value) if isinstance(value, int | float) else str(value)
    return Cell(f"{scale.get('field')} {shown}", ("tuned" if scale.get("tuned") else "given",))


def _seconds_cell(seconds: float) -> Cell:
    return Cell(text.duration(seconds), order=seconds) if np.isfinite(seconds) else Cell(NONE)


def _share_cell(found: Estimate | None) -> Cell:
    shown = cell(found, lambda value: text.share(value, 2), "one seed")
    return shown if found is None else shown._replace(value=f"{hits(found)}/{found.runs}")


def _time_cell(row: Row, name: str) -> Cell:
    """A median time; 'never' where no seed got there, '≥ budget' where more than half did not."""
    found: Estimate | None = getattr(row, name)
    share = row.rewarded if name == "first_reward" else row.solved
    if found is None or row.scores is None or share is None:
        return Cell(NONE)
    end, known = row.scores.end, f"{hits(share)}/{share.runs} ever"
    ever = (known,) if name == "first_reward" else ()
    if not hits(share):
        return Cell("never", ever or (f"in {text.count(end)}",))
    ends = "one seed"
    if found.low is not None and found.high is not None:
        ends = f"[{duration(found.low, end)}, {duration(found.high, end)}]"
    return Cell(duration(found.value, end), (ends, *ever))


def duration(steps: float, end: float) -> str:
    """Steps up to an event; '≥ end' where it lies beyond what was watched."""
    return f"≥ {text.count(end)}" if np.isinf(steps) else text.count(steps)


def markdown(results: Results) -> str:
    """The final table in Markdown, with a line on what its numbers are."""
    table = page.markdown(heads(results), (cells(results, row) for row in results.rows))
    return f"{table}\n\n{footnote(results)}\n"


def footnote(results: Results) -> str:
    """What the numbers of the table are, in a line."""
    seeds = sorted({len(row.arm.run.seeds) for row in results.rows if row.arm.run is not None})
    count = " or ".join(map(str, seeds)) or "no"
    intervals = "no intervals: one seed" if seeds == [1] else "in brackets 95 % intervals over seeds"
    intervals += ", too narrow for so few" if seeds and 1 < seeds[0] < _FEW else ""
    return (
        f"{results.study.task}, {count} seed{'' if seeds == [1] else 's'} an arm; final return: mean of a seed's last"
        f" {LAST} evaluations of the clean policy; {intervals}."
    )
