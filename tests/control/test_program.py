"""The loop: what is stored, what is learnt from, what branches, and what seeds share."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control import agents, program, replay
from jaxpsn.control.config import AgentConfig, ControlConfig, EnvConfig, ExplorationConfig

ENVS, WARMUP = 4, 3
CONFIG = ControlConfig(
    env=EnvConfig(name="probe/action", num_envs=ENVS),
    agent=AgentConfig(actor_hidden=(8,), critic_hidden=(8,), batch_size=16, updates=2, actor_lr=1e-2, critic_lr=1e-2),
    exploration=ExplorationConfig(rule="parameter", sigma=0.5, target=0.3, probes=4, action_std=0.3),
    replay_capacity=ENVS * 50,
    warmup=ENVS * WARMUP,
    eval_envs=3,
)


def _config(rule="parameter", name="probe/action", **noise):
    exploration = replace(CONFIG.exploration, rule=rule, **noise)
    return replace(CONFIG, exploration=exploration, env=replace(CONFIG.env, name=name))


def _run(made, steps, seed=0, state=None):
    if state is None:
        state = jax.jit(made.init)(jax.random.key(seed), made.hyper)
    step, history = jax.jit(made.step), []
    for _ in range(steps):
        state, metrics = step(state)
        history.append(metrics)
    assert step._cache_size() == 1, "a state fed back to its own step is traced once"
    return state, history


@pytest.mark.parametrize("rule", ["gaussian", "parameter", "ou", "parameter+gaussian"])
def test_the_stored_action_is_the_executed_one(rule):
    made = program.make(_config(rule))
    state, _ = _run(made, 20)
    data = jax.tree.map(lambda x: np.asarray(x[:20]), state.replay.data)
    # The probe's reward is a function of the action it was given (RLlib once stored clean actions with noisy rewards).
    np.testing.assert_allclose(data.reward, 1 - (data.action[..., 0] - 0.5) ** 2, atol=1e-6)
    assert np.std(data.action[WARMUP:], axis=1).min() > 1e-3, "environments explore apart from each other"
    assert np.abs(data.action).max() <= 1


def test_warm_up_actions_are_uniform_and_then_the_policys():
    made = program.make(_config("none"))
    state, _ = _run(made, 50 - WARMUP)
    action = np.asarray(state.replay.data.action)[..., 0]
    assert action[:WARMUP].std() > 0.3
    assert np.all(action[WARMUP] == action[WARMUP, 0]), "the clean policy at one observation"


def test_gradients_are_of_clean_weights_only():
    made = program.make(_config(sigma=5.0, controller="constant"))
    before, _ = _run(made, 10)
    after, metrics = jax.jit(made.step)(before)
    key = jax.random.fold_in(before.key, before.clock)
    batches = replay.sample(jax.random.fold_in(key, program._BATCHES), after.replay, after.clock, (2, 16))
    batches = batches.replace(
        obs=made.normalise(after.statistics, batches.obs), next_obs=made.normalise(after.statistics, batches.next_obs)
    )
    learnt, expected = agents.learn(
        made.agent, jax.random.fold_in(key, program._LEARN), before.learner, batches, before.hyper, before.updates
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), after.learner, learnt)
    assert metrics["critic_loss"][0] == pytest.approx(float(expected["critic_loss"][0]), rel=1e-4)


def test_noise_of_scale_zero_is_no_noise():
    none, _ = _run(program.make(_config("none", "probe/held_exploration")), 120)
    zero = program.make(_config("parameter", "probe/held_exploration", sigma=0.0, controller="constant"))
    zero, history = _run(zero, 120)
    assert float(history[-1]["sigma"]) == 0
    for part in ("learner", "statistics", "replay", "tally"):
        jax.tree.map(np.testing.assert_array_equal, getattr(zero, part), getattr(none, part))


def test_sigma_moves_at_its_own_cadence():
    config = _config(adapt_every=4)
    _, history = _run(program.make(config), 20)
    sigma = [float(m["sigma"]) for m in history]
    moved = [clock for clock in range(2, 21) if sigma[clock - 1] != sigma[clock - 2]]
    # Not with the updates, and not with the episodes (baselines gated it on the wrong counter).
    assert moved == [4, 8, 12, 16, 20]
    assert float(history[-1]["target"]) == pytest.approx(0.3)


def test_updates_are_counted_and_absent_losses_are_zero_of_zero():
    config = replace(CONFIG, agent=replace(CONFIG.agent, update_every=3, updates=2))
    state, history = _run(program.make(config), 12)
    learnt = [m["critic_loss"][1] > 0 for m in history]
    assert [i + 1 for i, yes in enumerate(learnt) if yes] == [6, 9, 12]
    assert int(state.updates) == 6 and sum(float(m["critic_loss"][1]) for m in history) == 6
    assert sum(float(m["actor_loss"][1]) for m in history) == 3
    assert all(m["critic_loss"] == (0, 0) for m, yes in zip(history, learnt, strict=True) if not yes)


def test_metrics_and_watched_trees():
    made = program.make(CONFIG)
    state, history = _run(made, 8)
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
    after, metrics = jax.jit(made.step)(poisoned)
    bad = {
        k for k, v in made.watch(after, metrics).items() if not all(np.isfinite(x).all() for x in jax.tree.leaves(v))
    }
    assert {"actor", "critic", "critic_loss", "actor_loss"} <= bad


def test_episode_returns_and_lengths_are_of_finished_episodes():
    config = replace(_config("none", "probe/discounting"), env=EnvConfig("probe/discounting", num_envs=ENVS))
    _, history = _run(program.make(config), 10)
    for i, metrics in enumerate(history):
        finished = ENVS * (i % 2)
        assert metrics["return"] == (finished, finished) and metrics["length"] == (2 * finished, finished)
        assert metrics["reward"] == i % 2


def test_seeds_side_by_side_are_single_runs():
    made = program.make(CONFIG)
    keys = jax.vmap(jax.random.key)(jnp.arange(3, dtype=jnp.uint32))
    axes = made.axes(jax.eval_shape(made.init, keys[0], made.hyper))
    state = jax.jit(jax.vmap(lambda key: made.init(key, made.hyper), out_axes=axes))(keys)
    step = jax.jit(jax.vmap(made.step, in_axes=(axes,), out_axes=(axes, 0)))
    for _ in range(15):
        state, metrics = step(state)
    assert state.clock.shape == () and int(state.clock) == 15 and metrics["q"][0].shape == (3,)
    for seed in range(3):
        alone, history = _run(made, 15, seed)
        assert float(history[-1]["return"][0]) == pytest.approx(float(metrics["return"][0][seed]), rel=1e-3)
        ours = jax.tree.map(lambda x, i=seed: x[i], state.learner)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4), ours, alone.learner)
        jax.tree.map(
            lambda a, b, i=seed: np.testing.assert_allclose(a[i], b, atol=1e-3), state.replay.data, alone.replay.data
        )


def test_hyper_parameters_are_data():
    made = program.make(CONFIG)
    axes = made.axes(jax.eval_shape(made.init, jax.random.key(0), made.hyper))
    hyper = jax.tree.map(lambda x: jnp.stack([x, 0 * x]), made.hyper)
    state = jax.jit(jax.vmap(lambda h: made.init(jax.random.key(0), h), out_axes=axes))(hyper)
    first = state.learner.actor
    step = jax.jit(jax.vmap(made.step, in_axes=(axes,), out_axes=(axes, 0)))
    for _ in range(10):
        state, _ = step(state)
    moved = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b), axis=tuple(range(1, a.ndim))), first, state.learner.actor)
    moved = np.max(np.stack(jax.tree.leaves(moved)), axis=0)
    assert moved[0] > 0.01 and moved[1] == 0


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
    made = program.make(CONFIG)
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
    assert count("scatter", together) == 0
    rings = [shapes for name, shapes in together if "select" in name and any(s[:3] == (3, 50, ENVS) for s in shapes)]
    assert not rings


def test_a_chunk_copies_no_ring():
    def memory(rows):
        made = program.make(replace(CONFIG, replay_capacity=rows * ENVS))
        state = jax.eval_shape(made.init, jax.random.key(0), made.hyper)

        def chunk(state):
            return jax.lax.scan(lambda s, _: made.step(s), state, None, length=5)

        analysis = jax.jit(chunk, donate_argnums=0).lower(state).compile().memory_analysis()
        return analysis.temp_size_in_bytes, analysis.alias_size_in_bytes

    (small, _), (large, alias) = memory(50), memory(50_000)
    assert large < small + 20_000 and alias > 50_000 * ENVS * 4 * 3


def test_no_key_is_used_twice():
    made = program.make(_config("parameter+gaussian"))
    with jax.debug_key_reuse(True):
        state = jax.jit(made.init)(jax.random.key(0), made.hyper)
        step = jax.jit(made.step)
        for _ in range(6):
            state, _ = step(state)
        jax.jit(made.evaluate)(jax.random.key(1), state)


def test_evaluation_is_of_the_clean_policy_and_of_first_episodes_only():
    made = program.make(_config("parameter", sigma=50.0, controller="constant"))
    state, _ = _run(made, 12)
    result = jax.jit(made.evaluate)(jax.random.key(1), state)
    action = float(made.agent.policy(state.learner.actor, made.normalise(state.statistics, jnp.zeros((1, 1))))[0, 0])
    assert float(result["eval_return"]) == pytest.approx(1 - (action - 0.5) ** 2, abs=1e-5)
    assert float(result["eval_return_std"]) == pytest.approx(0, abs=1e-6) and float(result["eval_length"]) == 1
