"""The family of agents: what all have, and what the control loop asks of one."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from jaxpsn.control.agents.critics.family import CriticForm, Squared
from jaxpsn.control.agents.nets.family import MLP, NetworkForm
from jaxpsn.control.exploration.family import EXPLORATION, behaviour_of
from jaxpsn.control.exploration.rules import LearntNoise
from jaxpsn.core import errors
from jaxpsn.core.components import Component, called, fields_of, spec_of, terms_of
from jaxpsn.core.families import Family
from jaxpsn.core.fields import Fraction, NonNegative, Real, Traced, Whole, Widths
from jaxpsn.envs.spaces import ActionSpace, Box
from jaxpsn.networks.torso import Torso

COUNTED = (1 << 31) - 1
"""Clocks and places in replay are int32."""
MOST_PROBED = 1 << 22
"""States in one batch of probes, at most: as many as a batch may hold."""
Rate = Traced[Annotated[float, Real(0.0, 1.0, open_low=True)]]
_CLIP = 10.0


class Cadences(NamedTuple):
    """In vector steps."""

    warmup: int
    """Steps of random actions."""
    learn_every: int
    """From one round of updates to the next."""
    updates: int
    """Updates in one round."""
    adapt_every: int
    """From one scale update to the next."""


@dataclass(frozen=True)
class Agent(Component):
    """A learner: its networks, and how they see the world.

    An agent of one's own is a subclass of :class:`OffPolicy` (:class:`ActorCritic`, with the networks of TD3 and its
    kin), :class:`OnPolicy` or :class:`Generational`, which say by which program it is trained.
    """

    program: ClassVar[str]
    """The program that trains it, a name of :data:`jaxpsn.control.program.PROGRAMS`."""
    spaces: ClassVar[tuple[type[ActionSpace], ...]] = (Box,)
    """What kinds of actions it learns."""

    activation: Literal["relu", "tanh", "swish", "elu"] = "relu"
    """Nonlinearity of the networks."""
    layer_norm: bool = True
    """Layer normalisation before every nonlinearity (paper: in every arm)."""
    head_scale: Annotated[float, Real(0.0, 1.0, open_low=True)] = 3e-3
    """Last layers start uniform in plus or minus this."""
    weight_decay: Fraction = 0.0
    """Decoupled (AdamW) weight decay of the networks."""
    intrinsic: ClassVar[bool] = False
    """Whether it can have critics for a bonus, beside its own (:func:`jaxpsn.control.agents.learner.critics_step`)."""
    # Not annotated: what is, even as a ClassVar, hides the field of OffPolicy where classes are joined.
    scale_rewards = False
    """Whether it learns from scaled rewards."""
    normalize_observations: bool = True
    """Running mean and standard deviation per dimension."""
    observation_clip: Annotated[float, Real(0.0, 1e6, open_low=True)] = _CLIP
    """Normalised observations are clipped to plus or minus this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.normalize_observations and self.observation_clip != _CLIP:
            allowed = f"{_CLIP:g}, the default, as normalize_observations is false"
            errors.refuse("agent.observation_clip", self.observation_clip, allowed)

    def build(self, observation_size: int, action_size: int, learnt: LearntNoise | None = None) -> Any:
        """The agent as pure functions, of normalised observations and actions in [-1, 1].

        Where it learns choices (``Discrete`` among :attr:`spaces`), ``action_size`` is their number.
        ``learnt``: noise in the actor that is learnt with its weights.
        """
        raise NotImplementedError

    def check(self, explore: Any, num_envs: int, action_repeat: int) -> None:
        """Refuse what this agent cannot do with. Raises UserError."""

    def check_bonus(self, bonus: str, explore: Any) -> None:
        """Refuse a bonus (its text) with critics of its own beside what explores. Raises UserError."""

    def refuse_idle(self, steps: int, per_call: int) -> None:
        """Refuse what never trains the actor in ``steps`` environment steps. Raises UserError."""

    def cadences(self, per_call: int, adapt_every: int) -> Cadences:
        """What happens when, for ``per_call`` environment steps in a vector step; no replay has to be filled."""
        return Cadences(0, 1, 1, adapt_every)

    @property
    def history(self) -> int:
        """Observations that it looks at, the newest and those before it in the episode."""
        return 1

    @property
    def widths(self) -> str:
        """The fields that say how large its networks are."""
        return ", ".join(f"agent.{one.name}" for one in fields_of(type(self)) if one.name.endswith("hidden"))

    def tunes(self, explore: Any, found: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
        """What a tuning tries of the exploration that this agent learns with: path -> values; ``found`` by itself."""
        return found


def refuse_probes(term: Any, num_envs: int) -> None:
    """Refuse a rule whose updates look at too many states. Raises UserError."""
    if (probed := term.probed_states(num_envs)) > MOST_PROBED:
        errors.refuse(f"{called(type(term))}: states of an update", probed, f"at most {MOST_PROBED:,} in all")


@dataclass(frozen=True)
class WithActor(Agent):
    """An agent whose policy is a network of its own."""

    actor_hidden: Widths = (128, 128)
    """Hidden widths of the actor."""
    actor_lr: Rate = 3e-4
    """Adam rate of the actor."""


@dataclass(frozen=True)
class WithTorso(Agent):
    """An agent whose networks know how an observation is laid out."""

    torso: Torso | None = None
    """Layers before the hidden ones of every network: cnn for images, gru for what is not seen at once."""

    @property
    def history(self) -> int:
        return 1 if self.torso is None else self.torso.steps


@dataclass(frozen=True)
class OffPolicy(Agent):
    """An agent that learns from replayed transitions, a round of updates every few vector steps."""

    program: ClassVar[str] = "off_policy"
    rare: ClassVar[dict[str, str]] = {}
    """Fields that count updates, and what never happens in a run of fewer."""

    gamma: Fraction = 0.99
    """Discount."""
    n_step: Annotated[int, Whole(1, 64)] = 1
    """Rewards in a target before it bootstraps; fewer at the end of an episode."""
    scale_rewards: bool = False
    """Learn from rewards over the running deviation of their discounted sum; what is stored and reported stays."""
    return_bound: NonNegative = 0.0
    """With scale_rewards: rewards are divided by at least what keeps their discounted sums within plus or minus this,
    as the bins of a critic want it; 0: by the deviation alone."""
    tau: Annotated[float, Real(0.0, 1.0, open_low=True)] = 0.005
    """Rate at which targets follow."""
    time_limit_terminal: bool = False
    """Treat a time limit as terminal, as the 2017 release does; ours bootstraps through it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Activations of the learner's networks; weights stay float32."""
    batch_size: Annotated[int, Whole(1, 1 << 22)] = 256
    """Transitions in one update."""
    update_every: Annotated[int, Whole(1, 1 << 20)] = 1
    """Vector steps (all environments once) between rounds of updates."""
    updates: Annotated[int, Whole(1, 1 << 12)] = 8
    """Updates in one round."""
    replay_capacity: Annotated[int, Whole(1)] = 1_000_000
    """Transitions kept."""
    warmup: Annotated[int, Whole(0)] = 10_000
    """Environment steps of uniformly random actions before learning."""

    learnt: ClassVar[tuple[str, ...]] = ()
    """Names of the metrics of an update."""
    stochastic: ClassVar[bool] = False
    """Whether its policy has a distribution."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.return_bound and not self.scale_rewards:
            errors.refuse("agent.return_bound", self.return_bound, "0, the default, as scale_rewards is false")

    def check(self, explore: Any, num_envs: int, action_repeat: int) -> None:
        least, most = max(self.batch_size, num_envs), COUNTED * num_envs
        if not least <= self.replay_capacity <= most:
            allowed = f"a whole number from {least} to {most}"
            errors.refuse("agent.replay_capacity", self.replay_capacity, allowed)
        if self.warmup > COUNTED * num_envs * action_repeat:
            errors.refuse("agent.warmup", self.warmup, f"at most {COUNTED * num_envs * action_repeat}")
        for term in terms_of(explore):
            if term.on_policy:
                errors.refuse(
                    "explore", called(type(term)), f"another rule, as {called(type(self))} learns from replay"
                )
            if term.distributional and not self.stochastic:
                told = called(type(self))
                errors.refuse("parameter.distance", "kl", f"action, as the policy of {told} has no distribution")
            refuse_probes(term, num_envs)

    def cadences(self, per_call: int, adapt_every: int) -> Cadences:
        return Cadences(-(-self.warmup // per_call), self.update_every, self.updates, adapt_every)

    def updates_in(self, steps: int, per_call: int) -> int:
        """Updates in ``steps`` environment steps, rounded up to whole vector steps of ``per_call``."""
        warmup, calls = (-(-count // per_call) for count in (self.warmup, steps))
        return self.updates * max(calls // self.update_every - warmup // self.update_every, 0)

    def refuse_idle(self, steps: int, per_call: int) -> None:
        made = self.updates_in(steps, per_call)
        if not made and self.warmup >= steps:
            errors.refuse("agent.warmup", self.warmup, f"fewer than steps = {steps}, or nothing is ever learnt")
        if not made:
            most = f"so that an update falls within steps = {steps}, after warmup = {self.warmup}"
            errors.refuse("agent.update_every", self.update_every, f"small enough, {most}")
        for name, never in self.rare.items():
            if made < getattr(self, name):
                allowed = f"at most the {made} updates of {steps} steps, or {never}"
                errors.refuse(f"agent.{name}", getattr(self, name), allowed)
        if made > COUNTED:
            errors.refuse("steps", steps, f"few enough for {COUNTED:,} updates, which are counted in 32 bits")


@dataclass(frozen=True)
class ByRollouts(Agent):
    """An agent that learns from what was done since it last learnt, in several passes, and then forgets it."""

    gamma: Fraction = 0.99
    """Discount."""
    rollout: Annotated[int, Whole(1, 1 << 16)] = 32
    """Vector steps (all environments once) between rounds of updates."""
    epochs: Annotated[int, Whole(1, 1 << 10)] = 4
    """Passes through a rollout."""
    minibatches: Annotated[int, Whole(1, 1 << 16)] = 4
    """Updates in one pass through a rollout, whose steps are dealt out evenly."""
    gradient_clip: Annotated[float, Real(0.0, 1e6)] = 1.0
    """Greatest norm of the gradient of each network; 0: none."""

    def cadences(self, per_call: int, adapt_every: int) -> Cadences:
        return Cadences(0, self.rollout, self.epochs * self.minibatches, adapt_every)

    def refuse_idle(self, steps: int, per_call: int) -> None:
        calls = -(-steps // per_call)
        if calls < self.rollout:
            errors.refuse("agent.rollout", self.rollout, f"at most the {calls} vector steps of {steps} steps")
        if calls // self.rollout * self.epochs * self.minibatches > COUNTED:
            errors.refuse("steps", steps, f"few enough for {COUNTED:,} updates, which are counted in 32 bits")


_TRUNCATION = 2.0


@dataclass(frozen=True)
class OnPolicy(ByRollouts, WithActor):
    """An agent that learns from what the present policy, or perturbed followers of it, have just done; no replay.

    A rollout is ``rollout`` vector steps. Followers act with ``explore=parameter(...)``: each environment, or group of
    them, with a perturbation of its own around the clean weights, which lead. All randomness of the actions that is
    not in weights is the policy's own, so that no action noise is taken.
    """

    program: ClassVar[str] = "on_policy"

    critic_hidden: Widths = (128, 128)
    """Hidden widths of the value network."""
    critic_lr: Rate = 3e-4
    """Adam rate of the value network."""
    gae_lambda: Fraction = 0.95
    """Generalised advantage estimation: 0 is one step, 1 whole returns."""
    advantages: Literal["minibatch", "rollout", "group", "raw"] = "minibatch"
    """What advantages are normalised over; group: those of each follower get mean 0, all together variance 1."""
    estimator: Literal["reparameterised", "clean"] = "reparameterised"
    """How the leader learns from followers. reparameterised: by the likelihood ratio at the same perturbation, old
    weights and new ones both perturbed (Plappert et al. 2018, equation 2). clean: by the ratio of the clean policies,
    each sample with the weight leader / follower, truncated."""
    truncation: Annotated[float, Real(1.0, 1e6)] = _TRUNCATION
    """Greatest weight of a sample of the clean estimator."""
    redraw: Literal["rollout", "episode"] = "rollout"
    """When followers are redrawn: all before each rollout, or as the hold rule of explore says. Advantages are never
    chained over a redraw: what comes after it is the value of the state."""

    learnt: ClassVar[tuple[str, ...]] = ("critic_loss", "actor_loss")
    """Names of the metrics of an update."""

    def validate(self) -> None:
        if self.estimator != "clean" and self.truncation != _TRUNCATION:
            allowed = f"{_TRUNCATION:g}, the default, as the estimator is not clean"
            errors.refuse("agent.truncation", self.truncation, allowed)

    def check(self, explore: Any, num_envs: int, action_repeat: int) -> None:
        own = called(type(self))
        term = explore if len(terms_of(explore)) == 1 else None
        if not getattr(term, "followed", False):
            known = [name for name in dict.fromkeys((*EXPLORATION.modules, *EXPLORATION.kinds))
                     if getattr(EXPLORATION.get(name), "followed", False)]  # fmt: skip
            allowed = f"one of {', '.join(known)}, as {own} samples actions from its own policy"
            errors.refuse("explore", spec_of(explore), allowed)
        explore.check_followers(self.redraw, own)
        refuse_probes(explore, num_envs)
        groups = explore.members(num_envs)
        steps = self.rollout * (num_envs // groups)
        if groups % (self.minibatches // math.gcd(steps, self.minibatches)):
            allowed = f"a divisor of the {steps} steps that a group makes in a rollout, or that times one of {groups}"
            errors.refuse("agent.minibatches", self.minibatches, allowed)

    def cadences(self, per_call: int, adapt_every: int) -> Cadences:
        # Within a rollout a scale stays: what is adapted more often is adapted once a rollout.
        return super().cadences(per_call, self.rollout * -(-adapt_every // self.rollout))


@dataclass(frozen=True)
class ActorCritic(OffPolicy, WithActor):
    """An off-policy agent of an actor, and of critics that judge its actions."""

    critic: CriticForm = Squared()
    """What a critic says, and what it learns from."""
    network: NetworkForm = MLP
    """What actor and critics are made of."""
    critic_hidden: Widths = (128, 128)
    """Hidden widths of each critic."""
    action_layer: Annotated[int, Whole(0, 63)] = 0
    """Critic layer at which the action enters: 0 the input, 1 the second layer (paper)."""
    critic_lr: Rate = 3e-4
    """Adam rate of the critic."""
    critic_l2: Fraction = 0.0
    """L2 penalty on the critic's hidden weights (not biases, not the output layer)."""

    learnt: ClassVar[tuple[str, ...]] = ("critic_loss", "actor_loss", "q")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.action_layer >= len(self.critic_hidden):
            allowed = f"a whole number from 0 to {len(self.critic_hidden) - 1}"
            errors.refuse("agent.action_layer", self.action_layer, allowed)
        self.network.check(self)

    def check(self, explore: Any, num_envs: int, action_repeat: int) -> None:
        super().check(explore, num_envs, action_repeat)
        acting = behaviour_of(explore)
        if self.network.batched and acting is not None and acting.learnt_noise() is not None:
            allowed = f"mlp or hyperspherical, as {called(type(acting))} learns through noise in the actor"
            errors.refuse("agent.network", called(type(self.network)), allowed)


@dataclass(frozen=True)
class Generational(WithActor):
    """An agent that learns from the whole episodes of perturbed copies of its actor: no critic, replay or warm-up."""

    program: ClassVar[str] = "evolution"


AGENTS: Family[Agent] = Family(
    "agent",
    Agent,
    {name: f"jaxpsn.control.agents.{name}" for name in ("ddpg", "td3", "sac", "dqn", "pqn", "ppo", "es")},
    doc="Who learns.",
)
