"""What actor and critic share: initialisers, nonlinearities, and one normalised layer."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

NONLINEARITIES = {"relu": nn.relu, "tanh": jnp.tanh, "swish": nn.swish, "elu": nn.elu}

fan_in_uniform = nn.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform")
"""Hidden kernels: uniform in +-1/sqrt(fan-in) (Lillicrap et al. 2016, arXiv 1509.02971, section 7); biases zero."""


def uniform(scale: float):
    """Initialiser: uniform in ``[-scale, scale]``."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -scale, scale)

    return init


class Hidden(nn.Module):
    """One hidden layer: dense, layer norm, nonlinearity, in this order.

    The norm comes before the nonlinearity so that one noise scale suits layers of unequal sensitivity
    (Plappert et al. 2018, arXiv 1706.01905, section 3).
    """

    width: int
    nonlinearity: str
    layer_norm: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch width"]:
        x = nn.Dense(self.width, dtype=self.dtype, kernel_init=fan_in_uniform, name="dense")(x)
        if self.layer_norm:
            # Statistics over a layer want float32 whatever the activations are; XLA fuses the casts.
            x = nn.LayerNorm(name="norm")(x.astype(jnp.float32)).astype(self.dtype)
        return NONLINEARITIES[self.nonlinearity](x)
