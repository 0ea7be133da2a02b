"""SAC with a tuned temperature (Haarnoja et al. 2018, arXiv 1812.05905, algorithm 1)."""

import functools
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpsn.control.agents import learner as shared
from jaxpsn.control.agents import losses
from jaxpsn.control.agents.family import AGENTS, ActorCritic, Rate
from jaxpsn.control.exploration.family import ActionNoise, behaviour_of
from jaxpsn.control.exploration.rules import LearntNoise
from jaxpsn.control.state import LearnerState, Transition
from jaxpsn.core import errors
from jaxpsn.core.components import called, terms_of
from jaxpsn.core.fields import Real, Traced
from jaxpsn.networks import Gaussian
from jaxpsn.networks.gaussian import sample

_NEXT, _OWN = 3, 4  # samples of an update, beside the purposes of its keys
_LR, _ENTROPY = 3e-4, -0.5


@AGENTS.register("sac")
@dataclass(frozen=True)
class Sac(ActorCritic):
    """SAC: a tanh-Gaussian actor, twin critics, and a temperature that holds the clean policy's entropy.

    Temperature, targets and entropy are those of the clean actor; perturbed weights only act. With ``parameter`` the
    whole actor is perturbed. Rules with noise of their own in place of the policy's (gsde, lattice) need
    ``behaviour=mean``. Source: Haarnoja et al. 2018 (arXiv 1812.05905, algorithm 1).
    """

    behaviour: Literal["sample", "mean", "driven"] = "sample"
    """What acts, of the perturbed policy: a sample; its mean; or a sample whose white noise is replaced by the action
    noise of explore, as pink(std=1), in units of the policy's own standard deviation."""
    temperature: Traced[Annotated[float, Real(0.0, 1e3, open_low=True)]] = 0.1
    """Weight of the entropy at the start."""
    tune_temperature: bool = True
    """Learn the temperature such that the entropy is target_entropy; else it stays."""
    temperature_lr: Rate = _LR
    """Adam rate of the temperature's logarithm."""
    target_entropy: Traced[Annotated[float, Real(-10.0, 0.69)]] = _ENTROPY
    """Entropy wanted, in nats per action dimension: -1 in the paper, -0.5 in Brax; at most log 2, of uniform actions.
    A Gaussian of standard deviation s has log(s) + 1.419."""
    log_std_low: Annotated[float, Real(-20.0, 2.0)] = -5.0
    """Least logarithm of the policy's standard deviation; it starts in the middle."""
    log_std_high: Annotated[float, Real(-20.0, 2.0)] = 2.0
    """Greatest logarithm of the policy's standard deviation."""

    learnt: ClassVar[tuple[str, ...]] = ("critic_loss", "actor_loss", "q", "temperature", "entropy")
    intrinsic: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True

    def validate(self) -> None:
        if self.log_std_low >= self.log_std_high:
            errors.refuse("agent.log_std_low", self.log_std_low, f"below log_std_high = {self.log_std_high:g}")
        for name, default in (("temperature_lr", _LR), ("target_entropy", _ENTROPY)):
            if not self.tune_temperature and getattr(self, name) != default:
                allowed = f"{default:g}, the default, as tune_temperature is false"
                errors.refuse(f"agent.{name}", getattr(self, name), allowed)

    def check(self, explore: Any, num_envs: int, action_repeat: int) -> None:
        super().check(explore, num_envs, action_repeat)
        acting = behaviour_of(explore)
        if acting is not None and not acting.samples and self.behaviour != "mean":
            allowed = f"mean, as {called(type(acting))} acts with noise of its own"
            errors.refuse("agent.behaviour", self.behaviour, allowed)
        if self.behaviour == "driven" and not any(isinstance(term, ActionNoise) for term in terms_of(explore)):
            allowed = "sample or mean, unless explore has an action noise, as pink(std=1) or gaussian(std=1)"
            errors.refuse("agent.behaviour", self.behaviour, allowed)

    def build(self, observation_size: int, action_size: int, learnt: LearntNoise | None = None) -> shared.Learner:
        actor = self.network.actor(self, 2 * action_size)
        policy = Gaussian(actor, self.log_std_low, self.log_std_high, self.behaviour)
        sizes, update = (observation_size, action_size), functools.partial(_update, action_size)
        return shared.learner(self, sizes, learnt, update, policy=policy, begin=_begin)


