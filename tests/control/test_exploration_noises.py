"""Action noise: spectra, standard deviations, and one state per environment."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control.config import ControlConfig
from jaxpsn.control.exploration import Space, pink
from jaxpsn.control.types import hyper as hyper_of
from jaxpsn.core import errors
from tests.control import explorers

N, OBS, A, T = 6, 5, 3, 40
STD = 0.2
HYPER = {}
RULES = ["gaussian", "ou", "pink", "mixed"]


def still(params, obs):
    """A policy that does nothing."""
    return jnp.zeros((*obs.shape[:-1], A))


def make(rule, num_envs=N, length=T, **fields):
    return explorers.explorer(explorers.component(rule, **fields), still, {}, Space(num_envs, OBS, A, length))


def play(explorer, dones, seed=0, num_envs=N, hyper=HYPER):
    """Actions ``[steps, N, A]`` while episodes end where ``dones`` says."""
    base = jax.random.key(seed)

    def step(state, xs):
        t, done = xs
        key = jax.random.fold_in(base, t)
        action, state = explorer.act(jax.random.fold_in(key, 0), {}, state, jnp.zeros((num_envs, OBS)))
        return explorer.begin(jax.random.fold_in(key, 1), state, done), action

    state = explorer.init(jax.random.fold_in(base, 1_000_000), {}, hyper)
    return jax.lax.scan(step, state, (jnp.arange(dones.shape[0]), jnp.asarray(dones)))[1]


run = jax.jit(play, static_argnums=(0, 3))


def test_hyper_holds_the_values_of_the_config():
    hyper = hyper_of(ControlConfig(agent="td3(actor_lr=1e-4)", explore="parameter(sigma=0.3, target=0.1) + pink"))
    for leaf in jax.tree.leaves(hyper):
        assert leaf.dtype == jnp.float32 and leaf.shape == () and not leaf.weak_type
    told = {"agent.actor_lr": 1e-4, "agent.critic_lr": 3e-4, "explore.parameter.sigma": 0.3}
    told |= {"explore.parameter.scale.target": 0.1, "explore.pink.std": 0.2}
    assert hyper == {path: np.float32(value) for path, value in told.items()}


def test_none_is_the_clean_policy():
    actions = run(make("none"), np.zeros((5, N), bool))
    assert (actions == 0.0).all()


@pytest.mark.parametrize("rule", RULES)
def test_noise_differs_between_environments_dimensions_steps_and_seeds(rule):
    explorer = make(rule, high=0.2)  # small enough that nothing is clipped
    actions = np.asarray(run(explorer, np.zeros((T + 10, N), bool)))
    flat = actions.reshape(T + 10, -1).T
    assert np.abs(np.corrcoef(flat) - np.eye(N * A)).max() < 0.9
    assert (np.diff(actions, axis=0) != 0.0).all()
    assert (actions != np.asarray(run(explorer, np.zeros((T + 10, N), bool), seed=1))).all()


@pytest.mark.parametrize("rule", [*RULES, "ou+pink"])
def test_an_environment_is_untouched_when_another_resets(rule):
    quiet = np.zeros((2 * T, N), bool)
    busy = quiet.copy()
    busy[::7, 2], busy[5, 4] = True, True
    a, b = (np.asarray(run(make(rule), dones)) for dones in (quiet, busy))
    np.testing.assert_array_equal(a[:, [0, 1, 3, 5]], b[:, [0, 1, 3, 5]])
    if rule != "gaussian":
        assert (a[8:, 2] != b[8:, 2]).any() and (a[6:, 4] != b[6:, 4]).any()
    np.testing.assert_array_equal(a[:6, 4], b[:6, 4])


def test_a_summand_is_the_same_alone_and_in_a_sum():
    dones = np.random.default_rng(0).random((T, N)) < 0.1
    parts = [np.asarray(run(make(rule, std=0.05), dones)) for rule in ("ou", "gaussian")]
    both = np.asarray(run(make("ou+gaussian", std=0.05), dones))
    inside = np.abs(both) < 1.0
    np.testing.assert_allclose(both[inside], sum(parts)[inside], atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_actions_are_clipped(rule):
    loud = {"std": 50.0}
    explorer = make(rule, low=40.0, high=50.0, dt=1.0)
    actions = np.asarray(run(explorer, np.zeros((30, N), bool), hyper=loud))
    assert np.abs(actions).max() == 1.0 and (np.abs(actions) == 1.0).mean() > 0.8


def test_gaussian_standard_deviation():
    actions = np.asarray(run(make("gaussian"), np.zeros((2000, N), bool)))
    assert actions.std() == pytest.approx(STD, rel=0.02)
    assert abs(np.corrcoef(actions[1:].ravel(), actions[:-1].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("dt, std, early", [(0.01, 0.365, 0.19), (1.0, 0.380, 0.380)])
def test_ornstein_uhlenbeck_is_stationary_where_theory_says(dt, std, early):
    theta, envs = 0.15, 1024
    steps = round(4 / (theta * dt)) + 100
    quiet = {"std": STD / 10}  # small, so that nothing is clipped
    actions = np.asarray(run(make("ou", envs, dt=dt), np.zeros((steps, envs), bool), 0, envs, quiet)) * 10
    tail = actions[-40:]
    assert tail.std() == pytest.approx(std, rel=0.04)
    assert actions[99].std() == pytest.approx(early, rel=0.05)
    lag = 20 if dt < 0.1 else 4
    correlation = (tail[lag:] * tail[:-lag]).mean() / (tail**2).mean()
    assert correlation == pytest.approx((1 - theta * dt) ** lag, abs=0.02)


def test_ornstein_uhlenbeck_steps_are_exact_and_start_from_zero():
    dones = np.zeros((9, N), bool)
    dones[4, 1] = True
    actions = np.asarray(run(make("ou", dt=0.5), dones), np.float64)
    free = np.asarray(run(make("ou", dt=0.5), np.zeros((9, N), bool)), np.float64)
    shocks = np.diff(free, axis=0, prepend=0.0) + 0.15 * 0.5 * np.concatenate([np.zeros((1, N, A)), free[:-1]])
    np.testing.assert_allclose(actions[5, 1], shocks[5, 1], atol=1e-6)
    np.testing.assert_allclose(actions[6, 1], (1 - 0.075) * shocks[5, 1] + shocks[6, 1], atol=1e-6)
    assert shocks.std() == pytest.approx(STD * np.sqrt(0.5), rel=0.2)


def test_an_unstable_ornstein_uhlenbeck_step_is_refused():
    with pytest.raises(errors.UserError, match=r"ou\.dt"):
        explorers.component("ou(theta=1, dt=2)")


def many_series(length, beta, count=4000):
    draw = pink.series(length, A, beta)
    return np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), count)), np.float64)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("length", [256, 255])
def test_spectrum_falls_as_a_power_of_the_frequency(beta, length):
    power = (np.abs(np.fft.rfft(many_series(length, beta), axis=1)) ** 2).mean((0, 2))[1:]
    slope = np.polyfit(np.log(np.arange(1, power.size + 1)), np.log(power), 1)[0]
    assert slope == pytest.approx(-beta, abs=0.03)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("length", [1, 2, 3, 256, 255])
def test_coloured_noise_has_unit_variance_at_every_step(beta, length):
    x = many_series(length, beta)
    assert x.shape == (4000, length, A)
    np.testing.assert_allclose((x**2).mean((0, 2)), 1.0, atol=0.08)
    assert (x**2).mean() == pytest.approx(1.0, abs=0.05)
    if beta == 0.0 and length > 2:
        assert abs((x[:, 1:] * x[:, :-1]).mean()) < 0.02


def test_a_pink_series_is_redrawn_at_reset_and_when_used_up():
    dones = np.zeros((2 * T + 5, N), bool)
    dones[9, 3] = True
    explorer = make("pink")
    states = [explorer.init(jax.random.key(0), {}, HYPER)]
    begin, act = jax.jit(explorer.begin), jax.jit(explorer.act)
    for t, done in enumerate(dones):
        _, state = act(jax.random.key(2 * t + 1), {}, states[-1], jnp.zeros((N, OBS)))
        states.append(begin(jax.random.key(2 * t + 2), state, jnp.asarray(done)))
    pinks = [state.noises["pink"] for state in states]
    pairs = itertools.pairwise(np.asarray(one.series) for one in pinks)
    changed = np.array([(after != before).any((1, 2)) for before, after in pairs])
    for env in range(N):
        redrawn = [9, 9 + T] if env == 3 else [T - 1, 2 * T - 1]
        np.testing.assert_array_equal(np.flatnonzero(changed[:, env]), redrawn)
        assert int(pinks[-1].cursor[env]) == len(dones) - 1 - redrawn[-1]


def test_mixed_scales_are_uniform_and_redrawn_at_reset():
    explorer = make("mixed", 2000, low=0.1, high=0.5)
    state = explorer.init(jax.random.key(0), {}, HYPER)
    before = np.asarray(state.noises["mixed"].std)[:, 0]
    assert 0.1 <= before.min() < 0.102 and 0.498 < before.max() <= 0.5
    assert before.mean() == pytest.approx(0.3, abs=0.01)
    done = np.arange(2000) % 3 == 0
    after = np.asarray(explorer.begin(jax.random.key(1), state, jnp.asarray(done)).noises["mixed"].std)[:, 0]
    np.testing.assert_array_equal(after != before, done)
    actions = np.asarray(explorer.act(jax.random.key(2), {}, state, jnp.zeros((2000, OBS)))[0])
    assert np.corrcoef(np.abs(actions).mean(1), before)[0, 1] > 0.5


@pytest.mark.parametrize("rule", [*RULES, "ou+mixed+pink"])
def test_seeds_vmap_to_what_they_are_alone(rule):
    explorer = make(rule)
    dones = np.random.default_rng(0).random((3, 60, N)) < 0.05
    stds = {"std": jnp.array([0.1, 0.2, 0.3])}
    together = jax.jit(jax.vmap(lambda d, s, h: play(explorer, d, s, N, h), (0, 0, 0)))(dones, jnp.arange(3), stds)
    for i in range(3):
        alone = run(explorer, dones[i], i, N, {"std": stds["std"][i]})
        np.testing.assert_allclose(together[i], alone, atol=1e-6)


def test_a_long_run_compiles_one_step():
    explorer, traces = make("ou+mixed+pink"), []

    @jax.jit
    def step(key, state, done):
        traces.append(None)
        _, state = explorer.act(jax.random.fold_in(key, 0), {}, state, jnp.zeros((N, OBS)))
        return explorer.begin(jax.random.fold_in(key, 1), state, done)

    state = explorer.init(jax.random.key(0), {}, HYPER)
    for t in range(4):
        state = step(jax.random.key(t), state, jnp.arange(N) == t)
    assert len(traces) == 1
