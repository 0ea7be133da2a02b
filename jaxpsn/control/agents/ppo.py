"""PPO (Schulman et al. 2017, arXiv 1707.06347), whose followers act with perturbed weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.control.agents import learner as shared
from jaxpsn.control.agents import surrogate
from jaxpsn.control.agents.family import AGENTS, OnPolicy, WithTorso
from jaxpsn.control.exploration.rules import LearntNoise
from jaxpsn.control.state import Intrinsic, LearnerState
from jaxpsn.core import errors
from jaxpsn.core.fields import Real, Traced
from jaxpsn.networks import Actor, Diagonal, Policy, Values
from jaxpsn.networks.gaussian import sample
from jaxpsn.networks.torso import layers


@struct.dataclass
class Samples:
    """Steps of a rollout by who made them: R steps of each of G groups of environments, normalised observations."""

    obs: Any  # [G, R, O]
    before: Any  # [G, R, A] actions before they were squashed
    reference: Any  # [G, R] log density of them under the old weights, perturbed or clean as the estimator has it
    weight: Any  # [G, R]
    advantage: Any  # [G, R]
    value: Any  # [G, R] of the old weights
    target: Any  # [G, R]
    groups: Any  # [G] int32
    tags: Any  # [G, R] uint32, or None
    paid: Any = None  # Paid, if a bonus is learnt from


@struct.dataclass
class Paid:
    """What values of a bonus learn from."""

    value: Any  # [G, R] of the old weights
    target: Any  # [G, R]


class OnPolicyLearner(NamedTuple):
    """An on-policy agent as pure functions. ``hyper``: its traced fields, path -> float32.

    ``init(key, hyper, explored) -> LearnerState`` without targets; ``policy`` as of :class:`Learner`, with a
    distribution; ``value(params, obs[..., O]) -> [...]``;
    ``update(key, learner, samples, act, hyper) -> (learner, metrics)``: one minibatch, where ``act(params)`` are the
    moments [G, R, 2 A] of those who acted, or of the clean policy, as the estimator has it;
    ``intrinsic`` as of :class:`Learner`, with a value network like the agent's own.
    """

    init: Callable[..., LearnerState]
    policy: Policy
    value: Callable[..., Array]
    update: Callable[..., tuple[LearnerState, shared.Metrics]]
    intrinsic: Callable[..., LearnerState] | None = None


@AGENTS.register("ppo")
@dataclass(frozen=True)
class Ppo(OnPolicy, WithTorso):
    """PPO: a tanh-Gaussian actor, a value network, and several passes through each rollout with a clipped objective.

    With ``explore=parameter(...)`` or ``followers`` each group of environments acts with perturbed weights of its own,
    and a sample of their Gaussian; sigma moves between rollouts only. Without (``none``) it is plain PPO. Source:
    Schulman et al. 2017 (arXiv 1707.06347); for followers Plappert et al. 2018 (arXiv 1706.01905), section 3.
    """

    clip: Annotated[float, Real(0.0, 10.0, open_low=True)] = 0.2
    """Ratios beyond 1 plus or minus this bring nothing."""
    value_clip: Annotated[float, Real(0.0, 1e6)] = 0.0
    """Values that move by more than this bring nothing; 0: all do."""
    entropy: Traced[Annotated[float, Real(0.0, 10.0)]] = 0.0
    """Weight of the policy's entropy."""
    std: Annotated[float, Real(1e-4, 10.0)] = 1.0
    """Standard deviation of actions before squashing, at the start."""
    std_of: Literal["parameter", "state"] = "parameter"
    """What makes it: parameters, the same in every state and left alone by weight noise; or the actor, state by
    state."""
    log_std_low: Annotated[float, Real(-20.0, 3.0)] = -5.0
    """Least logarithm of it."""
    log_std_high: Annotated[float, Real(-20.0, 3.0)] = 2.0
    """Greatest logarithm of it."""

    learnt: ClassVar[tuple[str, ...]] = ("critic_loss", "actor_loss", "entropy", "kl", "clipped")
    intrinsic: ClassVar[bool] = True

    def validate(self) -> None:
        super().validate()
        low, high = (float(jnp.exp(jnp.float32(end))) for end in (self.log_std_low, self.log_std_high))
        if not low < self.std < high:
            allowed = f"between exp(log_std_low) and exp(log_std_high), here {low:.3g} and {high:.3g}"
            errors.refuse("agent.std", self.std, allowed)

    def build(self, observation_size: int, action_size: int, learnt: LearntNoise | None = None) -> OnPolicyLearner:
        free = self.std_of == "parameter"
        common = layers(self.activation, self.layer_norm, self.torso, observation_size)
        common |= {"head_scale": self.head_scale}
        actor = Actor(action_size if free else 2 * action_size, tuple(self.actor_hidden), **common)
        policy = Diagonal(actor, self.log_std_low, self.log_std_high, start=self.std, free=free)
        critic = Values(1, tuple(self.critic_hidden), **common)
        rule = shared.optimizer(self.weight_decay, clip=self.gradient_clip)

        def value(params: Any, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch"]:
            return critic.apply(params, obs)[..., 0]

        def init(key: PRNGKeyArray, hyper: Any, explored: Any) -> LearnerState:
            keys, obs = jax.random.split(key), jnp.zeros((observation_size,), jnp.float32)
            params, values = policy.widen(actor.init(keys[0], obs), action_size), critic.init(keys[1], obs)
            return LearnerState(params, values, None, None, rule.init(params), rule.init(values))

        def update(
            key: PRNGKeyArray, learner: LearnerState, samples: Samples, act: Callable[..., Array], hyper: Any
        ) -> tuple[LearnerState, shared.Metrics]:
            learner, told = actor_step(self, rule, key, learner, samples, act, hyper)
            learner, loss = critic_step(self, value, rule, learner, samples, hyper["critic_lr"])
            learner, paid = paid_step(self, value, rule, learner, samples, hyper["critic_lr"])
            return learner, {name: shared.once(one) for name, one in (told | {"critic_loss": loss} | paid).items()}

        def intrinsic(key: PRNGKeyArray, learner: LearnerState, beta: Any, floor: Any) -> LearnerState:
            values = critic.init(key, jnp.zeros((observation_size,), jnp.float32))
            return learner.replace(intrinsic=Intrinsic(values, None, rule.init(values), beta, floor))

        return OnPolicyLearner(init, policy, value, update, intrinsic)


def actor_step(
    config: Ppo,
    rule: optax.GradientTransformation,
    key: PRNGKeyArray,
    learner: LearnerState,
    samples: Samples,
    act: Callable[..., Array],
    hyper: Any,
) -> tuple[LearnerState, dict[str, Float[Array, ""]]]:
    """One step down the clipped objective, less the entropy of a squashed sample, reparametrised."""
    advantage = samples.advantage
    if config.advantages == "minibatch":
        advantage = surrogate.normalised(advantage, "minibatch", (0, 1))

    def loss(params: Any) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        moments = act(params)
        log_ratio = surrogate.log_prob(samples.before, moments) - samples.reference
        objective = surrogate.clipped_loss(log_ratio, advantage, samples.weight, config.clip)
        entropy = -jnp.mean(sample(key, moments)[1])
        told = {
            "actor_loss": objective,
            "entropy": entropy,
            "kl": surrogate.kl_estimate(log_ratio),
            "clipped": jnp.mean((jnp.abs(jnp.expm1(log_ratio)) > config.clip).astype(jnp.float32)),
        }
        return objective - hyper["entropy"] * entropy, told

    gradient, told = jax.grad(loss, has_aux=True)(learner.actor)
    actor, state = shared.descend(rule, learner.actor, learner.actor_optimizer, gradient, hyper["actor_lr"])
    return learner.replace(actor=actor, actor_optimizer=state), told


def critic_step(
    config: Ppo,
    apply: Callable[..., Array],
    rule: optax.GradientTransformation,
    learner: LearnerState,
    samples: Samples,
    rate: Float[Array, ""],
) -> tuple[LearnerState, Float[Array, ""]]:
    """One step of the values towards their targets."""

    def loss(params: Any) -> Float[Array, ""]:
        return surrogate.value_loss(apply(params, samples.obs), samples.value, samples.target, config.value_clip)

    error, gradient = jax.value_and_grad(loss)(learner.critic)
    critic, state = shared.descend(rule, learner.critic, learner.critic_optimizer, gradient, rate)
    return learner.replace(critic=critic, critic_optimizer=state), error


def paid_step(
    config: Ppo,
    apply: Callable[..., Array],
    rule: optax.GradientTransformation,
    learner: LearnerState,
    samples: Samples,
    rate: Float[Array, ""],
) -> tuple[LearnerState, dict[str, Float[Array, ""]]]:
    """One step of the values of a bonus towards their targets, if there is one."""
    own = learner.intrinsic
    if own is None:
        return learner, {}
    as_learner = learner.replace(critic=own.critic, critic_optimizer=own.critic_optimizer)
    theirs = samples.replace(value=samples.paid.value, target=samples.paid.target)
    as_learner, loss = critic_step(config, apply, rule, as_learner, theirs, rate)
    own = own.replace(critic=as_learner.critic, critic_optimizer=as_learner.critic_optimizer)
    told = {"bonus_critic_loss": loss, "bonus_q": jnp.mean(samples.paid.value)}
    return learner.replace(intrinsic=own), told
