"""PQN (Gallici et al. 2024, arXiv 2407.04811): values learnt from many environments, without replay or targets."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn.control.agents import dqn, surrogate
from jaxpsn.control.agents import learner as shared
from jaxpsn.control.agents.critics.family import CriticForm, Squared
from jaxpsn.control.agents.family import AGENTS, ByRollouts, Rate, refuse_probes
from jaxpsn.control.exploration.rules import Heads, LearntNoise
from jaxpsn.control.state import LearnerState, Transition
from jaxpsn.core import errors
from jaxpsn.core.components import called, terms_of
from jaxpsn.core.fields import Fraction, Real, Whole
from jaxpsn.networks import Greedy
from jaxpsn.networks.values import best, incurious


@struct.dataclass
class Samples:
    """Steps of a rollout, or a minibatch of them; any leading axes."""

    obs: Any  # [..., O] normalised
    action: Any  # [...] int32
    returns: Any  # [...] float32, or [..., H] of several heads
    mask: Any  # [...] uint32, which heads learn from it; None: all
    paid: Any = None  # [...] float32, returns of a bonus, if there is one


class RolloutLearner(NamedTuple):
    """An agent of values that learns from rollouts, as pure functions. ``hyper``: its traced fields.

    ``init``, ``policy``, ``mark`` and ``intrinsic`` as of :class:`jaxpsn.control.agents.learner.Learner`;
    ``samples(key, learner, rows[T, N]) -> Samples[T, N]``, of normalised transitions in the order of time;
    ``update(key, learner, samples[B], hyper) -> (learner, metrics)``: one minibatch.
    """

    init: Callable[..., LearnerState]
    policy: Greedy
    samples: Callable[..., Samples]
    update: Callable[..., tuple[LearnerState, shared.Metrics]]
    mark: Callable[..., Array] | None = None
    intrinsic: Callable[..., LearnerState] | None = None


@AGENTS.register("pqn")
@dataclass(frozen=True)
class Pqn(dqn.Valued, ByRollouts):
    """PQN: Q(lambda) on rollouts of many environments, with layer norm in place of replay and target networks.

    Who acts may be perturbed as under ``dqn``, by any hold: what is learnt from is of the clean weights alone. Source:
    Gallici et al. 2024 (arXiv 2407.04811, algorithm 1); rectified Adam, Liu et al. 2019 (arXiv 1908.03265).
    """

    program = "q_rollouts"
    intrinsic: ClassVar[bool] = True

    critic: CriticForm = Squared()
    """What is said of an action, and what it learns from."""
    lr: Rate = 2.5e-4
    """Rate of rectified Adam."""
    lr_steps: Annotated[int, Whole(0, 1 << 40)] = 0
    """Environment steps in which the rate falls linearly to 0, where learning ends; 0: it stays."""
    q_lambda: Fraction = 0.65
    """Q(lambda): 0 is one step, 1 what follows in the rollout."""
    trace: Literal["peng", "watkins"] = "peng"
    """peng: returns go on through actions that are not the best (as published); watkins: they end before one."""
    gradient_clip: Annotated[float, Real(0.0, 1e6)] = 10.0
    """Greatest norm of the gradient of each network; 0: none."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Activations of the learner's networks; weights stay float32."""

    def check(self, explore: Any, num_envs: int, action_repeat: int) -> None:
        super().check(explore, num_envs, action_repeat)
        for term in terms_of(explore):
            if term.on_policy:
                allowed = f"another rule, as {called(type(self))} learns values, not a distribution"
                errors.refuse("explore", called(type(term)), allowed)
            refuse_probes(term, num_envs)
        if (steps := self.rollout * num_envs) % self.minibatches:
            errors.refuse("agent.minibatches", self.minibatches, f"a divisor of the {steps} steps of a rollout")

    def build(
        self, observation_size: int, action_size: int, learnt: LearntNoise | Heads | None = None
    ) -> RolloutLearner:
        nets = dqn.networks(self, observation_size, action_size, learnt)
        rule = shared.optimizer(self.weight_decay, optax.scale_by_radam, self.gradient_clip)
        parts = shared.Parts(self, nets, rule, isinstance(learnt, LearntNoise))
        begin, *of_parts, paid = (
            functools.partial(one, parts) for one in (dqn.begin, samples_of, update, dqn.intrinsic)
        )
        return RolloutLearner(begin, nets.policy, *of_parts, dqn.marker(nets), paid)


