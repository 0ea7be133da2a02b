"""The compiled parts of a run: init, one chunk of steps, one evaluation; seeds are vmapped."""

import functools
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

    def names(self) -> dict[str, Any]:
        """What it holds, in JSON."""
        return {"totals": sorted(self.totals), "bad": sorted(self.bad), "updates": self.updates is not None}

    @classmethod
    def outline(cls, names: dict[str, Any]) -> "ChunkReport":
        """A report that holds what :meth:`names` told, all zero."""
        totals = {name: (0, 0) for name in names["totals"]}
        return cls(totals, dict.fromkeys(names["bad"], 0), 0 if names["updates"] else None)


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


def make_starts(program: Program, seeds: int) -> Any:
    """Function ``(keys, clock) -> starts`` of an evaluation at ``clock``, or of the first state where that is negative.

    None for a program whose other parts make their own (:class:`jaxpsn.run.program.Program`).
    """
    made = getattr(program, "starts", None)

    def starts(key: Array, clock: Int[Array, ""]) -> Any:
        judging = clock >= 0
        return made(jnp.where(judging, _judged(key, clock), key), judging)

    return made and (starts if seeds == 1 else jax.vmap(starts, in_axes=(0, None)))


def make_init(program: Program, seeds: int) -> Any:
    """Function ``(keys, [starts]) -> state``; a swept program's seeds have hyper-parameters of their own."""

    def init(key: Array, hyper: Any, *starts: Any) -> State:
        return strip_weak_types(program.init(key, hyper, *starts))

    def made(keys: Array, *starts: Any) -> State:
        if seeds == 1:
            return init(keys, program.hyper, *starts)
        axes = 0, 0 if isinstance(program, sweep.Swept) else None, *(0 for _ in starts)
        return jax.vmap(init, axes, _state_axes(program))(keys, program.hyper, *starts)

    return made


def make_evaluate(program: Program, seeds: int) -> Any:
    """Function ``(keys, state, [starts]) -> metrics``; its randomness is a function of the seed and the clock alone."""

    def evaluate(key: Array, state: State, *starts: Any) -> dict[str, Any]:
        found = program.evaluate(_judged(key, state.clock), state, *starts)
        return {name: jnp.asarray(value, jnp.float32) for name, value in found.items()}

    def made(keys: Array, state: State, *starts: Any) -> dict[str, Any]:
        if seeds == 1:
            return evaluate(keys, state, *starts)
        return jax.vmap(evaluate, (0, _state_axes(program), *(0 for _ in starts)))(keys, state, *starts)

    return made


def _judged(key: Array, clock: Any) -> Array:
    """The key of a seed's evaluation at ``clock``."""
    return jax.random.fold_in(jax.random.fold_in(key, EVALUATION), clock)


def _measure(metrics: dict[str, Any]) -> Float[Array, "2 metrics"]:
    """Totals and counts of one call's metrics, by name in order: two rows, as every number apart costs a kernel.

    A scalar that is NaN counts for nothing.
    """

    def pair(value: Any) -> tuple[Array, Array]:
        if isinstance(value, tuple):
            total, count = value
        else:
            value = jnp.asarray(value)
            present = ~jnp.isnan(value.astype(jnp.float32))
            total, count = jnp.where(present, value, jnp.zeros_like(value)), present
        return jnp.asarray(total).astype(jnp.float32), jnp.asarray(count).astype(jnp.float32)

    if not metrics:
        return jnp.zeros((2, 0), jnp.float32)
    totals, counts = zip(*(pair(metrics[name]) for name in sorted(metrics)), strict=True)
    return jnp.stack([jnp.stack(totals), jnp.stack(counts)])


