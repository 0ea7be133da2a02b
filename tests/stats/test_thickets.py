"""Shares of better perturbations, by hand; the control comes first; what is written holds the same numbers."""

import csv
import io
import json

import numpy as np

from jaxpsn.report.reasoning import thicket_plot
from jaxpsn.stats import thickets
from jaxpsn.stats.thickets import CLEAN, Patch, Thickets

# Four answers of the policy to five problems: pass@1 0.3; the last two problems are never solved.
BASE = np.array([[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [1, 0, 0, 0, 0]], bool)
CONTROL = np.array([[1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
NEAR = np.array([[1, 1, 0, 0, 0], [1, 0, 0, 1, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 1]], bool)
FAR = np.zeros((4, 5), bool)
FOUND = Thickets(
    "run-base",
    "sums",
    1000,
    BASE,
    [Patch(CLEAN, 0.0, CONTROL), Patch("lowrank", 0.1, NEAR), Patch("lowrank", 1.0, FAR)],
)


def test_shares_are_those_counted_by_hand():
    assert FOUND.pass_1 == 0.3 and FOUND.unsolved == 2
    control, near, far = thickets.rows(FOUND)
    assert [control[name] for name in ("better", "new")] == [0.25, 0.0] and control["members"] == 4
    np.testing.assert_allclose([near[name] for name in ("better", "new", "pass_1", "best")], [0.75, 0.5, 0.4, 0.6])
    assert [far[name] for name in ("better", "better_low", "new", "best")] == [0.0, 0.0, 0.0, 0.0]
    # The score interval of 3 in 4 (Wilson 1927), and of none in 4: z^2 / (4 + z^2).
    np.testing.assert_allclose([near["better_low"], near["better_high"]], [0.3006, 0.9544], atol=1e-4)
    np.testing.assert_allclose(far["better_high"], 1.959964**2 / (4 + 1.959964**2), atol=1e-6)


def test_table_files_and_plot_hold_the_same():
    told = thickets.table(FOUND)
    assert "0.750 [0.301, 0.954]" in told and "2 problems that none of 4 answers solves" in told
    read = list(csv.DictReader(io.StringIO(thickets.csv_text(FOUND))))
    assert [row["structure"] for row in read] == [CLEAN, "lowrank", "lowrank"] and float(read[1]["new"]) == 0.5
    content = json.loads(thickets.json_text(FOUND))
    assert content["rows"] == thickets.rows(FOUND) and content["parameters"] == 1000
    chart = thicket_plot.chart(FOUND)
    assert "75%" in chart.finding and "luck alone: 25%" in chart.finding
    assert [list(panel.layers[1].y) for panel in chart.panels] == [[0.75, 0.0], [0.5, 0.0]]
