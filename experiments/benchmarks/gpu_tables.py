"""The tables of a GPU's measurements as Markdown: ``python -m benchmarks.gpu_tables results/gpu.json``."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxpsn.core import text

Comparison = dict[str, Any]
Row = dict[str, Any]

KERNEL = 1.5
"""Times the clean policy step up to which no kernel of our own is worth writing (with :data:`SHARE`)."""
SHARE = 0.05
"""Share of an environment step up to which the price of noise is none."""


def markdown(told: dict[str, Any]) -> str:
    """A table for every part of ``told``, what ``gpu.json`` holds, then what was left out and the rule's verdict."""
    machine, versions = told["machine"], told["versions"]
    head = f"{machine['device']}, jax {versions['jax']}, Python {versions['python']}; {told['minutes']:.1f} minutes."
    parts = {name: _of(told, name) for name in ("acting", "training", "seeds", "learning", "decoding")}
    makers: dict[str, Callable[[list[Comparison]], str]] = {
        "acting": _acting, "training": _training, "seeds": _seeds, "learning": _learning, "decoding": _decoding,
    }  # fmt: skip
    blocks = [head, *(makers[name](found) for name, found in parts.items() if found)]
    left = [f"- {each['benchmark']}: {each['left_out']}" for each in told["comparisons"] if "left_out" in each]
    if left:
        blocks.append("\n".join(["Left out:", *dict.fromkeys(left)]))
    verdict = _verdict(parts["acting"], parts["training"])
    return "\n\n".join([*blocks, *([verdict] if verdict else [])]) + "\n"


def _of(told: dict[str, Any], name: str) -> list[Comparison]:
    return [each for each in told["comparisons"] if each["benchmark"] == name and "rows" in each]


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join([f"**{title}**", "", *(f"| {' | '.join(line)} |" for line in lines)])


def _ratio(row: Row, name: str = "ratio") -> str:
    return f"{row[name]:.2f} ({row[f'{name}_low']:.2f} .. {row[f'{name}_high']:.2f})"


def _acting(found: list[Comparison]) -> str:
    """Ratios to the clean batch: noise held, and every member redrawn at every step."""
    precisions = list(dict.fromkeys(each["options"]["precision"] for each in found))
    cells: dict[tuple[str, int], dict[str, str]] = {}
    for each in found:
        timed = {row["name"]: row for row in each["rows"] if "left_out" not in row}
        for name, row in timed.items():
            if " + " in name:
                continue
            told = f"{1e6 * row['seconds']:.0f} us" if name == "clean" else f"{row['ratio']:.2f}"
            redrawn = [timed[key] for key in (f"{name} + redraw 1%", f"{name} + redraw") if key in timed]
            told = " / ".join([told, *(f"{one['ratio']:.2f}" for one in redrawn)])
            cells.setdefault((name, row["members"]), {})[each["options"]["precision"]] = told
    ordered = sorted(cells, key=lambda key: key[1])
    rows = [
        [name, str(members), *(cells[name, members].get(one, "-") for one in precisions)] for name, members in ordered
    ]
    title = "Acting, times the clean batch: held / 1 % redrawn at every step / all redrawn"
    return _table(title, ["form", "members", *precisions], rows)


def _training(found: list[Comparison]) -> str:
    rows = [
        [
            each["options"]["env"], str(each["options"]["num_envs"]), row["name"], text.count(row["steps_per_second"]),
            text.count(row["updates_per_second"]), _ratio(row, "none_ratio") if "none_ratio" in row else "-",
        ]
        for each in found
        for row in each["rows"]
    ]  # fmt: skip
    head = ["task", "environments", "noise", "environment steps/s", "updates/s", "seconds, times those without noise"]
    return _table("Training", head, rows)


def _seeds(found: list[Comparison]) -> str:
    rows = [
        [each["options"]["env"], str(row["seeds"]), _ratio(row), text.count(row["steps_per_second"])]
        for each in found
        for row in each["rows"]
    ]
    return _table("Seeds in one program", ["task", "seeds", "seconds, times the first", "steps/s of all"], rows)


def _learning(found: list[Comparison]) -> str:
    rows = [
        [row["name"], f"{row['trained']:.3g}", text.count(row["steps"]), f"{row['eval_return']:.4g}"]
        for each in found
        for row in _thinned(each["rows"], 10)
    ]
    return _table("Return over seconds", ["task", "seconds", "environment steps", "return"], rows)


def _thinned(rows: list[Row], most: int) -> list[Row]:
    """The first, the last and some between."""
    if len(rows) <= most:
        return rows
    return [rows[round(place * (len(rows) - 1) / (most - 1))] for place in range(most)]


def _decoding(found: list[Comparison]) -> str:
    rows = [
        [
            str(each["options"]["hidden_size"]), str(each["options"]["members"]), row["name"],
            text.count(row["tokens_per_second"]), _ratio(row),
        ]
        for each in found
        for row in each["rows"]
    ]  # fmt: skip
    return _table("Decoding", ["width", "policies", "what", "tokens/s", "seconds, times clean"], rows)


def _verdict(acting: list[Comparison], training: list[Comparison]) -> str | None:
    """What the decision rule says: a kernel is written if Flipout and rank 1 are dear by themselves and in training."""
    names = ("flipout", "lowrank")
    timed = [row for each in acting for row in each["rows"] if row["name"] in names and "ratio" in row]
    steps = [row for each in training for row in each["rows"] if row["name"] in names and "none_ratio" in row]
    if not timed or not steps:
        return None
    dear, share = max(row["ratio"] for row in timed), max(row["none_ratio"] for row in steps) - 1
    verdict = "no kernel is called for" if dear <= KERNEL and share <= SHARE else "the rule calls for a kernel"
    return f"At most {dear:.2f} times the clean policy step, and {100 * share:.1f} % of training: {verdict}."


def main(argv: Sequence[str]) -> None:
    """Print the tables of the file that ``argv`` names."""
    print(markdown(json.loads(Path(argv[0]).read_text(encoding="utf-8"))), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
