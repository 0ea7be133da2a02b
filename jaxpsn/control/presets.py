"""Named control experiments: the default, one that fills a GPU, and the columns of the paper and its releases."""

from dataclasses import replace

from jaxpsn.control.config import AgentConfig, ControlConfig, EnvConfig, ExplorationConfig

# Plappert et al. 2018, appendix: 2 x 64 ReLU, the action enters at the second critic layer, one environment,
# cycles of 100 environment steps and 50 updates, the scale adapted once in 50 updates.
_PAPER_AGENT = AgentConfig(
    algorithm="ddpg",
    actor_hidden=(64, 64),
    critic_hidden=(64, 64),
    action_layer=1,
    actor_lr=1e-4,
    critic_lr=1e-3,
    critic_l2=1e-2,
    tau=1e-3,
    batch_size=128,
    update_every=100,
    updates=50,
    policy_delay=1,
    observation_clip=5.0,
)
_PAPER_NOISE = ExplorationConfig(
    structure="dense", sigma=0.2, target=0.2, adapt_every=100, probes=1, probe_states=128, sigma_max=100.0
)
_PAPER = ControlConfig(
    env=EnvConfig(name="halfcheetah", num_envs=1),
    agent=_PAPER_AGENT,
    exploration=_PAPER_NOISE,
    replay_capacity=100_000,
    warmup=0,
    eval_envs=20,
)

# OpenAI baselines 8822518 (2017): smaller batch per worker, faster targets, a time limit stored as terminal.
_RELEASE_AGENT = replace(_PAPER_AGENT, batch_size=64, tau=0.01, time_limit_terminal=True)
_RELEASE = replace(
    _PAPER, agent=_RELEASE_AGENT, exploration=replace(_PAPER_NOISE, probe_states=64), replay_capacity=1_000_000
)

# OpenAI baselines ea25b9e (2020): tanh, no layer norm unless asked for, the action at the critic's input.
_HEAD_AGENT = replace(_RELEASE_AGENT, activation="tanh", layer_norm=False, action_layer=0)

_FAST_AGENT = AgentConfig(
    actor_hidden=(256, 256),
    critic_hidden=(512, 512),
    batch_size=32_768,
    updates=2,
    tau=0.05,
    weight_decay=0.01,
    precision="bfloat16",
)
_GPU = ControlConfig(
    env=EnvConfig(name="ant", num_envs=4096, reset="cached"),
    agent=_FAST_AGENT,
    replay_capacity=4096 * 1024,
    warmup=4096 * 10,
    eval_envs=128,
)

# Generations of 64 mirrored members on episodes of 200 steps.
_ES = ControlConfig(
    env=EnvConfig(name="cartpole_swingup", num_envs=64, episode_length=200),
    agent=AgentConfig(algorithm="es", actor_hidden=(128, 128), actor_lr=2e-2),
    exploration=ExplorationConfig(structure="lowrank", antithetic=True, controller="constant", sigma=0.05),
    warmup=0,
)

_SMOKE = ControlConfig(
    env=EnvConfig(name="probe/action", num_envs=8),
    agent=AgentConfig(actor_hidden=(16,), critic_hidden=(16,), batch_size=32, updates=1, actor_lr=1e-2, critic_lr=1e-2),
    replay_capacity=4096,
    warmup=64,
    eval_envs=4,
)

PRESETS: dict[str, ControlConfig] = {
    "default": ControlConfig(),
    "gpu": _GPU,
    "sparse": ControlConfig(
        env=EnvConfig(name="sparse_cartpole_swingup", num_envs=16),
        agent=replace(AgentConfig(), actor_hidden=(64, 64), critic_hidden=(64, 64), updates=2),
        exploration=ExplorationConfig(sigma=0.6, target=0.6),
        warmup=1600,
    ),
    "paper": _PAPER,
    "paper-sparse": replace(
        _PAPER,
        env=EnvConfig(name="sparse_mountain_car", num_envs=1),
        exploration=replace(_PAPER_NOISE, sigma=0.6, target=0.6),
    ),
    "release-2017": _RELEASE,
    "baselines-2020": replace(_RELEASE, agent=_HEAD_AGENT),
    "es": _ES,
    "smoke": _SMOKE,
}
"""Control settings by name; :data:`jaxpsn.run.jobs.control.PRESETS` adds how long each runs."""
