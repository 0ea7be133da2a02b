"""What an action is: a vector of numbers, or one of several choices. JAX is imported when actions are made."""

from dataclasses import dataclass
from typing import Any, ClassVar

SATURATED = 0.99
"""An action beyond it, in size, counts as saturated."""


class ActionSpace:
    """All actions of one environment; ``n`` of them are an array with leading axis n."""

    kind: ClassVar[str]
    """What messages call it."""

    size: int
    """Numbers that a network gives for one state: an action's entries, or the values of all choices."""

    @property
    def example(self) -> Any:
        """One action, as a shape and dtype."""
        raise NotImplementedError

    def zeros(self, count: int) -> Any:
        """``count`` times the action whose entries are 0, or the first choice."""
        import jax.numpy as jnp

        return jnp.zeros((count, *self.example.shape), self.example.dtype)

    def uniform(self, key: Any, count: int) -> Any:
        """``count`` independent actions, each as likely as any other."""
        raise NotImplementedError

    def executed(self, action: Any) -> Any:
        """What is carried out and stored where ``action[n, ...]`` is what exploration asks for."""
        return action

    def distance(self, executed: Any, clean: Any) -> Any:
        """How far actions are from others in their place, one float32 number."""
        raise NotImplementedError

    def report(self, action: Any) -> dict[str, Any]:
        """Metrics of the actions ``[n, ...]`` of a step."""
        return {}


@dataclass(frozen=True)
class Box(ActionSpace):
    """Vectors ``[size]`` of float32 within [-1, 1]."""

    size: int

    kind = "box"

    @property
    def example(self) -> Any:
        import jax

        return jax.ShapeDtypeStruct((self.size,), "float32")

    def uniform(self, key: Any, count: int) -> Any:
        """Entries uniform in [-1, 1]."""
        import jax

        return jax.random.uniform(key, (count, self.size), "float32", -1.0, 1.0)

    def executed(self, action: Any) -> Any:
        """Clipped to [-1, 1]."""
        import jax.numpy as jnp

        return jnp.clip(action, -1.0, 1.0)

    def distance(self, executed: Any, clean: Any) -> Any:
        """Root mean square of the difference, over actions and their entries."""
        import jax.numpy as jnp

        return jnp.sqrt(jnp.mean(jnp.square(executed - clean)))

    def report(self, action: Any) -> dict[str, Any]:
        """``saturation``: share of entries beyond :data:`SATURATED`."""
        import jax.numpy as jnp

        return {"saturation": jnp.mean((jnp.abs(action) > SATURATED).astype(jnp.float32))}


@dataclass(frozen=True)
class Discrete(ActionSpace):
    """Whole numbers from 0 to ``count - 1``, int32 scalars."""

    count: int

    kind = "discrete"

    @property
    def size(self) -> int:  # type: ignore[override]
        """One number for each choice."""
        return self.count

    @property
    def example(self) -> Any:
        import jax

        return jax.ShapeDtypeStruct((), "int32")

    def uniform(self, key: Any, count: int) -> Any:
        """Choices drawn with equal chances."""
        import jax

        return jax.random.randint(key, (count,), 0, self.count, "int32")

    def distance(self, executed: Any, clean: Any) -> Any:
        """Share of choices that differ."""
        import jax.numpy as jnp

        return jnp.mean((executed != clean).astype(jnp.float32))


def space_of(env: Any) -> ActionSpace:
    """The actions of an environment: its ``action_space``, or a :class:`Box` of its ``action_size``."""
    own = getattr(env, "action_space", None)
    return own if isinstance(own, ActionSpace) else Box(int(env.action_size))
