"""Where metrics and events go: CSV and JSONL always, the loggers that were asked for as well."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxpsn.run.loggers import callbacks, family
from jaxpsn.run.loggers.family import Row, Sink
from jaxpsn.run.loggers.lines import EventLog, RowLog
from jaxpsn.run.loggers.metrics import MetricsFiles

__all__ = ["EventLog", "Kept", "MetricsFiles", "RowLog", "Sink", "Sinks"]


class Kept:
    """The rows of a run that leaves nothing on the disk, in place of its :class:`MetricsFiles`."""

    def __init__(self) -> None:
        self.all: list[Row] = []

    @property
    def rows(self) -> int:
        """Rows so far."""
        return len(self.all)

    def write(self, rows: Sequence[Row]) -> None:
        """Keep them."""
        self.all += rows

    def sync(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class Sinks:
    """All sinks of a run. The rows must be kept; an optional sink that fails is dropped and said so.

    ``opening`` says of what run; its folder is None if nothing is left on the disk. ``log`` are the trackers that were
    chosen, ``loggers`` a user's own.
    """

    def __init__(
        self, log: Any, opening: family.Opening, files: MetricsFiles | Kept, warn: Callable[[str], None],
        loggers: Sequence[callbacks.Logger] = (),
    ):  # fmt: skip
        self._warn = warn
        self._files = files
        self._extras: dict[str, Sink] = {}
        self.last: Sequence[Row] = ()
        """The rows that were written last."""
        for name, make in family.opened(log, opening).items():
            self._start(name, make)
        for index, one in enumerate(loggers):
            name = f"{type(one).__name__} {index + 1}" if len(loggers) > 1 else type(one).__name__
            self._start(name, lambda one=one: family.listened(one, opening))

    def _start(self, name: str, make: Callable[[], Sink | None]) -> None:
        try:
            made = make()
            if made is not None:
                self._extras[name] = made
        except Exception as error:  # third-party code of every kind: it must not cost the run
            self._warn(f"{name} does not start ({type(error).__name__}: {error}); going on without")

    def _each_extra(self, action: Callable[[Sink], None]) -> None:
        for name, sink in list(self._extras.items()):
            try:
                action(sink)
            except Exception as error:  # as above
                del self._extras[name]
                self._warn(f"{name} failed ({type(error).__name__}: {error}); going on without")

    @property
    def rows(self) -> int:
        """Rows of metrics so far, what a checkpoint counts on."""
        return self._files.rows

    def write(self, rows: Sequence[Row]) -> None:
        """Write the rows of one chunk everywhere. Raises OSError if a file cannot be written."""
        self._files.write(rows)
        self.last = rows
        self._each_extra(lambda sink: sink.write(rows))

    def sync(self) -> None:
        """Make all rows durable. Raises OSError if a file cannot be written."""
        self._files.sync()
        self._each_extra(lambda sink: sink.sync())

    def close(self, status: str) -> None:
        """Close them all; ``status`` says how the run ended."""
        self._files.close()
        self._each_extra(lambda sink: sink.close(status))
