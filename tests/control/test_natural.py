"""Natural parameter noise against a dense Fisher matrix in float64."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import noise
from jaxpsn.control import exploration
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.control.exploration import natural
from jaxpsn.core import errors, replaced
from jaxpsn.networks import Actor, Diagonal

KEY = jax.random.key(2)
POLICY = Diagonal(Actor(2, hidden=(6,), nonlinearity="tanh", head_scale=0.5), start=0.5)
PARAMS = POLICY.widen(POLICY.actor.init(KEY, jnp.zeros((3,))), 2)
OBS = jax.random.normal(KEY, (40, 3))
FLAT, UNFLATTEN = jax.flatten_util.ravel_pytree(PARAMS)
SPEC = noise.plan(POLICY.raw, PARAMS, OBS[0], select=noise.all_but_norms)
SPACE = exploration.Space(4, 3, 2, 9)
RULE = exploration.EXPLORATION.make("natural(groups=2, iterations=200, damping=0.3)")


def _chosen():
    """1 for the parameters that are perturbed."""
    parts = natural.taken_apart(PARAMS)
    sizes = [jnp.full(leaf.shape, path in SPEC.by_path, jnp.float32) for path, leaf in zip(*parts[:2], strict=True)]
    return np.asarray(jax.flatten_util.ravel_pytree(parts.whole(sizes))[0])


def _dense():
    """The Fisher matrix of the perturbed parameters, in float64."""
    jacobian = np.asarray(jax.jacobian(lambda flat: POLICY.raw(UNFLATTEN(flat), OBS))(FLAT), np.float64)
    log_std = np.asarray(POLICY.raw(PARAMS, OBS), np.float64)[:, 2:]
    metric = np.concatenate([np.exp(-2 * log_std), np.full_like(log_std, 2)], axis=1)
    chosen = _chosen()
    return np.einsum("bki,bk,bkj->ij", jacobian, metric, jacobian) / len(OBS) * chosen[:, None] * chosen[None]


def test_products_are_those_of_the_dense_matrix():
    product, full = jax.jit(natural.fisher(POLICY.raw, PARAMS, OBS, SPEC)), _dense()
    for seed in range(3):
        vector = np.random.default_rng(seed).normal(size=len(FLAT))
        found = jax.flatten_util.ravel_pytree(product(UNFLATTEN(jnp.asarray(vector, jnp.float32))))[0]
        np.testing.assert_allclose(found, full @ vector, rtol=1e-3, atol=1e-3 * np.abs(full @ vector).max())


@pytest.mark.parametrize("delta", [1e-4, 0.05])
def test_a_perturbation_is_the_natural_step_within_its_divergence(delta):
    rule = replaced(RULE, {"delta": delta, "sigma": 2.0})
    made = rule.build(POLICY, PARAMS, SPACE)
    start = made.init(KEY, PARAMS, exploration.hyper_of(rule))
    state = jax.jit(made.adapt)(KEY, PARAMS, start, OBS)
    draw, zero, full = rule.structure.init(KEY, SPEC, 2), jax.tree.map(jnp.zeros_like, PARAMS), _dense()
    for member in range(2):
        direction = jax.flatten_util.ravel_pytree(rule.structure.materialise(zero, draw, 2.0, member))[0]
        solved = np.linalg.solve(full + 0.3 * np.eye(len(full)), np.asarray(direction, np.float64))
        whole = min(1.0, np.sqrt(2 * delta / (solved @ full @ solved)))
        offset = np.asarray(jax.flatten_util.ravel_pytree(jax.tree.map(lambda x, m=member: x[m], state.offset))[0])
        step = float(state.step[member])
        steps = np.log(step / whole) / np.log(0.8)
        assert steps == pytest.approx(round(steps), abs=0.02) and 0 <= round(steps) <= 10
        np.testing.assert_allclose(offset, step * solved, atol=2e-3 * np.abs(step * solved).max())
        assert float(state.divergence[member]) <= delta
        if delta < 1e-3:  # there the divergence is the quadratic one
            assert float(state.divergence[member]) == pytest.approx(delta * (step / whole) ** 2, rel=0.05)
    moved = jax.tree.map(lambda leaf, offset: leaf + offset[1], PARAMS, state.offset)
    told = made.act(PARAMS, state, OBS[:4])
    np.testing.assert_allclose(told[2:], POLICY.raw(moved, OBS[2:4]), atol=1e-5)
    recalled = made.followers.recall(PARAMS, state, OBS[None, :4], jnp.array([1]), None)
    np.testing.assert_allclose(recalled[0], POLICY.raw(moved, OBS[:4]), atol=1e-5)
    assert (np.asarray(state.offset["free"]["std"]) == 0).all() and (np.asarray(_chosen()) == 0).sum() > 0


def test_noise_within_the_divergence_is_not_stretched():
    rule = replaced(RULE, {"sigma": 1e-4, "delta": 10.0})
    made = rule.build(POLICY, PARAMS, SPACE)
    state = jax.jit(made.adapt)(KEY, PARAMS, made.init(KEY, PARAMS, exploration.hyper_of(rule)), OBS)
    np.testing.assert_array_equal(state.step, 1.0)


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("td3", "explore = 'natural': another rule, as td3 learns from replay"),
        ("ppo(redraw=episode)", "agent.redraw = 'episode': rollout, as natural noise"),
    ],
)
def test_what_does_not_fit_is_refused(agent, said):
    with pytest.raises(errors.UserError, match=said):
        ControlConfig(EnvConfig(name="probe/action", num_envs=8), agent, "natural")
