"""A recurrent torso: a GRU over the last observations, which begins anew at each decision."""

from dataclasses import dataclass
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpsn.core import errors
from jaxpsn.core.fields import Whole
from jaxpsn.networks.layers import fan_in_uniform
from jaxpsn.networks.torso import TORSOS, Torso


@TORSOS.register("gru")
@dataclass(frozen=True)
class Gru(Torso):
    """A gated recurrent unit over the last observations of the episode, from a carry of zero at each decision.

    What is carried is made of the present weights alone, perturbed or clean, when acting and when learning: no carry of
    other weights is stored, in replay or in a rollout, and gradients are those of whole sequences of ``steps``. The
    price is as many steps of the cell at each decision. What the policy is given is ``steps`` observations, the newest
    first; before there are so many in an episode, its first one stands for them. Source: Cho et al. 2014 (arXiv
    1406.1078).
    """

    size: Annotated[int, Whole(1, 1 << 14)] = 64
    """Width of the carry."""
    steps: Annotated[int, Whole(2, 1 << 10)] = 8  # type: ignore[assignment]
    """Observations that it runs over."""
    encoder: Torso | None = None
    """What each observation passes before it, such as cnn."""

    def validate(self) -> None:
        if self.encoder is not None and self.encoder.steps > 1:
            errors.refuse("gru.encoder", "gru", "a torso of one observation, such as cnn")

    def check(self, observation_size: int) -> None:
        if observation_size % self.steps:
            errors.refuse("gru.steps", self.steps, f"a divisor of the {observation_size} numbers of an observation")
        if self.encoder is not None:
            self.encoder.check(observation_size // self.steps)

    def build(self, nonlinearity: str, layer_norm: bool) -> nn.Module:
        inner = None if self.encoder is None else self.encoder.build(nonlinearity, layer_norm)
        return Recurrent(self.size, self.steps, inner)


class Recurrent(nn.Module):
    """Observations ``[..., steps O]``, the newest first, to the last carry ``[..., size]``."""

    size: int
    steps: int
    encoder: nn.Module | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch h"]:
        x = obs.reshape(*obs.shape[:-1], self.steps, -1)
        if self.encoder is not None:
            x = self.encoder(x)
        # What the cell reads of all observations is one product, and what it carries a scan of small ones.
        read = nn.Dense(3 * self.size, dtype=self.dtype, kernel_init=fan_in_uniform, name="inputs")(x)
        cell = nn.scan(Cell, variable_broadcast="params", split_rngs={"params": False}, reverse=True)
        carry = jnp.zeros((*obs.shape[:-1], self.size), self.dtype)
        return cell(self.size, self.dtype, name="cell")(carry, jnp.moveaxis(read, -2, 0))[0]


class Cell(nn.Module):
    """One step: ``(carry [..., H], read [..., 3 H]) -> (carry, None)``.

    ``r = s(x_r + U_r h)``, ``z = s(x_z + U_z h)``, ``n = tanh(x_n + r (U_n h + b))``, ``h' = (1 - z) n + z h``, in the
    form that cuDNN and Flax have.
    """

    size: int
    dtype: Any

    @nn.compact
    def __call__(self, carry: Float[Array, "*batch h"], read: Float[Array, "*batch g"]) -> tuple[Array, None]:
        own = nn.Dense(3 * self.size, dtype=self.dtype, kernel_init=fan_in_uniform, name="recurrent")(carry)
        (reset, update, new), (own_reset, own_update, own_new) = (jnp.split(part, 3, axis=-1) for part in (read, own))
        reset, update = jax.nn.sigmoid(reset + own_reset), jax.nn.sigmoid(update + own_update)
        new = jnp.tanh(new + reset * own_new)
        return (1 - update) * new + update * carry, None
