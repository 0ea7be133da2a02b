"""Action value, and ensembles of it."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.networks.layers import Hidden, uniform


class Critic(nn.Module):
    """Observation ``[..., O]`` and action ``[..., A]`` to Q ``[...]``, or to ``[..., outputs]``, float32.

    The action is concatenated to the input of hidden layer ``action_layer``: 0 is the observation itself, 1 the
    second layer (Plappert et al. 2018, appendix). ``dtype`` is that of the activations; parameters stay float32.
    """

    hidden: tuple[int, ...] = (128, 128)
    nonlinearity: str = "relu"
    layer_norm: bool = True
    action_layer: int = 0
    outputs: int | None = None
    head_scale: float = 3e-3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, obs: Float[Array, "*batch o"], action: Float[Array, "*batch a"]) -> Float[Array, "*out"]:
        x = obs
        for i, width in enumerate(self.hidden):
            if i == self.action_layer:
                x = jnp.concatenate([x, action.astype(x.dtype)], axis=-1)
            x = Hidden(width, self.nonlinearity, self.layer_norm, self.dtype, name=f"hidden_{i}")(x)
        init = uniform(self.head_scale)
        x = nn.Dense(self.outputs or 1, dtype=self.dtype, kernel_init=init, bias_init=init, name="head")(x)
        return (x[..., 0] if self.outputs is None else x).astype(jnp.float32)


def ensemble_init(module: nn.Module, key: PRNGKeyArray, size: int, *inputs: Array) -> Any:
    """Parameters of ``size`` independent copies of ``module``: every leaf gains a leading axis ``size``."""
    return jax.vmap(lambda k: module.init(k, *inputs))(jax.random.split(key, size))


def ensemble_apply(apply: Callable[..., Any]) -> Callable[..., Any]:
    """``apply`` over the leading axis of its parameters, inputs shared: ``(params[C], ...) -> [C, ...]``."""

    def apply_all(params: Any, *inputs: Array) -> Any:
        return jax.vmap(lambda member: apply(member, *inputs))(params)

    return apply_all
