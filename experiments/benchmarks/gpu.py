"""All that a GPU is asked, comparison after comparison, in one JSON file that is renewed after each."""

import dataclasses
import gc
import importlib
import json
import sys
import time
from typing import Any

import jax

from benchmarks import tables, timing
from benchmarks.options import Benchmark
from benchmarks.scale_options import Gpu
from jaxpsn.core import errors, files
from jaxpsn.run import cache, folder, startup


def run(options: Gpu) -> dict[str, Any]:
    """Make the comparisons that still begin within ``options.minutes``; returns what the file holds."""
    begun = time.monotonic()
    cache.enable()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{options.stem}.json"
    told = {
        "benchmark": options.name,
        "options": _plain(options),
        "command": tables.neutral(sys.argv),
        "machine": timing.machine() | {"memory_bytes": _memory()},
        "versions": folder.versions(),
        "minutes": 0.0,
        "comparisons": [],
    }
    for each in options.comparisons():
        spent = time.monotonic() - begun
        told["comparisons"].append(_compare(each, late=spent > 60 * options.minutes))
        told["minutes"] = (time.monotonic() - begun) / 60
        files.write_atomically(path, json.dumps(told, indent=1) + "\n")
    startup.speak(f"written: {path}")
    return told


def _compare(options: Benchmark, late: bool) -> dict[str, Any]:
    """The rows of one comparison, or why there are none: what fails does not take the others with it."""
    about = {"benchmark": options.name, "options": _plain(options)}
    if late:
        return about | {"left_out": "no time left"}
    startup.speak(f"{options.name}: {_label(options)}")
    begun = time.monotonic()
    try:
        rows = importlib.import_module(f"benchmarks.{options.name}").table(options).rows
    except (errors.UserError, jax.errors.JaxRuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        startup.speak(f"left out: {reason}")
        return about | {"left_out": reason}
    finally:
        gc.collect()  # what the last comparison held on the device goes before the next one begins
    shown = [row for row in rows if "ratio" in row or "left_out" in row]
    if shown:
        tables.show(shown)
    return about | {"seconds": time.monotonic() - begun, "rows": rows}


def _label(options: Benchmark) -> str:
    fields = ("env", "num_envs", "members", "precision", "hidden_size", "seeds")
    return ", ".join(f"{name} {getattr(options, name)}" for name in fields if getattr(options, name, None) is not None)


def _plain(options: Benchmark) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(options).items() if name != "out"}


def _memory() -> int | None:
    return (jax.devices()[0].memory_stats() or {}).get("bytes_limit")
