"""The policy and the critic of ``jaxpsn``, written anew for Pythons that do not have it: Flax alone."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class Layers(nn.Module):
    """Dense, layer norm if asked for, nonlinearity, for every width; then a last layer that starts near zero."""

    widths: tuple[int, ...]
    outputs: int
    activation: str
    layer_norm: bool
    head_scale: float

    @nn.compact
    def __call__(self, x: Any) -> Any:
        for width in self.widths:
            x = nn.Dense(width)(x)
            x = getattr(nn, self.activation)(nn.LayerNorm()(x) if self.layer_norm else x)
        near_zero = _within(self.head_scale)
        return nn.Dense(self.outputs, kernel_init=near_zero, bias_init=near_zero)(x)


class Actor(nn.Module):
    """Observations to actions in [-1, 1]; deterministic, whatever else it is given."""

    layers: Layers

    def __call__(self, obs: Any, _: Any = None) -> Any:
        return jnp.tanh(self.layers(obs))


class Critic(nn.Module):
    """Observations and actions to their values."""

    layers: Layers

    def __call__(self, obs: Any, action: Any) -> Any:
        return self.layers(jnp.concatenate([obs, action], axis=-1)).squeeze(-1)


def actor(agent: dict[str, Any], actions: int) -> Actor:
    """The actor that ``agent`` describes."""
    return Actor(_layers(agent, agent["actor_hidden"], actions))


def critic(agent: dict[str, Any]) -> Critic:
    """The critic that ``agent`` describes."""
    return Critic(_layers(agent, agent["critic_hidden"], 1))


def _layers(agent: dict[str, Any], widths: list[int], outputs: int) -> Layers:
    return Layers(tuple(widths), outputs, agent["activation"], agent["layer_norm"], agent["head_scale"])


def _within(scale: float) -> Any:
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -scale, scale)
