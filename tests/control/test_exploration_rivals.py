"""Repeated noise, gSDE, Lattice and NoisyNet: their laws, and one state per environment."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control.exploration import EXPLORATION, Space
from jaxpsn.core import errors
from jaxpsn.networks import Actor, Policy, noisy
from tests.control import explorers

N, OBS, A, H = 8, 5, 3, 12
POLICY = Policy(Actor(A, hidden=(16, H), head_scale=0.7))
CLEAN = POLICY.actor.init(jax.random.key(7), jnp.zeros((OBS,)))
PARAMS = noisy.widen(CLEAN, 0.5)
HYPER = {}
STD = 0.2
SAME = jnp.broadcast_to(jnp.linspace(-1.0, 2.0, OBS), (N, OBS))
HELD = ["gsde", "lattice", "noisynet"]
RIVALS = ["zeta", *HELD]
NEVER = np.zeros((12, N), bool)


@functools.cache
def make(rule, num_envs=N, policy=POLICY, **fields):
    fields = {"hold": "episode"} | fields
    return explorers.explorer(explorers.component(rule, **fields), policy, PARAMS, Space(num_envs, OBS, A, 20))


def hyper(**values):
    return {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}


def play(explorer, dones, seed, hyper, obs, params):
    """Actions ``[steps, N, A]`` on the same observations while episodes end where ``dones`` says."""
    base = jax.random.key(seed)

    def step(state, xs):
        t, done = xs
        key = jax.random.fold_in(base, t)
        action, state = explorer.act(jax.random.fold_in(key, 0), params, state, obs)
        return explorer.begin(jax.random.fold_in(key, 1), state, done), action

    state = explorer.init(jax.random.fold_in(base, 1_000_000), params, hyper)
    return jax.lax.scan(step, state, (jnp.arange(dones.shape[0]), dones))[1]


compiled = jax.jit(play, static_argnums=0)


def run(explorer, dones, hyper=HYPER, obs=SAME, params=PARAMS):
    """:func:`play` of seed 0, compiled once for each explorer."""
    return compiled(explorer, jnp.asarray(dones), jnp.int32(0), hyper, obs, params)


def first(explorer, seed=0, hyper=HYPER, obs=SAME, params=PARAMS):
    """The first actions, and the state that they came from."""
    state = explorer.init(jax.random.key(seed), params, hyper)
    return np.asarray(explorer.act(jax.random.key(seed + 1), params, state, obs)[0], np.float64), state


def parts(obs=SAME):
    """The last features, the outputs before squashing and the last kernel, in float64."""
    z = POLICY.features(PARAMS, obs)
    kernel = PARAMS["params"]["head"]["kernel"]
    return tuple(np.asarray(x, np.float64) for x in (z, POLICY.outputs(PARAMS, z), kernel))


def test_new_rules_leave_the_keys_of_the_old_ones_alone():
    rules = ("none", "gaussian", "ou", "pink", "mixed", "parameter", "zeta", "gsde", "lattice", "noisynet")
    assert [EXPLORATION.stream(rule) for rule in rules] == list(range(10)), "published noise"


def test_repeats_have_zeta_lengths_and_gaussian_values():
    envs, steps, longest = 400, 120, 6
    explorer = make("zeta", envs, policy=lambda params, obs: jnp.zeros((*obs.shape[:-1], A)), repeat_max=longest)
    obs = jnp.zeros((envs, OBS))
    actions = np.asarray(run(explorer, np.zeros((steps, envs), bool), hyper=hyper(std=0.1), obs=obs))
    new = np.concatenate([np.ones((1, envs), bool), (np.diff(actions, axis=0) != 0.0).any(-1)])
    lengths = []
    for env in range(envs):
        starts = np.flatnonzero(new[:, env])
        lengths += [b - a for a, b in itertools.pairwise(starts) if a < steps - longest]
    mass = np.arange(1, longest + 1) ** -2.0
    share = np.bincount(lengths, minlength=longest + 1)[1:] / len(lengths)
    np.testing.assert_allclose(share, mass / mass.sum(), atol=0.01)
    assert max(lengths) == longest and (new[1:, 0] != new[1:, 1]).any()
    drawn = actions[new]
    assert drawn.std() == pytest.approx(0.1, rel=0.02) and abs(drawn.mean()) < 0.002
    assert np.abs(np.corrcoef(drawn.T) - np.eye(A)).max() < 0.03


def test_a_repeat_ends_with_its_episode_and_nobody_elses():
    dones = NEVER.copy()
    dones[1::3, 2] = True
    busy, quiet = (run(make("zeta", exponent=1.1), d) for d in (dones, NEVER))
    moved = (np.diff(busy, axis=0) != 0.0).any(-1)
    assert moved[1::3, 2].all() and not moved.all()
    np.testing.assert_array_equal(np.delete(busy, 2, 1), np.delete(quiet, 2, 1))


def test_gsde_is_a_held_linear_map_of_the_features():
    action, state = first(make("gsde"))
    (theta,) = (np.asarray(x["noise"], np.float64) for x in state.behaviour.draw.noise.values())
    z, outputs, _ = parts()
    assert theta.shape == (N, H, A)
    std = STD / np.sqrt(H)
    expected = np.tanh(outputs) + std * np.einsum("nh,nha->na", z, theta)
    np.testing.assert_allclose(action, np.clip(expected, -1, 1), atol=1e-5)


def test_the_variance_of_gsde_is_that_of_its_formula():
    many, std = 6000, 0.005
    obs = jnp.broadcast_to(SAME[0], (many, OBS))
    action, _ = first(make("gsde", many), hyper=hyper(std=std), obs=obs)
    z, outputs, _ = parts(SAME[0])
    covariance = np.cov((action - np.tanh(outputs)).T)
    variance = std**2 * (z**2).sum() / H
    np.testing.assert_allclose(covariance, variance * np.eye(A), atol=0.06 * variance)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0])
def test_the_covariance_of_lattice_is_that_of_its_formula(alpha):
    many, std = 6000, 0.02
    obs = jnp.broadcast_to(SAME[0], (many, OBS))
    action, _ = first(make("lattice", many, alpha=alpha), hyper=hyper(std=std), obs=obs)
    z, outputs, kernel = parts(SAME[0])
    covariance = np.cov((np.arctanh(action) - outputs).T)
    variance = std**2 * (z**2).sum() / H
    formula = variance * np.eye(A) + alpha**2 * kernel.T @ (variance * np.eye(H)) @ kernel
    np.testing.assert_allclose(covariance, formula, atol=0.06 * formula.max())
    if alpha:
        off = np.abs(formula[np.triu_indices(A, 1)]).max()
        assert off > 0.1 * formula.max(), "the last layer correlates the actions"


def test_lattice_perturbs_features_and_actions_before_squashing():
    action, state = first(make("lattice", alpha=1.5))
    (maps,) = (np.asarray(x["noise"], np.float64) for x in state.behaviour.draw.noise.values())
    z, outputs, kernel = parts()
    noise = STD / np.sqrt(H) * np.einsum("nh,nho->no", z, maps)
    expected = np.tanh(outputs + 1.5 * noise[:, :H] @ kernel + noise[:, H:])
    np.testing.assert_allclose(action, expected, atol=1e-5)


def test_noisynet_acts_with_one_draw_for_each_environment():
    action, state = first(make("noisynet"))
    for env in range(N):
        weights = noisy.materialise(PARAMS, state.behaviour.draw, env)
        np.testing.assert_allclose(action[env], POLICY(weights, SAME[env]), atol=1e-5)
    assert len({row.tobytes() for row in action}) == N


def test_noisynet_reports_its_scale_and_measures_its_distance():
    explorer = make("noisynet", probes=4)
    state = explorer.init(jax.random.key(0), PARAMS, HYPER)
    assert explorer.report(state)["sigma"] == pytest.approx(0.5) and jnp.isnan(explorer.report(state)["distance"])
    doubled = {**PARAMS, "sigma": jax.tree.map(lambda x: -2.0 * x, PARAMS["sigma"])}
    batch = jax.random.normal(jax.random.key(8), (256, OBS))
    small, large = (
        jax.jit(explorer.adapt)(jax.random.key(1), noisy.widen(CLEAN, s), state, batch) for s in (0.01, 0.02)
    )
    assert float(large.behaviour.distance) == pytest.approx(2 * float(small.behaviour.distance), rel=0.05)
    after = explorer.adapt(jax.random.key(1), doubled, state, batch)
    assert explorer.report(after)["sigma"] == pytest.approx(1.0)
    for a, b in zip(jax.tree.leaves(state.behaviour.draw), jax.tree.leaves(after.behaviour.draw), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("rule", HELD)
def test_held_until_the_environments_own_episode_ends(rule):
    dones = NEVER.copy()
    dones[3, 1] = dones[7, 1] = dones[7, 5] = True
    explorer = make(rule)
    actions, quiet = (np.asarray(run(explorer, d)) for d in (dones, NEVER))
    np.testing.assert_array_equal((np.diff(actions, axis=0) != 0.0).any(-1), dones[:-1])
    np.testing.assert_array_equal(np.delete(actions, [1, 5], 1), np.delete(quiet, [1, 5], 1))


@pytest.mark.parametrize("rule", HELD)
def test_held_for_a_number_of_steps(rule):
    dones = NEVER.copy()
    dones[3, 1] = True
    actions = np.asarray(run(make(rule, hold="steps(3)"), dones))
    moved = (np.diff(actions, axis=0) != 0.0).any(-1)
    for env in range(N):
        np.testing.assert_array_equal(np.flatnonzero(moved[:, env]), [2, 3, 6, 9] if env == 1 else [2, 5, 8])


@pytest.mark.parametrize("rule", RIVALS)
def test_scale_zero_is_the_clean_policy(rule):
    silent = noisy.widen(CLEAN, 0.0)
    action = run(make(rule), NEVER, hyper=hyper(std=0.0), params=silent)
    np.testing.assert_allclose(action, np.broadcast_to(POLICY(CLEAN, SAME), action.shape), atol=1e-6)


@pytest.mark.parametrize("rule", RIVALS)
def test_a_sum_is_clipped_and_its_parts_are_what_they_are_alone(rule):
    dones, quiet = np.random.default_rng(0).random((12, N)) < 0.1, hyper(std=0.01)
    both, alone, white = (np.asarray(run(make(r), dones, hyper=quiet)) for r in (f"{rule}+gaussian", rule, "gaussian"))
    expected = np.clip(alone + white - np.asarray(POLICY(CLEAN, SAME)), -1.0, 1.0)
    np.testing.assert_allclose(both, expected, atol=1e-5)
    assert np.abs(run(make(f"{rule}+gaussian"), dones, hyper=hyper(std=50.0))).max() == 1.0


@pytest.mark.parametrize("rule", ["zeta+gaussian", "lattice", "noisynet"])
def test_seeds_and_scales_vmap_to_what_they_are_alone(rule):
    dones = jnp.asarray(np.random.default_rng(0).random(NEVER.shape) < 0.1)
    stds, sigmas = jnp.array([0.05, 0.1, 0.2]), jnp.array([0.1, 0.5, 1.0])

    def one(play, seed, std, sigma):
        return play(make(rule), dones, seed, {"std": std}, SAME, noisy.widen(CLEAN, sigma))

    together = jax.jit(jax.vmap(functools.partial(one, play)))(jnp.arange(3, dtype=jnp.int32), stds, sigmas)
    for i in range(3):
        np.testing.assert_allclose(together[i], one(compiled, jnp.int32(i), stds[i], sigmas[i]), atol=1e-5)


@pytest.mark.parametrize("rule", ["zeta", "gsde", "lattice", "noisynet+zeta"])
@pytest.mark.parametrize("hold", ["episode", "zeta"])
def test_states_keep_their_types(rule, hold):
    explorer = make(rule, hold=hold)
    init = jax.eval_shape(lambda: explorer.init(jax.random.key(0), PARAMS, HYPER))

    def step(state):
        _, state = explorer.act(jax.random.key(1), PARAMS, state, SAME)
        state = explorer.begin(jax.random.key(2), state, jnp.arange(N) == 0)
        return explorer.adapt(jax.random.key(3), PARAMS, state, SAME)

    after = jax.eval_shape(step, init)
    assert jax.tree.structure(init) == jax.tree.structure(after)
    for a, b in zip(jax.tree.leaves(init), jax.tree.leaves(after), strict=True):
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: EXPLORATION.make("parameter+noisynet"), "at most one of .*parameter.*"),
        (lambda: EXPLORATION.make("gsde+lattice"), "at most one of"),
        (lambda: EXPLORATION.make("none + gaussian"), "none only by itself"),
        (lambda: EXPLORATION.make("gaussian+gaussian"), "gaussian once only"),
        (lambda: EXPLORATION.make("latice"), "nearest: lattice"),
        (lambda: EXPLORATION.make("zeta(repeat_max=0)"), "zeta.repeat_max"),
        (lambda: EXPLORATION.make("lattice(alpha=-1)"), "lattice.alpha"),
        (lambda: EXPLORATION.make("gaussian(lattice_alpha=1)"), "gaussian.lattice_alpha = '1': unknown"),
        (lambda: make("gsde", policy=POLICY.actor.apply), "gsde needs its features"),
        (lambda: EXPLORATION.make("noisynet").build(POLICY, CLEAN, Space(N, OBS, A, 20)), "sigma"),
    ],
)
def test_refuses_what_cannot_be(call, said):
    with pytest.raises(errors.UserError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
