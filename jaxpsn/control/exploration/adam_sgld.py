"""Langevin dynamics with Adam's drift as the optimiser of the actor (Ishfaq et al. 2024, arXiv 2305.18246)."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.control.exploration import acting
from jaxpsn.control.exploration.family import EXPLORATION, Behaviour, Space
from jaxpsn.control.exploration.rules import ActorRule, BehaviourFunctions, LearntNoise
from jaxpsn.core.components import Tune
from jaxpsn.core.fields import NonNegative, Real, Traced

_DECAYS = (0.9, 0.999)
_EPS = 1e-8


@struct.dataclass
class Chain:
    """What the sampler keeps beside the weights."""

    momentum: Any
    square: Any
    key: Any  # typed key, constant: the noise of a step is a function of (key, count)
    count: Any  # [] int32
    noise: Any  # [] float32
    drift: Any  # [] float32


@EXPLORATION.register("adam_sgld")
@dataclass(frozen=True)
class AdamSgld(Behaviour):
    """Adam-SGLD: the actor's optimiser samples weights instead of seeking the best; all environments act with them.

    ``w -= lr (g + drift m / sqrt(v + 1e-8))``, then ``w += noise sqrt(2 lr) xi``, without bias correction: near a
    minimum of curvature k the weights have variance noise^2 / k. It takes the place of Adam, with ``agent.actor_lr``.
    Source: Adam LMCDQN, Ishfaq et al. 2024 (arXiv 2305.18246, algorithm 2), there for critics.
    """

    tune = Tune("noise", (1e-3, 3e-3, 1e-2, 3e-2))
    samples: ClassVar[bool] = True
    shown: ClassVar[bool] = False

    noise: Traced[NonNegative] = 0.01
    """Noise of an update, in units of sqrt(2 lr): the square root of the temperature."""
    drift: Traced[Annotated[float, Real(0.0, 100.0)]] = 1.0
    """Weight of Adam's step beside the gradient (published: 1, 0.1 or 0.01)."""

    def learnt_noise(self) -> LearntNoise | None:
        return LearntNoise(lambda params, hyper: params, lambda apply, params, obs, key: apply(params, obs), RULE)

    def build(self, policy: Any, params: Any, space: Space) -> BehaviourFunctions:
        chain = acting.raw(policy)
        return BehaviourFunctions(
            init=lambda key, params, hyper: (),
            act=lambda params, state, obs: chain(params, obs),
            begin=lambda key, state, done: state,
        )


def begin(key: PRNGKeyArray, params: Any, hyper: Any) -> Chain:
    """The sampler before its first step."""
    momentum, square = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
    return Chain(momentum, square, key, jnp.int32(0), hyper["noise"], hyper["drift"])


def step(params: Any, state: Chain, gradient: Any, rate: Float[Array, ""]) -> tuple[Any, Chain]:
    """One step of rate ``rate`` from ``params``."""
    first, second = _DECAYS
    momentum = jax.tree.map(lambda m, g: first * m + (1 - first) * g, state.momentum, gradient)
    square = jax.tree.map(lambda v, g: second * v + (1 - second) * jnp.square(g), state.square, gradient)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.fold_in(state.key, state.count), len(leaves))
    size = state.noise * jnp.sqrt(2 * rate)

    def move(p: Array, g: Array, m: Array, v: Array, key: PRNGKeyArray) -> Array:
        drawn = jax.random.normal(key, p.shape, p.dtype)
        return p - rate * (g + state.drift * m / jnp.sqrt(v + _EPS)) + size * drawn

    moved = jax.tree.map(move, params, gradient, momentum, square, jax.tree.unflatten(tree, list(keys)))
    return moved, state.replace(momentum=momentum, square=square, count=state.count + 1)


RULE = ActorRule(begin, step)
"""The sampler as the optimiser of an actor."""
