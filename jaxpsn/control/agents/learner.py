"""What the off-policy agents share: networks, optimisers with a traced rate, the two gradient steps."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.control.agents import batched, losses
from jaxpsn.control.agents.critics.family import CriticForm
from jaxpsn.control.agents.family import ActorCritic, OffPolicy
from jaxpsn.control.exploration.rules import ActorRule, LearntNoise
from jaxpsn.control.state import Intrinsic, LearnerState, Transition
from jaxpsn.core import compat
from jaxpsn.networks import Policy, ensemble_apply, ensemble_init

_OPTIMIZER = 2  # of a key that is also split
Metrics = dict[str, tuple[Array, Array]]
"""Name to (total, count), so that what did not happen counts for nothing while NaN still shows."""


class Learner(NamedTuple):
    """An agent that learns from replay, as pure functions. ``hyper``: its traced fields, path -> float32.

    ``init(key, hyper, explored) -> LearnerState``, ``explored`` being the traced fields of the exploration;
    ``policy(params, obs[..., O]) -> action[..., A]``, float32, on normalised observations: the clean policy, which of
    a noisy actor is that of its means;
    ``update(key, learner, batch[B], hyper, count) -> (learner, metrics)``: one critic update. ``count`` (int32
    scalar, critic updates done before) is derived from the clock, so that vmapped seeds share its branches;
    ``mark(key, N) -> uint32 [N]``: what is stored with the transitions of a step, or None;
    ``intrinsic(key, learner, beta, floor) -> LearnerState``: with fresh critics of a bonus, if it can learn from one;
    ``period``: ``update`` reads ``count`` modulo this only; a whole number of Python then spares the branches.
    """

    init: Callable[..., LearnerState]
    policy: Policy
    update: Callable[..., tuple[LearnerState, Metrics]]
    mark: Callable[..., Array] | None = None
    intrinsic: Callable[..., LearnerState] | None = None
    period: int = 1


class Networks(NamedTuple):
    """``policy`` acts in float32; ``actor``, ``critic`` (one) and ``critics`` (all) learn in the agent's precision.

    ``actor(params, obs, key)`` is ``policy.raw``: actions, or what they are sampled from. A noisy actor takes a fresh
    draw from ``key``, any other does not look at it. ``fresh_critics(key)``: weights of all critics.
    ``train_actor(params, obs, key) -> (raw, seen)`` and ``train_critics(params, obs, action, beside) -> (out, seen)``
    say of a batch that is learnt from what ``actor`` and ``critics`` do, normalised by that batch if the networks are
    such; ``seen`` are the parts of ``params`` that this moved. ``beside``: observations and actions of the same batch.
    ``optimizer``: what moves the actor in place of the agent's, if noise brings its own; ``project``: what weights
    become after every update.
    """

    init: Callable[..., tuple[Any, Any]]
    policy: Policy
    actor: Callable[..., Array]
    critic: Callable[..., Array]
    critics: Callable[..., Array]
    train_actor: Callable[..., tuple[Array, Any]]
    train_critics: Callable[..., tuple[Array, Any]]
    form: CriticForm
    fresh_critics: Callable[..., Any]
    optimizer: ActorRule | None = None
    project: Callable[[Any], Any] = lambda params: params


class Goal(NamedTuple):
    """What critics are to say of a batch, ``[B]`` or ``[B, K]``, and the next action that this was taken from."""

    target: Array
    action: Array


class Parts(NamedTuple):
    """What the update of an agent is made of; ``noisy``: whether noise in the actor is learnt."""

    config: Any
    nets: Networks
    rule: optax.GradientTransformation
    noisy: bool


class Keys(NamedTuple):
    """The randomness of one update by its purpose; what a purpose does not need is None."""

    smoothing: Any
    target: Any
    online: Any


def purposes(key: PRNGKeyArray, noisy: bool) -> Keys:
    """Keys of the target's smoothing, and of the draws that the target and the online actor take."""
    return Keys(*(jax.random.fold_in(key, i) for i in range(3))) if noisy else Keys(key, None, None)


