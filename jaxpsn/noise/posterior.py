"""A Gaussian over weights in which every weight has a scale of its own, and the steps that learn it (IVON)."""

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxpsn.core.components import Component
from jaxpsn.core.fields import Positive, Real, Traced
from jaxpsn.noise.draws import Draw
from jaxpsn.noise.lazy import matrix_view
from jaxpsn.noise.views import View

Beta = Traced[Annotated[float, Real(0.0, 1.0)]]


class Newton(NamedTuple):
    """The variational Newton steps of IVON, entry by entry; numbers may be traced.

    A weight has mean m and variance ``1 / (precision (h + prior))``. Source: Shen et al. 2024 (arXiv 2402.17641,
    algorithm 1).
    """

    precision: Any
    prior: Any
    hessian: Any
    """Curvature at the start."""
    momentum_decay: Any
    hessian_decay: Any

    def deviation(self, hessian: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """``1 / sqrt(precision (h + prior))``."""
        return jax.lax.rsqrt(self.precision * (hessian + self.prior))

    def averaged(self, momentum: Float[Array, "*shape"], gradient: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The mean gradient after one more."""
        return self.momentum_decay * momentum + (1 - self.momentum_decay) * gradient

    def curved(self, hessian: Float[Array, "*shape"], estimate: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The curvature after one estimate; the last term keeps ``h + prior`` above 0 (arXiv 2002.10060)."""
        moved = (1 - self.hessian_decay) * (hessian - estimate)
        return hessian - moved + 0.5 * jnp.square(moved) / (hessian + self.prior)

    def descent(self, mean: Array, momentum: Array, hessian: Array, rate: Any, count: Array) -> Array:
        """What step number ``count``, from 1, takes off the mean.

        ``rate (hessian + prior) (g + prior m) / (h + prior)``: of curvature as at the start that of gradient descent.
        """
        debias = 1 - self.momentum_decay ** count.astype(jnp.float32)
        step = rate * (self.hessian + self.prior)
        return step * (momentum / debias + self.prior * mean) / (hessian + self.prior)


@dataclass(frozen=True)
class Variational(Component):
    """The fields of a component whose Gaussian is learnt by :class:`Newton`'s steps."""

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


@struct.dataclass
class Posterior:
    """The Gaussian that perturbed weights are drawn from."""

    mean: Any  # a parameter tree
    scale: Any  # path -> standard deviation of every entry, float32 of the leaf's shape; perturbed leaves alone


def scaled(draw: Draw, scale: dict[str, Array]) -> Draw:
    """``draw`` with every entry of E times its own scale; differentiable in the scales.

    Raises UserError for a structure whose entries share their numbers.
    """
    noise = dict(draw.noise)
    for leaf in draw.spec.leaves:
        own = matrix_view(leaf, scale[leaf.path], View(leaf.path, tuple(range(len(leaf.shape)))))
        noise[leaf.path] = draw.kind.scaled(leaf, noise[leaf.path], own)
    return draw.replace(noise=noise)
