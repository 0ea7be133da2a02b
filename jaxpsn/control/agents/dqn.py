"""DQN and its relatives: double, duelling, with a policy head, of several steps, of a distribution, of an ensemble.

Also what all agents of values share.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt32

from jaxpsn.control.agents import learner as shared
from jaxpsn.control.agents import losses
from jaxpsn.control.agents.critics.family import CriticForm
from jaxpsn.control.agents.critics.huber import Huber
from jaxpsn.control.agents.family import AGENTS, OffPolicy, Rate, WithTorso
from jaxpsn.control.exploration.family import behaviour_of
from jaxpsn.control.exploration.rules import Heads, LearntNoise
from jaxpsn.control.state import LearnerState, Transition
from jaxpsn.core import errors
from jaxpsn.core.components import called
from jaxpsn.core.fields import Whole, Widths
from jaxpsn.envs.spaces import Discrete
from jaxpsn.networks import Greedy, Values, Voting
from jaxpsn.networks.torso import layers
from jaxpsn.networks.values import best, curious, incurious


@dataclass(frozen=True)
class Valued(WithTorso):
    """An agent of values of a few actions, of which the greatest is taken; weight noise acts on them, or on a policy
    head."""

    hidden: Widths = (128, 128)
    """Hidden widths of the values, and of the policy head."""
    lr: Rate = 5e-4
    """Adam rate."""
    critic: CriticForm = Huber()
    """What is said of an action, and what it learns from."""
    duelling: bool = False
    """Streams of the state's value and of advantages, each with the last hidden layer for itself."""
    policy_head: bool = False
    """A network of its own acts and is all that noise perturbs: it learns to choose what the values call best, by
    cross-entropy; the values learn as they do without it."""

    @property
    def learnt(self) -> tuple[str, ...]:
        """Names of the metrics of an update."""
        return ("critic_loss", "q", *(("policy_loss",) if self.policy_head else ()))

    spaces = (Discrete,)

    def check(self, explore: Any, num_envs: int, action_repeat: int) -> None:
        super().check(explore, num_envs, action_repeat)
        acting = behaviour_of(explore)
        heads = None if acting is None else acting.learnt_noise()
        if not isinstance(heads, Heads):
            return
        if self.policy_head:
            errors.refuse("agent.policy_head", True, f"false, as {called(type(acting))} has heads of its own")
        if heads.prior and self.critic.outputs is not None:
            allowed = f"squared or huber, as {called(type(acting))} adds a prior to values"
            errors.refuse("agent.critic", called(type(self.critic)), allowed)

    def check_bonus(self, bonus: str, explore: Any) -> None:
        acting = behaviour_of(explore)
        if acting is not None and acting.learnt_noise() is not None and not self.policy_head:
            allowed = f"none, or another rule than {called(type(acting))}, whose values are not of one network"
            errors.refuse("bonus", bonus, allowed)


@AGENTS.register("dqn")
@dataclass(frozen=True)
class Dqn(Valued, OffPolicy):
    """DQN: values of a few actions, of which the greatest is taken; weight noise acts on them, or on a policy head.

    Under ``parameter`` the target is the epsilon of the epsilon-greedy policy that departs as far. Sources: Mnih et al.
    2015 (Nature 518); double, van Hasselt et al. 2016 (arXiv 1509.06461); duelling, Wang et al. 2016 (arXiv
    1511.06581); the policy head, Plappert et al. 2018 (arXiv 1706.01905, section 4).
    """

    double: bool = True
    """The next action is that of the online values, its value that of the targets; else the targets choose too."""
    target_every: Annotated[int, Whole(1, 1 << 20)] = 1
    """Updates between two moves of the targets, by tau each: tau=1 copies the weights."""

    rare: ClassVar[dict[str, str]] = {"target_every": "the targets never move"}
    stochastic: ClassVar[bool] = True  # the softmax of what it says, whose divergence the noise may follow
    intrinsic: ClassVar[bool] = True

    def build(
        self, observation_size: int, action_size: int, learnt: LearntNoise | Heads | None = None
    ) -> shared.Learner:
        nets = networks(self, observation_size, action_size, learnt)
        parts = shared.Parts(self, nets, shared.optimizer(self.weight_decay), isinstance(learnt, LearntNoise))
        begin, update, paid = (functools.partial(one, parts) for one in (_init, _update, intrinsic))
        return shared.Learner(begin, nets.policy, update, marker(nets), paid)


