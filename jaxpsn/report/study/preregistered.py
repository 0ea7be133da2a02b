"""The hypotheses of a study's config with their verdicts: the first thing that the report of either kind shows."""

import datetime
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jaxpsn.report import page
from jaxpsn.report.page import Cell
from jaxpsn.report.study.folder import mapping
from jaxpsn.report.study.words import NONE
from jaxpsn.stats import hypotheses
from jaxpsn.stats.hypotheses import METRICS, OPEN, Hypothesis
from jaxpsn.stats.statistics import Estimate

Measure = Callable[[Hypothesis], Estimate | None]
"""The difference that a hypothesis is about, None until every seed of both arms has finished."""
_DIFFERENCES = {
    "control": "P is the probability that a run of the first arm does better than one of the second; the difference is"
    " P less one half.",
    "reasoning": "Differences of pass@k, in shares, are paired; on the mean of the tasks where there are several.",
}


def sections(content: Mapping[str, Any], measure: Measure) -> Iterator[page.Section]:
    """The section of the hypotheses of ``study.json``, where it has any. Raises UserError for what is none."""
    config = mapping(content.get("study"))
    found = hypotheses.read(config.get("hypotheses") or ())
    if not found:
        return
    hypotheses.refuse_unknown(config["hypotheses"], content["arms"], content["kind"])
    rows = [_row(one, METRICS[content["kind"]][one.metric], measure(one)) for one in found]
    table = page.Table(("statement", "metric, margin", "difference", "verdict"), rows, "said")
    reading = "In brackets 95 % intervals. Supported: the interval lies beyond the margin on the expected side (equal:"
    reading += " within it). Contradicted: on the other side of it (equal: wholly beyond). Else undecided."
    told = f"Fixed {_when(content)}before the first run; a study with others is another study. Stopping rule: judged"
    told += f" once, when all {config.get('seeds')} seeds of both arms have made all {config.get('steps')} steps."
    blocks = [page.Text(told), table, page.Text(f"{_DIFFERENCES[content['kind']]} {reading}")]
    yield page.Section("hypotheses", "What was to be found", blocks)


def _row(one: Hypothesis, metric: str, found: Estimate | None) -> tuple[Any, ...]:
    about = Cell(metric, (f"{one.expects}, margin {one.margin:g}", *([one.stop] if one.stop else [])))
    if found is None:
        return one.sentence, about, NONE, f"{OPEN}: not every seed of both arms has finished"
    ends = () if found.low is None or found.high is None else (f"[{found.low:+.3g}, {found.high:+.3g}]",)
    shown = Cell(f"{found.value:+.3g}", ends)
    return one.sentence, about, shown, hypotheses.verdict(one.expects, found, one.margin)


def _when(content: Mapping[str, Any]) -> str:
    """When the first session began, which wrote them down."""
    sessions = content.get("sessions")
    started = mapping(sessions[0]).get("started") if isinstance(sessions, list) and sessions else None
    try:
        moment = datetime.datetime.fromisoformat(str(started))
    except ValueError:
        return ""
    return f"at {moment:%Y-%m-%d %H:%M} {moment.tzname() or ''}, ".replace(" ,", ",")
