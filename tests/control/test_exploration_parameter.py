"""Acting with perturbed weights: who holds what for how long, and how the scale follows the distance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import noise
from jaxpsn.control.exploration import Space
from jaxpsn.core import errors
from jaxpsn.networks.actor import Actor
from tests.control import explorers
from tests.control.explorers import STRUCTURES

N, OBS, A = 8, 5, 3
ACTOR = Actor(A, hidden=(16, 16))
PARAMS = ACTOR.init(jax.random.key(7), jnp.zeros((OBS,)))
HYPER = {}
SAME = jnp.ones((N, OBS)) * 0.3
BATCH = jax.random.normal(jax.random.key(8), (256, OBS))


def make(num_envs=N, total_adaptations=None, params=PARAMS, **fields):
    space = Space(num_envs, OBS, A, 20, total_adaptations)
    return explorers.explorer(explorers.component(**fields), ACTOR.apply, params, space)


def hyper(**values):
    return {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}


def play(explorer, dones, obs=SAME, seed=0, hyper=HYPER):
    """Actions ``[steps, N, A]`` while episodes end where ``dones`` says."""
    base = jax.random.key(seed)

    def step(state, xs):
        t, done = xs
        key = jax.random.fold_in(base, t)
        action, state = explorer.act(jax.random.fold_in(key, 0), PARAMS, state, obs)
        return explorer.begin(jax.random.fold_in(key, 1), state, done), action

    state = explorer.init(jax.random.fold_in(base, 1_000_000), PARAMS, hyper)
    return jax.lax.scan(step, state, (jnp.arange(dones.shape[0]), jnp.asarray(dones)))[1]


run = jax.jit(play, static_argnums=0)


def changes(explorer, dones, **kwargs):
    """Where the action on the same observation is another one than a step before: ``[steps - 1, N]``."""
    actions = np.asarray(run(explorer, dones, **kwargs))
    return (np.diff(actions, axis=0) != 0.0).any(-1)


def scale_updates(explorer, steps, hyper, batch=BATCH, seed=0):
    """The state after ``steps`` scale updates, and the reports on the way."""

    def step(state, t):
        state = explorer.adapt(jax.random.fold_in(jax.random.key(seed), t), PARAMS, state, batch)
        return state, explorer.report(state)

    return jax.lax.scan(step, explorer.init(jax.random.key(seed + 1), PARAMS, hyper), jnp.arange(steps))


adapt_many = jax.jit(scale_updates, static_argnums=(0, 1))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_held_until_the_environments_own_episode_ends(structure):
    dones = np.zeros((12, N), bool)
    dones[3, 1] = dones[7, 1] = dones[7, 5] = True
    explorer = make(structure=structure)
    actions = np.asarray(run(explorer, dones))
    # Bit for bit the same action on the same observation until the episode ends, another one in the next episode.
    np.testing.assert_array_equal((np.diff(actions, axis=0) != 0.0).any(-1), dones[:-1])
    assert len({row.tobytes() for row in actions[0]}) == N, "every environment has its own perturbation"
    quiet = np.asarray(run(explorer, np.zeros((12, N), bool)))
    others = [i for i in range(N) if i not in (1, 5)]
    np.testing.assert_array_equal(actions[:, others], quiet[:, others])


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("groups", [0, 2])
def test_sigma_zero_is_the_clean_policy_bit_for_bit(structure, groups):
    obs = jax.random.normal(jax.random.key(1), (N, OBS))

    # Weights and observations are arguments: XLA folds a network of constants with other roundings.
    def first(explorer, params, obs):
        state = explorer.init(jax.random.key(0), params, hyper(sigma=0.0))
        return explorer.act(jax.random.key(1), params, state, obs)[0]

    once = jax.jit(first, static_argnums=0)
    noisy = once(make(structure=structure, groups=groups), PARAMS, obs)
    np.testing.assert_array_equal(noisy, once(make(rule="none"), PARAMS, obs))


def test_sigma_zero_stays_clean_through_redraws():
    dones = np.random.default_rng(0).random((6, N)) < 0.3
    noisy, clean = (run(make(rule=rule), dones, obs=SAME, hyper=hyper(sigma=0.0)) for rule in ("parameter", "none"))
    np.testing.assert_array_equal(noisy, clean)


def test_a_perturbation_is_the_same_function_of_the_observation_within_an_episode():
    explorer = make()
    state = explorer.init(jax.random.key(0), PARAMS, HYPER)
    theta = noise.Flipout().materialise(PARAMS, state.behaviour.draw, state.behaviour.scale.sigma, 3)
    for seed in range(3):
        obs = jax.random.normal(jax.random.key(seed), (N, OBS))
        action, state = explorer.act(jax.random.key(100 + seed), PARAMS, state, obs)
        state = explorer.begin(jax.random.key(200 + seed), state, jnp.zeros((N,), bool))
        np.testing.assert_allclose(action[3], ACTOR.apply(theta, obs[3]), atol=2e-6)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_layer_norm_is_left_alone_and_every_other_leaf_is_perturbed(structure):
    explorer = make(structure=structure)
    form = noise.named(structure).materialise
    init = explorer.init
    theta = jax.jit(lambda key: form(PARAMS, init(key, PARAMS, HYPER).behaviour.draw, 0.1, 2))(jax.random.key(0))
    flat, noisy = (dict(jax.tree_util.tree_leaves_with_path(tree)) for tree in (PARAMS, theta))
    for path, clean in flat.items():
        changed = np.asarray(clean != noisy[path])
        if "norm" in str(path):
            assert not changed.any(), path
        elif "kernel" in str(path):
            assert changed.any(), path


def test_leaves_of_equal_shape_and_members_get_unequal_noise():
    explorer = make(structure="dense")
    draw = explorer.init(jax.random.key(0), PARAMS, HYPER).behaviour.draw
    square = Actor(A, hidden=(OBS, OBS))
    params = square.init(jax.random.key(0), jnp.zeros((OBS,)))
    spec = noise.plan(square.apply, params, jnp.zeros((OBS,)))
    held = noise.Dense()
    draw = held.init(jax.random.key(0), spec, 2)
    deltas = [
        jax.tree.map(lambda a, b: a - b, held.materialise(params, draw, 1.0, member=i), params)["params"]
        for i in (0, 1)
    ]
    first, second = (deltas[0][f"hidden_{i}"]["dense"]["kernel"].ravel() for i in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.7
    assert (deltas[0]["head"]["kernel"] != deltas[1]["head"]["kernel"]).all()


def test_groups_share_a_perturbation_and_follow_their_first_environment():
    dones = np.zeros((10, N), bool)
    dones[2, 0] = dones[4, 1] = dones[6, 4] = dones[8, 7] = True
    explorer = make(groups=2)
    actions = np.asarray(run(explorer, dones))
    for group in (actions[:, :4], actions[:, 4:]):
        np.testing.assert_allclose(group, np.broadcast_to(group[:, :1], group.shape), atol=1e-6)
    assert (np.abs(actions[:, 0] - actions[:, 4]) > 1e-3).any()
    moved = (np.abs(np.diff(actions, axis=0)) > 1e-6).any(-1)
    np.testing.assert_array_equal(np.flatnonzero(moved[:, 0]), [2])
    np.testing.assert_array_equal(np.flatnonzero(moved[:, 4]), [6])


def test_groups_of_one_are_environments():
    dones = np.random.default_rng(0).random((6, N)) < 0.3
    np.testing.assert_array_equal(run(make(groups=N), dones), run(make(), dones))


def test_antithetic_pairs_move_the_action_to_opposite_sides():
    explorer = make(structure="flipout(antithetic=true)")
    actions = np.asarray(run(explorer, np.zeros((1, N), bool), hyper=hyper(sigma=1e-3)))[0]
    delta = actions - np.asarray(ACTOR.apply(PARAMS, SAME))
    np.testing.assert_allclose(delta[::2], -delta[1::2], atol=0.05 * np.abs(delta).max())
    assert np.abs(delta).min() > 0.0


@pytest.mark.parametrize("fields, where", [({"hold": "steps(3)"}, [2, 5, 8]), ({"hold": "episode"}, [])])
def test_hold_rules_redraw_within_the_episode(fields, where):
    moved = changes(make(**fields), np.zeros((11, N), bool))
    for env in range(N):
        np.testing.assert_array_equal(np.flatnonzero(moved[:, env]), where)


def test_zeta_holds_are_each_environments_own():
    dones = np.zeros((60, N), bool)
    dones[20, 3] = True
    explorer = make(hold="zeta(exponent=1.5, most=16)")
    moved, quiet = changes(explorer, dones), changes(explorer, np.zeros((60, N), bool))
    assert moved[20, 3] and (moved[:, 0] != moved[:, 1]).any()
    assert 0.05 < moved.mean() < 0.9
    np.testing.assert_array_equal(np.delete(moved, 3, 1), np.delete(quiet, 3, 1))


def test_the_action_returned_is_the_one_clipped_with_its_noise():
    dones = np.zeros((4, N), bool)
    both = make(rule="parameter+gaussian")
    actions = np.asarray(run(both, dones, hyper=hyper(std=5.0)))
    assert np.abs(actions).max() == 1.0
    quiet = hyper(std=0.01, sigma=0.01)
    weights, white = (np.asarray(run(make(rule=rule), dones, hyper=quiet)) for rule in ("parameter", "gaussian"))
    clean = np.asarray(ACTOR.apply(PARAMS, SAME))
    np.testing.assert_allclose(run(both, dones, hyper=quiet), weights + white - clean, atol=1e-6)


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_distance_is_that_of_fresh_perturbations(structure):
    explorer = make(structure=structure)
    state, reports = adapt_many(explorer, 5, HYPER)
    seen = np.asarray(reports["distance"])
    assert (seen > 0.0).all() and len(set(seen.tolist())) == 5, "the measuring copy is perturbed, anew each time"
    start = explorer.init(jax.random.key(1), PARAMS, HYPER)
    for held, after in zip(jax.tree.leaves(start.behaviour.draw), jax.tree.leaves(state.behaviour.draw), strict=True):
        np.testing.assert_array_equal(held, after)
    off = adapt_many(explorer, 5, hyper(sigma=0.0))[1]
    assert float(off["distance"][0]) < 1e-7 and float(off["distance"][1]) > float(off["distance"][0])


def test_the_distance_is_the_rms_over_probes_and_their_slices():
    explorer = make(structure="dense", probes=4, scale="constant")
    state = explorer.init(jax.random.key(0), PARAMS, hyper(sigma=0.05))
    key = jax.random.key(3)
    batch = BATCH[:23]  # 4 slices of 5 rows, 3 rows left over
    measured = explorer.report(explorer.adapt(key, PARAMS, state, batch))["distance"]
    held = noise.Dense()
    fresh = held.init(key, noise.plan(ACTOR.apply, PARAMS, jnp.zeros((5, OBS))), 4)
    squares = []
    for i in range(4):
        rows = batch[5 * i : 5 * i + 5]
        noisy = ACTOR.apply(held.materialise(PARAMS, fresh, 0.05, member=i), rows)
        squares.append((np.asarray(noisy, np.float64) - np.asarray(ACTOR.apply(PARAMS, rows), np.float64)) ** 2)
    assert float(measured) == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-4)


@pytest.mark.parametrize("controller", ["multiplicative", "first-order", "bisection"])
@pytest.mark.parametrize("sigma0", [1e-3, 1.0])
def test_the_controller_brings_a_random_actor_to_its_target(controller, sigma0):
    steps = 900 if controller == "multiplicative" else 150
    target = 0.2
    _, reports = adapt_many(make(scale=controller), steps, hyper(sigma=sigma0, target=target))
    assert float(reports["distance"][-60:].mean()) == pytest.approx(target, rel=0.05)
    assert float(reports["target"][-1]) == pytest.approx(target)


def test_each_perturbation_adapts_a_sigma_of_its_own():
    explorer = make(groups=4, member_sigma=True, scale="multiplicative(rate=1.05)")
    # Slices at different distances from the origin, so that the members need different scales.
    batch = BATCH * jnp.repeat(jnp.array([0.0, 0.5, 1.0, 3.0]), 64)[:, None]
    state, reports = adapt_many(explorer, 300, hyper(sigma=0.05), batch)
    sigma = np.asarray(state.behaviour.scale.sigma)
    assert sigma.shape == (4,) and len(set(sigma.tolist())) == 4
    assert state.behaviour.distance.shape == (4,)
    assert float(reports["sigma_min"][-1]) == sigma.min() < float(reports["sigma"][-1]) < sigma.max()
    assert float(reports["sigma_max"][-1]) == sigma.max()
    assert float(reports["distance"][-60:].mean()) == pytest.approx(0.2, rel=0.1)
    action, _ = explorer.act(jax.random.key(0), PARAMS, state, SAME)
    assert action.shape == (N, A)


def test_linear_controller_anneals_over_the_run():
    explorer = make(scale="linear(final=0.1)", total_adaptations=10)
    _, reports = adapt_many(explorer, 12, hyper(sigma=0.6))
    np.testing.assert_allclose(reports["sigma"], np.maximum(0.6 - 0.05 * np.arange(1, 13), 0.1), rtol=1e-5)
    assert "target" not in reports


def test_relative_sigma_counts_in_units_of_each_leaf():
    small = jax.tree.map(lambda x: 0.01 * x, PARAMS)
    state = make(relative=True, structure="dense").init(jax.random.key(0), PARAMS, HYPER)
    held = noise.Dense()
    for params in (PARAMS, small):
        theta = held.materialise(params, state.behaviour.draw, 0.1, member=0)
        kernel, noisy = (tree["params"]["hidden_1"]["dense"]["kernel"] for tree in (params, theta))
        share = float(jnp.sqrt(jnp.mean(jnp.square(noisy - kernel)) / jnp.mean(jnp.square(kernel))))
        assert share == pytest.approx(0.1, rel=0.2)


@pytest.mark.parametrize("fields", [{"groups": 2, "member_sigma": True}, {"rule": "parameter+ou"}, {"hold": "pink"}])
def test_seeds_and_hyper_parameters_vmap(fields):
    explorer = make(**fields)
    many = {"sigma": jnp.array([0.05, 0.1, 0.2]), "target": jnp.array([0.1, 0.2, 0.3])}
    dones = np.random.default_rng(0).random((15, N)) < 0.1

    def both(seed, hyper):
        return play(explorer, dones, seed=seed, hyper=hyper), scale_updates(explorer, 5, hyper, seed=seed)[1]

    together = jax.jit(jax.vmap(both))(jnp.arange(3), many)
    single = jax.jit(both)
    for i in range(3):
        alone = single(jnp.asarray(i), {name: values[i] for name, values in many.items()})
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[i], b, atol=1e-5)


@pytest.mark.parametrize("controller", ["constant", "linear", "multiplicative", "first-order", "bisection"])
@pytest.mark.parametrize("hold", ["episode", "steps", "zeta", "geometric", "pink"])
def test_states_keep_their_types(controller, hold):
    explorer = make(rule="parameter+ou+pink", scale=controller, hold=hold, total_adaptations=9)
    init = jax.eval_shape(lambda: explorer.init(jax.random.key(0), PARAMS, HYPER))

    def step(state):
        _, state = explorer.act(jax.random.key(1), PARAMS, state, SAME)
        state = explorer.begin(jax.random.key(2), state, jnp.arange(N) == 0)
        return explorer.adapt(jax.random.key(3), PARAMS, state, BATCH)

    after = jax.eval_shape(step, init)
    assert jax.tree.structure(init) == jax.tree.structure(after)
    for a, b in zip(jax.tree.leaves(init), jax.tree.leaves(after), strict=True):
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)


def test_params_may_be_abstract():
    shapes = jax.eval_shape(lambda: PARAMS)
    explorer = make(params=shapes)
    dones = np.zeros((3, N), bool)
    np.testing.assert_array_equal(run(explorer, dones), run(make(), dones))


def test_clean_weights_get_no_gradient_from_the_noise_and_stay_as_they_are():
    before = jax.tree.map(np.array, PARAMS)
    run(make(), np.ones((3, N), bool))
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(PARAMS), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "call",
    [
        lambda: make(groups=3),
        lambda: make(scale="linear"),
        lambda: make(hold="drift"),
        lambda: make(hold="pink", structure="flipout(antithetic=true)"),
        lambda: make(num_envs=3, structure="flipout(antithetic=true)").init(jax.random.key(0), PARAMS, HYPER),
        lambda: adapt_many(make(probes=300), 1, HYPER),
    ],
)
def test_refuses_what_cannot_be(call):
    with pytest.raises(errors.UserError) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_every_structure_has_a_name():
    assert set(STRUCTURES) | {"input_gain"} == set(noise.structures.STRUCTURES.names())
    for structure in STRUCTURES:
        assert noise.structures.STRUCTURES.make(structure) == noise.named(structure)
