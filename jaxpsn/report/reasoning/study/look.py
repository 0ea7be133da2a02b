"""How the arms of a reasoning study look: base and reference in every panel, the others shared out among panels."""

from collections.abc import Mapping, Sequence

from jaxpsn.report.charts import look
from jaxpsn.report.charts.look import Look
from jaxpsn.report.reasoning.study.scores import REFERENCE, Results
from jaxpsn.stats.evaluations import BASE

_CHIEF = ("psn-no-tis", "psn", "psn-kl", "psn-composite", "psn-step")
"""Arms that the paper's pattern is about: they have a panel of their own."""
_MOST = 8  # arms in a panel beside base and reference


def panels(labels: Sequence[str]) -> list[tuple[str, ...]]:
    """The arms in as many panels as keep their lines apart: the paper's first, then at most eight in each."""
    chief = tuple(label for label in _CHIEF if label in labels)
    rest = tuple(label for label in labels if label not in (*chief, REFERENCE))
    return [some for some in (chief, *(rest[at : at + _MOST] for at in range(0, len(rest), _MOST))) if some] or [()]


def looks(labels: Sequence[str]) -> Mapping[str, Look]:
    """Label -> look, the base's too."""
    order = [label for panel in panels(labels) for label in panel]
    return {BASE: Look("soft", "dotted"), REFERENCE: Look("ink")} | look.looks(order)


def groups(results: Results, task: str) -> list[tuple[str, ...]]:
    """The labels of each panel that have numbers on a task, with base and reference in front."""
    known = results.arms(task)
    shared = tuple(label for label in (BASE, REFERENCE) if label in known)
    shown = (tuple(label for label in panel if label in known) for panel in panels(results.study.labels))
    return [(*shared, *panel) for panel in shown if panel] or [shared]
