"""What the pages of studies share: the table of arms, the method with its commands, and the head of the page."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxpsn.core import errors
from jaxpsn.report import figures, page
from jaxpsn.report.runs import Run

_QUIET = ("checkpoint", "start", "compile")  # events of every arm that say nothing here
_ENDED = "finished at step"
_ID = ("step", "seed")


class Cell(NamedTuple):
    """A cell of the table of arms: its value, and the lines below it."""

    value: str
    details: tuple[str, ...] = ()


def as_run(path: Path, content: Mapping[str, Any], runs: Sequence[tuple[str, Run]], notes: Sequence[str]) -> Run:
    """A study as the shared page reads a run: its settings, all seeds, and what happened in any of its runs."""
    columns = {name: np.concatenate([np.zeros(0), *(run.columns[name] for _, run in runs)]) for name in _ID}
    events = [
        {**event, "event": f"{label}: {event.get('event', '')}"}
        for label, run in runs
        for event in run.events
        if event.get("event") not in _QUIET and not str(event.get("detail", "")).startswith(_ENDED)
    ]
    told = [f"{label}: {note}" for label, run in runs for note in run.notes]
    return Run(path, content, columns, tuple(events), (*notes, *told))


def arms(heads: Sequence[str], rows: Iterable[tuple[str, bool, Sequence[Cell]]]) -> str:
    """A table with a row for each arm: its colour, whether it is the best, and its cells, its name first."""
    shown = []
    for color, best, cells in rows:
        first, *others = (
            page.escape(cell.value) + "".join(f"<small>{page.escape(line)}</small>" for line in cell.details)
            for cell in cells
        )
        name = f'<th><div><span class="swatch" style="--arm:{color}"></span><span>{first}</span></div></th>'
        mark = ' class="best"' if best else ""
        shown.append(f"<tr{mark}>{name}{''.join(f'<td>{cell}</td>' for cell in others)}</tr>")
    head = "".join(f"<th>{page.escape(name)}</th>" for name in heads)
    table = f'<table class="arms"><thead><tr>{head}</tr></thead><tbody>{"".join(shown)}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def markdown(heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """The same table in Markdown, a cell on one line."""
    lines = [list(heads), ["---"] * len(heads)]
    for cells in rows:
        shown = (" ".join((cell.value, ", ".join(cell.details))) for cell in cells)
        lines.append([cell.strip().replace("|", "\\|").replace("\n", " ") for cell in shown])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(written: figures.Written, *names: str) -> str:
    """Those plots that were drawn, or a box that says that there is none."""
    found = "".join(page.figure(*written[name]) for name in names if name in written)
    return found or page.missing("Nothing was recorded that could be drawn here.")


def method(terms: Iterable[tuple[str, str]], content: Mapping[str, Any]) -> str:
    """What was done and what each number is, and the commands that do it again."""
    told = "".join(f"<dt>{page.escape(term)}</dt><dd>{page.escape(meaning)}</dd>" for term, meaning in terms)
    commands = "\n".join(dict.fromkeys(_commands(content)))
    again = f'<h3>To make it again</h3><pre class="command">{page.escape(commands)}</pre>' if commands else ""
    return f"<dl>{told}</dl>{again}"


def _commands(content: Mapping[str, Any]) -> Iterator[str]:
    """The command of every session, the first one first; that of the study where no session tells one."""
    sessions = content.get("sessions")
    told = [session.get("command") for session in sessions if isinstance(session, Mapping)] if sessions else []
    for command in [command for command in told if command] or [content.get("command")]:
        if isinstance(command, list):
            yield "python " + shlex.join(map(str, command))
        elif command:
            yield str(command)


def versions(content: Mapping[str, Any]) -> str:
    """The versions that ``study.json`` tells."""
    found = content.get("versions")
    if not isinstance(found, Mapping) or not found:
        return "Not recorded."
    return ", ".join(f"{name} {version}" for name, version in found.items()) + "."


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


def serve(
    arguments: Sequence[str],
    build: Callable[[str], Path],
    markdown: Callable[[Sequence[str]], str],
    *,
    several: bool,
) -> int:
    """The command line of a report, ``STUDY [--markdown]``: print the page's path, or the table in Markdown.

    ``several``: ``--markdown`` takes more than one study. A user's mistake is one line and status 2.
    """

    def to(arguments: Sequence[str]) -> str:
        flags = [argument for argument in arguments if argument.startswith("--")]
        folders = [argument for argument in arguments if argument not in flags]
        most = len(folders) if several and flags else 1
        if flags not in ([], ["--markdown"]) or not 1 <= len(folders) <= most:
            errors.refuse("arguments", " ".join(arguments), f"STUDY, or STUDY{'...' * several} --markdown")
        return markdown(folders) if flags else f"{build(folders[0])}\n"

    return page.answer(to, arguments)
