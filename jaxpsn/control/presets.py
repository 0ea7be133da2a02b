"""Named control experiments: the default, one that fills a GPU, and the columns of the paper and its releases.

They are made when they are asked for, as making a component loads JAX.
"""

from dataclasses import replace

from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.core.components import replaced
from jaxpsn.core.lazily import Lazy


def _paper() -> ControlConfig:
    # Plappert et al. 2018, appendix: 2 x 64 ReLU, the action enters at the second critic layer, one environment,
    # cycles of 100 environment steps and 50 updates, the scale adapted once in 50 updates.
    return ControlConfig(
        env=EnvConfig(name="halfcheetah", num_envs=1),
        agent=(
            "ddpg(actor_hidden=64x64, critic_hidden=64x64, action_layer=1, actor_lr=1e-4, critic_lr=1e-3, "
            "critic_l2=0.01, tau=1e-3, batch_size=128, update_every=100, updates=50, observation_clip=5, "
            "replay_capacity=100000, warmup=0)"
        ),
        explore="parameter(structure=dense, sigma=0.2, adapt_every=100, probes=1, probe_states=128, high=100)",
        eval_envs=20,
    )


def _paper_sparse() -> ControlConfig:
    paper = PRESETS["paper"]
    env = EnvConfig(name="sparse_mountain_car", num_envs=1)
    return replace(paper, env=env, explore=replaced(paper.explore, {"sigma": 0.6, "target": 0.6}))


def _release() -> ControlConfig:
    # OpenAI baselines 8822518 (2017): smaller batch per worker, faster targets, a time limit stored as terminal.
    paper = PRESETS["paper"]
    changes = {"batch_size": 64, "tau": 0.01, "time_limit_terminal": True, "replay_capacity": 1_000_000}
    explore = replaced(paper.explore, {"probe_states": 64})
    return replace(paper, agent=replaced(paper.agent, changes), explore=explore)


def _head() -> ControlConfig:
    # OpenAI baselines ea25b9e (2020): tanh, no layer norm unless asked for, the action at the critic's input.
    release = PRESETS["release-2017"]
    changes = {"activation": "tanh", "layer_norm": False, "action_layer": 0}
    return replace(release, agent=replaced(release.agent, changes))


def _gpu() -> ControlConfig:
    return ControlConfig(
        env=EnvConfig(name="ant", num_envs=4096, reset="cached"),
        agent=(
            "td3(actor_hidden=256x256, critic_hidden=512x512, batch_size=32768, updates=2, tau=0.05, "
            f"weight_decay=0.01, precision=bfloat16, replay_capacity={4096 * 1024}, warmup={4096 * 10})"
        ),
        eval_envs=128,
    )


def _fast() -> ControlConfig:
    # FastTD3 (arXiv 2505.22642), its configuration for dm_control, with layer norm, which parameter noise wants.
    return ControlConfig(
        env=EnvConfig(num_envs=1024, reset="cached"),
        agent=(
            "td3(actor_hidden=512x256x128, critic_hidden=1024x512x256, critic=c51(atoms=101, low=-500, high=500), "
            "n_step=3, gamma=0.97, target_noise=0.1, batch_size=32768, updates=2, tau=0.1, weight_decay=0.1, "
            f"precision=bfloat16, replay_capacity={1024 * 10_240}, warmup={1024 * 10})"
        ),
        eval_envs=128,
    )


def _flash_sac() -> ControlConfig:
    # FlashSAC (arXiv 2604.04539; Holiday-Robot/FlashSAC, flashSAC.yaml and what its simulators override): 1024
    # environments, 2 updates of 2048 a step, a buffer of 10 M filled by 100 k, bins +-5 of scaled rewards, tau 0.01,
    # temperature 0.01 at first, the target entropy that of a Gaussian of deviation 0.15, log(2 pi e 0.15^2) / 2 a
    # dimension. Its own noise, held by zeta(2) up to 16 steps, is zeta(std=1) with behaviour=driven. Its blocks
    # normalise by batch, ours on the sphere; its actor moves at every second update and its rates fall by half.
    return ControlConfig(
        env=EnvConfig(num_envs=1024, reset="cached"),
        agent=(
            "sac(actor_hidden=128x128, critic_hidden=256x256, network=hyperspherical, scale_rewards=true, "
            "return_bound=5, critic=c51(atoms=101, low=-5, high=5), temperature=0.01, "
            "target_entropy=-0.4782, log_std_low=-10, batch_size=2048, updates=2, tau=0.01, precision=bfloat16, "
            "replay_capacity=10000384, warmup=100352)"
        ),
        explore="parameter(relative=true)",
        eval_envs=128,
    )


def _sac() -> ControlConfig:
    # Constants of MuJoCo Playground's configuration of Brax's SAC for dm_control; its actor has no layer norm.
    return ControlConfig(
        env=EnvConfig(num_envs=128),
        agent=(
            "sac(actor_hidden=256x256, critic_hidden=256x256, actor_lr=1e-3, critic_lr=1e-3, temperature=1, "
            f"target_entropy=-0.5, batch_size=512, updates=8, replay_capacity={4 << 20}, warmup=8192)"
        ),
        eval_envs=128,
    )


