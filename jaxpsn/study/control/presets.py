"""Named comparisons: the tasks of the paper, its structures, and the rivals that came later."""

from dataclasses import replace

from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.control.presets import PRESETS as CONTROL_PRESETS
from jaxpsn.core.components import replaced
from jaxpsn.study.control.config import StudyConfig

# Small nets, as the physics is cheap; without target smoothing, which blurs a value that is sparse.
_CARTPOLE = ControlConfig(
    env=EnvConfig(name="sparse_cartpole_swingup", num_envs=16),
    agent=(
        "td3(actor_hidden=64x64, critic_hidden=64x64, batch_size=64, updates=8, critic_lr=1e-3, tau=0.01, "
        "target_noise=0, replay_capacity=200000, warmup=1600)"
    ),
)


def _arms(*names: str, target: float = 0.3) -> tuple[str, ...]:
    """Arms at the scales that sparse tasks of small nets want, each under the name of its rule."""
    action = ("gaussian", "ou", "pink", "zeta", "gsde", "lattice")
    made = {name: f"{name}(std=0.3)" for name in action}
    weights = f"(sigma=0.3, target={target:g})"
    return tuple(
        f"{name}: {made[name]}"
        if name in made
        else f"{name}: {name}{weights}"
        if name.startswith("parameter")
        else name
        for name in names
    )


_FIRST = ("parameter", "gaussian", "ou", "pink", "none")
_STUDY = StudyConfig(arms=_arms(*_FIRST), steps=160_000, chunk=8000, eval_every=8000, checkpoint_every=80_000)
_SHORT = replace(_STUDY, steps=96_000, chunk=4000, eval_every=4000, checkpoint_every=48_000)
# In nets as small as those of the sparse tasks, low-rank noise is dense noise (noise.LowRank).
_STRUCTURES = ("parameter-dense", "parameter-flipout", "parameter-lowrank", "parameter-factorised")
_RIVALS = _arms(*_FIRST, "gsde", "noisynet", "lattice", "zeta")
_EVOLVING = (*_arms("parameter", "parameter-ladder", "parameter-return", "parameter-novelty"), "es", "es-lowrank")


def _on(task: str, **agent: object) -> ControlConfig:
    return replace(_CARTPOLE, env=replace(_CARTPOLE.env, name=task), agent=replaced(_CARTPOLE.agent, agent))


_MOUNTAIN = _on("sparse_mountain_car", batch_size=128, updates=2, actor_lr=1e-4, replay_capacity=100_000)
_CHEETAH = replace(
    CONTROL_PRESETS["default"],
    agent=replaced(CONTROL_PRESETS["default"].agent, {"replay_capacity": 200_000}),
    eval_envs=8,
)
_DENSE = replace(_STUDY, steps=200_000, eval_every=16_000)
# Gradients and evolution on one footing: the same actor (wide enough for noise of low rank), task and steps.
_EVOLUTION = replace(
    _CARTPOLE,
    env=EnvConfig(name="cartpole_swingup", num_envs=32, episode_length=200),
    agent=replaced(_CARTPOLE.agent, {"actor_hidden": (128, 128), "updates": 2}),
)
_SMOKE = replace(CONTROL_PRESETS["smoke"], agent=replaced(CONTROL_PRESETS["smoke"].agent, {"replay_capacity": 1600}))
_FAR = _arms("parameter-dense", "parameter-flipout", "parameter-factorised", target=0.6)

PRESETS: dict[str, tuple[ControlConfig, StudyConfig]] = {
    "default": (_CARTPOLE, replace(_STUDY, steps=120_000)),
    "mountain-car": (_MOUNTAIN, replace(_SHORT, steps=100_000, checkpoint_every=40_000)),
    "double-pendulum": (_on("sparse_double_pendulum"), _SHORT),
    "sparse-halfcheetah": (_on("sparse_halfcheetah", updates=4), _SHORT),
    "swimmer-gather": (_on("swimmer_gather", updates=4), _SHORT),
    "halfcheetah": (_CHEETAH, replace(_DENSE, arms=("parameter", "gaussian", "ou", "pink"))),
    "structures-sparse": (_MOUNTAIN, replace(_SHORT, steps=100_000, arms=_FAR)),
    "structures-dense": (_CHEETAH, replace(_DENSE, steps=96_000, arms=_STRUCTURES)),
    "evolution": (_EVOLUTION, replace(_STUDY, arms=_EVOLVING)),
    "rivals": (_CARTPOLE, replace(_STUDY, arms=_RIVALS)),
    "smoke": (
        _SMOKE,
        StudyConfig(
            arms=("parameter", "gaussian"), seeds=2, steps=1600, chunk=160, eval_every=320, checkpoint_every=320
        ),
    ),
}
"""What all arms share, and what is compared, by name."""
