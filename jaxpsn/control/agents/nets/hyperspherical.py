"""Networks on the unit sphere (SimbaV2, Lee et al. 2025, arXiv 2502.15280)."""

from dataclasses import dataclass
from typing import Annotated, Any

from jaxpsn.control.agents.nets.family import NETWORKS, NetworkForm, refuse_of_mlp
from jaxpsn.core import errors
from jaxpsn.core.fields import Positive, Whole
from jaxpsn.networks import hyperspherical


@NETWORKS.register("hyperspherical")
@dataclass(frozen=True)
class Hyperspherical(NetworkForm):
    """Residual blocks on the unit sphere; the weights of every output are projected to norm 1 after each update.

    ``actor_hidden`` and ``critic_hidden`` are a block each, all of one width. Made for rewards of a known size:
    ``scale_rewards=true`` and a critic of bins. Weight noise is added to the projected weights, those that act, and is
    not projected: noise of sigma on n inputs has norm sigma sqrt(n) beside their norm 1, with ``relative=true`` sigma
    itself. Gains are left alone. Targets are means of projected weights, as released. Source: SimbaV2, Lee et al. 2025
    (arXiv 2502.15280, section 4).
    """

    expansion: Annotated[int, Whole(1, 64)] = 4
    """Width within a block, times that of the block."""
    shift: Positive = 3.0
    """What is appended to the inputs before they are brought to norm 1."""

    def check(self, agent: Any) -> None:
        for name in ("actor_hidden", "critic_hidden"):
            if len(set(getattr(agent, name))) > 1:
                told = "x".join(map(str, getattr(agent, name)))
                errors.refuse(f"agent.{name}", told, "equal widths, one a block, as network is hyperspherical")
        refuse_of_mlp(agent, "hyperspherical")

    def actor(self, agent: Any, outputs: int) -> Any:
        return hyperspherical.SphereActor(outputs, *self._shape(agent.actor_hidden))

    def critic(self, agent: Any) -> Any:
        return hyperspherical.SphereCritic(*self._shape(agent.critic_hidden), outputs=agent.critic.outputs)

    def project(self, params: Any) -> Any:
        return hyperspherical.project(params)

    def _shape(self, widths: tuple[int, ...]) -> tuple[int, int, int, float]:
        return widths[0], len(widths), self.expansion, self.shift
