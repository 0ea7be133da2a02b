"""The family of environments that are components: their options are fields. The names need no JAX."""

from typing import Any

from jaxpsn.core.components import Component
from jaxpsn.core.families import Family

_HOME = "jaxpsn.envs.discrete"
MINATAR = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")


class Environment(Component):
    """An environment by its name and options."""

    limit: int = 1000
    """Its time limit in environment steps, where a config names none: a class's own, or a property of its fields."""

    def make(self, **options: Any) -> Any:
        """The environment, a ``brax.envs.Env``; ``options`` are those that are no fields."""
        raise NotImplementedError


ENVS: Family[Environment] = Family(
    "env",
    Environment,
    {name: f"{_HOME}.{name}" for name in ("chain", "deep_sea", "cartpole", "mountain_car_discrete", "acrobot")}
    | {f"minatar/{name}": f"{_HOME}.minatar" for name in MINATAR},
    doc="Environments with options of their own, and yours; Brax's, Playground's and the sparse tasks lie beside them.",
)
