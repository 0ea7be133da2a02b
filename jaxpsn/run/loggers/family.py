"""The family of loggers: who hears of the metrics of a run beside its own files; imports no JAX."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from jaxpsn.core import errors
from jaxpsn.core.components import Component, called, terms_of
from jaxpsn.core.families import Family
from jaxpsn.run.loggers import callbacks
from jaxpsn.run.loggers.callbacks import Row


@runtime_checkable
class Sink(Protocol):
    """A place for rows of metrics; a value of None is absent."""

    def write(self, rows: Sequence[Row]) -> None:
        """Take the rows of one chunk and hand them to the system."""
        ...

    def sync(self) -> None:
        """Make all rows durable: called before a checkpoint that counts on them."""
        ...

    def close(self, status: str) -> None:
        """End; ``status`` says how the run ended."""
        ...


class Opening(NamedTuple):
    """What a logger is told of the run."""

    folder: Path | None
    """The run folder; None for a run that leaves nothing on the disk."""
    seeds: int
    """Runs side by side, each with rows of its own."""
    step: int
    """The step that the run goes on from, -1 at its start."""
    record: Mapping[str, Any]
    """What config.json holds."""


class Log(Component):
    """Who hears of the metrics of a run.

    One of your own returns from ``tracker`` an object of three methods (:class:`jaxpsn.run.loggers.callbacks.Logger`).
    An error in it costs the logger, never the run.
    """

    package: ClassVar[str | None] = None
    """The package that it needs, if it is none that comes along."""
    extra: ClassVar[str | None] = None
    """The extra of jaxpsn that installs the package."""
    in_folder: ClassVar[bool] = False
    """Whether it writes into the run folder, which there must then be."""

    def tracker(self) -> Any:
        """An object with the methods ``start``, ``log`` and ``finish``."""
        raise NotImplementedError

    def opened(self, opening: Opening) -> Sink | None:
        """Where rows go; None for nowhere beyond the run's own files."""
        made = self.tracker()
        callbacks.require([made])
        return listened(made, opening)


def listened(logger: callbacks.Logger, opening: Opening) -> Sink:
    """A user's own object of three methods as a sink."""
    return callbacks.CallbackSink(logger, opening.seeds, opening.record, str(opening.record.get("name", "")))


LOGGERS: Family[Log] = Family(
    "log",
    Log,
    {"tensorboard": "jaxpsn.run.loggers.tensorboard", "wandb": "jaxpsn.run.loggers.weights_and_biases"},
    sums=True,
    doc="Who hears of the metrics of a run; they add up.",
)


@LOGGERS.register("csv")
@dataclass(frozen=True)
class Csv(Log):
    """The run's own files, metrics.csv and metrics.jsonl, which are written whatever else is asked for."""

    def opened(self, opening: Opening) -> Sink | None:
        return None


def require(log: Any, folder: bool = True) -> None:
    """Refuse loggers whose package is not installed, and those that need a ``folder`` where there is none.

    Cheap: it is asked before anything is made. Raises UserError.
    """
    for one in terms_of(log):
        name = called(type(one))
        if one.package is not None and importlib.util.find_spec(one.package) is None:
            how = f"pip install 'jaxpsn[{one.extra}]'" if one.extra else f"pip install {one.package}"
            errors.refuse("log", name, f"needs {one.package}: {how}")
        if one.in_folder and not folder:
            errors.refuse("log", name, "only together with folder")


def opened(log: Any, opening: Opening) -> dict[str, Callable[[], Sink | None]]:
    """Name -> what opens each logger."""
    return {called(type(one)): lambda one=one: one.opened(opening) for one in terms_of(log)}
