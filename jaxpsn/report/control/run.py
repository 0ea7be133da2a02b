"""The report of a control run: returns, what the noise did, losses, and a rollout to watch."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxpsn.core import errors, files, text
from jaxpsn.report import page, viewer
from jaxpsn.report.charts import picture
from jaxpsn.report.charts.spec import Chart
from jaxpsn.report.control import exploring, run_plots
from jaxpsn.report.control import rollout as rollouts
from jaxpsn.report.runs import Run, named
from jaxpsn.stats import statistics

_NOTES = (
    "Return is the sum of rewards over an episode. The clean policy acts without noise; the behaviour explores.",
    "Intervals are 95 % percentile intervals of a bootstrap over seeds, around the interquartile mean.",
    "One seed gives no interval: how far another seed would fall from it is unknown.",
    "First and last are the first and last evaluation. Best is chosen after the fact, so it flatters the run.",
    "Sigma is the scale of the weight noise. Distance is how far it moves the actions; it should stay near its target.",
    "The rollout shows the clean policy and members as the run explored last, from one start. Its time bar has their "
    "returns so far (of one episode: the reward of each step). Drag to turn the view, wheel to zoom.",
)


def content(run: Run) -> page.Content:
    """Write the plots of a control run and ``rollout.html`` of its rollout; returns what its report says.

    A missing or broken rollout only leaves its section saying so.
    """
    drawn = picture.write(run_plots.charts(run), run.path / "plots")
    rollout, problem = _rollout(run.path / "rollout.json")
    if rollout is not None:
        files.write_atomically(run.path / "rollout.html", rollout.page)
    sections = (
        page.Section("numbers", "Key numbers", [page.Cards(list(_numbers(run))), *_seed_table(run)]),
        page.Section("plots", "Plots", page.shown(drawn, *drawn)),
        page.Section("rollout", "Rollout", [page.Missing(problem)] if rollout is None else rollout.blocks),
    )
    return page.Content(_title(run), _lede(drawn), sections, _NOTES)


def _title(run: Run) -> str:
    """Task, algorithm and exploration, as far as the config tells them."""
    algorithm = named(run.config, "agent") or named(run.config, "agent", "algorithm")
    parts = (named(run.config, "env"), algorithm.upper(), exploring.told(run.config))
    return ", ".join(str(part) for part in parts if part) or run.path.resolve().name


def _lede(drawn: Mapping[str, Chart]) -> str:
    found = [drawn[name].finding for name in ("learning", "noise") if name in drawn]
    return ". ".join(found) + "." if found else "This run has no returns yet."


def _numbers(run: Run) -> Iterable[tuple[str, str, str, bool]]:
    """The cards: label, value, detail, and whether it is a chief one."""
    returns = run.series("eval_return")
    if returns is not None:
        values = statistics.curve(returns.values, resamples=1).value
        for label, index in (("First", 0), ("Last", len(values) - 1), ("Best", int(np.argmax(values)))):
            yield (f"{label} evaluation return", *page.estimate(returns, index), label == "Last")
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
            value, detail = page.estimate(last[name], -1)
            yield label, value, detail if name != "target" else exploring.distance(run.config)[1], False


def _seed_table(run: Run) -> list[page.Block]:
    returns = run.series("eval_return")
    if returns is None or len(run.seeds) < 2:
        return []
    rows = []
    for seed, values in zip(run.seeds, returns.values, strict=True):
        seen = values[np.isfinite(values)]
        cells = [text.number(cell) for cell in (seen[0], seen[-1], seen.max())] if seen.size else ["none"] * 3
        rows.append((seed, *cells))
    return [page.Details("Evaluation return of each seed", [page.Table(("seed", "first", "last", "best"), rows)])]


class _Rollout(NamedTuple):
    page: str
    blocks: list[page.Block]


def _rollout(path: Path) -> tuple[_Rollout | None, str]:
    """The rollout's own page and its blocks in the report, or None and the reason."""
    if not path.is_file():
        return None, "No rollout was recorded: rollout.json is not in the run folder."
    try:
        found = viewer.load(path)
        return _Rollout(rollouts.html(found), rollouts.blocks(found)), ""
    except errors.UserError as error:
        return None, f"The rollout cannot be shown: {error}"
