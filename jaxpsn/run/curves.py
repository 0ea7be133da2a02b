"""Whole runs as arrays, for notebooks: seeds and traced hyper-parameters side by side in one compiled program."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxpsn.core import checks, errors
from jaxpsn.run import chunk, sweep
from jaxpsn.run.program import Program, State

SCALE = "JAXPSN_NOTEBOOK_SCALE"
_LEVEL = "xla_backend_optimization_level"


class Curves(NamedTuple):
    """What :func:`trace` returns; V values of the swept hyper-parameters, without that axis if none was swept."""

    steps: Float[np.ndarray, "points"]
    """Environment steps of one run at the end of each chunk."""
    metrics: dict[str, Float[np.ndarray, "*V seeds points"]]
    """Every metric: its mean over the chunk, or an evaluation's at its end; NaN where there was none."""
    state: State
    """The states after the last step; leading axis V * seeds, the seeds of the first value first."""


def budget(full: int, least: int = 1) -> int:
    """``full``, shrunk by the environment variable JAXPSN_NOTEBOOK_SCALE (0 to 1, default 1), at least ``least``.

    Notebooks take their budgets through it, so that a test or a quick look can run them in seconds.
    """
    text = os.environ.get(SCALE, "1")
    try:
        scale = float(text)
    except ValueError:
        errors.refuse(SCALE, text, "a number from 0 to 1")
    checks.real(SCALE, scale, 0.0, 1.0)
    return max(round(full * scale), least)


def trace(
    program: Program, *, seeds: int, calls: int, points: int, seed: int = 0, judge: bool = True, **swept: Any
) -> Curves:
    """Run ``program`` for ``points`` chunks of ``calls // points`` steps each, without a run folder.

    Runs ``seed .. seed + seeds - 1`` are made for each value of the hyper-parameters named in ``swept`` (``sigma``
    or ``**{"explore.sigma": ...}``: a path of ``program.hyper``, or its end): equal seeds, so that differences between
    values are paired. A value is whatever stands there, a scalar or a vector; several fields are swept together (their
    first values, their second values, ...). ``judge``: evaluate after each chunk. Compiled once whatever the values.
    Raises UserError for a field that does not exist, for unequal numbers of values, and where there is only one run.
    """
    checks.whole("points", points, 1, 1 << 20)
    checks.whole("calls", calls, points)
    checks.whole("seeds", seeds, 1, 1 << 16)
    count, hyper = _spread(program.hyper, swept, seeds)
    runs = count * seeds
    if runs < 2:
        errors.refuse("seeds", seeds, "at least two runs")
    keys = jnp.tile(jax.vmap(jax.random.key)(jnp.arange(seed, seed + seeds, dtype=jnp.uint32)), count)
    axes = program.axes(jax.eval_shape(program.init, keys[0], jax.tree.map(lambda leaf: leaf[0], hyper)))

    def init(key: Any, hyper: Any) -> State:
        return chunk.strip_weak_types(program.init(key, hyper))

    options = _compiler_options() | getattr(program, "compiler_options", {})
    state = jax.jit(jax.vmap(init, out_axes=axes), compiler_options=options)(keys, hyper)
    advance = jax.jit(chunk.make_chunk(program, runs, calls // points), donate_argnums=0, compiler_options=options)
    evaluate = jax.jit(chunk.make_evaluate(program, runs), compiler_options=options)
    rows = []
    for _ in range(points):
        state, told = advance(state)
        row = {name: _mean(*pair) for name, pair in jax.device_get(told.totals).items()}
        rows.append(row | (jax.device_get(evaluate(keys, state)) if judge else {}))
    shape = ((count,) if swept else ()) + (seeds, points)
    # What is a vector in every run (a target for each member) is averaged, as other metrics of members are.
    metrics = {
        name: np.stack([row[name].reshape(runs, -1).mean(axis=1) for row in rows], axis=-1).reshape(shape)
        for name in rows[0]
    }
    steps = np.arange(1, points + 1) * float(calls // points * program.steps_per_call)
    return Curves(steps, metrics, state)


def _compiler_options() -> dict[str, Any]:
    """LLVM's first level on a CPU: tiny networks run as fast with it and are compiled in about half of the time."""
    if jax.default_backend() != "cpu" or _LEVEL in os.environ.get("XLA_FLAGS", ""):
        return {}
    return {_LEVEL: 1}


def _spread(hyper: Mapping[str, Any], swept: Mapping[str, Any], seeds: int) -> tuple[int, Any]:
    """The number of values, and ``hyper`` with a leading axis of runs."""
    swept = {sweep.named(hyper, name, "swept"): values for name, values in swept.items()}
    lengths = {name: len(values) for name, values in swept.items()}
    if len(set(lengths.values())) > 1:
        errors.refuse("swept", lengths, "as many values of one field as of the other")
    count = next(iter(lengths.values()), 1)
    wide = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count * seeds, *leaf.shape)), hyper)
    each = {name: jnp.repeat(jnp.asarray(values, jnp.float32), seeds, axis=0) for name, values in swept.items()}
    return count, wide | each


def _mean(total: Any, count: Any) -> np.ndarray:
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
