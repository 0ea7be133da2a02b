"""What drives a program: compiled chunks of steps, or steps that the host makes one by one."""

import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from jaxpsn.core import errors, placement
from jaxpsn.run import chunk, memory, report
from jaxpsn.run.cadence import Cadence
from jaxpsn.run.chunk import ChunkReport
from jaxpsn.run.compiling import Part, Workshop
from jaxpsn.run.config import RunConfig
from jaxpsn.run.exported import Shelf
from jaxpsn.run.program import HostProgram, Metrics, Program, State, since
from jaxpsn.run.progress import Progress

Note = Callable[..., None]
Totals = dict[str, tuple[Any, Any]]
"""Sum and count of every metric."""


class Advance(NamedTuple):
    """What became of a chunk."""

    state: State
    told: ChunkReport
    """The report, as numbers on the host."""
    calls: int
    """Calls made; fewer than planned if the chunk was cut short."""
    error: Exception | None = None
    """What ended it; ``state`` is the one before the call that failed."""

    def whole(self) -> bool:
        """Whether no array of the state was donated to a call that failed."""
        return not any(leaf.is_deleted() for leaf in jax.tree.leaves(self.state))


@runtime_checkable
class Engine(Protocol):
    """The one face that both kinds of programs show to the run loop."""

    stepwise: bool
    """Whether a chunk can end after any of its calls."""
    columns: tuple[str, ...]
    """The columns of the metrics, known after ``prepare``."""

    def template(self) -> State:
        """Shapes, dtypes and shardings of the state."""
        ...

    def attach(self, folder: Path, kept: int) -> None:
        """The run folder, and the step after which its rows go."""
        ...

    def prepare(self, plan: Cadence, template: State, show: Progress, note: Note) -> None:
        """Compile; ``note(event, detail, seconds)`` is written to the events."""
        ...

    def init(self) -> State:
        """The state before the first step."""
        ...

    def advance(self, state: State, calls: int, go_on: Callable[[int], bool], totals: Totals) -> Advance:
        """Up to ``calls`` calls: after each, ``go_on(calls made)`` may end the chunk.

        ``totals`` are the sums and counts of the calls that the chunk has behind it.
        """
        ...

    def judge(self, state: State) -> Metrics:
        """The evaluation, as numbers on the host."""
        ...

    def sync(self) -> None:
        """Make durable what a checkpoint counts on."""
        ...

    def close(self) -> None:
        """End."""
        ...


_BEFORE = np.int32(-1)
"""The clock of :func:`jaxpsn.run.chunk.make_starts` for the first state."""