class Networks(NamedTuple):
    """``policy`` acts, in float32; what learns does so in the agent's precision.

    ``values(params, obs[B, O], key) -> [B, A]`` or ``[B, A, K]``, as ``form`` has it, of one head where there are
    several; ``logits(params, obs, key) -> [B, A]`` of the policy head. Where noise is learnt, what acts takes a fresh
    draw from ``key``. ``fresh(key)``: weights of values of one network, of a bonus.
    """

    init: Callable[..., tuple[Any, Any]]
    policy: Greedy
    values: Callable[..., Array]
    logits: Callable[..., Array] | None
    form: CriticForm
    heads: Heads | None
    fresh: Callable[..., Any]


class Slots(NamedTuple):
    """The fields of a learner's state that hold what says the values."""

    weights: str
    target: str
    optimizer: str


def slots(config: Valued) -> Slots:
    """What acts is the actor: the values themselves, unless a policy head does."""
    kind = "critic" if config.policy_head else "actor"
    return Slots(kind, f"target_{kind}", f"{kind}_optimizer")


def networks(
    config: Valued, observation_size: int, actions: int, learnt: LearntNoise | Heads | None = None
) -> Networks:
    """The networks of an agent; ``learnt``: noise in what acts that is learnt with its weights, or several heads."""
    dtype = jnp.bfloat16 if config.precision == "bfloat16" else jnp.float32
    widths, form = tuple(config.hidden), config.critic
    common = layers(config.activation, config.layer_norm, config.torso, observation_size)
    module = Values(
        actions, widths, duelling=config.duelling, outputs=form.outputs, head_scale=config.head_scale, **common
    )
    obs = jnp.zeros((observation_size,), jnp.float32)

    def fresh(key: PRNGKeyArray) -> Any:
        return module.init(key, obs)

    if isinstance(learnt, Heads):
        # Outputs of a variance near one, as those of bsuite's prior networks.
        scale = {"head_scale": math.sqrt(3.0 / widths[-1]), "duelling": config.duelling}
        voting = Voting(module, form.value, Values(actions, widths, **scale, **common) if learnt.prior else None)
        apply = functools.partial(voting.member, module.at(dtype).apply)
        return Networks(
            init=lambda key, explored: (voting.init(key, learnt.count, learnt.prior, obs), None),
            policy=voting,
            values=lambda params, obs, key: apply(params, obs),
            logits=None,
            form=form,
            heads=learnt,
            fresh=fresh,
        )
    head = Values(actions, widths, head_scale=config.head_scale, **common) if config.policy_head else None
    init = functools.partial(_weights, module, head, learnt, obs)
    policy = Greedy(module, form.value) if head is None else Greedy(head)
    logits = None if head is None else _learning(head, learnt, dtype)
    values = _learning(module, learnt if head is None else None, dtype)
    return Networks(init, policy, values, logits, form, None, fresh)


def _weights(
    module: Values, head: Values | None, learnt: LearntNoise | None, obs: Array, key: PRNGKeyArray, explored: Any
) -> tuple[Any, Any]:
    """Fresh weights: of what acts, and of the values beside it."""
    value_key, head_key = jax.random.split(key)
    of_values = module.init(value_key, obs)
    acting = of_values if head is None else head.init(head_key, obs)
    return acting if learnt is None else learnt.widen(acting, explored), None if head is None else of_values


def _learning(module: Values, learnt: LearntNoise | None, dtype: Any) -> Callable[..., Array]:
    """``(params, obs, key) -> out`` in the precision of learning, of a fresh draw where noise is learnt."""
    apply = module.at(dtype).apply
    if learnt is None:
        return lambda params, obs, key: apply(params, obs)
    return lambda params, obs, key: learnt.sample(apply, params, obs, key)


def pick(out: Float[Array, "b a *k"], action: Int[Array, " b"]) -> Float[Array, "b *k"]:
    """What ``out`` says of one action of each state."""
    return jax.vmap(lambda row, one: row[one])(out, action)


def td_target(
    config: Dqn, nets: Networks, online: Any, target: Any, batch: Transition, keys: shared.Keys
) -> Float[Array, "b *k"]:
    """``r + gamma Q'(s', argmax_a Q(s', a))``, with ``Q'`` in the place of ``Q`` unless double; r alone at a terminal.

    ``keys``: of the draws of noisy values.
    """
    out = nets.values(target, batch.next_obs, keys.target)
    chooses = nets.values(online, batch.next_obs, keys.smoothing) if config.double else out
    return shared.target_of(config, nets, batch, pick(out, best(nets.form.value(chooses)))[None])


def policy_loss(logits: Float[Array, "b a"], action: Int[Array, " b"]) -> Float[Array, ""]:
    """Cross-entropy of the policy head to the values' best actions (Plappert et al. 2018, section 4)."""
    return -jnp.mean(pick(jax.nn.log_softmax(logits, axis=-1), action))


