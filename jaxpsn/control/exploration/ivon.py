"""IVON: the actor's weights as a Gaussian that is learnt by variational Newton steps (arXiv 2402.17641)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.control.exploration.family import EXPLORATION
from jaxpsn.control.exploration.noisynet import Drawn
from jaxpsn.control.exploration.rules import ActorRule
from jaxpsn.core.components import Tune
from jaxpsn.networks import noisy
from jaxpsn.noise.posterior import Newton, Variational


@struct.dataclass
class Curvature:
    """What the optimiser keeps beside means and scales."""

    momentum: Any  # of all weights
    hessian: Any  # of those with noise, estimated from it
    count: Any  # [] int32
    hyper: Any  # precision, prior, hessian, momentum_decay, hessian_decay: [] float32


def begin(key: PRNGKeyArray, params: Any, hyper: Any) -> Curvature:
    """The optimiser before its first step."""
    momentum = jax.tree.map(jnp.zeros_like, params["params"])
    hessian = jax.tree.map(lambda leaf: jnp.zeros_like(leaf) + hyper["hessian"], params["sigma"])
    return Curvature(momentum, hessian, jnp.int32(0), {name: hyper[name] for name in Newton._fields})


def step(params: Any, state: Curvature, gradient: Any, rate: Float[Array, ""]) -> tuple[Any, Curvature]:
    """One step from means ``params["params"]`` and scales ``params["sigma"]``.

    ``gradient`` is that at one draw ``w = m + s e``: to the means g, to the scales ``g e``, which over s is the
    estimate of the curvature, ``g (w - m) / s^2``.
    """
    law, means, scales, count = Newton(**state.hyper), params["params"], params["sigma"], state.count + 1
    momentum = jax.tree.map(law.averaged, state.momentum, gradient["params"])
    hessian = jax.tree.map(lambda h, g, s: law.curved(h, g / s), state.hessian, gradient["sigma"], scales)
    whole = _over(jax.tree.map(lambda leaf: jnp.zeros_like(leaf) + law.hessian, means), hessian)
    moved = jax.tree.map(lambda m, g, h: m - law.descent(m, g, h, rate, count), means, momentum, whole)
    sigma = jax.tree.map(law.deviation, hessian)
    return {**params, "params": moved, "sigma": sigma}, Curvature(momentum, hessian, count, state.hyper)


def _over(tree: Any, part: Any) -> Any:
    """``tree`` with the leaves that ``part`` has in place of its own."""
    if not isinstance(tree, dict):
        return part
    return {name: _over(leaf, part[name]) if name in part else leaf for name, leaf in tree.items()}


@EXPLORATION.register("ivon")
@dataclass(frozen=True)
class Ivon(Variational, Drawn):
    """IVON: every environment acts with a draw of the Gaussian that the optimiser of the actor learns.

    A weight has mean m and variance ``1 / (precision (h + prior))``; h is the curvature of the actor's loss, estimated
    from the gradient at drawn weights as ``g (w - m) / variance``. It takes the place of Adam:
    ``m -= lr (hessian + prior) (g + prior m) / (h + prior)``, so ``agent.actor_lr`` is that of gradient descent at the
    start. Norms, which have no noise, descend. Source: Shen et al. 2024 (arXiv 2402.17641, algorithm 1).
    """

    tune = Tune("precision", (1e3, 1e4, 1e5, 1e6))
    kind: ClassVar[noisy.Learnt] = noisy.INDEPENDENT
    optimizer: ClassVar[ActorRule | None] = ActorRule(begin, step)

    def widened(self, params: Any, hyper: Any) -> Any:
        law, widest = Newton(**{name: hyper[name] for name in Newton._fields}), noisy.widen(params, 1.0)
        scale = law.deviation(hyper["hessian"])
        return {**widest, "sigma": jax.tree.map(lambda leaf: jnp.ones_like(leaf) * scale, widest["sigma"])}
