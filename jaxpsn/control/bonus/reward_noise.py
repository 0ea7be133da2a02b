"""Random reward perturbation (Ma et al. 2025, arXiv 2506.08737)."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpsn.control.bonus.family import BONUSES, Bonus, BonusSpace
from jaxpsn.control.bonus.rules import BonusFunctions
from jaxpsn.core.fields import Positive, Traced


@BONUSES.register("reward_noise")
@dataclass(frozen=True)
class RewardNoise(Bonus):
    """Gaussian noise of mean zero on the rewards that are learnt from, drawn once for each transition.

    It is stored with the transition, so that critics fit it as they fit rewards; what is reported is the task's own
    reward. Of the paper's schedule only the constant one is here. Source: Ma et al. 2025 (arXiv 2506.08737).
    """

    std: Traced[Positive] = 0.1
    """Standard deviation, in units of the reward of a step."""

    def build(self, space: BonusSpace) -> BonusFunctions:
        def observe(key: PRNGKeyArray, std: Float[Array, ""], row: Any) -> tuple[Float[Array, ""], Any, dict[str, Any]]:
            noise = std * jax.random.normal(key, row.reward.shape, jnp.float32)
            return std, row.replace(reward=row.reward + noise), {"bonus_std": jnp.std(noise)}

        return BonusFunctions(lambda key, hyper: hyper["std"], observe)
