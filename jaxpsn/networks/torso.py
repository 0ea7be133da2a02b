"""What stands before the hidden layers of a network; the names need no JAX."""

from typing import Any, ClassVar

from jaxpsn.core.components import Component
from jaxpsn.core.families import Family


class Torso(Component):
    """The first layers of a network, which know how an observation is laid out."""

    steps: ClassVar[int] = 1
    """Observations that it looks at, the newest and those before it in the episode."""

    def check(self, observation_size: int) -> None:
        """Refuse observations of another size. Raises UserError."""

    def build(self, nonlinearity: str, layer_norm: bool) -> Any:
        """A Flax Linen module ``[..., O] -> [..., features]`` with a field ``dtype``, that of the activations."""
        raise NotImplementedError


TORSOS: Family[Torso] = Family(
    "torso",
    Torso,
    {name: f"jaxpsn.networks.{name}" for name in ("cnn", "gru")},
    doc="What stands before the hidden layers of a network.",
)


def layers(
    nonlinearity: str, layer_norm: bool, torso: Torso | None = None, observation_size: int = 0
) -> dict[str, Any]:
    """What all networks of an agent take; ``torso``: what stands before them, of observations of that size.

    Raises UserError for a size that the torso is not for.
    """
    common: dict[str, Any] = {"nonlinearity": nonlinearity, "layer_norm": layer_norm}
    if torso is None:
        return common
    torso.check(observation_size)
    return common | {"torso": torso.build(**common)}
