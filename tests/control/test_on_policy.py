"""Rollouts and their followers: who acted, what is learnt from it, and that without noise it is plain PPO."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control import exploration, on_policy, program
from jaxpsn.control.agents import AGENTS, surrogate
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.core import errors, replaced
from jaxpsn.networks import Actor, Diagonal
from tests.control.test_probes import OBSERVATIONS, Endless

KEY = jax.random.key(7)
ENVS, STEPS = 8, 6
SMALL = f"ppo(actor_hidden=8, critic_hidden=8, rollout={STEPS}, minibatches=3, epochs=2, actor_lr=1e-2, critic_lr=1e-2)"
CONFIG = ControlConfig(
    EnvConfig(name="probe/held_exploration", num_envs=ENVS, episode_length=4), SMALL, "none", eval_envs=2
)
SILENT = "parameter(sigma=0, scale=constant, distance=kl, probes=2)"
LOUD = "parameter(sigma=0.3, scale=constant, distance=kl, probes=2)"


@functools.cache
def _made(explore="none", **fields):
    made = program.make(replace(CONFIG, explore=explore, agent=replaced(AGENTS.make(SMALL), fields)))
    return made, jax.jit(made.init), jax.jit(made.step)


def _run(shared, steps, seed=0):
    made, init, step = shared
    state, history = init(jax.random.key(seed), made.hyper), []
    for _ in range(steps):
        state, metrics = step(state)
        history.append(metrics)
    return state, history


def _policy():
    policy = Diagonal(Actor(2, hidden=(12, 12)))
    return policy, policy.widen(policy.actor.init(KEY, jnp.zeros((3,))), 2)


@pytest.mark.parametrize(
    ("structure", "tagged"), [("flipout", False), ("flipout", True), ("lowrank", True), ("dense", False)]
)
def test_what_followers_would_do_is_that_of_their_formed_weights(structure, tagged):
    """Values and gradients, of perturbations that are held and of those that have been redrawn since."""
    policy, params = _policy()
    rule = exploration.EXPLORATION.make(
        f"parameter(structure={structure}, sigma=0.4, member_sigma=true, ladder=4, groups=3, hold=steps(2))"
    )
    made = rule.build(policy, params, exploration.Space(6, 3, 2, 9))
    obs, before = jax.random.normal(KEY, (3, 8, 3)), jax.random.normal(jax.random.key(1), (3, 8, 2))
    others, groups = jax.tree.map(lambda leaf: leaf + 0.05, params), jnp.array([2, 0, 1])

    def noises(state):
        """E of every member, apart from the weights that it is added to."""
        whole = jax.vmap(lambda i: state.draw.kind.materialise(params, state.draw, 1.0, i))(jnp.arange(3))
        return jax.tree.map(lambda noisy, clean: noisy - clean[None], whole, params)

    def loss(act, params):
        log_ratio = 0.3 * surrogate.log_prob(before[groups], act(params))
        return surrogate.clipped_loss(log_ratio, jnp.ones((3, 8)), jnp.ones((3, 8)), 5.0)

    @jax.jit
    def both(params):
        state, tags, formed = made.init(KEY, params, exploration.hyper_of(rule)), [], []
        for index in range(4):  # two draws each, and two samples of both environments of each of them
            tags.append(made.followers.tags(state))
            formed.append(noises(state))
            if tagged:
                state = made.begin(jax.random.fold_in(KEY, index), state, jnp.zeros((6,), bool))
        told = jnp.stack(tags).reshape(4, 3, 2).transpose(1, 0, 2).reshape(3, 8)
        every = jax.tree.map(lambda *parts: jnp.repeat(jnp.stack(parts, 1), 2, 1), *formed)

        def by_hand(params):
            scale = state.sigma.reshape(3, 1)
            own = jax.tree.map(lambda w, e: w[None, None] + scale.reshape(3, 1, *(1,) * w.ndim) * e, params, every)
            return jax.vmap(jax.vmap(policy.raw))(own, obs)[groups]

        def recalled(params):
            return made.followers.recall(params, state, obs[groups], groups, told[groups] if tagged else None)

        found = [(act(params), jax.grad(functools.partial(loss, act))(params)) for act in (recalled, by_hand)]
        return found, told, every["free"]["std"]

    (ours, theirs), told, still = both(others)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), ours, theirs)
    assert len(np.unique(told)) == (2 if tagged else 1)
    assert (np.asarray(still) == 0).all(), "the standard deviation is the leader's"


@pytest.mark.usefixtures("optimised")
def test_followers_without_noise_are_plain_ppo_bit_for_bit():
    """By the other estimator up to rounding: a weight of one is multiplied in."""

    def parts(state):
        return state.learner.actor, state.learner.critic, state.statistics, state.replay, state.tally

    plain, silent, mirrored = (
        _run(_made(explore, estimator=estimator), STEPS)
        for explore, estimator in (("none", "reparameterised"), (SILENT, "clean"), (SILENT, "reparameterised"))
    )
    assert float(silent[1][-1]["divergence"][0]) == 0 and float(silent[1][-1]["ess"][0]) == pytest.approx(1)
    jax.tree.map(np.testing.assert_array_equal, parts(mirrored[0]), parts(plain[0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), parts(silent[0]), parts(plain[0]))


STILL = {"normalize_observations": False}


def _gathered(explore, **fields):
    """A rollout that nothing was learnt from, the state that it was made in, and its samples."""
    made, init, step = _made(explore, **STILL, **fields)
    rates = {name: jnp.float32(0) for name in ("agent.actor_lr", "agent.critic_lr")}
    before = init(KEY, made.hyper | rates)
    for _ in range(STEPS - 1):
        before = step(before)[0]
    after = step(before)[0]
    # The last step has redrawn the followers, if they are redrawn by rollouts.
    explore = after.explore if fields.get("redraw") == "episode" else before.explore
    state = after.replace(explore=explore)
    return made, state, jax.jit(made._samples, static_argnums=1)(state, made.explorer.behaviour.followers.recall)


def test_samples_carry_who_acted_and_the_truncated_weight_of_the_leader():
    made, state, (samples, told) = _gathered(LOUD, estimator="clean", truncation=1.1, advantages="raw")
    rows, own, logs = state.replay.data, state.explore.behaviour, []
    for i in range(ENVS):
        weights = own.draw.kind.materialise(state.learner.actor, own.draw, own.sigma, i)
        acted, clean = (surrogate.log_prob(rows.before[:, i], made.agent.policy.raw(w, rows.obs[:, i]))
                        for w in (weights, state.learner.actor))  # fmt: skip
        np.testing.assert_allclose(samples.weight[i], np.minimum(np.exp(clean - acted), 1.1), atol=1e-4)
        np.testing.assert_allclose(samples.reference[i], clean, atol=1e-4)
        logs.append(clean - acted)
    assert samples.weight.max() == np.float32(1.1) and samples.weight.min() < 0.95
    weights = np.exp(np.stack(logs))
    assert float(told["ess"][0]) == pytest.approx(weights.mean() ** 2 / (weights**2).mean(), rel=1e-3)
    _, _, (mirrored, _) = _gathered(LOUD, advantages="raw")
    np.testing.assert_allclose(mirrored.reference, clean_of(samples, logs), atol=1e-4)
    assert (np.asarray(mirrored.weight) == 1).all()


def clean_of(samples, logs):
    """Log densities of those who acted, from those of the leader."""
    return np.asarray(samples.reference) - np.stack(logs)


@pytest.mark.parametrize("redraw", ["rollout", "episode"])
def test_advantages_are_never_chained_over_a_redraw(redraw):
    hold = ", groups=4, hold=steps(3))" if redraw == "episode" else ", groups=4)"
    made, state, (samples, _) = _gathered(LOUD[:-1] + hold, redraw=redraw, advantages="raw", gae_lambda=0.9)
    rows, config = state.replay.data, made.config.agent
    values, after = (
        np.asarray(made.agent.value(state.learner.critic, x), np.float64) for x in (rows.obs, rows.next_obs)
    )
    cut = np.array(rows.terminated | rows.truncated)
    assert cut[3].all() and not cut[[0, 1, 2, 4]].any(), "episodes of 4 steps"
    if redraw == "episode":
        cut[2] = True  # after 3 steps of the first episode; the next hold begins with the second one
        assert (np.asarray(rows.tags[3] != rows.tags[2])).all()
    gain, later = np.zeros_like(values), 0.0
    for t in reversed(range(STEPS)):
        delta = np.asarray(rows.reward[t]) + config.gamma * after[t] * ~np.asarray(rows.terminated[t]) - values[t]
        later = gain[t] = delta + config.gamma * 0.9 * ~cut[t] * later
    grouped = gain.T.reshape(4, 2 * STEPS)
    np.testing.assert_allclose(samples.advantage, grouped, atol=1e-5)
    np.testing.assert_allclose(samples.target, grouped + values.T.reshape(4, 2 * STEPS), atol=1e-5)


@pytest.mark.parametrize("count", [4, 24])
def test_every_sample_is_dealt_once_and_groups_evenly(count):
    numbers = jnp.arange(4 * 12).reshape(4, 12)
    names = ("obs", "before", "reference", "weight", "advantage", "value", "target", "groups", "tags")
    samples = on_policy.ppo.Samples(**dict.fromkeys(names, numbers)).replace(groups=jnp.arange(4), tags=None)
    found = on_policy.dealt(KEY, samples, count)
    assert sorted(np.asarray(found.weight).reshape(-1)) == list(range(48))
    np.testing.assert_array_equal(found.weight // 12, jnp.broadcast_to(found.groups[..., None], found.weight.shape))
    assert found.weight.shape == ((4, 4, 3) if count == 4 else (24, 2, 1))
    assert not np.array_equal(found.weight, on_policy.dealt(jax.random.key(1), samples, count).weight)


def test_weights_sigma_and_followers_stand_still_within_a_rollout():
    state, history = _run(_made("followers(probes=2)"), 2 * STEPS)
    learnt = [bool(metrics["critic_loss"][1] > 0) for metrics in history]
    assert [i + 1 for i, yes in enumerate(learnt) if yes] == [STEPS, 2 * STEPS]
    assert int(state.updates) == 12 and float(history[-1]["kl"][1]) == 6
    sigma = [float(metrics["sigma"]) for metrics in history]
    assert len(set(sigma[: STEPS - 1])) == 1 and sigma[STEPS - 1] != sigma[STEPS - 2]
    np.testing.assert_array_equal(state.explore.behaviour.draw.counter, 2)
    assert float(state.statistics.count) == 2 * STEPS * ENVS
    assert set(history[0]) >= {"divergence", "ess", "entropy", "clipped", "return", "reward", "distance", "target"}


def test_seeds_side_by_side_are_single_runs_and_a_run_goes_on_from_its_middle():
    made, _, step = shared = _made("followers(probes=2)")
    alone, _ = _run(shared, 2 * STEPS + 2, 1)
    again, _ = _run(shared, STEPS + 3, 1)
    again = jax.device_put(jax.device_get(again))
    for _ in range(STEPS - 1):
        again, _ = step(again)
    for part in ("learner", "statistics", "replay", "tally"):
        jax.tree.map(np.testing.assert_array_equal, getattr(again, part), getattr(alone, part))
    axes = made.axes(jax.eval_shape(made.init, KEY, made.hyper))
    keys = jax.vmap(jax.random.key)(jnp.arange(2, dtype=jnp.uint32))
    many = jax.jit(jax.vmap(made.init, (0, None), axes))(keys, made.hyper)
    together = jax.jit(jax.vmap(made.step, (axes,), (axes, 0)))
    for _ in range(2 * STEPS + 2):
        many, _ = together(many)
    ours = jax.tree.map(lambda leaf: leaf[1], many.learner)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), ours, alone.learner)


PROBING = dict(
    actor_hidden=(16,), critic_hidden=(16,), actor_lr=3e-3, critic_lr=1e-2, gamma=0.9, rollout=16, minibatches=4
)


@pytest.mark.parametrize(
    ("name", "explore", "fields"),
    [
        ("constant_reward", "none", {}),
        ("observation_reward", "followers", {}),
        ("discounting", "followers", {"redraw": "episode"}),
        ("action", "followers(groups=4, structure=dense)", {"estimator": "clean", "std_of": "state", "std": 0.7}),
        ("observation_action", "followers(structure=lowrank)", {"advantages": "group", "entropy": 1e-3}),
        ("action", "natural(groups=4, states=32)", {}),
    ],
)
def test_probes_are_solved(name, explore, fields):
    agent = replaced(AGENTS.make("ppo"), PROBING | fields)
    made = program.make(ControlConfig(EnvConfig(name=f"probe/{name}", num_envs=8), agent, explore, eval_envs=4))
    run = jax.jit(lambda key: jax.lax.scan(lambda s, _: made.step(s), made.init(key, made.hyper), None, length=960)[0])
    state = run(jax.random.key(0))
    seen = made.normalise(state.statistics, jnp.asarray(OBSERVATIONS[name], jnp.float32)[:, None])
    value, action = made.agent.value(state.learner.critic, seen), made.agent.policy(state.learner.actor, seen)[:, 0]
    for i, obs in enumerate(OBSERVATIONS[name]):
        best = made.env.optimal_action(obs)
        # Values are those of the sampled actions, which lose their variance.
        assert value[i] == pytest.approx(made.env.optimal_value(obs, 0.9), abs=0.05 if best is None else 0.15)
        assert best is None or action[i] == pytest.approx(best, abs=0.15)


def test_a_time_limit_is_bootstrapped():
    agent = replaced(AGENTS.make("ppo"), PROBING | {"gamma": 0.5})
    config = ControlConfig(EnvConfig(name="endless", num_envs=8, episode_length=4), agent, "none", eval_envs=2)
    made = program.make(config, env=Endless())
    run = jax.jit(lambda key: jax.lax.scan(lambda s, _: made.step(s), made.init(key, made.hyper), None, length=640)[0])
    state = run(jax.random.key(0))
    seen = made.normalise(state.statistics, jnp.zeros((1, 1)))
    assert float(made.agent.value(state.learner.critic, seen)[0]) == pytest.approx(1 / (1 - 0.5), abs=0.15)


@pytest.mark.parametrize(
    ("explore", "fields", "said"),
    [
        ("ou", {}, "explore = 'ou': one of none, parameter"),
        ("gsde", {}, "as ppo samples actions from its own policy"),
        ("parameter + gaussian", {}, "explore = 'parameter + gaussian': one of none"),
        ("parameter(hold=steps)", {}, "parameter.hold = 'steps': episode, the default, as agent.redraw is rollout"),
        ("parameter(hold=pink)", {"redraw": "episode"}, "parameter.hold = 'pink': one draw, as episode"),
        ("parameter(member_sigma=true, ladder=4, select=return)", {}, "parameter.select = 'return': none, the default"),
        ("none", {"truncation": 3.0}, "agent.truncation = 3.0: 2, the default, as the estimator is not clean"),
        ("none", {"minibatches": 5}, "agent.minibatches = 5: a divisor of the 6 steps"),
        ("parameter(leaders=8)", {}, "parameter.leaders = 8: fewer than the 8 groups"),
        ("none", {"std": 0.001}, "agent.std = 0.001: between exp(log_std_low)"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(explore, fields, said):
    with pytest.raises(errors.UserError) as caught:
        replace(CONFIG, explore=explore, agent=replaced(AGENTS.make(SMALL), fields))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_leaders_act_with_clean_weights():
    made, init, _ = _made(LOUD[:-1] + ", leaders=3)")
    state = init(KEY, made.hyper)
    obs = jax.random.normal(KEY, state.envs.obs.shape)
    told = made.explorer.behaviour.act(state.learner.actor, state.explore.behaviour, obs)
    apart = np.abs(np.asarray(told - made.agent.policy.raw(state.learner.actor, obs))).max(axis=1)
    np.testing.assert_array_equal(apart > 1e-6, np.arange(ENVS) >= 3)


def test_a_run_without_a_whole_rollout_is_refused():
    with pytest.raises(errors.UserError, match=r"agent\.rollout = 6: at most the 5 vector steps of 40 steps"):
        CONFIG.refuse_idle(40)
    CONFIG.refuse_idle(48)
