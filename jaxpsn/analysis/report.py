"""The report of a run: one HTML page that holds its key numbers, plots, rollout, events and config.

``python -m jaxpsn.analysis.report RUN`` writes ``plots/*.png`` and ``report.html`` into a run folder.
"""

import base64
import datetime
import html
import json
import sys
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from jaxpsn import errors
from jaxpsn.analysis import figures, plots, runs, statistics, text, viewer
from jaxpsn.analysis.runs import Run, Series, setting

_NOTES = (
    "Return is the sum of rewards over an episode. The clean policy acts without noise; the behaviour explores.",
    "Intervals are 95 % percentile intervals of a bootstrap over seeds, around the interquartile mean.",
    "One seed gives no interval: how far another seed would fall from it is unknown.",
    "First and last are the first and last evaluation. Best is chosen after the fact, so it flatters the run.",
    "Sigma is the scale of the weight noise. Distance is how far it moves the actions; it should stay near its target.",
    "The colour of the rollout's time bar is the reward of each step. Drag to turn the view, wheel to zoom.",
)


def build(run_folder: str | Path) -> Path:
    """Write the plots and ``report.html`` of a run folder; returns the page's path.

    A rollout without its page gets one (``rollout.html``). Raises UserError if the folder holds no readable metrics;
    a missing or broken rollout, config or event log only leaves its section saying so.
    """
    run = runs.read(run_folder)
    written = plots.write(run, run.path / "plots")
    rollout, problem = _rollout(run.path / "rollout.json")
    if rollout is not None:
        (run.path / "rollout.html").write_text(rollout, encoding="utf-8")
    page = _template("report.html").substitute(
        title=_escape(_title(run)),
        kicker=_escape(f"Run {run.config.get('name') or run.path.resolve().name}"),
        lede=_escape(_lede(run, written)),
        tags=_tags(run),
        numbers="".join(_card(*card) for card in _numbers(run)),
        seeds=_seed_table(run),
        plots="".join(_figure(*found) for found in written.values()) or _missing("No metric can be plotted yet."),
        rollout=_iframe(rollout) if rollout is not None else _missing(problem),
        notes="".join(f"<li>{_escape(note)}</li>" for note in (*run.notes, *_NOTES)),
        events=_events(run.events),
        config=_config(run.config),
    )
    path = run.path / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def main(arguments: list[str] | None = None) -> int:
    """Build the report of the run folder named on the command line; a user's mistake is one line and status 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if len(arguments) != 1:
            errors.refuse("arguments", " ".join(arguments), "one run folder: python -m jaxpsn.analysis.report RUN")
        print(build(arguments[0]))
    except errors.UserError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename}: cannot be written ({error.strerror})", file=sys.stderr)
        return 2
    return 0


def _template(name: str) -> Template:
    return Template(resources.files("jaxpsn.analysis").joinpath(f"templates/{name}").read_text(encoding="utf-8"))


def _escape(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _missing(reason: str) -> str:
    return f'<p class="missing">{_escape(reason)}</p>'


def _exploration(config: Mapping[str, Any]) -> str:
    rule, structure = setting(config, "exploration.rule"), setting(config, "exploration.structure")
    if rule is None:
        return ""
    parts = [part.strip() for part in str(rule).split("+")]
    weights = f"parameter noise ({structure})" if structure else "parameter noise"
    named = {"parameter": weights, "none": "no exploration"}
    return " + ".join(named.get(part, f"{part} action noise") for part in parts)


def _title(run: Run) -> str:
    """Task, algorithm and exploration, as far as the config tells them."""
    algorithm = setting(run.config, "agent.algorithm")
    parts = (setting(run.config, "env.name"), algorithm and str(algorithm).upper(), _exploration(run.config))
    return ", ".join(str(part) for part in parts if part) or run.path.resolve().name


def _lede(run: Run, written: Mapping[str, tuple[Path, figures.Plot]]) -> str:
    found = [written[name][1].finding for name in ("learning", "noise") if name in written]
    return ". ".join(found) + "." if found else "This run has no returns yet."


def _tags(run: Run) -> str:
    date = setting(run.config, "written")
    if date is None:
        changed = (run.path / "metrics.csv").stat().st_mtime
        date = datetime.datetime.fromtimestamp(changed, datetime.UTC).isoformat(timespec="seconds")
    seeds = run.seeds.tolist()
    shown = ", ".join(map(str, seeds)) if len(seeds) < 8 else f"{seeds[0]} to {seeds[-1]}"
    tags = {"date": str(date).replace("T", " ").replace("+00:00", " UTC")}
    tags |= {"seed" if len(seeds) == 1 else "seeds": shown}
    session = (setting(run.config, "sessions") or [run.config])[-1]  # a resumed run may have changed machines
    device, versions = session.get("device"), session.get("versions")
    tags |= {} if device is None else {"device": device}
    tags |= versions if isinstance(versions, Mapping) else {}
    return "".join(f"<li>{_escape(name)} <b>{_escape(value)}</b></li>" for name, value in tags.items())


def _numbers(run: Run) -> Iterable[tuple[str, str, str, bool]]:
    """The cards: label, value, detail, and whether it is a chief one."""
    returns = run.series("eval_return")
    if returns is not None:
        values = statistics.curve(returns.values, resamples=1).value
        for label, index in (("First", 0), ("Last", len(values) - 1), ("Best", int(np.argmax(values)))):
            yield (f"{label} evaluation return", *_estimate(returns, index), label == "Last")
    last = {name: series for name in run.columns if (series := run.series(name)) is not None}
    yield "Environment steps", text.count(run.columns["step"].max()), "of each seed", False
    if "updates" in last:
        yield "Gradient updates", text.count(np.nanmax(last["updates"].values)), "of each seed", False
    if "seconds" in last:
        yield (
            "Wall time",
            text.duration(np.nanmax(last["seconds"].values)),
            "training and evaluation, without compilation",
            False,
        )
    if "steps_per_second" in last:
        rate = float(np.nanmedian(last["steps_per_second"].values))
        yield "Steps per second", text.count(rate), "median over chunks, all seeds together", False
    for name, label in (("sigma", "Final sigma"), ("distance", "Final distance"), ("target", "Distance target")):
        if name in last:
            value, detail = _estimate(last[name], -1)
            yield label, value, detail if name != "target" else "RMS of actions in [-1, 1]", False


def _estimate(series: Series, index: int) -> tuple[str, str]:
    """Value and detail of one point: the interval over seeds, and the step."""
    values = series.values[:, index]
    estimate = statistics.bootstrap(values[np.isfinite(values)])
    at = f"at {text.count(series.steps[index])} steps"
    if estimate.low is None or estimate.high is None:
        return text.number(estimate.value), f"{at}; one seed, no interval"
    interval = f"[{text.number(estimate.low)}, {text.number(estimate.high)}]"
    return text.number(estimate.value), f"{interval} over {estimate.runs} seeds, {at}"


def _card(label: str, value: str, detail: str, chief: bool) -> str:
    kind = ' class="chief"' if chief else ""
    return (
        f"<div{kind}><dt>{_escape(label)}</dt>"
        f'<dd><span class="value">{_escape(value)}</span><br><span class="detail">{_escape(detail)}</span></dd></div>'
    )


def _seed_table(run: Run) -> str:
    returns = run.series("eval_return")
    if returns is None or len(run.seeds) < 2:
        return ""
    rows = []
    for seed, values in zip(run.seeds, returns.values, strict=True):
        seen = values[np.isfinite(values)]
        cells = [text.number(cell) for cell in (seen[0], seen[-1], seen.max())] if seen.size else ["none"] * 3
        rows.append(f"<tr><th>{seed}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    head = "<thead><tr><th>seed</th><th>first</th><th>last</th><th>best</th></tr></thead>"
    table = f'<div class="scroll"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>'
    return f"<details><summary>Evaluation return of each seed</summary>{table}</details>"


def _figure(path: Path, plot: figures.Plot) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    width, height = plot.figure.canvas.get_width_height()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{_escape(plot.finding)}"'
        f' width="{width}" height="{height}">'
        f"<figcaption>{_escape(plot.caption)}</figcaption></figure>"
    )


def _rollout(path: Path) -> tuple[str | None, str]:
    """The rollout's page, or None and the reason."""
    if not path.is_file():
        return None, "No rollout was recorded: rollout.json is not in the run folder."
    try:
        return viewer.render_html(viewer.load(path)), ""
    except errors.UserError as error:
        return None, f"The rollout cannot be shown: {error}"


def _iframe(page: str) -> str:
    return f'<iframe title="The rollout" srcdoc="{_escape(page)}"></iframe>'


def _events(events: Iterable[Mapping[str, Any]]) -> str:
    names = ("time", "step", "event", "detail")
    rows = ["".join(f"<td>{_escape(event.get(name, ''))}</td>" for name in names) for event in events]
    if not rows:
        return _missing("No event was logged: no resume, no signal, no fallback.")
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _config(config: Mapping[str, Any]) -> str:
    if not config:
        return _missing("config.json is not in the run folder.")
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
            yield f"<tr><th>{_escape(name)}</th><td>{_escape(shown)}</td></tr>"
    for name, value in sections.items():
        inner = f"{path}.{name}" if path else name
        yield f'<tr class="section"><th colspan="2">{_escape(inner)}</th></tr>'
        yield from _config_rows(value, inner)


if __name__ == "__main__":
    sys.exit(main())
