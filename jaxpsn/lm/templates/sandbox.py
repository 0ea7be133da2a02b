"""A Jinja2 sandbox for the chat templates of others: what a template does is counted, what it can name is listed.

The sandbox of Jinja2 keeps a template from leaving its data; here it can neither run away with time, memory or the
stack, nor read anything but what it is given: no random numbers, no clock but a fixed one, no address of an object.
All bounds are counts, so that a template is refused everywhere or nowhere.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import BuiltinMethodType, MethodType
from typing import Any, NoReturn

from jinja2 import nodes, pass_context
from jinja2.ext import Extension, loopcontrols
from jinja2.runtime import LoopContext, Macro, Undefined, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace

from jaxpsn.lm.templates import bounds
from jaxpsn.lm.templates.clock import Clock
from jaxpsn.lm.templates.meter import OPERATION, Meter, Refused, listed

SOURCE = 100_000
"""Longest template, in characters."""
DEPTH = 50
"""Deepest calls of macros by macros."""
_STATEMENTS = (
    nodes.Template, nodes.Output, nodes.For, nodes.If, nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.With,
    nodes.Assign, nodes.AssignBlock, nodes.ExprStmt, nodes.Break, nodes.Continue, nodes.Scope,
)  # fmt: skip
_OBJECTS = (LoopContext, Cycler)
# Names that no template can spell.
_SIZE, _JOIN, _TURNS, _STEP = " size", " join", " turns", " step"
_INTERNAL = ("_loop_vars", "_block_vars")


def _raise_exception(message: Any) -> NoReturn:
    raise Refused(str(message))


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """JSON as templates written for ``transformers`` expect it: nothing escaped for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class _Format:
    """``text.format``, bounded."""

    def __init__(self, text: str, run: Callable[..., str]) -> None:
        self.text, self.run = text, run


class _Generation(Extension):
    """``{% generation %}`` marks the assistant's words for training masks; here they are only words."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one template; ``meter`` counts a rendering, ``clock`` is the time that it is told."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self, clock: Clock) -> None:
        # Without the optimiser nothing is worked out when a template is read, uncounted.
        super().__init__(trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=[_Generation, loopcontrols])
        self.meter, self._depth = Meter(), 0
        self.finalize = pass_context(lambda _, value: self._sized(value, plain=True))
        known = {name: self.filters[name] for name in bounds.FILTERS} | {"tojson": _tojson}
        self.filters = {name: self._filter(name, run) for name, run in known.items()}
        self.filters |= {_SIZE: self._sized, _JOIN: self._joined, _TURNS: self._turns, _STEP: self._step}
        self.tests = {name: self._test(name, self.tests[name]) for name in bounds.TESTS}
        self.globals = {
            "range": self.globals["range"], "dict": dict, "namespace": Namespace, "cycler": Cycler, "joiner": Joiner,
            "raise_exception": _raise_exception, "strftime_now": clock.strftime,
        }  # fmt: skip
        self._callable = tuple(self.globals.values())

    # --- counted operations ---

    def _sized(self, value: Any, plain: bool = False) -> Any:
        self.meter.spend(OPERATION)
        value = listed(value)
        self.meter.size(value, plain)
        return value

    def _joined(self, values: list[Any]) -> str:
        return str_join(self._sized(values, plain=True))

    def _turns(self, items: Iterable[Any], weight: int) -> Iterator[Any]:
        meter = self.meter
        for item in items:
            meter.spend(weight)
            yield item

    def _step(self, weight: int) -> None:
        self.meter.spend(weight)

    def _filter(self, name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        skipped = 1 if hasattr(run, "jinja_pass_arg") else 0

        @wraps(run)
        def counted(*args: Any, **options: Any) -> Any:
            given = tuple(listed(one) for one in args[skipped:])
            self._before(bounds.FILTERS[name], given, options)
            return self._sized(run(*args[:skipped], *given, **options))

        return counted

    def _test(self, name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(run)
        def counted(*args: Any, **options: Any) -> Any:
            self._before(bounds.TESTS[name], args, options)
            return run(*args, **options)

        return counted

    def _before(self, bound: bounds.Bound, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.meter.spend(OPERATION)
        size = self.meter.size((args, *options.values()), bound.plain)
        self.meter.spend(bound.cost(size, args, options))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """A binary operation, its result bounded before it is made."""
        left, right = listed(left), listed(right)
        self._before(bounds.OPERATORS[operator], (left, right), {})
        return self._sized(super().call_binop(context, operator, left, right))

    def call(self, context: Any, callee: Any, *args: Any, **options: Any) -> Any:
        """A call of what templates may call: macros, the listed functions, and listed methods of data."""
        args = tuple(listed(one) for one in args)
        given = {name: listed(one) for name, one in options.items() if name not in _INTERNAL}
        if isinstance(callee, _Format):
            self._before(bounds.FORMAT, (callee.text, *args), given)
            return self._sized(callee.run(*args, **given))
        method = isinstance(callee, BuiltinMethodType | MethodType)
        if method and isinstance(callee.__self__, str | list | tuple | dict):
            name = callee.__name__
            if name not in bounds.METHODS:
                raise Refused(f"the method {name}")
            self._before(bounds.METHODS[name], (callee.__self__, *args), given)
            return self._sized(super().call(context, callee, *args, **given))
        known = callee in self._callable or (method and isinstance(callee.__self__, _OBJECTS))
        if not (known or isinstance(callee, Macro | Joiner | Undefined)):
            raise Refused(f"a call of {type(callee).__name__}")
        self._before(bounds.CALL, args, given)
        with self._deeper():
            return self._sized(super().call(context, callee, *args, **given))

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        if self._depth >= DEPTH:
            raise Refused(f"macros nested more than {DEPTH} deep")
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An entry; hashing what it is asked by is counted."""
        self.meter.spend(OPERATION)
        if not isinstance(argument, str):
            self.meter.size(argument)
        return super().getitem(obj, argument)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """An attribute or entry."""
        self.meter.spend(OPERATION)
        return super().getattr(obj, attribute)

    def wrap_str_format(self, value: Any) -> Any:
        """``text.format`` and ``text.format_map`` as calls that are bounded."""
        run = super().wrap_str_format(value)
        return None if run is None else _Format(value.__self__, run)

    # --- what a template is made of ---

    def _generate(self, source: nodes.Template, *args: Any, **options: Any) -> str:
        check(source)
        _count(source)
        return super()._generate(source, *args, **options)


