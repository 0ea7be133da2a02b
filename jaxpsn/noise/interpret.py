"""An interpreter of jaxprs whose inputs may be lazy perturbed parameters.

Contractions and look-ups of a lazy parameter go to the given rules; equations that only rearrange it
keep it lazy; anything else gets it formed. Everything without a lazy input is bound as it stands, so
custom derivative rules survive.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
from jax import lax

from jaxpsn.noise.lazy import Lazy
from jaxpsn.noise.views import follow, scanned


class Contract(Protocol):
    """``rule(eqn, lazy, side, other)``: the result of the dot_general ``eqn``, ``lazy`` being operand ``side``."""

    def __call__(self, eqn: Any, lazy: Lazy, side: int, other: Any) -> Any: ...


class Take(Protocol):
    """``rule(eqn, lazy, indices)``: the result of the gather ``eqn``, or None to have ``lazy`` formed."""

    def __call__(self, eqn: Any, lazy: Lazy, indices: Any) -> Any: ...


class Form(Protocol):
    """``rule(lazy)``: the perturbed parameter as an array."""

    def __call__(self, lazy: Lazy) -> Any: ...


class Sliceable(Protocol):
    """``rule(lazy)``: whether a scan may slice it along its leading axis and keep it lazy."""

    def __call__(self, lazy: Lazy) -> bool: ...


class Rules(NamedTuple):
    """What becomes of a lazy parameter."""

    contract: Contract
    take: Take
    form: Form
    sliceable: Sliceable


def is_lazy(value: Any) -> bool:
    """Whether ``value`` is a lazy parameter."""
    return isinstance(value, Lazy)


def bind(eqn: Any, *values: Any, **changed: Any) -> Any:
    """``eqn`` applied to ``values``, some of its parameters changed."""
    params = eqn.primitive.get_bind_params({**eqn.params, **changed})
    with eqn.ctx.manager:
        return eqn.primitive.bind(*values, **params)


def _opened(jaxpr: Any) -> tuple[Any, Any]:
    return getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())


def walk(closed: Any, args: list[Any], step: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """The outputs of a (closed) jaxpr; ``step(eqn, values)`` gives the results of each equation."""
    jaxpr, consts = _opened(closed)
    env: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(atom):
        return atom.val if hasattr(atom, "val") else env[atom]

    for eqn in jaxpr.eqns:
        values = [read(atom) for atom in eqn.invars]
        env.update(zip(eqn.outvars, step(eqn, values), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def evaluate(closed: Any, args: list[Any], rules: Rules) -> list[Any]:
    """The outputs of a (closed) jaxpr; some ``args`` may be :class:`Lazy`, and so may outputs."""
    return walk(closed, args, lambda eqn, values: _step(eqn, values, rules))


def results(eqn: Any, values: list[Any]) -> list[Any]:
    """The results of ``eqn`` as it stands."""
    out = bind(eqn, *values)
    return list(out) if eqn.primitive.multiple_results else [out]


def _step(eqn: Any, values: list[Any], rules: Rules) -> list[Any]:
    """The results of one equation."""
    lazy = [place for place, value in enumerate(values) if is_lazy(value)]
    if lazy:
        special = _SPECIAL.get(eqn.primitive.name, _rearrange)
        found = special(eqn, values, lazy, rules)
        if found is not None:
            return found
        values = [rules.form(value) if is_lazy(value) else value for value in values]
    return results(eqn, values)


def _rearrange(eqn, values, lazy, rules):
    view = follow(eqn, values[0].view) if len(values) == 1 else None
    if view is None:
        return None
    value = values[0].replace(weight=bind(eqn, values[0].weight), view=view)
    if eqn.primitive.name == "stop_gradient":
        value = value.replace(sigma=lax.stop_gradient(value.sigma))
    return [value]


def _contract(eqn, values, lazy, rules):
    if len(lazy) > 1:
        return None
    side = lazy[0]
    return [rules.contract(eqn, values[side], side, values[1 - side])]


def _take(eqn, values, lazy, rules):
    if lazy != [0]:
        return None
    taken = rules.take(eqn, values[0], values[1])
    return None if taken is None else [taken]


def _inline(eqn, values, lazy, rules):
    return evaluate(eqn.params["jaxpr"], values, rules)


def _remat(eqn, values, lazy, rules):
    params = eqn.params

    def body(*args):
        return evaluate(params["jaxpr"], list(args), rules)

    return list(jax.checkpoint(body, prevent_cse=params["prevent_cse"], policy=params["policy"])(*values))


def scan_parts(params: Any) -> tuple[int, int]:
    """Numbers of constants and of carried values of a scan (the parameter's name changed in jax 0.12)."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()
    return len(consts), len(carry)


def _scan(eqn, values, lazy, rules):
    params = eqn.params
    n_consts, n_carry = scan_parts(params)
    consts, carry, xs = values[:n_consts], values[n_consts : n_consts + n_carry], values[n_consts + n_carry :]
    carry = [rules.form(value) if is_lazy(value) else value for value in carry]
    xs = [rules.form(x) if is_lazy(x) and not rules.sliceable(x) else x for x in xs]
    # The view is static, so it is renamed before the loop and the arrays are sliced by it.
    xs = [x.replace(view=scanned(x.view)) if is_lazy(x) else x for x in xs]

    def body(carry, xs):
        outs = evaluate(params["jaxpr"], [*consts, *carry, *xs], rules)
        outs = [rules.form(out) if is_lazy(out) else out for out in outs]
        return outs[:n_carry], outs[n_carry:]

    carry, ys = lax.scan(body, carry, xs, length=params["length"], reverse=params["reverse"], unroll=params["unroll"])
    return [*carry, *ys]


_SPECIAL = {
    "dot_general": _contract,
    "gather": _take,
    "jit": _inline,
    "pjit": _inline,
    "closed_call": _inline,
    "remat2": _remat,
    "checkpoint": _remat,
    "scan": _scan,
}
