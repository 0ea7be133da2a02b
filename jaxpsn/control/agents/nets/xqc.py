"""Networks normalised by the batch, with weights of norm 1 (XQC, Palenicek et al. 2025, arXiv 2509.25174)."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from jaxpsn.control.agents.nets.family import NETWORKS, NetworkForm, refuse_of_mlp
from jaxpsn.core.fields import Real
from jaxpsn.networks import batch_norm, hyperspherical


@NETWORKS.register("xqc")
@dataclass(frozen=True)
class Xqc(NetworkForm):
    """Batch normalisation of the inputs and of every layer; the weights of every output are projected to norm 1.

    Critics and their targets see ``(s, a)`` and ``(s', a')`` in one batch, whose statistics normalise both; the actor
    learns by those of its own batch. All else takes running means and variances: acting, also with perturbed weights,
    distances of noise, target actions, the critics that the actor ascends, evaluations. They move with every update,
    and are saved with the weights, of which they are a part; those of targets follow as weights do. Weight noise is
    added to the projected weights, is not projected, and acts under the statistics of the clean network: what a
    perturbation does to the size of a layer is not taken out again. Norms and their statistics are left alone. Made for
    critics of bins and rewards of a known size, ``scale_rewards=true``; with ``normalize_observations=false`` the
    first norm alone looks after the size of observations. Source: XQC, Palenicek et al. 2025 (arXiv 2509.25174); one
    batch for both, CrossQ, Bhatt et al. 2024 (arXiv 1902.05605).
    """

    batched: ClassVar[bool] = True

    momentum: Annotated[float, Real(0.0, 0.99999)] = 0.99
    """Share of the running statistics that an update keeps."""

    def check(self, agent: Any) -> None:
        refuse_of_mlp(agent, "xqc")

    def actor(self, agent: Any, outputs: int) -> Any:
        return batch_norm.BatchActor(outputs, tuple(agent.actor_hidden), self.momentum)

    def critic(self, agent: Any) -> Any:
        return batch_norm.BatchCritic(tuple(agent.critic_hidden), self.momentum, agent.critic.outputs)

    def project(self, params: Any) -> Any:
        return hyperspherical.project(params)
