"""Flipout: one matrix for all members, each member's signs on its rows and columns."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn.noise.draws import path_hash
from jaxpsn.noise.normals import normal
from jaxpsn.noise.signs import apply_fixed, fixed_rows, unpack, words
from jaxpsn.noise.spec import Leaf
from jaxpsn.noise.structures import STRUCTURES, Structure


@STRUCTURES.register("flipout")
@dataclass(frozen=True)
class Flipout(Structure):
    """``E_i = M o (s_i t_i^T)``, applied as ``s_i o (M (t_i o x))``; a bias is one more column of M.

    Source: Wen et al. 2018, arXiv 1803.04386. State: one bit per row and column. ``base`` is M:
    ``hadamard`` (fixed, Kronecker products of Hadamard matrices; nothing stored), ``sign`` (random +-1)
    or ``normal`` (random, drawn once by ``init`` and shared by the members). With a +-1 base members
    are independent; with a normal one only uncorrelated, as all have |E| = |M|.
    """

    base: Literal["hadamard", "sign", "normal"] = "hadamard"
    """The common matrix: fixed, of random signs, or Gaussian."""

    bias_from_partner: ClassVar[bool] = True
    cheap: ClassVar[bool] = True

    def shared(self, leaf: Leaf, key: PRNGKeyArray) -> dict[str, Array]:
        if leaf.is_vector or self.base == "hadamard":
            return {}
        shape = (leaf.rows, leaf.columns + 1)
        if self.base == "normal":
            drawn = normal(key, shape)
        else:
            size = leaf.rows * (leaf.columns + 1)
            drawn = unpack(jax.random.bits(key, (words(size),), jnp.uint32), size).reshape(shape)
        return {"matrix": drawn[:, :-1], "bias": drawn[:, -1]}

    def state(self, leaf: Leaf, key: PRNGKeyArray, negate: Bool[Array, ""] | None) -> dict[str, Array]:
        inputs = 0 if leaf.is_vector else words(leaf.columns)
        bits = jax.random.bits(key, (inputs + words(leaf.rows),), jnp.uint32)
        if negate is not None:
            on_rows = jnp.arange(bits.shape[0]) >= inputs
            bits = jnp.where(on_rows & negate, ~bits, bits)
        return {"signs": bits}

    def _signs(self, leaf: Leaf, noise: Any, dtype: Any) -> tuple[Array, Array]:
        """Signs of the columns and of the rows of a matrix."""
        inputs = words(leaf.columns)
        packed = noise["signs"]
        columns, rows = unpack(packed[..., :inputs], leaf.columns), unpack(packed[..., inputs:], leaf.rows)
        return columns.astype(dtype), rows.astype(dtype)

    def contract(self, leaf: Leaf, noise: Any, base: Any, weight: Any, x: Array, flip: bool) -> Array:
        before, after = self._sides(leaf, noise, x.dtype, flip)
        return self._product(leaf, base, x * before[None], flip) * after[None]

    def contract_sum(
        self,
        leaf: Leaf,
        noises: tuple[Any, ...],
        sizes: tuple[float, ...],
        base: Any,
        weight: Any,
        x: Array,
        flip: bool,
    ) -> Array:
        sides = [self._sides(leaf, noise, x.dtype, flip) for noise in noises]
        # M is common to the components too: theirs is one product of all their inputs below one another.
        turned = jnp.concatenate([x * before[None] for before, _ in sides])
        parts = jnp.split(self._product(leaf, base, turned, flip), len(sides))
        return sum(size * (y * after[None]) for size, y, (_, after) in zip(sizes, parts, sides, strict=True))

    def _sides(self, leaf: Leaf, noise: Any, dtype: Any, flip: bool) -> tuple[Array, Array]:
        """Signs before and after the product with M."""
        columns, rows = self._signs(leaf, noise, dtype)
        return (rows, columns) if flip else (columns, rows)

    def _product(self, leaf: Leaf, base: Any, x: Array, flip: bool) -> Array:
        if base:
            matrix = base["matrix"].astype(x.dtype)
            return x @ (matrix if flip else matrix.T)
        return apply_fixed(x, leaf.rows, leaf.columns, flip, path_hash(leaf.source))

    def entries(self, leaf: Leaf, noise: Any, base: Any, weight: Any) -> Array:
        if leaf.is_vector:
            rows = unpack(noise["signs"][-words(leaf.rows) :], leaf.rows)
            return rows * base["bias"] if base else rows
        return self.rows(leaf, noise, base, weight, jnp.arange(leaf.rows), True)

    def total(self, leaf: Leaf, noise: Any, base: Any, weight: Any, weights: Float[Array, " members"]) -> Array:
        if leaf.is_vector:
            rows = unpack(noise["signs"][:, -words(leaf.rows) :], leaf.rows)
            return weights @ rows * (base["bias"] if base else jnp.ones((leaf.rows,), jnp.float32))
        # M is common to all members: what is summed are the products of their signs.
        columns, rows = self._signs(leaf, noise, jnp.float32)
        if base:
            matrix = base["matrix"]
        else:
            matrix = fixed_rows(jnp.arange(leaf.rows), leaf.rows, leaf.columns, True, path_hash(leaf.source))
        return matrix * ((weights[:, None] * rows).T @ columns)

    def rows(self, leaf: Leaf, noise: Any, base: Any, weight: Any, ids: Array, of_out: bool) -> Array:
        columns, rows = self._signs(leaf, noise, jnp.float32)
        here, there = (rows, columns) if of_out else (columns, rows)
        if base:
            matrix = (base["matrix"] if of_out else base["matrix"].T)[ids]
        else:
            matrix = fixed_rows(ids, leaf.rows, leaf.columns, of_out, path_hash(leaf.source))
        return matrix * here[ids][:, None] * there[None]
