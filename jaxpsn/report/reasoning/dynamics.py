"""Noise scales in reasoning, as figures and contrasts for notebooks: responses, pass@k, what is gained at what cost.

Arrays are those of an exploration: V scales, M members, groups of answers, P problems. Intervals are 95 % percentiles
of a bootstrap over problems, which bring all their answers along; a contrast is paired by problem.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib import ticker
from matplotlib.axes import Axes

from jaxpsn.core import errors, text
from jaxpsn.report import dynamics, figures
from jaxpsn.stats import pass_at_k, statistics
from jaxpsn.stats.statistics import Band


def pass_scores(right: Int[np.ndarray, "V groups P"], samples: int, k: int) -> Float[np.ndarray, "V P"]:
    """Unbiased pass@k of each problem at each scale, averaged over groups of ``samples`` answers."""
    return pass_at_k.estimate(samples, right, k).mean(axis=1)


def over_problems(values: Float[np.ndarray, "V groups P"] | Float[np.ndarray, "V P"]) -> Band:
    """Mean over problems (and groups) at each scale, with its interval.

    A problem without a value at some scale (NaN) is left out of all; UserError where none is left.
    """
    values = np.asarray(values, float)
    each = values.mean(axis=1) if values.ndim == 3 else values
    return statistics.mean_curve(each[:, np.isfinite(each).all(axis=0)].T, resamples=1000)


def slope(x: Float[np.ndarray, "V"], y: Float[np.ndarray, "V"]) -> float:
    """Exponent of the power law that fits ``y`` over ``x``, by least squares of their logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def at_level(x: Float[np.ndarray, "V"], y: Float[np.ndarray, "V"], level: float) -> float:
    """``y`` where ``x`` reaches ``level``, both positive, linear between points in their logarithms.

    Raises UserError for a level outside of ``x``.
    """
    order = np.argsort(x)
    if not x[order[0]] <= level <= x[order[-1]]:
        errors.refuse("level", level, f"from {x[order[0]]:.3g} to {x[order[-1]]:.3g}")
    return float(np.exp(np.interp(np.log(level), np.log(x[order]), np.log(y[order]))))


def shared_levels(ours: Any, theirs: Any, count: int) -> Float[np.ndarray, "{count}"]:
    """``count`` levels, evenly inside of what the mean x ([V] or [V, P]) of both arms spans."""
    means = [_mean(np.asarray(x, float)) for x in (ours, theirs)]
    low, high = max(mean.min() for mean in means), min(mean.max() for mean in means)
    return low + (high - low) * np.arange(1, count + 1) / (count + 1)


def _mean(x: np.ndarray) -> np.ndarray:
    return x.mean(axis=1) if x.ndim == 2 else x


def gap_at_equal(
    ours: tuple[Any, Any], theirs: tuple[Any, Any], levels: Sequence[float], *, resamples: int = 1000, seed: int = 0
) -> Band:
    """How much more ``y`` one arm has than the other where both have the same ``x``, at each of ``levels``.

    An arm is (x [V] or [V, P], y [V, P]); means over problems are joined by straight lines over x. What has an axis of
    problems is resampled, with the same problems in both arms. Raises UserError for a level that an arm's mean x does
    not span.
    """
    arms = [tuple(np.asarray(part, float) for part in arm) for arm in (ours, theirs)]
    problems = arms[0][1].shape[1]
    for x, _ in arms:
        middle = _mean(x)
        if min(levels) < middle.min() or max(levels) > middle.max():
            errors.refuse("levels", list(levels), f"from {middle.min():.3g} to {middle.max():.3g}")

    def gap(weights: np.ndarray) -> np.ndarray:
        mine, other = (_interpolated(*arm, weights, levels) for arm in arms)
        return mine - other

    rng = np.random.default_rng(seed)
    draws = rng.multinomial(problems, np.full(problems, 1 / problems), size=resamples) / problems
    low, high = np.quantile([gap(weights) for weights in draws], (0.025, 0.975), axis=0)
    return Band(gap(np.full(problems, 1 / problems)), low, high)


def _interpolated(x: np.ndarray, y: np.ndarray, weights: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    x = x @ weights if x.ndim == 2 else x
    order = np.argsort(x)
    return np.interp(levels, x[order], (y @ weights)[order])


def spread(
    axes: Axes,
    scales: Float[np.ndarray, "V"],
    groups: Mapping[str, Float[np.ndarray, "V M"]],
    label: str,
    colors: list[str] | None = None,
    *,
    log: bool = True,
) -> None:
    """Mean over members of each group, and the middle 80 % of them, over a log axis; ``label``: of the y axis."""
    for (name, values), color in zip(groups.items(), colors or dynamics.named(len(groups)), strict=True):
        low, high = np.quantile(values, (0.1, 0.9), axis=1)
        if values.shape[1] > 1:
            axes.fill_between(scales, low, high, color=color, alpha=0.12, lw=0)
        axes.plot(scales, values.mean(axis=1), color=color, label=name, marker="o", ms=3.4, mec="white", mew=0.5)
    _finish(axes, label, log)


def bands(
    axes: Axes,
    groups: Mapping[str, tuple[Float[np.ndarray, "V"], Band]],
    label: str,
    colors: list[str] | None = None,
    *,
    log_x: bool = True,
) -> None:
    """A line with its interval for each group, given as (x, y); points in the order of x."""
    for (name, (x, band)), color in zip(groups.items(), colors or dynamics.named(len(groups)), strict=True):
        order = np.argsort(x)
        low, high, value = band.low[order], band.high[order], band.value[order]
        axes.fill_between(x[order], low, high, color=color, alpha=0.14, lw=0)
        axes.plot(x[order], value, color=color, label=name, marker="o", ms=3.4, mec="white", mew=0.5)
    _finish(axes, label, False, log_x)


def path(
    axes: Axes, groups: Mapping[str, tuple[Band, Band, Sequence[float]]], colors: list[str], every: int = 1
) -> None:
    """What is gained against what it costs: (x, y, scales) of each group, the points in the order of the scales.

    Every ``every``-th point is named by its scale (0: none); bars are the intervals of y.
    """
    for (name, (x, y, scales)), color in zip(groups.items(), colors, strict=True):
        axes.vlines(x.value, y.low, y.high, color=color, lw=1, alpha=0.5)
        axes.plot(x.value, y.value, color=color, label=name, marker="o", ms=4, mec="white", mew=0.5)
        for at in range(0, len(scales), every) if every else ():
            axes.annotate(
                f"{scales[at]:.2g}", (x.value[at], y.value[at]), (4, 4), textcoords="offset points", fontsize=7,
                color=color,
            )  # fmt: skip


def power(axes: Axes, scales: Float[np.ndarray, "V"], through: float, exponent: int = 2) -> None:
    """A dashed line of that exponent over a log-log panel, that is ``through`` at the first scale."""
    axes.plot(scales, through * (scales / scales[0]) ** exponent, color=figures.INK, lw=0.8, ls="--", zorder=1)


def _finish(axes: Axes, label: str, log: bool, log_x: bool = True) -> None:
    if log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: text.tick(x)))
    axes.set_title(label)
    if log:
        figures.log(axes)
