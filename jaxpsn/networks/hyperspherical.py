"""Residual networks on the unit sphere, whose kernels are projected to unit norm (SimbaV2, arXiv 2502.15280).

Every output of a dense layer has weights of norm 1, in the direction of its inputs; activations are brought back to
norm 1 after each block, and learnt gains say how much a feature counts. Nothing is normalised within the forward pass
that could be stored so: the projection (:func:`project`) follows each update of the weights. Kernels start Gaussian and
projected, which is uniform on the sphere; the release starts them orthogonal.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_TINY = 1e-8
_KERNEL = nn.initializers.normal(1.0)


def unit(x: Float[Array, "*shape"], axis: int = -1) -> Float[Array, "*shape"]:
    """``x / max(|x|, 1e-8)`` along ``axis``, summed in float32; no gradient is lost to a vector of zeros."""
    wide = x.astype(jnp.float32)
    power = jnp.sum(jnp.square(wide), axis=axis, keepdims=True)
    return (wide * lax.rsqrt(jnp.maximum(power, _TINY**2))).astype(x.dtype)


def project(params: Any) -> Any:
    """The weights with every kernel ``[..., in, out]`` at unit norm over its inputs, nothing else changed.

    Of parameters with several collections only Flax's ``params`` are weights.
    """

    def one(path: Any, leaf: Array) -> Array:
        return unit(leaf, axis=-2) if path[-1].key == "kernel" else leaf

    return {**params, "params": jax.tree_util.tree_map_with_path(one, params["params"])}


class Gain(nn.Module):
    """``x o s start / size``, ``s`` learnt from ``size`` on: it starts at ``start`` and moves in proportion to it."""

    start: float
    size: float

    @nn.compact
    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        scale = self.param("scale", nn.initializers.constant(self.size), (x.shape[-1],), jnp.float32)
        gain = (scale * (self.start / self.size)).astype(x.dtype)
        return x * gain.reshape(*(1,) * (x.ndim - 1), -1)


class Scaled(nn.Module):
    """A dense layer without bias; if ``start`` is given, with a gain for every output."""

    width: int
    start: float | None
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch width"]:
        x = nn.Dense(self.width, use_bias=False, dtype=self.dtype, kernel_init=_KERNEL, name="dense")(x)
        return x if self.start is None else Gain(self.start, self.start, name="gain")(x)


class Block(nn.Module):
    """One residual block: ``h <- unit(h + a o (unit(W_2 relu(s o W_1 h)) - h))`` (equations 8 to 10).

    ``share``: what ``a`` starts as.
    """

    expansion: int
    share: float
    dtype: Any

    @nn.compact
    def __call__(self, h: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        width = h.shape[-1]
        start = math.sqrt(2.0 / (width * self.expansion))
        inner = Scaled(width * self.expansion, start, self.dtype, name="rise")(h)
        told = unit(Scaled(width, None, self.dtype, name="fall")(nn.relu(inner) + _TINY))
        return unit(h + Gain(self.share, 1.0 / math.sqrt(width), name="gain")(told - h))


class Sphere(nn.Module):
    """Inputs ``[..., I]`` to features ``[..., width]``: an embedding, residual blocks, and one more scaled layer.

    ``shift`` is appended to the inputs before they are brought to norm 1, so that their size is not lost (equation 6).
    """

    width: int
    blocks: int
    expansion: int
    shift: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "*batch i"]) -> Float[Array, "*batch h"]:
        shift = jnp.full((*x.shape[:-1], 1), self.shift, x.dtype)
        x = unit(jnp.concatenate([x, shift], axis=-1)).astype(self.dtype)
        h = unit(Scaled(self.width, math.sqrt(2.0 / self.width), self.dtype, name="embed")(x))
        for i in range(self.blocks):
            h = Block(self.expansion, 1.0 / (self.blocks + 1), self.dtype, name=f"block_{i}")(h)
        return Scaled(self.width, 1.0, self.dtype, name="last")(h)


class SphereActor(nn.Module):
    """Observation ``[..., O]`` to action ``[..., A]`` in [-1, 1], float32, as :class:`jaxpsn.networks.Actor`."""

    action_size: int
    width: int
    blocks: int
    expansion: int = 4
    shift: float = 3.0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """The layers; the names of the attributes are those of the parameters."""
        self.trunk = Sphere(self.width, self.blocks, self.expansion, self.shift, self.dtype)
        self.head = nn.Dense(self.action_size, dtype=self.dtype, kernel_init=_KERNEL)

    def __call__(self, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch a"]:
        return jnp.tanh(self.outputs(self.features(obs)))

    def features(self, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch h"]:
        """What the last layer sees, in ``dtype``."""
        return self.trunk(obs)

    def outputs(self, features: Float[Array, "*batch h"]) -> Float[Array, "*batch a"]:
        """The last layer before it is squashed, float32."""
        return self.head(features).astype(jnp.float32)


class SphereCritic(nn.Module):
    """Observation ``[..., O]`` and action ``[..., A]`` to Q ``[...]``, or to ``[..., outputs]``, float32."""

    width: int
    blocks: int
    expansion: int = 4
    shift: float = 3.0
    outputs: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, obs: Float[Array, "*batch o"], action: Float[Array, "*batch a"]) -> Float[Array, "*out"]:
        x = jnp.concatenate([obs, action.astype(obs.dtype)], axis=-1)
        x = Sphere(self.width, self.blocks, self.expansion, self.shift, self.dtype, name="trunk")(x)
        x = nn.Dense(self.outputs or 1, dtype=self.dtype, kernel_init=_KERNEL, name="head")(x)
        return (x[..., 0] if self.outputs is None else x).astype(jnp.float32)