def check(source: nodes.Template) -> None:
    """Refuse statements, filters and tests that no template may use, by name and line."""
    for node in source.find_all(nodes.Stmt):
        if not isinstance(node, _STATEMENTS):
            raise Refused(f"the statement {type(node).__name__.lower()} in line {node.lineno}")
        if isinstance(node, nodes.For) and node.recursive:
            raise Refused(f"a recursive loop in line {node.lineno}")
    for node in source.find_all(nodes.Filter):
        if node.name not in bounds.FILTERS:
            raise Refused(f"the filter {node.name} in line {node.lineno}")
    for node in source.find_all(nodes.Test):
        if node.name not in bounds.TESTS:
            raise Refused(f"the test {node.name} in line {node.lineno}")


def _count(source: nodes.Template) -> None:
    """Put the counting into the tree, where the sandbox does not see an operation itself."""
    blocks = list(source.find_all((nodes.For, nodes.Macro, nodes.CallBlock)))
    weights = [OPERATION + sum(1 for _ in block.find_all(nodes.Node)) for block in blocks]
    for block, weight in zip(blocks, weights, strict=True):
        if isinstance(block, nodes.For):
            block.iter = _filtered(block.iter, _TURNS, nodes.Const(weight))
        else:
            block.body.insert(0, nodes.ExprStmt(_filtered(nodes.Const(weight), _STEP)))
    for output in source.find_all(nodes.Output):
        # Text of the template itself is counted like all that is written.
        output.nodes = [nodes.Const(one.data) if isinstance(one, nodes.TemplateData) else one for one in output.nodes]
    for compared in list(source.find_all(nodes.Compare)):
        compared.expr = _filtered(compared.expr, _SIZE)
        for operand in compared.ops:
            operand.expr = _filtered(operand.expr, _SIZE)
    for pair in list(source.find_all(nodes.Pair)):
        pair.key = _filtered(pair.key, _SIZE)
    _replace(source)


def _replace(node: nodes.Node) -> None:
    """Joined text and slices, which are nodes of their own, become counted filters."""
    for field, value in node.iter_fields():
        inner = value if isinstance(value, list) else [value]
        for one in inner:
            if isinstance(one, nodes.Node):
                _replace(one)
        changed = [_counted(one) for one in inner]
        setattr(node, field, changed if isinstance(value, list) else changed[0])


def _counted(node: Any) -> Any:
    if isinstance(node, nodes.Concat):
        return _filtered(nodes.List(node.nodes), _JOIN)
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        return _filtered(node, _SIZE)
    return node


def _filtered(node: nodes.Expr, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None)
