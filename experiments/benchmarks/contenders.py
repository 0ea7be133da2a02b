"""Ways for N members to act: one clean batch, perturbations of every form, and weights formed beforehand."""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn import noise
from jaxpsn.control.exploration.parameter import Layout
from jaxpsn.core import compat
from jaxpsn.noise.hold_rules import Drift, Pink

CLEAN, FORMED = "clean", "vmap"
SIGMA = 0.1

KINDS: dict[str, noise.Structure] = {
    "flipout": noise.Flipout(),
    "flipout-sign": noise.Flipout(base="sign"),
    "flipout-normal": noise.Flipout(base="normal"),
    "lowrank": noise.LowRank(rank=1),
    "lowrank-no-head": noise.LowRank(rank=1, dense_head=False),
    "lowrank-4": noise.LowRank(rank=4),
    "factorised": noise.Factorised(),
    "input-gain": noise.InputGain(),
    "dense-groups": noise.Dense(),
    "dense": noise.Dense(),
    "dense-bf16": noise.Dense(store="bfloat16"),
    "flipout-pink": Pink().form(noise.Flipout()),
    "lowrank-pink": Pink().form(noise.LowRank(rank=1)),
    "lowrank-drift": Drift().form(noise.LowRank(rank=1)),
}
"""Forms of weight noise by the names of :data:`options.STRUCTURES`."""

MOVING = {"flipout-pink": Pink().build(), "lowrank-pink": Pink().build(), "lowrank-drift": Drift().build()}
"""Hold rules of those that change at every decision; the others are held until someone redraws them."""


class Policy(nn.Module):
    """The policy that acts: dense, layer norm, swish; tanh at the end. Weights, norms and actions are float32."""

    widths: tuple[int, ...]
    dtype: Any = jnp.float32  # of the activations

    @nn.compact
    def __call__(self, x: Float[Array, "*batch o"]) -> Float[Array, "*batch a"]:
        for width in self.widths[:-1]:
            x = nn.Dense(width, dtype=self.dtype)(x)
            x = nn.swish(nn.LayerNorm()(x.astype(jnp.float32)).astype(self.dtype))
        return jnp.tanh(nn.Dense(self.widths[-1], dtype=self.dtype)(x).astype(jnp.float32))


class Act(NamedTuple):
    """One way to act, as pure functions; ``held`` is whatever the members hold: draws, weights, or nothing."""

    hold: Callable[..., Any]
    """``hold(key, params) -> held``"""
    redraw: Callable[..., Any]
    """``redraw(key, held, where[N]) -> held``, new for the members in ``where``."""
    act: Callable[..., Any]
    """``act(params, held, obs[N, O]) -> action[N, A]``"""
    draws: int
    """How many distinct things are held; members share them in blocks of equal size."""
    moving: bool = False
    """Whether ``redraw`` changes something at every step, also where nobody is in ``where``."""


_PRODUCTS = {"default": None, "float32": "float32", "tf32": "tensorfloat32", "bfloat16": None}
"""JAX's name of the precision of matrix products, by ours."""


