"""How often untrained policies see a reward: the originals in Box2D beside the tasks here, same networks and noise.

``python first_rewards.py rllab OUT.json`` needs Box2D and NumPy; ``python first_rewards.py jaxpsn OUT.json`` needs this
package, and adds the light tasks; ``python first_rewards.py table A.json B.json`` writes the table as Markdown. Starts,
networks and noise are functions of (task, rule, episode) and drawn by NumPy, so both halves have the same of them.
"""

import itertools
import json
import sys
import zlib

import numpy as np

EPISODES, STEPS = 120, 500
RULES = {
    "no noise": ("none", 0.0),
    "Gaussian 1.0": ("gaussian", 1.0),
    "OU 0.6": ("ou", 0.6),
    "pink 1.0": ("pink", 1.0),
    "held 8 steps, 1.0": ("held", 1.0),
    "gSDE, held 8 steps, 1.0": ("gsde", 1.0),
    "parameter 0.3": ("parameter", 0.3),
    "parameter 0.6": ("parameter", 0.6),
}
TASKS = {"sparse_cartpole_swingup": 4, "sparse_double_pendulum": 6, "sparse_mountain_car": 2}
HIDDEN = (64, 64)


def network(rng, size):
    """Weights and biases of an actor, small in the last layer as in DDPG."""
    layers, sizes = [], (size, *HIDDEN, 1)
    for number, (n, m) in enumerate(itertools.pairwise(sizes)):
        bound = 3e-3 if number == len(HIDDEN) else n**-0.5
        layers.append((rng.uniform(-bound, bound, (n, m)), rng.uniform(-bound, bound, m)))
    return layers


def perturbed(rng, layers, sigma):
    """Normal noise on every weight and bias; layer norm has none of its own."""
    return [(w + sigma * rng.normal(size=w.shape), b + sigma * rng.normal(size=b.shape)) for w, b in layers]


def act(layers, obs):
    """Actions [N] and last features [N, H] of one network each, for observations [N, O]."""
    h = obs
    for w, b in layers[:-1]:
        h = np.einsum("no,noh->nh", h, w) + b
        h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6)
        h = np.maximum(h, 0.0)
    w, b = layers[-1]
    return np.tanh(np.einsum("no,noh->nh", h, w) + b)[:, 0], h


def noise(rng, kind, scale):
    """[STEPS] additive noise of one episode."""
    white = rng.normal(size=STEPS)
    if kind == "gaussian":
        return scale * white
    if kind == "held":
        return scale * np.repeat(white[::8], 8)[:STEPS]
    if kind == "pink":
        frequency = np.maximum(np.fft.rfftfreq(STEPS), 1 / STEPS)
        coloured = np.fft.irfft((rng.normal(size=251) + 1j * rng.normal(size=251)) / np.sqrt(frequency), STEPS)
        return scale * coloured / coloured.std()
    state, path = 0.0, np.zeros(STEPS)
    if kind == "ou":  # theta 0.15, dt 0.01
        for step in range(STEPS):
            state += -0.15 * state * 0.01 + scale * 0.1 * white[step]
            path[step] = state
    return path


