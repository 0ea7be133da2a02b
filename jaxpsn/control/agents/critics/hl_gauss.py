"""HL-Gauss: the value as a classification with Gaussian targets (Farebrother et al. 2024, arXiv 2403.03950)."""

import math
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxpsn.control.agents import losses
from jaxpsn.control.agents.critics.family import CRITICS, Binned
from jaxpsn.core.fields import Real


@CRITICS.register("hl_gauss")
@dataclass(frozen=True)
class HlGauss(Binned):
    """The value as the mean of a distribution that learns a Gaussian around each target.

    Source: Farebrother et al. 2024 (arXiv 2403.03950, section 3.1), after Imani and White 2018 (arXiv 1806.04613).
    """

    spread: Annotated[float, Real(0.0, 100.0, open_low=True)] = 0.75
    """Standard deviation of the Gaussian, in bins (paper: 0.75)."""

    @property
    def edges(self) -> Float[Array, " edges"]:
        """The borders of the bins."""
        return jnp.linspace(self.low, self.high, self.atoms + 1, dtype=jnp.float32)

    def value(self, out: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
        centres = 0.5 * (self.edges[1:] + self.edges[:-1])
        return losses.mean_of(out, centres)

    def target(
        self,
        reward: Float[Array, " b"],
        end: Bool[Array, " b"],
        discount: float | Float[Array, " b"],
        out: Float[Array, "c b k"],
        bonus: Float[Array, " b"] | None = None,
    ) -> Float[Array, "b k"]:
        least = jnp.min(self.value(out), axis=0)
        follows = least if bonus is None else least + bonus
        width = (self.high - self.low) / self.atoms
        return histogram(losses.bootstrap(reward, end, discount, follows), self.edges, self.spread * width)


def histogram(mean: Float[Array, " b"], edges: Float[Array, " edges"], std: float) -> Float[Array, "b k"]:
    """The mass of N(mean, std^2) in each bin, of what lies within the edges; a mean beyond them counts as at the end.

    Farebrother et al. 2024, equation 6 and appendix A.
    """
    held = jnp.clip(mean, edges[0], edges[-1])
    below = jax.scipy.special.erf((edges[None] - held[:, None]) / (math.sqrt(2.0) * std))
    mass = below[:, 1:] - below[:, :-1]
    return mass / (below[:, -1:] - below[:, :1])
