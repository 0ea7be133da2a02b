"""The clean policy and perturbed members of it side by side: one start, one clock, one program."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn import envs
from jaxpsn.control import exploration
from jaxpsn.control.off_policy import Program, episode_length
from jaxpsn.core import checks, compat, errors, placed
from jaxpsn.core.components import called, terms_of
from jaxpsn.envs import scenes

_EXPLORER, _ACT, _BEGIN = range(3)  # what the key of a rollout is folded with; its start takes the key as it is
MOST = 64
"""Members, times scales, at most."""


class Cast(NamedTuple):
    """Who plays beside the clean policy: ``levels`` times ``members``, each level with a scale of its own."""

    explorer: exploration.Explorer
    hyper: dict[str, Any]
    """Traced fields of the rule, each with a leading axis [levels]."""
    members: int
    seats: int
    """Environments that the rule is made for: ``members``, or one more, as antithetic perturbations come in pairs."""
    levels: int
    field: str
    """The traced field that the noise is proportional to (sigma, std); empty if there is none."""
    scales: tuple[float, ...]
    """Its value at each level, a mean where members have their own; empty if there is no such field."""
    perturbed: bool
    """Whether weights are perturbed, rather than actions."""


@struct.dataclass
class Played:
    """Episodes side by side: L = 1 + levels x seats of them, the first of the clean policy; F frames and a start."""

    obs: Any  # [F + 1, L, O] float32, raw
    actions: Any  # [F, L, A] float32, or [F, L] int32, as executed last before the frame
    clean: Any  # of their shape, what the clean policy would have done in its place
    rewards: Any  # [F, L] float32, sums over the steps of a frame; 0 once an episode has ended
    ended: Any  # [F, L] bool, a true termination within the frame
    poses: Any  # [F + 1, L, bodies, 7] float32


_OUTLINE = Played(*range(6))
"""Its structure."""
Compiled = Callable[[str, Callable[..., Any], tuple[Any, ...], Any], Callable[..., Any]]
"""``compiled(name, function, args, outline)``: the program of ``function(*args)``, whose result is of that structure;
``name`` tells it from others of the same run."""


@struct.dataclass
class _Progress:
    env: Any  # brax State [L, ...]
    explore: Any  # state of the explorer [levels, ...]
    action: Any  # [L, ...], held for action_repeat steps
    clean: Any  # [L, ...], of the clean policy at the same decision
    alive: Any  # [L] bool
    steps: Any  # int32 scalar, environment steps done


def cast(program: Program, state: Any, members: int, explore: Any = None, scales: Sequence[float] = ()) -> Cast | None:
    """Choose ``members`` perturbed policies; None if the rule perturbs nothing, or none are asked for.

    They explore as the run did, with its structure, hold rule and the scale that ``state`` (of its exploration) has
    now; every member has a perturbation of its own. ``explore``: another rule in its place, with the scale that it
    names. ``scales``: levels of its sigma (std) in place of the present one; members have the same draws at each.
    Raises :class:`jaxpsn.core.errors.UserError`.
    """
    checks.whole("members", members, 0, MOST)
    given = exploration.EXPLORATION.make(program.config.explore if explore is None else explore, "explore")
    terms = [term for term in terms_of(given) if called(type(term)) != "none" and term.shown]
    if not members or not terms:
        if scales:
            errors.refuse("sigmas", list(scales), "none, as nothing is perturbed")
        return None
    seats, levels = members + members % 2, max(1, len(scales))
    checks.whole("members times sigmas", seats * levels, 1, MOST)
    hyper = exploration.hyper_of(given)
    for term in terms if explore is None else ():
        own = state.behaviour if isinstance(term, exploration.Behaviour) else state.noises[called(type(term))]
        before, told = exploration.prefix(given, term), term.present(own, seats)
        # By way of the host: one device plays, wherever training left it.
        hyper |= {before + name: jnp.asarray(placed.local(x)) for name, x in told.items()}
    loud = next((term for term in terms if term.scaled_by), None)
    path = "" if loud is None else exploration.prefix(given, loud) + loud.scaled_by
    if scales and loud is None:
        errors.refuse("sigmas", list(scales), f"those of a rule with one scale; {called(type(terms[0]))} has none")
    for value in scales:
        checks.real("sigmas", value, 0.0, 100.0)
    many = {name: jnp.broadcast_to(x, (levels, *jnp.shape(x))) for name, x in hyper.items()}
    if scales:
        many[path] = jnp.asarray(scales, jnp.float32)
    shown = () if loud is None else tuple(float(np.mean(x)) for x in jax.device_get(many[path]))
    perturbed = any(isinstance(term, exploration.Behaviour) for term in terms)
    explorer = _explorer(program, exploration.alone(given) if explore is None else given, seats)
    return Cast(explorer, many, members, seats, levels, "" if loud is None else loud.scaled_by, shown, perturbed)


@functools.lru_cache(maxsize=8)  # so that one program, asked again, is compiled once
def _explorer(program: Program, explore: Any, seats: int) -> exploration.Explorer:
    """The rule for so many environments."""
    limit, repeat = episode_length(program.config), program.config.env.action_repeat
    sizes = program.episodes.observation_size, program.episodes.action_size
    space = exploration.Space(seats, *sizes, -(-limit // repeat), 1, program.episodes.space)
    learner = jax.eval_shape(program.init, jax.random.key(0), program.hyper).learner
    return exploration.make(explore, program.agent.policy, learner.actor, space)


def play(
    program: Program, crew: Cast | None, key: PRNGKeyArray, actor: Any, stats: Any, frames: int, stride: int,
    limit: int, compiled: Compiled | None = None,
) -> Played:  # fmt: skip
    """Play one episode of everybody from one start, a frame for every ``stride`` of at most ``limit`` steps.

    Jitted; who has come to a true end stays where it ended. A function of the key: it draws the start, as a rollout of
    the clean policy alone does, and the noise. ``compiled``: who compiles it, in place of ``jax.jit``.
    """
    about = None if crew is None else (crew.explorer, crew.levels, crew.seats)
    hyper = {} if crew is None else crew.hyper
    game, args = _Game(program, about, limit), (key, actor, stats, hyper)
    if compiled is None:
        return jax.device_get(_jitted(game, frames, stride, *args))
    name = f"rollout of {0 if crew is None else crew.members}, {frames} x {stride}"
    return jax.device_get(compiled(name, functools.partial(_play, game, frames, stride), args, _OUTLINE)(*args))


class _Game(NamedTuple):
    """What does not change during an episode, and is no array."""

    program: Program
    crew: tuple[exploration.Explorer, int, int] | None
    """Explorer, levels and seats."""
    limit: int


def _play(game: _Game, frames: int, stride: int, key: PRNGKeyArray, actor: Any, stats: Any, hyper: Any) -> Played:
    start = _start(game, key, actor, hyper)
    step = functools.partial(_step, game, key, actor, stats)
    place = jax.vmap(functools.partial(_poses, game.program.env))

    def frame(progress: _Progress, _: None) -> tuple[_Progress, tuple[Any, ...]]:
        progress, (reward, ended) = lax.scan(step, progress, None, length=stride)
        seen = (progress.env.obs.astype(jnp.float32), place(progress.env))
        acted = progress.action, progress.clean
        return progress, (*seen, *acted, jnp.sum(reward, axis=0), jnp.any(ended, axis=0))

    _, (obs, poses, actions, clean, rewards, ended) = lax.scan(frame, start, None, length=frames)
    first = start.env.obs.astype(jnp.float32), place(start.env)
    obs, poses = (jnp.concatenate([one[None], rest]) for one, rest in zip(first, (obs, poses), strict=True))
    return Played(obs, actions, clean, rewards, ended, poses)


_jitted = jax.jit(_play, static_argnums=(0, 1, 2))


def _start(game: _Game, key: PRNGKeyArray, actor: Any, hyper: Any) -> _Progress:
    first, lanes, explore = envs.reset_one(game.program.env, key), 1, ()
    if game.crew is not None:
        explorer, levels, seats = game.crew
        own, lanes = jax.random.fold_in(key, _EXPLORER), 1 + levels * seats
        explore = jax.vmap(lambda hyper: explorer.init(own, actor, hyper), axis_size=levels)(hyper)
    action = game.program.episodes.space.zeros(lanes)
    together = jax.vmap(lambda _: first)(jnp.arange(lanes))
    return _Progress(together, explore, action, action, jnp.ones((lanes,), bool), jnp.int32(0))


def _step(
    game: _Game, key: PRNGKeyArray, actor: Any, stats: Any, progress: _Progress, _: None
) -> tuple[_Progress, tuple[Array, Array]]:
    """One environment step of everybody; its rewards, and who came to a true end."""
    program = game.program

    def decide(progress: _Progress) -> tuple[Array, Array, Any]:
        obs = program.normalise(stats, progress.env.obs.astype(jnp.float32))
        own = program.agent.policy(actor, obs[0])[None]
        if game.crew is None:
            return own, own, ()
        explorer, levels, seats = game.crew
        clean = jnp.concatenate([own, program.agent.policy(actor, obs[1:])])
        act, begun = (jax.random.fold_in(jax.random.fold_in(key, use), progress.steps) for use in (_ACT, _BEGIN))
        held = jnp.zeros((seats,), bool)  # nobody's episode has ended: those that have stand still
        begin = jax.vmap(lambda state: explorer.begin(begun, state, held))
        explore = lax.cond(progress.steps > 0, begin, lambda state: state, progress.explore)
        seen = obs[1:].reshape(levels, seats, obs.shape[-1])
        noisy, explore = jax.vmap(lambda state, obs: explorer.act(act, actor, state, obs))(explore, seen)
        return jnp.concatenate([own, noisy.reshape(-1, *noisy.shape[2:])]), clean, explore

    again = progress.steps % program.config.env.action_repeat == 0
    action, clean, explore = lax.cond(again, decide, lambda old: (old.action, old.clean, old.explore), progress)
    after = jax.vmap(functools.partial(envs.step_one, program.env))(progress.env, action)
    counts = progress.alive & (progress.steps < game.limit)
    kept = jax.tree.map(lambda new, old: jnp.where(_like(counts, new), new, old), after, progress.env)
    ended = counts & (after.done > 0)
    reward = jnp.where(counts, after.reward.astype(jnp.float32), jnp.float32(0))
    return _Progress(kept, explore, action, clean, progress.alive & ~ended, progress.steps + 1), (reward, ended)


def _like(mask: Array, leaf: Array) -> Array:
    return mask.reshape(mask.shape + (1,) * (leaf.ndim - 1))


def _poses(env: Any, state: Any) -> Float[Array, "bodies 7"]:
    with compat.foreign():
        return scenes.poses(env, state.pipeline_state).astype(jnp.float32)
