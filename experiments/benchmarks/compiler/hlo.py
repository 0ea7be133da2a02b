"""XLA's optimised programs as text: computations, their instructions, shapes and bytes; imports nothing of JAX."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

_SHAPE = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,<= ]*)\]")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_NAME = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_COMMENT = re.compile(r"/\*.*?\*/")
_OPERAND = re.compile(r"%([\w.\-]+)")
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


def itemsize(dtype: str) -> int:
    """Bytes of one number: 0 for tokens, 1 for what is packed tighter."""
    if dtype in ("token", "opaque"):
        return 0
    bits = re.search(r"\d+", dtype)
    return max(int(bits.group()), 8) // 8 if bits else 1


def shapes(text: str) -> list[tuple[str, tuple[int, ...]]]:
    """The arrays that a type (maybe a tuple) is made of, as (dtype, dimensions)."""
    return [
        (dtype, tuple(int(size.strip("<= ")) for size in sizes.split(",") if size))
        for dtype, sizes in _SHAPE.findall(text)
    ]


def size(text: str) -> int:
    """Bytes of a type."""
    return sum(prod(sizes) * itemsize(dtype) for dtype, sizes in shapes(text))


@dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    rest: str
    """Attributes and metadata."""
    root: bool = False

    @cached_property
    def bytes(self) -> int:
        """Of the result."""
        return size(self.type)

    @property
    def op_name(self) -> str:
        """Where in the traced program it comes from; empty if it has no such place."""
        found = _OP_NAME.search(self.rest)
        return found.group(1) if found else ""

    @property
    def trips(self) -> int | None:
        """Of a loop: how often it runs, None where only the running program knows."""
        found = _TRIPS.search(self.rest)
        return int(found.group(1)) if found else None

    def called(self, attribute: str) -> str | None:
        """The computation that ``attribute`` names."""
        found = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.rest)
        return found.group(1) if found else None

    @property
    def branches(self) -> tuple[str, ...]:
        """The computations of a conditional."""
        listed = re.search(r"branch_computations=\{([^}]*)\}", self.rest)
        if listed:
            return tuple(_OPERAND.findall(listed.group(1)))
        both = (self.called("true_computation"), self.called("false_computation"))
        return tuple(name for name in both if name)

    @property
    def target(self) -> str:
        """Of a custom call."""
        found = re.search(r'custom_call_target="([^"]*)"', self.rest)
        return found.group(1) if found else ""


@dataclass
class Computation:
    """A named list of instructions, in the order in which they run."""

    name: str
    instructions: dict[str, Instruction] = field(default_factory=dict)

    @cached_property
    def root(self) -> Instruction:
        """The result."""
        return next(one for one in self.instructions.values() if one.root)

    @cached_property
    def parameters(self) -> dict[int, str]:
        """Names of the parameters by their numbers."""
        found = (one for one in self.instructions.values() if one.opcode == "parameter")
        return {int(one.operands[0]): one.name for one in found}

    @cached_property
    def users(self) -> dict[str, list[Instruction]]:
        """Who reads what."""
        found: dict[str, list[Instruction]] = {}
        for one in self.instructions.values():
            for operand in one.operands:
                found.setdefault(operand, []).append(one)
        return found


@dataclass
class Module:
    """A whole program."""

    entry: Computation
    computations: dict[str, Computation]
    aliased: int
    """Arrays of the result that lie where an argument lay, as that was donated."""


def parse(text: str) -> Module:
    """The program of ``compiled.as_text()``. Raises ValueError for what is none."""
    computations: dict[str, Computation] = {}
    entry, current = None, None
    for raw in text.splitlines():
        line = _COMMENT.sub("", raw)
        head = _HEAD.match(line) if current is None else None
        if head:
            current = computations[head.group(2)] = Computation(head.group(2))
            entry = current if head.group(1) else entry
        elif line == "}":
            current = None
        elif current is not None:
            made = _instruction(line)
            if made:
                current.instructions[made.name] = made
    if entry is None:
        raise ValueError("no ENTRY: not the text of an optimised program")
    first = text.split("\n", 1)[0]
    return Module(entry, computations, len(re.findall(r"(?:may|must)-alias\)", first)))


def _instruction(line: str) -> Instruction | None:
    named = _NAME.match(line)
    if not named:
        return None
    rest = line[named.end() :]
    kind, rest = _until_balanced(rest) if rest.startswith("(") else rest.split(" ", 1)
    opcode, _, rest = rest.strip().partition("(")
    inner, rest = _until_balanced(f"({rest}")
    operands = tuple(_OPERAND.findall(inner))
    if opcode in ("parameter", "constant"):
        operands = (inner.strip("()"),)
    return Instruction(named.group(2), kind, opcode, operands, rest, bool(named.group(1)))


def _until_balanced(text: str) -> tuple[str, str]:
    """The parenthesis that ``text`` begins with, and what follows it."""
    depth, quoted = 0, False
    for place, letter in enumerate(text):
        quoted ^= letter == '"'
        if not quoted and letter in "()":
            depth += 1 if letter == "(" else -1
            if not depth:
                return text[: place + 1], text[place + 1 :]
    return text, ""
