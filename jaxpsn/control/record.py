"""One episode of the clean policy as the rollout viewer reads it."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn import envs
from jaxpsn.control.off_policy import Program, episode_length
from jaxpsn.control.state import ProgramState
from jaxpsn.core import compat
from jaxpsn.envs import scenes

FRAME_RATE = 50.0  # frames per second, at most
FRAMES = 1000  # at most


@struct.dataclass
class _Progress:
    env: Any  # brax State of one environment
    action: Any  # [A], held for action_repeat steps
    alive: Any  # bool scalar
    steps: Any  # int32 scalar, environment steps done


def rollout(
    program: Program, state: ProgramState, key: PRNGKeyArray | None = None, steps: int | None = None
) -> dict[str, Any]:
    """Play one episode of the clean policy of ``state`` (one seed) and return what ``rollout.json`` holds.

    ``steps``: environment steps at most; the time limit if left out. At most 50 frames a second and 1000 in all: a
    frame stands for several steps where that is needed, its reward for their sum. Plain Python numbers.
    """
    return play(program, state.learner.actor, state.statistics, key, steps)


def play(
    program: Program, actor: Any, statistics: Any, key: PRNGKeyArray | None = None, steps: int | None = None
) -> dict[str, Any]:
    """As :func:`rollout`, from the parts of a state that act: the actor's weights, and the statistics."""
    limit = min(steps or episode_length(program.config), episode_length(program.config))
    dt = float(program.env.dt)
    stride = max(1, math.ceil(1.0 / (FRAME_RATE * dt) - 1e-6), math.ceil(limit / FRAMES))
    key = jax.random.key(0) if key is None else key
    run = jax.jit(lambda key, learnt: _play(program, key, *learnt, -(-limit // stride), stride, limit))
    # By way of the host: one device plays, wherever training left them.
    learnt = jax.device_get((actor, statistics))
    poses, rewards, ended = jax.device_get(run(key, learnt))
    ends = np.flatnonzero(ended)
    count = int(ends[0]) + 1 if len(ends) else len(rewards)
    total = float(np.sum(rewards[:count], dtype=np.float64))
    return {
        **scenes.scene(program.env),
        "name": program.config.env.name,
        "title": f"{program.config.env.name}: the clean policy, return {total:.4g}",
        "dt": dt * stride,
        "frames": np.round(poses[: count + 1], 5).tolist(),
        "rewards": [float(reward) for reward in rewards[:count]],
        "terminated_at": count if len(ends) else None,
    }


def _play(
    program: Program, key: PRNGKeyArray, actor: Any, stats: Any, frames: int, stride: int, limit: int
) -> tuple[Float[Array, "frames bodies 7"], Float[Array, " steps"], Array]:
    """Poses of every frame, the first included; reward and true end of every stretch between frames."""
    env = program.env
    repeat = program.config.env.action_repeat

    def step(progress: _Progress, _: None) -> tuple[_Progress, tuple[Array, Array]]:
        obs = progress.env.obs.astype(jnp.float32)
        fresh = program.agent.policy(actor, program.normalise(stats, obs))
        action = jnp.where(progress.steps % repeat == 0, fresh, progress.action)
        after = envs.step_one(env, progress.env, action)
        counts = progress.alive & (progress.steps < limit)
        kept = jax.tree.map(lambda new, old: jnp.where(counts, new, old), after, progress.env)
        ended = counts & (after.done > 0)
        reward = jnp.where(counts, after.reward.astype(jnp.float32), jnp.float32(0))
        return _Progress(kept, action, progress.alive & ~ended, progress.steps + 1), (reward, ended)

    def frame(progress: _Progress, _: None) -> tuple[_Progress, tuple[Array, Array, Array]]:
        progress, (reward, ended) = lax.scan(step, progress, None, length=stride)
        return progress, (_poses(env, progress.env), jnp.sum(reward), jnp.any(ended))

    first = envs.reset_one(env, key)
    action = jnp.zeros((program.episodes.action_size,), jnp.float32)
    start = _Progress(first, action, jnp.ones((), bool), jnp.int32(0))
    _, (poses, rewards, ended) = lax.scan(frame, start, None, length=frames)
    return jnp.concatenate([_poses(env, first)[None], poses]), rewards, ended


def _poses(env: Any, state: Any) -> Float[Array, "bodies 7"]:
    with compat.foreign():
        return scenes.poses(env, state.pipeline_state).astype(jnp.float32)
