"""The price of N distinct policies: clean batch, fused structures, materialised weights, redraws."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpsn import noise

STRUCTURES: dict[str, noise.Structure] = {
    "flipout hadamard": noise.Flipout(),
    "flipout sign base": noise.Flipout(base="sign"),
    "low rank 1": noise.LowRank(rank=1, dense_head=False),
    "low rank 1, dense head": noise.LowRank(rank=1),
    "low rank 4": noise.LowRank(rank=4, dense_head=False),
    "factorised": noise.Factorised(),
    "input gain": noise.InputGain(),
    "dense": noise.Dense(),
    "dense bfloat16": noise.Dense(store="bfloat16"),
}


class Policy(nn.Module):
    """The policy that is timed: dense, layer norm, swish; tanh at the end."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        for width in self.widths[:-1]:
            x = nn.swish(nn.LayerNorm()(nn.Dense(width)(x)))
        return jnp.tanh(nn.Dense(self.widths[-1])(x))


def acting_contenders(members: int, sizes: tuple[int, ...], dense_members: int) -> dict[str, Callable[[], Any]]:
    """Name -> a call of one policy step; the clean batch first.

    ``sizes``: widths from observation to action. Structures that hold whole matrices per member, and the
    materialised weights, are timed only up to ``dense_members`` members. "+ redraw" redraws every member at
    every step; "+ redraw 1%" every hundredth.
    """
    key = jax.random.key(0)
    policy = Policy(sizes[1:])
    x = jax.random.normal(key, (members, sizes[0]))
    params = policy.init(key, x[0])
    contenders: dict[str, Callable[[], Any]] = {"clean": partial(jax.jit(policy.apply), params, x)}
    spec = noise.plan(policy.apply, params, x[0])
    sigma = jnp.float32(0.1)
    everyone, few = jnp.ones((members,), bool), jnp.arange(members) % 100 == 0
    for name, kind in STRUCTURES.items():
        if isinstance(kind, noise.Dense) and members > dense_members:
            continue
        draw = kind.init(key, spec, members)
        act = noise.fused(policy.apply, spec, kind)
        held = jax.jit(act)
        renewed = jax.jit(partial(_redraw_and_act, act, kind))
        contenders[name] = partial(held, params, draw, sigma, x)
        for label, where in (("", everyone), (" 1%", few)):
            contenders[f"{name} + redraw{label}"] = partial(renewed, key, params, draw, sigma, where, x)
    if members <= dense_members:
        contenders["materialised weights"] = _materialised(policy, params, spec, x, key)
    return contenders


def _redraw_and_act(act, kind, key, params, draw, sigma, where, x):
    draw = kind.redraw(key, draw, where)
    return act(params, draw, sigma, x), draw


def _materialised(policy: nn.Module, params: Any, spec: noise.Spec, x: jax.Array, key: jax.Array) -> Callable[[], Any]:
    """Weights of every member formed beforehand, applied under ``vmap``."""
    kind = noise.Flipout()
    draw = kind.init(key, spec, x.shape[0])
    form = jax.vmap(lambda member: kind.materialise(params, draw, 0.1, member))
    weights = jax.jit(form)(jnp.arange(x.shape[0]))
    return partial(jax.jit(jax.vmap(policy.apply)), weights, x)
