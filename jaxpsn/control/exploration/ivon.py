"""IVON: the actor's weights as a Gaussian that is learnt by variational Newton steps (arXiv 2402.17641)."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.control.exploration.family import EXPLORATION
from jaxpsn.control.exploration.noisynet import Drawn
from jaxpsn.control.exploration.rules import ActorRule
from jaxpsn.core.components import Tune
from jaxpsn.core.fields import Positive, Real, Traced
from jaxpsn.networks import noisy

Beta = Traced[Annotated[float, Real(0.0, 1.0)]]


@struct.dataclass
class Curvature:
    """What the optimiser keeps beside means and scales."""

    momentum: Any  # of all weights
    hessian: Any  # of those with noise, estimated from it
    count: Any  # [] int32
    hyper: Any  # precision, prior, hessian, momentum_decay, hessian_decay: [] float32


def deviation(hessian: Float[Array, "*shape"], hyper: Any) -> Float[Array, "*shape"]:
    """``1 / sqrt(precision (h + prior))``."""
    return jax.lax.rsqrt(hyper["precision"] * (hessian + hyper["prior"]))


def begin(key: PRNGKeyArray, params: Any, hyper: Any) -> Curvature:
    """The optimiser before its first step."""
    momentum = jax.tree.map(jnp.zeros_like, params["params"])
    hessian = jax.tree.map(lambda leaf: jnp.zeros_like(leaf) + hyper["hessian"], params["sigma"])
    names = ("precision", "prior", "hessian", "momentum_decay", "hessian_decay")
    return Curvature(momentum, hessian, jnp.int32(0), {name: hyper[name] for name in names})


def step(params: Any, state: Curvature, gradient: Any, rate: Float[Array, ""]) -> tuple[Any, Curvature]:
    """One step from means ``params["params"]`` and scales ``params["sigma"]``.

    ``gradient`` is that at one draw ``w = m + s e``: to the means g, to the scales ``g e``, which over s is the
    estimate of the curvature, ``g (w - m) / s^2``.
    """
    hyper, means, scales = state.hyper, params["params"], params["sigma"]
    count, one, two, prior = state.count + 1, hyper["momentum_decay"], hyper["hessian_decay"], hyper["prior"]
    momentum = jax.tree.map(lambda m, g: one * m + (1 - one) * g, state.momentum, gradient["params"])
    hessian = jax.tree.map(lambda h, g, s: curved(h, g / s, two, prior), state.hessian, gradient["sigma"], scales)
    debias = 1 - one ** count.astype(jnp.float32)
    start = hyper["hessian"]
    whole = _over(jax.tree.map(lambda leaf: jnp.zeros_like(leaf) + start, means), hessian)

    def move(mean: Array, g: Array, h: Array) -> Array:
        return mean - rate * (start + prior) * (g / debias + prior * mean) / (h + prior)

    moved = jax.tree.map(move, means, momentum, whole)
    sigma = jax.tree.map(lambda h: deviation(h, hyper), hessian)
    return {**params, "params": moved, "sigma": sigma}, Curvature(momentum, hessian, count, hyper)


def curved(
    hessian: Float[Array, "*shape"], estimate: Float[Array, "*shape"], decay: Float[Array, ""], prior: Float[Array, ""]
) -> Float[Array, "*shape"]:
    """The curvature after one estimate; the last term keeps ``h + prior`` above 0 (arXiv 2002.10060)."""
    moved = (1 - decay) * (hessian - estimate)
    return hessian - moved + 0.5 * jnp.square(moved) / (hessian + prior)


def _over(tree: Any, part: Any) -> Any:
    """``tree`` with the leaves that ``part`` has in place of its own."""
    if not isinstance(tree, dict):
        return part
    return {name: _over(leaf, part[name]) if name in part else leaf for name, leaf in tree.items()}


@EXPLORATION.register("ivon")
@dataclass(frozen=True)
class Ivon(Drawn):
    """IVON: every environment acts with a draw of the Gaussian that the optimiser of the actor learns.

    A weight has mean m and variance ``1 / (precision (h + prior))``; h is the curvature of the actor's loss, estimated
    from the gradient at drawn weights as ``g (w - m) / variance``. It takes the place of Adam:
    ``m -= lr (hessian + prior) (g + prior m) / (h + prior)``, so ``agent.actor_lr`` is that of gradient descent at the
    start. Norms, which have no noise, descend. Source: Shen et al. 2024 (arXiv 2402.17641, algorithm 1).
    """

    tune = Tune("precision", (1e3, 1e4, 1e5, 1e6))
    kind: ClassVar[noisy.Learnt] = noisy.INDEPENDENT
    optimizer: ClassVar[ActorRule | None] = ActorRule(begin, step)

    precision: Traced[Positive] = 1e4
    """Effective sample size: the larger, the less noise."""
    hessian: Traced[Positive] = 0.1
    """Curvature at the start; with prior and precision it sets the first scale of the noise."""
    prior: Traced[Positive] = 1e-3
    """Weight decay, which is the precision of the prior."""
    momentum_decay: Beta = 0.9
    """Decay of the mean gradient."""
    hessian_decay: Beta = 0.999
    """Decay of the curvature (paper: 0.99999 for long trainings)."""

    def widened(self, params: Any, hyper: Any) -> Any:
        scale = deviation(hyper["hessian"], hyper)
        widest = noisy.widen(params, 1.0)
        return {**widest, "sigma": jax.tree.map(lambda leaf: jnp.ones_like(leaf) * scale, widest["sigma"])}
