"""What can be trained: the interface between the run loop and an algorithm."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxtyping import PRNGKeyArray

State = Any
Metrics = dict[str, Any]


@runtime_checkable
class Program(Protocol):
    """An algorithm as pure functions of one seed; the loop compiles, vmaps, saves and reports it.

    ``state`` is any pytree with a field ``clock`` (int32 scalar, calls of ``step`` made so far, shared by all seeds).
    It may have a field ``updates`` (int32, gradient updates so far), which then is a column of the metrics. A program
    for several devices has an attribute ``place``: its ``mesh``, and ``shardings(state, axes)`` of the state of one
    seed, ``axes`` being those of seeds as of :meth:`axes`. It may have an attribute ``silences``: conditions on a row
    of metrics under which nothing can be learnt, by the words that tell them (:mod:`jaxpsn.run.quiet`). It may have a
    method ``since(clock, hyper)``: a program equal to it in every call from that one on, which is compiled for them.
    It may have an attribute ``starts``, None or a function ``(key, judging) -> arrays`` of what ``init``, or
    ``evaluate`` where ``judging``, makes of its key first; both then take the arrays as a last argument, and one
    program makes them for both. It may have an attribute ``ahead``, None or a function ``(state, clock) -> arrays`` of
    what the call at ``clock`` draws by the state's key; ``step`` then takes them as a last argument, made for all calls
    of a chunk at once. It may have an attribute ``compiler_options``: what XLA is told of each program.
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


def since(program: Program, clock: int, hyper: Any = None) -> Program:
    """What ``program`` is from call number ``clock`` on: itself, unless it says otherwise.

    ``hyper``: the numbers of all its runs, with a leading axis, where they differ.
    """
    return program.since(clock, hyper) if hasattr(program, "since") else program


@runtime_checkable
class HostProgram(Protocol):
    """An algorithm whose step is a function of the host: compiled phases with work in Python between them.

    One seed a run. ``state`` is a pytree of JAX arrays with a field ``clock`` (int32 scalar, calls of ``step`` made so
    far) and maybe ``updates`` as in :class:`Program`. Whatever decides what a step does is in the state or a constant
    of the program: a run that goes on from a checkpoint must be the uninterrupted one. An error of the user's making
    is a UserError; the state before the failed step is saved unless its arrays were donated by then. ``silences`` as
    of :class:`Program`.
    """

    steps_per_call: int
    """Training steps of one call of ``step``, usually 1; the unit in which the run's cadences count."""

    def template(self) -> State:
        """Shapes and dtypes of the state (``jax.ShapeDtypeStruct``), with shardings where arrays are placed."""
        ...

    def init(self) -> State:
        """The state before the first step, as the template says; not called when a checkpoint is resumed."""
        ...

    def attach(self, folder: Path, kept: int) -> None:
        """Called once, before ``prepare``: the run folder, and the step whose checkpoint is resumed (-1 for none).

        Rows of side logs after ``kept`` belong to steps that will be made again and must go (``sinks.RowLog``).
        """
        ...

    def prepare(self, state_template: State, say: Callable[[str], None]) -> None:
        """Compile what the steps need, ahead of time; ``say`` shows a line."""
        ...

    def step(self, state: State) -> tuple[State, Metrics]:
        """One call; metrics as of :class:`Program`, as numbers of Python, NumPy or JAX. It may donate ``state``."""
        ...

    def evaluate(self, state: State) -> Metrics:
        """Scalars that judge the policy; their names begin with ``eval_``. It must leave ``state`` whole.

        Its randomness is a function of the seed and the clock.
        """
        ...

    def metric_names(self) -> Iterable[str]:
        """All names that ``step`` may report."""
        ...

    def evaluation_names(self) -> Iterable[str]:
        """All names that ``evaluate`` may report."""
        ...

    def watch(self, state: State, metrics: Metrics) -> dict[str, Any]:
        """Trees by name that must stay finite; ``metrics`` are plain numbers by then."""
        ...

    def sync(self) -> None:
        """Make the side logs durable: called before a checkpoint that counts on them."""
        ...

    def close(self) -> None:
        """End what the program opened; called once at the end of every run, however far it came."""
        ...
