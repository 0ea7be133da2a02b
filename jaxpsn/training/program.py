"""What can be trained: the interface between the run loop and an algorithm."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import PRNGKeyArray

State = Any
Metrics = dict[str, Any]


@runtime_checkable
class Program(Protocol):
    """An algorithm as pure functions of one seed; the loop compiles, vmaps, saves and reports it.

    ``state`` is any pytree with a field ``clock`` (int32 scalar, calls of ``step`` made so far, shared by all seeds).
    It may have a field ``updates`` (int32, gradient updates so far), which then is a column of the metrics.
    """

    steps_per_call: int
    """Environment steps of one call of ``step``."""
    hyper: Any
    """Traced hyper-parameters handed to ``init``."""

    def init(self, key: PRNGKeyArray, hyper: Any) -> State:
        """The state of one seed before its first step."""
        ...

    def step(self, state: State) -> tuple[State, Metrics]:
        """One call, with metrics: scalars (averaged over a chunk, NaN is absent) or pairs (total, count).

        The pairs are summed over the chunk, and total/count is reported.
        """
        ...

    def evaluate(self, key: PRNGKeyArray, state: State) -> Metrics:
        """Scalars that judge the clean policy; their names begin with ``eval_``."""
        ...

    def watch(self, state: State, metrics: Metrics) -> dict[str, Any]:
        """Trees by name that must stay finite."""
        ...

    def axes(self, state: State) -> Any:
        """The tree of ``jax.vmap`` axes of ``state`` over seeds: None for the clock, 0 elsewhere."""
        ...
