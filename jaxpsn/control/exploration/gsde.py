"""Generalised state-dependent exploration: held noise that is linear in the policy's last hidden features."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.control.exploration import held
from jaxpsn.control.exploration.family import EXPLORATION, Behaviour, Space
from jaxpsn.control.exploration.gaussian import TUNE, Std
from jaxpsn.control.exploration.rules import BehaviourFunctions
from jaxpsn.noise.hold_rules import HoldRule, Steps


@EXPLORATION.register("gsde", stream=7)
@dataclass(frozen=True)
class Gsde(Behaviour):
    """State-dependent noise: ``a = mu(s) + Theta^T z(s)``, z the H last hidden features, Theta ~ N(0, std^2 / H).

    Each environment holds a Theta of its own as the hold rule says; before clipping, every action dimension then has
    variance ``std ** 2 |z(s)| ** 2 / H``. The policy is a :class:`jaxpsn.networks.Policy`. The published method
    learns the standard deviation by the policy's likelihood; a deterministic learner has none, so here it is a constant
    to be tuned, and nothing is learnt through the noise. Source: Raffin et al. 2021, arXiv 2005.05719.
    """

    tune, scaled_by = TUNE, "std"

    std: Std = 0.2
    """Standard deviation per unit of root mean square of the policy's last features."""
    hold: HoldRule = Steps(8)
    """How long a draw is held."""

    def build(self, policy: Any, params: Any, space: Space) -> BehaviourFunctions:
        features = held.width("gsde", policy, params, space.observation_size)
        maps = held.linear(self.hold, space.num_envs, features, space.action_size)

        def init(key: PRNGKeyArray, params: Any, hyper: Any) -> held.LinearState:
            return maps.init(key, hyper)

        def act(params: Any, state: held.LinearState, obs: Float[Array, "N O"]) -> Float[Array, "N A"]:
            return policy(params, obs) + maps.apply(state, policy.features(params, obs))

        return BehaviourFunctions(init, act, maps.begin)
