"""How dense better policies lie around one: which share of its random perturbations is better than it.

Source: Neural Thickets, arXiv 2603.12228, which finds hardly any around small models and many around large ones.
"""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxpsn.core import text
from jaxpsn.stats import statistics

CLEAN = "clean"
"""The structure of the control: further answers of the policy itself, judged as if each column were a perturbation."""
_SHARES = ("better", "new")


class Patch(NamedTuple):
    """The perturbations of one structure at one scale."""

    structure: str
    sigma: float
    right: Bool[np.ndarray, "members problems"]
    """Whether a member's one answer to each problem was right."""


class Thickets(NamedTuple):
    """A policy and its perturbations on the same problems."""

    label: str
    task: str
    parameters: int
    base: Bool[np.ndarray, "answers problems"]
    """As many answers of the policy itself."""
    patches: Sequence[Patch]
    """The control first."""

    @property
    def pass_1(self) -> float:
        """pass@1 of the policy itself."""
        return float(self.base.mean())

    @property
    def unsolved(self) -> int:
        """Problems that none of its answers solves."""
        return int((~self.base.any(axis=0)).sum())


def rows(found: Thickets) -> list[dict[str, Any]]:
    """A row for each patch.

    ``better``: share of members whose pass@1 is above that of the policy; ``new``: of those that solve a problem that
    no answer of the policy solved; both with the score interval of Wilson (1927) over members. Of one answer a problem
    some members are better by luck: what luck does is the row of the control.
    """
    never, listed = ~found.base.any(axis=0), []
    for patch in found.patches:
        passed = patch.right.mean(axis=1)
        hits = {"better": passed > found.pass_1, "new": (patch.right & never).any(axis=1)}
        row: dict[str, Any] = {"structure": patch.structure, "sigma": patch.sigma, "members": len(passed)}
        for name in _SHARES:
            share = statistics.share(hits[name])
            row |= {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}
        listed.append(row | {"pass_1": float(passed.mean()), "best": float(passed.max())})
    return listed


def table(found: Thickets) -> str:
    """A table in plain columns for a terminal, ending in a newline."""
    head = ("structure", "sigma", "better", "solves a new one", "pass@1", "best")
    cells = [head]
    for row in rows(found):
        shares = [text.interval(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in _SHARES]
        cells.append((row["structure"], f"{row['sigma']:g}", *shares, f"{row['pass_1']:.3f}", f"{row['best']:.3f}"))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
    count, total = len(found.base), found.base.shape[1]
    title = f"{found.label}: {count} perturbations each, {total} problems of {found.task}, one answer to each"
    of_base = (
        f"The policy itself: pass@1 {found.pass_1:.3f}; {found.unsolved} problems that none of {count} answers solves."
    )
    reading = f"In brackets: Wilson's 95 % intervals over perturbations. The row {CLEAN} is what luck alone does."
    return "\n".join((title, "", *lines, "", of_base, reading)) + "\n"


def csv_text(found: Thickets) -> str:
    """The rows as CSV."""
    listed, file = rows(found), io.StringIO()
    writer = csv.DictWriter(file, list(listed[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    return file.getvalue()


def json_text(found: Thickets) -> str:
    """The rows, and what was probed, as JSON."""
    about = {"policy": found.label, "task": found.task, "parameters": found.parameters, "pass_1": found.pass_1}
    return json.dumps(about | {"unsolved": found.unsolved, "rows": rows(found)}, indent=2, allow_nan=False) + "\n"
