"""Random signs packed 32 to a word, and fixed +-1 matrices that are applied without being stored."""

import math
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, UInt32

from jaxpsn.noise.products import at_default_precision

# Below this many rows or columns a Kronecker product saves nothing over one matrix product ...
_SMALL = 64
# ... which needs the matrix as a constant of the program, so it must not be large.
_CONSTANT = 1 << 16
# Off a CPU one product of up to so many entries is cheaper than two small ones with a result between them.
_AT_ONCE = 1 << 18


def words(count: int) -> int:
    """Words that hold ``count`` signs."""
    return -(-count // 32)


def unpack(packed: UInt32[Array, "*lead words"], count: int) -> Float[Array, "*lead count"]:
    """The first ``count`` bits as +-1 in float32: the bit becomes the sign bit of 1.0."""
    bits = packed[..., :, None] >> jnp.arange(32, dtype=jnp.uint32).reshape((1,) * packed.ndim + (32,))
    ones = (bits << jnp.uint32(31)) | jnp.uint32(0x3F800000)
    signs = jax.lax.bitcast_convert_type(ones, jnp.float32)
    return signs.reshape((*packed.shape[:-1], 32 * packed.shape[-1]))[..., :count]


def fixed_signs(shape: tuple[int, ...], seed: tuple[int, int]) -> np.ndarray:
    """A +-1 matrix that depends on nothing but ``seed``; raw Philox output, which NumPy never changes."""
    count = math.prod(shape)
    raw = np.random.Philox(key=[*seed]).random_raw(-(-count // 64))
    bits = np.unpackbits(raw.astype("<u8").view(np.uint8), count=count)
    return (1 - 2 * bits.astype(np.float32)).reshape(shape)


@lru_cache(maxsize=8)
def hadamard(size: int) -> np.ndarray:
    """Sylvester's Hadamard matrix, H[i, j] = (-1)^popcount(i & j)."""
    matrix = np.ones((1, 1), np.float32)
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def uses_kronecker(rows: int, columns: int) -> bool:
    """Whether the base of this shape is a Kronecker product (else one fixed +-1 matrix)."""
    small = min(rows, columns)
    return small >= _SMALL or (rows * columns > _CONSTANT and small >= 4)


class _Blocks(NamedTuple):
    """The fixed matrix as square blocks along its longer side: (left (x) H), told apart by fixed signs.

    Block c of a tall matrix is (left (x) H) diag(signs[c]); of a wide one diag(signs[c]) (left (x) H).
    Without the signs the blocks would repeat each other's rows.
    """

    left: np.ndarray  # [coarse, coarse], Hadamard where coarse is a power of two
    fine: int  # side of H
    signs: np.ndarray  # [blocks, coarse * fine]

    @property
    def side(self) -> int:
        return len(self.left) * self.fine


def _blocks(rows: int, columns: int, seed: tuple[int, int]) -> _Blocks:
    small = min(rows, columns)
    fine = 1 << (small.bit_length() // 2)
    coarse = -(-small // fine)
    left = hadamard(coarse) if coarse & (coarse - 1) == 0 else fixed_signs((coarse, coarse), (seed[1], seed[0]))
    count = -(-max(rows, columns) // (coarse * fine))
    shape = (count, coarse * fine)
    return _Blocks(left, fine, np.ones(shape, np.float32) if count == 1 else fixed_signs(shape, seed))


def _transform(x: Float[Array, "f n"], blocks: _Blocks, flip: bool) -> Float[Array, "f n"]:
    """(left (x) H) x, or its transpose, as two small products."""
    left = jnp.asarray(blocks.left.T if flip else blocks.left, x.dtype)
    right = jnp.asarray(hadamard(blocks.fine), x.dtype)
    grid = x.reshape(x.shape[0], len(left), blocks.fine)
    return jnp.einsum("pa,nab,bq->npq", left, grid, right).reshape(x.shape)


@lru_cache(maxsize=32)
def fixed_matrix(rows: int, columns: int, seed: tuple[int, int]) -> np.ndarray:
    """The fixed matrix M itself."""
    if not uses_kronecker(rows, columns):
        return fixed_signs((rows, columns), seed)
    blocks = _blocks(rows, columns, seed)
    square = np.kron(blocks.left, hadamard(blocks.fine))
    if rows >= columns:
        whole = (square[None] * blocks.signs[:, None, :]).reshape(-1, blocks.side)
    else:
        whole = (square[None] * blocks.signs[:, :, None]).transpose(1, 0, 2).reshape(blocks.side, -1)
    return whole[:rows, :columns]


def apply_fixed(
    x: Float[Array, "f n"], rows: int, columns: int, flip: bool, seed: tuple[int, int]
) -> Float[Array, "f m"]:
    """``M x`` (``M^T x`` if ``flip``) for the fixed +-1 matrix M of this shape and seed."""

    def at_once(x: Array) -> Array:
        matrix = fixed_matrix(rows, columns, seed)
        return at_default_precision(x, matrix if flip else matrix.T)

    def in_parts(x: Array) -> Array:
        if uses_kronecker(rows, columns):
            return _apply_blocks(x, rows, columns, flip, seed)
        matrix = jnp.asarray(fixed_signs((rows, columns), seed), x.dtype)
        return x @ (matrix if flip else matrix.T)

    if rows * columns > _AT_ONCE:
        return in_parts(x)
    return lax.platform_dependent(x, cpu=in_parts, default=at_once)


def _apply_blocks(
    x: Float[Array, "f n"], rows: int, columns: int, flip: bool, seed: tuple[int, int]
) -> Float[Array, "f m"]:
    wanted = columns if flip else rows
    blocks = _blocks(rows, columns, seed)
    count, side, signs = len(blocks.signs), blocks.side, jnp.asarray(blocks.signs, x.dtype)
    if count == 1:
        mixed = _transform(jnp.pad(x, ((0, 0), (0, side - x.shape[-1]))), blocks, flip)
    elif x.shape[-1] > wanted:
        x = jnp.pad(x, ((0, 0), (0, count * side - x.shape[-1])))
        mixed = _transform(x.reshape(-1, side), blocks, flip).reshape(-1, count, side)
        mixed = jnp.sum(mixed * signs[None], axis=1)
    else:
        x = jnp.pad(x, ((0, 0), (0, side - x.shape[-1])))
        mixed = _transform((x[:, None] * signs[None]).reshape(-1, side), blocks, flip)
        mixed = mixed.reshape(-1, count * side)
    return mixed[:, :wanted]


def fixed_rows(
    ids: Int[Array, " k"], rows: int, columns: int, of_rows: bool, seed: tuple[int, int]
) -> Float[Array, "k n"]:
    """Rows ``ids`` of the fixed matrix M of this shape and seed (its columns unless ``of_rows``)."""
    if not uses_kronecker(rows, columns):
        matrix = jnp.asarray(fixed_signs((rows, columns), seed))
        return (matrix if of_rows else matrix.T)[ids]
    blocks = _blocks(rows, columns, seed)
    others = jnp.arange(columns if of_rows else rows, dtype=jnp.uint32)
    ids = ids.astype(jnp.uint32)[:, None]
    row, column = (ids, others[None]) if of_rows else (others[None], ids)
    side, fine = jnp.uint32(blocks.side), jnp.uint32(blocks.fine)
    block, place = (row // side, column) if rows >= columns else (column // side, row)
    row, column = row % side, column % side
    odd = jax.lax.population_count((row % fine) & (column % fine)) & jnp.uint32(1)
    left = jnp.asarray(blocks.left)[tuple(jnp.broadcast_arrays(row // fine, column // fine))]
    signs = jnp.asarray(blocks.signs)[tuple(jnp.broadcast_arrays(block, place))]
    return (1 - 2 * odd.astype(jnp.float32)) * left * signs
