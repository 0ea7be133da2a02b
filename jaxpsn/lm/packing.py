"""Scoring texts of mixed length in pieces of a few widths: it costs their tokens, and holds a budget of them at once.

The texts of each member are sorted, the longest first. A piece takes as many of the next ones as the budget has room
for at the narrowest width that fits the longest of them. Widths are few and static, so that one program has them all;
which of them a piece takes is decided on the device. The backward pass reads each piece again.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Int

from jaxpsn.lm.prompts import Prompts
from jaxpsn.lm.scoring import Scores

GRAIN, RATIO, MOST = 16, 2**0.5, 6
"""Widths are multiples of the first, the ratio apart, and at most so many: padding costs a fifth on average."""


@struct.dataclass
class Texts:
    """N texts for each of M members, from their first token on; of each the tokens from ``first`` on are judged."""

    tokens: Any  # i32[M, N, L], filler after the end
    lengths: Any  # i32[M, N]
    first: Any  # i32[M, N]

    def piece(self, at: Any, rows: int, columns: int) -> "Texts":
        """``rows`` texts from number ``at`` on, cut to ``columns`` tokens."""
        members = self.tokens.shape[0]
        lengths, first = (lax.dynamic_slice(side, (0, at), (members, rows)) for side in (self.lengths, self.first))
        return Texts(lax.dynamic_slice(self.tokens, (0, at, 0), (members, rows, columns)), lengths, first)


View = Callable[[Any, Any, Texts], Scores]
"""``(trained, rest, texts) -> Scores`` of the judged tokens, ``[M, N, T]``; differentiable in ``trained``.

