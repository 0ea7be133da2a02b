"""The value itself, by a loss that large errors enter linearly."""

from dataclasses import dataclass
from typing import Annotated

from jaxtyping import Array, Float

from jaxpsn.control.agents import losses
from jaxpsn.control.agents.critics.family import CRITICS, Squared
from jaxpsn.core.fields import Real


@CRITICS.register("huber")
@dataclass(frozen=True)
class Huber(Squared):
    """The value itself, by its Huber loss: a square near the target, linear beyond ``delta``.

    Source: Mnih et al. 2015 (Nature 518), whose clipped errors have its gradient.
    """

    delta: Annotated[float, Real(0.0, 1e6, open_low=True)] = 1.0
    """Size of an error from which on it counts linearly."""

    def errors(self, out: Float[Array, "c b"], target: Float[Array, " b"]) -> Float[Array, "c b"]:
        return losses.huber(out, target, self.delta)