def _ppo() -> ControlConfig:
    # Constants of rejax's tuned PPO for Brax's Hopper (configs/brax/hopper.yaml; 5,242,880 steps). Its networks have no
    # layer norm, and its actions are clipped where ours are squashed.
    return ControlConfig(
        env=EnvConfig(name="hopper", num_envs=32),
        agent=(
            "ppo(actor_hidden=64x64, critic_hidden=64x64, activation=tanh, actor_lr=2.5674e-4, critic_lr=2.5674e-4, "
            "gamma=0.995, gae_lambda=0.95, rollout=32, epochs=9, minibatches=2, clip=0.2, value_clip=0.2, "
            "entropy=0.01, gradient_clip=1)"
        ),
        explore="followers",
        eval_envs=128,
    )


def _dqn() -> ControlConfig:
    # The floor of 0.01 is the paper's: a perturbation that repeats one choice must not get stuck.
    return ControlConfig(
        env=EnvConfig(name="cartpole", num_envs=16),
        agent="dqn(hidden=64x64, lr=1e-3, batch_size=128, updates=4, replay_capacity=100000, warmup=2000)",
        explore="parameter(target=0.1, adapt_every=10) + epsilon_greedy(0.01)",
    )


def _dqn_chain() -> ControlConfig:
    # Plappert et al. 2018, section 4.1 and appendix: 2 x 16 with layer norm, one environment, the values perturbed
    # themselves, by a divergence of 0.05, which is that of epsilon-greedy with 0.1 on two choices.
    return ControlConfig(
        env=EnvConfig(name="chain(length=20)", num_envs=1),
        agent=(
            "dqn(hidden=16x16, lr=1e-3, critic=squared, double=false, gamma=0.999, batch_size=32, updates=1, tau=1, "
            "target_every=100, replay_capacity=100000, warmup=135, normalize_observations=false)"
        ),
        explore="parameter(structure=dense, distance=kl, target=0.1, adapt_every=50)",
        eval_envs=1,
    )


def _pqn() -> ControlConfig:
    # Constants of the authors' code for CartPole (purejaxql, pqn_cartpole.yaml) but for rewards a tenth as large; noise
    # in the weights stands in the place of epsilon, with the floor of dqn's preset. Little is learnt from each sample,
    # so that the measuring of distances counts: the scale moves seldom, by longer steps.
    return ControlConfig(
        env=EnvConfig(name="cartpole", num_envs=32),
        agent=("pqn(hidden=256x256, lr=1e-4, rollout=64, epochs=4, minibatches=16, q_lambda=0.95, lr_steps=500000)"),
        explore="parameter(target=0.1, scale.rate=1.03, adapt_every=32) + epsilon_greedy(0.01)",
    )


def _pqn_minatar() -> ControlConfig:
    # Constants of the authors' code for MinAtar (purejaxql, pqn_minatar.yaml: 10 M steps). Noise stands in the place of
    # epsilon, which fell from 1 to 0.05 in the first tenth.
    return ControlConfig(
        env=EnvConfig(name="minatar/breakout", num_envs=128),
        agent=(
            "pqn(torso=cnn, hidden=128, lr=5e-4, lr_steps=10000000, rollout=32, epochs=2, minibatches=32, "
            "q_lambda=0.65, normalize_observations=false)"
        ),
        explore=(
            "parameter(target=0.05, target_from=4, target_over=244, scale.rate=1.03, adapt_every=32)"
            " + epsilon_greedy(0.01)"
        ),
        eval_envs=128,
    )


def _sparse() -> ControlConfig:
    return ControlConfig(
        env=EnvConfig(name="sparse_cartpole_swingup", num_envs=16),
        agent="td3(actor_hidden=64x64, critic_hidden=64x64, updates=2, warmup=1600)",
        explore="parameter(sigma=0.6, target=0.6)",
    )


def _es() -> ControlConfig:
    # Generations of 64 mirrored members on episodes of 200 steps.
    return ControlConfig(
        env=EnvConfig(name="cartpole_swingup", num_envs=64, episode_length=200),
        agent="es",
        explore="parameter(structure=lowrank(antithetic=true), scale=constant)",
    )


def _smoke() -> ControlConfig:
    return ControlConfig(
        env=EnvConfig(name="probe/action", num_envs=8),
        agent=(
            "td3(actor_hidden=16, critic_hidden=16, batch_size=32, updates=1, actor_lr=0.01, critic_lr=0.01, "
            "replay_capacity=4096, warmup=64)"
        ),
        eval_envs=4,
    )


PRESETS: Lazy[ControlConfig] = Lazy(
    {
        "default": ControlConfig,
        "gpu": _gpu,
        "fast": _fast,
        "flash-sac": _flash_sac,
        "sac": _sac,
        "ppo": _ppo,
        "dqn": _dqn,
        "dqn-chain": _dqn_chain,
        "pqn": _pqn,
        "pqn-minatar": _pqn_minatar,
        "sparse": _sparse,
        "paper": _paper,
        "paper-sparse": _paper_sparse,
        "release-2017": _release,
        "baselines-2020": _head,
        "es": _es,
        "smoke": _smoke,
    }
)
"""Control settings by name; :data:`jaxpsn.run.jobs.control.PRESETS` adds how long each runs."""
