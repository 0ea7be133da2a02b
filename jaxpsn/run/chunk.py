"""The compiled parts of a run: init, one chunk of steps, one evaluation; seeds are vmapped."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxpsn.core import placement
from jaxpsn.run import sweep
from jaxpsn.run.program import Program, State

EVALUATION = 0x45564C  # purpose folded into a seed's key: evaluations share no randomness with training


class ChunkReport(NamedTuple):
    """What a chunk tells the host; arrays have a leading axis of seeds if there are several."""

    totals: dict[str, tuple[Float[Array, "*seeds"], Float[Array, "*seeds"]]]
    """Sum and count of every metric."""
    bad: dict[str, Int[Array, "*seeds"]]
    """Index within the chunk of the first call after which a watched leaf was not finite, or -1."""
    updates: Int[Array, "*seeds"] | None
    """Gradient updates since the start, if the state counts them."""


def strip_weak_types(tree: Any) -> Any:
    """Give every array leaf its dtype for good, so that a state fed back to its own step is not traced again."""

    def strip(leaf: Any) -> Any:
        leaf = jnp.asarray(leaf)
        return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.astype(leaf.dtype)

    return jax.tree.map(strip, tree)


def seed_keys(seed: int, seeds: int) -> Array:
    """Typed keys of the runs: [] for one seed, [seeds] for several; run i has ``key(seed + i)``."""
    if seeds == 1:
        return jax.random.key(seed)
    return jax.vmap(jax.random.key)(jnp.arange(seed, seed + seeds, dtype=jnp.uint32))


def _state_axes(program: Program) -> Any:
    hyper = sweep.first(program.hyper) if isinstance(program, sweep.Swept) else program.hyper
    return program.axes(jax.eval_shape(program.init, jax.random.key(0), hyper))


def layout(program: Program, seeds: int) -> Any:
    """Where the leaves of the state of all seeds lie on the program's mesh; None if it has none."""
    place = placement.of(program)
    if place.mesh is None:
        return None
    hyper = sweep.first(program.hyper) if isinstance(program, sweep.Swept) else program.hyper
    state = jax.eval_shape(program.init, jax.random.key(0), hyper)
    axes = program.axes(state) if seeds > 1 else jax.tree.map(lambda _: None, state)
    return place.shardings(state, axes)


def make_init(program: Program, seeds: int) -> Any:
    """Function ``keys -> state``; a swept program's seeds have hyper-parameters of their own."""

    def init(key: Array, hyper: Any) -> State:
        return strip_weak_types(program.init(key, hyper))

    if seeds > 1:
        swept = isinstance(program, sweep.Swept)
        init = jax.vmap(init, in_axes=(0, 0 if swept else None), out_axes=_state_axes(program))
    return lambda keys: init(keys, program.hyper)


def make_evaluate(program: Program, seeds: int) -> Any:
    """Function ``(keys, state) -> metrics``; its randomness is a function of the seed and the clock alone."""

    def evaluate(key: Array, state: State) -> dict[str, Any]:
        key = jax.random.fold_in(jax.random.fold_in(key, EVALUATION), state.clock)
        return {name: jnp.asarray(value, jnp.float32) for name, value in program.evaluate(key, state).items()}

    return evaluate if seeds == 1 else jax.vmap(evaluate, in_axes=(0, _state_axes(program)))


def _measure(metrics: dict[str, Any]) -> dict[str, tuple[Array, Array]]:
    """Every metric of one call as (total, count); a scalar that is NaN counts for nothing."""

    def pair(value: Any) -> tuple[Array, Array]:
        if isinstance(value, tuple):
            total, count = value
        else:
            value = jnp.asarray(value)
            present = ~jnp.isnan(value.astype(jnp.float32))
            total, count = jnp.where(present, value, jnp.zeros_like(value)), present
        return jnp.asarray(total).astype(jnp.float32), jnp.asarray(count).astype(jnp.float32)

    return {name: pair(value) for name, value in metrics.items()}


def not_finite(watched: dict[str, Any]) -> dict[str, Bool[Array, ""]]:
    """Flag per leaf, named culprit or culprit/path, of the inexact leaves of the watched trees."""
    flags = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(watched)[0]:
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            flags[jax.tree_util.keystr(path, simple=True, separator="/")] = ~jnp.all(jnp.isfinite(leaf))
    return flags


def make_chunk(program: Program, seeds: int, calls: int) -> Any:
    """Function ``state -> (state, ChunkReport)`` of ``calls`` steps.

    Metrics and the first bad call are reduced in the carry of the scan, so memory does not grow with ``calls``.
    """

    def call(state: State) -> tuple[State, dict[str, Any], dict[str, Any]]:
        state, metrics = program.step(state)
        return strip_weak_types(state), _measure(metrics), not_finite(program.watch(state, metrics))

    if seeds > 1:
        axes = _state_axes(program)
        call = jax.vmap(call, in_axes=(axes,), out_axes=(axes, 0, 0))
    call = jax.jit(call)  # asking for its shapes and scanning it share one trace

    def body(carry: tuple[State, Any, Any], index: Array) -> tuple[tuple[State, Any, Any], None]:
        state, totals, bad = carry
        state, measured, flags = call(state)
        totals = jax.tree.map(jnp.add, totals, measured)
        bad = {name: jnp.where((bad[name] < 0) & flag, index, bad[name]) for name, flag in flags.items()}
        return (state, totals, bad), None

    def chunk(state: State) -> tuple[State, ChunkReport]:
        _, measured, flags = jax.eval_shape(call, state)
        totals = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), measured)
        bad = jax.tree.map(lambda leaf: jnp.full(leaf.shape, -1, jnp.int32), flags)
        (state, totals, bad), _ = jax.lax.scan(body, (state, totals, bad), jnp.arange(calls, dtype=jnp.int32))
        return state, ChunkReport(totals, bad, getattr(state, "updates", None))

    return chunk
