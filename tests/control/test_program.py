"""The loop: what is stored, what is learnt from, what branches, and what seeds share."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control import agents, off_policy, program, replay
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.control.state import Tally
from jaxpsn.control.types import of_agent
from jaxpsn.core import replaced
from jaxpsn.run import sweep
from tests.control.explorers import component

ENVS, WARMUP = 4, 3
CONFIG = ControlConfig(
    env=EnvConfig(name="probe/action", num_envs=ENVS),
    agent=(
        "td3(actor_hidden=8, critic_hidden=8, batch_size=16, update_every=3, updates=2, actor_lr=1e-2, critic_lr=1e-2, "
        f"replay_capacity={ENVS * 50}, warmup={ENVS * WARMUP})"
    ),
    eval_envs=3,
)


@functools.cache
def _made(rule="parameter", controller="multiplicative"):
    """Programs and their compiled steps are shared by the tests below."""
    fields = {"scale": controller, "sigma": 0.5, "target": 0.3, "probes": 4, "std": 0.3, "adapt_every": 4}
    made = program.make(replace(CONFIG, explore=component(rule, **fields)))
    return made, jax.jit(made.init), jax.jit(made.step)


def _run(shared, steps, seed=0, **hyper):
    """The state after ``steps`` and the metrics of each."""
    made, init, step = shared
    hyper = made.hyper | {sweep.named(made.hyper, name, "hyper"): jnp.float32(value) for name, value in hyper.items()}
    state, history = init(jax.random.key(seed), hyper), []
    for _ in range(steps):
        state, metrics = step(state)
        history.append(metrics)
    return state, history


def test_a_state_fed_back_to_its_own_step_is_traced_once():
    shared = _made()
    _run(shared, 5)
    assert shared[2]._cache_size() == 1


@pytest.mark.parametrize("rule", ["gaussian", "parameter", "ou", "parameter+gaussian"])
def test_the_stored_action_is_the_executed_one(rule):
    state, _ = _run(_made(rule), 20)
    data = jax.tree.map(lambda x: np.asarray(x[:20]), state.replay.data)
    # The probe's reward is a function of the action it was given (RLlib once stored clean actions with noisy rewards).
    np.testing.assert_allclose(data.reward, 1 - (data.action[..., 0] - 0.5) ** 2, atol=1e-6)
    assert np.std(data.action[WARMUP:], axis=1).min() > 1e-3, "environments explore apart from each other"
    assert np.abs(data.action).max() <= 1


def test_warm_up_actions_are_uniform_and_then_the_policys():
    state, _ = _run(_made("none"), 50 - WARMUP)
    action = np.asarray(state.replay.data.action)[..., 0]
    assert action[:WARMUP].std() > 0.3
    assert np.all(action[WARMUP] == action[WARMUP, 0]), "the clean policy at one observation"


def test_gradients_are_of_clean_weights_only():
    made, _, step = shared = _made()
    before, _ = _run(shared, 11, sigma=5.0)
    after, metrics = step(before)
    key = jax.random.fold_in(before.key, before.clock)
    batches = replay.sample(jax.random.fold_in(key, off_policy._BATCHES), after.replay, after.clock, (2, 16))
    batches = batches.replace(
        obs=made.normalise(after.statistics, batches.obs), next_obs=made.normalise(after.statistics, batches.next_obs)
    )
    learnt, expected = agents.learn(
        made.agent,
        jax.random.fold_in(key, off_policy._LEARN),
        before.learner,
        batches,
        of_agent(before.hyper),
        before.updates,
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), after.learner, learnt)
    assert metrics["critic_loss"][0] == pytest.approx(float(expected["critic_loss"][0]), rel=1e-4)


@pytest.mark.usefixtures("optimised")
def test_noise_of_scale_zero_is_no_noise():
    none, _ = _run(_made("none"), 120)
    zero, history = _run(_made(controller="constant"), 120, sigma=0.0)
    assert float(history[-1]["sigma"]) == 0
    for part in ("learner", "statistics", "replay", "tally"):
        jax.tree.map(np.testing.assert_array_equal, getattr(zero, part), getattr(none, part))


def test_sigma_moves_at_its_own_cadence():
    _, history = _run(_made(), 20)
    sigma = [float(m["sigma"]) for m in history]
    moved = [clock for clock in range(2, 21) if sigma[clock - 1] != sigma[clock - 2]]
    # Not with the updates, and not with the episodes (baselines gated it on the wrong counter).
    assert moved == [4, 8, 12, 16, 20]
    assert float(history[-1]["target"]) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("explore", "rows"),
    [
        ("parameter(probes=4, probe_states=5)", 20),
        ("noisynet(probes=4, probe_states=5)", 20),
        ("parameter(member_sigma=true, probe_states=5)", ENVS * 5),
        ("parameter(member_sigma=true, probe_states=5, structure=dense(antithetic=true))", ENVS // 2 * 5),
    ],
)
def test_the_distance_is_measured_on_some_states_of_every_perturbation(explore, rows):
    made = program.make(replace(CONFIG, explore=explore))
    seen = []

    def adapt(key, params, state, obs):
        seen.append(obs.shape)
        return made.explorer.adapt(key, params, state, obs)

    looked = replace(made, explorer=made.explorer._replace(adapt=adapt))
    jax.eval_shape(looked.step, jax.eval_shape(made.init, jax.random.key(0), made.hyper))
    assert seen == [(rows, made.episodes.observation_size)], "whatever the batch that is learnt from"


def test_updates_are_counted_and_absent_losses_are_zero_of_zero():
    state, history = _run(_made(), 12)
    learnt = [bool(m["critic_loss"][1] > 0) for m in history]
    assert [i + 1 for i, yes in enumerate(learnt) if yes] == [6, 9, 12]
    assert int(state.updates) == 6 and sum(float(m["critic_loss"][1]) for m in history) == 6
    assert sum(float(m["actor_loss"][1]) for m in history) == 3
    assert all(m["critic_loss"] == (0, 0) for m, yes in zip(history, learnt, strict=True) if not yes)


def test_metrics_and_watched_trees():
    made, _, step = shared = _made()
    state, history = _run(shared, 8)
    metrics = history[-1]
    pairs = {"return", "length", "critic_loss", "actor_loss", "q"}
    assert set(metrics) == pairs | {"reward", "saturation", "sigma", "distance", "target"}
    assert {name for name, value in metrics.items() if isinstance(value, tuple)} == pairs
    assert all(jnp.shape(x) == () for x in jax.tree.leaves(metrics))
    watched = made.watch(state, metrics)
    for leaf in jax.tree.leaves(watched):
        assert not jnp.issubdtype(leaf.dtype, jnp.inexact) or bool(jnp.all(jnp.isfinite(leaf)))
    names = {"actor", "critic", "targets", "optimiser", "critic_loss", "actor_loss", "observation statistics", "sigma"}
    assert set(watched) == names
    poisoned = state.replace(replay=jax.tree.map(lambda x: x * jnp.nan if x.dtype == jnp.float32 else x, state.replay))
    after, metrics = step(poisoned)
    bad = {
        k for k, v in made.watch(after, metrics).items() if not all(np.isfinite(x).all() for x in jax.tree.leaves(v))
    }
    assert {"actor", "critic", "critic_loss", "actor_loss"} <= bad


def test_returns_and_lengths_are_of_finished_episodes():
    rng = np.random.default_rng(0)
    tally, running = Tally(jnp.zeros(ENVS), jnp.zeros(ENVS)), [[] for _ in range(ENVS)]
    for _ in range(30):
        reward, done = rng.normal(size=ENVS).astype(np.float32), rng.random(ENVS) < 0.2
        tally, metrics = off_policy.count_episodes(tally, jnp.asarray(reward), jnp.asarray(done), action_repeat=3)
        finished = []
        for i in range(ENVS):
            running[i].append(float(reward[i]))
            if done[i]:
                finished.append(running[i])
                running[i] = []
        assert metrics["return"] == (pytest.approx(sum(map(sum, finished)), abs=1e-5), len(finished))
        assert metrics["length"] == (3 * sum(map(len, finished)), len(finished))


def test_seeds_and_hyper_parameters_side_by_side_are_single_runs():
    made, _, _ = shared = _made()
    axes = made.axes(jax.eval_shape(made.init, jax.random.key(0), made.hyper))
    keys = jax.vmap(jax.random.key)(jnp.arange(3, dtype=jnp.uint32))
    sigma, rate = [0.1, 0.5, 2.0], [1e-2, 1e-2, 0.0]
    hyper = jax.tree.map(lambda x: jnp.stack([x] * 3), made.hyper)
    hyper |= {"explore.sigma": jnp.array(sigma, jnp.float32), "agent.actor_lr": jnp.array(rate, jnp.float32)}
    first = state = jax.jit(jax.vmap(made.init, out_axes=axes))(keys, hyper)
    step = jax.jit(jax.vmap(made.step, in_axes=(axes,), out_axes=(axes, 0)))
    for _ in range(15):
        state, metrics = step(state)
    assert state.clock.shape == () and int(state.clock) == 15 and metrics["q"][0].shape == (3,)
    for i in range(3):
        alone, history = _run(shared, 15, i, sigma=sigma[i], actor_lr=rate[i])
        assert float(history[-1]["return"][0]) == pytest.approx(float(metrics["return"][0][i]), rel=1e-3)
        for part in ("learner", "replay"):
            ours = jax.tree.map(lambda x, i=i: x[i], getattr(state, part))
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), ours, getattr(alone, part))
    same = jax.tree.map(lambda a, b: np.array_equal(a[2], b[2]), first.learner.actor, state.learner.actor)
    assert all(jax.tree.leaves(same)), "a rate of zero leaves the actor alone"


def _primitives(jaxpr, found):
    for equation in jaxpr.eqns:
        found.append((equation.primitive.name, [v.aval.shape for v in equation.outvars if hasattr(v.aval, "shape")]))
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    _primitives(inner, found)
    return found


def test_under_vmap_branches_stay_branches_and_the_ring_is_written_in_place():
    made, _, _ = _made()
    abstract = jax.eval_shape(made.init, jax.random.key(0), made.hyper)
    axes = made.axes(abstract)
    many = jax.tree.map(lambda x: jax.ShapeDtypeStruct((3, *x.shape), x.dtype), abstract).replace(clock=abstract.clock)
    alone = _primitives(jax.make_jaxpr(made.step)(abstract).jaxpr, [])
    vmapped = jax.vmap(made.step, in_axes=(axes,), out_axes=(axes, 0))
    together = _primitives(jax.make_jaxpr(vmapped)(many).jaxpr, [])

    def count(name, found):
        return sum(name in primitive for primitive, _ in found)

    # Warm-up, learning, delayed policy, adaptation, resets and redraws.
    assert count("cond", together) == count("cond", alone) >= 6
    rings = [name for name, shapes in together if any(s[:3] == (3, 50, ENVS) for s in shapes)]
    assert "dynamic_update_slice" in rings and not any("scatter" in name or "select" in name for name in rings)


def test_a_chunk_copies_no_ring():
    rows = 50_000
    made = program.make(replace(CONFIG, agent=replaced(CONFIG.agent, {"replay_capacity": rows * ENVS})))
    state = jax.eval_shape(made.init, jax.random.key(0), made.hyper)

    def chunk(state):
        return jax.lax.scan(lambda s, _: made.step(s), state, None, length=5)

    memory = jax.jit(chunk, donate_argnums=0).lower(state).compile().memory_analysis()
    assert memory.temp_size_in_bytes < rows * ENVS < 12 * rows * ENVS < memory.alias_size_in_bytes


def test_no_key_is_used_twice():
    made, init, _ = _made("parameter+gaussian")
    with jax.debug_key_reuse(True):
        state = init(jax.random.key(0), made.hyper)
        step = jax.jit(made.step)
        for _ in range(6):
            state, _ = step(state)


def test_evaluation_is_of_the_clean_policy():
    made, _, _ = shared = _made()
    state, _ = _run(shared, 12, sigma=50.0)
    result = jax.jit(made.evaluate)(jax.random.key(1), state)
    action = float(made.agent.policy(state.learner.actor, made.normalise(state.statistics, jnp.zeros((1, 1))))[0, 0])
    assert float(result["eval_return"]) == pytest.approx(1 - (action - 0.5) ** 2, abs=1e-5)
    assert float(result["eval_return_std"]) == pytest.approx(0, abs=1e-6) and float(result["eval_length"]) == 1
