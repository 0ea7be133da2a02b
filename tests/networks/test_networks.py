import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.networks import Actor, Critic, Policy, ensemble_apply, ensemble_init


def _norm(x, scale, bias):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-6) * scale + bias


def _reference(params, x, action=None, action_layer=0):
    """The forward pass in float64 NumPy: dense, norm, ReLU, ..., head."""
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), params["params"])
    for i in range(len(params) - 1):
        layer = params[f"hidden_{i}"]
        if action is not None and i == action_layer:
            x = np.concatenate([x, action], -1)
        x = x @ layer["dense"]["kernel"] + layer["dense"]["bias"]
        x = np.maximum(_norm(x, layer["norm"]["scale"], layer["norm"]["bias"]), 0)
    return x @ params["head"]["kernel"] + params["head"]["bias"]


def test_actor_is_dense_norm_relu_then_tanh():
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(5, 4))
    actor = Actor(3, (16, 8), head_scale=1.0)
    params = actor.init(jax.random.key(0), jnp.zeros(4))
    out = actor.apply(params, jnp.asarray(obs, jnp.float32))
    np.testing.assert_allclose(out, np.tanh(_reference(params, obs)), atol=1e-5)


@pytest.mark.parametrize("action_layer", [0, 1])
def test_the_action_enters_the_critic_at_its_layer(action_layer):
    rng = np.random.default_rng(1)
    obs, action = rng.normal(size=(5, 4)), rng.normal(size=(5, 2))
    critic = Critic((16, 8), action_layer=action_layer, head_scale=1.0)
    params = critic.init(jax.random.key(0), jnp.zeros(4), jnp.zeros(2))
    q = critic.apply(params, jnp.asarray(obs, jnp.float32), jnp.asarray(action, jnp.float32))
    np.testing.assert_allclose(q, _reference(params, obs, action, action_layer)[:, 0], atol=1e-5)
    assert params["params"][f"hidden_{action_layer}"]["dense"]["kernel"].shape[0] == (4, 16)[action_layer] + 2


def test_initial_weights_lie_in_their_bounds():
    actor = Actor(3, (64, 100), head_scale=3e-3)
    params = actor.init(jax.random.key(0), jnp.zeros(25))["params"]
    for name, bound in (("hidden_0", 1 / 5), ("hidden_1", 1 / 8)):
        kernel = np.abs(params[name]["dense"]["kernel"])
        assert 0.95 * bound < kernel.max() <= bound
    head = np.concatenate([np.ravel(x) for x in jax.tree.leaves(params["head"])])
    assert 2.5e-3 < np.abs(head).max() <= 3e-3


def test_bfloat16_changes_activations_but_neither_weights_nor_outputs():
    obs = jnp.asarray(np.random.default_rng(2).normal(size=(32, 4)), jnp.float32)
    actor = Actor(3, (16,), head_scale=1.0)
    half = actor.clone(dtype=jnp.bfloat16)
    params = half.init(jax.random.key(0), obs[0])
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    out, exact = half.apply(params, obs), actor.apply(params, obs)
    assert out.dtype == jnp.float32
    error = jnp.max(jnp.abs(out - exact))
    assert 0 < error < 0.05


def test_layer_norm_can_be_left_out():
    params = Actor(3, (16,), layer_norm=False).init(jax.random.key(0), jnp.zeros(4))["params"]
    assert set(params["hidden_0"]) == {"dense"}


def test_an_ensemble_is_its_members():
    critic = Critic((16,), head_scale=1.0)
    obs, action = jnp.ones((5, 4)), jnp.ones((5, 2))
    params = ensemble_init(critic, jax.random.key(0), 3, obs[0], action[0])
    q = ensemble_apply(critic.apply)(params, obs, action)
    assert q.shape == (3, 5)
    for i in range(3):
        member = jax.tree.map(lambda x, i=i: x[i], params)
        np.testing.assert_allclose(q[i], critic.apply(member, obs, action), atol=1e-6)
    assert len(np.unique(np.asarray(q[:, 0]))) == 3


def test_a_policy_is_its_features_and_its_outputs():
    policy = Policy(Actor(3, (16, 8), head_scale=1.0))
    params = policy.actor.init(jax.random.key(0), jnp.zeros(4))
    obs = jnp.asarray(np.random.default_rng(3).normal(size=(5, 4)), jnp.float32)
    features = policy.features(params, obs)
    assert features.shape == (5, 8) and bool((features >= 0.0).all())
    outputs = policy.outputs(params, features)
    np.testing.assert_allclose(outputs, _reference(params, np.asarray(obs, np.float64)), atol=1e-5)
    np.testing.assert_array_equal(policy(params, obs), jnp.tanh(outputs))
