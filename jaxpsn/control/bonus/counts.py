"""A bonus by visits to the cells of the task (Strehl and Littman 2008; Tang et al. 2017, arXiv 1611.04717)."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.control.bonus.family import BONUSES, BonusSpace
from jaxpsn.control.bonus.novelty import Novel, Novelty


@BONUSES.register("counts")
@dataclass(frozen=True)
class Counts(Novel):
    """Visits: 1 / sqrt(n) of the n observations, all environments together, that fell into the same cell; 1 for none.

    The cells are those of the diagnosis (``jaxpsn.envs.cells``): a grid for our sparse tasks, else a hash of 14 bits.
    Source: MBIE-EB, Strehl and Littman 2008; with hashes Tang et al. 2017 (arXiv 1611.04717, equation 1).
    """

    def novelty(self, space: BonusSpace) -> Novelty:
        cells = space.cells

        def init(key: PRNGKeyArray, hyper: Any) -> Float[Array, " cells"]:
            return jnp.zeros((cells.count,), jnp.float32)

        def learn(
            key: PRNGKeyArray, visits: Float[Array, " cells"], obs: Float[Array, "n o"]
        ) -> tuple[Float[Array, " cells"], dict[str, Any]]:
            visits = visits.at[cells.index(obs)].add(1.0)
            return visits, {"cells_visited": jnp.sum(visits > 0, dtype=jnp.float32)}

        def measure(visits: Float[Array, " cells"], obs: Float[Array, "*batch o"]) -> Float[Array, "*batch"]:
            return 1.0 / jnp.sqrt(jnp.maximum(visits[cells.index(obs)], 1.0))

        return Novelty(init, learn, measure)
