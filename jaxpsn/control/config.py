"""What a control experiment is made of, as frozen dataclasses that check themselves; imports no JAX."""

from dataclasses import dataclass, field
from typing import Literal

from jaxpsn.core import checks, errors

ALGORITHMS = ("ddpg", "td3", "es")
ACTIVATIONS = ("relu", "tanh", "swish", "elu")
STRUCTURES = ("dense", "dense-bf16", "flipout", "flipout-sign", "flipout-normal", "lowrank", "factorised", "input-gain")
# A rule's place is folded into the keys of its noise: new ones go to the end.
RULES = ("none", "gaussian", "ou", "pink", "mixed", "parameter", "zeta", "gsde", "lattice", "noisynet")
BEHAVIOURS = ("parameter", "gsde", "lattice", "noisynet")  # what acts instead of the clean policy; one at a time
CONTROLLERS = ("constant", "linear", "multiplicative", "first-order", "bisection")
HOLDS = ("episode", "steps", "zeta")
SELECTIONS = ("none", "return", "novelty")
_MOST_PROBED = 1 << 22  # as many as a batch may hold
_COUNTED = (1 << 31) - 1  # clocks and places in replay are int32
_DEEPEST = 64  # layers of a network


@dataclass(frozen=True)
class EnvConfig:
    """Which task, and how many copies of it run side by side."""

    name: str = "halfcheetah"
    """A Brax environment, `playground/NAME`, one of our sparse tasks, or `probe/NAME`."""
    backend: str | None = None
    """Brax physics: generalized, positional, spring or mjx; the task's own default if left out."""
    num_envs: int = 64
    """Parallel environments, each with a perturbation of its own."""
    episode_length: int | None = None
    """Time limit in environment steps (a truncation, never a terminal); the task's own if left out."""
    action_repeat: int = 1
    """Environment steps for which one action is held."""
    reset: Literal["random", "cached"] = "random"
    """A fresh start state at every episode, or one from a pool drawn at the start (cheaper)."""

    def __post_init__(self) -> None:
        checks.whole("env.num_envs", self.num_envs, 1, 1 << 20)
        if self.episode_length is not None:
            checks.whole("env.episode_length", self.episode_length, 1, 1 << 24)
        checks.whole("env.action_repeat", self.action_repeat, 1, 1000)
        checks.choice("env.reset", self.reset, ("random", "cached"))


@dataclass(frozen=True)
class AgentConfig:
    """The learner: DDPG, TD3 or an evolution strategy, its networks and its optimisation."""

    algorithm: Literal["ddpg", "td3", "es"] = "td3"
    """ddpg as in the paper, td3 (twin critics, delayed policy, target smoothing), or es: evolution strategies, where
    the actor follows the whole episodes of its perturbed copies, without critic, replay or warm-up."""
    actor_hidden: tuple[int, ...] = (128, 128)
    """Hidden widths of the actor."""
    critic_hidden: tuple[int, ...] = (128, 128)
    """Hidden widths of each critic."""
    activation: Literal["relu", "tanh", "swish", "elu"] = "relu"
    """Nonlinearity of both networks."""
    layer_norm: bool = True
    """Layer normalisation before every nonlinearity of both networks (paper: in every arm)."""
    action_layer: int = 0
    """Critic layer at which the action enters: 0 the input, 1 the second layer (paper)."""
    head_scale: float = 3e-3
    """Last layers start uniform in plus or minus this."""
    actor_lr: float = 3e-4
    """Adam rate of the actor (es wants more, about 1e-2)."""
    critic_lr: float = 3e-4
    """Adam rate of the critic."""
    critic_l2: float = 0.0
    """L2 penalty on the critic's hidden weights (not biases, not the output layer)."""
    weight_decay: float = 0.0
    """Decoupled (AdamW) weight decay of both networks."""
    gamma: float = 0.99
    """Discount."""
    tau: float = 0.005
    """Rate at which targets follow."""
    batch_size: int = 256
    """Transitions in one update."""
    update_every: int = 1
    """Vector steps (all environments once) between rounds of updates."""
    updates: int = 8
    """Critic updates in one round."""
    policy_delay: int = 2
    """Critic updates for one actor and target update (td3; ddpg takes 1)."""
    target_noise: float = 0.2
    """Target policy smoothing: standard deviation (td3)."""
    target_noise_clip: float = 0.5
    """Target policy smoothing: clip (td3)."""
    normalize_observations: bool = True
    """Running mean and standard deviation per dimension."""
    observation_clip: float = 10.0
    """Normalised observations are clipped to plus or minus this."""
    time_limit_terminal: bool = False
    """Treat a time limit as terminal, as the 2017 release does; ours bootstraps through it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Activations of the learner's networks; weights stay float32."""

    def __post_init__(self) -> None:
        checks.choice("agent.algorithm", self.algorithm, ALGORITHMS)
        checks.choice("agent.activation", self.activation, ACTIVATIONS)
        checks.choice("agent.precision", self.precision, ("float32", "bfloat16"))
        for name in ("actor_hidden", "critic_hidden"):
            widths = getattr(self, name)
            if not isinstance(widths, tuple | list) or not widths:
                errors.refuse(f"agent.{name}", widths, "at least one width")
            if len(widths) > _DEEPEST:
                errors.refuse(f"agent.{name}", f"{len(widths)} widths", f"at most {_DEEPEST}")
            for width in widths:
                checks.whole(f"agent.{name}", width, 1, 1 << 16)
        checks.whole("agent.action_layer", self.action_layer, 0, len(self.critic_hidden) - 1)
        for name in ("head_scale", "actor_lr", "critic_lr"):
            checks.real(f"agent.{name}", getattr(self, name), 0.0, 1.0, open_low=True)
        for name in ("critic_l2", "weight_decay", "gamma"):
            checks.real(f"agent.{name}", getattr(self, name), 0.0, 1.0)
        checks.real("agent.tau", self.tau, 0.0, 1.0, open_low=True)
        checks.real("agent.target_noise", self.target_noise, 0.0, 10.0)
        checks.real("agent.target_noise_clip", self.target_noise_clip, 0.0, 10.0)
        checks.real("agent.observation_clip", self.observation_clip, 0.0, 1e6, open_low=True)
        for name, high in (
            ("batch_size", 1 << 22),
            ("update_every", 1 << 20),
            ("updates", 1 << 12),
            ("policy_delay", 1 << 10),
        ):
            checks.whole(f"agent.{name}", getattr(self, name), 1, high)