def begin(parts: shared.Parts, key: PRNGKeyArray, hyper: Any, explored: Any) -> LearnerState:
    """Fresh weights, without targets."""
    actor, critic = parts.nets.init(key, explored)
    empty = dict.fromkeys(LearnerState.__dataclass_fields__)
    state = LearnerState(**empty | {"actor": actor, "critic": critic, "actor_optimizer": parts.rule.init(actor)})
    told = slots(parts.config)
    return state.replace(**{told.optimizer: parts.rule.init(getattr(state, told.weights))})


def _init(parts: shared.Parts, key: PRNGKeyArray, hyper: Any, explored: Any) -> LearnerState:
    """Fresh weights; the targets of the values start equal to them."""
    state, told = begin(parts, key, hyper, explored), slots(parts.config)
    # Copies, as a donated state may not hold one buffer twice.
    return state.replace(**{told.target: jax.tree.map(jnp.copy, getattr(state, told.weights))})


def intrinsic(
    parts: shared.Parts, key: PRNGKeyArray, learner: LearnerState, beta: Float[Array, ""], floor: Float[Array, ""]
) -> LearnerState:
    """The learner with values of a bonus, of a network like those of the task, which explore beside them."""
    own = shared.intrinsic(parts.rule, parts.nets.fresh(key), beta, floor)
    return _admit(parts, learner.replace(intrinsic=own), jnp.zeros((), jnp.float32))


def admit(parts: shared.Parts, learner: LearnerState, obs: Float[Array, "b o"]) -> LearnerState:
    """What acts, with the present values of the bonus in it, at the weight that ``obs`` give them."""
    return _admit(parts, learner, weight_of_bonus(parts, learner, obs))


def _admit(parts: shared.Parts, learner: LearnerState, weight: Float[Array, ""]) -> LearnerState:
    if parts.config.policy_head:  # it has learnt from them instead
        return learner
    # A copy, as a donated state may not hold one buffer twice.
    paid = jax.tree.map(jnp.copy, learner.intrinsic.critic)
    return learner.replace(actor=curious(learner.actor, paid, weight))


def _update(
    parts: shared.Parts,
    key: PRNGKeyArray,
    learner: LearnerState,
    batch: Transition,
    hyper: Any,
    count: Int[Array, ""],
) -> tuple[LearnerState, shared.Metrics]:
    config, slot = parts.config, slots(parts.config)
    keys = shared.purposes(key, parts.noisy)
    learner = learner.replace(actor=incurious(learner.actor))
    learner, told = head_step(parts, learner, batch.obs, hyper["lr"], keys.online)
    learner, metrics = _td_step(parts, learner, batch, hyper["lr"], keys)
    learner, paid = _paid_step(parts, learner, batch, hyper["lr"], keys)
    own = learner.intrinsic
    online = getattr(learner, slot.weights), None if own is None else own.critic
    # The count is shared by vmapped seeds, so this stays a branch.
    target, follows = lax.cond(
        (count + 1) % config.target_every == 0,
        lambda target: losses.polyak(target, online, config.tau),
        lambda target: target,
        (getattr(learner, slot.target), None if own is None else own.target_critic),
    )
    learner = learner.replace(**{slot.target: target})
    if own is not None:
        learner = admit(parts, learner.replace(intrinsic=own.replace(target_critic=follows)), batch.obs)
    return learner, metrics | told | paid


def _td_step(
    parts: shared.Parts, learner: LearnerState, batch: Transition, rate: Float[Array, ""], keys: shared.Keys
) -> tuple[LearnerState, shared.Metrics]:
    """Move the values towards what their targets say of what follows."""
    nets, slot = parts.nets, slots(parts.config)
    target = each(nets)(lambda own, theirs: td_target(parts.config, nets, own, theirs, batch, keys))(
        getattr(learner, slot.weights), getattr(learner, slot.target)
    )
    return value_step(parts, learner, batch, target, rate, keys)


def _paid_step(
    parts: shared.Parts, learner: LearnerState, batch: Transition, rate: Float[Array, ""], keys: shared.Keys
) -> tuple[LearnerState, shared.Metrics]:
    """Move the values of a bonus, if there is one, towards targets of their own: they have no ends."""
    if learner.intrinsic is None:
        return learner, {}
    paid = batch.intrinsic.replace(obs=batch.obs, action=batch.action)
    return as_bonus(parts, learner, lambda learner: _td_step(parts, learner, paid, rate, keys))


