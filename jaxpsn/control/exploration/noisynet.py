"""NoisyNet behaviour: every environment acts with a held draw of the noise whose scales the learner learns."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn import noise
from jaxpsn.control.config import ExplorationConfig
from jaxpsn.control.exploration import held
from jaxpsn.control.exploration.parameter import sliced
from jaxpsn.control.exploration.rules import Behaviour
from jaxpsn.control.types import Hyper
from jaxpsn.networks import noisy
from jaxpsn.noise import distances


@struct.dataclass
class NoisyState:
    """The draws held now, and what was measured last."""

    key: Any  # typed key, constant: draws are functions of (key, draw counter, environment, path)
    draw: Any  # noise.Draw, leading axis N
    hold: Any  # state of the hold rule
    sigma: Any  # [] float32, mean size of the learnt scales, in units of 1 / sqrt(inputs)
    distance: Any  # [] float32, RMS action distance of fresh draws to the means, NaN before the first measurement


def noisynet(
    config: ExplorationConfig, policy_apply: Any, params: Any, num_envs: int, observation_size: int
) -> Behaviour:
    """Acting with noisy weights, one draw per environment, held as the hold rule says.

    ``params`` holds means and scales, as an agent made ``noisy`` has them; its learning is in
    :mod:`jaxpsn.control.agents`. Nothing is adapted: ``adapt`` measures. Source: Fortunato et al. 2018
    (arXiv 1706.10295), where actors of A3C hold a draw for a rollout.
    """
    shapes = jax.eval_shape(lambda tree: tree, params)
    hold = held.hold_rule(config)

    def plan(rows: tuple[int, ...]) -> noise.Spec:
        return noisy.plan(policy_apply, shapes, jax.ShapeDtypeStruct((*rows, observation_size), jnp.float32))

    spec = plan(())
    perturbed = noisy.fused(policy_apply, spec)

    def init(key: PRNGKeyArray, params: Any, hyper: Hyper) -> NoisyState:
        fields = held.start(noisy.KIND, hold, key, spec, num_envs)
        return NoisyState(**fields, sigma=noisy.scale(params), distance=jnp.float32(jnp.nan))

    def act(params: Any, state: NoisyState, obs: Float[Array, "N O"]) -> Float[Array, "N A"]:
        return perturbed(params, state.draw, obs)

    def begin(key: PRNGKeyArray, state: NoisyState, done: Bool[Array, " N"]) -> NoisyState:
        return held.renew(noisy.KIND, hold, key, state, done)

    def measure(key: PRNGKeyArray, params: Any, state: NoisyState, obs: Float[Array, "B O"]) -> NoisyState:
        slices = sliced(obs, config.probes)
        each = plan(slices.shape[1:2])
        fresh = noisy.KIND.init(key, each, config.probes)
        distance = distances.rms_action(
            policy_apply(params, slices), noisy.fused(policy_apply, each)(params, fresh, slices)
        )
        return state.replace(sigma=noisy.scale(params), distance=distance)

    return Behaviour(init, act, begin, measure, lambda state: {"sigma": state.sigma, "distance": state.distance})