class Scene:
    """One policy and ``members`` that act with it, ``sizes`` its widths from observation to action.

    ``precision`` is one of :data:`options.PRECISIONS`.
    """

    def __init__(self, members: int, sizes: tuple[int, ...], groups: int, precision: str = "default"):
        self.members, self.sizes, self.groups = members, sizes, groups
        self.policy = Policy(sizes[1:], jnp.bfloat16 if precision == "bfloat16" else jnp.float32)
        self._products = _PRODUCTS[precision]

    def params(self, key: PRNGKeyArray) -> Any:
        """Weights as they start."""
        return self.policy.init(key, jnp.zeros(self.sizes[0], jnp.float32))

    def observations(self, key: PRNGKeyArray) -> Float[Array, "n o"]:
        """A random observation for each member."""
        return jax.random.normal(key, (self.members, self.sizes[0]), jnp.float32)

    def ways(self, forms: tuple[str, ...]) -> dict[str, Act]:
        """Name -> a way to act: the clean batch, weights formed beforehand, and the noise of ``forms``."""
        found = {CLEAN: self._clean(), FORMED: self._formed()} | {form: self._noisy(form) for form in forms}
        return {name: way._replace(act=self._in_precision(way.act)) for name, way in found.items()}

    def refusal(self, form: str) -> str | None:
        """Why ``form`` cannot serve these members, if it cannot."""
        if form == "dense-groups" and self.members % self.groups:
            return f"{self.members} members are no multiple of {self.groups} groups"
        return None

    @cached_property
    def shapes(self) -> Any:
        """Shapes and dtypes of the weights."""
        return jax.eval_shape(self.params, jax.random.key(0))

    def _plan(self, rows: tuple[int, ...]) -> noise.Spec:
        return noise.plan(self.policy.apply, self.shapes, jax.ShapeDtypeStruct((*rows, self.sizes[0]), jnp.float32))

    def _in_precision(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def run(params: Any, held: Any, obs: Float[Array, "n o"]) -> Float[Array, "n a"]:
            with jax.default_matmul_precision(self._products):
                return act(params, held, obs)

        return run

    def _clean(self) -> Act:
        return Act(lambda key, params: (), _keep, lambda params, held, obs: self.policy.apply(params, obs), 1)

    def _formed(self) -> Act:
        """Every member's own weights, applied under ``vmap``; the price of a redraw is left out."""
        kind, spec = noise.Flipout(), self._plan(())

        def hold(key: PRNGKeyArray, params: Any) -> Any:
            draw = kind.init(key, spec, self.members)
            return jax.vmap(lambda member: kind.materialise(params, draw, SIGMA, member))(jnp.arange(self.members))

        return Act(hold, _keep, lambda params, held, obs: jax.vmap(self.policy.apply)(held, obs), self.members)

    def _noisy(self, form: str) -> Act:
        kind = KINDS[form]
        shared = form == "dense-groups"
        seats = Layout(self.groups, max(1, self.members // self.groups)) if shared else Layout(self.members, 1)
        spec = self._plan(() if seats.rows == 1 else (seats.rows,))
        fused = noise.fused(self.policy.apply, spec, kind)

        def redraw(key: PRNGKeyArray, held: Any, where: Bool[Array, " n"]) -> Any:
            where = where.reshape(seats.groups, seats.rows)[:, 0]
            if form not in MOVING:
                return kind.redraw(key, held, where)
            hold, now = MOVING[form], held.counter.reshape(-1)[0]  # one more at every step
            state = hold.init(key, seats.groups)
            return hold.move(kind, key, held, hold.step(jax.random.fold_in(key, now), state, where)[1])

        def act(params: Any, held: Any, obs: Float[Array, "n o"]) -> Float[Array, "n a"]:
            return seats.join(fused(params, held, jnp.float32(SIGMA), seats.split(obs)))

        return Act(lambda key, params: kind.init(key, spec, seats.groups), redraw, act, seats.groups, form in MOVING)


def held_shapes(scene: Scene, way: Act) -> Any:
    """Shapes and dtypes of what the members hold, without holding it."""
    return jax.eval_shape(way.hold, jax.random.key(0), scene.shapes)


def tree_bytes(tree: Any) -> int:
    """Bytes of the arrays of ``tree``, which may be abstract."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def advance(
    way: Act, steps: int, redraws: bool, key: PRNGKeyArray, params: Any, held: Any, where: Any, obs: Array
) -> tuple[Float[Array, "n a"], Any]:
    """``steps`` policy steps, the action and what is held after them.

    With ``redraws`` the members in ``where`` get new noise before every step, in a branch that is skipped where there
    is none, as in training; what is moving moves. Observations follow actions, so that no step can be computed once
    for all.
    """

    def step(held: Any, obs: Array) -> tuple[Array, Any]:
        if redraws and way.moving:
            held = way.redraw(key, held, where)
        elif redraws:
            held = lax.cond(compat.anywhere(where), lambda old: way.redraw(key, old, where), lambda old: old, held)
        return way.act(params, held, obs), held

    def body(carry: tuple[Any, Array, Array], _: None) -> tuple[Any, None]:
        held, obs, _ = carry
        action, held = step(held, obs)
        return (held, obs + 0.01 * jnp.mean(action, axis=-1, keepdims=True), action), None

    if steps == 1:
        return step(held, obs)
    blank = jnp.zeros((obs.shape[0], jax.eval_shape(way.act, params, held, obs).shape[-1]), jnp.float32)
    (held, _, action), _ = lax.scan(body, (held, obs, blank), None, length=steps)
    return action, held


class Contender:
    """One way to act, with what it holds now; a call makes ``steps`` policy steps."""

    def __init__(self, way: Act, steps: int, key: PRNGKeyArray, params: Any):
        self._key, self._params = key, params
        self._held = jax.jit(way.hold)(key, params)
        self._renewing = self._program(way, steps, True)
        # Of many steps in one program nothing may be computed once for all: what is held might change.
        self._still = self._renewing if steps > 1 else self._program(way, 1, False)
        self._once = self._program(way, 1, True) if steps > 1 else self._renewing

    @staticmethod
    def _program(way: Act, steps: int, redraws: bool) -> Any:
        return jax.jit(partial(advance, way, steps, redraws), donate_argnums=2)

    def act(self, where: Bool[Array, " n"], obs: Float[Array, "n o"]) -> Float[Array, "n a"]:
        """Act with what is held; nobody is in ``where``."""
        return self._run(self._still, where, obs)

    def renew(self, where: Bool[Array, " n"], obs: Float[Array, "n o"]) -> Float[Array, "n a"]:
        """Act, after a redraw of the members in ``where`` at every step."""
        return self._run(self._renewing, where, obs)

    def follow(self, where: Bool[Array, " n"], obs: Float[Array, "n o"]) -> Float[Array, "n a"]:
        """One step, after a redraw of the members in ``where``, if any."""
        return self._run(self._once, where, obs)

    def compile(self, where: Bool[Array, " n"], obs: Float[Array, "n o"]) -> None:
        """Compile what :meth:`act` and :meth:`renew` run, so that others may be compiled meanwhile."""
        given = self._key, self._params, self._held, where, obs
        programs = {id(program): program for program in (self._renewing, self._still)}
        compiled = {name: program.lower(*given).compile() for name, program in programs.items()}
        self._once = compiled.get(id(self._once), self._once)
        self._still, self._renewing = compiled[id(self._still)], compiled[id(self._renewing)]

    def _run(self, program: Any, where: Array, obs: Array) -> Array:
        action, self._held = program(self._key, self._params, self._held, where, obs)
        return action


def _keep(key: PRNGKeyArray, held: Any, where: Array) -> Any:
    return held
