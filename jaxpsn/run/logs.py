"""What a run has logged, looked at before it goes on: all rows that its checkpoint counts on must be there."""

from jaxpsn.run.checkpoints.store import Restored
from jaxpsn.run.engine import Engine
from jaxpsn.run.folder import RunFolder
from jaxpsn.run.loggers import sinks
from jaxpsn.run.loggers.lines import Ledger


def ledger(folder: RunFolder) -> Ledger:
    """Of the logs that a program writes beside the metrics, which count their own rows."""
    return Ledger(folder.path, (folder.events.name, folder.metrics.with_suffix(".jsonl").name))


def look(
    folder: RunFolder, ledger: Ledger, engine: Engine, restored: Restored | None, since: int
) -> sinks.MetricsFiles:
    """Attach ``engine`` to its logs and open the metrics, whose last row is of the step ``since``; nothing is changed.

    Raises UserError if rows up to the checkpoint are gone.
    """
    # Begun again, not even the rows of step 0 remain; a process that only helps has rows of its own.
    if restored is None or folder.shared is not None:
        engine.attach(folder.path, restored.step if restored else -1)
        return sinks.MetricsFiles(folder.metrics, -1)
    ledger.refuse_lost(restored.info.get("logs"), restored.step)
    metrics = sinks.MetricsFiles(folder.metrics, since, restored.info.get("rows", 0))
    engine.attach(folder.path, restored.step)
    return metrics
