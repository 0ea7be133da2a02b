"""How the arms of a reasoning study look: base and reference in every panel, the others shared out among panels."""

from collections.abc import Mapping, Sequence

from jaxpsn.report.figures import BLUE, GREEN, INK, ORANGE, PURPLE, SKY, SOFT, VERMILION
from jaxpsn.report.reasoning_study.scores import REFERENCE, Results
from jaxpsn.report.study.look import Look
from jaxpsn.stats.evaluations import BASE

_CHIEF = ("psn-no-tis", "psn", "psn-kl", "psn-composite", "psn-step")
"""Arms that the paper's pattern is about: they have a panel of their own."""
_COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, "#8a8a2a", "#882255")
_DASHES = ("-", (0, (4, 1.5)), (0, (1.5, 1.5)))


def panels(labels: Sequence[str]) -> list[tuple[str, ...]]:
    """The arms in as many panels as keep their lines apart: the paper's first, then at most eight in each."""
    chief = tuple(label for label in _CHIEF if label in labels)
    rest = tuple(label for label in labels if label not in (*chief, REFERENCE))
    size = len(_COLORS)
    return [some for some in (chief, *(rest[at : at + size] for at in range(0, len(rest), size))) if some] or [()]


def looks(labels: Sequence[str]) -> Mapping[str, Look]:
    """Label -> look, the base's too: a colour in each panel, dashes for each panel."""
    found = {BASE: Look(SOFT, (0, (1, 1.5))), REFERENCE: Look(INK, "-")}
    for number, panel in enumerate(panels(labels)):
        dashes = _DASHES[number % len(_DASHES)]
        found |= {label: Look(color, dashes) for label, color in zip(panel, _COLORS, strict=False)}
    return found


def groups(results: Results, task: str) -> list[tuple[str, ...]]:
    """The labels of each panel that have numbers on a task, with base and reference in front."""
    known = results.arms(task)
    shared = tuple(label for label in (BASE, REFERENCE) if label in known)
    shown = (tuple(label for label in panel if label in known) for panel in panels(results.study.labels))
    return [(*shared, *panel) for panel in shown if panel] or [shared]