_ADAM: optax.GradientTransformation = shared.optimizer(0.0)


def _begin(parts: shared.Parts, key: PRNGKeyArray, hyper: Any, explored: Any) -> LearnerState:
    log = jnp.log(hyper["temperature"])
    state = shared.fresh(parts, key, hyper, explored)
    tuned = _ADAM.init(log) if parts.config.tune_temperature else None
    return state.replace(target_actor=None, temperature=log, temperature_optimizer=tuned)


def critic_target(
    config: ActorCritic,
    nets: shared.Networks,
    learner: LearnerState,
    batch: Transition,
    key: PRNGKeyArray,
    draw: PRNGKeyArray | None = None,
) -> shared.Goal:
    """``r + gamma (min_i Q'_i(s', a') - alpha log pi(a'|s'))``, a' of the clean actor; ``r`` alone at a terminal.

    ``key`` samples the action, ``draw`` is the key of a noisy actor's draw. Without a temperature nothing is paid for
    entropy.
    """
    action, density = sample(key, nets.actor(learner.actor, batch.next_obs, draw))
    paid = None if learner.temperature is None else -jnp.exp(learner.temperature) * density
    return shared.goal(config, nets, learner.target_critic, batch, action, bonus=paid)


def actor_step(
    parts: shared.Parts,
    learner: LearnerState,
    obs: Float[Array, "batch o"],
    rate: Float[Array, ""],
    key: PRNGKeyArray,
    draw: PRNGKeyArray | None = None,
) -> tuple[LearnerState, Float[Array, ""], Float[Array, " batch"]]:
    """Ascend the lesser value of the policy's samples plus its entropy: (learner, loss, log densities)."""
    alpha, nets, own = jnp.exp(learner.temperature), parts.nets, learner.intrinsic

    def loss(params: Any) -> tuple[Float[Array, ""], tuple[Float[Array, " batch"], Any]]:
        moments, seen = nets.train_actor(params, obs, draw)
        action, density = sample(key, moments)
        q = jnp.min(nets.form.value(nets.critics(learner.critic, obs, action)), axis=0)
        value = q - alpha * density
        if own is not None:
            paid = jnp.min(nets.form.value(nets.critics(own.critic, obs, action)), axis=0)
            value = losses.balance(value, q, paid, own.beta, own.floor)
        return losses.actor_loss(value), (density, seen)

    (value, (density, seen)), gradient = jax.value_and_grad(loss, has_aux=True)(learner.actor)
    return shared.move_actor(nets, parts.rule, learner, gradient, rate, seen), value, density


def _tune(learner: LearnerState, density: Float[Array, " batch"], target: Any, rate: Float[Array, ""]) -> LearnerState:
    """One step of the temperature towards the entropy ``target``."""
    gradient = jax.grad(losses.temperature_loss)(learner.temperature, density, target)
    log, state = shared.descend(_ADAM, learner.temperature, learner.temperature_optimizer, gradient, rate)
    return learner.replace(temperature=log, temperature_optimizer=state)


def _update(
    action_size: int,
    parts: shared.Parts,
    key: PRNGKeyArray,
    learner: LearnerState,
    batch: Transition,
    hyper: Any,
    count: Int[Array, ""],
) -> tuple[LearnerState, shared.Metrics]:
    config, nets, _, noisy = parts
    keys, (following, own) = shared.purposes(key, noisy), (jax.random.fold_in(key, i) for i in (_NEXT, _OWN))

    def target(learner: LearnerState, batch: Transition) -> shared.Goal:
        return critic_target(config, nets, learner, batch, following, keys.target)

    learner, metrics = shared.critics_step(parts, learner, batch, target, hyper["critic_lr"])
    learner, loss, density = actor_step(parts, learner, batch.obs, hyper["actor_lr"], own, keys.online)
    if config.tune_temperature:
        wanted = action_size * hyper["target_entropy"]
        learner = _tune(learner, density, wanted, hyper["temperature_lr"])
    told = {"actor_loss": loss, "temperature": jnp.exp(learner.temperature), "entropy": -jnp.mean(density)}
    return shared.follow(learner, config.tau), metrics | {name: shared.once(value) for name, value in told.items()}
