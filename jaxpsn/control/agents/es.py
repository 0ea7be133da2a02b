"""Evolution strategies on the actor's weights: OpenAI-ES, and EGGROLL where the noise is of low rank."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn import noise
from jaxpsn.control.agents import learner as shared
from jaxpsn.control.agents.family import AGENTS, Generational, Rate
from jaxpsn.control.agents.nets.family import MLP
from jaxpsn.control.exploration.parameter import Parameter
from jaxpsn.control.exploration.rules import LearntNoise
from jaxpsn.control.state import LearnerState
from jaxpsn.core import errors, fields
from jaxpsn.core.components import Component, spec_of
from jaxpsn.networks import Policy


class Evolver(NamedTuple):
    """An evolution strategy as pure functions.

    ``init(key, hyper, explored) -> LearnerState`` without critics or targets; ``policy`` as of :class:`Learner`;
    ``update(learner, draw, sigma, fitness[P], hyper) -> (learner, metrics)``: one generation.
    """

    init: Callable[..., LearnerState]
    policy: Policy
    update: Callable[..., tuple[LearnerState, shared.Metrics]]


_FREE = ("structure", "scale", "sigma", "groups", "member_sigma", "ladder", "probes")  # what matters for es
_SIGMAS = (0.02, 0.05, 0.1, 0.2)


@AGENTS.register("es")
@dataclass(frozen=True)
class Es(Generational):
    """Evolution strategies: Adam on :func:`gradient`, the actor follows the whole episodes of its perturbed copies.

    It starts from the actor that DDPG and TD3 start from with the same key. Weights that are not perturbed (norms) stay
    as they are. Source: Salimans et al. 2017 (arXiv 1703.03864), where the decay is L2 within Adam; EGGROLL, arXiv
    2511.16652.
    """

    actor_lr: Rate = 0.02
    """Adam rate of the actor."""

    def check(self, explore: Any, num_envs: int, action_repeat: int) -> None:
        if not isinstance(explore, Parameter):
            errors.refuse("explore", spec_of(explore), "parameter(...), as agent is es")
        if explore.probes > num_envs:
            errors.refuse("parameter.probes", explore.probes, f"at most env.num_envs = {num_envs}")
        still = dataclasses.replace(Parameter(), **{name: getattr(explore, name) for name in _FREE})
        for name in (one.name for one in dataclasses.fields(explore)):
            if (told := getattr(explore, name)) != (allowed := getattr(still, name)):
                shown = spec_of(told) if isinstance(told, Component) else told
                said = spec_of(allowed) if isinstance(allowed, Component) else allowed
                errors.refuse(f"parameter.{name}", shown, f"{said}, as agent is es")
        if explore.scale.annealed:
            errors.refuse("parameter.scale", spec_of(explore.scale), "another one, as es does not know its generations")
        if (not fields.is_array(explore.sigma) and not explore.sigma) or explore.members(num_envs) < 2:
            errors.refuse("parameter.sigma", explore.sigma, "above 0, with two members or more, for es")

    def tunes(self, explore: Any, found: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
        return {path: _SIGMAS if path == "sigma" else grid for path, grid in found.items()}

    def build(self, observation_size: int, action_size: int, learnt: LearntNoise | None = None) -> Evolver:
        actor, rule = MLP.actor(self, action_size), shared.optimizer(self.weight_decay)

        def init(key: PRNGKeyArray, hyper: Any, explored: Any) -> LearnerState:
            params = actor.init(jax.random.split(key)[0], jnp.zeros((observation_size,), jnp.float32))
            return LearnerState(params, None, None, None, rule.init(params), None)

        def update(
            learner: LearnerState, draw: noise.Draw, sigma: Float[Array, "*P"], fitness: Float[Array, " P"], hyper: Any
        ) -> tuple[LearnerState, shared.Metrics]:
            return _update(rule, learner, gradient(learner.actor, draw, sigma, fitness), hyper["actor_lr"])

        return Evolver(init, Policy(actor), update)


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
