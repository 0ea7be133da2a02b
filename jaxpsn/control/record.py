"""An episode of the clean policy, alone or beside perturbed members of it, as the rollout viewer reads it."""

import math
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxpsn.control import members as crews
from jaxpsn.control.off_policy import Program, episode_length
from jaxpsn.control.state import ProgramState
from jaxpsn.envs import ActionSpace, Discrete, scenes

FRAME_RATE = 50.0  # frames per second, at most
FRAMES = 1000  # at most


class Episode(NamedTuple):
    """One episode, frame by frame: F of them after its start, the last one its end."""

    label: str
    level: int | None
    """Which scale of the noise it was played with; None for the clean policy, which has none."""
    obs: Float[np.ndarray, "F+1 O"]
    """Raw."""
    actions: Float[np.ndarray, "F A"] | Int[np.ndarray, " F"]
    """As executed last before each frame: vectors, or choices."""
    clean: Float[np.ndarray, "F A"] | Int[np.ndarray, " F"]
    """What the clean policy would have done in their place."""
    rewards: Float[np.ndarray, "F"]
    poses: Float[np.ndarray, "F+1 bodies 7"]
    terminated_at: int | None
    """The frame of its true end; None if time was up."""


class Recording(NamedTuple):
    """Episodes from one start, the first of the clean policy."""

    episodes: tuple[Episode, ...]
    dt: float
    """Seconds between two frames."""
    scene: dict[str, Any]
    name: str
    crew: crews.Cast | None
    space: ActionSpace

    def rollout(self) -> dict[str, Any]:
        """What ``rollout.json`` holds: plain Python numbers, the clean episode's own and ``members`` beside it."""
        clean, *others = (_plain(episode) for episode in self.episodes)
        clean |= {"choices": self.space.count} if isinstance(self.space, Discrete) else {}
        total = f"return {sum(clean['rewards']):.4g}"
        if self.crew is None:
            return {**self.scene, "name": self.name, "title": f"{self.name}: the clean policy, {total}", "dt": self.dt,
                    **clean}  # fmt: skip
        levels = [f"{self.crew.field} {scale:.3g}" for scale in self.crew.scales] or [""]
        what = "perturbed members" if self.crew.perturbed else "episodes with noise on the actions"
        told = f", {levels[0]}" if len(levels) == 1 and levels[0] else ""
        title = f"{self.name}: the clean policy ({total}) and {self.crew.members} {what}{told}"
        return {**self.scene, "name": self.name, "title": title, "dt": self.dt, **clean, "members": others,
                "levels": levels}  # fmt: skip


def rollout(
    program: Program,
    state: ProgramState,
    key: PRNGKeyArray | None = None,
    steps: int | None = None,
    members: int = 0,
    compiled: crews.Compiled | None = None,
) -> dict[str, Any]:
    """Play one episode of the clean policy of ``state`` (one seed) and return what ``rollout.json`` holds.

    ``steps``: environment steps at most; the time limit if left out. At most 50 frames a second and 1000 in all: a
    frame stands for several steps where that is needed, its reward for their sum. ``members``: how many perturbed
    policies play beside it, from the same start, as the run explored last; a run without noise has none. ``compiled``:
    as of :func:`jaxpsn.control.members.play`.
    """
    crew = crews.cast(program, state.explore, members)
    return record(program, crew, state.learner.actor, state.statistics, key, steps, compiled).rollout()


def record(
    program: Program,
    crew: crews.Cast | None,
    actor: Any,
    statistics: Any,
    key: PRNGKeyArray | None = None,
    steps: int | None = None,
    compiled: crews.Compiled | None = None,
) -> Recording:
    """As :func:`rollout`, from the parts of a state that act (the actor's weights, and the statistics), as arrays."""
    limit = min(steps or episode_length(program.config), episode_length(program.config))
    dt = float(program.env.dt)
    stride = max(1, math.ceil(1.0 / (FRAME_RATE * dt) - 1e-6), math.ceil(limit / FRAMES))
    scene = scenes.scene(program.env)
    key = jax.random.key(0) if key is None else key
    # By way of the host: one device plays, wherever training left them.
    learnt = jax.device_get((actor, statistics))
    played = crews.play(program, crew, key, *learnt, -(-limit // stride), stride, limit, compiled)
    episodes = tuple(_episode(played, *about) for about in _lanes(crew))
    return Recording(episodes, dt * stride, scene, program.config.env.name, crew, program.episodes.space)


def _lanes(crew: crews.Cast | None) -> list[tuple[int, str, int | None]]:
    """Lane, label and level of each episode that is shown."""
    lanes: list[tuple[int, str, int | None]] = [(0, "clean", None)]
    if crew is not None:
        kind = "member" if crew.perturbed else "noise"
        for level in range(crew.levels):
            first = 1 + level * crew.seats
            lanes += [(first + index, f"{kind} {index + 1}", level) for index in range(crew.members)]
    return lanes


def _episode(played: crews.Played, lane: int, label: str, level: int | None) -> Episode:
    ends = np.flatnonzero(played.ended[:, lane])
    count = int(ends[0]) + 1 if len(ends) else len(played.rewards)
    obs, poses = played.obs[: count + 1, lane], played.poses[: count + 1, lane]
    actions, clean, rewards = (part[:count, lane] for part in (played.actions, played.clean, played.rewards))
    return Episode(label, level, obs, actions, clean, rewards, poses, count if len(ends) else None)


def _plain(episode: Episode) -> dict[str, Any]:
    found = {
        "label": episode.label,
        "frames": _rounded(episode.poses, 4),
        "rewards": [float(reward) for reward in episode.rewards],
        "actions": _rounded(episode.actions, 3),
        "terminated_at": episode.terminated_at,
    }
    return found | ({} if episode.level is None else {"level": episode.level})


def _rounded(values: Array | np.ndarray, digits: int) -> Any:
    values = np.asarray(values)
    return (values if values.dtype.kind == "i" else np.round(values.astype(np.float64), digits) + 0.0).tolist()
