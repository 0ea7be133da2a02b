"""Brax's physics for many environments on a CPU: the environment is the last axis, and small matrices are unrolled.

``jax.vmap`` puts the environment first. Each of the hundreds of operations of a substep then works on vectors of three
or four numbers and is started by itself, small matrix products and scatters included. Here the substep of one
environment is traced and evaluated again with arrays ``[links, environments]``, one for each coordinate: plain
arithmetic along the environments, which XLA fuses and the processor does sixteen at a time. The numbers are Brax's up
to rounding.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap
from jax.extend import core

from jaxpsn.core import platforms
from jaxpsn.envs import lane_rules as rules
from jaxpsn.envs import lane_values as values
from jaxpsn.envs.history import History
from jaxpsn.envs.lane_values import Lanes

FEWEST = 16
"""Environments from which on it pays: the numbers that one instruction of a processor of today works on."""
BACKENDS = ("spring", "positional")
"""Pipelines without loops within a substep."""
_CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
          "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}  # fmt: skip


def spread(env: Any, platform: str = platforms.CPU, ours: bool = False) -> Any:
    """``env`` with physics in lanes where that pays, on a CPU; else ``env`` itself.

    It pays where barriers end fusions, else each kernel repeats what several need: on an older JAX only if ``ours``,
    which is to say that the program is compiled with :func:`compiler_options`.
    """
    if isinstance(env, History):
        return History(spread(env.env, platform, ours), env.steps)
    pays = platform == platforms.CPU and (ours or not platforms.barriers(platform))
    return in_lanes(env) if pays and fits(env) else env


def compiler_options(env: Any, platform: str) -> dict[str, str]:
    """What XLA is told of programs that step ``env``, which :func:`spread` returned: nothing if not in lanes."""
    within = env.env if isinstance(env, History) else env
    return platforms.barriers(platform) if "pipeline_step" in getattr(within, "__dict__", {}) else {}


def fits(env: Any) -> bool:
    """Whether it is a Brax environment on one of :data:`BACKENDS`, of a system that does not vary."""
    if getattr(env, "backend", None) not in BACKENDS or not hasattr(env, "pipeline_step"):
        return False
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(env.sys))


def in_lanes(env: Any) -> Any:
    """A copy of ``env``, which :func:`fits`, with physics in lanes where ``jax.vmap`` makes many copies.

    For fewer copies than :data:`FEWEST` Brax's own physics runs. There is no derivative in reverse.
    """
    made = copy.copy(env)
    made.pipeline_step = _stepper(env)
    return made


def _stepper(env: Any) -> Callable[[Any, Any], Any]:
    plain = env.pipeline_step
    step = custom_vmap(plain)

    @step.def_vmap
    def batched(copies: int, varies: Any, state: Any, action: Any) -> tuple[Any, Any]:
        state, action = jax.tree.map(
            lambda leaf, own: leaf if own else jnp.broadcast_to(leaf, (copies, *leaf.shape)),
            (state, action),
            tuple(varies),
        )
        made = jax.vmap(plain)(state, action) if copies < FEWEST else _steps(env, state, action)
        return made, jax.tree.map(lambda _: True, made)

    return step


def _steps(env: Any, state: Any, action: Any) -> Any:
    """The physics of one environment step: state ``[N, ...]`` and action ``[N, A]`` to the state after it."""
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), (state, action))
    substep = jax.make_jaxpr(lambda now, torque: env._pipeline.step(env.sys, now, torque, env._debug))(*one)
    leaves, tree = jax.tree.flatten(state)
    shapes = [(leaf.shape[1:], leaf.dtype) for leaf in leaves]
    torque = [values.cut(action)]

    def advance(parts, _):
        now = [values.packed(own, *shape) for own, shape in zip(parts, shapes, strict=True)]
        after = evaluate(substep, [*now, *torque], action.shape[0])
        return [_typed(value, dtype) for value, (_, dtype) in zip(after, shapes, strict=True)], None

    begun = [list(values.cut(leaf).parts.flat) for leaf in leaves]
    parts, _ = lax.scan(advance, begun, None, length=env._n_frames)
    ended = [
        values.whole(values.packed(own, *shape), action.shape[0]) for own, shape in zip(parts, shapes, strict=True)
    ]
    return jax.tree.unflatten(tree, ended)


def _typed(value: Lanes, dtype: Any) -> list[jax.Array]:
    return [lax.convert_element_type(part, dtype) for part in value.parts.flat]


def evaluate(closed: Any, args: Sequence[Any], copies: int) -> list[Lanes]:
    """The results of a closed jaxpr, written for one copy, in ``copies`` of them; ``args`` are Lanes or constants."""
    found = _Evaluation(copies).run(closed.jaxpr, closed.consts, args)
    return [rules.lifted(value, copies) for value in found]


class _Evaluation:
    """One pass through a jaxpr and all that it calls; what depends on no argument is computed at once."""

    def __init__(self, copies: int):
        self._copies = copies
        self._weights = rules.Weights()

    def run(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        known: dict[Any, Any] = dict(zip(jaxpr.invars, args, strict=True))
        for atom, value in zip(jaxpr.constvars, consts, strict=True):
            known[atom] = np.asarray(value, atom.aval.dtype)

        def read(atom):
            return np.asarray(atom.val, atom.aval.dtype) if isinstance(atom, core.Literal) else known[atom]

        for equation in jaxpr.eqns:
            made = self._equation(equation, [read(atom) for atom in equation.invars])
            known.update(zip(equation.outvars, made, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, equation: Any, args: list[Any]) -> Sequence[Any]:
        primitive, params, name = equation.primitive, equation.params, equation.primitive.name
        if inner := params.get(_CALLS.get(name)):
            return self.run(inner.jaxpr, inner.consts, args)
        if name == "platform_index":
            return [np.int32(_cpu(params["platforms"]))]
        if name == "cond" and not isinstance(args[0], Lanes):
            branch = params["branches"][int(np.clip(args[0], 0, len(params["branches"]) - 1))]
            return self.run(branch.jaxpr, branch.consts, args[1:])
        if not any(isinstance(arg, Lanes) for arg in args):
            made = rules.on_host(primitive, params, *args)
            return made if primitive.multiple_results else [made]
        return self._varying(primitive, params, args, equation.outvars[0].aval)

    def _varying(self, primitive: Any, params: Any, args: list[Any], out: Any) -> Sequence[Any]:
        name, copies, weights = primitive.name, self._copies, self._weights
        fixed = not any(isinstance(arg, Lanes) for arg in args[1:])
        if not all(np.prod(value.shape) for value in (out, *args)):
            return rules.general(primitive, params, args, copies)
        if name in rules.ELEMENTWISE:
            parts = rules.elementwise(primitive, params, args, out.shape, weights, copies)
            return [Lanes(out.shape, parts, out.dtype)]
        if name in rules.STRUCTURAL and (name != "gather" or fixed):
            moved = rules.structural(primitive, params, args, copies)
            return rules.general(primitive, params, args, copies) if moved is None else moved
        if name == "dot_general":
            return [rules.contracted(params, *args, out, weights, copies)]
        if name in rules.FOLDS:
            return [rules.folded(name, tuple(map(int, params["axes"])), args[0], out)]
        if name == "scatter-add" and not isinstance(args[1], Lanes):
            return [rules.scattered(primitive, params, args, out, copies)]
        return rules.general(primitive, params, args, copies)


def _cpu(platforms: Sequence[Any]) -> int:
    """Which of the branches by platform is that of a CPU; None stands for all others."""
    return next(number for number, each in enumerate(platforms) if each is None or "cpu" in each)