def as_bonus(
    parts: shared.Parts, learner: LearnerState, step: Callable[[LearnerState], tuple[LearnerState, shared.Metrics]]
) -> tuple[LearnerState, shared.Metrics]:
    """``step`` of the values of the bonus, as if they were those of the task; its metrics say so."""
    own, slot = learner.intrinsic, slots(parts.config)
    weights = {slot.weights: own.critic, slot.target: own.target_critic, slot.optimizer: own.critic_optimizer}
    after, metrics = step(learner.replace(**weights))
    own = own.replace(critic=getattr(after, slot.weights), critic_optimizer=getattr(after, slot.optimizer))
    return learner.replace(intrinsic=own), {f"bonus_{name}": value for name, value in metrics.items()}


def weight_of_bonus(parts: shared.Parts, learner: LearnerState, obs: Float[Array, "b o"]) -> Float[Array, ""]:
    """What values of the bonus count, that their advantages are ``beta`` times as large as those of the task.

    ``beta max(mean|A|, floor) / max(mean|A_i|, floor)`` with ``A = Q - mean_a Q``: what all actions share chooses none.
    """
    nets, own = parts.nets, learner.intrinsic

    def size(weights: Any) -> Float[Array, ""]:
        said = nets.form.value(nets.values(weights, obs, None))
        return jnp.maximum(jnp.mean(jnp.abs(said - jnp.mean(said, axis=-1, keepdims=True))), own.floor)

    return own.beta * size(getattr(learner, slots(parts.config).weights)) / size(own.critic)


def each(nets: Networks) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """What makes a function of weights one of all heads, if there are several."""
    return jax.vmap if nets.heads else lambda function: function


def value_step(
    parts: shared.Parts,
    learner: LearnerState,
    batch: Any,
    target: Array,
    rate: Float[Array, ""],
    keys: shared.Keys,
) -> tuple[LearnerState, shared.Metrics]:
    """Move the values of the actions in ``batch`` (``obs, action, mask``) towards ``target[(heads,) B, ...]``."""
    nets, slot = parts.nets, slots(parts.config)
    weights = getattr(learner, slot.weights)

    def loss(params: Any) -> tuple[Float[Array, ""], Float[Array, ""]]:
        out = each(nets)(lambda own: pick(nets.values(own, batch.obs, keys.online), batch.action))(params)
        if nets.heads:
            errors = jax.vmap(lambda said, wanted: nets.form.errors(said[None], wanted)[0])(out, target)
            errors = errors * shares(batch.mask, nets.heads)
        else:
            errors = nets.form.errors(out[None], target)
        return losses.total(errors), jnp.mean(nets.form.value(out))

    (error, q), gradient = jax.value_and_grad(loss, has_aux=True)(weights)
    weights, state = shared.descend(parts.rule, weights, getattr(learner, slot.optimizer), gradient, rate)
    learner = learner.replace(**{slot.weights: weights, slot.optimizer: state})
    return learner, {"critic_loss": shared.once(error), "q": shared.once(q)}


def marker(nets: Networks) -> Callable[..., Array] | None:
    """What is stored beside transitions, if there are several heads."""
    return functools.partial(marks, nets.heads) if nets.heads else None


def marks(heads: Heads, key: PRNGKeyArray, count: int) -> UInt32[Array, " n"]:
    """Which heads learn from each of ``count`` transitions, a bit for each."""
    kept = jax.random.bernoulli(key, heads.keep, (count, heads.count)).astype(jnp.uint32)
    return jnp.sum(kept << jnp.arange(heads.count, dtype=jnp.uint32)[None], axis=1, dtype=jnp.uint32)


def shares(mask: UInt32[Array, " b"], heads: Heads) -> Float[Array, "h b"]:
    """1 where a head learns from a transition, 0 elsewhere."""
    bits = mask[None] >> jnp.arange(heads.count, dtype=jnp.uint32)[:, None]
    return (bits & jnp.uint32(1)).astype(jnp.float32)


def head_step(
    parts: shared.Parts, learner: LearnerState, obs: Float[Array, "b o"], rate: Float[Array, ""], key: Any
) -> tuple[LearnerState, shared.Metrics]:
    """Move the policy head, if there is one, towards the best actions of the values as they are, a bonus included."""
    nets = parts.nets
    if nets.logits is None:
        return learner, {}
    scores = nets.form.value(nets.values(learner.critic, obs, None))
    if learner.intrinsic is not None:
        paid = nets.form.value(nets.values(learner.intrinsic.critic, obs, None))
        scores = scores + weight_of_bonus(parts, learner, obs) * paid
    action = best(scores)

    def loss(params: Any) -> Float[Array, ""]:
        return policy_loss(nets.logits(params, obs, key), action)

    value, gradient = jax.value_and_grad(loss)(learner.actor)
    actor, state = shared.descend(parts.rule, learner.actor, learner.actor_optimizer, gradient, rate)
    return learner.replace(actor=actor, actor_optimizer=state), {"policy_loss": shared.once(value)}
