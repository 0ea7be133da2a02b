"""Values of many copies of one small computation, as a structure of arrays whose last axis is the copy."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


@dataclasses.dataclass(frozen=True)
class Lanes:
    """A value of ``shape`` in each of N copies: one array ``[shape[0], N]`` for each place of the further axes.

    ``parts`` is an object array of shape ``shape[1:]``; a scalar has the one part ``[N]``. So the three coordinates of
    seven links are three arrays of 7 x N numbers: taking them apart and putting them together costs nothing.
    """

    shape: tuple[int, ...]
    parts: np.ndarray
    dtype: Any

    def elements(self) -> np.ndarray:
        """An object array of ``shape`` whose entries are arrays ``[N]``."""
        if not self.shape:
            return self.parts
        return each(self.shape, lambda place: row(self.parts[place[1:]], place[0]))


def each(shape: Sequence[int], make: Callable[[tuple[int, ...]], Any]) -> np.ndarray:
    """An object array of ``shape`` with ``make(place)`` at every place."""
    made = np.empty(tuple(shape), object)
    for place in np.ndindex(*shape):
        made[place] = make(place)
    return made


def row(part: jax.Array, number: int) -> jax.Array:
    """One row ``[N]`` of a part."""
    return lax.squeeze(lax.slice_in_dim(part, number, number + 1, axis=0), (0,))


def stacked(elements: np.ndarray, dtype: Any) -> Lanes:
    """The value whose ``elements`` are these arrays ``[N]``."""
    if not elements.shape:
        return Lanes((), elements, dtype)

    def part(place):
        return lax.concatenate([lax.expand_dims(x, (0,)) for x in elements[(slice(None), *place)]], 0)

    return Lanes(elements.shape, each(elements.shape[1:], part), dtype)


def constant(value: Any, copies: int) -> Lanes:
    """The same value in every copy."""
    value = np.asarray(value)

    def part(place):
        column = value[(slice(None), *place)] if value.ndim else value
        return lax.broadcast_in_dim(jnp.asarray(column), (*column.shape, copies), tuple(range(column.ndim)))

    return Lanes(value.shape, each(value.shape[1:], part), value.dtype)


def cut(batch: jax.Array) -> Lanes:
    """An array ``[N, *shape]`` as lanes."""
    shape = batch.shape[1:]
    if not shape:
        return Lanes((), each((), lambda _: batch), batch.dtype)
    apart = jnp.moveaxis(batch.reshape(batch.shape[0], shape[0], math.prod(shape[1:])), 0, -1)
    return packed([apart[:, k] for k in range(apart.shape[1])], shape, batch.dtype)


def packed(parts: Sequence[Any], shape: tuple[int, ...], dtype: Any) -> Lanes:
    """The value with these parts, in C order of ``shape[1:]``."""
    number = iter(parts)
    return Lanes(tuple(shape), each(shape[1:], lambda _: next(number)), dtype)


def whole(value: Lanes, copies: int) -> jax.Array:
    """An array ``[N, *shape]`` again."""
    if not value.shape:
        return value.parts[()]
    if not math.prod(value.shape):
        return jnp.zeros((copies, *value.shape), value.dtype)
    together = jnp.stack(list(value.parts.flat), 1)
    return jnp.moveaxis(together, -1, 0).reshape(copies, *value.shape)


def take(sources: Sequence[Lanes], index: np.ndarray) -> Lanes:
    """Elements of ``sources``, flattened one after the other, at the places ``index``; its shape is the result's."""
    place = _Finder(sources)
    made: dict[Any, Any] = {}

    def part(where):
        if not index.shape:
            return place.element(int(index[()]))
        column = tuple(int(number) for number in index[(slice(None), *where)])
        if column not in made:
            made[column] = place.column(column)
        return made[column]

    return Lanes(index.shape, each(index.shape[1:], part), sources[0].dtype)


class _Finder:
    """Rows of the parts of ``sources`` by the flat number of an element."""

    def __init__(self, sources: Sequence[Lanes]):
        self._sources = sources
        self._ends = np.cumsum([math.prod(source.shape) for source in sources])

    def element(self, number: int) -> jax.Array:
        part, at = self._find(number)
        return part if at is None else row(part, at)

    def column(self, numbers: tuple[int, ...]) -> jax.Array:
        """Elements as the rows of one part: whole runs of rows at once."""
        if len(numbers) > 1 and len(set(numbers)) == 1:
            one = self.element(numbers[0])
            return lax.broadcast_in_dim(one, (len(numbers), one.shape[-1]), (1,))
        pieces = [self._piece(*run) for run in self._runs(numbers)]
        return pieces[0] if len(pieces) == 1 else lax.concatenate(pieces, 0)

    def _find(self, number: int) -> tuple[jax.Array, int | None]:
        source = int(np.searchsorted(self._ends, number, side="right"))
        value = self._sources[source]
        if not value.shape:
            return value.parts[()], None
        at = np.unravel_index(number - (self._ends[source] - math.prod(value.shape)), value.shape)
        return value.parts[at[1:]], int(at[0])

    def _runs(self, numbers: tuple[int, ...]) -> Iterator[tuple[jax.Array, int | None, int]]:
        begun: tuple[jax.Array, int | None, int] | None = None
        for part, at in map(self._find, numbers):
            if begun and at is not None and part is begun[0] and at == begun[1] + begun[2]:
                begun = (*begun[:2], begun[2] + 1)
                continue
            if begun:
                yield begun
            begun = (part, at, 1)
        if begun:
            yield begun

    @staticmethod
    def _piece(part: jax.Array, at: int | None, rows: int) -> jax.Array:
        if at is None:
            return lax.expand_dims(part, (0,))
        return part if rows == part.shape[0] else lax.slice_in_dim(part, at, at + rows, axis=0)
