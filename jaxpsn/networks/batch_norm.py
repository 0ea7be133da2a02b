"""Dense layers that are normalised by the batch, whose kernels are kept at unit norm (XQC, arXiv 2509.25174).

The projection is :func:`jaxpsn.networks.hyperspherical.project`. What a norm has seen is the collection
``batch_stats`` of the parameters: read by default, and in the place of the batch's own only then. Kernels start
Gaussian and projected, which is uniform on the sphere; the release starts them orthogonal. The norm of inputs has no
shift, as the norm behind the next kernel takes it out again.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

STATISTICS = "batch_stats"
"""The collection that holds running means and variances."""
_EPSILON = 1e-3
_KERNEL = nn.initializers.normal(1.0)


class Norm(nn.Module):
    """Batch normalisation with a learnt scale, and a learnt ``shift`` or none, in float32.

    ``training``: by mean and variance over all axes but the last, of which running ones move by ``1 - momentum`` of the
    way; else by the running ones.
    """

    momentum: float
    dtype: Any
    shift: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "*batch d"], training: bool) -> Float[Array, "*batch d"]:
        # Not the difference of two great numbers: observations come as they are.
        how = {"momentum": self.momentum, "epsilon": _EPSILON, "use_fast_variance": False}
        how |= {"use_bias": self.shift}
        return nn.BatchNorm(not training, **how, name="norm")(x.astype(jnp.float32)).astype(self.dtype)


class Layers(nn.Module):
    """Inputs ``[..., I]``, normalised, through dense layers without bias, each normalised and rectified."""

    hidden: tuple[int, ...]
    momentum: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "*batch i"], training: bool) -> Float[Array, "*batch h"]:
        # Of a shift that the next norm takes out the gradient is rounding alone, and Adam would make whole steps of it.
        x = Norm(self.momentum, self.dtype, shift=False, name="inputs")(x, training)
        for i, width in enumerate(self.hidden):
            x = nn.Dense(width, use_bias=False, dtype=self.dtype, kernel_init=_KERNEL, name=f"dense_{i}")(x)
            x = nn.relu(Norm(self.momentum, self.dtype, name=f"hidden_{i}")(x, training))
        return x


class BatchActor(nn.Module):
    """Observation ``[..., O]`` to action ``[..., A]`` in [-1, 1], float32, as :class:`jaxpsn.networks.Actor`."""

    action_size: int
    hidden: tuple[int, ...]
    momentum: float = 0.99
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """The layers; the names of the attributes are those of the parameters."""
        self.layers = Layers(self.hidden, self.momentum, self.dtype)
        self.head = nn.Dense(self.action_size, dtype=self.dtype, kernel_init=_KERNEL)

    def __call__(self, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch a"]:
        return jnp.tanh(self.outputs(self.features(obs)))

    def features(self, obs: Float[Array, "*batch o"], training: bool = False) -> Float[Array, "*batch h"]:
        """What the last layer sees, in ``dtype``."""
        return self.layers(obs, training)

    def outputs(self, features: Float[Array, "*batch h"]) -> Float[Array, "*batch a"]:
        """The last layer before it is squashed, float32."""
        return self.head(features).astype(jnp.float32)


class BatchCritic(nn.Module):
    """Observation ``[..., O]`` and action ``[..., A]`` to Q ``[...]``, or to ``[..., outputs]``, float32."""

    hidden: tuple[int, ...]
    momentum: float = 0.99
    outputs: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, obs: Float[Array, "*batch o"], action: Float[Array, "*batch a"], training: bool = False
    ) -> Float[Array, "*out"]:
        x = jnp.concatenate([obs, action.astype(obs.dtype)], axis=-1)
        x = Layers(self.hidden, self.momentum, self.dtype, name="layers")(x, training)
        x = nn.Dense(self.outputs or 1, dtype=self.dtype, kernel_init=_KERNEL, name="head")(x)
        return (x[..., 0] if self.outputs is None else x).astype(jnp.float32)
