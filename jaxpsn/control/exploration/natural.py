"""Natural parameter noise, the form of TRPO: perturbations that are long where the policy does not feel them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpsn import noise
from jaxpsn.control.exploration import acting
from jaxpsn.control.exploration.family import EXPLORATION, Behaviour, Space
from jaxpsn.control.exploration.parameter import Layout
from jaxpsn.control.exploration.rules import BehaviourFunctions, Followers
from jaxpsn.core import compat, errors
from jaxpsn.core.components import Tune
from jaxpsn.core.fields import Real, Traced, Whole
from jaxpsn.noise.spec import taken_apart

_SHORTER = 0.8  # factor of one step back


@struct.dataclass
class NaturalState:
    """The perturbations held now; P of them."""

    offset: Any  # as the parameters, leading axis P: what is added to them
    hyper: Any  # dict: path -> float32
    divergence: Any  # [P] KL(leader || follower) where they were drawn, NaN before
    step: Any  # [P] share of the natural step that was taken


class Natural(NamedTuple):
    """A perturbation in the metric of the policy."""

    offset: Any
    divergence: Float[Array, ""]
    step: Float[Array, ""]


@EXPLORATION.register("natural")
@dataclass(frozen=True)
class NaturalNoise(Behaviour):
    """Parameter noise as a natural step: ``x = F^-1 sigma E``, shortened until KL(leader || follower) is delta.

    F is the policy's Fisher matrix on states of the last rollout, the step
    ``beta = min(1, sqrt(2 delta / x'Fx))`` and then shorter by fifths while the divergence is above delta. For
    on-policy agents that redraw by rollouts; followers of the first rollout are the leader itself. Each perturbation
    is as many numbers as the policy has. Source: Plappert et al. 2018 (arXiv 1706.01905), their TRPO, after Schulman
    et al. 2015 (arXiv 1502.05477), appendix C.
    """

    tune = Tune("delta", (0.003, 0.01, 0.03, 0.1))

    structure: noise.Structure = noise.Dense()
    """Form of the noise E."""
    sigma: Traced[Annotated[float, Real(0.0, 100.0)]] = 0.1
    """Scale of E; it matters where the whole step stays within delta."""
    delta: Traced[Annotated[float, Real(0.0, 10.0, open_low=True)]] = 0.01
    """Divergence of followers from the leader, in nats, at most."""
    groups: Annotated[int, Whole(0, 1 << 20)] = 8
    """0: every environment has its own perturbation; P: P groups share one each."""
    damping: Annotated[float, Real(0.0, 10.0)] = 0.1
    """Added to the diagonal of F where it is inverted."""
    iterations: Annotated[int, Whole(1, 1000)] = 10
    """Of conjugate gradients, at most."""
    backtracks: Annotated[int, Whole(0, 100)] = 10
    """Steps back, at most."""
    states: Annotated[int, Whole(1, 1 << 20)] = 256
    """States of the last rollout on which F and the divergence are measured."""

    samples: ClassVar[bool] = True
    followed: ClassVar[bool] = True
    on_policy: ClassVar[bool] = True
    shown: ClassVar[bool] = False

    def check_followers(self, redraw: str, agent: str) -> None:
        if redraw != "rollout":
            errors.refuse("agent.redraw", redraw, "rollout, as natural noise is drawn where its states have been seen")

    @property
    def distributional(self) -> bool:
        return True

    def members(self, num_envs: int) -> int:
        return self.groups or num_envs

    def probed_states(self, num_envs: int) -> int:
        return self.states

    def check(self, num_envs: int) -> None:
        if num_envs % self.members(num_envs):
            errors.refuse("natural.groups", self.groups, f"0 or a divisor of env.num_envs = {num_envs}")

    def build(self, policy: Any, params: Any, space: Space) -> BehaviourFunctions:
        raw, apart = acting.raw(policy), acting.distance(policy, "kl")
        count = self.members(space.num_envs)
        seats = Layout(count, space.num_envs // count)
        example = jax.ShapeDtypeStruct((space.observation_size,), jnp.float32)
        spec = noise.plan(raw, jax.eval_shape(lambda tree: tree, params), example, select=noise.all_but_norms)
        many = jax.vmap(lambda params, offset, obs: raw(_plus(params, offset, 1.0), obs), (None, 0, 0))

        def init(key: PRNGKeyArray, params: Any, hyper: Any) -> NaturalState:
            offset = jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), params)
            blank = jnp.full((count,), jnp.nan, jnp.float32)
            return NaturalState(offset, dict(hyper), blank, jnp.zeros_like(blank))

        def act(params: Any, state: NaturalState, obs: Float[Array, "N O"]) -> Float[Array, "N K"]:
            return seats.join(many(params, state.offset, seats.split(obs)))

        def adapt(key: PRNGKeyArray, params: Any, state: NaturalState, obs: Float[Array, "B O"]) -> NaturalState:
            blank = jax.tree.map(jnp.zeros_like, params)
            draw = self.structure.init(key, spec, count)

            def one(member: Int[Array, ""]) -> Natural:
                direction = self.structure.materialise(blank, draw, state.hyper["sigma"], member)
                return self._natural(raw, apart, spec, params, direction, obs, state.hyper["delta"])

            found = jax.vmap(one)(jnp.arange(count))
            return state.replace(offset=found.offset, divergence=found.divergence, step=found.step)

        def recall(params: Any, state: NaturalState, obs: Any, groups: Any, tags: Any) -> Float[Array, "G R K"]:
            return many(params, jax.tree.map(lambda leaf: leaf[groups], state.offset), obs)

        followers = Followers(recall, lambda state: jnp.zeros((space.num_envs,), jnp.uint32))
        return BehaviourFunctions(init, act, lambda key, state, done: state, adapt, _report, followers=followers)

    def _natural(
        self,
        raw: Callable[..., Array],
        apart: Callable[..., Array],
        spec: noise.Spec,
        params: Any,
        direction: Any,
        obs: Float[Array, "B O"],
        delta: Float[Array, ""],
    ) -> Natural:
        """The offset along the natural form of ``direction``."""
        product = fisher(raw, params, obs, spec)
        with compat.foreign():
            solved, _ = cg(lambda v: _plus(product(v), v, self.damping), direction, maxiter=self.iterations)
        square = _dot(solved, product(solved))
        whole = jnp.minimum(1.0, jnp.sqrt(2.0 * delta / jnp.maximum(square, 1e-20)))
        clean = raw(params, obs)

        def divergence(step: Float[Array, ""]) -> Float[Array, ""]:
            return apart(clean, raw(_plus(params, solved, step), obs))

        def far(now: tuple[Array, Array, Array]) -> Array:
            return (now[1] > delta) & (now[2] < self.backtracks)

        def shorter(now: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            step = _SHORTER * now[0]
            return step, divergence(step), now[2] + 1

        step, found, _ = lax.while_loop(far, shorter, (whole, divergence(whole), jnp.int32(0)))
        return Natural(jax.tree.map(lambda leaf: step * leaf, solved), found, step)


def fisher(raw: Callable[..., Array], params: Any, obs: Float[Array, "B O"], spec: noise.Spec) -> Callable[[Any], Any]:
    """``v -> F v`` of a diagonal Gaussian with the moments ``raw(params, obs)``, in the leaves that ``spec`` has.

    ``F = mean_s J' diag(1 / std^2, 2) J``, J the Jacobian of mean and log standard deviation: exact, no samples.
    """
    parts = taken_apart(params)
    chosen = parts.whole([jnp.float32(path in spec.by_path) for path in parts.paths])

    def within(tree: Any) -> Any:
        return jax.tree.map(jnp.multiply, tree, chosen)

    def product(vector: Any) -> Any:
        moments, tangent = jax.jvp(lambda tree: raw(tree, obs), (params,), (within(vector),))
        log_std = jnp.split(moments, 2, axis=-1)[1]
        metric = jnp.concatenate([jnp.exp(-2.0 * log_std), jnp.full_like(log_std, 2.0)], axis=-1)
        _, back = jax.vjp(lambda tree: raw(tree, obs), params)
        return within(back(metric * tangent / obs.shape[0])[0])

    return product


def _plus(tree: Any, other: Any, factor: Any) -> Any:
    return jax.tree.map(lambda a, b: a + factor * b, tree, other)


def _dot(one: Any, other: Any) -> Float[Array, ""]:
    return sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def _report(state: NaturalState) -> dict[str, Any]:
    """Means over perturbations."""
    told = {"distance": jnp.mean(state.divergence), "sigma": state.hyper["sigma"], "target": state.hyper["delta"]}
    return told | {"step": jnp.mean(state.step)}
