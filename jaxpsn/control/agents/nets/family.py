"""The family of networks that an actor and its critics are made of. The names need no JAX."""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxpsn.core import errors
from jaxpsn.core.components import Component
from jaxpsn.core.families import Family


class NetworkForm(Component):
    """What an actor and its critics are made of.

    ``agent``: a :class:`jaxpsn.control.agents.ActorCritic`, whose fields say how large they are.
    """

    batched: ClassVar[bool] = False
    """Whether they normalise by the batch that they learn from, as :mod:`jaxpsn.networks.batch_norm` does."""

    def check(self, agent: Any) -> None:
        """Refuse settings of the agent that this form does not have. Raises UserError."""

    def actor(self, agent: Any, outputs: int) -> Any:
        """The actor in float32, with methods as those of :class:`jaxpsn.networks.Actor`."""
        raise NotImplementedError

    def critic(self, agent: Any) -> Any:
        """One critic in float32, ``critic.apply(params, obs, action)`` as that of :class:`jaxpsn.networks.Critic`."""
        raise NotImplementedError

    def project(self, params: Any) -> Any:
        """Weights of an actor, or of critics with leading axes, as they are kept; after the start and each update."""
        return params


NETWORKS: Family[NetworkForm] = Family(
    "network",
    NetworkForm,
    {name: f"jaxpsn.control.agents.nets.{name}" for name in ("hyperspherical", "xqc")},
    doc="What actors and critics are made of.",
)


@NETWORKS.register("mlp")
@dataclass(frozen=True)
class Mlp(NetworkForm):
    """Dense layers one after the other, each with a layer norm if layer_norm says so."""

    def actor(self, agent: Any, outputs: int) -> Any:
        from jaxpsn.networks import Actor

        return Actor(outputs, tuple(agent.actor_hidden), **_shared(agent))

    def critic(self, agent: Any) -> Any:
        from jaxpsn.networks import Critic

        widths, said = tuple(agent.critic_hidden), agent.critic.outputs
        return Critic(widths, action_layer=agent.action_layer, outputs=said, **_shared(agent))


def _shared(agent: Any) -> dict[str, Any]:
    return {"nonlinearity": agent.activation, "layer_norm": agent.layer_norm, "head_scale": agent.head_scale}


MLP = Mlp()


_OF_MLP = ("activation", "layer_norm", "head_scale", "weight_decay", "critic_l2", "action_layer")


def refuse_of_mlp(agent: Any, form: str) -> None:
    """Refuse fields of ``agent`` that another form than :class:`Mlp` does without, unless at their defaults."""
    for name in _OF_MLP:
        default = type(agent).__dataclass_fields__[name].default
        if getattr(agent, name) != default:
            told = f"{default:g}" if isinstance(default, float) else str(default).lower()
            allowed = f"{told}, the default, as network is {form}"
            errors.refuse(f"agent.{name}", getattr(agent, name), allowed)
