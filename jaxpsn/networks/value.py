"""Value of a state."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpsn.networks.layers import Hidden, uniform


class Value(nn.Module):
    """Observation ``[..., O]`` to V ``[...]``, float32. ``head_scale``: the last layer starts uniform within it."""

    hidden: tuple[int, ...] = (128, 128)
    nonlinearity: str = "relu"
    layer_norm: bool = True
    head_scale: float = 3e-3

    @nn.compact
    def __call__(self, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch"]:
        x = obs
        for i, width in enumerate(self.hidden):
            x = Hidden(width, self.nonlinearity, self.layer_norm, jnp.float32, name=f"hidden_{i}")(x)
        init = uniform(self.head_scale)
        return nn.Dense(1, kernel_init=init, bias_init=init, name="head")(x)[..., 0]
