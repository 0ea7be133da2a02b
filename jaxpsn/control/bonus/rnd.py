"""Random network distillation (Burda et al. 2018, arXiv 1810.12894)."""

from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpsn.control.agents.family import Rate
from jaxpsn.control.bonus.distilling import distilled
from jaxpsn.control.bonus.family import BONUSES, BonusSpace
from jaxpsn.control.bonus.novelty import Novel, Novelty
from jaxpsn.core.fields import Whole, Widths


@BONUSES.register("rnd")
@dataclass(frozen=True)
class Rnd(Novel):
    """RND: how far a predictor is from a random network, mean((f - g)^2) over features.

    The predictor learns once from every observation: a vector step at a time, or a minibatch of a rollout. Source:
    Burda et al. 2018 (arXiv 1810.12894).
    """

    lr: Rate = 3e-4
    """Adam rate of the predictor."""
    hidden: Widths = (128, 128)
    """Hidden widths of both networks."""
    features: Annotated[int, Whole(1, 1 << 14)] = 64
    """Features that are predicted."""

    def novelty(self, space: BonusSpace) -> Novelty:
        shape = (space.observation_size, self.hidden, self.features, 1)
        return distilled(shape, lambda key, said, targets: squared(said, targets), squared)


def squared(said: Float[Array, "*batch f"], targets: Float[Array, "1 *batch f"]) -> Float[Array, "*batch"]:
    """Mean squared error over features."""
    return jnp.mean(jnp.square(said - targets[0]), axis=-1)
