"""What the report of a reasoning run shows beside its chief plots, and axes on which nothing happens."""

import itertools
import json
import re

import numpy as np
import pytest

from jaxpsn.core import text
from jaxpsn.report import build, curves, runs
from jaxpsn.report.charts import picture, scales, svg
from jaxpsn.report.charts.spec import Axis, Chart, Panel
from jaxpsn.report.reasoning import run_plots as plots
from jaxpsn.report.reasoning import update_plots
from jaxpsn.report.reasoning.folder import Judged
from jaxpsn.report.runs import Series

EXTRA = ("grad_norm", "clip_low", "clip_high", "clip_dual", "reference_kl", "reward_members_std",
         "sequence_ratio_min", "sequence_ratio_mean", "sequence_ratio_max", "sampler_entropy")  # fmt: skip


@pytest.fixture
def measured(write_reasoning, tmp_path):
    """A run folder whose rows have the columns of an update as well."""
    folder = write_reasoning(tmp_path / "run", 12)
    lines = (folder / "metrics.csv").read_text().splitlines()
    head, rows = lines[0], lines[1:]
    more = [",".join(f"{(0.5 + 0.1 * j) * (1 + i / 50):.4f}" for j in range(len(EXTRA))) for i in range(len(rows))]
    lines = [f"{head},{','.join(EXTRA)}", *(f"{row},{extra}" for row, extra in zip(rows, more, strict=True))]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_what_an_update_did_is_drawn_where_it_was_measured(measured, write_reasoning, tmp_path):
    run = runs.read(measured)
    found = {plot.name: plot for plot in (make(run) for make in (update_plots.update,
             update_plots.sequences, update_plots.members))}  # fmt: skip
    assert list(found) == ["update", "sequences", "members"]
    titles = [panel.title for panel in found["update"].panels]
    assert len(titles) == 3 and "KL(policy || base)" in titles[2]
    labels = [layer.label for layer in found["update"].panels[1].layers if layer.label]
    assert labels == ["low", "high", "dual"]
    assert plots.answers(run).panels[2].layers[-1].label == "of the sampler, estimated"
    written = picture.write(plots.charts(run, Judged((), None, ())), tmp_path / "plots")
    assert {"update", "sequences", "members"} <= set(written)
    bare = runs.read(write_reasoning(tmp_path / "bare", 4))
    assert update_plots.update(bare) is None and update_plots.sequences(bare) is None


def test_without_a_kl_term_the_page_says_why_there_is_no_kl(measured):
    path = measured / "metrics.csv"
    path.write_text(path.read_text().replace("reference_kl", "another"))
    plot = update_plots.update(runs.read(measured))
    assert "kl_coefficient = 0" in plot.caption and len(plot.panels) == 2


def test_wall_time_counts_what_comes_before_and_after_training(measured):
    assert "nothing else was timed" in build.build(measured).read_text()
    events = [{"event": "phase", "detail": "pre-training", "seconds": 600.0},
              {"event": "compile", "detail": "phases of a step 40.0 s", "seconds": 40.0},
              {"event": "phase", "detail": "judging the base", "seconds": 20.0},
              {"event": "phase", "detail": "pre-training", "seconds": 1.0},
              {"event": "phase", "detail": "odd", "seconds": "many"}]  # fmt: skip
    path = measured / "events.jsonl"
    path.write_text("".join(json.dumps({"time": "now", "step": 0} | event) + "\n" for event in events))
    page = build.build(measured).read_text()
    training = float(np.nanmax(runs.read(measured).series("seconds").values))
    card = re.search(r"Wall time</dt>.*?</div>", page, re.DOTALL)[0]
    for shown in (text.duration(training + 661), "pre-training 10 min 1 s", "compiling 40 s", "judging the base 20 s"):
        assert shown in card, shown


def test_the_page_of_a_language_model_names_no_physics(measured):
    path = measured / "config.json"
    config = json.loads(path.read_text())
    versions = {"jax": "0.10.2", "brax": "0.14.2", "mujoco": "3.17.0"}
    path.write_text(json.dumps(config | {"versions": versions, "sessions": [{"versions": versions}]}))
    tags = build.build(measured).read_text().split("</header>")[0]
    assert "0.10.2" in tags and "brax" not in tags and "mujoco" not in tags


def test_tables_have_intervals_at_every_k_that_they_show(measured):
    page = build.build(measured).read_text()
    tables = re.findall(r"<table>.*?</table>", page, re.DOTALL)
    policies = next(table for table in tables if "problems x answers" in table)
    assert "pass@64" in policies and policies.count("[") == 3 * (policies.count("<tr>") - 1)
    differences = next(table for table in tables if "difference, paired" in table)
    assert re.findall(r"<th>(pass@\d+)</th>", differences) == ["pass@1", "pass@64", "pass@256"]
    assert differences.count("[") == 9


def flat(value, wiggle=0.0):
    return Series(np.arange(1, 6), np.array([[value, value + wiggle, value, value - wiggle, value]]))


@pytest.mark.parametrize("value, wiggle", [(1.0, 0.0), (1.0, 6e-7), (0.2, 1e-9), (1e-6, 0.0), (3e5, 0.01)])
def test_ticks_of_a_quiet_log_axis_stand_apart(value, wiggle):
    (_, axis), drawing = quiet(value, wiggle, Axis(scale="log"))
    places = sorted(float(place) for place in re.findall(r'class="tick" x="[^"]*" y="([^"]*)"', drawing))
    assert len(places) > 1 and len({name for _, name in axis.ticks}) == len(axis.ticks) == len(places)
    assert all(above - below >= svg.SIZE for below, above in itertools.pairwise(places))


@pytest.mark.parametrize("value, wiggle", [(1.0, 6e-7), (0.0, 0.0), (0.5, 1e-8), (0.999999, 1e-7)])
def test_an_axis_of_shares_shows_whole_points_where_nothing_happens(value, wiggle):
    (_, axis), _ = quiet(value, wiggle, Axis(unit="percent"))
    shown = [name for _, name in axis.ticks]
    assert len(shown) > 1 and len(set(shown)) == len(shown)
    assert all(len(label.split()[0]) <= 4 for label in shown), shown
    assert axis.low <= value <= axis.high


def quiet(value, wiggle, y):
    """The scales and the drawing of a chart on which nothing happens."""
    panel = Panel(curves.curve(flat(value, wiggle), "blue", "flat"), Axis(), y, height=2.0)
    chart = Chart("quiet", "quiet", "", [panel])
    return scales.scales(chart)[0], picture.draw(chart)


def test_numbers_are_rounded_before_their_digits_are_counted():
    assert [text.number(x) for x in (0.9999999, 0.99949, 9.9999, 1234.5, 0.01234)] == [
        "1.00", "0.999", "10.0", "1,234", "0.0123",
    ]  # fmt: skip
