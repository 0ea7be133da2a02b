"""Plots of sweeps: what is drawn is the statistic it says, and a picture is the same bytes twice."""

import numpy as np
import pytest

from jaxpsn.report import dynamics, figures
from jaxpsn.stats import statistics

GROUPS = {"low": np.arange(12.0).reshape(4, 3), "high": np.arange(12.0).reshape(4, 3) + 5}


@pytest.fixture
def axes():
    with figures.style():
        return figures.figure("A figure", [2.0])[1][0]


def test_curves_are_interquartile_means(axes):
    dynamics.curves(axes, np.array([1.0, 2.0, 3.0]), GROUPS, "sigma", log=False)
    for line, values in zip(axes.get_lines(), GROUPS.values(), strict=True):
        np.testing.assert_allclose(line.get_ydata(), statistics.iqm(values.T[:, :, None]))
    assert axes.get_title(loc="left") == "sigma" or axes.get_title() == "sigma"


def test_points_show_every_seed_and_the_mean(axes):
    dynamics.points(axes, {name: values[:, 0] for name, values in GROUPS.items()}, "return")
    drawn = [line.get_ydata() for line in axes.get_lines()]
    np.testing.assert_array_equal(drawn[0], [0, 3, 6, 9])
    assert any(np.array_equal(np.atleast_1d(values), [4.5]) for values in drawn)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["low", "high"]


def test_one_seed_has_no_interval(axes):
    dynamics.points(axes, {"only": np.array([1.0])}, "return")
    assert len(axes.get_lines()) == 2  # the seed and the mean


def test_a_picture_is_reproducible_and_shown():
    def draw():
        with figures.style():
            figure, (axes,) = figures.figure("A figure", [2.0])
            dynamics.curves(axes, np.array([1.0, 2.0, 3.0]), GROUPS, "sigma", dynamics.ordered(2), log=True)
        return dynamics.picture(figure)

    one, two = draw(), draw()
    assert one == two and one._repr_png_().startswith(b"\x89PNG") and "kB" in repr(one)


def test_colours_differ():
    assert len(set(dynamics.ordered(6))) == 6 and len(set(dynamics.named(7))) == 7
