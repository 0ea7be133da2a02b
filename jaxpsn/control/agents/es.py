"""Evolution strategies on the actor's weights: OpenAI-ES, and EGGROLL where the noise is of low rank."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn import noise
from jaxpsn.control.agents import learner as shared
from jaxpsn.control.config import AgentConfig
from jaxpsn.control.state import LearnerState
from jaxpsn.networks import Policy


class Evolver(NamedTuple):
    """An evolution strategy as pure functions.

    ``init(key, hyper) -> LearnerState`` without critics or targets; ``policy`` as of :class:`Agent`;
    ``update(learner, draw, sigma, fitness[P], hyper) -> (learner, metrics)``: one generation.
    """

    init: Callable[..., LearnerState]
    policy: Policy
    update: Callable[..., tuple[LearnerState, shared.Metrics]]


def make(config: AgentConfig, observation_size: int, action_size: int) -> Evolver:
    """The strategy that a config asks for: Adam on :func:`gradient` at rate ``hyper.actor_lr``, decoupled weight decay.

    It starts from the actor that DDPG and TD3 start from with the same key. Weights that are not perturbed (norms) stay
    as they are. Source: Salimans et al. 2017 (arXiv 1703.03864), where the decay is L2 within Adam; EGGROLL, arXiv
    2511.16652.
    """
    nets = shared.networks(config, observation_size, action_size, critics=1)
    rule = shared.optimizer(config.weight_decay)

    def init(key: PRNGKeyArray, hyper: Any) -> LearnerState:
        actor, _ = nets.init(key, hyper)
        return LearnerState(actor, None, None, None, rule.init(actor), None)

    def update(
        learner: LearnerState, draw: noise.Draw, sigma: Float[Array, "*P"], fitness: Float[Array, " P"], hyper: Any
    ) -> tuple[LearnerState, shared.Metrics]:
        return _update(rule, learner, gradient(learner.actor, draw, sigma, fitness), hyper.actor_lr)

    return Evolver(init, nets.policy, update)


def _update(
    rule: optax.GradientTransformation, learner: LearnerState, slope: Any, rate: Float[Array, ""]
) -> tuple[LearnerState, shared.Metrics]:
    descent = jax.tree.map(jnp.negative, slope)
    actor, optimizer = shared.descend(rule, learner.actor, learner.actor_optimizer, descent, rate)
    moved = optax.tree.norm(jax.tree.map(jnp.subtract, actor, learner.actor))
    return learner.replace(actor=actor, actor_optimizer=optimizer), {"update_norm": shared.once(moved)}


def gradient(params: Any, draw: noise.Draw, sigma: Float[Array, "*P"], fitness: Float[Array, " P"]) -> Any:
    """Estimated gradient of the members' mean shaped fitness, ``1/P sum_i u_i E_i / sigma_i``, u the centred ranks.

    ``sigma`` is one for all or one for each member, above zero. Members of opposite sign (an antithetic draw) give the
    mirrored estimate. Structures whose members are not independent (Flipout with a normal base) bias its direction.
    """
    weights = centred_ranks(fitness) / (fitness.shape[0] * sigma)
    return noise.superpose(params, draw, weights)


def centred_ranks(fitness: Float[Array, " P"]) -> Float[Array, " P"]:
    """Ranks spread evenly over [-1/2, 1/2]; equals share their mean rank, so that no difference is no direction.

    Source: Wierstra et al. 2014 (fitness shaping), in the form of Salimans et al. 2017, section 2.1.
    """
    ordered = jnp.sort(fitness)
    below, upto = (jnp.searchsorted(ordered, fitness, side=side) for side in ("left", "right"))
    rank = 0.5 * (below + upto - 1).astype(jnp.float32)
    return rank / (fitness.shape[0] - 1) - 0.5
