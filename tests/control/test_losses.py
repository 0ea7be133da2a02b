"""Every formula against a slow reference in float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control.agents import losses
from jaxpsn.control.state import Transition

RNG = np.random.default_rng(0)


def _batch(size=6):
    end = np.arange(size) % 3 == 0
    late = np.arange(size) % 3 == 1
    values = RNG.normal(size=(size,)).astype(np.float32)
    wide = RNG.normal(size=(size, 3)).astype(np.float32)
    return Transition(*map(jnp.asarray, (wide, wide[:, :2], values, end, late, wide + 1)))


def test_only_a_true_end_is_terminal_unless_the_release_is_asked_for():
    batch = _batch()
    np.testing.assert_array_equal(losses.terminal(batch), batch.terminated)
    np.testing.assert_array_equal(losses.terminal(batch, True), batch.terminated | batch.truncated)


def test_bootstrap():
    batch, value = _batch(), RNG.normal(size=6)
    ours = losses.bootstrap(batch.reward, batch.terminated, 0.9, jnp.asarray(value, jnp.float32))
    for i in range(6):
        rest = 0.0 if batch.terminated[i] else 0.9 * value[i]
        assert ours[i] == pytest.approx(float(batch.reward[i]) + rest, abs=1e-6)


def test_an_infinite_value_after_the_end_does_not_leak():
    assert losses.bootstrap(jnp.ones(1), jnp.array([True]), 0.9, jnp.full(1, jnp.inf))[0] == 1


def test_critic_and_actor_loss():
    q, target = RNG.normal(size=(2, 7)), RNG.normal(size=7)
    expected = sum(np.mean([(q[c, i] - target[i]) ** 2 for i in range(7)]) for c in range(2))
    ours = losses.total(losses.squared(jnp.asarray(q, jnp.float32), jnp.asarray(target, jnp.float32)))
    assert ours == pytest.approx(expected, rel=1e-6)
    assert losses.actor_loss(jnp.asarray(target, jnp.float32)) == pytest.approx(-target.mean(), rel=1e-5)


def test_l2_is_of_hidden_kernels_only():
    def layer(value):
        return {"kernel": jnp.full((2, 3), value), "bias": jnp.full((3,), 50.0)}

    critic = {
        "params": {
            "hidden_0": {"dense": layer(2.0), "norm": {"scale": jnp.full((3,), 70.0), "bias": jnp.ones(3)}},
            "hidden_1": {"dense": layer(3.0)},
            "head": layer(100.0),
        }
    }
    assert losses.l2(critic) == pytest.approx(0.5 * (6 * 4 + 6 * 9))


def test_polyak():
    ours = losses.polyak({"w": jnp.array([1.0, -2.0])}, {"w": jnp.array([3.0, 4.0])}, 0.25)
    np.testing.assert_allclose(ours["w"], [0.75 * 1 + 0.25 * 3, 0.75 * -2 + 0.25 * 4])


def test_smoothing_is_clipped_noise_inside_the_action_bounds():
    action = jnp.concatenate([jnp.zeros((20_000, 1)), jnp.full((20_000, 1), 0.9)], axis=1)
    ours = np.asarray(losses.smooth(jax.random.key(0), action, 0.4, 0.5))
    assert np.abs(ours).max() <= 1 and np.abs(ours[:, 0]).max() == pytest.approx(0.5)
    draws = np.clip(np.random.default_rng(1).normal(0, 0.4, 200_000), -0.5, 0.5)
    assert ours[:, 0].std() == pytest.approx(draws.std(), rel=0.02)
    assert ours[:, 1].mean() == pytest.approx(np.clip(0.9 + draws, -1, 1).mean(), abs=0.01)
    np.testing.assert_array_equal(losses.smooth(jax.random.key(0), action, 0.0, 0.5), action)
