"""Where a run's arrays lie: on one device, or over a mesh of devices and processes."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxpsn.core import placement, platforms
from jaxpsn.core.placement import DATA
from jaxpsn.lm import sharding
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.noise import Posterior

LARGE = 1 << 24
"""Parameters from which on a CPU samples with the layers side by side; below, compiling them would cost more."""


class Placement(placement.Placement):
    """Problems are cut over the ``data`` axis, weights over ``model``; the kept weights over ``data`` as well.

    What the host reads is whole on every device, so that each process of several sees all answers and verifies them
    alike.
    """

    def decoder(self, decoder: DecoderConfig) -> DecoderConfig:
        """``decoder`` with the kernels that its passes take on these devices."""
        apart = self.platform == platforms.CPU and self.mesh is None and decoder.parameters >= LARGE
        return replace(decoder, flash=self.platform == platforms.CUDA, apart=apart)

    def weights(self, decoder: DecoderConfig) -> Any:
        """Shardings of the weights that are kept and updated, a share on each device; None without a mesh."""
        return None if self.mesh is None else sharding.shardings(decoder, self.mesh, spread=True)

    def working(self, decoder: DecoderConfig, params: Any, dtype: str) -> Any:
        """The weights as passes use them: in ``dtype``, and gathered over ``data`` once, not in every layer."""
        if isinstance(params, Posterior):
            return params.replace(mean=self.working(decoder, params.mean, dtype))
        cast = jax.tree.map(lambda leaf: leaf.astype(jnp.dtype(dtype)), params)
        return cast if self.mesh is None else self.constrain(cast, sharding.shardings(decoder, self.mesh))

    def drawn_from(self, decoder: DecoderConfig, noise: Any) -> Any:
        """Shardings of what perturbed policies are made of (``Perturbation.weights``); scales lie as weights do."""
        places = self.weights(decoder)
        if places is None or noise is None or noise.learnt is None:
            return places
        found = jax.tree_util.tree_leaves_with_path(places)
        by_path = {jax.tree_util.keystr(path, simple=True, separator="/"): place for path, place in found}
        return Posterior(places, {leaf.path: by_path[leaf.path] for leaf in noise.spec.leaves})

    def rows(self) -> Any:
        """The sharding of arrays ``[P, ...]``."""
        return self.sharding(DATA)

    def answers(self) -> Any:
        """The sharding of arrays ``[G, P, ...]``."""
        return self.sharding(None, DATA)

    def moments(self, optimiser: optax.GradientTransformation, opt_state: Any, weights: Any) -> Any:
        """Shardings of an optimiser's state: moments lie where their weights do; None without a mesh."""
        if self.mesh is None:
            return None
        return optax.tree_utils.tree_map_params(
            optimiser,
            lambda leaf, place: place if leaf.ndim else self.whole(),
            opt_state,
            weights,
            transform_non_params=lambda _: self.whole(),
        )
