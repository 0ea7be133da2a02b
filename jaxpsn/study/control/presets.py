"""Named comparisons: the tasks of the paper, its structures, and the rivals that came later; imports no JAX."""

from dataclasses import replace

from jaxpsn.control.config import AgentConfig, ControlConfig, EnvConfig, ExplorationConfig
from jaxpsn.control.presets import PRESETS as CONTROL_PRESETS
from jaxpsn.study.control.config import StudyConfig

# Small nets, as the physics is cheap; without target smoothing, which blurs a value that is sparse.
_AGENT = AgentConfig(
    actor_hidden=(64, 64),
    critic_hidden=(64, 64),
    batch_size=64,
    updates=8,
    critic_lr=1e-3,
    tau=0.01,
    target_noise=0.0,
)
_CARTPOLE = ControlConfig(
    env=EnvConfig(name="sparse_cartpole_swingup", num_envs=16),
    agent=_AGENT,
    exploration=ExplorationConfig(sigma=0.3, target=0.3, action_std=0.3),
    replay_capacity=200_000,
    warmup=1600,
)
_STUDY = StudyConfig(steps=160_000, chunk=8000, eval_every=8000, checkpoint_every=80_000)
_SHORT = replace(_STUDY, steps=96_000, chunk=4000, eval_every=4000, checkpoint_every=48_000)
# In nets as small as those of the sparse tasks, low-rank noise is dense noise (noise.LowRank).
_STRUCTURES = ("parameter-dense", "parameter-flipout", "parameter-lowrank", "parameter-factorised")
_RIVALS = (*_STUDY.arms, "gsde", "noisynet", "lattice", "zeta")


def _on(task: str, **agent: object) -> ControlConfig:
    return replace(_CARTPOLE, env=replace(_CARTPOLE.env, name=task), agent=replace(_AGENT, **agent))


_MOUNTAIN = replace(_on("sparse_mountain_car", batch_size=128, updates=2, actor_lr=1e-4), replay_capacity=100_000)
_FAR = replace(_MOUNTAIN, exploration=replace(_MOUNTAIN.exploration, target=0.6))
_CHEETAH = replace(CONTROL_PRESETS["default"], replay_capacity=200_000, eval_envs=8)
_DENSE = replace(_STUDY, steps=200_000, eval_every=16_000)
# Gradients and evolution on one footing: the same actor (wide enough for noise of low rank), task and steps.
_EVOLUTION = replace(
    _CARTPOLE,
    env=EnvConfig(name="cartpole_swingup", num_envs=32, episode_length=200),
    agent=replace(_AGENT, actor_hidden=(128, 128), updates=2),
)
_SMOKE = replace(CONTROL_PRESETS["smoke"], replay_capacity=1600)

PRESETS: dict[str, tuple[ControlConfig, StudyConfig]] = {
    "default": (_CARTPOLE, replace(_STUDY, steps=120_000)),
    "mountain-car": (_MOUNTAIN, replace(_SHORT, steps=100_000, checkpoint_every=40_000)),
    "double-pendulum": (_on("sparse_double_pendulum"), _SHORT),
    "sparse-halfcheetah": (_on("sparse_halfcheetah", updates=4), _SHORT),
    "swimmer-gather": (_on("swimmer_gather", updates=4), _SHORT),
    "halfcheetah": (_CHEETAH, replace(_DENSE, arms=("parameter", "gaussian", "ou", "pink"))),
    "structures-sparse": (
        _FAR,
        replace(_SHORT, steps=100_000, arms=("parameter-dense", "parameter-flipout", "parameter-factorised")),
    ),
    "structures-dense": (_CHEETAH, replace(_DENSE, steps=96_000, arms=_STRUCTURES)),
    "evolution": (
        _EVOLUTION,
        replace(
            _STUDY,
            arms=("parameter", "parameter-ladder", "parameter-return", "parameter-novelty", "es", "es-lowrank"),
        ),
    ),
    "rivals": (_CARTPOLE, replace(_STUDY, arms=_RIVALS)),
    "smoke": (
        _SMOKE,
        StudyConfig(
            arms=("parameter", "gaussian"), seeds=2, steps=1600, chunk=160, eval_every=320, checkpoint_every=320
        ),
    ),
}
"""What all arms share, and what is compared, by name."""
