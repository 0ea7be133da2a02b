"""Models of every shape the interpreter must take, each with one member's input."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

from jaxpsn import noise
from jaxpsn.core.compat import foreign


class Model(NamedTuple):
    """A model under test."""

    apply: Any
    params: Any
    input_of: Any  # key -> one member's input
    select: Any = noise.all_but_norms


class MLP(nn.Module):
    """Dense, LayerNorm, swish, twice, and a head."""

    width: int = 24
    out: int = 3
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = nn.Dense(self.width, dtype=self.dtype, param_dtype=self.param_dtype)(x)
            x = nn.swish(nn.LayerNorm(dtype=self.dtype, param_dtype=self.param_dtype)(x))
        return jnp.tanh(nn.Dense(self.out, dtype=self.dtype, param_dtype=self.param_dtype)(x))


class Block(nn.Module):
    """Attention and a feed-forward layer, as a scan body."""

    @nn.compact
    def __call__(self, x, _):
        x = x + nn.MultiHeadDotProductAttention(num_heads=2)(nn.RMSNorm()(x))
        return x + nn.Dense(8)(nn.gelu(nn.Dense(16)(nn.RMSNorm()(x)))), None


class Stack(nn.Module):
    """Scanned and rematerialised blocks."""

    @nn.compact
    def __call__(self, x):
        block = nn.remat(Block, prevent_cse=False)
        layers = nn.scan(block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        return layers(name="layers")(x, None)[0]


class Tied(nn.Module):
    """A token embedding that is also the output head."""

    @nn.compact
    def __call__(self, tokens):
        embed = nn.Embed(11, 8)
        return embed.attend(nn.Dense(8)(embed(tokens)))


class NNXPolicy(nnx.Module):
    """An NNX policy with a norm."""

    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(5, 12, rngs=rngs), nnx.Linear(12, 3, rngs=rngs)])
        self.norm = nnx.LayerNorm(12, rngs=rngs)

    def __call__(self, x):
        return self.layers[1](nnx.relu(self.norm(self.layers[0](x))))


def _shaken(params, scale=0.3):
    """Biases are zero after init; give every leaf something of its own."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(77), len(leaves))
    moved = [x + scale * jax.random.normal(key, x.shape).astype(x.dtype) for x, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, moved)


def _linen(module, shape, **fields):
    def input_of(key):
        return jax.random.normal(key, shape)

    params = _shaken(module.init(jax.random.key(0), jnp.zeros(shape)))
    return Model(module.apply, params, input_of, **fields)


def brax_ppo():
    """Brax's own PPO policy network, unmodified."""
    with foreign():
        from brax.training.networks import make_policy_network

        network = make_policy_network(6, 5, hidden_layer_sizes=(16, 16), layer_norm=True)
        params = _shaken(network.init(jax.random.key(0)))

    def apply(params, obs):
        with foreign():
            return network.apply(None, params, obs)

    return Model(apply, params, lambda key: jax.random.normal(key, (5,)))


def einsum():
    """Plain functions: projections in odd axis orders, an ensemble axis, a table that is formed."""
    key = jax.random.key(3)
    shapes = {"into": (4, 2, 6), "back": (2, 4, 5), "each": (2, 5, 3), "bias": (2, 3), "place": (7, 6), "gain": (5,)}
    params = {
        name: 0.4 * jax.random.normal(jax.random.fold_in(key, i), shape)
        for i, (name, shape) in enumerate(shapes.items())
    }

    def apply(params, x):
        x = x + params["place"]
        heads = jnp.einsum("td,hkd->kth", x, params["into"].astype(jnp.float32))
        mixed = jnp.einsum("kth,kho->to", jnp.sin(heads), params["back"]) * params["gain"][None]
        members = jnp.stack([mixed, jnp.cos(mixed)])
        return jnp.einsum("eto,eoc->tec", members, params["each"]) + params["bias"][None]

    return Model(apply, params, lambda key: jax.random.normal(key, (7, 6)))


def nnx_mlp():
    """An NNX module through the adapter."""
    apply, params = noise.nnx_policy(NNXPolicy(nnx.Rngs(0)))
    return Model(apply, _shaken(params), lambda key: jax.random.normal(key, (5,)))


def tied():
    """A tied table: looked up and contracted, one E."""
    module = Tied()
    params = _shaken(module.init(jax.random.key(0), jnp.zeros((4,), jnp.int32)))
    return Model(module.apply, params, lambda key: jax.random.randint(key, (4,), 0, 11), noise.everything)


MODELS = {
    "mlp": lambda: _linen(MLP(), (5,)),
    "mlp_rows": lambda: _linen(MLP(), (4, 5)),
    "mlp_all": lambda: _linen(MLP(), (5,), select=noise.everything),
    "brax": brax_ppo,
    "attention": lambda: _linen(Stack(), (6, 8)),
    "einsum": einsum,
    "nnx": nnx_mlp,
    "tied": tied,
}

KINDS = {
    "flipout": noise.Flipout(),
    "flipout_sign": noise.Flipout(base="sign"),
    "flipout_normal": noise.Flipout(base="normal"),
    "rank1": noise.LowRank(rank=1, dense_head=False),
    "rank2_head": noise.LowRank(rank=2),
    "rank3_sign": noise.LowRank(rank=3, factors="sign", dense_head=False),
    "dense": noise.Dense(),
    "dense_bf16": noise.Dense(store="bfloat16"),
    "factorised": noise.Factorised(),
    "input_gain": noise.InputGain(),
    "pink_flipout": noise.Multiscale(noise.Flipout(base="normal"), (1.0, 4.0, 64.0), (0.5, 0.3, 0.2)),
    "pink_rank2": noise.Multiscale(noise.LowRank(rank=2, dense_head=False), (1.0, 16.0), (0.4, 0.6)),
}
