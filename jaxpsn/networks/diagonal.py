"""Stochastic policy whose standard deviation starts where it is told to, and may be the same in every state."""

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpsn.networks.actor import Policy
from jaxpsn.networks.gaussian import Gaussian


@dataclass(frozen=True, eq=False)
class Diagonal(Gaussian):
    """``a = tanh(m(s) + std xi)``: a :class:`Gaussian` on an actor with A outputs, and a free standard deviation.

    What makes the logarithm of the deviation are A parameters ``params["free"]["std"]`` that no observation moves, and
    that weight noise leaves alone. Not ``free``: they come from the actor, of 2 A outputs, as those of a Gaussian do.
    ``start``: the deviation where they are 0, strictly between ``exp(low)`` and ``exp(high)``.
    """

    start: float = 1.0
    free: bool = True

    def told(self, params: Any, features: Float[Array, "*batch h"]) -> Float[Array, "*batch k"]:
        """The moments, of the last hidden layer."""
        out = Policy.outputs(self, params, features)
        mean, told = (out, params["free"]["std"]) if self.free else jnp.split(out, 2, axis=-1)
        log_std = self.low + 0.5 * (self.high - self.low) * (1.0 + jnp.tanh(told + self._offset))
        return jnp.concatenate([mean, jnp.broadcast_to(log_std, mean.shape)], axis=-1)

    def outputs(self, params: Any, features: Float[Array, "*batch h"]) -> Float[Array, "*batch a"]:
        """The mean, before it is squashed."""
        return Policy.outputs(self, params, features) if self.free else super().outputs(params, features)

    def widen(self, params: Any, action_size: int) -> Any:
        """Parameters of the actor, and the free ones beside them."""
        return {**params, "free": {"std": jnp.zeros((action_size,), jnp.float32)}} if self.free else params

    @property
    def _offset(self) -> float:
        """What the parameters stand for where they are 0."""
        return math.atanh(2.0 * (math.log(self.start) - self.low) / (self.high - self.low) - 1.0)
