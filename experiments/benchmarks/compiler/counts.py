"""What a program starts, waits for, moves and multiplies, counted along the dearest of its branches."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from benchmarks.compiler import hlo
from benchmarks.compiler.hlo import Computation, Instruction, Module

OTHER = "other"
"""The phase of what no scope names."""
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all", "ragged-all-to-all",
               "collective-broadcast")  # fmt: skip
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier", "partition-id",
    "replica-id", "add-dependency", "domain", "while", "conditional", "call", "async-start", "async-update",
}  # fmt: skip
_NO_KERNEL = {
    "AllocateBuffer",
    "Sharding",
    "SPMDFullToShardShape",
    "SPMDShardToFullShape",
    "AssumeGatherIndicesInBound",
}
_WRAPPED = re.compile(r"^(?:(?:vmap|jvp|transpose|remat|checkpoint|shard_map)\()+|\)+$")


@dataclass
class Counts:
    """Sums over a program or a part of it."""

    kernels: float = 0
    """Started by themselves: fusions, library calls, sorts, copies."""
    waits: float = 0
    """Conditionals, and loops of which only the running program knows the length: somebody waits for a value."""
    bytes: float = 0
    """Read and written by kernels; of a slice, a gather or an update in place only what it touches."""
    flops: float = 0
    """Of matrix products and convolutions."""
    collectives: Counter[str] = field(default_factory=Counter)
    """How many of each kind."""
    collective_bytes: float = 0
    """Of their results, on one device."""

    def add(self, other: "Counts", times: float = 1) -> None:
        """Add ``other``, ``times`` over."""
        for name in ("kernels", "waits", "bytes", "flops", "collective_bytes"):
            setattr(self, name, getattr(self, name) + times * getattr(other, name))
        for name, count in other.collectives.items():
            self.collectives[name] += times * count


Phases = dict[str, Counts]


def total(phases: Phases) -> Counts:
    """The sum over phases."""
    found = Counts()
    for one in phases.values():
        found.add(one)
    return found


class Program:
    """Counts of a program's computations; ``scopes``: names that ``jax.named_scope`` gave to its phases."""

    def __init__(self, module: Module, scopes: Sequence[str] = ()):
        self._module, self._scopes = module, frozenset(scopes)
        self._known: dict[tuple[str, str], Phases] = {}

    def entry(self) -> Phases:
        """The whole program, by phase."""
        return self.of(self._module.entry, OTHER)

    def loop(self, trips: int | None) -> Phases | None:
        """One turn of the outermost loop that runs ``trips`` times, by phase; None if there is none.

        ``trips`` None: of the outermost loop of which only the running program knows the length.
        """
        found = self._loop(self._module.entry, trips)
        return None if found is None else self._turn(found, OTHER)

    def _loop(self, computation: Computation, trips: int | None) -> Instruction | None:
        loops = [one for one in computation.instructions.values() if one.opcode == "while"]
        inner = [self._module.computations[one.called("body")] for one in loops]
        here = [one for one in loops if self._trips(one) == trips]
        deeper = (self._loop(one, trips) for one in inner)
        return here[0] if here else next(filter(None, deeper), None)

    def _trips(self, loop: Instruction) -> int | None:
        """How often a loop runs; a TPU's program tells by its condition alone: a counter from 0 below a constant."""
        if loop.trips is not None:
            return loop.trips
        condition = self._module.computations[loop.called("condition")].instructions
        root = next(one for one in condition.values() if one.root)
        if {one.opcode for one in condition.values()} - {"parameter", "get-tuple-element", "constant", "compare"}:
            return None
        limit = condition[root.operands[-1]]
        counted = root.opcode == "compare" and "direction=LT" in root.rest and limit.opcode == "constant"
        return int(limit.operands[0]) if counted and limit.type.startswith("s32[]") else None

    def of(self, computation: Computation, phase: str) -> Phases:
        """One run of ``computation``; what has no phase of its own has ``phase``."""
        key = computation.name, phase
        if key not in self._known:
            found: Phases = {}
            for one in computation.instructions.values():
                for name, counts in self._instruction(computation, one, self._phase(one, phase)).items():
                    found.setdefault(name, Counts()).add(counts)
            self._known[key] = found
        return self._known[key]

    def _phase(self, one: Instruction, outer: str) -> str:
        parts = (_WRAPPED.sub("", part) for part in one.op_name.split("/"))
        return next((part for part in parts if part in self._scopes), outer)

    def _turn(self, loop: Instruction, phase: str) -> Phases:
        found: Phases = {}
        # Of a loop of known length nobody computes the condition.
        for attribute in ("condition", "body") if self._trips(loop) is None else ("body",):
            for name, counts in self.of(self._module.computations[loop.called(attribute)], phase).items():
                found.setdefault(name, Counts()).add(counts)
        return found

    def _instruction(self, computation: Computation, one: Instruction, phase: str) -> Phases:
        if one.opcode == "while":
            once, trips = self._turn(one, phase), self._trips(one)
            made = {name: Counts() for name in (*once, phase)}
            for name, counts in once.items():
                made[name].add(counts, 1 if trips is None else trips)
            made[phase].waits += trips is None
            return made
        if one.opcode == "conditional":
            branches = [self.of(self._module.computations[name], phase) for name in one.branches]
            dearest = max(branches, key=lambda branch: (total(branch).kernels, total(branch).bytes))
            made = {name: Counts() for name in (*dearest, phase)}
            for name, counts in dearest.items():
                made[name].add(counts)
            made[phase].waits += 1
            return made
        if one.opcode in ("call", "async-start"):
            name = one.called("to_apply") or one.called("calls") or one.called("called_computation")
            return self.of(self._module.computations[name], phase) if name else {}
        return {phase: self._kernel(computation, one)} if _is_kernel(one) else {}

    def _kernel(self, computation: Computation, one: Instruction) -> Counts:
        fused = self._module.computations.get(one.called("calls") or "")
        moved = _moved_by_fusion(computation, one, fused) if fused else _moved(computation, one)
        made = Counts(kernels=1, bytes=moved, flops=self._fused_flops(fused) if fused else _flops(computation, one))
        kind = one.opcode.removesuffix("-start")
        if kind in COLLECTIVES:
            made.collectives[kind] += 1
            made.collective_bytes = one.bytes / (2 if one.opcode.endswith("-start") and kind != "all-reduce" else 1)
        return made

    def _fused_flops(self, fused: Computation) -> float:
        """Of a fused computation and those that are fused within it."""
        found = 0.0
        for one in fused.instructions.values():
            inner = self._module.computations.get(one.called("calls") or "")
            found += self._fused_flops(inner) if inner else _flops(fused, one)
        return found


