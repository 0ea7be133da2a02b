"""Parameter-space noise: every environment, or group of them, acts with its own held perturbation of one policy."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxpsn import noise
from jaxpsn.control.config import ExplorationConfig
from jaxpsn.control.exploration import held, population
from jaxpsn.control.exploration.rules import Behaviour
from jaxpsn.control.types import Hyper
from jaxpsn.core import checks, compat, errors
from jaxpsn.noise import distances, scales


@struct.dataclass
class ParameterState:
    """The perturbations held now and the scale that they are applied with; P perturbations."""

    key: Any  # typed key, constant: perturbations are functions of (key, draw counter, perturbation, path)
    draw: Any  # noise.Draw, leading axis P
    hold: Any  # state of the hold rule
    scale: Any  # state of the scale rule; sigma is [] or, where members have their own, [S]
    rung: Any  # as its sigma: what the two below are multiplied by
    start: Any  # [] float32, sigma at the start
    target: Any  # [] float32, the distance wanted
    distance: Any  # as its sigma: the distance measured last, NaN before the first
    trial: Any = None  # population.Trial, where scales are selected

    @property
    def sigma(self) -> Float[Array, "*P"]:
        """What perturbations are applied with, [] or [P]; an antithetic pair shares one."""
        own = self.scale.sigma
        return own if own.ndim == 0 else jnp.repeat(own, self.draw.members // own.shape[0])


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


def layout(config: ExplorationConfig, num_envs: int) -> Layout:
    """The groups that a config asks for; refuses counts that do not divide."""
    groups = config.groups or num_envs
    if num_envs % groups:
        errors.refuse("exploration.groups", groups, f"0 or a divisor of env.num_envs = {num_envs}")
    return Layout(groups, num_envs // groups, 2 if config.antithetic else 1)


def kind(config: ExplorationConfig, antithetic: bool) -> Any:
    """The form of the weight noise, by its name in a config."""
    return noise.named(config.structure, config.rank, antithetic)


def scale_rule(config: ExplorationConfig, start: Any, target: Any, total_adaptations: int | None) -> scales.Scale:
    """The controller, by its name in a config; ``start`` and ``target`` may be traced."""
    bounds = (config.sigma_min, config.sigma_max)
    if config.controller == "linear":
        return scales.scheduled(optax.linear_schedule(start, config.sigma_min, max(total_adaptations, 1)))
    if config.controller == "multiplicative":
        return scales.adaptive(target, config.rate, config.dead_band, bounds)
    if config.controller == "first-order":
        return scales.first_order(target, bounds=bounds)
    if config.controller == "bisection":
        return scales.bisection(target, bounds=bounds)
    return scales.constant()


def parameter(
    config: ExplorationConfig,
    policy_apply: Any,
    params: Any,
    num_envs: int,
    observation_size: int,
    total_adaptations: int | None = None,
) -> Behaviour:
    """Acting with perturbed weights, the scale adapted by the action distance of fresh perturbations.

    ``params`` may be abstract; only its shapes count. A perturbation is held as the hold rule says and redrawn at the
    episode start of its environment. A group of several environments follows its first one: its perturbation is
    redrawn when that environment's episode starts, whatever the others are doing, so that every perturbation lasts
    whole episodes of the environment that leads. Source: Plappert et al. 2018 (arXiv 1706.01905), section 3.
    """
    seats = layout(config, num_envs)
    form = kind(config, config.antithetic)
    planner = _planner(config, policy_apply, params, observation_size)
    spec = planner(() if seats.rows == 1 else (seats.rows,))
    perturbed = noise.fused(policy_apply, spec, form)
    hold = held.hold_rule(config)
    measure = _measure(config, policy_apply, planner, seats.scales)
    if config.controller == "linear":
        checks.whole("total_adaptations", total_adaptations, 0)

    def rule(state: ParameterState) -> scales.Scale:
        return scale_rule(config, state.start * state.rung, state.target * state.rung, total_adaptations)

    def init(key: PRNGKeyArray, params: Any, hyper: Hyper) -> ParameterState:
        rung = population.ladder(config.ladder, seats.scales) if config.member_sigma else jnp.ones((), jnp.float32)
        start, target = hyper.sigma * rung, hyper.target * rung
        return ParameterState(
            **held.start(form, hold, key, spec, seats.groups),
            scale=scale_rule(config, start, target, total_adaptations).init(start),
            rung=rung,
            start=hyper.sigma,
            target=hyper.target,
            distance=jnp.full_like(rung, jnp.nan),
            trial=population.begin(config, seats.groups, observation_size),
        )

    def act(params: Any, state: ParameterState, obs: Float[Array, "N O"]) -> Float[Array, "N A"]:
        return seats.join(perturbed(params, state.draw, state.sigma, seats.split(obs)))

    def begin(key: PRNGKeyArray, state: ParameterState, done: Bool[Array, " N"]) -> ParameterState:
        return held.renew(form, hold, key, state, seats.first(done))

    def adapt(key: PRNGKeyArray, params: Any, state: ParameterState, obs: Float[Array, "B O"]) -> ParameterState:
        distance = measure(key, params, state.scale.sigma, obs)
        return state.replace(scale=rule(state).update(state.scale, distance), distance=distance)

    judge = partial(_judge, config, seats)
    return Behaviour(init, act, begin, adapt, lambda state: _report(config, state), judge)


def _judge(
    config: ExplorationConfig,
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
    config: ExplorationConfig,
    state: ParameterState,
    loses: Bool[Array, " S"],
    rival: Int[Array, " S"],
    factor: Float[Array, " S"],
) -> tuple[Any, Float[Array, " S"]]:
    """Scale state and rungs once the losers have those of their rivals, times ``factor``, within the ladder."""
    end = config.ladder**0.5
    rung = jnp.clip(state.rung[rival] * factor, 1.0 / end, end)
    taken = jax.tree.map(lambda leaf: leaf[rival], state.scale)
    sigma = jnp.clip(taken.sigma * rung / state.rung[rival], config.sigma_min, config.sigma_max)
    after = jax.tree.map(lambda new, old: jnp.where(loses, new, old), taken.replace(sigma=sigma), state.scale)
    return after, jnp.where(loses, rung, state.rung)


def _planner(config: ExplorationConfig, policy_apply: Any, params: Any, observation_size: int) -> Callable[..., Any]:
    """Plans of the policy for one member that sees observations ``[*rows, O]``."""
    shapes = jax.eval_shape(lambda tree: tree, params)

    def plan(rows: tuple[int, ...]) -> Any:
        example = jax.ShapeDtypeStruct((*rows, observation_size), jnp.float32)
        return noise.plan(policy_apply, shapes, example, select=noise.all_but_norms, relative=config.relative)

    return plan


def _measure(config: ExplorationConfig, policy_apply: Any, planner: Callable[..., Any], scales: int) -> Any:
    """RMS action distance of *fresh* perturbations of the present weights, each on its own slice of the batch.

    The perturbations that act are not reused: they were drawn for other weights and picked by the episodes they led to.
    ``probes`` of them measure one distance; where members have scales of their own, there is one for each scale, which
    it measures for itself. Always independent, also if those held are antithetic.
    """
    count = scales if config.member_sigma else config.probes
    fresh = kind(config, antithetic=False)

    def measure(key: PRNGKeyArray, params: Any, sigma: Any, obs: Float[Array, "B O"]) -> Float[Array, "*P"]:
        slices = sliced(obs, count)
        spec = planner(slices.shape[1:2])
        noisy = noise.fused(policy_apply, spec, fresh)(params, fresh.init(key, spec, count), sigma, slices)
        return distances.rms_action(policy_apply(params, slices), noisy, axis=1 if config.member_sigma else None)

    return measure


def sliced(obs: Float[Array, "B O"], count: int) -> Float[Array, "count rows O"]:
    """A batch as one slice for each of ``count`` perturbations; what is left over is left out."""
    rows = obs.shape[0] // count
    if rows == 0:
        errors.refuse("batch", obs.shape[0], f"at least the {count} perturbations that measure the distance")
    return obs[: count * rows].reshape(count, rows, obs.shape[-1])


def _report(config: ExplorationConfig, state: ParameterState) -> dict[str, Any]:
    """Scalars of the present state: means over perturbations, and the spread of their sigmas."""
    sigma = state.scale.sigma
    scalars = {"sigma": jnp.mean(sigma), "distance": jnp.mean(state.distance)}
    if config.member_sigma:
        scalars |= {"sigma_min": jnp.min(sigma), "sigma_max": jnp.max(sigma)}
    if config.controller not in ("constant", "linear"):
        scalars["target"] = jnp.mean(state.target * state.rung)
    if config.select == "novelty":
        scalars["novelty"] = jnp.nanmean(state.trial.score)
    return scalars
