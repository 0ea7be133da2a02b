"""Store transitions of classic control and Deep Sea: ``python gymnasium_steps.py`` writes ``choices.npz`` beside it.

Needs gymnasium, bsuite and NumPy. Of each task of Gymnasium: states before, choices, states after, rewards and ends,
one step each from states spread over what episodes visit; of bsuite's Deep Sea whole episodes of random choices, and
its mapping.
"""

from pathlib import Path

import gymnasium
import numpy as np
from bsuite.environments import deep_sea

STEPS = 400
TASKS = {"cartpole": "CartPole-v1", "mountain_car_discrete": "MountainCar-v0", "acrobot": "Acrobot-v1"}


def transitions(name, rng):
    """Single steps from states that are spread around those of random play."""
    env = gymnasium.make(name).unwrapped
    env.reset(seed=0)
    rows = {key: [] for key in ("before", "choice", "obs", "reward", "done")}
    wide = {
        "CartPole-v1": (2.3, 2.0, 0.2, 2.0),
        "MountainCar-v0": None,
        "Acrobot-v1": (np.pi, np.pi, 4 * np.pi, 9 * np.pi),
    }[name]
    for _ in range(STEPS):
        if wide is None:
            before = np.array([rng.uniform(-1.2, 0.55), rng.uniform(-0.07, 0.07)])
        else:
            before = rng.uniform(-1, 1, 4) * wide
        choice = int(rng.integers(env.action_space.n))
        env.reset()
        env.state = np.array(before, np.float64)
        obs, reward, done, _, _ = env.step(choice)
        for key, value in zip(rows, (before, choice, obs, reward, done), strict=True):
            rows[key].append(value)
    return {key: np.asarray(value) for key, value in rows.items()}


def dives(size, seed, rng, episodes=40):
    """Whole episodes: observations after each step, choices and rewards."""
    env = deep_sea.DeepSea(size, mapping_seed=seed)
    mapping = np.asarray(env._action_mapping)
    seen, choices, rewards = [], [], []
    for episode in range(episodes):
        step = env.reset()
        own = [step.observation.reshape(-1)]
        acted, earned = [], []
        while not step.last():
            # Every fourth follows the path to the treasure.
            row, column = env._row, env._column
            choice = int(mapping[row, column]) if episode % 4 == 0 else int(rng.integers(2))
            step = env.step(choice)
            own.append(step.observation.reshape(-1))
            acted.append(choice)
            earned.append(step.reward)
        seen.append(own), choices.append(acted), rewards.append(earned)
    return {"mapping": mapping, "obs": np.array(seen), "choice": np.array(choices), "reward": np.array(rewards)}


def main():
    """Record everything."""
    rng, kept = np.random.default_rng(0), {}
    for name, told in TASKS.items():
        kept |= {f"{name}/{key}": value for key, value in transitions(told, rng).items()}
    for size, seed in ((4, 42), (6, 7)):
        kept |= {f"deep_sea/{size}/{seed}/{key}": value for key, value in dives(size, seed, rng).items()}
    import bsuite

    kept["versions"] = np.array(
        f"gymnasium {gymnasium.__version__}, bsuite {bsuite.__version__}, numpy {np.__version__}"
    )
    np.savez_compressed(Path(__file__).parent / "choices.npz", **kept)


if __name__ == "__main__":
    main()