def draws(task, rule):
    """Starts, networks stacked over episodes, additive noise [N, STEPS] and gSDE's matrices [N, STEPS / 8, H]."""
    kind, scale = RULES[rule]
    starts, nets, additive, matrices = [], [], [], []
    for episode in range(EPISODES):
        rng = np.random.default_rng([zlib.crc32(f"{task}/{rule}".encode()), episode])
        starts.append(start(task, rng).astype(np.float32))
        net = network(rng, TASKS[task])
        nets.append(perturbed(rng, net, scale) if kind == "parameter" else net)
        additive.append(noise(rng, kind, scale))
        matrices.append(rng.normal(size=(STEPS // 8 + 1, HIDDEN[-1])) * scale * (kind == "gsde"))
    stacked = [tuple(np.stack(parts) for parts in zip(*layer, strict=True)) for layer in zip(*nets, strict=True)]
    return np.stack(starts), stacked, np.stack(additive), np.stack(matrices)


def start(task, rng):
    """The numbers that an episode begins with."""
    if task == "sparse_cartpole_swingup":
        return np.array([0, 0, np.pi, 0]) + np.array([1, 2, 1, 3]) * rng.uniform(-1, 1, 4)
    if task == "sparse_double_pendulum":
        return rng.normal(size=4) * [0.1, 0.1, 0.01, 0.01]
    return rng.uniform(-1, 1, 1)


def play(world, task, rule):
    """Episodes that see a reward, and the deviations of all observations, in Box2D."""
    starts, layers, additive, matrices = draws(task, rule)
    obs, running, seen = world.reset(starts), np.ones(EPISODES, bool), np.zeros(EPISODES, bool)
    visited = []
    for step in range(STEPS):
        action, features = act(layers, obs)
        # gSDE's features at unit length, so that its scale is that of the action noise.
        length = np.maximum(np.linalg.norm(features, axis=-1), 1e-9)
        action = action + additive[:, step] + np.sum(matrices[:, step // 8] * features, -1) / length
        obs, reward, done = world.step(np.clip(action, -1, 1).astype(np.float32))
        seen |= running & (reward > 0)
        visited.append(obs[running])
        running &= ~done
    return {"rewarded": int(seen.sum()), "std": np.concatenate(visited).std(0).round(3).tolist()}


class Original:
    """All episodes in Box2D, each in a world of its own."""

    def __init__(self, task):
        import rllab

        self.kind = rllab.TASKS[task]

    def reset(self, starts):
        self.tasks = [self.kind() for _ in starts]
        for task, numbers in zip(self.tasks, starts, strict=True):
            task.start(*numbers.tolist())
        return np.stack([task.observe() for task in self.tasks])

    def step(self, actions):
        obs, reward, done = zip(*(task.step(a) for task, a in zip(self.tasks, actions, strict=True)), strict=True)
        return np.stack(obs), np.array(reward), np.array(done)


class Ours:
    """All episodes of an environment of this package side by side, in one program for all rules."""

    def __init__(self, task, light):
        import jax
        import jax.numpy as jnp

        from jaxpsn import envs

        env, begin = envs.make(task + light), _begin(task, light)

        def policy(layers, obs):
            for w, b in layers[:-1]:
                h = jnp.einsum("no,noh->nh", obs, w) + b
                h = (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-6)
                obs = jnp.maximum(h, 0.0)
            w, b = layers[-1]
            return jnp.tanh(jnp.einsum("no,noh->nh", obs, w) + b)[:, 0], obs

        def run(starts, layers, additive, matrices):
            def step(state, given):
                noise, matrix = given
                action, features = policy(layers, state.obs)
                length = jnp.maximum(jnp.sqrt(jnp.sum(features**2, -1)), 1e-9)
                action = action + noise + jnp.sum(matrix * features, -1) / length
                state = jax.vmap(env.step)(state, jnp.clip(action, -1, 1)[:, None])
                return state, (state.obs, state.reward, state.done)

            state = jax.vmap(lambda numbers: env.begin(begin(numbers)))(starts)
            held = jnp.repeat(matrices, 8, axis=1)[:, :STEPS].swapaxes(0, 1)
            return jax.lax.scan(step, state, (additive.T, held))[1]

        self._run = jax.jit(run)

    def play(self, task, rule):
        """Episodes that see a reward, and the deviations of all observations."""
        single = tuple(np.float32(x) if not isinstance(x, list) else x for x in draws(task, rule))
        layers = [tuple(np.float32(x) for x in layer) for layer in single[1]]
        obs, reward, done = (np.asarray(x, np.float64) for x in self._run(single[0], layers, *single[2:]))
        running = np.cumsum(done > 0, 0) - (done > 0) == 0  # up to and with the step that ends an episode
        return {"rewarded": int((running & (reward > 0)).any(0).sum()), "std": obs[running].std(0).round(3).tolist()}


def _begin(task, light):
    from jaxpsn.envs import (
        cartpole,
        cartpole_light,
        double_pendulum,
        double_pendulum_light,
        mountain_car,
        mountain_car_light,
    )  # fmt: skip

    return {
        "sparse_cartpole_swingup": cartpole.start,
        "sparse_double_pendulum": double_pendulum.start,
        "sparse_mountain_car": lambda y: mountain_car.start(y[0]),
        "sparse_cartpole_swingup_light": cartpole_light.CartpoleState,
        "sparse_double_pendulum_light": double_pendulum_light.DoublePendulumState,
        "sparse_mountain_car_light": lambda y: mountain_car_light.MountainCarState(0.0 * y[0], y[0]),
    }[task + light]


def table(original, ours):
    """Markdown: episodes that see a reward in the original, here, and in the light relative."""
    lines = ["| task | " + " | ".join(RULES) + " |", "| --- |" + " --- |" * len(RULES)]
    for task in TASKS:
        cells = [
            " / ".join(str(each[rule]["rewarded"]) for each in (original[task], ours[task], ours[task + "_light"]))
            for rule in RULES
        ]
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(mode, *files):
    if mode == "table":
        print(table(*(json.load(open(file))["tasks"] for file in files)))
        return
    found = {}
    for task in TASKS:
        for light in ("",) if mode == "rllab" else ("", "_light"):
            if mode == "rllab":
                found[task + light] = {rule: play(Original(task), task, rule) for rule in RULES}
            else:
                world = Ours(task, light)
                found[task + light] = {rule: world.play(task, rule) for rule in RULES}
            print(task + light, {rule: each["rewarded"] for rule, each in found[task + light].items()}, file=sys.stderr)
    with open(files[0], "w") as file:
        json.dump({"episodes": EPISODES, "steps": STEPS, "versions": versions(mode), "tasks": found}, file, indent=1)
        file.write("\n")


def versions(mode):
    """Of what was run."""
    if mode == "rllab":
        import Box2D

        return f"Box2D {Box2D.__version__}, numpy {np.__version__}"
    import jax

    return f"jax {jax.__version__}, numpy {np.__version__}"


if __name__ == "__main__":
    main(*sys.argv[1:])
