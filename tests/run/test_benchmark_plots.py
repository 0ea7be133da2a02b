import json
from xml.etree import ElementTree

import numpy as np
import pytest
from benchmarks import options, plots
from benchmarks.first_step import STAGES

from jaxpsn.report.charts.spec import Box, Line

MEMBERS = (64, 256, 1024, 4096, 16384)


def _row(name, ratio, **more):
    spread = {"ratio_low": 0.8 * ratio, "ratio_high": 1.3 * ratio, "best": ratio}
    return {"name": name, "seconds": 0.001 * ratio, "ratio": ratio, **spread, **more}


def _write(folder, benchmark, rows, stem=None):
    path = folder / f"{stem or benchmark}.json"
    path.write_text(json.dumps({"benchmark": benchmark, "rows": rows}))
    written = plots.write(path)
    assert written == path.with_suffix(".svg") and len(written.read_bytes()) < 150_000
    return ElementTree.fromstring(written.read_text())


def _layers(panel, kind):
    return [layer for layer in panel.layers if isinstance(layer, kind)]


def _acting():
    rng = np.random.default_rng(0)
    rows = []
    for members in MEMBERS:
        for part, suffixes in (("policy step", ("", " + redraw", " + redraw 1%")), ("environment step", ("",))):
            rows.append(_row("clean", 1.0, members=members, part=part))
            for place, form in enumerate(("vmap", *options.STRUCTURES)):
                if members > 1024 and form in ("vmap", "dense"):
                    rows.append({"name": form, "members": members, "left_out": "too large"})
                    continue
                for more, suffix in enumerate(suffixes):
                    ratio = float((1.2 + 0.3 * place) * 6**more * rng.uniform(0.8, 1.2))
                    rows.append(_row(form + suffix, ratio, members=members, part=part))
    return rows


def test_acting_is_drawn_against_the_number_of_members(tmp_path):
    rows = _acting()
    _write(tmp_path, "acting", rows)
    plot = plots.acting(rows)
    assert len(plot.panels) == 4
    lines = {line.label: line for line in _layers(plot.panels[0], Line)}
    assert list(lines["flipout"].x) == list(MEMBERS) and list(lines["dense"].x) == [64, 256, 1024]
    assert (
        "clean" not in lines
        and len(lines) == 1 + len(options.STRUCTURES)
        and all(line.low and line.high for line in lines.values())
    )
    assert plot.finding.startswith("16,384 distinct policies")


def test_acting_without_a_task_has_no_panel_for_it(tmp_path):
    rows = [row for row in _acting() if row.get("part") == "policy step"]
    assert len(plots.acting(rows).panels) == 3


@pytest.mark.parametrize("name", ["training", "replay", "decoding", "reasoning"])
def test_other_times_are_bars_with_whiskers(tmp_path, name):
    rows = [_row("gaussian", 1.0), _row("none", 0.97), _row("flipout", 1.08)]
    _write(tmp_path, name, rows, f"{name}-1")
    (panel,) = plots.bars(rows).panels
    assert [bar.box[1] for bar in _layers(panel, Box)] == [1.0, 0.97, 1.08]
    assert [list(line.x) for line in _layers(panel, Line)] == [[0.8 * x, 1.3 * x] for x in (1.0, 0.97, 1.08)]


def test_physics_in_lanes_stands_against_the_same_task_in_brax_s_layout(tmp_path):
    rows = [_row(f"{task}, 64: {way}", ratio) for task in "ab" for way, ratio in (("Brax", 1.0), ("lanes", 0.25))]
    _write(tmp_path, "physics", rows)
    plot = plots.physics(rows)
    assert [bar.box[1] for bar in _layers(plot.panels[0], Box)] == [0.25, 0.25] and "0.250 to 0.250" in plot.finding


def test_starts_are_stacked_by_stage(tmp_path):
    rows = []
    for stage in ("total", *STAGES):
        for arm in ("none", "flipout"):
            for cache in ("cold", "warm"):
                ratios = {f"base_ratio{end}": 1.1 for end in ("", "_low", "_high")} | {"cold_ratio": 0.4}
                seconds = 12.0 if stage == "total" else 2.0
                rows.append({"arm": arm, "cache": cache, "stage": stage, "seconds": seconds, **ratios})
    _write(tmp_path, "startup", rows)
    plot = plots.startup(rows)
    assert len(_layers(plot.panels[0], Box)) == 4 * len(STAGES) and "12.0 s" in plot.finding and "1.10" in plot.finding


def test_memory_shows_each_form_once_and_the_training_steps(tmp_path):
    rows = [{"name": name, "part": "training step", "planned_bytes": 10, "ratio": 1.0} for name in ("none", "flipout")]
    for members in MEMBERS:
        for place, form in enumerate(options.STRUCTURES):
            held = {"member_bytes": 10 ** (place % 5 + 1), "weights": 0.1}
            rows.append({"name": form, "part": "acting step", "members": members, "planned_bytes": 1, **held})
    _write(tmp_path, "memory", rows)
    above, below = (_layers(panel, Box) for panel in plots.memory(rows).panels)
    assert len(above) == len(options.STRUCTURES) and len(below) == 2
