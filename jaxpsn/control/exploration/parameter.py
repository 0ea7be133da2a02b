"""Parameter-space noise: every environment, or group of them, acts with its own held perturbation of one policy."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxpsn import noise
from jaxpsn.control.exploration import acting, held, population, recalling
from jaxpsn.control.exploration.family import EXPLORATION, Behaviour, Space
from jaxpsn.control.exploration.rules import BehaviourFunctions
from jaxpsn.core import compat, errors, placed
from jaxpsn.core.components import Tune, replaced, spec_of
from jaxpsn.core.fields import Real, Traced, Whole
from jaxpsn.envs.spaces import Box, Discrete
from jaxpsn.noise import scales
from jaxpsn.noise.hold_rules import Episode, HoldRule
from jaxpsn.noise.scale_rules import Multiplicative, Run, ScaleRule, begins, refuse_misfit

Cadence = Annotated[int, Whole(1, 1 << 20)]
_ANY = (1e-5, 10.0)  # bounds of sigma where scales are selected and their rule has none
_TRIED = (0.1, 0.2, 0.4, 0.6)


def fits(rule: type[ScaleRule]) -> bool:
    """Whether what is measured here suffices for a scale rule, whose first sigma is that of the component."""
    return rule.reads <= {"distance"} and not begins(rule)


@struct.dataclass
class ParameterState:
    """The perturbations held now and the scale that they are applied with; P perturbations."""

    key: Any  # typed key, constant: perturbations are functions of (key, draw counter, perturbation, path)
    draw: Any  # noise.Draw, leading axis P
    hold: Any  # state of the hold rule
    scale: Any  # state of the scale rule; sigma is [] or, where members have their own, [S]
    rung: Any  # as its sigma: what the two below are multiplied by
    hyper: Any  # dict: path -> float32, the traced fields: sigma at the start, the distance wanted
    distance: Any  # as its sigma: the distance measured last, NaN before the first
    trial: Any = None  # population.Trial, where scales are selected
    count: Any = None  # [] int32, scale updates so far, where the target falls with them
    leaders: int = struct.field(pytree_node=False, default=0)  # those that come first have no noise

    @property
    def sigma(self) -> Float[Array, "*P"]:
        """What perturbations are applied with, [] or [P]; an antithetic pair shares one."""
        own, members = self.scale.sigma, self.draw.members
        own = own if own.ndim == 0 else jnp.repeat(own, members // own.shape[0])
        return jnp.where(jnp.arange(members) < self.leaders, 0.0, own) if self.leaders else own


class Layout(NamedTuple):
    """Who shares a perturbation: environment i belongs to group i // rows, and group g has scale g // pair."""

    groups: int
    rows: int
    pair: int = 1

    @property
    def scales(self) -> int:
        """Scales, where members have their own."""
        return self.groups // self.pair

    @property
    def twins(self) -> tuple[int, ...]:
        """For each environment the one of its group's pair, opposite in sign, that stands in its place."""
        return tuple(i - self.rows * (i // self.rows % self.pair) for i in range(self.groups * self.rows))

    def first(self, of_environments: Array) -> Array:
        """Of each group what its first environment has."""
        return of_environments.reshape(self.groups, self.rows, *of_environments.shape[1:])[:, 0]

    def split(self, obs: Float[Array, "N O"]) -> Float[Array, "P *E O"]:
        """Rows of each group side by side; a group of one keeps no axis for it."""
        return obs if self.rows == 1 else obs.reshape(self.groups, self.rows, obs.shape[-1])

    def join(self, action: Float[Array, "P *E A"]) -> Float[Array, "N A"]:
        """Back to one row per environment."""
        return action.reshape(self.groups * self.rows, action.shape[-1])


@EXPLORATION.register("parameter", stream=5)
@dataclass(frozen=True)
class Parameter(Behaviour):
    """Parameter-space noise: acting with perturbed weights, whose scale follows the action distance.

    A perturbation is held as the hold rule says and redrawn at the episode start of its environment. A group of several
    environments follows its first one: its perturbation is redrawn when that environment's episode starts, whatever the
    others are doing, so that every perturbation lasts whole episodes of the environment that leads. The distance is
    that of fresh perturbations on replayed states. Source: Plappert et al. 2018 (arXiv 1706.01905), section 3.
    """

    scaled_by = "sigma"
    spaces = (Box, Discrete)

    structure: noise.Structure = noise.Flipout()
    """Form of the weight noise."""
    scale: ScaleRule = Multiplicative()
    """How sigma follows the distance."""
    hold: HoldRule = Episode()
    """How long a perturbation is held."""
    sigma: Traced[Annotated[float, Real(0.0, 100.0)]] = 0.05
    """Scale of the weight noise at the start."""
    groups: Annotated[int, Whole(0, 1 << 20)] = 0
    """0: every environment has its own perturbation; P: P groups share one each."""
    leaders: Annotated[int, Whole(0, 1 << 20)] = 0
    """Groups, the first ones, that act with the clean weights."""
    relative: bool = False
    """Sigma in units of each leaf's root mean square instead of absolute."""
    member_sigma: bool = False
    """Each perturbation (each pair, if antithetic) has a sigma of its own, adapted by its own distance."""
    ladder: Annotated[float, Real(1.0, 1e6)] = 1.0
    """With member_sigma: sigma and target of the members are log-spaced around those given, the largest this many
    times the smallest."""
    select: Literal["none", "return", "novelty"] = "none"
    """With member_sigma: after each episode a member meets another one, and if its return, or the novelty of its
    behaviour, is lower, takes over that one's scale."""
    mutation: Annotated[float, Real(0.0, 10.0)] = 0.2
    """Standard deviation of the log of the factor by which a scale that is taken over is changed."""
    distance: Literal["action", "kl"] = "action"
    """What the scale follows. action: root mean square of the difference in actions, those of the means of a
    stochastic policy; it grows like sigma. kl: divergence of a stochastic policy from its perturbed self before
    squashing, in nats, summed over action dimensions; it grows like the square of sigma, so that first_order takes
    exponent=0.5; multiplicative and bisection fit both. Of choices (dqn) both are in units of epsilon: that of the
    epsilon-greedy policy with the same share of other choices (action), or with the same divergence from the greedy one
    as the softmax policies have (kl, as published; it depends on the scale of rewards)."""
    target_from: Annotated[float, Real(1.0, 1e4)] = 1.0
    """The target is at first this many times what the scale rule says, and falls to it linearly."""
    target_over: Annotated[int, Whole(0, 1 << 30)] = 0
    """Scale updates in which it falls; 0: it stays."""
    probes: Cadence = 8
    """Fresh perturbations that measure the distance; with member_sigma every scale's own does."""
    probe_states: Cadence = 8
    """Replayed states that each of them sees (es: a share of what all environments see)."""
    adapt_every: Cadence = 1
    """Vector steps between scale updates."""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_misfit("parameter.scale", self.scale, fits)
        if self.ladder > 1.0 and not self.member_sigma:
            errors.refuse("parameter.ladder", self.ladder, "1 unless member_sigma is true")
        if self.select != "none" and not (self.member_sigma and self.ladder > 1.0):
            allowed = "none unless member_sigma is true and ladder, its range, is above 1"
            errors.refuse("parameter.select", self.select, allowed)
        if self.select != "none" and self.scale.annealed:
            errors.refuse("parameter.select", self.select, "none, as the scale rule anneals every scale")
        self.hold.form(self.structure)  # refuses what cannot be held so
        if (self.target_from > 1.0) != (self.target_over > 0):
            allowed = "above 1 and target_over above 0, or 1 and 0, the defaults"
            errors.refuse("parameter.target_from", self.target_from, allowed)
        self._refuse_idle("target_from", not self.scale.adapted, "the scale rule has no target")
        self._refuse_idle("mutation", self.select == "none", "select is none")
        self._refuse_idle("probes", self.member_sigma, "with member_sigma every scale's own perturbation measures")

    def _refuse_idle(self, name: str, idle: bool, why: str) -> None:
        default = type(self).__dataclass_fields__[name].default
        if idle and getattr(self, name) != default:
            told = default if isinstance(default, str) else f"{default:g}"
            errors.refuse(f"parameter.{name}", getattr(self, name), f"{told}, the default, as {why}")

    samples: ClassVar[bool] = True
    followed: ClassVar[bool] = True

    def check_followers(self, redraw: str, agent: str) -> None:
        held_by_rule = redraw == "episode"
        if held_by_rule and not self.hold.single:
            allowed = f"one draw, as episode or steps(100), as {agent} learns from what was held"
            errors.refuse("parameter.hold", spec_of(self.hold), allowed)
        if not held_by_rule and self.hold != Episode():
            allowed = "episode, the default, as agent.redraw is rollout; set agent.redraw=episode"
            errors.refuse("parameter.hold", spec_of(self.hold), allowed)
        self._refuse_idle("select", self.judges, f"{agent} keeps the scales of a rollout")

    @property
    def distributional(self) -> bool:
        return self.distance == "kl"

    @property
    def judges(self) -> bool:  # type: ignore[override]
        """Whether it looks at what its actions led to."""
        return self.select != "none"

    @property
    def annealed(self) -> bool:  # type: ignore[override]
        """Whether it follows the length of the run."""
        return self.scale.annealed

    @property
    def every(self) -> int:
        return self.adapt_every

    @property
    def pair(self) -> int:
        """Perturbations that share a scale."""
        return 2 if self.structure.antithetic else 1

    def tune_field(self) -> Tune | None:
        return Tune("scale.target" if self.scale.adapted else "sigma", _TRIED)

    def members(self, num_envs: int) -> int:
        return self.groups or num_envs

    def probed_states(self, num_envs: int) -> int:
        return self.probe_states * (self.members(num_envs) // self.pair if self.member_sigma else self.probes)

    def alone(self) -> "Parameter":
        free = {"groups": 0, "leaders": 0, "ladder": 1.0, "select": "none", "mutation": type(self).mutation}
        return dataclasses.replace(self, **free)

    def present(self, state: ParameterState, members: int) -> dict[str, Any]:
        own = placed.local(state.scale.sigma)
        if own.ndim:  # of so many scales, evenly spread over those there are
            own = own[np.linspace(0, len(own) - 1, members // self.pair).astype(int)]
        return {"sigma": own}

    def check(self, num_envs: int) -> None:
        seats = self.layout(num_envs)
        if seats.groups % self.pair:
            field = "parameter.groups" if self.groups else "env.num_envs"
            errors.refuse(field, seats.groups, "an even number, as antithetic perturbations come in pairs")
        if self.leaders and self.leaders >= seats.groups:
            errors.refuse("parameter.leaders", self.leaders, f"fewer than the {seats.groups} groups")
        if self.judges and seats.scales < 2:
            errors.refuse("parameter.select", self.select, "none, as there is a single scale")

    def layout(self, num_envs: int) -> Layout:
        """The groups of so many environments; refuses counts that do not divide."""
        groups = self.members(num_envs)
        if num_envs % groups:
            errors.refuse("parameter.groups", groups, f"0 or a divisor of env.num_envs = {num_envs}")
        return Layout(groups, num_envs // groups, self.pair)

    def silent(self, hyper: Mapping[str, Any]) -> bool:
        return not self.scale.positive or not np.all(np.asarray(hyper["sigma"]) > 0)

    def alarms(self, where: str) -> Iterable[Any]:
        if not self.scale.adapted or self.scale.bounds is None:
            return ()
        return (scales.Unsettled(self.scale.bounds, fields=(f"{where}.scale.low", f"{where}.scale.high")),)

    def build(self, policy: Any, params: Any, space: Space) -> BehaviourFunctions:
        seats = self.layout(space.num_envs)
        form, hold = self.hold.form(self.structure), self.hold.build()
        raw = acting.raw(policy)
        planner = _planner(raw, params, space.observation_size, self.relative)
        spec = planner(() if seats.rows == 1 else (seats.rows,))
        perturbed = noise.fused(raw, spec, form, space.silent)
        look, measure = self._measure(policy, planner, seats.scales, space)
        self.scale.build(self.sigma, Run(space.adaptations))  # refused here what cannot be

        def rule(hyper: Any, rung: Any, count: Any) -> tuple[Any, scales.Scale]:
            """Sigma at the start, and the scale rule, with traced numbers."""
            given = replaced(self, hyper)
            start = given.sigma * rung
            return start, given.scale.scaled(rung * self._excess(count)).build(start, Run(space.adaptations))

        def init(key: PRNGKeyArray, params: Any, hyper: Any) -> ParameterState:
            rung = population.ladder(self.ladder, seats.scales) if self.member_sigma else jnp.ones((), jnp.float32)
            count = jnp.int32(0) if self.target_over else None
            start, follow = rule(hyper, rung, count)
            return ParameterState(
                **held.start(form, hold, key, spec, seats.groups),
                scale=follow.init(start),
                rung=rung,
                hyper=dict(hyper),
                distance=jnp.full_like(rung, jnp.nan),
                trial=population.begin(self.select, seats.groups, space.observation_size),
                leaders=self.leaders,
                count=count,
            )

        def act(params: Any, state: ParameterState, obs: Float[Array, "N O"]) -> Float[Array, "N A"]:
            return seats.join(perturbed(params, state.draw, state.sigma, seats.split(obs)))

        def begin(key: PRNGKeyArray, state: ParameterState, done: Bool[Array, " N"]) -> ParameterState:
            return held.renew(form, hold, key, state, seats.first(done))

        def adapt(key: Any, params: Any, state: ParameterState, obs: Float[Array, "B O"]) -> ParameterState:
            distance = measure(key, params, state.scale.sigma, obs)
            follow = rule(state.hyper, state.rung, state.count)[1]
            scale = follow.update(state.scale, {"distance": distance})
            return state.replace(scale=scale, distance=distance, count=None if state.count is None else state.count + 1)

        judge, followers = functools.partial(_judge, self, seats), recalling.followers(raw, form, seats.rows)
        return BehaviourFunctions(init, act, begin, adapt, self._report, judge, followers, look)

    def _excess(self, count: Int[Array, ""] | None) -> Any:
        """What the target is multiplied by after so many scale updates."""
        if count is None:
            return 1.0
        left = jnp.maximum(1.0 - count.astype(jnp.float32) / self.target_over, 0.0)
        return 1.0 + left * (self.target_from - 1.0)

    def _measure(
        self, policy: Any, planner: Callable[..., Any], count: int, space: Space
    ) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """What a measurement draws, and the measurement: the distance of *fresh* perturbations of the present weights.

        Each is measured on its own slice of the batch.

        The perturbations that act are not reused: they were drawn for other weights and picked by the episodes they
        led to. ``probes`` of them measure one distance; where members have scales of their own, there is one for each
        of the ``count`` scales, which it measures for itself. Always independent, also if those held are antithetic.
        """
        count = count if self.member_sigma else self.probes
        fresh = dataclasses.replace(self.hold.form(self.structure), antithetic=False)
        raw, apart = acting.raw(policy), acting.distance(policy, self.distance)
        axis, rows = 1 if self.member_sigma else None, self.probed_states(space.num_envs) // count

        def look(key: PRNGKeyArray) -> Any:
            return fresh.init(key, planner((rows,)), count) if fresh.cheap else key

        def measure(key: Any, params: Any, sigma: Any, obs: Float[Array, "B O"]) -> Float[Array, "*P"]:
            slices = acting.sliced(obs, count)
            spec = planner(slices.shape[1:2])
            draw = key if isinstance(key, noise.Draw) else fresh.init(key, spec, count)
            perturbed = noise.fused(raw, spec, fresh, space.silent)
            if space.silent:
                return apart(raw(params, slices), perturbed(params, draw, sigma, slices), axis)
            return apart(*acting.in_one_pass(perturbed, params, draw, sigma, slices), axis)

        return look, measure

    def _report(self, state: ParameterState) -> dict[str, Any]:
        """Scalars of the present state: means over perturbations, and the spread of their sigmas."""
        sigma = state.scale.sigma
        scalars = {"sigma": jnp.mean(sigma), "distance": jnp.mean(state.distance)}
        if self.member_sigma:
            scalars |= {"sigma_min": jnp.min(sigma), "sigma_max": jnp.max(sigma)}
        if self.scale.adapted:
            scalars["target"] = jnp.mean(state.hyper["scale.target"] * state.rung * self._excess(state.count))
        if self.select == "novelty":
            scalars["novelty"] = jnp.nanmean(state.trial.score)
        return scalars


def _judge(
    config: Parameter,
    seats: Layout,
    key: PRNGKeyArray,
    state: ParameterState,
    reward: Float[Array, " N"],
    done: Bool[Array, " N"],
    obs: Float[Array, "N O"],
) -> ParameterState:
    """The scales after the duels of those whose episode has just ended; a pair is judged as one, by its mean."""
    if state.trial is None:
        return state
    done = seats.first(done)
    trial = population.observe(state.trial, seats.first(reward), done, seats.first(obs))

    def duels() -> tuple[Any, Any, Any]:
        score = trial.score if trial.behaviour is None else population.novelty(trial.behaviour.last)
        own, ended = jnp.mean(score.reshape(seats.scales, seats.pair), axis=1), done.reshape(seats.scales, seats.pair)
        loses, rival, factor = population.duel(key, own, ended[:, 0], config.mutation)
        return *_inherit(config, state, loses, rival, factor), score

    old = (state.scale, state.rung, trial.score)
    scale, rung, score = lax.cond(compat.anywhere(done), duels, lambda: old)
    return state.replace(scale=scale, rung=rung, trial=trial.replace(score=score))


def _inherit(
    config: Parameter,
    state: ParameterState,
    loses: Bool[Array, " S"],
    rival: Int[Array, " S"],
    factor: Float[Array, " S"],
) -> tuple[Any, Float[Array, " S"]]:
    """Scale state and rungs once the losers have those of their rivals, times ``factor``, within the ladder."""
    end = config.ladder**0.5
    rung = jnp.clip(state.rung[rival] * factor, 1.0 / end, end)
    taken = jax.tree.map(lambda leaf: leaf[rival], state.scale)
    sigma = jnp.clip(taken.sigma * rung / state.rung[rival], *(config.scale.bounds or _ANY))
    after = jax.tree.map(lambda new, old: jnp.where(loses, new, old), taken.replace(sigma=sigma), state.scale)
    return after, jnp.where(loses, rung, state.rung)


def _planner(policy: Any, params: Any, observation_size: int, relative: bool) -> Callable[..., Any]:
    """Plans of the policy for one member that sees observations ``[*rows, O]``."""
    shapes = jax.eval_shape(lambda tree: tree, params)

    def plan(rows: tuple[int, ...]) -> Any:
        example = jax.ShapeDtypeStruct((*rows, observation_size), jnp.float32)
        return noise.plan(policy, shapes, example, select=noise.all_but_norms, relative=relative)

    return plan
