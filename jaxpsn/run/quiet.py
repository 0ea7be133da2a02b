"""Runs in which nothing can be learnt: seen in their rows, and told once.

What that means a program says itself, in its optional attribute ``silences``: conditions on a row of metrics by the
words that tell them, such as "no answer was right". A condition is told when it has held for all seeds in the last
``WINDOW`` rows, again only after it was broken; and at the end of the run if it held to the end, for as many rows or,
in a short run, from the first on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

WINDOW = 20
"""Rows of metrics, each of one chunk, in which a condition must hold before it is told."""
EVENT = "no learning signal"

Condition = Callable[[Mapping[str, Any]], bool]


class Watch:
    """Counts for how long each condition has held. ``kept``: what :meth:`state` gave at a checkpoint."""

    def __init__(self, conditions: Mapping[str, Condition], kept: Mapping[str, Any] | None = None):
        self._conditions = dict(conditions)
        kept = kept or {}
        self._seen = int(kept.get("step", 0))
        self._held = {name: list(kept.get("held", {}).get(name, (0, 0))) for name in conditions}

    def state(self) -> dict[str, Any]:
        """What a checkpoint carries: the last step seen; of each condition the step since when and rows."""
        return {"step": self._seen, "held": {name: list(held) for name, held in self._held.items()}}

    def see(self, step: int, rows: Sequence[Mapping[str, Any]]) -> str:
        """Look at the rows of all seeds at ``step``; says what has held for long, else nothing."""
        told = []
        for name, condition in self._conditions.items():
            held = self._held[name]
            if not all(condition(row) for row in rows):
                self._held[name] = [step, 0]
                continue
            held[1] += 1
            told += [name] if held[1] == WINDOW else []
        self._seen = step
        return self._line(told, f"to step {step:,}")

    def end(self) -> str:
        """What held to the end, else nothing."""
        told = [name for name, (since, rows) in self._held.items() if rows >= WINDOW or (rows and not since)]
        return self._line(told, f"to the end, step {self._seen:,}")

    def _line(self, told: Sequence[str], until: str) -> str:
        if not told:
            return ""
        since = max(self._held[name][0] for name in told)
        return f"{'; '.join(told)}: from step {since + 1:,} {until}"
