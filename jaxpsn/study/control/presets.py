"""Named comparisons: the tasks of the paper, its structures, and the rivals that came later; imports no JAX."""

from collections.abc import Callable
from dataclasses import replace

from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.control.presets import PRESETS as CONTROL_PRESETS
from jaxpsn.core.components import replaced
from jaxpsn.core.lazily import Lazy
from jaxpsn.study.control.config import StudyConfig


def _cartpole() -> ControlConfig:
    # Small nets, as the physics is cheap; without target smoothing, which blurs a value that is sparse.
    return ControlConfig(
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


_PLAYGROUND = "playground/CheetahRun"
_LONG = StudyConfig(
    arms=("sac: none", "td3: gaussian(std=0.1), agent=td3"), seeds=5, steps=5_000_000, chunk=12_800, eval_every=512_000,
    checkpoint_every=512_000,
)  # fmt: skip
_LONGER = replace(
    _LONG, arms=("ppo: none",), steps=60_000_000, chunk=983_040, eval_every=5_898_240, checkpoint_every=5_898_240
)
_DENSE = replace(_STUDY, steps=200_000, eval_every=16_000)
_FAR = _arms("parameter-dense", "parameter-flipout", "parameter-factorised", target=0.6)


def _on(task: str, **agent: object) -> ControlConfig:
    base = _cartpole()
    return replace(base, env=replace(base.env, name=task), agent=replaced(base.agent, agent))


def _mountain() -> ControlConfig:
    return _on("sparse_mountain_car", batch_size=128, updates=2, actor_lr=1e-4, replay_capacity=100_000)


def _cheetah() -> ControlConfig:
    base = CONTROL_PRESETS["default"]
    return replace(base, agent=replaced(base.agent, {"replay_capacity": 200_000}), eval_envs=8)


def _evolution() -> ControlConfig:
    # Gradients and evolution on one footing: the same actor (wide enough for noise of low rank), task and steps.
    env = EnvConfig(name="cartpole_swingup", num_envs=32, episode_length=200)
    base = _cartpole()
    return replace(base, env=env, agent=replaced(base.agent, {"actor_hidden": (128, 128), "updates": 2}))


def _published() -> ControlConfig:
    # Constants of Playground's configuration of Brax's SAC for dm_control; TD3 takes all that it shares with it.
    base = CONTROL_PRESETS["sac"]
    return replace(base, env=replace(base.env, name=_PLAYGROUND), explore=ControlConfig().explore, diagnose=True)


def _published_ppo() -> ControlConfig:
    # Those of Brax's PPO (brax_ppo_config of dm_control_suite_params.py, networks and clip by Brax's defaults): 1024 x
    # 32 pieces of 30 steps a round, which of 2048 environments are 480 steps each. Its rewards are times 10, which here
    # only the value network would see.
    return ControlConfig(
        env=EnvConfig(name=_PLAYGROUND, num_envs=2048),
        agent=(
            "ppo(actor_hidden=32x32x32x32, critic_hidden=256x256x256x256x256, activation=swish, layer_norm=false, "
            "actor_lr=1e-3, critic_lr=1e-3, gamma=0.995, gae_lambda=0.95, rollout=480, epochs=16, minibatches=32, "
            "clip=0.3, entropy=0.01, gradient_clip=0)"
        ),
        eval_envs=128,
        diagnose=True,
    )


def _smoke() -> ControlConfig:
    base = CONTROL_PRESETS["smoke"]
    return replace(base, agent=replaced(base.agent, {"replay_capacity": 1600}))


_ALL: dict[str, tuple[Callable[[], ControlConfig], StudyConfig]] = {
    "default": (_cartpole, replace(_STUDY, steps=120_000)),
    "mountain-car": (_mountain, replace(_SHORT, steps=100_000, checkpoint_every=40_000)),
    "double-pendulum": (lambda: _on("sparse_double_pendulum"), _SHORT),
    "sparse-halfcheetah": (lambda: _on("sparse_halfcheetah", updates=4), _SHORT),
    "swimmer-gather": (lambda: _on("swimmer_gather", updates=4), _SHORT),
    "halfcheetah": (_cheetah, replace(_DENSE, arms=("parameter", "gaussian", "ou", "pink"))),
    "structures-sparse": (_mountain, replace(_SHORT, steps=100_000, arms=_FAR)),
    "structures-dense": (_cheetah, replace(_DENSE, steps=96_000, arms=_STRUCTURES)),
    "evolution": (_evolution, replace(_STUDY, arms=_EVOLVING)),
    "published": (_published, _LONG),
    "published-ppo": (_published_ppo, _LONGER),
    "rivals": (_cartpole, replace(_STUDY, arms=_RIVALS)),
    "smoke": (
        _smoke,
        StudyConfig(
            arms=("parameter", "gaussian"), seeds=2, steps=1600, chunk=160, eval_every=320, checkpoint_every=320
        ),
    ),
}

PRESETS: Lazy[tuple[ControlConfig, StudyConfig]] = Lazy(
    {name: lambda made=made, study=study: (made(), study) for name, (made, study) in _ALL.items()}
)
"""What all arms share, and what is compared, by name."""
