"""When things happen: environment steps rounded to whole calls and whole chunks."""

from dataclasses import dataclass

from jaxpsn.run.config import RunConfig


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


@dataclass(frozen=True)
class Cadence:
    """The rhythm of a run, in environment steps of one seed."""

    start: int
    end: int
    chunk: int
    calls: int
    eval_every: int
    checkpoint_every: int
    stepwise: bool
    """Whether a chunk may be cut short, as one made call by call may; else all have ``calls``."""
    notes: tuple[str, ...]
    """What was rounded, in words."""

    def next(self, step: int, since: int) -> int:
        """The end of the chunk under way at ``step``, after the last row of metrics at ``since``.

        It is ``step`` itself if all calls of the chunk are made and only its row is missing.
        """
        if not self.stepwise:
            return step + self.chunk
        if since < step and (step % self.chunk == 0 or step >= self.end):
            return step
        # A chunk that was cut short is followed by the rest of it: the rhythm is that of an unbroken run.
        return min((step // self.chunk + 1) * self.chunk, self.end)

    def evaluates(self, before: int, after: int) -> bool:
        """Whether an evaluation is due at the end of the chunk from ``before`` to ``after``."""
        return self.eval_every > 0 and (after >= self.end or _crosses(before, after, self.eval_every))

    def saves(self, before: int, after: int) -> bool:
        """Whether a checkpoint is due at the end of the chunk from ``before`` to ``after``."""
        return after >= self.end or (self.checkpoint_every > 0 and _crosses(before, after, self.checkpoint_every))


def _crosses(before: int, after: int, every: int) -> bool:
    return after // every > before // every


def plan(run: RunConfig, steps_per_call: int, start: int = 0, stepwise: bool = False) -> Cadence:
    """Round the cadences of ``run`` up: a chunk to whole calls, the rest to whole chunks.

    Every chunk has the same length, so that one compiled program serves the whole run; unless ``stepwise``, where
    chunks end at multiples of their length and at the end of the run, and ``start`` may lie within one.
    """
    notes = []
    chunk = _up(min(run.chunk, run.steps), steps_per_call)
    if chunk != run.chunk:
        notes.append(
            f"chunk {run.chunk:,} -> {chunk:,} steps (calls of {steps_per_call:,} steps, {run.steps:,} in all)"
        )
    unit, whole = (steps_per_call, "calls") if stepwise else (chunk, "chunks")
    end = start + _up(max(run.steps - start, 0), unit)
    if start < run.steps < end:
        notes.append(f"steps {run.steps:,} -> {end:,} (whole {whole} of {unit:,})")
    cadences = {}
    for name in ("eval_every", "checkpoint_every"):
        value = getattr(run, name)
        cadences[name] = _up(value, chunk)
        if cadences[name] != value and value < run.steps:
            notes.append(f"{name} {value:,} -> {cadences[name]:,} (whole chunks of {chunk:,})")
    return Cadence(
        start=start, end=end, chunk=chunk, calls=chunk // steps_per_call, stepwise=stepwise, notes=tuple(notes),
        **cadences,
    )  # fmt: skip
