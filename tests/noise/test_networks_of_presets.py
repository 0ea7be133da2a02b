"""What is perturbed in the networks of our own presets and decoders: published results stand on these selections."""

import jax
import jax.numpy as jnp
import pytest

from jaxpsn import noise
from jaxpsn.control.presets import PRESETS
from jaxpsn.control.types import hyper, of_agent
from jaxpsn.lm import model
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.rlvr.exploration.perturbation import selection


@pytest.mark.parametrize("name", PRESETS)
def test_policies_are_perturbed_but_for_their_norms_and_gains(name):
    config = PRESETS[name]
    agent = config.agent.build(700, 3)
    params = jax.eval_shape(agent.init, jax.random.key(0), of_agent(hyper(config)), {}).actor
    for rows in ((), (5,)):
        spec = noise.plan(agent.policy, params, jax.ShapeDtypeStruct((*rows, 700), jnp.float32))
        layers = {path.split("/")[-2] for path in spec.by_path}
        # PPO's deviation belongs to the distribution and is no weight of a layer.
        left = [path for path in spec.left_alone if path != "free/std"]
        assert layers == {"dense", "head"} and all(path.split("/")[-2] in ("norm", "gain") for path in left)
        assert len(spec.leaves) + len(spec.left_alone) == len(jax.tree.leaves(params))


DECODERS = {
    "llama": {},
    "tied": {"tied": True},
    "qwen2": {"qkv_bias": True, "family": "qwen2"},
    "qwen3": {"qk_norm": True, "tied": True, "family": "qwen3"},
    "biases": {"qkv_bias": True, "o_bias": True, "mlp_bias": True},
}


@pytest.mark.parametrize("family", DECODERS)
def test_decoders_are_perturbed_in_their_kernels_or_in_their_norms(family):
    config = DecoderConfig(11, 16, 24, 2, 4, 2, 4, **DECODERS[family])
    params = jax.eval_shape(lambda: model.init(config, jax.random.key(0)))

    def logits(params, tokens):
        start = jnp.zeros((tokens.shape[0],), jnp.int32)
        return model.logits(config, params, model.hidden_states(config, params, tokens, start)[0])

    def chosen(select):
        return set(noise.plan(logits, params, jax.ShapeDtypeStruct((1, 2), jnp.int32), select).by_path)

    paths = {jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in
             jax.tree_util.tree_leaves_with_path(params)}  # fmt: skip
    scales = {path for path in paths if path.endswith("/scale")}
    assert len(scales) == (5 if config.qk_norm else 3)
    assert chosen(selection("norms")) == scales
    assert chosen(noise.all_but_norms) == {path for path in paths if path.endswith(("/kernel", "/bias"))}
    assert chosen(selection("all")) == paths
