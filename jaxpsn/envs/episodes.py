"""Many copies of one environment, each running episode after episode on its own clock."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from jaxpsn.core import checks, compat, errors, platforms
from jaxpsn.envs import brax_door, lanes
from jaxpsn.envs.spaces import space_of

_POOL, _START = 0, 1  # what a key is for


@struct.dataclass
class EpisodeState:
    """All environments between two steps."""

    obs: Any  # [N, O] float32: what the policy sees now
    age: Any  # [N] int32: environment steps taken in the running episode
    episode: Any  # [N] int32: episodes finished before it
    env: Any  # the environments' own state, leading axis N
    key: Any  # [] typed key: start states are functions of (key, environment, episode)
    pool: Any = None  # start states to draw from, leading axis `pool_size` (cached resets only)


@struct.dataclass
class StepOutcome:
    """What one step did, before any reset."""

    reward: Any  # [N] float32, summed over the action's repeats
    terminated: Any  # [N] bool: the task ended the episode
    truncated: Any  # [N] bool: the time limit did, and only the time limit
    final_obs: Any  # [N, O] float32: the true next observation, also where the episode ended


class Episodes:
    """A batch of ``num_envs`` copies of ``env`` with time limits, held actions and resets at each copy's own pace.

    - A time limit of ``episode_length`` environment steps truncates; it never terminates. Where both fall on one step
      the episode terminated.
    - ``action_repeat`` environment steps per decision; they stop, and reward stops, where the episode ends.
    - ``reset="random"``: the start of environment i's episode e is ``env.reset`` on a key that is a function of
      (key, i, e) only. All copies are reset whenever any needs it (on accelerators that is the price of one reset).
    - ``reset="cached"``: starts are drawn, again by (key, i, e), from a pool of ``pool_size`` start states made once
      in :meth:`reset`; far cheaper with expensive resets and thousands of copies, at the price of that many distinct
      starts.

    Actions are those of ``space`` (:mod:`jaxpsn.envs.spaces`), a vector or a choice for each copy; ``action_size`` is
    the length of the vectors, or the number of choices. ``observation_shape`` is that before an image was flattened.

    ``twins``: for each copy the number of the one whose start states it has, episode by episode; its own if left out.
    ``platform``: the one that is traced for (:mod:`jaxpsn.core.platforms`); that of JAX's own devices if left out.
    ``ours``: whoever compiles a program of these steps does so with :attr:`compiler_options`.
    ``like``: others of the same ``env``, whose trace of its reset is taken.

    ``reset`` and ``step`` are pure: safe under jit, scan, and vmap over seeds, where resets stay a real branch. Every
    leaf keeps one strong type, so nothing is traced twice. Physics runs at the highest matrix precision; that of
    many copies on a CPU in :mod:`jaxpsn.envs.lanes`. NaNs are passed on. Raises UserError for sizes out of range and
    for environments whose observation is not one vector.
    """

    def __init__(
        self,
        env: Any,
        num_envs: int,
        episode_length: int,
        action_repeat: int = 1,
        reset: str = "random",
        pool_size: int | None = None,
        twins: Sequence[int] | None = None,
        platform: str | None = None,
        ours: bool = False,
        like: "Episodes | None" = None,
    ):
        checks.whole("env.num_envs", num_envs, 1)
        checks.whole("env.episode_length", episode_length, 1)
        checks.whole("env.action_repeat", action_repeat, 1)
        checks.choice("env.reset", reset, ("random", "cached"))
        pool_size = max(num_envs, 64) if pool_size is None else pool_size
        checks.whole("env.pool_size", pool_size, 1)
        self.env, self.num_envs, self.episode_length = env, num_envs, episode_length
        self.action_repeat, self.cached, self.pool_size = action_repeat, reset == "cached", pool_size
        platform = platforms.of() if platform is None else platform
        self._stepped = lanes.spread(env, platform, ours)
        self.compiler_options = lanes.compiler_options(self._stepped, platform)
        # Looking starts up is then cheaper than waiting for whether anybody needs one.
        self._looks_up = self.cached and platform != platforms.CPU
        self._starters = np.arange(num_envs, dtype=np.int32) if twins is None else np.asarray(twins, np.int32)
        if self._starters.shape != (num_envs,):
            errors.refuse("twins", self._starters.shape, f"one for each of the {num_envs} environments")
        self._reset = like._reset if like else jax.jit(functools.partial(reset_one, env), inline=True)  # traced once
        start = jax.eval_shape(self._reset, jax.eval_shape(jax.random.key, 0))
        if isinstance(start.obs, Mapping) or start.obs.ndim != 1:
            errors.refuse("env.name", type(env).__name__, "its observation must be one vector")
        self._tree = jax.tree.structure(start)
        self.observation_size = int(start.obs.shape[0])
        self.observation_shape = tuple(getattr(env, "observation_shape", start.obs.shape))
        self.space = space_of(env)
        self.action_size = self.space.size

    def reset(self, key: PRNGKeyArray, made: Sequence[jax.Array] | None = None) -> EpisodeState:
        """Every environment at the start of its first episode.

        ``made``: what :meth:`make` made of :meth:`keys`, and maybe of more behind them, where a program of its own did.
        """
        leaves = self.make(self.keys(key)) if made is None else [leaf[: self.fresh] for leaf in made]
        states = jax.tree.unflatten(self._tree, leaves)
        episode = jnp.zeros(self.num_envs, jnp.int32)
        env = self._starts(key, episode, states) if self.cached else states
        pool = states if self.cached else None
        return EpisodeState(_observation(env), jnp.zeros_like(episode), episode, env, key, pool)

    @property
    def fresh(self) -> int:
        """Start states that :meth:`reset` makes."""
        return self.pool_size if self.cached else self.num_envs

    def keys(self, key: PRNGKeyArray) -> Key[Array, " fresh"]:
        """The keys of the start states that :meth:`reset` makes, ``[fresh]``."""
        if not self.cached:
            return self._start_keys(key, jnp.zeros(self.num_envs, jnp.int32))
        entries = jnp.arange(self.pool_size, dtype=jnp.int32)
        return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, _POOL), entries)

    def make(self, keys: Key[Array, " n"]) -> list[jax.Array]:
        """The leaves of the environment's start states, one for each key."""
        return jax.tree.leaves(self._reset_env(keys))

    def step(
        self, state: EpisodeState, action: Float[Array, "N A"] | Int[Array, " N"], restart: bool = True
    ) -> tuple[EpisodeState, StepOutcome]:
        """One decision in every environment; ``state.obs`` then belongs to a new episode where one ended.

        Without ``restart`` a copy just goes on from the end of its episode, where nobody looks: much less to compile.
        """
        env, age, reward, terminated = self._advance(state, action)
        truncated = (age >= self.episode_length) & ~terminated
        done = terminated | truncated
        outcome = StepOutcome(reward, terminated, truncated, _observation(env))
        episode = state.episode + done.astype(jnp.int32)

        def begin(env):
            return _where(done, self._starts(state.key, episode, state.pool), env)

        if restart:
            env = begin(env) if self._looks_up else lax.cond(compat.anywhere(done), begin, lambda env: env, env)
            age = jnp.where(done, 0, age)
        return EpisodeState(_observation(env), age, episode, env, state.key, state.pool), outcome

    def _advance(self, state: EpisodeState, action: jax.Array) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
        """Repeat the action until the decision is over or the episode is."""

        def once(carry, _):
            env, age, reward, terminated = carry
            running = ~terminated & (age < self.episode_length)
            after = self._step_env(env, action)
            reward += jnp.where(running, after.reward.astype(jnp.float32), 0.0)
            terminated |= running & (after.done != 0)
            if self.action_repeat > 1:
                after = _where(running, after, env)
            return (after, age + running.astype(jnp.int32), reward, terminated), None

        zeros = jnp.zeros(self.num_envs, jnp.float32)
        carry = (state.env, state.age, zeros, jnp.zeros(self.num_envs, bool))
        if self.action_repeat == 1:
            return once(carry, None)[0]
        return lax.scan(once, carry, None, length=self.action_repeat)[0]

    def _step_env(self, env: Any, action: jax.Array) -> Any:
        return jax.vmap(functools.partial(step_one, self._stepped))(env, action)

    def _starts(self, key: jax.Array, episode: jax.Array, pool: Any) -> Any:
        """Start states of every environment's episode number ``episode``."""
        keys = self._start_keys(key, episode)
        if pool is None:
            return self._reset_env(keys)
        index = jax.vmap(functools.partial(jax.random.randint, shape=(), minval=0, maxval=self.pool_size))(keys)
        return jax.tree.map(lambda leaf: leaf[index], pool)

    def _start_keys(self, key: jax.Array, episode: jax.Array) -> jax.Array:
        return jax.vmap(_start_key, (None, 0, 0))(key, jnp.asarray(self._starters), episode)

    def _reset_env(self, keys: jax.Array) -> Any:
        return jax.vmap(self._reset)(keys)


