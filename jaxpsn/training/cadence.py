"""When things happen: environment steps rounded to whole calls and whole chunks."""

from dataclasses import dataclass

from jaxpsn.training.config import RunConfig


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
    notes: tuple[str, ...]
    """What was rounded, in words."""

    @property
    def chunks(self) -> int:
        """Chunks left to run from ``start``."""
        return (self.end - self.start) // self.chunk

    def evaluates(self, before: int, after: int) -> bool:
        """Whether an evaluation is due at the end of the chunk from ``before`` to ``after``."""
        return self.eval_every > 0 and (after >= self.end or _crosses(before, after, self.eval_every))

    def saves(self, before: int, after: int) -> bool:
        """Whether a checkpoint is due at the end of the chunk from ``before`` to ``after``."""
        return after >= self.end or (self.checkpoint_every > 0 and _crosses(before, after, self.checkpoint_every))


def _crosses(before: int, after: int, every: int) -> bool:
    return after // every > before // every


def plan(run: RunConfig, steps_per_call: int, start: int = 0) -> Cadence:
    """Round the cadences of ``run`` up: a chunk to whole calls, the rest to whole chunks.

    Every chunk has the same length, so that one compiled program serves the whole run.
    """
    notes = []
    chunk = _up(min(run.chunk, run.steps), steps_per_call)
    if chunk != run.chunk:
        notes.append(
            f"chunk {run.chunk:,} -> {chunk:,} steps (calls of {steps_per_call:,} steps, {run.steps:,} in all)"
        )
    end = start + _up(max(run.steps - start, 0), chunk)
    if start < run.steps < end:
        notes.append(f"steps {run.steps:,} -> {end:,} (whole chunks of {chunk:,})")
    cadences = {}
    for name in ("eval_every", "checkpoint_every"):
        value = getattr(run, name)
        cadences[name] = _up(value, chunk)
        if cadences[name] != value and value < run.steps:
            notes.append(f"{name} {value:,} -> {cadences[name]:,} (whole chunks of {chunk:,})")
    return Cadence(start=start, end=end, chunk=chunk, calls=chunk // steps_per_call, notes=tuple(notes), **cadences)
