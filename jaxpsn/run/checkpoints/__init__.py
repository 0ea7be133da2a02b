"""Checkpoints of one or several processes."""

from jaxpsn.run.checkpoints.store import CheckpointError as CheckpointError
from jaxpsn.run.checkpoints.store import Restored as Restored
from jaxpsn.run.checkpoints.store import Store as Store
from jaxpsn.run.checkpoints.store import digest as digest
from jaxpsn.run.checkpoints.store import read as read
from jaxpsn.run.checkpoints.store import snapshot as snapshot