class CompiledEngine:
    """Compiled programs: a chunk, which always has the planned length, an evaluation, and the first state.

    There is one chunk for the whole run, or two where a program gets simpler on its way (``since``). What the first
    state and evaluations begin with is made by a program of its own, if the program tells what that is (``starts``).
    """

    stepwise = False

    def __init__(self, program: Program, run: RunConfig, shelf: Shelf | None = None):
        self._program, self._seeds, self._shelf = program, run.seeds, shelf
        self._place = placement.of(program)
        self._layout, whole = chunk.layout(program, run.seeds), self._place.whole()
        self._whole = whole
        self._keys = self._place.put(chunk.seed_keys(run.seed, run.seeds), whole)
        starts = chunk.make_starts(program, run.seeds)
        self._options = getattr(program, "compiler_options", {})
        self._starts = starts and jax.jit(starts, compiler_options=self._options)
        self._begun = starts and jax.eval_shape(starts, self._keys, _BEFORE)
        first = chunk.make_init(program, run.seeds)
        self._init = self._place.jit(first, whole, self._layout, compiler_options=self._options)
        self._first: Part | None = None
        self._chunk: Any = None
        self._later: Any = None  # the chunk from the call number _change on
        self._calls = self._change = 0
        self._evaluate: Any = None
        self._template: State = None
        self.columns: tuple[str, ...] = ()

    def template(self) -> State:
        """Shapes and dtypes of the state of all seeds, on a mesh with shardings."""
        if self._template is None:
            shapes = jax.eval_shape(self._init, self._keys, *self._extra)
            self._template = self._place.shapes(shapes, self._layout)
        return self._template

    @property
    def _extra(self) -> tuple[Any, ...]:
        """Shapes of what the first state and evaluations take besides."""
        return () if self._begun is None else (self._begun,)

    def _made(self, clock: Any) -> tuple[Any, ...]:
        """The same, for an evaluation at ``clock`` or for the first state."""
        return () if self._starts is None else (self._starts(self._keys, clock),)

    def attach(self, folder: Path, kept: int) -> None:
        """Nothing to do: a compiled program writes no files."""

    def prepare(self, plan: Cadence, template: State, show: Progress, note: Note) -> None:
        """Compile all ahead of time."""
        per_call = self._program.steps_per_call
        self._calls, last = plan.start // per_call, plan.end // per_call - plan.calls
        now, then = (since(self._program, clock) for clock in (self._calls, last))
        with Workshop(self._place, self._shelf, self._options) as shop:
            with show.phase(f"compiling the training step ({plan.chunk:,} steps a chunk)"):
                self._chunk = self._step(shop, now, plan.calls, template)
                if now is self._program is not then:
                    later = range(self._calls + plan.calls, last + 1, plan.calls)
                    self._change = next(clock for clock in later if since(self._program, clock) is not self._program)
                    self._later = self._step(shop, then, plan.calls, template)
                if self._begun is not None and (plan.start == 0 or plan.eval_every):
                    self._starts = self._start(shop)
                if plan.start == 0:
                    self._first = self._begin(shop, template)
                if plan.eval_every:
                    self._evaluate = self._judge(shop, template)
                self._check("the training step", self._chunk, note)
            for name, part in (("the step after the warm-up", self._later), ("the evaluation", self._evaluate)):
                if part is not None:
                    with show.phase(f"compiling {name}"):
                        self._check(name, part, note)
        evaluation = self._evaluate.outs if plan.eval_every else {}
        self.columns = report.columns(self._chunk.outs[1].totals, evaluation, hasattr(template, "updates"))

    def _check(self, name: str, part: Part, note: Note) -> None:
        """Wait for a program, and refuse one that needs more memory than there is."""
        memory.check_compiled(self._program, part.wait(), name)
        note("compile", name.removeprefix("the "), part.seconds)

    def _step(self, shop: Workshop, program: Program, calls: int, template: State) -> Part:
        """A chunk of ``program``."""
        name = f"{'step' if program is self._program else 'later step'} x {calls}"
        made = chunk.make_chunk(program, self._seeds, calls)
        places = (self._layout,), (self._layout, self._whole)

        def read(told: Any) -> Any:
            return template, chunk.ChunkReport.outline(told)

        return shop.add(name, made, (template,), places, lambda made: made[1].names(), read, donate=True)

    def _start(self, shop: Workshop) -> Part:
        """What the first state and evaluations begin with."""
        made, args = chunk.make_starts(self._program, self._seeds), (self._keys, _BEFORE)
        return shop.add("starts", made, args, (None, None), lambda made: None, lambda told: self._begun)

    def _begin(self, shop: Workshop, template: State) -> Part:
        """The first state."""
        made, places = chunk.make_init(self._program, self._seeds), (self._whole, self._layout)
        return shop.add("init", made, (self._keys, *self._extra), places, lambda made: None, lambda told: template)

    def _judge(self, shop: Workshop, template: State) -> Part:
        """The evaluation."""
        made, places = chunk.make_evaluate(self._program, self._seeds), ((self._whole, self._layout), self._whole)
        args = self._keys, template, *self._extra
        return shop.add("evaluation", made, args, places, sorted, lambda told: dict.fromkeys(told, 0))

    def init(self) -> State:
        """The state of all seeds before the first step."""
        return (self._first or self._init)(self._keys, *self._made(_BEFORE))

    def advance(self, state: State, calls: int, go_on: Callable[[int], bool], totals: Totals) -> Advance:
        """One compiled chunk of ``calls``, which cannot be cut short."""
        if self._later is not None and self._calls >= self._change:
            self._chunk, self._later = self._later, None
        state, told = self._chunk(state)
        self._calls += calls
        return Advance(state, jax.device_get(told), calls)

    def judge(self, state: State) -> Metrics:
        """The compiled evaluation."""
        return jax.device_get(self._evaluate(self._keys, state, *self._made(state.clock)))

    def sync(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


def _accumulate(totals: Totals, metrics: Metrics) -> None:
    """Add a call's metrics, as of ``Program.step``, to the sums and counts so far."""
    for name, value in metrics.items():
        if isinstance(value, tuple):
            total, count = (float(part) for part in value)
        else:
            total, count = (0.0, 0.0) if math.isnan(value) else (float(value), 1.0)
        old = totals.get(name, (0.0, 0.0))
        totals[name] = (old[0] + total, old[1] + count)


class HostEngine:
    """Calls one step after the other; a chunk ends early at a signal, at an error, and at what is not finite."""

    stepwise = True

    def __init__(self, program: HostProgram, run: RunConfig):
        if run.seeds != 1:
            errors.refuse("seeds", run.seeds, "1, as this experiment works on the host between its phases")
        self._program = program
        self._names = frozenset(program.metric_names())
        self._evaluation = frozenset(program.evaluation_names())
        self._not_finite = jax.jit(chunk.not_finite)
        self._show = Progress()
        self._template: State = None
        self.columns: tuple[str, ...] = ()

    def template(self) -> State:
        """Shapes, dtypes and shardings of the state."""
        if self._template is None:
            self._template = self._program.template()
        return self._template

    def attach(self, folder: Path, kept: int) -> None:
        """Tell the program where its side logs lie."""
        self._program.attach(folder, kept)

    def prepare(self, plan: Cadence, template: State, show: Progress, note: Note) -> None:
        """Let the program compile its phases."""
        self._show = show
        start = time.monotonic()
        with show.phase("preparing the phases of a step"):
            self._program.prepare(template, show.say)
        for name, compiled in getattr(self._program, "compiled", {}).items():
            memory.check_compiled(self._program, compiled, name)
        note("compile", "phases of a step", time.monotonic() - start)
        evaluation = self._evaluation if plan.eval_every else ()
        self.columns = report.columns(self._names, evaluation, hasattr(template, "updates"))

    def init(self) -> State:
        """The program's first state."""
        return _as_promised(self._program.init(), self._template)

    def advance(self, state: State, calls: int, go_on: Callable[[int], bool], totals: Totals) -> Advance:
        """Up to ``calls`` steps."""
        totals, bad = dict(totals), {}
        made, error = 0, None
        while made < calls and not bad and (made == 0 or go_on(made)):
            try:
                after, metrics = self._program.step(state)
                after, metrics = _as_promised(after, self._template), _numbers(metrics, self._names)
            except Exception as caught:  # whatever it is: the steps before it need not be lost
                error = caught
                break
            state = after
            flags = jax.device_get(self._not_finite(self._program.watch(state, metrics)))
            bad = {name: made for name, flag in flags.items() if flag}
            _accumulate(totals, metrics)
            made += 1
        updates = int(state.updates) if error is None and hasattr(state, "updates") else None
        return Advance(state, ChunkReport(totals, bad, updates), made, error)

    def judge(self, state: State) -> Metrics:
        """The program's evaluation, with its seconds on the display."""
        with self._show.phase("evaluating"):
            return _numbers(self._program.evaluate(state), self._evaluation)

    def sync(self) -> None:
        """Make the program's side logs durable."""
        self._program.sync()

    def close(self) -> None:
        """End the program."""
        self._program.close()


def _numbers(metrics: Metrics, known: Iterable[str]) -> Metrics:
    """``metrics`` on the host; a name that has no column is a fault of the program."""
    extra = sorted(metrics.keys() - set(known))
    if extra:
        raise ValueError(f"metrics that the program did not name beforehand: {', '.join(extra)}")
    return jax.tree.map(np.asarray, jax.device_get(metrics))


def _as_promised(state: State, template: State) -> State:
    """``state``, which must be what ``template`` says: another one could be saved, but not be resumed."""
    if jax.tree.structure(state) != jax.tree.structure(template):
        raise ValueError(f"the state has the structure {jax.tree.structure(state)}, its template another one")
    promised = jax.tree_util.tree_flatten_with_path(template)[0]
    for (path, wanted), leaf in zip(promised, jax.tree.leaves(state), strict=True):
        if (wanted.shape, wanted.dtype) != (leaf.shape, leaf.dtype):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise ValueError(f"{name} is {leaf.dtype}{leaf.shape}, in its template {wanted.dtype}{wanted.shape}")
    return state


def make(program: Program | HostProgram, run: RunConfig, shelf: Shelf | None = None) -> Engine:
    """The engine of ``program``, whose traces lie on ``shelf``, if any. Raises UserError if it cannot serve ``run``."""
    return HostEngine(program, run) if isinstance(program, HostProgram) else CompiledEngine(program, run, shelf)
