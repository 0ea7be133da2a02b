"""Every policy runs a function with each member's own weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.lm.policies import Single
from tests.lm import members


def _close(found, wanted):
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", members.NAMES)
def test_each_member_has_its_own_weights_and_input(name):
    policy, weights = members.policy_of(name)
    tokens = jax.random.randint(jax.random.key(3), (policy.members, 2, 6), 0, 11, jnp.int32)
    found = jax.jit(lambda policy, x: policy.apply(members.full_logits, x))(policy, tokens)
    plain = jax.jit(members.full_logits)
    for member, own in enumerate(weights):
        _close(found[member], plain(own, tokens[member]))
    shared = jax.jit(lambda policy, x: policy.shared(members.full_logits, x))(policy, tokens[0])
    for member, own in enumerate(weights):
        _close(shared[member], plain(own, tokens[0]))
    # Noise that does nothing would pass all that.
    if name not in ("clean", "single"):
        assert np.abs(np.asarray(shared[0] - shared[1])).max() > 0.1


@pytest.mark.parametrize("name", ["clean", "low rank"])
def test_gradients_reach_the_shared_weights(name):
    policy, _ = members.policy_of(name)
    tokens = jax.random.randint(jax.random.key(3), (policy.members, 2, 6), 0, 11, jnp.int32)

    def first(params):
        return jnp.sum(policy.replace(params=params).apply(members.full_logits, tokens)[..., 0])

    for leaf in jax.tree.leaves(jax.jit(jax.grad(first))(members.PARAMS)):
        assert np.isfinite(np.asarray(leaf)).all() and np.abs(np.asarray(leaf)).max() > 0


def test_single_refuses_more_than_one_member():
    with pytest.raises(UserError, match="one member"):
        Single(members.PARAMS).apply(members.full_logits, jnp.zeros((2, 1, 3), jnp.int32))
