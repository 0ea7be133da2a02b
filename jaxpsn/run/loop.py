"""The run loop: resume or begin, run compiled chunks, evaluate, save, report, and stop in an orderly way."""

import contextlib
import dataclasses
import signal
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from jaxpsn.core import errors, files
from jaxpsn.run import alarms, cadence, checkpoints, logs, memory, progress, report, sessions, startup, status
from jaxpsn.run import engine as engines
from jaxpsn.run import folder as folders
from jaxpsn.run.checkpoints.presence import Presence
from jaxpsn.run.cluster.team import ALONE, Team
from jaxpsn.run.config import RunConfig
from jaxpsn.run.exported import Shelf
from jaxpsn.run.interrupts import Interrupts
from jaxpsn.run.loggers import callbacks, family, sinks
from jaxpsn.run.loggers.lines import Ledger, happened
from jaxpsn.run.outcome import Outcome
from jaxpsn.run.program import HostProgram, Program, State

MOST = (1 << 31) - 1
"""Calls of a program's step in one run."""


@dataclasses.dataclass
class _Desk:
    """All that the host side of a run holds on to."""

    program: Program | HostProgram
    engine: engines.Engine
    run: RunConfig
    folder: folders.RunFolder
    show: progress.Progress
    events: sinks.EventLog
    interrupts: Interrupts
    store: checkpoints.Store
    team: Team
    lookout: alarms.Lookout
    ledger: Ledger
    loggers: Sequence[callbacks.Logger] = ()
    signum: int | None = None
    """The signal that came, once it was asked for."""
    seconds: float = 0.0
    """Time spent in the loop, earlier sessions included."""
    shown: dict[str, float] = dataclasses.field(default_factory=dict)
    loop_begun: float = 0.0

    @property
    def seeds(self) -> range:
        return range(self.run.seed, self.run.seed + self.run.seeds)

    def listen(self) -> int | None:
        """The signal that came to this process or another one; all of several must ask alike."""
        if self.signum is None:
            self.signum = self.team.agree(self.interrupts.signum)
        return self.signum

    def note(self, step: int, event: str, detail: str = "", seconds: float | None = None, *, say: bool = True) -> None:
        self.events.write(step, event, detail if seconds is None else f"{detail} {seconds:.1f} s", seconds)
        if say:
            self.show.say(f"{event}: {detail}" if detail else event)

    def tell(self, step: int, found: Sequence[tuple[str, str]]) -> None:
        """Note what the lookout found."""
        for event, text in found:
            self.note(step, event, text)

    def update(self, plan: cadence.Cadence, step: int, rate: float) -> None:
        """Renew the status."""
        passed = time.monotonic() - self.loop_begun
        left = (plan.end - step) * passed / max(step - plan.start, 1)
        self.show.update(step, plan.end, rate, left, self.shown)


class _Span(NamedTuple):
    """The calls that no row of metrics covers yet: those after ``since``, with their sums and counts."""

    since: int
    totals: engines.Totals

    @classmethod
    def restored(cls, found: checkpoints.Restored | None) -> "_Span":
        """As it was when the checkpoint was written: open if the run was left within a chunk."""
        told = found and found.info.get("span")
        if not told:
            return cls(found.step if found else 0, {})
        return cls(told["since"], {name: tuple(pair) for name, pair in told["totals"].items()})


def ready(program: Program | HostProgram, run: RunConfig, shelf: Shelf | None = None) -> engines.Engine:
    """What drives ``program``, to be asked for before there is a folder; ``shelf``: where its traces lie, if any.

    Raises UserError for what would be refused later: extras that are missing, a run that cannot be, too little memory.
    """
    family.require(run.log)
    _refuse_counts(program, run)
    engine = engines.make(program, run, shelf)
    try:
        memory.check(program, engine.template(), run.seeds)
    except BaseException:
        engine.close()
        raise
    return engine