def together(*batches: Episodes) -> Callable[..., list[jax.Array]] | None:
    """Start states of any of ``batches``, all of one environment, made by a single program.

    Returns ``make(number, *keys)``, ``keys`` being of :meth:`Episodes.keys` of each: for the batch of that number its
    leaves of :meth:`Episodes.make`, as many as the largest needs. None where the last bit of a start state could depend
    on how many are made beside it: XLA rounds ``sin`` and ``exp`` by where in a vector register a number lies.
    """
    sizes = [batch.fresh for batch in batches]
    if len(set(sizes)) > 1 and any(size % lanes.FEWEST for size in sizes):
        return None

    def make(number: Int[Array, ""], *keys: Key[Array, " _"]) -> list[jax.Array]:
        padded = [own[np.arange(max(sizes)) % size] for own, size in zip(keys, sizes, strict=True)]
        return batches[0].make(jnp.stack(padded)[number])

    return make


def reset_one(env: Any, key: PRNGKeyArray) -> Any:
    """The Brax State of one environment at its start, every leaf an array of its own dtype."""
    with brax_door.tracing():
        state = env.reset(jax.random.key_data(key))
    return jax.tree.map(lambda leaf: _cast(leaf, jnp.asarray(leaf).dtype), state)


def step_one(env: Any, state: Any, action: Float[Array, " A"] | Int[Array, ""]) -> Any:
    """The Brax State of one environment after one step, its leaves of the dtypes of ``state``."""
    # A copy, as some Brax environments write into the metrics of the state that they are given.
    given = jax.tree.map(lambda leaf: leaf, state)
    with brax_door.tracing():
        after = env.step(given, action)
    return jax.tree.map(lambda new, old: _cast(new, old.dtype), after, state)


def _start_key(key: jax.Array, env: jax.Array, episode: jax.Array) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, _START), env), episode)


def _observation(env: Any) -> jax.Array:
    return env.obs.astype(jnp.float32)


def _cast(leaf: Any, dtype: Any) -> jax.Array:
    """The leaf in exactly this dtype, strongly typed: Brax leaks weak types, which would be compiled twice."""
    if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        return leaf
    return lax.convert_element_type(leaf, dtype)


def _where(mask: jax.Array, new: Any, old: Any) -> Any:
    """Leaf by leaf, ``new`` where ``mask`` and ``old`` elsewhere along the leading axis."""

    def pick(new, old):
        return jnp.where(mask.reshape(mask.shape + (1,) * (new.ndim - 1)), new, old)

    return jax.tree.map(pick, new, old)
