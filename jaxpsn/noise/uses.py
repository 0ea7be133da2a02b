"""What a program does with each of its parameters: which are matrices, look-up tables, or parts of a norm.

Every value of the traced program is described by what is known of it (:class:`_Known`), equation by equation, without
computing anything; inner programs (``jit``, ``scan``, ``remat``, custom derivatives ...) are followed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from jaxpsn.noise.interpret import scan_parts

MATRIX = "matrix"  # contracted with something: a matrix, or the kernel of a convolution
TABLE = "table"  # rows of it are looked up by what the input says
NORM = "norm"  # scales normalised activations, or is added to what such a scale of its module has scaled
VARIANCE = "variance"  # activations are divided by its root: a running statistic
SHIFT = "shift"  # subtracted


@dataclass(frozen=True)
class _Known:
    """What is known of a value."""

    leaf: str | None = None  # the parameter that it is, rearranged, cast, and shifted or scaled by constants
    parts: frozenset[str] = frozenset()  # parameters of two axes or more that it is made of, if of nothing given
    given: bool = False  # depends on the input
    statistic: bool = False  # reduced from something, and the same for all that was reduced
    root: bool = False  # square root of a statistic or of a running variance
    inverse: bool = False  # one over such a root, perhaps times scales
    normal: frozenset[str] | None = None  # divided by such a root; the modules whose scales it was multiplied by
    scales: frozenset[str] = frozenset()  # parameters in an inverse root

    @property
    def constant(self) -> bool:
        return self == _CONSTANT


_CONSTANT = _Known()
_KEPT = frozenset((
    "reshape", "transpose", "squeeze", "broadcast_in_dim", "slice", "rev", "convert_element_type", "copy",
    "copy_p", "stop_gradient", "sharding_constraint", "pvary", "reduce_precision", "pad", "optimization_barrier", "neg",
    "psum", "psum_invariant", "pmax", "all_gather", "expand_dims",
))  # fmt: skip
_REDUCED = ("reduce_sum", "reduce_max", "reduce_min", "reduce_window_sum")
_EITHER = ("select_n", "concatenate", "max", "min", "clamp")
_CONTRACTIONS = ("dot_general", "conv_general_dilated", "ragged_dot", "ragged_dot_general")
_LOOPS = ("scan", "while")


def module_of(path: str) -> str:
    """The path of the module that a parameter belongs to."""
    return path.rpartition("/")[0]


def uses(closed: Any, paths: list[str | None]) -> dict[str, frozenset[str]]:
    """The uses of each parameter in a closed jaxpr; ``paths``: of each input its path, None for what is given."""
    followed = _Followed()
    values = []
    for path, var in zip(paths, closed.jaxpr.invars, strict=True):
        values.append(_Known(given=True) if path is None else _parameter(path, len(var.aval.shape)))
    followed.run(closed, values)
    return {path: frozenset(found) for path, found in followed.found.items()}


def _parameter(path: str, ndim: int) -> _Known:
    return _Known(leaf=path, parts=frozenset([path] if ndim > 1 else []))


class _Followed:
    """The uses found so far."""

    def __init__(self) -> None:
        self.found: dict[str, set[str]] = {}

    def note(self, path: str | None, use: str) -> None:
        if path is not None:
            self.found.setdefault(path, set()).add(use)

    def run(self, closed: Any, values: list[_Known]) -> list[_Known]:
        """What is known of the results of a jaxpr."""
        jaxpr = getattr(closed, "jaxpr", closed)
        known = dict(zip(jaxpr.invars, values, strict=True))

        def read(atom: Any) -> _Known:
            return _CONSTANT if hasattr(atom, "val") else known.get(atom, _CONSTANT)

        for eqn in jaxpr.eqns:
            known.update(zip(eqn.outvars, self.step(eqn, [read(atom) for atom in eqn.invars]), strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def step(self, eqn: Any, values: list[_Known]) -> list[_Known]:
        """What is known of the results of one equation."""
        name = eqn.primitive.name
        if name in _LOOPS:
            return self.loop(eqn, values)
        if name == "cond":
            results = [self.run(branch, values[1:]) for branch in eqn.params["branches"]]
            return [_joined(list(options)) for options in zip(*results, strict=True)]
        inner = _inner(eqn)
        if inner is not None:
            return self.run(inner, values)
        rule = _RULES.get(name)
        if rule is not None:
            return [rule(self, eqn, values)] * len(eqn.outvars)
        return [_plain(values, all(value.statistic or value.constant for value in values))] * len(eqn.outvars)

    def loop(self, eqn: Any, values: list[_Known]) -> list[_Known]:
        """Carried values are activations, whatever they start from; scanned parameters are followed slice by slice."""
        carried = _Known(given=True)
        if eqn.primitive.name == "while":
            before, consts = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
            carry = [carried] * (len(values) - before - consts)
            self.run(eqn.params["cond_jaxpr"], values[:before] + carry)
            self.run(eqn.params["body_jaxpr"], values[before : before + consts] + carry)
            return carry
        body = eqn.params["jaxpr"]
        outs = len(eqn.outvars)
        invars = getattr(body, "jaxpr", body).invars
        # What is sliced has one axis less inside.
        lost = [len(atom.aval.shape) - len(var.aval.shape) for atom, var in zip(eqn.invars, invars, strict=True)]
        n_consts, n_carry = scan_parts(eqn.params)
        inside = [
            carried
            if n_consts <= place < n_consts + n_carry
            else _parameter(value.leaf, len(var.aval.shape))
            if value.leaf and less
            else value
            for place, (value, var, less) in enumerate(zip(values, invars, lost, strict=True))
        ]
        results = self.run(body, inside)
        return [carried if place < n_carry else results[place] for place in range(outs)]

    def contract(self, eqn: Any, values: list[_Known]) -> _Known:
        dims = eqn.params["dimension_numbers"] if eqn.primitive.name == "dot_general" else None
        if dims is not None and not dims[0][0]:
            return self.multiply(eqn, values)
        for value in values[:2]:
            for path in {value.leaf} | (value.parts if not value.given else set()):
                self.note(path, MATRIX)
        with_itself = dims is not None and eqn.invars[0] is eqn.invars[1]
        return _plain(values, with_itself)

    def look_up(self, eqn: Any, values: list[_Known]) -> _Known:
        table, indices = values
        numbers = eqn.params["dimension_numbers"]
        of_rows = len(numbers.start_index_map) == len(numbers.offset_dims) == 1
        if of_rows and numbers.collapsed_slice_dims == numbers.start_index_map and indices.given:
            self.note(table.leaf, TABLE)
        return _Known(given=True) if indices.given else table

    def cut(self, eqn: Any, values: list[_Known]) -> _Known:
        table, places = values[0], values[1:]
        sizes, shape = eqn.params["slice_sizes"], eqn.invars[0].aval.shape
        moved = [axis for axis, place in enumerate(places) if place.given]
        if len(shape) == 2 and len(moved) == 1 and sizes[moved[0]] == 1 and sizes[1 - moved[0]] == shape[1 - moved[0]]:
            self.note(table.leaf, TABLE)
        return _Known(given=True) if moved else table

    def multiply(self, eqn: Any, values: list[_Known]) -> _Known:
        for a, b in (values[:2], values[1::-1]):
            if a.inverse and b.leaf:
                return replace(a, scales=a.scales | {b.leaf}, parts=a.parts | b.parts)
            if a.inverse and b.given and not (b.inverse or b.root):
                return self.normalised(b, a.scales)
            if a.normal is not None and b.leaf:
                self.note(b.leaf, NORM)
                return replace(a, normal=a.normal | {module_of(b.leaf)})
            if b.constant:
                return a
        return _plain(values, all(value.statistic for value in values))

    def divide(self, eqn: Any, values: list[_Known]) -> _Known:
        a, b = values
        if b.root and a.given:
            return self.normalised(a, frozenset())
        if b.root and (a.constant or a.leaf):
            scales = frozenset([a.leaf] if a.leaf else [])
            return replace(b, root=False, inverse=True, scales=scales, parts=a.parts | b.parts)
        if b.constant:
            return a
        return _plain(values, all(value.statistic or value.constant for value in values))

    def normalised(self, value: _Known, scales: frozenset[str]) -> _Known:
        for path in scales:
            self.note(path, NORM)
        return _Known(given=True, normal=(value.normal or frozenset()) | {module_of(path) for path in scales})

    def add(self, eqn: Any, values: list[_Known]) -> _Known:
        for a, b in (values, values[::-1]):
            if b.constant:
                return a
            if a.normal is not None and b.leaf and module_of(b.leaf) in a.normal:
                self.note(b.leaf, NORM)
        if eqn.primitive.name == "sub" and values[0].given:
            self.note(values[1].leaf, SHIFT)
        return _plain(values, all(value.statistic for value in values))

    def take_root(self, eqn: Any, values: list[_Known]) -> _Known:
        (value, *_), name = values, eqn.primitive.name
        power = {"sqrt": 0.5, "rsqrt": -0.5}.get(name)
        if name == "pow":
            exponent = getattr(eqn.invars[1], "val", None)
            power = float(exponent) if exponent is not None and getattr(exponent, "ndim", 0) == 0 else None
        if power not in (0.5, -0.5) or not (value.statistic or value.leaf):
            return _plain(values, all(one.statistic or one.constant for one in values))
        self.note(value.leaf, VARIANCE)
        return replace(_plain(values, False), root=power > 0, inverse=power < 0)

    def raise_to(self, eqn: Any, values: list[_Known]) -> _Known:
        if eqn.params["y"] == -1 and values[0].root:
            return replace(values[0], root=False, inverse=True)
        return _plain(values, values[0].statistic)

    def keep(self, eqn: Any, values: list[_Known]) -> _Known:
        return values[0]

    def reduce(self, eqn: Any, values: list[_Known]) -> _Known:
        return _plain(values, True)

    def either(self, eqn: Any, values: list[_Known]) -> _Known:
        options = [value for value in values[eqn.primitive.name == "select_n" :] if not value.constant]
        # A rectified normal value is an activation, while a variance kept from zero is still one.
        return replace(_joined(options), normal=None) if options else _CONSTANT


def _plain(values: list[_Known], statistic: bool) -> _Known:
    """A result of which nothing is known but where it comes from."""
    given = any(value.given for value in values)
    parts = frozenset() if given else frozenset().union(*(value.parts for value in values))
    made = any(not value.constant for value in values)
    return _Known(given=given, parts=parts, statistic=statistic and made)


def _joined(options: list[_Known]) -> _Known:
    """What holds whichever of these a value is."""
    first = options[0]
    if all(option == first for option in options):
        return first
    known = _plain(options, all(option.statistic for option in options))
    return replace(known, root=all(option.root for option in options))


def _inner(eqn: Any) -> Any:
    """The jaxpr that an equation runs once on its operands, None if there is none."""
    for value in eqn.params.values():
        jaxpr = getattr(value, "jaxpr", value)
        if hasattr(jaxpr, "eqns") and len(jaxpr.invars) == len(eqn.invars) and len(jaxpr.outvars) == len(eqn.outvars):
            return value
    return None


_RULES: dict[str, Callable[[_Followed, Any, list[_Known]], _Known]] = {
    **dict.fromkeys(_KEPT, _Followed.keep),
    **dict.fromkeys(_REDUCED, _Followed.reduce),
    **dict.fromkeys(_EITHER, _Followed.either),
    **dict.fromkeys(_CONTRACTIONS, _Followed.contract),
    **dict.fromkeys(("sqrt", "rsqrt", "pow"), _Followed.take_root),
    **dict.fromkeys(("add", "sub", "add_any"), _Followed.add),
    "gather": _Followed.look_up,
    "mul": _Followed.multiply,
    "div": _Followed.divide,
    "integer_pow": _Followed.raise_to,
    "square": lambda self, eqn, values: _plain(values, values[0].statistic),
    "dynamic_slice": _Followed.cut,
}
