"""How the reports of both kinds of study say what they have in common: seeds, versions, intervals, the method."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpsn.core import text
from jaxpsn.report import page
from jaxpsn.report.page import Cell
from jaxpsn.report.runs import Run
from jaxpsn.report.study.folder import Choice, Study
from jaxpsn.stats.statistics import Estimate

NONE = "-"
_QUIET = ("checkpoint", "start", "compile")  # events of every arm that say nothing here
_ENDED = "finished at step"
_ID = ("step", "seed")


def as_run(study: Study) -> Run:
    """A study as the shared page reads a run: its settings, all seeds, and what happened in any of its runs."""
    found = [(unit.name, unit.told.run) for unit in study.units if unit.told.run is not None]
    columns = {name: np.concatenate([np.zeros(0), *(run.columns[name] for _, run in found)]) for name in _ID}
    events = [
        {**event, "event": f"{label}: {event.get('event', '')}"}
        for label, run in found
        for event in run.events
        if event.get("event") not in _QUIET and not str(event.get("detail", "")).startswith(_ENDED)
    ]
    told = [f"{label}: {note}" for label, run in found for note in run.notes]
    return Run(study.path, study.content, columns, tuple(events), (*study.notes, *told))


def method(terms: Iterable[tuple[str, str]], content: Mapping[str, Any]) -> list[page.Block]:
    """What was done and what each number is, and the commands that do it again."""
    commands = "\n".join(dict.fromkeys(_commands(content)))
    again = [page.Heading("To make it again"), page.Command(commands)] if commands else []
    return [page.Terms([*terms, ("Versions", _versions(content))]), *again]


def _commands(content: Mapping[str, Any]) -> Iterator[str]:
    """The command of every session, the first one first; that of the study where no session tells one."""
    sessions = content.get("sessions")
    told = [session.get("command") for session in sessions if isinstance(session, Mapping)] if sessions else []
    for command in [command for command in told if command] or [content.get("command")]:
        if isinstance(command, list):
            yield "python " + shlex.join(map(str, command))
        elif command:
            yield str(command)


def _versions(content: Mapping[str, Any]) -> str:
    found = content.get("versions")
    if not isinstance(found, Mapping) or not found:
        return "Not recorded."
    return ", ".join(f"{name} {version}" for name, version in found.items()) + "."


def ways(count: int) -> str:
    """How many arms there are."""
    return "one way to explore" if count == 1 else f"{count} ways to explore"


def tuning(
    found: Sequence[tuple[str, Choice]], charts: Mapping[str, Any], details: Iterable[page.Block]
) -> list[page.Block]:
    """How scales were chosen: (name, choice) of each, their chart, and everything that was tried."""
    if not found:
        return [page.Missing("No scale was tuned in this study: each arm ran at the scale that it was given.")]
    ends = [name for name, one in found if one.at_an_end]
    note = page.Missing(f"Chosen at an end of what was tried: {', '.join(ends)}. A wider grid might serve better.")
    return [*page.shown(charts, "tuning"), *([note] if ends else []), *details]


def seeds(found: Any) -> str:
    """Seeds as people list them: 0 to 9, or 0, 1."""
    found = np.unique(found)
    whole = len(found) > 2 and np.ptp(found) == len(found) - 1
    return f"{found[0]} to {found[-1]}" if whole else ", ".join(map(str, found.tolist()))


def grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Labels by what is told of them, in their order: value -> labels."""
    found: dict[str, list[str]] = {}
    for label, told in pairs:
        found.setdefault(told, []).append(label)
    return found


def interval(found: Estimate, show: Callable[[float], str] = text.number) -> str:
    """A value with its interval, if it has one."""
    if found.low is None or found.high is None:
        return show(found.value)
    return f"{show(found.value)} [{show(found.low)}, {show(found.high)}]"


def cell(found: Estimate | None, show: Callable[[float], str] = text.number, alone: str = "") -> Cell:
    """A value above its interval; ``alone`` is said where it has none."""
    if found is None:
        return Cell(NONE)
    ends = (alone,) if alone else ()
    if found.low is not None and found.high is not None:
        ends = (f"[{show(found.low)}, {show(found.high)}]",)
    return Cell(show(found.value), ends, found.value)
