"""Memory of every preset on accelerators that are not here, one table, and the environments that would fit."""

import importlib.metadata
from typing import Any

from benchmarks import compile, tables
from benchmarks.compile_options import Compile
from benchmarks.compiler import targets
from benchmarks.fits_options import Fits
from benchmarks.tables import Row, Table

_KEPT = (
    "program", "arm", "argument_bytes", "temporary_bytes", "aliased_bytes", "beside_bytes", "needed_bytes", "fits",
    "kernels", "waits", "num_envs", "largest_num_envs", "bytes_an_environment", "compile_seconds",
)  # fmt: skip


def run(options: Fits) -> None:
    """Compile what is not in the table yet, write it after each preset and print it at the end."""
    machine = {"platform": "compilers of accelerators", "jax": importlib.metadata.version("jax")}
    rows = _there(options, machine)
    known = {_key(row) for row in rows}
    for asked in options.asked():
        if (asked.target, asked.home, asked.flags[-1]) not in known:
            rows += compiled(asked)
            tables.write(options, Table(rows, machine))
    for row in rows:
        print(line(row))


def compiled(asked: Compile) -> list[Row]:
    """Rows of the programs of one preset; one that says so where its worker ended by itself, having said why."""
    target = targets.parse(asked.target)
    place = {"target": asked.target, "home": asked.home, "preset": asked.flags[-1]}
    try:
        found = [row for row in compile.compiled(asked, target) if row.get("phase") == "all"]
    except SystemExit as end:
        return [place | {"left_out": f"its compilation ended with status {end.code}"}]
    return [
        place
        | {name: row[name] for name in _KEPT if name in row}
        | {"memory_bytes": target.memory, "share": row["needed_bytes"] / target.memory}
        for row in found
    ]


def line(row: Row) -> str:
    """One program in words."""
    name = f"{row['target']:8} {row['home']:8} {row['preset']:14}"
    if "left_out" in row:
        return f"{name} left out: {row['left_out']}"
    text = f"{name} {row['program']:12} {row['needed_bytes'] / 1e9:9.3f} GB {100 * row['share']:6.1f} %"
    if row.get("largest_num_envs") is not None:
        text += f"  {row['num_envs']:,} environments, {row['largest_num_envs']:,} fit"
    return text + ("" if row["fits"] else "  does not fit")


def _there(options: Fits, machine: dict[str, Any]) -> list[Row]:
    """Rows of an earlier call with this JAX."""
    told = tables.there(options)
    return told["rows"] if told.get("machine") == machine else []


def _key(row: Row) -> tuple[str, str, str]:
    return row["target"], row["home"], row["preset"]