def networks(
    config: ActorCritic,
    observation_size: int,
    action_size: int,
    critics: int,
    noise: LearntNoise | None = None,
    policy: Policy | None = None,
) -> Networks:
    """The networks of an agent with ``critics`` critics; ``noise`` in the actor learns with its weights.

    ``policy``: what acts, in float32; the deterministic policy of the agent's actor if left out.
    """
    dtype = jnp.bfloat16 if config.precision == "bfloat16" else jnp.float32
    made = config.network
    policy = policy or Policy(made.actor(config, action_size))
    narrow = dataclasses.replace(policy, actor=policy.actor.clone(dtype=dtype))
    critic = made.critic(config).clone(dtype=dtype)
    obs, action = jnp.zeros((observation_size,), jnp.float32), jnp.zeros((action_size,), jnp.float32)

    def fresh_critics(key: PRNGKeyArray) -> Any:
        return made.project(ensemble_init(critic, key, critics, obs, action))

    def init(key: PRNGKeyArray, explored: Any) -> tuple[Any, Any]:
        actor_key, critic_key = jax.random.split(key)
        params = made.project(policy.actor.init(actor_key, obs))
        if noise is not None:
            params = noise.widen(params, explored)
        return params, fresh_critics(critic_key)

    def learning(params: Any, obs: Float[Array, "batch o"], key: PRNGKeyArray | None) -> Float[Array, "batch k"]:
        return narrow.raw(params, obs) if noise is None else noise.sample(narrow.raw, params, obs, key)

    together, own = ensemble_apply(critic.apply), None if noise is None else noise.optimizer
    train_actor = batched.of_actor(narrow) if made.batched else _unmoved(learning)
    train_critics = batched.of_critics(critic) if made.batched else _unmoved(together, beside=1)
    return Networks(
        init, policy, learning, critic.apply, together, train_actor, train_critics, config.critic, fresh_critics, own,
        made.project,
    )  # fmt: skip


def _unmoved(apply: Callable[..., Array], beside: int = 0) -> Callable[..., tuple[Array, Any]]:
    """``apply`` of networks to which the rest of the batch, the last arguments, means nothing."""
    return lambda params, *inputs: (apply(params, *inputs[: len(inputs) - beside]), {})


def learner(
    config: ActorCritic,
    sizes: tuple[int, int],
    learnt: LearntNoise | None,
    update: Callable[..., tuple[LearnerState, Metrics]],
    critics: int = 2,
    policy: Policy | None = None,
    begin: Callable[..., LearnerState] | None = None,
    period: int = 1,
) -> Learner:
    """The agent whose update is ``update(parts, key, learner, batch, hyper, count) -> (learner, metrics)``.

    ``sizes``: of observations and actions. ``begin(parts, key, hyper, explored) -> LearnerState``: fresh weights and
    targets if left out. ``policy`` as of :func:`networks`, ``period`` as of :class:`Learner`.
    """
    nets = networks(config, *sizes, critics, learnt, policy)
    parts = Parts(config, nets, optimizer(config.weight_decay), learnt is not None)
    return Learner(
        functools.partial(begin or fresh, parts),
        nets.policy,
        functools.partial(update, parts),
        period=period,
        intrinsic=functools.partial(fresh_intrinsic, parts),
    )


def fresh(parts: Parts, key: PRNGKeyArray, hyper: Any, explored: Any) -> LearnerState:
    """Fresh weights and targets: how most agents begin."""
    return init(parts.nets, parts.rule, key, explored)


def fresh_intrinsic(
    parts: Parts, key: PRNGKeyArray, learner: LearnerState, beta: Float[Array, ""], floor: Float[Array, ""]
) -> LearnerState:
    """The learner with fresh critics of a bonus."""
    return learner.replace(intrinsic=intrinsic(parts.rule, parts.nets.fresh_critics(key), beta, floor))


def intrinsic(
    rule: optax.GradientTransformation, critic: Any, beta: Float[Array, ""], floor: Float[Array, ""]
) -> Intrinsic:
    """Critics of a bonus that have learnt nothing."""
    return Intrinsic(critic, jax.tree.map(jnp.copy, critic), rule.init(critic), beta, floor)


