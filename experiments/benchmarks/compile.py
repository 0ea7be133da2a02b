"""Training compiled for an accelerator that is not here: a process in its compiler's environment does the work."""

import contextlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import homes, paths
from benchmarks.compile_options import Compile
from benchmarks.compiler import targets
from benchmarks.compiler.targets import Target
from benchmarks.tables import Row, Table
from jaxpsn.core import errors, files
from jaxpsn.core import mesh as meshes
from jaxpsn.run import cache, exported, folder, startup

_EXTRAS = {targets.CUDA: "cuda13", targets.TPU: "tpu"}
_TPU = {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-4", "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0"}  # fmt: skip
"""So that libtpu looks for no machine around it."""


def table(options: Compile) -> Table:
    """Rows of every program of every arm, as :mod:`benchmarks.compiler` counts them; ``details`` say what is assumed.

    Raises UserError in one line for a mesh that the target does not have, and where its compiler cannot be installed.
    """
    target, mesh = targets.parse(options.target), options.mesh
    if mesh is not None:
        sizes = meshes.parse_mesh(mesh)
        targets.check_mesh(target, sizes.get("data", 1) * sizes.get("model", 1))
    rows = compiled(options, target)
    version = importlib.metadata.version("jax")
    machine = {"platform": target.platform, "device": target.name, "devices": target.devices, "jax": version}
    return Table(rows, machine, {"assumptions": target.assumptions, "target": vars(target)})


_ASKED = (
    "home", "target", "flags", "structures", "against", "programs", "shape", "calls", "clean", "largest", "bound",
)  # fmt: skip
"""The options that a worker is told."""


def compiled(options: Compile, target: Target) -> list[Row]:
    """The rows that a worker makes, or made before of the same sources with the same compiler.

    Raises SystemExit with its status where it ended by itself, having said why.
    """
    python = compiler(target)
    told = {name: getattr(options, name) for name in _ASKED}
    if os.environ.get(exported.SWITCH) == "0" or _names_files(options.flags):
        return _worked(told, target, python)
    kept = cache.home() / "compilers" / "rows" / f"{_identity(told, python)}.json"
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(kept.read_text(encoding="utf-8"))
        startup.speak(f"{target.name}: compiled before, and nothing has changed: {kept}")
        return found
    found = _worked(told, target, python)
    with contextlib.suppress(OSError):  # no room is no error
        kept.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(kept, json.dumps(found))
    return found


def _names_files(flags: Sequence[str]) -> bool:
    """Whether a flag names a file or folder (a plugin, problems, a model): no digest of ours sees what is in it."""
    return any(word and os.path.exists(word) for flag in flags for word in re.split(r"[=(),\s\"']", flag))


def _identity(told: dict[str, Any], python: Path) -> str:
    """A digest of all that decides the rows: the question, our sources, the compiler, settings of JAX and XLA."""
    compilers = sorted(path.name for path in python.parents[1].glob("lib/python*/site-packages/*.dist-info"))
    settings = {name: value for name, value in os.environ.items() if name.startswith(("JAX_", "XLA_"))}
    return folder.digest(folder.plain([told, compilers, exported.origins(("benchmarks",)), settings]))


def _worked(told: dict[str, Any], target: Target, python: Path) -> list[Row]:
    """The rows of a worker in the environment of its compiler."""
    with tempfile.TemporaryDirectory() as place, _alone(target):
        file = Path(place) / "rows.json"
        command = [str(python), "-m", "benchmarks.compiler.worker", json.dumps(told), str(file)]
        done = subprocess.run(command, env=environment(target), cwd=place, stdout=subprocess.DEVNULL)
        if done.returncode:
            raise SystemExit(done.returncode if done.returncode > 0 else 1)
        return json.loads(file.read_text(encoding="utf-8"))


def compiler(target: Target) -> Path:
    """The Python of the compiler's environment, made on first use: JAX of this version with the plugin, no more."""
    extra, version = _EXTRAS[target.platform], importlib.metadata.version("jax")
    name = f"{extra}-jax{version}-py{sys.version_info.major}.{sys.version_info.minor}"
    try:
        return homes.python(
            cache.home() / "compilers" / name, f"the compiler of {target.name}", [f"jax[{extra}]=={version}"]
        )
    except errors.UserError as error:
        raise errors.UserError(
            f"{error}; it wants Linux and a package index that has jax[{extra}]=={version}"
        ) from None


def environment(target: Target) -> dict[str, str]:
    """The variables of the worker: our code and this environment's packages first, no device, no cache."""
    found = dict(os.environ)
    found["PYTHONPATH"] = os.pathsep.join((paths.search_path(), sysconfig.get_path("platlib")))
    found["JAX_PLATFORMS"] = "cpu"
    found["JAX_ENABLE_COMPILATION_CACHE"] = "0"
    if target.platform == targets.CUDA:  # choosing kernels by time wants a device
        flags = f"{found.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0"
        return found | {"XLA_FLAGS": flags.strip()}
    return found | _TPU


@contextlib.contextmanager
def _alone(target: Target) -> Iterator[None]:
    """Of libtpu there is one process at a time on a machine."""
    with (
        homes.alone(cache.home() / "compilers" / "libtpu")
        if target.platform == targets.TPU
        else contextlib.nullcontext()
    ):
        yield


def show(rows: list[Row], assumptions: str) -> None:
    """Print ``rows`` as a table, phases below their programs."""
    print(f"{'':44} {'kernels':>9} {'waits':>6} {'MB moved':>10} {'GFLOP':>9} {'predicted ms':>13} {'MB needed':>11}")
    for row in rows:
        print(_line(row))
    print(assumptions)


def _line(row: Row) -> str:
    if "left_out" in row:
        return f"{row['arm']}: left out: {row['left_out']}"
    if "num_envs" in row:
        return (
            f"{row['arm']}: at most {row['num_envs']:,} environments fit, {row['bytes_an_environment']:,.0f} bytes each"
        )
    whole = row["phase"] == "all"
    name = f"{row['program']}, {row['arm']}" if whole else f"    {row['phase']}"
    text = f"{name[:44]:44} {row['kernels']:>9,.0f} {row['waits']:>6,.0f} {row['bytes'] / 1e6:>10,.2f}"
    text += f" {row['flops'] / 1e9:>9,.3f} {row['predicted_seconds'] * 1e3:>13,.3f}"
    if whole:
        text += f" {row['needed_bytes'] / 1e6:>11,.1f}" + ("" if row["fits"] else " does not fit")
    if row["collectives"]:
        text += f"  {row['collectives']}: {row['collective_bytes'] / 1e6:,.2f} MB"
    return text
