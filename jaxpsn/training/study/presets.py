"""Named comparisons: the tasks of the paper, its structures, and the rivals that came later; imports no JAX."""

from dataclasses import replace

from jaxpsn.control.config import AgentConfig, ControlConfig, EnvConfig, ExplorationConfig
from jaxpsn.control.presets import PRESETS as CONTROL_PRESETS
from jaxpsn.training.study.config import StudyConfig

_AGENT = AgentConfig(actor_hidden=(64, 64), critic_hidden=(64, 64), updates=2)
_NOISE = ExplorationConfig(sigma=0.3, target=0.3, action_std=0.3)
_CARTPOLE = ControlConfig(
    env=EnvConfig(name="sparse_cartpole_swingup", num_envs=16),
    agent=_AGENT,
    exploration=_NOISE,
    replay_capacity=200_000,
    warmup=1600,
)
_STUDY = StudyConfig(steps=200_000, chunk=8000, eval_every=8000, checkpoint_every=40_000)
_STRUCTURES = ("parameter-dense", "parameter-flipout", "parameter-lowrank", "parameter-factorised")
_RIVALS = (*_STUDY.arms, "gsde", "noisynet", "lattice", "zeta")


def _on(task: str, **agent: object) -> ControlConfig:
    return replace(_CARTPOLE, env=replace(_CARTPOLE.env, name=task), agent=replace(_AGENT, **agent))


_CHEETAH = replace(
    _on("halfcheetah", actor_hidden=(128, 128), critic_hidden=(128, 128), updates=8),
    exploration=ExplorationConfig(),
)
_SMOKE = replace(CONTROL_PRESETS["smoke"], replay_capacity=1600)

PRESETS: dict[str, tuple[ControlConfig, StudyConfig]] = {
    "default": (_CARTPOLE, _STUDY),
    "mountain-car": (_on("sparse_mountain_car"), _STUDY),
    "double-pendulum": (_on("sparse_double_pendulum"), _STUDY),
    "sparse-halfcheetah": (_on("sparse_halfcheetah"), _STUDY),
    "swimmer-gather": (_on("swimmer_gather"), _STUDY),
    "halfcheetah": (_CHEETAH, replace(_STUDY, arms=("parameter", "gaussian", "ou", "pink"))),
    "structures-sparse": (_CARTPOLE, replace(_STUDY, arms=_STRUCTURES)),
    "structures-dense": (_CHEETAH, replace(_STUDY, arms=_STRUCTURES)),
    "rivals": (_CARTPOLE, replace(_STUDY, arms=_RIVALS)),
    "smoke": (
        _SMOKE,
        StudyConfig(
            arms=("parameter", "gaussian"), seeds=2, steps=1600, chunk=160, eval_every=320, checkpoint_every=320
        ),
    ),
}
"""What all arms share, and what is compared, by name."""
