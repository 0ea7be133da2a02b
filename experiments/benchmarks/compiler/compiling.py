"""Programs compiled for devices that nobody has here, and what their compiler says of them, as rows of a table."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.compiler import counts, targets
from benchmarks.compiler.counts import Counts, Phases
from benchmarks.compiler.targets import Target
from jaxpsn.run import memory, startup

Row = dict[str, Any]
UNRUN = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""For machine code that is never run: only the program above it is read, which stays the same to the letter."""
_NO_TILES = "Couldn't find output tile sizes"
"""XLA's words where the tiles that it takes untuned, without a device to try others on, do not fit a Triton kernel."""


@dataclass(frozen=True)
class Compiled:
    """One program: its text, and bytes a device."""

    text: str
    arguments: int
    outputs: int
    temporaries: int
    aliased: int
    """Of the arguments, given up to results."""
    seconds: float
    """Of compiling."""
    triton: bool = True
    """Whether matrix products may be Triton kernels; else they are all cuBLAS's."""

    @property
    def needed(self) -> int:
        """Bytes at once."""
        return self.arguments + self.outputs + self.temporaries - self.aliased


@dataclass
class Compiler:
    """Compiles for ``target`` and keeps rows."""

    target: Target
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.devices = _topology(self.target).devices
        self._options = UNRUN if self.target.platform == targets.CUDA else {}  # a TPU's compiler has neither

    def one(self) -> NamedSharding:
        """All of an array on the first device."""
        return NamedSharding(Mesh(np.array(self.devices[:1]), ("one",)), PartitionSpec())

    def compile(
        self,
        name: str,
        function: Callable[..., Any],
        given: Any,
        ins: Any,
        outs: Any = None,
        fields: str = "",
        **options,
    ) -> Compiled:
        """``function`` of arguments of the shapes ``given``, with these shardings; ``fields`` make it smaller.

        Raises UserError in one line where the compiler finds that it does not fit.
        """
        startup.speak(f"{self.target.name}: compiling {name}")
        begun = time.perf_counter()
        places = self.one() if ins is None else ins
        made = jax.jit(function, in_shardings=places, out_shardings=self.one() if ins is None else outs, **options)
        with memory.told(fields or "the sizes of what was asked for"):
            found, triton = self._executable(made.trace(*given).lower(lowering_platforms=(self.target.platform,)))
        told = found.memory_analysis()
        return Compiled(
            found.as_text(),
            told.argument_size_in_bytes,
            told.output_size_in_bytes,
            told.temp_size_in_bytes,
            told.alias_size_in_bytes,
            time.perf_counter() - begun,
            triton,
        )

    def _executable(self, lowered: Any) -> tuple[Any, bool]:
        """What the compiler makes of it, and whether with Triton kernels for matrix products."""
        try:
            return lowered.compile(self._options), True
        except jax.errors.JaxRuntimeError as error:
            if _NO_TILES not in str(error):
                raise
        startup.speak(f"{self.target.name}: untuned, a Triton kernel has no tiles; compiling again with cuBLAS alone")
        return lowered.compile(self._options | {"xla_gpu_enable_triton_gemm": False}), False

    def add(self, program: str, arm: str, made: Compiled, phases: Phases, beside: int = 0, **more: Any) -> None:
        """Rows of a program: all of it with its memory, and each of its phases.

        ``beside``: bytes a device that a run holds meanwhile and the program does not take.
        """
        whole, needed = counts.total(phases), made.needed + beside
        self.rows.append(
            {"program": program, "arm": arm, "phase": "all"}
            | self._counted(whole)
            | {
                "argument_bytes": made.arguments,
                "temporary_bytes": made.temporaries,
                "aliased_bytes": made.aliased,
                "beside_bytes": beside,
                "needed_bytes": needed,
                "fits": needed <= self.target.memory,
                "largest_array": max(map(prod, counts.arrays(made.text))),
                "compile_seconds": round(made.seconds, 1),
            }
            | ({} if made.triton else {"triton_gemm": False})
            | more
        )
        if len(phases) > 1:
            for phase, one in phases.items():
                self.rows.append({"program": program, "arm": arm, "phase": phase} | self._counted(one))

    def _counted(self, one: Counts) -> Row:
        return {
            "kernels": one.kernels,
            "waits": one.waits,
            "bytes": one.bytes,
            "flops": one.flops,
            "collectives": ", ".join(f"{count:g} {kind}" for kind, count in sorted(one.collectives.items())),
            "collective_bytes": one.collective_bytes,
            "predicted_seconds": self.target.predicted(one.kernels, one.waits, one.bytes, one.flops),
        }


def bytes_of(tree: Any, shardings: Any = None) -> int:
    """Of one device; ``shardings``: None without a mesh."""
    whole = jax.tree.leaves(tree)
    cut = [None] * len(whole) if shardings is None else jax.tree.leaves(shardings)
    shapes = (leaf.shape if one is None else one.shard_shape(leaf.shape) for leaf, one in zip(whole, cut, strict=True))
    return sum(prod(shape) * leaf.dtype.itemsize for shape, leaf in zip(shapes, whole, strict=True))


def _topology(target: Target) -> Any:
    from jax.experimental import topologies

    if target.platform == targets.CUDA:
        return topologies.get_topology_desc(
            platform="cuda", target_config=targets.description(target), topology=target.topology
        )
    return topologies.get_topology_desc(platform="tpu", topology_name=target.topology)
