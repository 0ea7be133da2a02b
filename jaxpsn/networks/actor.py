"""Deterministic policy."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpsn.networks.layers import Hidden, uniform


class Actor(nn.Module):
    """Observation ``[..., O]`` to action ``[..., A]`` in [-1, 1], float32.

    ``head_scale``: the last layer (kernel and bias) starts uniform in plus or minus this, so that first actions are
    near zero. ``dtype`` is that of the activations; parameters stay float32.
    """

    action_size: int
    hidden: tuple[int, ...] = (128, 128)
    nonlinearity: str = "relu"
    layer_norm: bool = True
    head_scale: float = 3e-3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch a"]:
        x = obs
        for i, width in enumerate(self.hidden):
            x = Hidden(width, self.nonlinearity, self.layer_norm, self.dtype, name=f"hidden_{i}")(x)
        init = uniform(self.head_scale)
        x = nn.Dense(self.action_size, dtype=self.dtype, kernel_init=init, bias_init=init, name="head")(x)
        return jnp.tanh(x.astype(jnp.float32))
