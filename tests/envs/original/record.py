"""Store trajectories of the original tasks: ``python tests/envs/original/record.py`` writes ``box2d.npz`` beside it.

Half of them begin as the tasks do, half where rewards are near, so that rewards and ends are seen too. Actions are
normal, by scales, new at every step or held for eight; some mountain cars are rocked with full force.
"""

import pathlib
import sys

import Box2D
import numpy as np
import rllab

STEPS, TRAJECTORIES, SCALES = 100, 12, (1.0, 0.3, 2.0)
NEAR = {  # centre and spread of starts near a reward
    "sparse_cartpole_swingup": ((0.0, 0.0, 0.0, 0.0), (0.2, 0.5, 0.3, 0.5)),
    "sparse_double_pendulum": ((np.pi, np.pi, 0.0, 0.0), (0.3, 0.3, 0.5, 0.5)),
    "sparse_mountain_car": ((0.0,), (4.0,)),
}


def trajectory(name, seed):
    """Start, actions, and states and rewards after each."""
    rng = np.random.default_rng(seed)
    task = rllab.TASKS[name]()
    centre, spread = NEAR[name]
    start = task.draw(rng) if seed % 2 == 0 else np.array(centre) + np.array(spread) * rng.uniform(-1, 1, len(centre))
    start = start.astype(np.float32)
    task.start(*start.tolist())
    every = 8 if seed % 4 > 1 else 1
    noise = rng.normal(size=STEPS) * SCALES[seed % 3]
    actions = np.clip(np.repeat(noise[::every], every)[:STEPS], -1, 1).astype(np.float32)
    states, rewards, ends = [task.state()], [], []
    if name == "sparse_mountain_car" and seed % 3 == 2:
        actions[:] = np.nan
    for index in range(STEPS):
        if np.isnan(actions[index]):
            actions[index] = 1.0 if task.observe()[1] >= 0 else -1.0
        _, reward, done = task.step(actions[index])
        states.append(task.state())
        rewards.append(reward)
        ends.append(done)
    return start, actions, np.array(states, np.float32), np.array(rewards, np.float32), np.array(ends)


def main():
    stored = {"versions": f"Box2D {Box2D.__version__}, numpy {np.__version__}, Python {sys.version.split()[0]}"}
    for name in rllab.TASKS:
        found = [trajectory(name, seed) for seed in range(TRAJECTORIES)]
        for field, values in zip(("start", "action", "state", "reward", "done"), zip(*found, strict=True), strict=True):
            stored[f"{name}/{field}"] = np.stack(values)
    np.savez_compressed(pathlib.Path(__file__).with_name("box2d.npz"), **stored)


if __name__ == "__main__":
    main()