def samples_of(parts: shared.Parts, key: PRNGKeyArray, learner: LearnerState, rows: Transition) -> Samples:
    """What there is to learn from transitions ``[T, N]``: their lambda returns under the clean values as they are."""
    config, nets = parts.config, parts.nets
    keys = shared.purposes(key, parts.noisy)

    def returns(params: Any) -> Float[Array, "T N"]:
        following = nets.form.value(nets.values(params, rows.next_obs, keys.target))
        cut = rows.terminated | rows.truncated
        if config.trace == "watkins":
            cut = cut | departs(nets.form.value(nets.values(params, rows.obs, keys.online)), rows.action)
        value = jnp.max(following, axis=-1)
        return surrogate.lambda_returns(rows.reward, value, rows.terminated, cut, config.gamma, config.q_lambda)

    found = dqn.each(nets)(returns)(getattr(learner, dqn.slots(config).weights))
    paid = None if learner.intrinsic is None else _paid(parts, learner.intrinsic.critic, rows.intrinsic)
    return Samples(rows.obs, rows.action, jnp.moveaxis(found, 0, -1) if nets.heads else found, rows.mask, paid)


def _paid(parts: shared.Parts, params: Any, rows: Transition) -> Float[Array, "T N"]:
    """Lambda returns of what a bonus pays, through ends of episodes."""
    value = jnp.max(parts.nets.form.value(parts.nets.values(params, rows.next_obs, None)), axis=-1)
    gamma, lam = rows.discount[0, 0], parts.config.q_lambda  # one for all
    return surrogate.lambda_returns(rows.reward, value, rows.terminated, rows.terminated, gamma, lam)


def departs(values: Float[Array, "T N A"], action: Array) -> Bool[Array, "T N"]:
    """Where the action of the next row is not the best one; never at the newest row, which is followed by none."""
    other = best(values) != action
    return jnp.concatenate([other[1:], jnp.zeros_like(other[:1])])


def update(
    parts: shared.Parts, key: PRNGKeyArray, learner: LearnerState, batch: Samples, hyper: Any
) -> tuple[LearnerState, shared.Metrics]:
    """Move the policy head, if there is one, and the values towards the returns of a minibatch."""
    nets, keys = parts.nets, shared.purposes(key, parts.noisy)
    learner = learner.replace(actor=incurious(learner.actor))
    learner, told = dqn.head_step(parts, learner, batch.obs, hyper["lr"], keys.online)
    over = jnp.ones(batch.action.shape, bool)

    def target(returns: Float[Array, " b"]) -> Array:
        # The form of a return that nothing follows; what the form is given of a successor does not count.
        none = jnp.zeros((1, *returns.shape, *([] if nets.form.outputs is None else [nets.form.outputs])), jnp.float32)
        return nets.form.target(returns, over, 0.0, none)

    wanted = jax.vmap(target, in_axes=-1)(batch.returns) if nets.heads else target(batch.returns)
    learner, metrics = dqn.value_step(parts, learner, batch, wanted, hyper["lr"], keys)
    if learner.intrinsic is not None:

        def step(learner: LearnerState) -> tuple[LearnerState, shared.Metrics]:
            return dqn.value_step(parts, learner, batch, target(batch.paid), hyper["lr"], keys)

        learner, paid = dqn.as_bonus(parts, learner, step)
        learner, told = dqn.admit(parts, learner, batch.obs), told | paid
    return learner, metrics | told