class _Watch:
    """The leaves that must stay finite, looked at together: a reduction for each shape, not for each leaf.

    Scalars are told apart at every call. Of arrays of one shape a call tells that one of them is not finite, and the
    state after the last call tells which; where none of them is any more, all are named.
    """

    def __init__(self, watched: dict[str, Any]):
        """``watched``: the trees by name, as arrays or shapes."""
        groups: dict[Any, list[str]] = {}
        for name, leaf in _inexact(watched).items():
            groups.setdefault((leaf.shape, leaf.dtype) if leaf.ndim else name, []).append(name)
        self.groups = list(groups.values())

    def flags(self, watched: dict[str, Any]) -> Bool[Array, " groups"]:
        """Whether some leaf of each group is not finite."""
        leaves = _inexact(watched)
        if not self.groups:
            return jnp.zeros((0,), bool)

        def finite(names: list[str]) -> Array:
            return jnp.all(functools.reduce(jnp.logical_and, (jnp.isfinite(leaves[name]) for name in names)))

        return ~jnp.stack([finite(names) for names in self.groups])

    def first(self, seen: Int[Array, " groups"], watched: dict[str, Any]) -> dict[str, Int[Array, ""]]:
        """By leaf the first bad call, given those of its group and the trees after the last call."""
        last, found = not_finite(watched), {}
        for number, names in enumerate(self.groups):
            some = functools.reduce(jnp.logical_or, (last[name] for name in names))
            for name in names:
                own = last[name] | ~some
                found[name] = seen[number] if len(names) == 1 else jnp.where(own, seen[number], -1)
        return found


def _inexact(watched: dict[str, Any]) -> dict[str, Any]:
    """The leaves that can be anything but finite, named culprit or culprit/path."""
    leaves = jax.tree_util.tree_flatten_with_path(watched)[0]
    named = ((jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves)
    return {name: leaf for name, leaf in named if jnp.issubdtype(leaf.dtype, jnp.inexact)}


def not_finite(watched: dict[str, Any]) -> dict[str, Bool[Array, ""]]:
    """Flag per leaf, named culprit or culprit/path, of the inexact leaves of the watched trees."""
    return {name: ~jnp.all(jnp.isfinite(leaf)) for name, leaf in _inexact(watched).items()}


def make_chunk(program: Program, seeds: int, calls: int) -> Any:
    """Function ``state -> (state, ChunkReport)`` of ``calls`` steps.

    Metrics and the first bad call are reduced in the carry of the scan, so memory does not grow with ``calls``.
    """

    ahead = getattr(program, "ahead", None)

    def call(state: State, *drawn: Any) -> tuple[State, Any, Any, dict[str, Any]]:
        state, metrics = program.step(state, *drawn)
        with jax.named_scope("metrics"):
            measured = _measure(metrics)
        with jax.named_scope("checks"):
            watched = program.watch(state, metrics)
            flags = _Watch(watched).flags(watched)
        return strip_weak_types(state), measured, flags, metrics

    def first(state: State, metrics: dict[str, Any], seen: Array) -> dict[str, Array]:
        watched = program.watch(state, metrics)
        return _Watch(watched).first(seen, watched)

    if seeds > 1:
        axes = _state_axes(program)
        call = jax.vmap(call, in_axes=(axes,) if ahead is None else (axes, 0), out_axes=(axes, 0, 0, 0))
        first = jax.vmap(first, in_axes=(axes, 0, 0))
        ahead = ahead and jax.vmap(ahead, in_axes=(axes, None))
    call = jax.jit(call)  # asking for its shapes and scanning it share one trace

    def body(carry: tuple[State, Any, Any], xs: Any) -> tuple[tuple[State, Any, Any], None]:
        (state, totals, bad), (index, *drawn) = carry, xs
        state, measured, flags, _ = call(state, *drawn)
        with jax.named_scope("metrics"):
            totals = totals + measured
        with jax.named_scope("checks"):
            bad = jnp.where((bad < 0) & flags, index, bad)
        return (state, totals, bad), None

    def chunk(state: State) -> tuple[State, ChunkReport]:
        indices = jnp.arange(calls, dtype=jnp.int32)
        drawn = () if ahead is None else (jax.vmap(ahead, (None, 0))(state, state.clock + indices),)
        _, measured, flags, metrics = jax.eval_shape(call, state, *jax.tree.map(lambda leaf: leaf[0], drawn))
        begun = state, jnp.zeros(measured.shape, measured.dtype), jnp.full(flags.shape, -1, jnp.int32)
        (state, totals, bad), _ = jax.lax.scan(body, begun, (indices, *drawn))
        # Scalars have been told apart; of those among the metrics nobody looks at what they were last.
        absent = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), metrics)
        named = {name: (totals[..., 0, place], totals[..., 1, place]) for place, name in enumerate(sorted(metrics))}
        return state, ChunkReport(named, first(state, absent, bad), getattr(state, "updates", None))

    return chunk
