"""Several folders side by side, of either home: what differs in their configs first, then their numbers and curves.

A run is one entry, a study as many as it has arms (and tasks). Nothing is written into what is compared.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxpsn.core import errors, files, text
from jaxpsn.report import build, page, runs, series
from jaxpsn.report.charts import look as looks
from jaxpsn.report.charts import picture
from jaxpsn.report.charts.spec import Axis, Chart, Line, Panel
from jaxpsn.report.page import Cell, Row
from jaxpsn.report.reasoning.evaluation_plot import over_k
from jaxpsn.report.runs import Run
from jaxpsn.report.study import folder, tidy
from jaxpsn.report.study import plots as shared
from jaxpsn.report.study.folder import Told, Unit
from jaxpsn.report.study.words import cell
from jaxpsn.stats import comparison, evaluations, statistics
from jaxpsn.stats.evaluations import Evaluation
from jaxpsn.stats.statistics import Estimate

MARK = "comparison.json"
"""What a folder of ours holds, and no other: it alone may be replaced."""
LAST = 3
"""Points of a metric whose mean is its value at the end."""
_CHIEF = {
    "eval_return": "return of the clean policy", "return": "return of the behaviour", "reward": "mean reward",
    "eval_pass_at_1": "pass@1 on the way", "coverage": "cells visited so far",
    "action_distance": "executed minus clean action (RMS)", "distance": "distance by the weight noise",
    "noise_kl_k1": "KL(noisy || clean), nats a token", "sigma": "sigma of the weight noise",
    "entropy": "entropy, nats a token", "groups_zero_advantage": "groups without advantage", "length": "length",
}  # fmt: skip
"""Metrics that are shown at once, with their names; all others open at a click."""
_UNLIKE = ("sigma", "critic_loss", "actor_loss", "q", "loss")  # numbers of a run's own scale: titles compare none
_ID = ("step", "seed")
_AROUND = ("sessions", "versions", "device", "written", "command", "backend", "format", "host", "commit", "result")
_MOST = 16  # entries that can be told apart at a glance
_NOTES = (
    "A value at the end is the mean of the last 3 points of a seed; shown is the interquartile mean over seeds with its"
    " 95 % bootstrap interval. One seed gives no interval.",
    "Runs on unlike tasks, or with unlike numbers of steps, are shown side by side but not ranked.",
    "A sigma is a scale of its own noise: between unlike structures only distances compare.",
)


@dataclass(frozen=True)
class Entry:
    """One column of the comparison: a run, or an arm of a study on a task."""

    label: str
    task: str
    config: Mapping[str, Any]
    run: Run
    trained: Evaluation | None
    """How the policy that a reasoning run trained was judged."""
    seconds: float

    def end(self, metric: str) -> Estimate | None:
        """A metric at the end: interquartile mean over seeds."""
        found = self.run.series(metric)
        if found is None:
            return None
        rows = [row[np.isfinite(row)][-LAST:] for row in found.values]
        return statistics.bootstrap(np.array([row.mean() for row in rows if row.size]))


def compare(paths: Sequence[str | Path], out: str | Path | None = None, *, overwrite: bool = False) -> Path:
    """Compare folders; returns the page's path, in ``out`` or a folder named after them, beside whoever asks.

    Writes ``report.html``, ``config.csv`` (settings that differ), ``table.csv`` (every metric at the end),
    ``tidy.csv`` and ``plots/*.svg``. Raises UserError for less than two folders, for one that is no run and no study or
    is named twice, and for an ``out`` that exists (``overwrite`` replaces a comparison) or lies in what is compared.
    """
    sources = [Path(path) for path in paths]
    target = _target(sources, out, overwrite)
    entries = [entry for label, path in zip(_labels(sources), sources, strict=True) for entry in _entries(label, path)]
    if len(entries) < 2:
        errors.refuse("folders", ", ".join(map(str, paths)), "folders with at least two runs that have begun")
    differences = _differences(entries)
    if overwrite and target.exists():
        files.remove(target)
    target.mkdir(parents=True)
    about = {"name": target.name, "folders": {label: str(path) for label, path in zip(_labels(sources), sources,
             strict=True)}}  # fmt: skip
    files.write_atomically(target / MARK, json.dumps(about, indent=2) + "\n")
    files.write_atomically(target / "config.csv", tidy.csv_text(("setting", *_names(entries)), differences))
    files.write_atomically(target / "table.csv", tidy.csv_text(("entry", "task", "metric", "value", "low", "high",
                           "seeds"), _numbers(entries)))  # fmt: skip
    tidy.write(
        (Unit(one.task, one.label, one.label, Told(one.run, folder.FINISHED, "", {})) for one in entries), target
    )
    notes = tuple(f"{one.label}: {note}" for one in entries for note in one.run.notes)
    columns = {name: np.concatenate([one.run.columns[name] for one in entries]) for name in _ID}
    return page.write(Run(target, about, columns, (), notes), _content(entries, differences, target))


def _names(entries: Sequence[Entry]) -> list[str]:
    return [one.label for one in entries]


def _target(sources: Sequence[Path], out: str | Path | None, overwrite: bool) -> Path:
    """Where the comparison goes, once nothing speaks against it."""
    places = [path.resolve() for path in sources]
    if len(sources) < 2:
        errors.refuse("folders", len(sources), "two or more, to be compared")
    twice = next((str(path) for path, place in zip(sources, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        errors.refuse("folders", twice, "each folder once")
    names = _labels(sources)
    more = [f"{len(names) - 3}-more"] * (len(names) > 3)
    target = Path(out) if out is not None else Path("-".join(("report", *names[:3], *more)).replace("/", "-"))
    inside = next((path for path in (target, *target.resolve().parents) if _holds_a_run(path)), None)
    if inside is not None:
        errors.refuse("out", str(target), f"a folder outside of runs and studies; {inside} is one")
    if target.is_symlink() or (target.exists() and not overwrite):
        errors.refuse("out", str(target), "a folder that is not there yet, or --overwrite")
    if target.exists() and not (target / MARK).is_file():
        errors.refuse("out", str(target), f"a comparison ({MARK}) to be replaced")
    return target


def _holds_a_run(path: Path) -> bool:
    return any((path / name).exists() for name in (folder.FILE, "metrics.csv", "config.json"))


def _labels(sources: Sequence[Path]) -> list[str]:
    """Names of folders, with as many of the folders above as tell them apart."""
    parts = [path.resolve().parts for path in sources]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in sources]


def _entries(label: str, path: Path) -> Iterator[Entry]:
    if not build.is_study(path):
        judged = any((path / evaluations.FOLDER).glob("*.json"))
        run = runs.read(path, metrics=not judged)
        yield Entry(label, _task(run.config), _settings(run.config), run, _trained(path), _seconds(run))
        return
    study = build.results(path).study
    groups: dict[tuple[str, str], list[Unit]] = {}
    for unit in study.units:
        if unit.told.run is not None:
            groups.setdefault((unit.task, unit.arm), []).append(unit)
    several = len({task for task, _ in groups}) > 1
    for (task, arm), units in groups.items():
        found = [unit.told.run for unit in units if unit.told.run is not None]
        shared = study.content.get("control") or study.content.get("shared") or {}
        config = _changed(shared, study.content["arms"][arm])
        name = "/".join((label, *([task] * several), arm))
        trained = _trained(found[0].path) if len(found) == 1 else None
        seconds = float(np.nansum([unit.told.seconds for unit in units]))
        yield Entry(name, task, _settings(config), _merged(found), trained, seconds)


def _merged(found: Sequence[Run]) -> Run:
    """The rows of several runs as those of one, whose seeds are theirs."""
    if len(found) == 1:
        return found[0]
    names = dict.fromkeys(name for run in found for name in run.columns)
    columns = {
        name: np.concatenate([run.columns.get(name, np.full(len(run.columns["step"]), np.nan)) for run in found])
        for name in names
    }
    return Run(found[0].path, found[0].config, columns)


def _task(config: Mapping[str, Any]) -> str:
    return runs.named(config, "env") or str(runs.setting(config, "task") or "unknown")


def _trained(path: Path) -> Evaluation | None:
    """The last clean evaluation of a run."""
    found, _ = evaluations.read_all(path)
    return next((one for one in found[::-1] if not one.noisy), None)


def _seconds(run: Run) -> float:
    found = run.series("seconds")
    return float("nan") if found is None else float(np.nanmax(found.values))


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Every setting by the name of its flag, as text; not where and when it ran."""
    own = {name: value for name, value in config.items() if name not in (*_AROUND, "config")}
    found = {name.removeprefix("run."): value for name, value in runs.flags({**config.get("config", {}), **own})}
    return {name: one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for name, one in found.items()}


def _changed(shared: Mapping[str, Any], arm: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an arm of a study: what all share, with what it has of its own."""
    own = {name: arm[name] for name in ("explore", "agent") if isinstance(arm.get(name), Mapping)}
    scale = arm.get("scale")
    return {**shared, **own, **(arm.get("changes") or {}), **({"scale": scale} if scale else {})}


def _differences(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """The settings that are not the same in all: name, and the value of each entry; '-' is absent."""
    names = dict.fromkeys(name for one in entries for name in one.config)
    rows = ((name, *(one.config.get(name, "-") for one in entries)) for name in names if name != "name")
    return [row for row in rows if len(set(row[1:])) > 1]


def _metrics(entries: Sequence[Entry]) -> list[str]:
    """The metrics that at least two entries have, the chief ones first."""
    counts: dict[str, int] = {}
    for name in (name for one in entries for name in one.run.columns if one.run.series(name) is not None):
        counts[name] = counts.get(name, 0) + 1
    found = [name for name, count in counts.items() if count > 1 and name not in (*_ID, "seconds")]
    return [*(name for name in _CHIEF if name in found), *(name for name in found if name not in _CHIEF)]


def _numbers(entries: Sequence[Entry]) -> Iterator[tuple[Any, ...]]:
    for one, metric in itertools.product(entries, _metrics(entries)):
        found = one.end(metric)
        if found is not None:
            yield (one.label, one.task, metric, *found)


def _content(entries: Sequence[Entry], differences: Sequence[Sequence[str]], target: Path) -> page.Content:
    metrics = _metrics(entries)
    chief = [name for name in metrics if name in _CHIEF] or metrics[:4]
    drawn = picture.write([_passed(entries), *(_chart(entries, name) for name in chief)], target / "plots")
    rest = [page.drawn(chart) for name in metrics if name not in chief and (chart := _chart(entries, name))]
    more = [page.Details(f"{len(rest)} other metrics", rest)] if rest else []
    count = text.listed(_names(entries)) if len(entries) < 5 else f"{len(entries)} runs"
    judged = [*_judged(entries), *page.shown(drawn, "pass_at_k")] if "pass_at_k" in drawn else []
    sections = (
        page.Section("differences", "What differs in their settings", _settings_shown(entries, differences)),
        page.Section("numbers", "Numbers at the end", [_table(entries, chief)]),
        *([page.Section("judgement", "pass@k", judged)] if judged else []),
        page.Section("curves", "Curves", [*page.shown(drawn, *(name for name in drawn if name != "pass_at_k")), *more]),
    )
    lede = "1 setting differs." if len(differences) == 1 else f"{len(differences) or 'No'} settings differ."
    return page.Content(f"{count}, side by side", lede, sections, _NOTES, "Comparison", list(_warnings(entries)),
                        "the numbers are in config.csv, table.csv and tidy.csv")  # fmt: skip


def _warnings(entries: Sequence[Entry]) -> Iterator[str]:
    tasks = dict.fromkeys(one.task for one in entries)
    if len(tasks) > 1:
        yield f"Unlike tasks ({text.listed(list(tasks))}): their returns and rewards are not to be compared."
    steps = {text.count(one.run.columns["step"].max(initial=0)) for one in entries}
    if len(steps) > 1:
        yield f"Unlike numbers of steps ({text.listed(sorted(steps))}): numbers at the end are not at equal steps."
    if len(entries) > _MOST:
        yield f"{len(entries)} entries: beyond {_MOST} colours come again, in other line styles."


def _settings_shown(entries: Sequence[Entry], differences: Sequence[Sequence[str]]) -> list[page.Block]:
    if not differences:
        return [page.Missing("No setting differs: the same configuration, or none was recorded.")]
    return [page.Table(("setting", *_names(entries)), differences)]


def _table(entries: Sequence[Entry], metrics: Sequence[str]) -> page.Table:
    found, rows = looks.looks(_names(entries)), []
    for one in entries:
        seeds, steps = len(one.run.seeds), one.run.columns["step"].max(initial=0)
        cells = [Cell(one.label, (one.task,)), Cell(str(seeds), order=float(seeds)),
                 Cell(text.count(steps), order=float(steps))]  # fmt: skip
        cells += [cell(one.end(name), alone="one seed") for name in metrics]
        cells.append(Cell(text.duration(one.seconds)) if np.isfinite(one.seconds) else Cell("-"))
        rows.append(Row(cells, found[one.label].color))
    heads = ("run", "seeds", "steps", *(_CHIEF.get(name, name) for name in metrics), "wall time")
    return page.Table(heads, rows, look="arms")


def _chart(entries: Sequence[Entry], metric: str) -> Chart | None:
    found = [
        (one.label, thin.steps, statistics.curve(thin.values, resamples=1000))
        for one in entries
        if (measured := one.run.series(metric)) is not None and (thin := series.thinned(measured))
    ]
    if not found:
        return None
    label = _CHIEF.get(metric, metric.replace("_", " "))
    lines = shared.curves(found, looks.looks(_names(entries)))
    panel = Panel(lines, Axis("steps", unit="count", low=0), Axis(label), height=3.4)
    return Chart(metric, _finding(entries, metric, label), shared.SPREAD, [panel])


def _finding(entries: Sequence[Entry], metric: str, label: str) -> str:
    """Who ends highest and lowest, where that compares: on one task, in one unit."""
    whole = label[0].upper() + label[1:]
    ends = sorted(((end.value, one.label) for one in entries if (end := one.end(metric)) is not None), reverse=True)
    if len({one.task for one in entries}) > 1 or metric in _UNLIKE or ends[0][0] == ends[-1][0]:
        return whole
    (high, most), (low, least) = ends[0], ends[-1]
    return f"{whole} at the end: from {text.number(low)} ({least}) to {text.number(high)} ({most})"


def _passed(entries: Sequence[Entry]) -> Chart | None:
    """pass@k of the policies that were trained, over k."""
    judged = [(one, one.trained) for one in entries if one.trained is not None]
    if len(judged) < 2:
        return None
    found, lines = looks.looks(_names(entries)), []
    for one, evaluation in judged:
        curve, look = evaluation.curve, found[one.label]
        known = np.isfinite(curve.band.low).all()
        low, high = (curve.band.low, curve.band.high) if known else (None, None)
        lines.append(Line(curve.ks, curve.band.value, look.color, one.label, low, high, look.dash, marker=True))
    ks = max((evaluation.curve.ks for _, evaluation in judged), key=len)
    panel = Panel(lines[::-1], over_k(ks), Axis("pass@k", unit="percent"), height=3.4)
    caption = "Chance that at least one of k answers is right. Bands: 95 % bootstrap intervals over problems."
    return Chart("pass_at_k", "pass@k of the policies that were trained", caption, [panel])


def _judged(entries: Sequence[Entry]) -> Iterator[page.Block]:
    """Every policy against the first, paired by problem; or why not."""
    (first, base), *others = [(one, one.trained) for one in entries if one.trained is not None]
    for one, evaluation in others:
        try:
            found = comparison.compare(evaluation, base)
        except errors.UserError as error:
            yield page.Missing(f"{one.label} against {first.label}: {error}")
            continue
        rows = [
            (f"pass@{row['k']}", *(text.interval(row[side], row[f"{side}_low"], row[f"{side}_high"],
             signed=side == "difference") for side in ("theirs", "ours", "difference")))
            for row in found.rows()
        ]  # fmt: skip
        table = page.Table(("", first.label, one.label, "difference, paired"), rows)
        yield page.Details(f"{one.label} minus {first.label}, paired by problem", [table])
