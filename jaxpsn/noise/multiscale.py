"""Noise of several components, each of which is held for a time of its own."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, UInt32

from jaxpsn.core.compat import anywhere
from jaxpsn.core.errors import refuse
from jaxpsn.core.fields import Items, Real
from jaxpsn.noise import inputs
from jaxpsn.noise.draws import Draw, draw_all, leaf_key, redraw_changed
from jaxpsn.noise.spec import Leaf, Spec
from jaxpsn.noise.structures import Structure

_HOLDS = Items(Real(1.0, 1e9), 1)
_POWERS = Items(Real(0.0, 1.0, open_low=True), 1)


@dataclass(frozen=True)
class Multiscale(Structure):
    """``E = sum_k sqrt(p_k) E_k``: independent components of one structure, each redrawn in a time of its own.

    As ``sum_k p_k = 1``, every entry has unit variance at every moment, as that of a single draw. What the components'
    times do to the spectrum is told in :mod:`jaxpsn.noise.colours`. State: that of ``of`` for each component; the
    ``counter`` of a draw is u32[members, components]. Low-rank noise keeps one product of rank ``components * rank``,
    Flipout one shared product for all of them; they share the common matrix of a Flipout base.
    """

    of: Structure
    """Structure of each component."""
    holds: Annotated[tuple[float, ...], _HOLDS]
    """How many decisions each is held on average, all different; the streams of their numbers go by them."""
    powers: Annotated[tuple[float, ...], _POWERS]
    """Each component's share of the variance; they sum to 1."""

    def validate(self) -> None:
        """Refuse components without a share or a name of their own, and signs that are told twice."""
        if len(set(map(_name, self.holds))) != len(self.holds):
            refuse("holds", self.holds, "numbers that are all different, in six digits")
        if len(self.powers) != len(self.holds) or abs(sum(self.powers) - 1.0) > 1e-6:
            refuse("powers", self.powers, f"{len(self.holds)} shares, one for each hold, whose sum is 1")
        if self.of.antithetic or isinstance(self.of, Multiscale):
            refuse("of", type(self.of).__name__, "a structure of one component that is not antithetic itself")

    @property
    def bias_from_partner(self) -> bool:  # type: ignore[override]
        """As the structure of its components."""
        return self.of.bias_from_partner

    @property
    def reads_weight(self) -> bool:  # type: ignore[override]
        """As the structure of its components."""
        return self.of.reads_weight

    @property
    def sizes(self) -> tuple[float, ...]:
        """What each component is multiplied by."""
        return tuple(math.sqrt(power) for power in self.powers)

    def has_state(self, leaf: Leaf) -> bool:
        return self.of.has_state(leaf)

    def check(self, spec: Spec) -> None:
        self.of.check(spec)

    def shared(self, leaf: Leaf, key: PRNGKeyArray) -> dict[str, Array]:
        return self.of.shared(leaf, key)

    def state_shapes(self, leaf: Leaf) -> Any:
        return tuple(self.of.state_shapes(leaf) for _ in self.holds)

    def first(self, key: PRNGKeyArray, spec: Spec, number: UInt32[Array, " members"]) -> tuple[Array, dict[str, Any]]:
        counter = jnp.zeros((number.shape[0], len(self.holds)), number.dtype)
        return counter, self._numbered(key, spec, number, counter)

    def again(self, key: PRNGKeyArray, draw: Draw, counter: UInt32[Array, "members components"]) -> Draw:
        return draw.replace(counter=counter, noise=self._numbered(key, draw.spec, draw.number, counter))

    def _numbered(self, key: PRNGKeyArray, spec: Spec, number: Array, counter: Array) -> dict[str, Any]:
        """The components' states after so many redraws of each."""
        each = enumerate(self._keys(key))
        return _by_path([draw_all(self._part, spec, stream, number, counter[:, k]) for k, stream in each])

    def redraw(self, key: Any, draw: Any, where: Any) -> Draw:
        """New perturbations for the members in ``where``; of a tuple, an entry for each component: its new ones.

        An entry as :meth:`Structure.redraw` takes it; ``True`` draws that component anew for all, without a look at
        who needs it. What is not redrawn is kept bit for bit.
        """
        inputs.typed_key(key)
        self.check_own(draw)
        entries = where if isinstance(where, tuple) else (where,) * len(self.holds)
        if len(entries) != len(self.holds):
            refuse("where", len(entries), f"one entry, or a tuple of {len(self.holds)}, one for each component")
        each, counters = [], []
        for k, (entry, stream) in enumerate(zip(entries, self._keys(key), strict=True)):
            mask = inputs.mask("where", entry, draw.number)
            counters.append(draw.counter[:, k] + mask.astype(jnp.uint32))
            each.append(self._redrawn(stream, self._component(draw, k), counters[k], None if entry is True else mask))
        return draw.replace(counter=jnp.stack(counters, axis=1), noise=_by_path(each))

    @property
    def _part(self) -> Structure:
        return replace(self.of, antithetic=self.antithetic)

    def _keys(self, key: PRNGKeyArray) -> list[PRNGKeyArray]:
        return [leaf_key(key, _name(hold)) for hold in self.holds]

    def _component(self, draw: Draw, k: int) -> Draw:
        """Component k of all members, as a draw."""
        noise = {path: parts[k] for path, parts in draw.noise.items()}
        return Draw(draw.counter[:, k], noise, draw.base, draw.number, draw.spec, self._part)

    def _redrawn(self, key: PRNGKeyArray, old: Draw, counter: Array, mask: Array | None) -> dict[str, Any]:
        if mask is None:
            return draw_all(old.kind, old.spec, key, old.number, counter)

        def some(old: Draw, counter: Array, mask: Array) -> dict[str, Any]:
            return redraw_changed(old.kind, key, old, counter, mask)

        return lax.cond(anywhere(mask), some, lambda old, *_: old.noise, old, counter, mask)

    def contract(self, leaf: Leaf, noise: Any, base: Any, weight: Any, x: Array, flip: bool) -> Array:
        return self.of.contract_sum(leaf, self._parts(noise), self.sizes, base, weight, x, flip)

    def entries(self, leaf: Leaf, noise: Any, base: Any, weight: Any) -> Array:
        return self._sum(self.of.entries(leaf, part, base, weight) for part in self._parts(noise))

    def rows(self, leaf: Leaf, noise: Any, base: Any, weight: Any, ids: Array, of_out: bool) -> Array:
        return self._sum(self.of.rows(leaf, part, base, weight, ids, of_out) for part in self._parts(noise))

    def total(self, leaf: Leaf, noise: Any, base: Any, weight: Any, weights: Float[Array, " members"]) -> Array:
        return self._sum(self.of.total(leaf, part, base, weight, weights) for part in self._parts(noise))

    def _parts(self, noise: Any) -> tuple[Any, ...]:
        """The components' states of a leaf; one that draws nothing has none."""
        return noise or ({},) * len(self.holds)

    def _sum(self, parts: Any) -> Array:
        return sum(size * part.astype(jnp.float32) for size, part in zip(self.sizes, parts, strict=True))


def _name(hold: float) -> str:
    """What a component's stream of numbers goes by."""
    return f"held {hold:g}"


def _by_path(each: list[dict[str, Any]]) -> dict[str, Any]:
    """Path -> the states of all components."""
    return {path: tuple(part[path] for part in each) for path in each[0]}
