"""The page of a report: blocks of content, which the templates draw, with its head, notes, events and config."""

import datetime
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from markupsafe import Markup

from jaxpsn.core import files, text
from jaxpsn.report.charts import look, svg
from jaxpsn.report.charts import spec as charts
from jaxpsn.report.runs import Run, Series, flags, setting
from jaxpsn.stats import statistics


class Cell(NamedTuple):
    """A cell of a table: its value, the lines below it, and what it counts as where the table is sorted."""

    value: str
    details: tuple[str, ...] = ()
    order: float | None = None


class Row(NamedTuple):
    """A row that stands for an arm: its cells, its name first, its colour, and whether it is the best."""

    cells: Sequence[Cell | str]
    color: str = ""
    best: bool = False


class Table(NamedTuple):
    """A table; its rows are Rows, or sequences of cells whose first is a heading."""

    heads: Sequence[str]
    rows: Sequence[Row | Sequence[Any]]
    look: str = ""
    """arms: dense, a row for each arm; said: sentences, whose lines break."""
    kind = "table"


class Missing(NamedTuple):
    """A box that says why something is not there."""

    text: str
    kind = "missing"


class Text(NamedTuple):
    """A paragraph in small letters."""

    text: str
    kind = "text"


class Heading(NamedTuple):
    """A heading within a section."""

    text: str
    kind = "heading"


class Command(NamedTuple):
    """What is typed in a terminal."""

    text: str
    kind = "command"


class Terms(NamedTuple):
    """Terms with their meanings."""

    terms: Sequence[tuple[str, str]]
    kind = "terms"


class Cards(NamedTuple):
    """Key numbers: label, value, detail, and whether it is a chief one."""

    cards: Sequence[tuple[str, str, str, bool]]
    kind = "cards"


class Details(NamedTuple):
    """A part that opens at a click."""

    summary: str
    blocks: Sequence[Any]
    kind = "details"


class Frame(NamedTuple):
    """A page within the page."""

    title: str
    page: str
    tall: bool = False
    """Whether there is more than one picture in it."""
    kind = "frame"


class Drawn(NamedTuple):
    """A chart as it is shown."""

    name: str
    finding: str
    caption: str
    keys: Sequence[tuple[str, Markup]]
    drawings: Sequence[Markup]
    values: Markup
    kind = "chart"


Block = Table | Missing | Text | Heading | Command | Terms | Cards | Details | Frame | Drawn


class Section(NamedTuple):
    """A part of the page with its anchor and its heading."""

    name: str
    heading: str
    blocks: Sequence[Any]


class Content(NamedTuple):
    """What a report says before the parts that all share; ``sections`` and ``notes`` in their order."""

    title: str
    lede: str
    sections: Sequence[Section]
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
    path = run.path / "report.html"
    files.write_atomically(path, templates().get_template("report.html").render(
        content=content,
        name=run.config.get("name") or run.path.resolve().name,
        colors=Markup(look.css()),
        tags=_tags(run, content.unused),
        notes=(*run.notes, *content.notes),
        events=_events(run.events),
        config=_config(run.config),
    ))  # fmt: skip
    return path


@functools.cache
def templates() -> jinja2.Environment:
    """The templates of pages; whatever they are given is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("jaxpsn.report"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_visible,
    )  # fmt: skip


def _visible(value: Any) -> Any:
    """Whatever a name holds is shown as text: what cannot be seen by its own name."""
    return value if isinstance(value, Markup | jinja2.Undefined) else text.visible(value)


def drawn(chart: charts.Chart) -> Drawn:
    """A chart as a block of the page."""
    return Drawn(
        chart.name, chart.finding, chart.caption,
        [(name, Markup(svg.sample(layer))) for name, layer in charts.keys(chart).items()],
        [Markup(drawing) for drawing in svg.drawings(chart)], Markup(svg.values(chart)),
    )  # fmt: skip


def shown(found: Mapping[str, charts.Chart], *names: str) -> list[Block]:
    """Those charts that were drawn, or a box that says that there is none."""
    blocks: list[Block] = [drawn(found[name]) for name in names if name in found]
    return blocks or [Missing("Nothing was recorded that could be drawn here.")]


def markdown(heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table in Markdown, a cell on one line."""
    lines = [list(heads), ["---"] * len(heads)]
    for cells in rows:
        found = (" ".join((cell.value, ", ".join(cell.details))) for cell in cells)
        lines.append([cell.strip().replace("|", "\\|").replace("\n", " ") for cell in found])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def estimate(series: Series, index: int) -> tuple[str, str]:
    """Value and detail of a card for one point of a metric: the interval over seeds, and the step."""
    values = series.values[:, index]
    estimate = statistics.bootstrap(values[np.isfinite(values)])
    at = f"at {text.count(series.steps[index])} steps"
    if estimate.low is None or estimate.high is None:
        return text.number(estimate.value), f"{at}; one seed, no interval"
    interval = f"[{text.number(estimate.low)}, {text.number(estimate.high)}]"
    return text.number(estimate.value), f"{interval} over {estimate.runs} seeds, {at}"


def _tags(run: Run, unused: Sequence[str]) -> Mapping[str, Any]:
    date = setting(run.config, "written")
    if date is None:
        metrics = run.path / "metrics.csv"
        changed = (metrics if metrics.is_file() else run.path).stat().st_mtime
        date = datetime.datetime.fromtimestamp(changed, datetime.UTC).isoformat(timespec="seconds")
    tags = {"date": str(date).replace("T", " ").replace("+00:00", " UTC")}
    seeds = run.seeds.tolist()
    if seeds:
        listed = ", ".join(map(str, seeds)) if len(seeds) < 8 else f"{seeds[0]} to {seeds[-1]}"
        tags |= {"seed" if len(seeds) == 1 else "seeds": listed}
    session = (setting(run.config, "sessions") or [run.config])[-1]  # a resumed run may have changed machines
    device, versions = session.get("device"), session.get("versions")
    tags |= {} if device is None else {"device": device}
    known = versions if isinstance(versions, Mapping) else {}
    return tags | {name: version for name, version in known.items() if name not in unused}


def _events(events: Iterable[Mapping[str, Any]]) -> Block:
    names = ("time", "step", "event", "detail")
    rows = [[event.get(name, "") for name in names] for event in events]
    return Table(names, rows) if rows else Missing("No event was logged: no resume, no signal, no fallback.")


def _config(config: Mapping[str, Any]) -> Block:
    return Table((), list(_config_rows(config))) if config else Missing("config.json is not in the run folder.")


def _config_rows(config: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    """One row per setting, under a heading for each section; what has none comes first."""
    parts = {}
    for name, value in config.items():  # a list of objects, such as the sessions, reads as one section each
        listed = isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value)
        parts |= {f"{name}[{index}]": item for index, item in enumerate(value)} if listed else {name: value}
    sections = {"": {name: value for name, value in parts.items() if not isinstance(value, Mapping) or not value}}
    sections |= {name: value for name, value in parts.items() if isinstance(value, Mapping) and value}
    for heading, settings in sections.items():
        if heading:
            yield (heading,)
        for name, value in flags(settings):
            yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
