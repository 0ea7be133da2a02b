"""Bootstrapped DQN: every environment follows one of several value functions for an episode."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxpsn.control.exploration import held
from jaxpsn.control.exploration.family import EXPLORATION, Behaviour, Space
from jaxpsn.control.exploration.rules import BehaviourFunctions, Heads
from jaxpsn.core import errors
from jaxpsn.core.fields import Real, Whole
from jaxpsn.envs.spaces import Discrete
from jaxpsn.networks import Voting
from jaxpsn.noise.hold_rules import Episode, HoldRule

_HOLD, _HEAD = 0, 1
MOST = 32
"""Value functions, at most: which of them learn from a transition are the bits of one number."""


@struct.dataclass
class BootstrapState:
    """Which value function each environment follows."""

    head: Any  # [N] int32
    hold: Any  # state of the hold rule


@EXPLORATION.register("bootstrap")
@dataclass(frozen=True)
class Bootstrap(Behaviour):
    """Bootstrapped DQN: heads of independent weights, one of which each environment follows for an episode.

    The agent learns all of them, each from its own share of the transitions; the clean policy is their majority. A head
    is a network of its own plus a random one that is never learnt, its prior. Sources: Osband et al. 2016 (arXiv
    1602.04621), Osband et al. 2018 (arXiv 1806.03335); constants of bsuite's agents.
    """

    spaces = (Discrete,)
    samples: ClassVar[bool] = True

    heads: Annotated[int, Whole(2, MOST)] = 20
    """Value functions."""
    prior: Annotated[float, Real(0.0, 1e3)] = 3.0
    """Factor of the random network that is added to each; 0: none."""
    keep: Annotated[float, Real(0.0, 1.0, open_low=True)] = 0.5
    """Probability with which a head learns from a transition, drawn once for each of both."""
    hold: HoldRule = Episode()
    """How long a head is followed."""

    def validate(self) -> None:
        held.refuse_several("bootstrap.hold", self.hold)

    def learnt_noise(self) -> Heads:
        return Heads(self.heads, self.prior, self.keep)

    def build(self, policy: Any, params: Any, space: Space) -> BehaviourFunctions:
        if not isinstance(policy, Voting):
            errors.refuse("explore", "bootstrap", "another rule, as the policy has no heads; dqn learns them")
        hold, count = self.hold.build(), space.num_envs

        def draw(key: PRNGKeyArray) -> Int[Array, " N"]:
            return jax.random.randint(jax.random.fold_in(key, _HEAD), (count,), 0, self.heads, jnp.int32)

        def init(key: PRNGKeyArray, params: Any, hyper: Any) -> BootstrapState:
            return BootstrapState(draw(key), hold.init(jax.random.fold_in(key, _HOLD), count))

        def act(params: Any, state: BootstrapState, obs: Float[Array, "N O"]) -> Float[Array, "N A"]:
            scores = policy.heads(params, obs)
            return jax.vmap(lambda each, head: each[head])(scores, state.head)

        def begin(key: PRNGKeyArray, state: BootstrapState, done: Bool[Array, " N"]) -> BootstrapState:
            after, where = hold.step(jax.random.fold_in(key, _HOLD), state.hold, done)
            return BootstrapState(jnp.where(where, draw(key), state.head), after)

        return BehaviourFunctions(init, act, begin)
