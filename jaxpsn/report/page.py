"""What the reports of both homes share: the page with its head, cards, tables, figures, events and config."""

import base64
import datetime
import html
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np

from jaxpsn.core import errors, files, text
from jaxpsn.report import figures
from jaxpsn.report.runs import Run, Series, setting
from jaxpsn.stats import statistics


class Content(NamedTuple):
    """What a report says before the parts that all share; ``sections`` and ``notes`` in their order."""

    title: str
    lede: str
    sections: Sequence[str]
    """HTML of :func:`section`."""
    notes: Sequence[str]
    """How the page is read, in sentences."""
    kind: str = "Run"
    warnings: Sequence[str] = ()
    """What a reader must know before the numbers; shown above them."""
    source: str = "the numbers are in metrics.csv"
    unused: Sequence[str] = ()
    """Packages whose versions say nothing of what is shown."""


def write(run: Run, content: Content) -> Path:
    """Write ``report.html`` of a run folder: head, warnings, sections, notes, events, config; returns its path."""
    notes = "".join(f"<li>{escape(note)}</li>" for note in (*run.notes, *content.notes))
    shared = (
        section("reading", "How to read this", f'<div class="notes"><ul>{notes}</ul></div>'),
        section("events", "Events", _events(run.events)),
    )
    template = resources.files("jaxpsn.report").joinpath("templates/report.html").read_text(encoding="utf-8")
    page = Template(template).substitute(
        title=escape(content.title),
        kicker=escape(f"{content.kind} {run.config.get('name') or run.path.resolve().name}"),
        lede=escape(content.lede),
        tags=_tags(run, content.unused),
        kind=escape(content.kind.lower()),
        source=escape(content.source),
        warnings="".join(f'<p class="warning" role="alert">{escape(warning)}</p>' for warning in content.warnings),
        sections="\n".join((*content.sections, *shared)),
        config=_config(run.config),
    )
    path = run.path / "report.html"
    files.write_atomically(path, page)
    return path


def answer(to: Callable[[Sequence[str]], str], arguments: Sequence[str]) -> int:
    """Print what a command line is answered with; returns its status. A user's mistake is one line and status 2."""
    try:
        print(to(arguments), end="")
    except errors.UserError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename}: cannot be written ({error.strerror})", file=sys.stderr)
        return 2
    return 0


def escape(value: Any) -> str:
    """Text for HTML, whatever it holds; what cannot be seen is shown by its name."""
    return html.escape(text.visible(value), quote=True)


def section(name: str, heading: str, body: str) -> str:
    """A section of the page; ``name`` is its anchor, ``body`` its HTML."""
    return f'<section id="{name}"><h2>{heading}</h2>{body}</section>'


def missing(reason: str) -> str:
    """A box that says why something is not there."""
    return f'<p class="missing">{escape(reason)}</p>'


def cards(found: Iterable[tuple[str, str, str, bool]]) -> str:
    """Key numbers: label, value, detail, and whether it is a chief one."""
    return f'<dl class="cards">{"".join(_card(*card) for card in found)}</dl>'


def _card(label: str, value: str, detail: str, chief: bool) -> str:
    kind = ' class="chief"' if chief else ""
    return (
        f"<div{kind}><dt>{escape(label)}</dt>"
        f'<dd><span class="value">{escape(value)}</span><br><span class="detail">{escape(detail)}</span></dd></div>'
    )


def estimate(series: Series, index: int) -> tuple[str, str]:
    """Value and detail of a card for one point of a metric: the interval over seeds, and the step."""
    values = series.values[:, index]
    estimate = statistics.bootstrap(values[np.isfinite(values)])
    at = f"at {text.count(series.steps[index])} steps"
    if estimate.low is None or estimate.high is None:
        return text.number(estimate.value), f"{at}; one seed, no interval"
    interval = f"[{text.number(estimate.low)}, {text.number(estimate.high)}]"
    return text.number(estimate.value), f"{interval} over {estimate.runs} seeds, {at}"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table whose rows begin with a heading cell; it scrolls where it is too wide."""
    shown = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        f"<tr><th>{escape(row[0])}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{shown}</tr></thead><tbody>{body}</tbody></table></div>'


def details(summary: str, body: str) -> str:
    """A part that opens at a click."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def figure(path: Path, plot: figures.Plot) -> str:
    """A plot within the page, with its caption."""
    data = base64.b64encode(path.read_bytes()).decode()
    width, height = plot.figure.canvas.get_width_height()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(plot.finding)}"'
        f' width="{width}" height="{height}">'
        f"<figcaption>{escape(plot.caption)}</figcaption></figure>"
    )


def _tags(run: Run, unused: Sequence[str]) -> str:
    date = setting(run.config, "written")
    if date is None:
        metrics = run.path / "metrics.csv"
        changed = (metrics if metrics.is_file() else run.path).stat().st_mtime
        date = datetime.datetime.fromtimestamp(changed, datetime.UTC).isoformat(timespec="seconds")
    tags = {"date": str(date).replace("T", " ").replace("+00:00", " UTC")}
    seeds = run.seeds.tolist()
    if seeds:
        shown = ", ".join(map(str, seeds)) if len(seeds) < 8 else f"{seeds[0]} to {seeds[-1]}"
        tags |= {"seed" if len(seeds) == 1 else "seeds": shown}
    session = (setting(run.config, "sessions") or [run.config])[-1]  # a resumed run may have changed machines
    device, versions = session.get("device"), session.get("versions")
    tags |= {} if device is None else {"device": device}
    known = versions if isinstance(versions, Mapping) else {}
    tags |= {name: version for name, version in known.items() if name not in unused}
    return "".join(f"<li>{escape(name)} <b>{escape(value)}</b></li>" for name, value in tags.items())


def _events(events: Iterable[Mapping[str, Any]]) -> str:
    names = ("time", "step", "event", "detail")
    rows = ["".join(f"<td>{escape(event.get(name, ''))}</td>" for name in names) for event in events]
    if not rows:
        return missing("No event was logged: no resume, no signal, no fallback.")
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _config(config: Mapping[str, Any]) -> str:
    if not config:
        return missing("config.json is not in the run folder.")
    rows = "".join(_config_rows(config, ""))
    return f'<div class="scroll"><table><tbody>{rows}</tbody></table></div>'


def _config_rows(config: Mapping[str, Any], path: str) -> Iterable[str]:
    """One row per leaf, under a heading for each section; leaves before sections."""
    parts = {}
    for name, value in config.items():  # a list of objects, such as the sessions, reads as one section each
        listed = isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value)
        parts |= {f"{name}[{index}]": item for index, item in enumerate(value)} if listed else {name: value}
    sections = {name: value for name, value in parts.items() if isinstance(value, Mapping) and value}
    for name, value in parts.items():
        if name not in sections:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"<tr><th>{escape(name)}</th><td>{escape(shown)}</td></tr>"
    for name, value in sections.items():
        inner = f"{path}.{name}" if path else name
        yield f'<tr class="section"><th colspan="2">{escape(inner)}</th></tr>'
        yield from _config_rows(value, inner)
