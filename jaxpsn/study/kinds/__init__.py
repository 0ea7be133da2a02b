"""The kinds of studies: for each what its units are, how they are made, how a scale is tuned, and what is reported."""

import importlib
from pathlib import Path

from jaxpsn.core import errors
from jaxpsn.study import record
from jaxpsn.study.record import Study

KINDS = {"control": "jaxpsn.study.kinds.control", "reasoning": "jaxpsn.study.kinds.reasoning"}
"""Kind -> its module, whose ``STUDY`` is the class."""


def load(path: Path) -> Study:
    """The study of a folder, of whatever kind, without claiming it. Raises UserError if there is none."""
    kind = record.read(path)["kind"]
    if kind not in KINDS:
        errors.refuse("kind", kind, errors.nearest(kind, KINDS))
    return importlib.import_module(KINDS[kind]).STUDY.load(path)
