"""NoisyNet behaviour: every environment acts with a held draw of the noise whose scales the learner learns."""

import functools
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn import noise
from jaxpsn.control.exploration import acting, held
from jaxpsn.control.exploration.family import EXPLORATION, Behaviour, Space
from jaxpsn.control.exploration.parameter import Cadence
from jaxpsn.control.exploration.rules import ActorRule, BehaviourFunctions, LearntNoise
from jaxpsn.core.components import Tune, called
from jaxpsn.core.fields import Real, Traced
from jaxpsn.envs.spaces import Box, Discrete
from jaxpsn.networks import noisy
from jaxpsn.noise.hold_rules import Episode, HoldRule


@struct.dataclass
class NoisyState:
    """The draws held now, and what was measured last."""

    key: Any  # typed key, constant: draws are functions of (key, draw counter, environment, path)
    draw: Any  # noise.Draw, leading axis N
    hold: Any  # state of the hold rule
    sigma: Any  # [] float32, mean size of the learnt scales, in units of 1 / sqrt(inputs)
    distance: Any  # [] float32, RMS action distance of fresh draws to the means, NaN before the first measurement


@dataclass(frozen=True)
class Drawn(Behaviour):
    """Weights with scales of their own, which the learner learns; every environment acts with one held draw."""

    samples: ClassVar[bool] = True
    kind: ClassVar[noisy.Learnt] = noisy.KIND
    """The law of the noise."""
    optimizer: ClassVar[ActorRule | None] = None
    """What learns means and scales in place of Adam."""

    hold: HoldRule = field(default=Episode(), kw_only=True)
    """How long a draw is held."""
    probes: Cadence = field(default=8, kw_only=True)
    """Fresh draws that measure the distance on replayed states."""
    probe_states: Cadence = field(default=8, kw_only=True)
    """Replayed states that each of them sees."""
    adapt_every: Cadence = field(default=1, kw_only=True)
    """Vector steps between measurements."""

    def widened(self, params: Any, hyper: Any) -> Any:
        """``params`` with the scales that the noise starts with; ``hyper``: the rule's own traced fields."""
        raise NotImplementedError

    def validate(self) -> None:
        """Refuse a hold that would draw another noise than the one that is learnt through."""
        held.refuse_several(f"{called(type(self))}.hold", self.hold)

    def probed_states(self, num_envs: int) -> int:
        return self.probes * self.probe_states

    @property
    def every(self) -> int:
        return self.adapt_every

    def learnt_noise(self) -> LearntNoise | None:
        return LearntNoise(self.widened, functools.partial(noisy.sample, kind=self.kind), self.optimizer)

    def build(self, policy: Any, params: Any, space: Space) -> BehaviourFunctions:
        shapes = jax.eval_shape(lambda tree: tree, params)
        hold, raw, apart = self.hold.build(), acting.raw(policy), acting.distance(policy)

        def plan(rows: tuple[int, ...]) -> noise.Spec:
            example = jax.ShapeDtypeStruct((*rows, space.observation_size), jnp.float32)
            return noisy.plan(raw, shapes, example)

        spec = plan(())
        perturbed = noisy.fused(raw, spec, self.kind)

        def init(key: PRNGKeyArray, params: Any, hyper: Any) -> NoisyState:
            fields = held.start(self.kind, hold, key, spec, space.num_envs)
            return NoisyState(**fields, sigma=noisy.scale(params), distance=jnp.float32(jnp.nan))

        def act(params: Any, state: NoisyState, obs: Float[Array, "N O"]) -> Float[Array, "N A"]:
            return perturbed(params, state.draw, obs)

        def begin(key: PRNGKeyArray, state: NoisyState, done: Bool[Array, " N"]) -> NoisyState:
            return held.renew(self.kind, hold, key, state, done)

        def measure(key: PRNGKeyArray, params: Any, state: NoisyState, obs: Float[Array, "B O"]) -> NoisyState:
            slices = acting.sliced(obs, self.probes)
            each = plan(slices.shape[1:2])
            fresh = self.kind.init(key, each, self.probes)
            distance = apart(raw(params, slices), noisy.fused(raw, each, self.kind)(params, fresh, slices))
            return state.replace(sigma=noisy.scale(params), distance=distance)

        return BehaviourFunctions(
            init, act, begin, measure, lambda state: {"sigma": state.sigma, "distance": state.distance}
        )


@EXPLORATION.register("noisynet", stream=9)
@dataclass(frozen=True)
class NoisyNet(Drawn):
    """Noisy weights whose scales the learner learns; every environment acts with one held draw.

    The actor has a scale beside every weight, at first ``sigma / sqrt(inputs)``, learnt as the weights are: the actor's
    gradient and the target action each take one fresh draw per update, shared by the batch. Nothing is adapted: what
    replayed states are for is to measure. Source: Fortunato et al. 2018 (arXiv 1706.10295), where actors of A3C hold a
    draw for a rollout.
    """

    tune = Tune("sigma", (0.2, 0.5, 1.0, 2.0))
    spaces = (Box, Discrete)

    sigma: Traced[Annotated[float, Real(0.0, 100.0)]] = 0.5
    """Scale at the start, in units of 1 / sqrt(inputs) of each layer (paper: 0.5)."""

    def widened(self, params: Any, hyper: Any) -> Any:
        return noisy.widen(params, hyper["sigma"])
