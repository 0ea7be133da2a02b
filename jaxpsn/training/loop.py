"""The run loop: resume or begin, run compiled chunks, evaluate, save, report, and stop in an orderly way."""

import contextlib
import dataclasses
import datetime
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxpsn import errors
from jaxpsn.training import cadence, checkpoints, chunk, progress, report, sinks, startup, status
from jaxpsn.training import folder as folders
from jaxpsn.training.config import RunConfig
from jaxpsn.training.interrupts import Interrupts
from jaxpsn.training.program import Program, State


class Outcome(NamedTuple):
    """How a run ended."""

    state: State
    folder: Path
    finished: bool
    """Whether all steps were made."""
    reason: str
    """``finished``, the name of a signal, or what was not finite."""
    status: int
    """Exit status for the script (``jaxpsn.training.status``)."""
    step: int
    """Environment steps made by each seed."""
    axes: Any = None
    """``program.axes`` of the state if it holds several seeds."""

    def first_seed(self) -> State:
        """The state of the first seed alone."""
        if self.axes is None:
            return self.state
        return jax.tree.map(
            lambda axis, leaf: leaf if axis is None else leaf[0],
            self.axes,
            self.state,
            is_leaf=lambda axis: axis is None,
        )


@dataclasses.dataclass
class _Desk:
    """All that the host side of a run holds on to."""

    program: Program
    run: RunConfig
    folder: folders.RunFolder
    show: progress.Progress
    events: sinks.EventLog
    interrupts: Interrupts
    store: checkpoints.Store
    seconds: float = 0.0
    """Time spent in the loop, earlier sessions included."""
    shown: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def seeds(self) -> range:
        return range(self.run.seed, self.run.seed + self.run.seeds)

    def note(self, step: int, event: str, detail: str = "", *, say: bool = True) -> None:
        self.events.write(step, event, detail)
        if say:
            self.show.say(f"{event}: {detail}" if detail else event)


class _Compiled(NamedTuple):
    keys: Any
    chunk: Any
    evaluate: Any
    """None if nothing is evaluated."""
    columns: tuple[str, ...]


def train(program: Program, run: RunConfig, folder: folders.RunFolder) -> Outcome:
    """Run ``program`` for ``run.steps`` steps into a claimed ``folder`` (``folder.claim``), or go on where it stopped.

    SIGTERM and Ctrl-C end the chunk, save and
    return; a value that is not finite returns without saving. On CPU the state after a kill and a resume equals the
    uninterrupted one bit for bit. Raises UserError if a checkpoint cannot be written, or a resumed one not be used.
    """
    sinks.require_extras(run)
    with contextlib.ExitStack() as stack:
        show = progress.make(run.progress)
        stack.callback(show.close)
        events = sinks.EventLog(folder.events)
        stack.callback(events.close)
        interrupts = stack.enter_context(Interrupts(show.say, show.close))

        def committed(step: int) -> None:
            events.write(step, "checkpoint", str(store.path(step)))

        store = checkpoints.Store(folder.checkpoints, run.keep, committed)
        stack.callback(store.close)
        desk = _Desk(program, run, folder, show, events, interrupts, store)
        try:
            return _run(desk)
        except checkpoints.CheckpointError as error:
            with contextlib.suppress(OSError):
                events.write(error.step, "checkpoint failed", error.reason)
            raise errors.UserError(f"{error}; {_last_good(desk)}") from error


def _last_good(desk: _Desk) -> str:
    last = desk.store.last()
    return f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"


def _run(desk: _Desk) -> Outcome:
    show = desk.show
    show.say(f"{'going on with' if desk.folder.resumed else 'writing to'} {desk.folder.path}")
    init = jax.jit(chunk.make_init(desk.program, desk.run.seeds))
    keys = chunk.seed_keys(desk.run.seed, desk.run.seeds)
    with show.phase("building the experiment"):
        template = jax.eval_shape(init, keys)
    record = _record(desk)
    restored = _restore(desk, template, record)
    start = restored.step if restored else 0
    desk.note(start, "resume" if restored else "start", f"step {start:,}", say=bool(restored))
    plan = cadence.plan(desk.run, desk.program.steps_per_call, start)
    for text in plan.notes:
        desk.note(start, "rounded", text)
    if plan.chunks == 0 and restored:
        desk.note(start, "stop", f"already finished at step {start:,}")
        return _outcome(desk, restored.state, start, "finished", status.DONE)
    compiled = _compile(desk, plan, keys, template)
    with show.phase("drawing the first state" if restored is None else "placing the state"):
        state = jax.block_until_ready(restored.state if restored else init(keys))
    kept = start if restored else -1  # not even the rows of step 0 remain if the run begins again
    written = sinks.Sinks(
        desk.folder, desk.run, record, compiled.columns, kept, lambda text: desk.note(start, "sink", text)
    )
    try:
        return _loop(desk, plan, compiled, written, state, record)
    finally:
        written.close()


def _record(desk: _Desk) -> dict[str, Any]:
    """Write config.json, with one entry for each session that worked on this folder."""
    old = folders.read(desk.folder.path)
    device = jax.devices()[0]
    session = {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "versions": folders.versions(),
        "backend": jax.default_backend(),
        "device": device.device_kind,
        "devices": jax.device_count(),
    }
    sessions = old.get("sessions", [])
    if sessions:
        kept = ("versions", "backend", "device", "devices")
        changed = folders.differences(*({name: s.get(name) for name in kept} for s in (sessions[-1], session)))
        if changed:
            desk.note(0, "warning", f"not bit for bit from here: {', '.join(changed)}")
    for text in desk.folder.notes:
        desk.note(0, "lock", text)
    return folders.write_record(desk.folder, desk.run, sessions=[*sessions, session])


