"""Store trajectories of dm_control's tasks: ``python tests/envs/original/suite.py`` writes ``suite.npz`` beside it.

Needs dm_control, with the MuJoCo of pyproject.toml. Some begin where rewards are near; actions are held for ten steps.
"""

import pathlib

import mujoco
import numpy as np
from dm_control import suite

STEPS, TRAJECTORIES = 100, 4
TASKS = {  # Playground's name: domain, task, a state near rewards
    "CartpoleSwingupSparse": ("cartpole", "swingup_sparse", (0.0, 0.0)),
    "CartpoleSwingup": ("cartpole", "swingup", (0.0, 0.5)),
    "AcrobotSwingupSparse": ("acrobot", "swingup_sparse", (0.0, 0.0)),
    "PendulumSwingup": ("pendulum", "swingup", (0.0,)),
    "BallInCup": ("ball_in_cup", "catch", (0.0, 0.0, 0.0, 0.15)),
}


def trajectory(name, seed):
    """Actions, states (positions, then velocities) and rewards of one episode."""
    domain, task, near = TASKS[name]
    env = suite.load(domain, task, task_kwargs={"random": seed})
    env.reset()
    physics, rng = env.physics, np.random.default_rng(seed)
    if seed % 2 == 1:
        with physics.reset_context():
            physics.data.qpos[:] = near
    noise = np.repeat(rng.normal(size=(STEPS // 10, env.action_spec().shape[0])), 10, 0)
    actions = np.clip((0.1 if seed % 2 else 1.0) * noise, -1, 1).astype(np.float32)
    states, rewards = [physics.state().copy()], []
    for action in actions:
        rewards.append(env.step(action).reward)
        states.append(physics.state().copy())
    return actions, np.array(states), np.array(rewards)


def main():
    import dm_control

    version = getattr(dm_control, "__version__", "") or importlib_version("dm_control")
    stored = {"versions": f"dm_control {version}, MuJoCo {mujoco.__version__}"}
    for name in TASKS:
        found = [trajectory(name, seed) for seed in range(TRAJECTORIES)]
        for field, values in zip(("action", "state", "reward"), zip(*found, strict=True), strict=True):
            stored[f"{name}/{field}"] = np.stack(values)
    np.savez_compressed(pathlib.Path(__file__).with_name("suite.npz"), **stored)


def importlib_version(package):
    """The version of an installed package."""
    import importlib.metadata

    return importlib.metadata.version(package)


if __name__ == "__main__":
    main()
