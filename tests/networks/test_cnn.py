"""Convolutions by patches: equal to Flax's, perturbed by shared products, in every agent that takes them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import noise
from jaxpsn.control.agents import AGENTS
from jaxpsn.core import errors
from jaxpsn.networks import Greedy, Values, cnn
from jaxpsn.networks.torso import TORSOS
from jaxpsn.noise.structures import STRUCTURES

KEY = jax.random.key(0)


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (2, 2), (3, 2)])
def test_a_product_with_patches_is_a_convolution(size, stride):
    image = jax.random.normal(KEY, (2, 3, 7, 6, 4))
    module = nn.Conv(5, (size, size), stride, padding="VALID")
    params = module.init(KEY, image[0])
    kernel = params["params"]["kernel"].reshape(-1, 5)
    ours = cnn.patches(image, size, stride) @ kernel
    np.testing.assert_allclose(ours[1], module.apply(params, image[1]), atol=1e-5)


@pytest.mark.parametrize("structure", ["flipout", "lowrank", "dense"])
def test_noise_in_it_is_that_of_formed_weights_and_forms_no_kernel(structure):
    torso = TORSOS.make("cnn(channels=8x6, kernel=2, height=4, width=4)").build("relu", True)
    policy = Greedy(Values(3, (5,), torso=torso, head_scale=0.5))
    params, obs = policy.actor.init(KEY, jnp.zeros(32)), jax.random.normal(KEY, (4, 6, 32))
    kind = STRUCTURES.make(structure)
    spec = noise.plan(policy.raw, params, jax.ShapeDtypeStruct((6, 32), jnp.float32), noise.all_but_norms)
    assert not any(leaf.materialised for leaf in spec.leaves)
    assert "params/torso/conv_0/dense/kernel" in spec.by_path
    draw = kind.init(KEY, spec, 4)
    ours = jax.jit(noise.fused(policy.raw, spec, kind))(params, draw, jnp.float32(0.3), obs)
    own = jax.vmap(lambda i: kind.materialise(params, draw, jnp.float32(0.3), i))(jnp.arange(4))
    np.testing.assert_allclose(ours, jax.vmap(policy.raw)(own, obs), atol=1e-4)


def test_what_is_formed_is_told_with_its_bytes():
    module = nn.Sequential([nn.Conv(5, (3, 3)), nn.Dense(2)])
    image = jax.ShapeDtypeStruct((6, 4, 4, 2), jnp.float32)
    params = jax.eval_shape(module.init, KEY, jnp.zeros(image.shape))
    spec = noise.plan(module.apply, params, image)
    told = "formed for each of 8 perturbations, 2,880 bytes in all: params/layers_0/kernel"
    assert noise.formed(spec, 8) == told


@pytest.mark.parametrize("agent", ["dqn(precision=bfloat16", "pqn(policy_head=true", "ppo(critic_hidden=8"])
def test_agents_take_it_in_every_network(agent):
    config = AGENTS.make(f"{agent}, torso=cnn(channels=4, kernel=2, height=3, width=4))")
    state = jax.eval_shape(config.build(24, 3).init, KEY, {}, {})
    for params in filter(None, (state.actor, state.critic)):
        assert params["params"]["torso"]["conv_0"]["dense"]["kernel"].shape == (8, 4)
        assert params["params"]["hidden_0"]["dense"]["kernel"].shape[0] == 2 * 3 * 4
    with pytest.raises(errors.UserError, match=r"cnn.height, cnn.width = .*product divides the 25 numbers"):
        config.build(25, 3)


def test_patches_that_do_not_fit_are_refused():
    with pytest.raises(errors.UserError, match=r"cnn.kernel = 4: small enough for 10 x 10 in every layer"):
        TORSOS.make("cnn(channels=8x8x8x8, kernel=4)")
