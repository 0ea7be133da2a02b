"""The family of critics' forms: a number, or a distribution over bins. The names need no JAX."""

from dataclasses import dataclass
from typing import Annotated, Any

from jaxpsn.core import errors
from jaxpsn.core.components import Component
from jaxpsn.core.families import Family
from jaxpsn.core.fields import Real, Whole

Bound = Annotated[float, Real(-1e6, 1e6)]


class CriticForm(Component):
    """What a critic's last layer says, and what it learns from.

    ``out``: what all C critics say of B actions, ``[C, B]`` or ``[C, B, K]``.
    """

    @property
    def outputs(self) -> int | None:
        """Numbers that a critic gives, K; None for the value itself."""
        return None

    def value(self, out: Any) -> Any:
        """What an action is worth, ``[...]``, of ``out[...]`` or ``out[..., K]``."""
        raise NotImplementedError

    def target(self, reward: Any, end: Any, discount: Any, out: Any, bonus: Any = None) -> Any:
        """What every critic is to say, ``[B]`` or ``[B, K]``, of the target critics' ``out`` on the next action.

        The critic that gives it less counts. ``end[B]``: nothing follows; ``discount``: of what follows, one number or
        ``[B]``; ``bonus[B]``: added to the value of what follows.
        """
        raise NotImplementedError

    def errors(self, out: Any, target: Any) -> Any:
        """How far each critic is from ``target``, ``[C, B]``."""
        raise NotImplementedError

    def loss(self, out: Any, target: Any) -> Any:
        """Mean of :meth:`errors` over the batch, summed over critics."""
        from jaxpsn.control.agents import losses

        return losses.total(self.errors(out, target))


CRITICS: Family[CriticForm] = Family(
    "critic",
    CriticForm,
    {name: f"jaxpsn.control.agents.critics.{name}" for name in ("huber", "c51", "hl_gauss")},
    doc="What a critic says, and what it learns from.",
)


@CRITICS.register("squared")
@dataclass(frozen=True)
class Squared(CriticForm):
    """The value itself, by its mean squared error."""

    def value(self, out: Any) -> Any:
        return out

    def target(self, reward: Any, end: Any, discount: Any, out: Any, bonus: Any = None) -> Any:
        from jaxpsn.control.agents import losses

        least = out[0] if len(out) == 1 else out.min(axis=0)
        return losses.bootstrap(reward, end, discount, least if bonus is None else least + bonus)

    def errors(self, out: Any, target: Any) -> Any:
        from jaxpsn.control.agents import losses

        return losses.squared(out, target)


@dataclass(frozen=True)
class Binned(CriticForm):
    """A distribution over ``atoms`` bins from ``low`` to ``high``, by its cross-entropy."""

    atoms: Annotated[int, Whole(2, 1 << 12)] = 101
    """Bins."""
    low: Bound = -10.0
    """Least value; with rewards of at most r it is that of the discounted sum, r / (1 - gamma)."""
    high: Bound = 10.0
    """Greatest value."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low >= self.high:
            errors.refuse("critic.low", self.low, f"below high = {self.high:g}")

    @property
    def outputs(self) -> int | None:
        return self.atoms

    def errors(self, out: Any, target: Any) -> Any:
        from jaxpsn.control.agents import losses

        return losses.cross_entropy(out, target)