def optimizer(weight_decay: float, scale: Callable[[], Any] = optax.scale_by_adam, clip: float = 0.0) -> Any:
    """Adam, or AdamW (decay of kernels only), of rate one and positive sign; :func:`descend` applies the rate.

    ``scale``: what stands in Adam's place; ``clip``: greatest norm of the gradient, 0: none.
    """

    def kernels(params: Any) -> Any:
        # By name: in a stack of critics a bias has two axes too. Of the other collections learnt noise scales are no
        # kernels, and priors stay: decay would end the exploration.
        def decays(path: Any, _: Any) -> bool:
            return path[0].key == "params" and path[-1].key == "kernel"

        return jax.tree_util.tree_map_with_path(decays, params)

    decay = optax.add_decayed_weights(weight_decay, mask=kernels)
    rule = optax.chain(scale(), *([decay] if weight_decay else []))
    return optax.chain(optax.clip_by_global_norm(clip), rule) if clip else rule


def descend(
    rule: optax.GradientTransformation, params: Any, state: Any, gradient: Any, rate: Float[Array, ""]
) -> tuple[Any, Any]:
    """One optimiser step of traced ``rate``; returns (params, optimiser state)."""
    with compat.foreign():
        update, state = rule.update(gradient, state, params)
    return jax.tree.map(lambda p, u: p - rate * u, params, update), state


def init(nets: Networks, rule: optax.GradientTransformation, key: PRNGKeyArray, explored: Any) -> LearnerState:
    """Fresh weights; targets start equal to them."""
    actor, critic = nets.init(key, explored)
    return LearnerState(
        actor=actor,
        critic=critic,
        # Copies, as a donated state may not hold one buffer twice.
        target_actor=jax.tree.map(jnp.copy, actor),
        target_critic=jax.tree.map(jnp.copy, critic),
        actor_optimizer=_begin_actor(nets, rule, key, actor, explored),
        critic_optimizer=rule.init(critic),
    )


def _begin_actor(
    nets: Networks, rule: optax.GradientTransformation, key: PRNGKeyArray, actor: Any, explored: Any
) -> Any:
    if nets.optimizer is None:
        return rule.init(actor)
    return nets.optimizer.init(jax.random.fold_in(key, _OPTIMIZER), actor, explored)


def move_actor(
    nets: Networks,
    rule: optax.GradientTransformation,
    learner: LearnerState,
    gradient: Any,
    rate: Float[Array, ""],
    seen: Any,
) -> LearnerState:
    """One step of the actor, by ``rule`` or by what noise brings in its place; ``seen`` as of :class:`Networks`."""
    move = functools.partial(descend, rule) if nets.optimizer is None else nets.optimizer.step
    actor, state = move(learner.actor, learner.actor_optimizer, gradient, rate)
    return learner.replace(actor=nets.project({**actor, **seen}), actor_optimizer=state)


def target_of(
    config: OffPolicy, nets: Any, batch: Transition, out: Array, bonus: Float[Array, " batch"] | None = None
) -> Float[Array, "batch *k"]:
    """What the critics are to say, of what the target critics say of the next action; ``bonus`` is added to its value.

    See :meth:`jaxpsn.control.agents.critics.family.CriticForm.target`.
    """
    discount = config.gamma if batch.discount is None else batch.discount
    return nets.form.target(batch.reward, losses.terminal(batch, config.time_limit_terminal), discount, out, bonus)


def goal(
    config: OffPolicy,
    nets: Networks,
    critic: Any,
    batch: Transition,
    action: Float[Array, "batch a"],
    bonus: Float[Array, " batch"] | None = None,
) -> Goal:
    """What the critics are to say, of what the target critics ``critic`` say of the next ``action``."""
    out, _ = nets.train_critics(critic, batch.next_obs, action, (batch.obs, batch.action))
    return Goal(target_of(config, nets, batch, out, bonus), action)


