"""What a run says about itself, once, when its rows of metrics show that something is not as the user thinks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jaxpsn.run import quiet

Alarm = Callable[[Mapping[str, Any]], str | None]
"""Called before the first row with an empty one, then with every row of metrics in turn; answers one line, or None
where all is well. What is absent of a row is None or missing."""


def of(program: Any) -> "Alarms":
    """The alarms that a program brings (``program.alarms() -> Iterable[Alarm]``), none if it has no such method."""
    return Alarms(getattr(program, "alarms", tuple)())


class Alarms:
    """All alarms of a run; each speaks once a session."""

    def __init__(self, alarms: Iterable[Alarm]):
        self._open = list(alarms)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """The lines that these rows give rise to; an alarm that has spoken is not asked again."""
        said = {}
        for row in rows:
            for alarm in self._open:
                text = None if alarm in said else alarm(row)
                if text is not None:
                    said[alarm] = text
        self._open = [alarm for alarm in self._open if alarm not in said]
        return list(said.values())


class Lookout:
    """All that a run watches for in its rows: a program's alarms, and conditions under which nothing can be learnt."""

    def __init__(self, program: Any, kept: Mapping[str, Any] | None = None):
        """``kept`` is what :meth:`state` gave at the checkpoint that a run goes on from."""
        self._alarms = of(program)
        self._quiet = quiet.Watch(getattr(program, "silences", {}), kept)

    def begin(self) -> list[tuple[str, str]]:
        """What the alarms say before the first row; (event, line) each, as of all methods."""
        return [("warning", text) for text in self._alarms([{}])]

    def see(self, step: int, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
        """What the rows of all seeds at ``step`` give rise to."""
        silent = self._quiet.see(step, rows)
        return [("warning", text) for text in self._alarms(rows)] + ([(quiet.EVENT, silent)] if silent else [])

    def end(self) -> list[tuple[str, str]]:
        """What held to the end."""
        silent = self._quiet.end()
        return [(quiet.EVENT, silent)] if silent else []

    def state(self) -> dict[str, Any]:
        """What a checkpoint carries."""
        return self._quiet.state()
