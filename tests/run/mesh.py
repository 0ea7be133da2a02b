"""Control on eight devices beside one: ``mesh.py CASE FOLDER`` prints, as JSON, how far they are apart."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxpsn.control import placement
from jaxpsn.control import program as programs
from jaxpsn.control.presets import PRESETS
from jaxpsn.run import cadence, checkpoints, engine
from jaxpsn.run.config import RunConfig
from jaxpsn.run.progress import Progress

CASES = {  # exploration, agent, seeds, bonus
    "flipout": (
        "parameter(hold=steps(3), member_sigma=true)",
        "td3(network=hyperspherical(expansion=2), critic=hl_gauss, n_step=2, actor_hidden=16, critic_hidden=16, "
        "batch_size=32, updates=1, replay_capacity=4096, warmup=64)",
        1,
        "reward_noise",
    ),
    "sum": ("parameter(structure=lowrank, groups=8) + ou", None, 2, "none"),
    "ladder": ("parameter(member_sigma=true, ladder=4, select=novelty) + pink", None, 1, "none"),
    "sac": (
        "parameter(distance=kl)",
        "sac(scale_rewards=true, return_bound=5, actor_hidden=16, "
        "critic_hidden=16, batch_size=32, updates=1, replay_capacity=4096, warmup=64)",
        1,
        "drnd(hidden=8, features=4)",
    ),
    "xqc": (
        "parameter(distance=kl)",
        "sac(network=xqc, scale_rewards=true, return_bound=5, critic=c51(low=-5, high=5), actor_hidden=16, "
        "critic_hidden=16, batch_size=32, updates=1, replay_capacity=4096, warmup=64)",
        1,
        "none",
    ),
    "dqn": (
        "parameter(probes=4) + epsilon_greedy(0.1)",
        "dqn(hidden=16, batch_size=32, updates=1, replay_capacity=4096, warmup=64)",
        1,
        "rnd(hidden=8, features=4)",
    ),
    "pqn": (
        "parameter(probes=4) + epsilon_greedy(0.1)",
        "pqn(hidden=16, rollout=5, minibatches=2, epochs=2)",
        1,
        "counts",
    ),
    "ppo": (
        "followers(probes=2)",
        "ppo(actor_hidden=16, critic_hidden=16, rollout=5, minibatches=2, epochs=2)",
        2,
        "rnd(hidden=8, features=4, ladder=4)",
    ),
    "evolution": (
        "parameter(structure=lowrank(antithetic=true), scale=constant, sigma=0.1)",
        "es(actor_hidden=16, actor_lr=0.01)",
        1,
        "none",
    ),
}
RUN = RunConfig(steps=320, chunk=160, eval_every=160)


def apart(one, eight):
    """The greatest difference of inexact leaves, relative to their size; whether all others agree; by field."""
    found = {}
    for (path, a), b in zip(jax.tree_util.tree_flatten_with_path(one)[0], jax.tree.leaves(eight), strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        a, b = np.asarray(a), np.asarray(b)
        if np.issubdtype(a.dtype, np.inexact):
            gap = float(np.max(np.abs(a - b) / (1 + np.abs(a)), initial=0.0, where=~(np.isnan(a) & np.isnan(b))))
        else:
            gap = 0.0 if np.array_equal(a, b) else float("inf")
        found[path[0].name] = max(gap, found.get(path[0].name, 0.0))
    return found


def run(explore, agent, seeds, bonus, mesh):
    """Two chunks and an evaluation: the first state, the last one, all metrics, and the engine."""
    smoke = PRESETS["smoke"]
    config = replace(
        smoke,
        env=replace(
            smoke.env, num_envs=16, name="probe/observation_choice" if "qn(" in (agent or "") else smoke.env.name
        ),
        agent=agent or smoke.agent,
        explore=explore,
        bonus=bonus,
    )
    place = placement.Placement(mesh)
    made = engine.CompiledEngine(programs.make(config, 100, place=place), replace(RUN, seeds=seeds))
    template = made.template()
    made.prepare(cadence.plan(RUN, config.steps_per_call), template, Progress(), lambda *told: None)
    state = made.init()
    first = jax.device_get(state)
    told = []
    for _ in range(2):
        state, report, *_ = made.advance(state, 10, lambda calls: True, {})
        told.append(report.totals)
    for leaf, wanted in zip(jax.tree.leaves(state), jax.tree.leaves(template), strict=True):
        assert mesh is None or leaf.sharding.is_equivalent_to(wanted.sharding, leaf.ndim), (leaf.sharding, wanted)
    return first, state, told, made.judge(state), template


def draws(state):
    """Digest of the perturbations that are held."""
    held = state.explore.behaviour.draw
    held = {"noise": held.noise, "counter": held.counter, "base": held.base}
    if "pink" in state.explore.noises:
        held["series"] = state.explore.noises["pink"].series
    return checkpoints.digest(jax.tree.map(jnp.asarray, held))


def compare(name, folder):
    """One case on both layouts."""
    one, eight = (run(*CASES[name], mesh) for mesh in (None, "data=8"))
    told = {"first": apart(one[0], eight[0]), "last": apart(one[1], eight[1])}
    told["noise"] = [[draws(found[stage]) for found in (one, eight)] for stage in (0, 1)]
    told["returns"] = [[float(np.sum(part["return"][0])) for part in found[2]] for found in (one, eight)]
    told["evaluation"] = [np.atleast_1d(found[3]["eval_return"]).tolist() for found in (one, eight)]
    store = checkpoints.Store(Path(folder), 2)
    store.save(320, eight[1], {})
    store.wait()
    back = [store.restore(template).state for template in (one[4], eight[4])]
    told["restored"] = len({checkpoints.digest(state) for state in (eight[1], *back)}) == 1
    # Replay is cut along its second axis; an evolution strategy has none, but a generation. Seeds are an axis before.
    replay, seeds = eight[1].replay, CASES[name][2]
    kept, axis = (eight[1].generation.fitness, 0) if replay is None else (replay, 1)
    specs = [list(leaf.sharding.spec) for leaf in jax.tree.leaves(kept)]
    told["cut"] = specs, [None] * (axis + (seeds > 1)) + ["data"]
    return told


def main(name, folder):
    """One case."""
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    assert jax.device_count() == 8
    print(json.dumps(compare(name, folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
