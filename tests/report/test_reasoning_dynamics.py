"""Contrasts of noise scales: known answers come out, mistakes are named, figures draw the numbers they say."""

import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.report import dynamics, figures
from jaxpsn.report.reasoning import dynamics as reasoning
from jaxpsn.stats import pass_at_k
from jaxpsn.stats.statistics import Band

SIGMAS = np.array([0.1, 0.2, 0.4, 0.8])


@pytest.fixture
def axes():
    with figures.style():
        return figures.figure("A figure", [2.0])[1][0]


def test_pass_scores_average_over_groups():
    right = np.array([[[0, 1, 4], [2, 1, 4]]])
    found = reasoning.pass_scores(right, 4, 2)
    each = [pass_at_k.estimate(4, group, 2) for group in right[0]]
    np.testing.assert_allclose(found[0], np.mean(each, axis=0))
    np.testing.assert_allclose(found[0], [5 / 12, 1 / 2, 1.0])


def test_means_over_problems_leave_out_what_is_unknown():
    values = np.array([[0.0, 1.0, np.nan], [2.0, 3.0, 4.0]])
    band = reasoning.over_problems(values)
    np.testing.assert_allclose(band.value, [0.5, 2.5])
    assert np.all(band.low <= band.value) and np.all(band.high >= band.value) and np.ptp(band.high - band.low) < 1e-9
    grouped = np.stack([values, values + 1], axis=1)
    np.testing.assert_allclose(reasoning.over_problems(grouped).value, [1.0, 3.0])
    with pytest.raises(UserError):
        reasoning.over_problems(np.full((2, 3), np.nan))


def test_power_laws():
    kl = 0.3 * SIGMAS**2
    assert reasoning.slope(SIGMAS, kl) == pytest.approx(2.0)
    assert reasoning.at_level(kl, SIGMAS, 0.3 * 0.25**2) == pytest.approx(0.25)
    assert reasoning.at_level(SIGMAS[::-1], kl[::-1], 0.8) == pytest.approx(kl[-1])
    with pytest.raises(UserError, match="level"):
        reasoning.at_level(SIGMAS, kl, 2.0)


def test_gaps_at_equal_cost_are_those_of_the_lines():
    rng = np.random.default_rng(0)
    x = np.array([0.1, 0.2, 0.3])
    easy = rng.random(50)
    theirs = x[:, None] + easy
    ours = np.array([0.0, 0.4])[:, None] + 0.25 + easy  # the line 0.25 + x over x = 0 and 0.4
    found = reasoning.gap_at_equal((np.array([0.4, 0.0]), ours[::-1]), (x, theirs), [0.15, 0.25])
    np.testing.assert_allclose(found.value, 0.25)
    np.testing.assert_allclose(found.low, 0.25)  # the problems' difficulty cancels
    same = reasoning.gap_at_equal((theirs, theirs), (theirs, theirs), [0.8])
    np.testing.assert_allclose([same.low, same.value, same.high], 0.0)
    with pytest.raises(UserError, match="levels"):
        reasoning.gap_at_equal((x, theirs), (x, theirs), [0.5])


def test_intervals_of_gaps_come_from_the_problems():
    """Half of the problems gain 1, half nothing: the mean of n such has a standard deviation of 1 / (2 sqrt n)."""
    x, gain = np.array([0.0, 1.0]), np.arange(100) % 2
    theirs = np.zeros((2, 100))
    found = reasoning.gap_at_equal((x, theirs + gain), (x, theirs), [0.5])
    assert found.value[0] == pytest.approx(0.5)
    np.testing.assert_allclose([found.low[0], found.high[0]], [0.5 - 0.098, 0.5 + 0.098], atol=0.02)


def test_a_spread_is_mean_and_middle_of_the_members(axes):
    values = SIGMAS[:, None] * np.arange(1.0, 12.0)
    reasoning.spread(axes, SIGMAS, {"dense": values}, "KL")
    (line,) = axes.get_lines()
    np.testing.assert_allclose(line.get_ydata(), values.mean(axis=1))
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(0.8 * 10) and band[:, 1].min() == pytest.approx(0.1 * 2)
    assert axes.get_xscale() == axes.get_yscale() == "log"
    reasoning.power(axes, SIGMAS, 0.01)
    np.testing.assert_allclose(axes.get_lines()[1].get_ydata(), 0.01 * (SIGMAS / 0.1) ** 2)


def test_bands_are_drawn_in_the_order_of_x(axes):
    band = Band(np.array([3.0, 1.0]), np.array([2.0, 0.5]), np.array([4.0, 1.5]))
    reasoning.bands(axes, {"noise": (np.array([0.4, 0.1]), band)}, "pass@1")
    (line,) = axes.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), [0.1, 0.4])
    np.testing.assert_array_equal(line.get_ydata(), [1.0, 3.0])


def test_paths_name_their_scales(axes):
    band = Band(*(np.array([0.1, 0.2, 0.3]) + shift for shift in (0.0, -0.05, 0.05)))
    reasoning.path(axes, {"noise": (band, band, [1.0, 1.25, 1.5])}, dynamics.named(1), every=2)
    np.testing.assert_array_equal(axes.get_lines()[0].get_xdata(), band.value)
    assert [note.get_text() for note in axes.texts] == ["1", "1.5"]
    reasoning.path(axes, {"silent": (band, band, [1.0, 1.25, 1.5])}, dynamics.named(1), every=0)
    assert len(axes.get_lines()) == 2 and len(axes.texts) == 2


def test_shared_levels_are_inside_of_both():
    levels = reasoning.shared_levels(np.array([0.0, 2.0]), np.array([[0.5, 1.5], [4.0, 6.0]]), 3)
    np.testing.assert_allclose(levels, [1.25, 1.5, 1.75])