The narrower the texts, the fewer may T be.
"""


class Plan(NamedTuple):
    """How texts are cut: the widths, rising, and how many texts of each member a piece of that width has."""

    widths: tuple[int, ...]
    """Tokens of a text."""
    rows: tuple[int, ...]

    def pieces(self, lengths: Int[np.ndarray, "M N"]) -> list[tuple[int, int]]:
        """``(width, rows)`` of the pieces that texts of these lengths are read in, on the host."""
        longest, at, found = np.sort(lengths, axis=1)[:, ::-1].max(axis=0), 0, []
        while at < len(longest) and longest[at]:
            which = int(np.searchsorted(self.widths, longest[at]))
            found.append((self.widths[which], self.rows[which]))
            at += self.rows[which]
        return found


def plan(budget: int, members: int, texts: int, longest: int) -> Plan:
    """Pieces of at most ``budget`` tokens over all ``members``, each with ``texts`` texts of up to ``longest`` tokens.

    A budget that is too small for one text of each member is taken as if it were not.
    """
    whole = -(-longest // GRAIN) * GRAIN
    sizes = {whole}
    for power in range(1, MOST):
        sizes.add(-(-int(whole / RATIO**power) // GRAIN) * GRAIN)
    widths = tuple(sorted(sizes))
    return Plan(widths, tuple(min(texts, max(1, budget // (members * width))) for width in widths))


def joined(prompts: Prompts, tokens: Int[Array, "M N T"], lengths: Int[Array, "M N"]) -> Texts:
    """Prompts and the answers to them as texts; the prompts are the same for every member."""
    asked, width = jnp.asarray(prompts.lengths, jnp.int32), prompts.tokens.shape[1]
    whole = jnp.concatenate([jnp.broadcast_to(prompts.tokens[None], (*tokens.shape[:2], width)), tokens], axis=2)
    places = (width - asked)[:, None] + jnp.arange(whole.shape[2], dtype=jnp.int32)[None]
    whole = jnp.take_along_axis(whole, jnp.minimum(places, whole.shape[2] - 1)[None], axis=2)
    first = jnp.broadcast_to(asked[None], lengths.shape)
    # A text without an answer is not read at all.
    return Texts(whole, jnp.where(lengths > 0, first + lengths, 0), first)


def scores(view: View, plan: Plan, trained: Any, rest: Any, texts: Texts) -> Scores:
    """What ``view`` says of the judged tokens and of the texts; differentiable in ``trained``.

    The derivative is that of log-probs and entropies; all else is constant.
    """
    order = jnp.argsort(-texts.lengths, axis=1, stable=True)
    spare, columns = max(plan.rows), plan.widths[-1]

    def sort(leaf: Array) -> Array:
        # Filler behind the last text: a piece may reach beyond it.
        leaf = jax.vmap(lambda one, at: one[at])(leaf, order)
        return jnp.pad(leaf, ((0, 0), (0, spare), *((0, 0),) * (leaf.ndim - 2)))

    ordered = jax.tree.map(sort, texts)
    short = columns - ordered.tokens.shape[2]
    tokens = jnp.pad(ordered.tokens, ((0, 0), (0, 0), (0, max(short, 0))))[..., :columns]
    found = _differentiable(view, plan)(trained, rest, ordered.replace(tokens=tokens))
    back = jnp.argsort(order, axis=1)
    return jax.tree.map(lambda leaf: jax.vmap(lambda one, at: one[at])(leaf, back), found)


def _differentiable(view: View, plan: Plan) -> Callable[[Any, Any, Texts], Scores]:
    """The scores of sorted texts, whose derivative reads piece after piece again."""

    @jax.custom_vjp
    def found(trained: Any, rest: Any, texts: Texts) -> Scores:
        return _forward(view, plan, trained, rest, texts)

    def forward(trained: Any, rest: Any, texts: Texts) -> tuple[Scores, Any]:
        return found(trained, rest, texts), (trained, rest, texts)

    def backward(kept: Any, slopes: Scores) -> tuple[Any, None, None]:
        return _backward(view, plan, *kept, slopes), None, None

    found.defvjp(forward, backward)
    return found


def _width_at(plan: Plan, texts: Texts, at: Any) -> Array:
    """Which width the piece from text ``at`` on takes."""
    longest = jnp.max(lax.dynamic_index_in_dim(texts.lengths, at, axis=1, keepdims=False))
    return jnp.sum((jnp.asarray(plan.widths, jnp.int32) < longest).astype(jnp.int32))


def _any_left(texts: Texts, plan: Plan, at: Any) -> Array:
    """Whether a text from ``at`` on has tokens: empty ones come last and are not read."""
    longest = jnp.max(lax.dynamic_index_in_dim(texts.lengths, at, axis=1, keepdims=False))
    return (at < texts.lengths.shape[1] - max(plan.rows)) & (longest > 0)


def _forward(view: View, plan: Plan, trained: Any, rest: Any, texts: Texts) -> Scores:
    given, count = (trained, rest, texts), texts.lengths.shape[1]
    branches = [partial(_read, view, *one, *given) for one in zip(plan.widths, plan.rows, strict=True)]
    shapes = jax.eval_shape(view, trained, rest, texts.piece(0, plan.rows[-1], plan.widths[-1]))
    held = jax.tree.map(lambda leaf: jnp.zeros((leaf.shape[0], count, *leaf.shape[2:]), leaf.dtype), shapes)
    _, held = lax.while_loop(
        lambda carry: _any_left(texts, plan, carry[0]),
        lambda carry: lax.switch(_width_at(plan, texts, carry[0]), branches, *carry),
        (jnp.int32(0), held),
    )
    return held


def _read(view: View, width: int, rows: int, trained: Any, rest: Any, texts: Texts, at: Any, held: Scores) -> Any:
    """Where the next piece begins, and ``held`` with the scores of this one."""
    one = view(trained, rest, texts.piece(at, rows, width))

    def put(whole: Array, part: Array) -> Array:
        return lax.dynamic_update_slice(whole, part, (0, at, *(0,) * (part.ndim - 2)))

    return at + rows, jax.tree.map(put, held, one)


def _backward(view: View, plan: Plan, trained: Any, rest: Any, texts: Texts, slopes: Scores) -> Any:
    given = trained, rest, texts, (slopes.log_probs, slopes.entropy)
    branches = [partial(_slope, view, *one, *given) for one in zip(plan.widths, plan.rows, strict=True)]
    rows = jnp.asarray(plan.rows, jnp.int32)

    def body(carry: tuple[Any, Any]) -> tuple[Any, Any]:
        at, gathered = carry
        which = _width_at(plan, texts, at)
        return at + rows[which], jax.tree.map(jnp.add, gathered, lax.switch(which, branches, at))

    none = jax.tree.map(jnp.zeros_like, trained)
    return lax.while_loop(lambda carry: _any_left(texts, plan, carry[0]), body, (jnp.int32(0), none))[1]


def _slope(view: View, width: int, rows: int, trained: Any, rest: Any, texts: Texts, given: Any, at: Any) -> Any:
    """The derivative in ``trained`` of a piece, whose log-probs and entropies are multiplied by ``given``."""
    judged, pull = jax.vjp(partial(_judged, view, rest, texts.piece(at, rows, width)), trained)
    own = tuple(lax.dynamic_slice(side, (0, at, 0), each.shape) for side, each in zip(given, judged, strict=True))
    return pull(own)[0]


def _judged(view: View, rest: Any, part: Texts, trained: Any) -> tuple[Array, Array]:
    one = view(trained, rest, part)
    return one.log_probs, one.entropy