@dataclass(frozen=True)
class ExplorationConfig:
    """How the behaviour departs from the clean policy."""

    rule: str = "parameter"
    """none, gaussian, ou, pink, mixed, zeta, or one of parameter, gsde, lattice and noisynet, or a sum such as
    parameter+gaussian."""
    structure: str = "flipout"
    """Form of the weight noise: dense, dense-bf16, flipout, flipout-sign, flipout-normal, lowrank, factorised or
    input-gain."""
    rank: int = 1
    """Rank of lowrank noise."""
    groups: int = 0
    """0: every environment has its own perturbation; P: P groups share one each."""
    antithetic: bool = False
    """Perturbations come in pairs of opposite sign."""
    relative: bool = False
    """Sigma in units of each leaf's root mean square instead of absolute."""
    member_sigma: bool = False
    """Each perturbation (each pair, if antithetic) has a sigma of its own, adapted by its own distance."""
    ladder: float = 1.0
    """With member_sigma: sigma and target of the members are log-spaced around those given, the largest this many
    times the smallest."""
    select: Literal["none", "return", "novelty"] = "none"
    """With member_sigma: after each episode a member meets another one, and if its return, or the novelty of its
    behaviour, is lower, takes over that one's scale."""
    mutation: float = 0.2
    """Standard deviation of the log of the factor by which a scale that is taken over is changed."""
    sigma: float = 0.05
    """Scale of the weight noise at the start; of noisynet in units of 1 / sqrt(inputs) of each layer (paper: 0.5)."""
    target: float = 0.2
    """Action distance (RMS, actions in [-1, 1]) to which sigma is adapted."""
    controller: Literal["constant", "linear", "multiplicative", "first-order", "bisection"] = "multiplicative"
    """How sigma follows the distance; linear anneals it to sigma_min over the run without looking."""
    rate: float = 1.01
    """Factor of one multiplicative step (paper: 1.01)."""
    dead_band: float = 0.0
    """Relative band around the target in which the multiplicative rule rests."""
    sigma_min: float = 1e-5
    """Lower bound of sigma."""
    sigma_max: float = 10.0
    """Upper bound of sigma."""
    adapt_every: int = 1
    """Vector steps between scale updates."""
    probes: int = 8
    """Fresh perturbations that measure the distance on replayed states."""
    probe_states: int = 8
    """Replayed states that each of them sees, or with member_sigma each scale's own (es: a share of what all
    environments see)."""
    hold: Literal["episode", "steps", "zeta"] = "episode"
    """How long a perturbation, or a draw of gsde, lattice or noisynet, is held: the episode, hold_steps, or a random
    zeta-distributed length."""
    hold_steps: int = 100
    """Environment decisions for which a perturbation is held (steps), or at most (zeta)."""
    zeta_exponent: float = 2.0
    """P(length n) is proportional to n to the minus this (hold zeta, and zeta noise)."""
    action_std: float = 0.2
    """Standard deviation of gaussian, pink and zeta noise, diffusion of ou noise; of gsde and lattice the deviation
    per unit of root mean square of the policy's last features."""
    ou_theta: float = 0.15
    """Mean reversion of ou noise per unit of time."""
    ou_dt: float = 0.01
    """Time step of ou noise; it decides the correlation time (paper's release: 0.01)."""
    pink_beta: float = 1.0
    """Spectral exponent of pink noise: 0 white, 1 pink, 2 red."""
    mixed_low: float = 0.05
    """Smallest per-environment standard deviation of mixed noise."""
    mixed_high: float = 0.8
    """Largest per-environment standard deviation of mixed noise."""
    repeat_max: int = 16
    """Decisions for which zeta noise repeats itself at most."""
    lattice_alpha: float = 1.0
    """Share of lattice noise that passes through the policy's last layer, relative to that of the actions."""

    def __post_init__(self) -> None:
        for name in self.rules:
            checks.choice("exploration.rule", name, RULES)
        if len(set(self.rules)) < len(self.rules) or ("none" in self.rules and len(self.rules) > 1):
            errors.refuse("exploration.rule", self.rule, "each rule at most once, none only by itself")
        if sum(name in BEHAVIOURS for name in self.rules) > 1:
            errors.refuse("exploration.rule", self.rule, f"at most one of {', '.join(BEHAVIOURS)}")
        checks.choice("exploration.structure", self.structure, STRUCTURES)
        checks.choice("exploration.controller", self.controller, CONTROLLERS)
        checks.choice("exploration.hold", self.hold, HOLDS)
        checks.choice("exploration.select", self.select, SELECTIONS)
        checks.real("exploration.ladder", self.ladder, 1.0, 1e6)
        checks.real("exploration.mutation", self.mutation, 0.0, 10.0)
        checks.whole("exploration.rank", self.rank, 1, 1024)
        checks.whole("exploration.groups", self.groups, 0, 1 << 20)
        for name in ("adapt_every", "probes", "probe_states", "hold_steps", "repeat_max"):
            checks.whole(f"exploration.{name}", getattr(self, name), 1, 1 << 20)
        for name in ("sigma", "action_std", "mixed_low", "dead_band", "lattice_alpha"):
            checks.real(f"exploration.{name}", getattr(self, name), 0.0, 100.0)
        for name in ("target", "sigma_min", "sigma_max", "ou_theta", "ou_dt"):
            checks.real(f"exploration.{name}", getattr(self, name), 0.0, 100.0, open_low=True)
        checks.real("exploration.rate", self.rate, 1.0, 10.0, open_low=True)
        checks.real("exploration.zeta_exponent", self.zeta_exponent, 1.0, 10.0, open_low=True)
        checks.real("exploration.pink_beta", self.pink_beta, 0.0, 4.0)
        checks.real("exploration.mixed_high", self.mixed_high, self.mixed_low, 100.0)
        if self.sigma_min > self.sigma_max:
            errors.refuse("exploration.sigma_min", self.sigma_min, f"at most sigma_max = {self.sigma_max:g}")
        if self.ladder > 1.0 and not self.member_sigma:
            errors.refuse("exploration.ladder", self.ladder, "1 unless exploration.member_sigma is true")
        if self.select != "none" and not (self.member_sigma and self.ladder > 1.0):
            errors.refuse(
                "exploration.select", self.select, "none unless member_sigma is true and ladder, its range, is above 1"
            )
        if self.select != "none" and self.controller == "linear":
            errors.refuse("exploration.select", self.select, "none, as exploration.controller anneals every scale")

    @property
    def rules(self) -> tuple[str, ...]:
        """The summands of ``rule``."""
        return tuple(part.strip() for part in self.rule.split("+"))

    @property
    def perturbs_weights(self) -> bool:
        """Whether parameter noise is among the rules."""
        return "parameter" in self.rules

    @property
    def behaviour(self) -> str:
        """The rule that acts, before action noise: none for the clean policy."""
        return next((name for name in self.rules if name in BEHAVIOURS), "none")

    @property
    def measures(self) -> bool:
        """Whether replayed observations are needed, to adapt a noise scale or to watch a learnt one."""
        return self.behaviour in ("parameter", "noisynet")


