"""How good the clean policy is: whole episodes, apart from behaviour and its noise."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.core import compat


@struct.dataclass
class _Progress:
    steps: Any  # int32 scalar
    envs: Any  # EpisodeState
    alive: Any  # [N] bool, the first episode still runs
    returns: Any  # [N] float32
    length: Any  # [N] float32, environment steps


def play(
    key: PRNGKeyArray,
    episodes: Any,
    act: Callable[[Array], Array],
    action_repeat: int,
    limit: int,
    spread: Callable[[Any], Any] = lambda tree: tree,
    starts: Sequence[Array] | None = None,
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """One episode in each of ``episodes``' N environments: its return, and its length in environment steps.

    ``act(obs[N, O]) -> action[N, ...]``. Each environment counts until its first episode ends, by itself or by the time
    limit; ``limit`` (decisions) bounds the loop, which stops as soon as all have ended. ``spread`` cuts what has an
    entry per environment over the devices of a mesh. ``starts``: the start states, if they are there already, as
    ``episodes.reset`` takes them.
    """
    zeros = jnp.zeros((episodes.num_envs,), jnp.float32)
    first = episodes.reset(key, starts)
    first = first.replace(obs=spread(first.obs), env=spread(first.env))
    start = _Progress(jnp.int32(0), first, *spread((jnp.ones_like(zeros, bool), zeros, zeros)))

    def unfinished(progress: _Progress) -> Array:
        return compat.anywhere(progress.alive) & (progress.steps < limit)

    def step(progress: _Progress) -> _Progress:
        envs, outcome = episodes.step(progress.envs, act(progress.envs.obs), restart=False)
        return _Progress(
            steps=progress.steps + 1,
            envs=envs,
            alive=progress.alive & ~(outcome.terminated | outcome.truncated),
            returns=progress.returns + jnp.where(progress.alive, outcome.reward, zeros),
            length=progress.length + jnp.where(progress.alive, zeros + action_repeat, zeros),
        )

    end = lax.while_loop(unfinished, step, start)
    return end.returns, end.length


def evaluate(*asked: Any) -> dict[str, Array]:
    """Mean and standard deviation of the returns of :func:`play`, and the mean length; its arguments in their order."""
    returns, length = play(*asked)
    return {"eval_return": jnp.mean(returns), "eval_return_std": jnp.std(returns), "eval_length": jnp.mean(length)}
