"""C51: the distribution of returns on fixed atoms (Bellemare et al. 2017, arXiv 1707.06887)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxpsn.control.agents import losses
from jaxpsn.control.agents.critics.family import CRITICS, Binned


@CRITICS.register("c51")
@dataclass(frozen=True)
class C51(Binned):
    """The distribution of returns on evenly spaced atoms; targets are shifted, shrunk and projected back on them.

    Of several critics the one whose mean is less gives the target, as in FastTD3. Source: Bellemare et al. 2017
    (arXiv 1707.06887, algorithm 1).
    """

    @property
    def support(self) -> Float[Array, " k"]:
        """The atoms."""
        return jnp.linspace(self.low, self.high, self.atoms, dtype=jnp.float32)

    def value(self, out: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
        return losses.mean_of(out, self.support)

    def target(
        self,
        reward: Float[Array, " b"],
        end: Bool[Array, " b"],
        discount: float | Float[Array, " b"],
        out: Float[Array, "c b k"],
        bonus: Float[Array, " b"] | None = None,
    ) -> Float[Array, "b k"]:
        chosen = jnp.argmin(self.value(out), axis=0)
        least = jnp.take_along_axis(out, chosen[None, :, None], axis=0)[0]
        follows = self.support[None] + (jnp.zeros_like(reward) if bonus is None else bonus)[:, None]
        shrink = jnp.broadcast_to(jnp.asarray(discount, jnp.float32), reward.shape)[:, None]
        moved = reward[:, None] + shrink * jnp.where(end[:, None], jnp.zeros_like(follows), follows)
        return project(jax.nn.softmax(least, axis=-1), moved, self.support)


def project(
    chance: Float[Array, "b k"], places: Float[Array, "b k"], support: Float[Array, " k"]
) -> Float[Array, "b k"]:
    """The distribution ``chance`` at ``places`` on ``support``: each place is shared by the two atoms beside it.

    Places beyond the ends count as the ends. ``sum_j clip(1 - |place_j - z_i| / gap, 0, 1) chance_j`` (equation 7).
    """
    gap = (support[-1] - support[0]) / (support.shape[0] - 1)
    held = jnp.clip(places, support[0], support[-1])
    near = 1.0 - jnp.abs(held[:, None, :] - support[None, :, None]) / gap
    return jnp.sum(jnp.clip(near, 0.0, 1.0) * chance[:, None, :], axis=-1)
