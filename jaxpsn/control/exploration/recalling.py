"""What perturbed policies would have done with other weights: the same perturbations around a policy that has moved."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from jaxpsn import noise
from jaxpsn.control.exploration.rules import Followers
from jaxpsn.core.compat import anywhere
from jaxpsn.noise.draws import draw_all


def followers(raw: Callable[..., Array], form: noise.Structure, rows: int) -> Followers:
    """Those of a state with ``key``, ``draw`` and ``sigma``, whose groups have ``rows`` environments each.

    A perturbation that is held no more is drawn again, from the key, its member and its counter: with Flipout a few
    words for each sample, with dense noise as many numbers as the policy has.
    """

    def recall(
        params: Any,
        state: Any,
        obs: Float[Array, "G R O"],
        groups: Int[Array, " G"],
        tags: UInt32[Array, "G R"] | None,
    ) -> Float[Array, "G R K"]:
        draw, own, seen = taken(state.draw, groups), state.sigma, obs
        own = own[groups] if own.ndim else own
        if tags is not None:
            draw, seen = _again(form, state.key, draw, tags), obs.reshape(-1, obs.shape[-1])
            own = jnp.repeat(own, obs.shape[1]) if own.ndim else own
        moved = noise.fused(raw, draw.spec, form, exact_zero=False)(params, draw, own, seen)
        return moved.reshape(*obs.shape[:2], moved.shape[-1])

    return Followers(
        recall, lambda state: jnp.repeat(state.draw.counter, rows), lambda state: anywhere(state.sigma != 0)
    )


def taken(draw: noise.Draw, members: Int[Array, " G"]) -> noise.Draw:
    """The perturbations of these members."""
    kept = jax.tree.map(lambda leaf: leaf[members], (draw.counter, draw.number, draw.noise))
    return draw.replace(counter=kept[0], number=kept[1], noise=kept[2])


def _again(form: noise.Structure, key: Any, draw: noise.Draw, counters: UInt32[Array, "G R"]) -> noise.Draw:
    """A member for each sample, with the noise that its group had at that count of redraws."""
    number, counter = jnp.repeat(draw.number, counters.shape[1]), counters.reshape(-1)
    return draw.replace(counter=counter, number=number, noise=draw_all(form, draw.spec, key, number, counter))
