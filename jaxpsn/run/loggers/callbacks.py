"""Trackers of a user's own: an object of three methods hears of a run from its start to its end."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from jaxpsn.core import errors

Row = dict[str, Any]
_METHODS = ("start", "log", "finish")


@runtime_checkable
class Logger(Protocol):
    """What ``jaxpsn.train(..., logger=...)`` takes. An error in it costs the tracker, never the run.

    For trackio, and much alike for MLflow::

        class Trackio:
            def start(self, config, name):
                trackio.init(project="jaxpsn", name=name, config=dict(config))

            def log(self, step, metrics):
                trackio.log(dict(metrics), step=step)

            def finish(self, status):
                trackio.finish()
    """

    def start(self, config: Mapping[str, Any], name: str) -> None:
        """Called once before the first row: what ``config.json`` holds, and the name of the run."""
        ...

    def log(self, step: int, metrics: Mapping[str, int | float]) -> None:
        """The metrics at environment step ``step``; of several seeds each is named ``metric/seedN``."""
        ...

    def finish(self, status: str) -> None:
        """Called once at the end: ``finished``, the name of a signal, what was not finite, or ``error``."""
        ...


def require(loggers: Sequence[Any]) -> None:
    """Refuse what has not the three methods of a :class:`Logger`."""
    for one in loggers:
        for name in _METHODS:
            if not callable(getattr(one, name, None)):
                errors.refuse("logger", type(one).__name__, f"an object with the methods {', '.join(_METHODS)}")


def numbers(row: Row, seeds: int) -> dict[str, int | float]:
    """The numbers of a row by name, and by seed if there are several."""
    shown = {name: value for name, value in row.items() if isinstance(value, int | float)}
    return {
        f"{name}/seed{row['seed']}" if seeds > 1 else name: value
        for name, value in shown.items()
        if name not in ("step", "seed")
    }


class CallbackSink:
    """A :class:`Logger` as a sink."""

    def __init__(self, logger: Logger, seeds: int, config: Mapping[str, Any], name: str):
        self._logger, self._seeds = logger, seeds
        logger.start(config, name)

    def write(self, rows: Sequence[Row]) -> None:
        """Hand over the rows of one step together."""
        metrics: dict[str, int | float] = {}
        for row in rows:
            metrics |= numbers(row, self._seeds)
        if rows:
            self._logger.log(int(rows[0]["step"]), metrics)

    def sync(self) -> None:
        """Nothing to do: a tracker keeps its own time."""

    def close(self, status: str) -> None:
        """Tell how the run ended."""
        self._logger.finish(status)
