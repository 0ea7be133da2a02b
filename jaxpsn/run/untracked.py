"""A run that leaves nothing on the disk: the loop of :mod:`jaxpsn.run.loop` without folder, checkpoints and files."""

import contextlib
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxpsn.run import alarms, cadence, loop, memory, progress, report, status
from jaxpsn.run import engine as engines
from jaxpsn.run.config import RunConfig
from jaxpsn.run.interrupts import Interrupts
from jaxpsn.run.loggers import callbacks, family, sinks
from jaxpsn.run.outcome import Outcome
from jaxpsn.run.program import HostProgram, Program, State

Row = dict[str, Any]
_LOST = "ended; nothing was written"


def train(
    program: Program | HostProgram, run: RunConfig, config: dict[str, Any], *,
    loggers: Sequence[callbacks.Logger] = (), engine: engines.Engine | None = None,
) -> tuple[Outcome, list[Row]]:  # fmt: skip
    """Run ``program`` for ``run.steps`` steps in memory; returns how it ended and its rows of metrics.

    State and rows are, bit for bit, those of :func:`jaxpsn.run.loop.train` (but for the seconds). A signal ends the
    chunk under way, and what there is by then is returned; a value that is not finite ends the run likewise. An error
    in a step comes through. ``config`` is what ``loggers`` are told, with an entry ``name``.
    """
    engine = engine or loop.ready(program, run)
    with contextlib.ExitStack() as stack:
        stack.callback(engine.close)
        show = progress.make(run.progress)
        stack.callback(show.close)
        stop = stack.enter_context(Interrupts(show.say, show.close, "chunk", _LOST))
        with memory.told(memory.fields(program)):
            plan = cadence.plan(run, program.steps_per_call, stepwise=engine.stepwise)
            engine.prepare(plan, engine.template(), show, lambda *told: None)
            with show.phase("drawing the first state"):
                state = jax.block_until_ready(engine.init())
            kept = sinks.Kept()
            written = sinks.Sinks(run.log, family.Opening(None, run.seeds, -1, config), kept, show.say, loggers)
            reason = "error"
            try:
                outcome = _loop(program, run, engine, plan, state, written, show, stop)
                reason = outcome.reason
            finally:
                written.close(reason)
        return outcome, kept.all


def _loop(
    program: Any, run: RunConfig, engine: engines.Engine, plan: cadence.Cadence, state: State, written: sinks.Sinks,
    show: progress.Progress, stop: Interrupts,
) -> Outcome:  # fmt: skip
    seeds, step, begun = range(run.seed, run.seed + run.seeds), 0, time.monotonic()
    lookout, shown = alarms.Lookout(program), {}
    tell = _teller(show)
    tell(lookout.begin())
    if plan.eval_every:
        written.write(report.rows(0, seeds, None, engine.judge(state), 0.0, None))
    stop.idle = False

    def outcome(reason: str, code: int) -> Outcome:
        axes = program.axes(state) if run.seeds > 1 else None
        return Outcome(state, None, code == status.DONE, reason, code, step, axes, stop.signum)

    while step < plan.end:
        before, target, since = step, plan.next(step, step), time.monotonic()
        calls = (target - step) // program.steps_per_call
        made = engine.advance(state, calls, lambda _: stop.signum is None, {})
        if made.error is not None:
            raise made.error
        state, step = made.state, before + made.calls * program.steps_per_call
        rate = made.calls * program.steps_per_call * run.seeds / max(time.monotonic() - since, 1e-9)
        bad = report.culprits(made.told, seeds, before, program.steps_per_call)
        judged = engine.judge(state) if not bad and step == target and plan.evaluates(before, step) else None
        rows = report.rows(step, seeds, made.told, judged, time.monotonic() - begun, rate)
        written.write(rows)
        if bad:
            return outcome(f"not finite at {'; '.join(bad[:4])}", status.NOT_FINITE)
        tell(lookout.see(step, rows))
        shown |= report.averages(rows, progress.SHOWN)
        left = (plan.end - step) * (time.monotonic() - begun) / step
        show.update(step, plan.end, rate, left, shown)
        if stop.signum is not None and step < plan.end:
            return outcome(signal.Signals(stop.signum).name, 128 + stop.signum)
    tell(lookout.end())
    return outcome("finished", status.DONE)


def _teller(show: progress.Progress) -> Callable[[Sequence[tuple[str, str]]], None]:
    def tell(found: Sequence[tuple[str, str]]) -> None:
        for event, text in found:
            show.say(f"{event}: {text}")

    return tell