@dataclass(frozen=True)
class ControlConfig:
    """One control experiment: task, learner, exploration, and the data they share."""

    env: EnvConfig = field(default_factory=EnvConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    replay_capacity: int = 1_000_000
    """Transitions kept."""
    warmup: int = 10_000
    """Environment steps of uniformly random actions before learning."""
    eval_envs: int = 16
    """Episodes of one evaluation of the clean policy, side by side."""
    diagnose: bool = False
    """Also report the first reward, the states visited, and how far behaviour is from the clean policy's actions."""

    def __post_init__(self) -> None:
        envs, groups = self.env.num_envs, self.exploration.groups
        checks.whole("eval_envs", self.eval_envs, 1, 1 << 16)
        checks.whole("warmup", self.warmup, 0, _COUNTED * self.steps_per_call)
        checks.whole("replay_capacity", self.replay_capacity, max(self.agent.batch_size, envs), _COUNTED * envs)
        if groups and envs % groups:
            errors.refuse("exploration.groups", groups, f"0 or a divisor of env.num_envs = {envs}")
        if self.exploration.antithetic and (groups or envs) % 2:
            errors.refuse(
                "exploration.antithetic", True, "an even number of perturbations (env.num_envs or exploration.groups)"
            )
        if self.exploration.select != "none" and self.scales < 2:
            errors.refuse("exploration.select", self.exploration.select, "none, as there is a single scale")
        if self.agent.algorithm == "es":  # which has no replay
            self._check_evolution()
        elif self.probed_states > _MOST_PROBED:
            allowed = f"at most {_MOST_PROBED:,} states in all; here {self.probed_states:,}"
            errors.refuse("exploration.probe_states", self.exploration.probe_states, allowed)

    def _check_evolution(self) -> None:
        """Refuse what an evolution strategy cannot do with."""
        exploration, envs = self.exploration, self.env.num_envs
        if exploration.probes > envs:
            errors.refuse("exploration.probes", exploration.probes, f"at most env.num_envs = {envs}")
        for name, value, allowed in (
            ("rule", exploration.rule, "parameter"),
            ("hold", exploration.hold, "episode"),
            ("select", exploration.select, "none"),
            ("relative", exploration.relative, False),
        ):
            if value != allowed:
                errors.refuse(f"exploration.{name}", value, f"{allowed}, as agent.algorithm is es")
        if exploration.controller == "linear":
            errors.refuse("exploration.controller", "linear", "another one, as es does not know its generations")
        if not exploration.sigma or self.members < 2:
            errors.refuse("exploration.sigma", exploration.sigma, "above 0, with two members or more, for es")

    def updates(self, steps: int) -> int:
        """Critic updates of a gradient learner in ``steps`` environment steps, rounded up to whole vector steps."""
        every, warmup, calls = self.agent.update_every, self.warmup, steps
        warmup, calls = (-(-count // self.steps_per_call) for count in (warmup, calls))
        return self.agent.updates * max(calls // every - warmup // every, 0)

    def refuse_idle(self, steps: int) -> None:
        """Refuse what never trains the actor in ``steps`` environment steps, or counts further than 32 bits."""
        agent = self.agent
        if agent.algorithm == "es":  # whose generations end with their episodes
            return
        made = self.updates(steps)
        if not made and self.warmup >= steps:
            errors.refuse("warmup", self.warmup, f"fewer than steps = {steps}, or nothing is ever learnt")
        if not made:
            most = f"so that an update falls within steps = {steps}, after warmup = {self.warmup}"
            errors.refuse("agent.update_every", agent.update_every, f"small enough, {most}")
        if agent.algorithm == "td3" and made < agent.policy_delay:
            allowed = f"at most the {made} updates of {steps} steps, or the actor is never trained"
            errors.refuse("agent.policy_delay", agent.policy_delay, allowed)
        if made > _COUNTED:
            errors.refuse("steps", steps, f"few enough for {_COUNTED:,} updates, which are counted in 32 bits")

    @property
    def members(self) -> int:
        """Perturbations alive at once."""
        return self.exploration.groups or self.env.num_envs

    @property
    def scales(self) -> int:
        """Noise scales, where members have their own: an antithetic pair shares one."""
        return self.members // (2 if self.exploration.antithetic else 1)

    @property
    def probed_states(self) -> int:
        """Replayed states on which a distance, or with member_sigma every scale's own, is measured."""
        exploration = self.exploration
        return exploration.probe_states * (self.scales if exploration.member_sigma else exploration.probes)

    @property
    def steps_per_call(self) -> int:
        """Environment steps of one vector step."""
        return self.env.num_envs * self.env.action_repeat
