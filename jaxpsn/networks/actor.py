"""Deterministic policy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.networks.layers import Hidden, uniform
from jaxpsn.noise import distances


class Actor(nn.Module):
    """Observation ``[..., O]`` to action ``[..., A]`` in [-1, 1], float32.

    ``head_scale``: the last layer (kernel and bias) starts uniform in plus or minus this, so that first actions are
    near zero. ``torso``: layers before the hidden ones. ``dtype`` is that of the activations; parameters stay float32.
    """

    action_size: int
    hidden: tuple[int, ...] = (128, 128)
    nonlinearity: str = "relu"
    layer_norm: bool = True
    head_scale: float = 3e-3
    torso: nn.Module | None = None
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """The layers; the names of the attributes are those of the parameters."""
        for i, width in enumerate(self.hidden):
            setattr(self, f"hidden_{i}", Hidden(width, self.nonlinearity, self.layer_norm, self.dtype))
        init = uniform(self.head_scale)
        self.head = nn.Dense(self.action_size, dtype=self.dtype, kernel_init=init, bias_init=init)

    def __call__(self, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch a"]:
        return jnp.tanh(self.outputs(self.features(obs)))

    def features(self, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch h"]:
        """The last hidden layer, in ``dtype``."""
        x = obs if self.torso is None else self.torso(obs)
        for i in range(len(self.hidden)):
            x = getattr(self, f"hidden_{i}")(x)
        return x

    def outputs(self, features: Float[Array, "*batch h"]) -> Float[Array, "*batch a"]:
        """The last layer before it is squashed, float32; of :meth:`features`, or of what noise makes of them."""
        return self.head(features).astype(jnp.float32)


def added(key: Any, action: Array, noises: Sequence[Array]) -> Array:
    """The action ``[..., A]`` with all noises; a choice ``[...]`` has none."""
    return sum(noises, start=action)


@dataclass(frozen=True, eq=False)
class Policy:
    """An actor as a function ``policy(params, obs[..., O]) -> action[..., A]``, and the two parts that it is made of.

    ``policy(params, obs) == tanh(policy.outputs(params, policy.features(params, obs)))``. Of parameters of other
    collections than Flax's ``params`` only running statistics are read.
    """

    actor: nn.Module  # with the methods of Actor

    def __call__(self, params: Any, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch a"]:
        """The action."""
        return self.actor.apply(params, obs)

    def raw(self, params: Any, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch k"]:
        """What weight noise acts on: the action, or of a stochastic policy what actions are sampled from."""
        return self(params, obs)

    def act(
        self, key: PRNGKeyArray, told: Float[Array, "*batch k"], noises: Sequence[Float[Array, "*batch a"]]
    ) -> Float[Array, "*batch a"]:
        """What is done, of what :meth:`raw` says, which may be that of perturbed weights, and of action noises; not yet
        clipped."""
        return added(key, told, noises)

    @property
    def distances(self) -> dict[str, Callable[..., Array]]:
        """Kind -> ``(clean, noisy, axis=None) -> distance`` of what :meth:`raw` says, as in jaxpsn.noise.distances."""
        return {"action": distances.rms_action}

    def features(self, params: Any, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch h"]:
        """The last hidden layer."""
        return self.actor.apply(params, obs, method="features")

    def told(self, params: Any, features: Float[Array, "*batch h"]) -> Float[Array, "*batch k"]:
        """What :meth:`raw` says, of :meth:`features`."""
        return jnp.tanh(self.outputs(params, features))

    def outputs(self, params: Any, features: Float[Array, "*batch h"]) -> Float[Array, "*batch a"]:
        """The last layer, before it is squashed."""
        return self.actor.apply(params, features, method="outputs")