def critic_step(
    nets: Networks,
    rule: optax.GradientTransformation,
    learner: LearnerState,
    batch: Transition,
    goal: Goal,
    rate: Float[Array, ""],
    l2: float = 0.0,
) -> tuple[LearnerState, Metrics]:
    """Regress all critics on the target of ``goal``, as their form has it.

    Metrics ``critic_loss`` (without penalty) and ``q`` (mean of all critics).
    """

    def loss(params):
        out, seen = nets.train_critics(params, batch.obs, batch.action, (batch.next_obs, goal.action))
        error = nets.form.loss(out, goal.target)
        penalty = l2 * losses.l2(params) if l2 else jnp.zeros_like(error)
        return error + penalty, ({"critic_loss": error, "q": jnp.mean(nets.form.value(out))}, seen)

    gradient, (metrics, seen) = jax.grad(loss, has_aux=True)(learner.critic)
    critic, state = descend(rule, learner.critic, learner.critic_optimizer, gradient, rate)
    told = {name: once(value) for name, value in metrics.items()}
    return learner.replace(critic=nets.project({**critic, **seen}), critic_optimizer=state), told


def critics_step(
    parts: Parts,
    learner: LearnerState,
    batch: Transition,
    target: Callable[[LearnerState, Transition], Goal],
    rate: Float[Array, ""],
) -> tuple[LearnerState, Metrics]:
    """One step of all critics towards ``target(learner, batch)``, and the same of those of a bonus, if there is one.

    To the target the critics of a bonus are those of the learner, whose batch pays the bonus and goes on through ends
    of episodes, and which has no temperature: entropy is paid for once.
    """
    nets, rule, l2 = parts.nets, parts.rule, parts.config.critic_l2
    learner, metrics = critic_step(nets, rule, learner, batch, target(learner, batch), rate, l2)
    own = learner.intrinsic
    if own is None:
        return learner, metrics
    paid = batch.intrinsic.replace(obs=batch.obs, action=batch.action)
    as_learner = learner.replace(
        critic=own.critic, target_critic=own.target_critic, critic_optimizer=own.critic_optimizer, temperature=None
    )
    as_learner, told = critic_step(nets, rule, as_learner, paid, target(as_learner, paid), rate, l2)
    own = own.replace(critic=as_learner.critic, critic_optimizer=as_learner.critic_optimizer)
    return learner.replace(intrinsic=own), metrics | {f"bonus_{name}": value for name, value in told.items()}


def first(critics: Any) -> Any:
    """The first of several critics."""
    return jax.tree.map(lambda x: x[0], critics)


def actor_step(
    nets: Networks,
    rule: optax.GradientTransformation,
    learner: LearnerState,
    obs: Float[Array, "batch o"],
    rate: Float[Array, ""],
    key: PRNGKeyArray | None = None,
) -> tuple[LearnerState, tuple[Float[Array, ""], Float[Array, ""]]]:
    """Ascend the first critic's value of the policy's actions; returns the actor loss as (total, count) too.

    The policy is the clean one, or a draw of a noisy one from ``key``.
    """
    critic, own = first(learner.critic), learner.intrinsic

    def loss(params):
        action, seen = nets.train_actor(params, obs, key)
        q = nets.form.value(nets.critic(critic, obs, action))
        if own is not None:
            paid = nets.form.value(nets.critic(first(own.critic), obs, action))
            q = losses.balance(q, q, paid, own.beta, own.floor)
        return losses.actor_loss(q), seen

    (value, seen), gradient = jax.value_and_grad(loss, has_aux=True)(learner.actor)
    return move_actor(nets, rule, learner, gradient, rate, seen), once(value)


def follow(learner: LearnerState, tau: float) -> LearnerState:
    """Move all targets towards the weights; an agent without a target of the actor has None."""
    own = learner.intrinsic
    if own is not None:
        own = own.replace(target_critic=losses.polyak(own.target_critic, own.critic, tau))
    actor = None if learner.target_actor is None else losses.polyak(learner.target_actor, learner.actor, tau)
    return learner.replace(
        target_actor=actor, target_critic=losses.polyak(learner.target_critic, learner.critic, tau), intrinsic=own
    )


def once(value: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """A metric of one update as (total, count)."""
    return value, jnp.ones((), jnp.float32)
