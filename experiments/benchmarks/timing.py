"""Timing several ways of doing one thing in one run, interleaved, so that a busy machine disturbs all alike."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from scipy.stats import binom

FEWEST = 5
"""Rounds that are made however long they take."""


class Ratio(NamedTuple):
    """Ratio of two contenders within a round, over rounds."""

    median: float
    low: float  # 10th percentile
    high: float  # 90th percentile


class Timing(NamedTuple):
    """One contender: median seconds per call, and the ratio to the baseline of the same round."""

    name: str
    seconds: float
    ratio: float
    ratio_low: float  # 10th percentile over rounds
    ratio_high: float  # 90th percentile
    best: float  # ratio of the fastest rounds, what remains of a disturbed machine


def measure(
    contenders: Mapping[str, Callable[[], Any]],
    rounds: int = 50,
    calls: int = 1,
    limit: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Float[np.ndarray, "rounds contenders"]:
    """Seconds of a call of each of ``contenders``, in ``rounds`` rounds of ``calls`` calls each.

    Every contender is called once beforehand (compilation), and every call is waited for. After ``limit`` seconds
    rounds end, but not before :data:`FEWEST` of them. ``clock``: the wall's by default; ``time.process_time`` counts
    the processor seconds of all threads.
    """
    names = list(contenders)
    for run in contenders.values():
        jax.block_until_ready(run())
    begun, seconds = time.perf_counter(), []
    for turn in range(rounds):
        if limit is not None and turn >= FEWEST and time.perf_counter() - begun > limit:
            break
        row = np.zeros(len(names))
        # Another order every round: nobody always runs after the same neighbour.
        for place in np.random.default_rng(turn).permutation(len(names)):
            run = contenders[names[place]]
            start = clock()
            for _ in range(calls):
                jax.block_until_ready(run())
            row[place] = (clock() - start) / calls
        seconds.append(row)
    return np.stack(seconds)


def ratio(ours: Float[np.ndarray, " rounds"], theirs: Float[np.ndarray, " rounds"]) -> Ratio:
    """``ours`` over ``theirs``, round by round: slow drifts of the machine cancel."""
    low, middle, high = np.percentile(ours / theirs, (10, 50, 90))
    return Ratio(float(middle), float(low), float(high))


def median_interval(values: Float[np.ndarray, " rounds"]) -> tuple[float, float]:
    """Bounds of the median at 95 % or more, from order statistics: nothing is assumed of how values are spread.

    With fewer than six rounds no two of them have that much between them: least and most.
    """
    ordered, number = np.sort(values), len(values)
    skipped = max(int(binom.ppf(0.025, number, 0.5)) - 1, 0)
    return float(ordered[skipped]), float(ordered[number - 1 - skipped])


def compare(
    names: Sequence[str], seconds: Float[np.ndarray, "rounds contenders"], baseline: str | None = None
) -> list[Timing]:
    """Every contender against ``baseline`` (the first by default)."""
    base = seconds[:, names.index(baseline or names[0])]
    found = []
    for name, ours in zip(names, seconds.T, strict=True):
        middle, low, high = ratio(ours, base)
        found.append(Timing(name, float(np.median(ours)), middle, low, high, float(np.min(ours) / np.min(base))))
    return found


def interleaved(
    contenders: Mapping[str, Callable[[], Any]], rounds: int = 50, calls: int = 1, baseline: str | None = None
) -> list[Timing]:
    """Time ``contenders`` as :func:`measure` does, and compare them as :func:`compare` does."""
    return compare(list(contenders), measure(contenders, rounds, calls), baseline)


def together(tasks: Sequence[Callable[[], Any]]) -> None:
    """Do ``tasks``, which compile, side by side: XLA needs no Python lock, and a program keeps few cores busy."""
    with ThreadPoolExecutor(max_workers=_cores() or 1) as pool:
        for done in [pool.submit(task) for task in tasks]:
            done.result()


def machine() -> dict[str, Any]:
    """What a timing was taken on: devices, cores and the version of JAX."""
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "cores": _cores(),
        "jax": jax.__version__,
    }


def _cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
