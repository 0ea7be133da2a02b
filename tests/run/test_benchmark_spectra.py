"""The table of spectra: what it makes of noise whose spectrum is known, what it refuses, and its chart."""

import numpy as np
import pytest
from benchmarks import command, contenders, spectra, spectra_plot

from jaxpsn.core.errors import UserError
from jaxpsn.noise import colours


def test_white_noise_is_flat_and_of_one_and_a_walk_is_red():
    steps = np.random.default_rng(0).standard_normal((4096, 60, 2))
    frequency, density = spectra.binned(*spectra.spectrum(3.0 * steps))
    np.testing.assert_allclose(density[frequency > 0.005], 1.0, atol=0.15)
    assert spectra.slope(frequency, density) == pytest.approx(0.0, abs=0.05)
    walked = np.cumsum(steps, axis=0)
    assert spectra.slope(*spectra.binned(*spectra.spectrum(walked))) == pytest.approx(-2.0, abs=0.1)


def test_the_slope_of_a_colour_is_its_own():
    frequency = np.fft.rfftfreq(1 << 16)[1:]
    density = colours.spectrum(colours.ladder(), colours.powers(1.0, colours.ladder()), frequency)
    assert spectra.slope(*spectra.binned(frequency, density)) == pytest.approx(-1.0, abs=0.05)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("spectra --holds pnk", "nearest: pink"),
        ("spectra --steps 2", "steps = 2"),
        ("spectra --sigma 0", "sigma = 0"),
    ],
)
def test_what_is_refused_in_one_line(tmp_path, line, says):
    with pytest.raises(UserError, match=says) as caught:
        command.run(command.parse([*line.split(), "--out", str(tmp_path)]))
    assert "\n" not in str(caught.value)


def test_the_chart_tells_the_exponents():
    of = {part: {"frequency": [0.01, 0.1], "density": [10.0, 1.0]} for part in (spectra.FIXED, spectra.TASK)}
    rows = [{"name": "pink", "slope": -1.02}, {"name": "steps(n=25)", "slope": -1.3}]
    chart = spectra_plot.spectra({"rows": rows, "spectra": {row["name"]: of for row in rows}})
    assert chart.finding == "Spectra fall by exponents from 1.02 to 1.30; that of pink by 1.02"
    assert [panel.title for panel in chart.panels] == [spectra.FIXED, spectra.TASK]
    assert all(len(panel.layers) == 2 for panel in chart.panels)


def test_what_moves_by_itself_is_among_the_contenders():
    assert set(contenders.MOVING) < set(contenders.KINDS)