def _restore(desk: _Desk, template: Any, record: dict[str, Any]) -> checkpoints.Restored | None:
    if not desk.folder.resumed:
        return None
    with desk.show.phase("reading the checkpoint"):
        found = desk.store.restore(template)
    if found is None:
        desk.note(0, "resume", "no checkpoint was written yet; beginning again")
        return None
    for text in found.broken:
        desk.note(found.step, "fallback", f"{text}; going on from step {found.step:,}")
    if found.info["format"] != folders.FORMAT or found.info["config"] != folders.digest(folders.fixed(record)):
        errors.refuse("resume", str(desk.folder.path), "its checkpoint was made with another config")
    desk.seconds = found.info["seconds"]
    return found


def _compile(desk: _Desk, plan: cadence.Cadence, keys: Any, template: Any) -> _Compiled:
    """Compile ahead of time: the whole run uses these two programs."""
    seeds = desk.run.seeds
    start = time.monotonic()
    with desk.show.phase(f"compiling the training step ({plan.chunk:,} steps a chunk)"):
        lowered = jax.jit(chunk.make_chunk(desk.program, seeds, plan.calls), donate_argnums=0).lower(template)
        compiled_chunk = lowered.compile()
    metrics = lowered.out_info[1].totals
    desk.note(plan.start, "compile", f"training step {time.monotonic() - start:.1f} s", say=False)
    evaluate, evaluation = None, {}
    if plan.eval_every:
        start = time.monotonic()
        with desk.show.phase("compiling the evaluation"):
            lowered = jax.jit(chunk.make_evaluate(desk.program, seeds)).lower(keys, template)
            evaluate, evaluation = lowered.compile(), lowered.out_info
        desk.note(plan.start, "compile", f"evaluation {time.monotonic() - start:.1f} s", say=False)
    columns = report.columns(metrics, evaluation, hasattr(template, "updates"))
    return _Compiled(keys, compiled_chunk, evaluate, columns)


def _loop(
    desk: _Desk, plan: cadence.Cadence, compiled: _Compiled, written: sinks.Sinks, state: State, record: dict
) -> Outcome:
    step, begun = plan.start, time.monotonic() - desk.seconds
    if step == 0 and compiled.evaluate:
        first = jax.device_get(compiled.evaluate(compiled.keys, state))
        written.write(report.rows(0, desk.seeds, None, first, 0.0, None))
    desk.interrupts.idle = False
    loop_begun = time.monotonic()
    while step < plan.end:
        before, step = step, step + plan.chunk
        chunk_begun = time.monotonic()
        state, told = compiled.chunk(state)
        told = jax.device_get(told)
        rate = plan.chunk * desk.run.seeds / (time.monotonic() - chunk_begun)
        bad = report.culprits(told, desk.seeds, before, desk.program.steps_per_call)
        judged = None
        if compiled.evaluate and plan.evaluates(before, step) and not bad:
            judged = jax.device_get(compiled.evaluate(compiled.keys, state))
        desk.seconds = time.monotonic() - begun
        rows = report.rows(step, desk.seeds, told, judged, desk.seconds, rate)
        written.write(rows)
        if bad:
            return _not_finite(desk, state, step, bad)
        desk.shown |= report.averages(rows, progress.SHOWN)
        left = (plan.end - step) * (time.monotonic() - loop_begun) / (step - plan.start)
        desk.show.update(step, plan.end, rate, left, desk.shown)
        desk.store.poll()
        if plan.saves(before, step) or desk.interrupts.signum is not None:
            written.sync()
            desk.store.save(step, state, _info(desk, record))
        if desk.interrupts.signum is not None and step < plan.end:
            return _interrupted(desk, state, step)
    desk.store.wait()
    desk.note(step, "stop", f"finished at step {step:,} after {desk.seconds:.0f} s")
    return _outcome(desk, state, step, "finished", status.DONE)


def _outcome(desk: _Desk, state: State, step: int, reason: str, code: int) -> Outcome:
    axes = desk.program.axes(state) if desk.run.seeds > 1 else None
    return Outcome(state, desk.folder.path, code == status.DONE, reason, code, step, axes)


def _info(desk: _Desk, record: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint carries besides the state."""
    session = record["sessions"][-1]
    kept = {name: session[name] for name in ("versions", "backend", "device", "devices")}
    config = folders.digest(folders.fixed(record))
    return {"format": folders.FORMAT, "config": config, "seconds": desk.seconds, **kept}


def _interrupted(desk: _Desk, state: State, step: int) -> Outcome:
    desk.store.wait()
    name, signum = desk.interrupts.name or "", desk.interrupts.signum or 0
    desk.note(step, "signal", f"{name}: saved at step {step:,}; go on with --resume {desk.folder.path}")
    return _outcome(desk, state, step, name, 128 + signum)


def _not_finite(desk: _Desk, state: State, step: int, bad: list[str]) -> Outcome:
    desk.store.wait()
    some = "; ".join(bad[:4]) + (f"; and {len(bad) - 4} more seeds" if len(bad) > 4 else "")
    reason = f"not finite at {some}"
    desk.note(step, "stop", f"{reason}; {_last_good(desk)}", say=False)
    desk.show.close()
    startup.complain(f"{reason}; {_last_good(desk)}")
    return _outcome(desk, state, step, reason, status.NOT_FINITE)