def _refuse_counts(program: Program | HostProgram, run: RunConfig) -> None:
    """Clocks are int32: a run must not count further."""
    if -(-run.steps // program.steps_per_call) > MOST:
        allowed = f"at most {MOST * program.steps_per_call:,}, as calls of {program.steps_per_call:,} steps are counted"
        errors.refuse("steps", run.steps, f"{allowed} in 32 bits")


def train(
    program: Program | HostProgram, run: RunConfig, folder: folders.RunFolder, title: str = "", team: Team = ALONE,
    engine: engines.Engine | None = None, loggers: Sequence[callbacks.Logger] = (),
) -> Outcome:  # fmt: skip
    """Run ``program`` for ``run.steps`` steps into a claimed ``folder`` (``folder.claim``), or go on where it stopped.

    SIGTERM and Ctrl-C end the chunk (the step, if the host makes it), save and return; a value that is not finite
    returns without saving. On CPU the state after a kill and a resume equals the uninterrupted one bit for bit. An
    error in a step of a HostProgram comes through after the state before it was saved. ``title`` begins every line of
    the display. Each process of a ``team`` calls this alike; a signal to one of them stops all. Raises UserError if a
    checkpoint cannot be written, a resumed one not be used, or memory runs out. ``engine``: that of :func:`ready`, if
    it was asked before. ``loggers``: a user's own trackers, of the first process.
    """
    engine = engine or ready(program, run)
    with contextlib.ExitStack() as stack:
        stack.callback(engine.close)
        show = progress.make(run.progress, title=title)
        stack.callback(show.close)
        events = sinks.EventLog(folder.events, held=folder.resumed)
        stack.callback(events.close)
        presence = Presence(folder.shared or folder.path)
        stack.callback(presence.close)
        unit = "step" if engine.stepwise else "chunk"
        interrupts = stack.enter_context(Interrupts(show.say, show.close, unit, lambda: _lost(desk)))

        def committed(step: int) -> None:
            events.write(step, "checkpoint", str(store.path(step)))

        store = checkpoints.Store(folder.checkpoints, run.keep, committed, team, presence)
        stack.callback(store.close)
        lookout, ledger = alarms.Lookout(program), logs.ledger(folder)
        desk = _Desk(program, engine, run, folder, show, events, interrupts, store, team, lookout, ledger, loggers)
        team.advice = lambda: f"{_last_good(desk)}; go on with --resume {folder.shared or folder.path}"
        try:
            with memory.told(memory.fields(program), lambda: _last_good(desk)):
                return _run(desk)
        except checkpoints.CheckpointError as error:
            with contextlib.suppress(OSError):
                events.write(error.step, "checkpoint failed", error.reason)
            raise errors.UserError(f"{error}; {_last_good(desk)}") from error


def _last_good(desk: _Desk) -> str:
    last = desk.store.last()
    return f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"


def _lost(desk: _Desk) -> str:
    """What a signal says that ends the run at once."""
    path = desk.folder.shared or desk.folder.path
    again = f"go on with --resume {path}"
    if desk.interrupts.idle:
        return f"ended before the first step; {again}" if desk.folder.resumed else "ended before the first step"
    return f"stopped at once; {_last_good(desk)}" + (f"; {again}" if desk.store.last() else "")


def _run(desk: _Desk) -> Outcome:
    show = desk.show
    show.say(f"{'going on with' if desk.folder.resumed else 'writing to'} {desk.folder.path}")
    with show.phase("building the experiment"):
        template = desk.engine.template()
    for text in desk.folder.notes:
        desk.note(0, "lock", text)
    restored = _restore(desk, template)
    start = restored.step if restored else 0
    desk.note(start, "resume" if restored else "start", f"step {start:,}", say=bool(restored))
    plan = cadence.plan(desk.run, desk.program.steps_per_call, start, desk.engine.stepwise)
    for text in plan.notes:
        desk.note(start, "rounded", text)
    span = _Span.restored(restored)
    if restored and plan.end <= start == span.since:
        desk.events.release()
        desk.note(start, "stop", f"already finished at step {start:,}")
        return _outcome(desk, restored.state, start, "finished", status.DONE)
    metrics = logs.look(desk.folder, desk.ledger, desk.engine, restored, span.since)
    desk.engine.prepare(plan, template, show, lambda *told: desk.note(start, *told, say=False))
    desk.team.gather("compiled")  # none waits within a collective for one that still compiles
    with show.phase("drawing the first state" if restored is None else "placing the state"):
        state = jax.block_until_ready(restored.state if restored else desk.engine.init())
    metrics.begin(desk.engine.columns)
    for text in metrics.notes:
        desk.note(start, "mended", text)
    # Up to here nothing in the folder has changed: whatever refuses a resume leaves it as it was.
    record = sessions.begin(desk.folder, desk.run, template, lambda text: desk.note(0, "warning", text))
    desk.store.settle()
    if desk.team.first:
        for place in (desk.folder.path, desk.folder.path / "evaluations"):
            files.sweep(place, held=True)
    desk.events.release()
    opening = family.Opening(desk.folder.path, desk.run.seeds, span.since if restored else -1, record)
    own = desk.loggers if desk.team.first else ()
    written = sinks.Sinks(desk.run.log, opening, metrics, lambda text: desk.note(start, "sink", text), own)
    reason = "error"
    try:
        outcome = _loop(desk, plan, written, state, record, span)
        reason = outcome.reason
        if desk.team.first:
            sessions.end(desk.folder, reason, outcome.step, written.last)
        return outcome
    finally:
        written.close(reason)


def _restore(desk: _Desk, template: Any) -> checkpoints.Restored | None:
    if not desk.folder.resumed:
        return None
    with desk.show.phase("reading the checkpoint"):
        found = desk.store.restore(template)
    if found is None:
        if happened(desk.folder.events, "checkpoint"):
            gone = "its checkpoints, of which there were some, are gone; put them back, or begin a new run"
            errors.refuse("resume", str(desk.folder.path), gone)
        desk.note(0, "resume", "no checkpoint was written yet; beginning again")
        return None
    for text in found.broken:
        desk.note(found.step, "fallback", f"{text}; going on from step {found.step:,}")
    if found.info.get("format") != folders.FORMAT or found.info.get("config") != _config_digest(desk):
        errors.refuse("resume", str(desk.folder.path), "its checkpoint was made with another config")
    steps = folders.read(desk.folder.path)["run"]["steps"]
    if desk.run.steps < found.step and desk.run.steps != steps:
        errors.refuse("steps", desk.run.steps, f"at least {found.step}, the step that this run has reached")
    desk.seconds = found.info["seconds"]
    desk.lookout = alarms.Lookout(desk.program, found.info.get("quiet"))
    return found


def _loop(
    desk: _Desk, plan: cadence.Cadence, written: sinks.Sinks, state: State, record: dict[str, Any], span: _Span
) -> Outcome:
    step, begun = plan.start, time.monotonic() - desk.seconds
    desk.tell(step, desk.lookout.begin())
    if step == 0 and plan.eval_every:
        written.write(report.rows(0, desk.seeds, None, desk.engine.judge(state), 0.0, None))
    desk.interrupts.idle = False
    desk.loop_begun = time.monotonic()
    while step < plan.end or span.since < step:
        before, target = step, plan.next(step, span.since)
        made, rate = _advance(desk, plan, state, before, target, span)
        state, step = made.state, before + made.calls * desk.program.steps_per_call
        bad = report.culprits(made.told, desk.seeds, before, desk.program.steps_per_call)
        due = step == target and not bad and plan.evaluates(span.since, step)
        left = desk.engine.stepwise and desk.listen() is not None and not bad and (due or step < target)
        judged = None
        if due and not left:
            judged, made = _judge(desk, made)
        desk.seconds = time.monotonic() - begun
        if left or made.error is not None:
            return _leave(desk, plan, written, made, step, _Span(span.since, made.told.totals), record)
        rows = report.rows(step, desk.seeds, made.told, judged, desk.seconds, rate or None)
        written.write(rows)
        if bad:
            return _not_finite(desk, state, step, bad)
        desk.tell(step, desk.lookout.see(step, rows))
        desk.shown |= report.averages(rows, progress.SHOWN)
        desk.update(plan, step, rate)
        desk.store.poll()
        stopped = desk.listen() is not None  # asked once: a signal that comes from here on is for the next chunk
        if stopped or plan.saves(span.since, step):
            _save(desk, written, state, step, record)
        if stopped and step < plan.end:
            return _interrupted(desk, state, step)
        span = _Span(step, {})
    desk.store.wait()
    desk.tell(step, desk.lookout.end())
    desk.note(step, "stop", f"finished at step {step:,} after {desk.seconds:.0f} s")
    return _outcome(desk, state, step, "finished", status.DONE)


def _advance(
    desk: _Desk, plan: cadence.Cadence, state: State, step: int, target: int, span: _Span
) -> tuple[engines.Advance, float]:
    """From ``step`` to ``target`` if nothing comes between; also the rate in steps of all seeds per second."""
    per_call, begun = desk.program.steps_per_call, time.monotonic()

    def rate(calls: int) -> float:
        return calls * per_call * desk.run.seeds / max(time.monotonic() - begun, 1e-9)

    def go_on(calls: int) -> bool:
        desk.update(plan, step + calls * per_call, rate(calls))
        return desk.listen() is None

    desk.team.begin()
    made = desk.engine.advance(state, (target - step) // per_call, go_on, span.totals)
    return made, rate(made.calls)


def _judge(desk: _Desk, made: engines.Advance) -> tuple[dict[str, Any] | None, engines.Advance]:
    """The evaluation at the end of a chunk, or what prevented it, once a chunk can be left without its row."""
    desk.team.begin()
    try:
        return desk.engine.judge(made.state), made
    except Exception as error:
        if not desk.engine.stepwise:
            raise
        return None, made._replace(error=error)


def _save(
    desk: _Desk, written: sinks.Sinks, state: State, step: int, record: dict[str, Any], span: _Span | None = None
) -> None:
    written.sync()
    desk.engine.sync()
    counted = {"rows": written.rows, "logs": desk.ledger.count()}
    desk.store.save(step, state, _info(desk, record, span) | counted)


def _leave(
    desk: _Desk, plan: cadence.Cadence, written: sinks.Sinks, made: engines.Advance, step: int, span: _Span,
    record: dict[str, Any],
) -> Outcome:  # fmt: skip
    """End before the row of the chunk is written: the checkpoint carries what the row needs. Raises the error."""
    if made.error is None:
        _save(desk, written, made.state, step, record, span)
        return _interrupted(desk, made.state, step)
    with contextlib.suppress(Exception):  # the first error is the one to tell
        said = _last_good(desk)
        if step > plan.start and made.whole() and desk.team.count == 1:  # others may not be where this one is
            _save(desk, written, made.state, step, record, span)
            desk.store.wait()
            said = f"saved at step {step:,}; go on with --resume {desk.folder.path}"
        desk.show.say(said)
        desk.note(step, "stop", f"{type(made.error).__name__}: {made.error}; {said}", say=False)
    raise made.error


def _outcome(desk: _Desk, state: State, step: int, reason: str, code: int) -> Outcome:
    axes = desk.program.axes(state) if desk.run.seeds > 1 else None
    return Outcome(state, desk.folder.path, code == status.DONE, reason, code, step, axes, desk.signum)


def _config_digest(desk: _Desk) -> str:
    return folders.digest(folders.fixed({"config": desk.folder.content, "run": folders.plain(desk.run)}))


def _info(desk: _Desk, record: dict[str, Any], span: _Span | None = None) -> dict[str, Any]:
    """What a checkpoint carries besides the state; ``span`` is open if the state lies before the row of its chunk."""
    session = record["sessions"][-1]
    kept = {name: session[name] for name in ("versions", "backend", "device", "devices")}
    return {
        "format": folders.FORMAT,
        "config": _config_digest(desk),
        "seconds": desk.seconds,
        "span": span and span._asdict(),
        "quiet": desk.lookout.state(),
        **kept,
    }


def _interrupted(desk: _Desk, state: State, step: int) -> Outcome:
    desk.store.wait()
    signum = desk.signum or 0
    name = signal.Signals(signum).name if signum else ""
    desk.note(step, "signal", f"{name}: saved at step {step:,}; go on with --resume {desk.folder.path}")
    return _outcome(desk, state, step, name, 128 + signum)


def _not_finite(desk: _Desk, state: State, step: int, bad: list[str]) -> Outcome:
    desk.store.wait()
    some = "; ".join(bad[:4]) + (f"; and {len(bad) - 4} more seeds" if len(bad) > 4 else "")
    reason = f"not finite at {some}"
    desk.note(step, "stop", f"{reason}; {_last_good(desk)}", say=False)
    desk.show.close()
    if desk.team.first:
        startup.complain(f"{reason}; {_last_good(desk)}")
    return _outcome(desk, state, step, reason, status.NOT_FINITE)