def _is_kernel(one: Instruction) -> bool:
    if one.opcode in _FREE or one.opcode.endswith("-done"):
        return False
    return one.opcode != "custom-call" or one.target not in _NO_KERNEL


def _operand_bytes(computation: Computation, name: str) -> int:
    made = computation.instructions.get(name)
    return made.bytes if made else 0


def _moved(computation: Computation, one: Instruction) -> int:
    if one.opcode in ("dynamic-slice", "gather"):
        return 2 * one.bytes
    if one.opcode == "dynamic-update-slice":
        return 2 * _operand_bytes(computation, one.operands[1])
    if one.opcode == "scatter":
        return 2 * _operand_bytes(computation, one.operands[-1])
    return one.bytes + sum(_operand_bytes(computation, name) for name in one.operands)


def _moved_by_fusion(computation: Computation, one: Instruction, fused: Computation) -> int:
    read = 0
    for number, name in enumerate(one.operands):
        inner = fused.parameters.get(number)
        whole = _operand_bytes(computation, name)
        read += whole if inner is None else min(whole, _read(fused, inner))
    return read + _written(fused, fused.root)


def _read(fused: Computation, name: str) -> int:
    """Bytes of a parameter that a fused computation reads."""
    found = 0
    for user in fused.users.get(name, ()):
        first = user.operands[0] == name
        if user.opcode == "bitcast":
            found += _read(fused, user.name)
        elif user.opcode in ("dynamic-slice", "gather") and first:
            found += user.bytes
        elif user.opcode not in ("dynamic-update-slice", "scatter") or not first:
            return fused.instructions[name].bytes
    return found


def _written(fused: Computation, root: Instruction) -> int:
    if root.opcode == "tuple":
        return sum(_written(fused, fused.instructions[name]) for name in root.operands)
    if root.opcode == "bitcast":
        return _written(fused, fused.instructions[root.operands[0]])
    if root.opcode == "dynamic-update-slice":
        return _operand_bytes(fused, root.operands[1])
    return root.bytes


def _flops(computation: Computation, one: Instruction) -> float:
    gemm = one.opcode == "custom-call" and "gemm" in one.target.lower()
    if one.opcode == "dot" or gemm:
        sides = computation.instructions.get(one.operands[0])
        listed = re.search(r'lhs_contracting_dim(?:s=\{|ensions":\[)([\d",]*)', one.rest)
        if sides is None or listed is None:
            return 0.0
        sizes = hlo.shapes(sides.type)[0][1]
        depth = prod(sizes[int(place)] for place in re.findall(r"\d+", listed.group(1)))
        return 2.0 * depth * prod(hlo.shapes(one.type)[0][1])
    if one.opcode == "convolution":
        labels = re.search(r"dim_labels=\w+_(\w+)->", one.rest)
        kernel = computation.instructions.get(one.operands[1])
        if labels is None or kernel is None:
            return 0.0
        sizes = hlo.shapes(kernel.type)[0][1]
        outputs = sizes[labels.group(1).index("o")]
        return 2.0 * prod(hlo.shapes(one.type)[0][1]) * prod(sizes) / max(outputs, 1)
    return 0.0


def count(text: str, scopes: Sequence[str] = ()) -> Program:
    """The counts of a program's text."""
    return Program(hlo.parse(text), scopes)


def arrays(text: str) -> set[tuple[int, ...]]:
    """Dimensions of every array that a program names outside of its fused computations: those that take memory."""
    module = hlo.parse(text)
    inner = {one.called("calls") for each in module.computations.values() for one in each.instructions.values()
             if one.opcode == "fusion"}  # fmt: skip
    return {
        sizes
        for computation in module.computations.values()
        if computation.name not in inner
        for one in computation.instructions.values()
        for _, sizes in hlo.shapes(one.type)
    }
