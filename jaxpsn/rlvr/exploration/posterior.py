"""IVON in place of AdamW: the weights are a Gaussian that is learnt, and answers are given by draws of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array

from jaxpsn.core import errors
from jaxpsn.core.components import Tune, spec_of
from jaxpsn.noise import Dense, Structure
from jaxpsn.noise.posterior import Newton, Variational
from jaxpsn.noise.scale_rules import ScaleRule
from jaxpsn.noise.spec import Spec, taken_apart
from jaxpsn.rlvr.exploration.noise_family import NOISES
from jaxpsn.rlvr.exploration.noises import Perturbed
from jaxpsn.rlvr.exploration.rules import Fixed


@struct.dataclass
class Curvature:
    """What the optimiser keeps beside the means."""

    momentum: Any  # like the weights
    hessian: Any  # like the weights where they are perturbed, elsewhere that of the start, []
    count: Any  # [] int32


@NOISES.register("ivon")
@dataclass(frozen=True)
class Ivon(Variational, Perturbed):
    """IVON: answers are given by draws of a Gaussian over the weights that the optimiser learns (arXiv 2402.17641).

    A perturbed weight has mean m, which is the clean policy's, and variance ``1 / (precision (h + prior))``; h is its
    curvature, estimated from the gradient at drawn weights as ``g (w - m) / variance``, so that
    ``algorithm.estimator`` is smoothed or pooled (M draws: 3PO, arXiv 2608.09805). It takes the place of AdamW:
    ``m -= lr (hessian + prior) (g + prior m) / (h + prior)``, so that ``algorithm.learning_rate`` is that of gradient
    descent at the start, about a thousand times AdamW's. Weights without noise descend. ``algorithm.grad_clip`` bounds
    g in this step, not in the estimate of the curvature.
    """

    tune = Tune("precision", (1e3, 1e4, 1e5))
    learnt: ClassVar[bool] = True
    relative: ClassVar[bool] = False
    """The scales are those of the weights themselves."""
    clean_share: ClassVar[float] = 0.0
    """Share of a group's answers that the clean policy gives."""
    sigma: ClassVar[ScaleRule] = Fixed(1.0)
    """What the learnt scales are multiplied by."""

    structure: Structure = field(default_factory=Dense)
    """Form of the noise: dense, as every weight has a scale of its own."""

    def validate(self) -> None:
        """Refuse also a structure whose entries share their numbers."""
        if not self.structure.scalable:
            errors.refuse("ivon.structure", spec_of(self.structure), "dense, as every weight has a scale of its own")
        super().validate()

    @property
    def law(self) -> Newton:
        """The steps of an entry."""
        return Newton(*(getattr(self, name) for name in Newton._fields))

    def begin(self, params: Any, spec: Spec) -> Curvature:
        """The optimiser before its first step."""
        parts = taken_apart(params)
        pairs = zip(parts.paths, parts.arrays, strict=True)
        shapes = [leaf.shape if path in spec.by_path else () for path, leaf in pairs]
        hessian = parts.whole([jnp.full(shape, self.hessian, jnp.float32) for shape in shapes])
        return Curvature(jax.tree.map(jnp.zeros_like, params), hessian, jnp.int32(0))

    def scales(self, opt_state: Curvature, spec: Spec) -> dict[str, Array]:
        """Path -> the standard deviation of every entry of a perturbed leaf."""
        parts = taken_apart(opt_state.hessian)
        pairs = zip(parts.paths, parts.arrays, strict=True)
        return {path: self.law.deviation(h) for path, h in pairs if path in spec.by_path}

    def optimizer(self, rate: Callable[[Array], Array], bound: float, spec: Spec) -> optax.GradientTransformation:
        """What learns means and curvature: gradients are a noise.Posterior's, updates those of its means."""
        law, clip = self.law, optax.clip_by_global_norm(bound)

        def update(gradient: Any, state: Curvature, params: Any = None) -> tuple[Any, Curvature]:
            bounded = clip.update(gradient.mean, optax.EmptyState())[0]
            momentum = jax.tree.map(law.averaged, state.momentum, bounded)
            parts = taken_apart(state.hessian)
            # The gradient to a scale s is g e of the draw m + s e: over s it is g (w - m) / s^2.
            moved = [
                law.curved(h, gradient.scale[path] / law.deviation(h)) if path in gradient.scale else h
                for path, h in zip(parts.paths, parts.arrays, strict=True)
            ]
            hessian, count = parts.whole(moved), state.count + 1

            def down(mean: Array, slope: Array, h: Array) -> Array:
                return -law.descent(mean, slope, h, rate(state.count), count)

            return jax.tree.map(down, params, momentum, hessian), Curvature(momentum, hessian, count)

        return optax.GradientTransformation(lambda params: self.begin(params, spec), update)
