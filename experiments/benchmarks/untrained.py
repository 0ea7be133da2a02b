"""Held weight noise on networks that have learnt nothing: whether it reaches far depends on the mapping of actions."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from benchmarks import tables, timing
from benchmarks.deep_options import MAPPINGS, Untrained
from benchmarks.tables import Table
from jaxpsn import noise
from jaxpsn.envs import Episodes, registry
from jaxpsn.networks import Values
from jaxpsn.run import startup
from jaxpsn.stats import statistics

TASKS = {"chain": ("chain(length={size}, mapping={mapping})", (16, 16)),
         "deep_sea": ("deep_sea(size={size}, mapping={mapping})", (50, 50))}  # fmt: skip
"""The tasks, and the hidden layers of the values that act in each, as the studies of learning have them."""


def run(options: Untrained) -> None:
    """Measure, print and write."""
    found = []
    for task, (name, hidden) in TASKS.items():
        for mapping in MAPPINGS:
            startup.speak(f"{task}, {mapping} mapping")
            env = registry.make(name.format(size=options.size, mapping=mapping))
            play = jax.jit(partial(reached, env, hidden, options.members))
            for sigma in (0.0, *options.sigmas):
                keys = jax.random.split(jax.random.key(0), options.nets)
                hits = np.concatenate([np.asarray(play(key, jnp.float32(sigma))) for key in keys])
                share, what = statistics.share(hits), f"sigma {sigma:g}" if sigma else "uniform"
                found.append({"name": f"{task}, {mapping}, {what}", "task": task, "mapping": mapping, "noise": what,
                              "episodes": len(hits), "reached": int(hits.sum()), "share": share.value,
                              "share_low": share.low, "share_high": share.high})  # fmt: skip
                print(f"{found[-1]['name']:36} {share.value:.5f}", flush=True)
    tables.write(options, Table(found, timing.machine()))


def reached(env: Any, hidden: tuple[int, ...], members: int, key: PRNGKeyArray, sigma: Float[Array, ""]) -> Array:
    """Whether each of ``members`` perturbations of one fresh network earns the far reward in its episode [members].

    Each is held for the whole episode. Where sigma is 0 actions are uniformly random instead.
    """
    net, length = Values(env.choices, hidden), env.episode_length
    example = jax.ShapeDtypeStruct((env.observation_size,), jnp.float32)
    params = net.init(jax.random.fold_in(key, 0), jnp.zeros(example.shape, jnp.float32))
    spec, form = noise.plan(net.apply, params, example), noise.Dense()
    act = noise.fused(net.apply, spec, form, exact_zero=False)
    episodes = Episodes(env, members, length)
    draw = form.init(jax.random.fold_in(key, 1), spec, members)

    def step(world: Any, t: Array) -> tuple[Any, Array]:
        chosen = jnp.argmax(act(params, draw, sigma, world.obs), axis=-1).astype(jnp.int32)
        coins = jax.random.randint(jax.random.fold_in(key, 3 + t), (members,), 0, env.choices, jnp.int32)
        world, outcome = episodes.step(world, jnp.where(sigma > 0, chosen, coins))
        return world, outcome.reward

    begin = episodes.reset(jax.random.fold_in(key, 2))
    rewards = jax.lax.scan(step, begin, jnp.arange(length, dtype=jnp.int32))[1]
    return jnp.max(rewards, axis=0) > 0.5
