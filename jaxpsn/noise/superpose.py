"""A weighted sum of all members' noise: what an evolution strategy moves the weights by."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpsn.core.errors import refuse
from jaxpsn.noise import inputs
from jaxpsn.noise.draws import Draw
from jaxpsn.noise.lazy import matrix_view, planned, spread
from jaxpsn.noise.spec import Leaf, taken_apart
from jaxpsn.noise.views import View


def superpose(params: Any, draw: Any, weights: Any) -> Any:
    """``sum_i weights[i] E_i`` in float32, a tree like ``params``; zero where nothing is perturbed.

    Low-rank and Flipout noise take one matrix product per leaf, whatever the number of members, and no member's E is
    formed (EGGROLL, arXiv 2511.16652). Raises UserError for weights of another number of members, and for parameters
    that the draw was not planned for.
    """
    inputs.of_type("draw", draw, Draw, "as a structure's init makes it")
    allowed = f"numbers, one for each of the {draw.members} members"
    weights = inputs.array("weights", weights, allowed)
    if weights.shape != (draw.members,) or not jnp.issubdtype(weights.dtype, jnp.floating):
        refuse("weights", inputs.said(weights), allowed)
    parts = taken_apart(params)
    pairs = zip(planned(parts, draw.spec), parts.arrays, strict=True)
    return parts.whole([_leaf(draw, leaf, value, weights) for leaf, value in pairs])


def _leaf(draw: Draw, leaf: Leaf | None, value: Array, weights: Float[Array, " members"]) -> Array:
    kind = draw.kind
    if leaf is None:
        return jnp.zeros(value.shape, jnp.float32)
    if tuple(value.shape) != leaf.shape:
        refuse(leaf.path, tuple(value.shape), f"the planned shape is {leaf.shape}")
    owner = leaf.path if kind.has_state(leaf) else leaf.partner
    noise, base = draw.noise.get(owner, {}), draw.base.get(owner, {})
    if not noise:  # a structure that leaves such a leaf alone
        return jnp.zeros(value.shape, jnp.float32)
    view = View(leaf.path, tuple(range(len(leaf.shape))))
    weight = matrix_view(leaf, value, view) if kind.reads_weight else None

    def total(noise: Any, base: Any, weight: Any) -> Array:
        return kind.total(leaf, noise, base, weight, weights)

    for _ in range(_depth(leaf)):
        # Members stay in front of the axes that a scan slices away and of those of an ensemble.
        total = jax.vmap(total, in_axes=(1, 0, 0))
    return spread(leaf, total(noise, base, weight), view, value.shape)


def _depth(leaf: Leaf) -> int:
    return len(leaf.stack) + bool(leaf.batch)
