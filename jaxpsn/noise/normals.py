"""Standard normal numbers that no device layout rounds differently."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

# erfinv(u) / u as polynomials, highest power first: in w - 2.5 where w = -log(1 - u^2) is below 5, else in sqrt(w) - 3.
_CENTRE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
    0.246640727, 1.50140941,
)  # fmt: skip
_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
    1.00167406, 2.83297682,
)  # fmt: skip


def normal(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Standard normal numbers in float32, the same to the last bit on every device layout.

    The inverse error function of a uniform number, as in ``jax.random.normal`` (Giles 2010, approximating the erfinv
    function), but for one thing: XLA rounds ``log1p`` in another way where a vector of the CPU is not full, and what is
    left over of an array depends on how it is cut. ``log`` it rounds alike everywhere.
    """
    low = float(np.nextafter(np.float32(-1), np.float32(0)))
    u = jax.random.uniform(key, shape, jnp.float32, low, 1.0)
    w = -jnp.log((1.0 - u) * (1.0 + u))
    central = w < 5.0
    x = jnp.where(central, w - 2.5, jnp.sqrt(w) - 3.0)
    ratio = jnp.zeros_like(u)
    for centre, tail in zip(_CENTRE, _TAIL, strict=True):
        ratio = jnp.where(central, jnp.float32(centre), jnp.float32(tail)) + ratio * x
    return math.sqrt(2.0) * ratio * u
