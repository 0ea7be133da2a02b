"""Lattice: held noise on the last hidden features, which the head turns into correlated noise of the actions."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.control.exploration import held
from jaxpsn.control.exploration.family import EXPLORATION, Behaviour, Space
from jaxpsn.control.exploration.gaussian import TUNE, Std
from jaxpsn.control.exploration.rules import BehaviourFunctions
from jaxpsn.core.fields import Real
from jaxpsn.noise.hold_rules import HoldRule, Steps


@EXPLORATION.register("lattice", stream=8)
@dataclass(frozen=True)
class Lattice(Behaviour):
    """Noise that passes through the policy's last layer: ``a = tanh(W (z + alpha P_z z) + b + P_a z)``.

    z are the H last hidden features, (W, b) the policy's last layer; the entries of P_z and P_a are N(0, std^2 / H).
    Before squashing the covariance is then ``v (I + alpha ** 2 W W^T)``, ``v = std ** 2 |z| ** 2 / H``. Each
    environment holds matrices of its own as the hold rule says, H (H + A) numbers. The policy is a
    :class:`jaxpsn.networks.Policy`.
    The published method learns a standard deviation per entry by the policy's likelihood; a deterministic learner has
    none, so here all are one constant to be tuned. Source: Chiappa et al. 2023, arXiv 2305.20065.
    """

    tune, scaled_by = TUNE, "std"

    std: Std = 0.2
    """Standard deviation per unit of root mean square of the policy's last features."""
    alpha: Annotated[float, Real(0.0, 100.0)] = 1.0
    """Share of noise that passes through the policy's last layer, relative to that of the actions."""
    hold: HoldRule = Steps(8)
    """How long a draw is held."""

    def build(self, policy: Any, params: Any, space: Space) -> BehaviourFunctions:
        features = held.width("lattice", policy, params, space.observation_size)
        maps = held.linear(self.hold, space.num_envs, features, features + space.action_size)

        def init(key: PRNGKeyArray, params: Any, hyper: Any) -> held.LinearState:
            return maps.init(key, hyper)

        def act(params: Any, state: held.LinearState, obs: Float[Array, "N O"]) -> Float[Array, "N A"]:
            z = policy.features(params, obs)
            latent, action = jnp.split(maps.apply(state, z), (features,), axis=-1)
            return jnp.tanh(policy.outputs(params, z + self.alpha * latent) + action)

        return BehaviourFunctions(init, act, maps.begin)
