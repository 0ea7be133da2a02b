"""Timing several ways of doing one thing in one run, interleaved, so that a busy machine disturbs all alike."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np


class Timing(NamedTuple):
    """One contender: median seconds per call, and the ratio to the baseline of the same round."""

    name: str
    seconds: float
    ratio: float
    ratio_low: float  # 10th percentile over rounds
    ratio_high: float  # 90th percentile
    best: float  # ratio of the fastest rounds, what remains of a disturbed machine


def interleaved(
    contenders: Mapping[str, Callable[[], Any]], rounds: int = 50, calls: int = 1, baseline: str | None = None
) -> list[Timing]:
    """Time ``contenders`` in turn, ``rounds`` times, ``calls`` calls each; the first is the baseline by default.

    Every contender is called once beforehand (compilation), and every call is waited for. A ratio is
    taken within its round, so slow drifts of the machine cancel.
    """
    names = list(contenders)
    for run in contenders.values():
        jax.block_until_ready(run())
    seconds = np.zeros((rounds, len(names)))
    for turn in range(rounds):
        # Another order every round: nobody always runs after the same neighbour.
        for place in np.random.default_rng(turn).permutation(len(names)):
            run = contenders[names[place]]
            start = time.perf_counter()
            for _ in range(calls):
                jax.block_until_ready(run())
            seconds[turn, place] = (time.perf_counter() - start) / calls
    ratios = seconds / seconds[:, [names.index(baseline or names[0])]]
    low, middle, high = np.percentile(ratios, (10, 50, 90), axis=0)
    medians, fastest = np.median(seconds, axis=0), np.min(seconds, axis=0)
    best = fastest / fastest[names.index(baseline or names[0])]
    return [Timing(name, *map(float, row)) for name, *row in zip(names, medians, middle, low, high, best, strict=True)]


def machine() -> dict[str, Any]:
    """What a timing was taken on: devices, cores and library versions."""
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
