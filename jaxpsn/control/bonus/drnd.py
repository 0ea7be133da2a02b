"""Distributional random network distillation (Yang et al. 2024, arXiv 2401.09750)."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.control.agents.family import Rate
from jaxpsn.control.bonus.distilling import distilled
from jaxpsn.control.bonus.family import BONUSES, BonusSpace
from jaxpsn.control.bonus.novelty import Novel, Novelty
from jaxpsn.core.fields import Fraction, Whole, Widths

LEAST = 1e-3
"""Least share of the second term, as in the release."""
_TINY = 1e-12


@BONUSES.register("drnd")
@dataclass(frozen=True)
class Drnd(Novel):
    """DRND: a predictor of several random networks, whose error also says how often a state was seen.

    ``alpha |f - mu|^2 + (1 - alpha) mean(sqrt(|f^2 - mu^2| / (B2 - mu^2)))``, with mean mu and mean square B2 of what
    the networks say. With f the mean of n draws, the first term is on average 1/n of the networks' variance, and so is
    what the root is taken of (before its absolute value). Source: Yang et al. 2024 (arXiv 2401.09750, section 4).
    """

    lr: Rate = 3e-4
    """Adam rate of the predictor."""
    hidden: Widths = (128, 128)
    """Hidden widths of all networks."""
    features: Annotated[int, Whole(1, 1 << 14)] = 64
    """Features that are predicted."""
    targets: Annotated[int, Whole(2, 1 << 10)] = 5
    """Random networks; each state is predicted as one of them says, drawn anew."""
    alpha: Fraction = 0.9
    """Share of the squared distance to the mean; the rest is that of the second moment."""

    def novelty(self, space: BonusSpace) -> Novelty:
        shape = (space.observation_size, self.hidden, self.features, self.targets)
        return distilled(shape, drawn_error, lambda said, targets: distributional(said, targets, self.alpha))


def drawn_error(key: PRNGKeyArray, said: Float[Array, "n f"], targets: Float[Array, "t n f"]) -> Float[Array, " n"]:
    """Mean squared error to what one network says, drawn for each row."""
    number = jax.random.randint(key, said.shape[:1], 0, targets.shape[0])
    chosen = jnp.take_along_axis(targets, number[None, :, None], axis=0)[0]
    return jnp.mean(jnp.square(said - chosen), axis=-1)


def distributional(
    said: Float[Array, "*batch f"], targets: Float[Array, "t *batch f"], alpha: float
) -> Float[Array, "*batch"]:
    """The two terms, summed and averaged over features, with the square root's argument in [1e-3, 1]."""
    mean, square = jnp.mean(targets, axis=0), jnp.mean(jnp.square(targets), axis=0)
    spread = jnp.maximum(square - jnp.square(mean), _TINY)
    share = jnp.clip(jnp.abs(jnp.square(said) - jnp.square(mean)) / spread, LEAST, 1.0)
    far = jnp.sum(jnp.square(said - mean), axis=-1)
    return alpha * far + (1.0 - alpha) * jnp.mean(jnp.sqrt(share), axis=-1)
