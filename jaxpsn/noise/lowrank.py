"""Low-rank noise, and NoisyNet's factorised noise, which is rank one with another law."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn.core.fields import Whole
from jaxpsn.noise.draws import Draw
from jaxpsn.noise.lazy import wider
from jaxpsn.noise.normals import normal
from jaxpsn.noise.signs import unpack, words
from jaxpsn.noise.spec import Leaf
from jaxpsn.noise.structures import STRUCTURES, Structure

# A matrix of at most this many entries (an action head) gets dense noise.
_HEAD = 4096
# Numbers that one sum of an inner product takes.
_PIECE = 16384


def _factors(key: PRNGKeyArray, shape: tuple[int, int], law: str) -> Float[Array, "n r"]:
    """Independent entries of zero mean and unit variance."""
    if law == "sign":
        size = math.prod(shape)
        return unpack(jax.random.bits(key, (words(size),), jnp.uint32), size).reshape(shape)
    drawn = normal(key, shape)
    if law == "normal":
        return drawn
    # f(z) = sgn(z) sqrt|z| has variance sqrt(2/pi), which NoisyNet leaves in.
    return jnp.sign(drawn) * jnp.sqrt(jnp.abs(drawn)) * (math.pi / 2) ** 0.25


def _turned(x: Array, negate: Bool[Array, ""] | None) -> Array:
    return x if negate is None else jnp.where(negate, -x, x)


@dataclass(frozen=True)
class _Factored(Structure):
    """``E = A B^T / sqrt(rank)``; vectors and small matrices dense."""

    def laws(self) -> tuple[int, str, bool]:
        """Rank, law of the factors, and whether small matrices are dense."""
        raise NotImplementedError

    def _dense(self, leaf: Leaf) -> bool:
        rank, _, dense_head = self.laws()
        small = min(leaf.rows, leaf.columns) <= 2 * rank or leaf.rows * leaf.columns <= _HEAD
        return dense_head and not leaf.is_vector and small

    def state(self, leaf: Leaf, key: PRNGKeyArray, negate: Bool[Array, ""] | None) -> dict[str, Array]:
        rank, law, _ = self.laws()
        if leaf.is_vector:
            return {"out": _turned(_factors(key, (leaf.rows, 1), law if self.bias_from_partner else "normal"), negate)}
        if self._dense(leaf):
            return {"dense": _turned(normal(key, (leaf.columns, leaf.rows)), negate)}
        both = _factors(key, (leaf.rows + leaf.columns, rank), law)
        return {"out": _turned(both[: leaf.rows], negate), "in": both[leaf.rows :]}

    def contract(self, leaf: Leaf, noise: Any, base: Any, weight: Any, x: Array, flip: bool) -> Array:
        if self._dense(leaf):
            dense = noise["dense"].astype(x.dtype)
            return x @ (dense.T if flip else dense)
        a, b = noise["out"].astype(x.dtype), noise["in"].astype(x.dtype)
        first, second = (a, b) if flip else (b, a)
        if first.shape[1] == 1:
            # One inner product per row; without the barrier XLA sums it again for every output it fuses.
            inner = lax.optimization_barrier(jnp.sum(x * first.T, axis=-1, keepdims=True))
            return inner * second.T
        return (x @ first) @ (second.T / jnp.asarray(math.sqrt(first.shape[1]), x.dtype))

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
        if self._dense(leaf):
            dense = sum(size * noise["dense"] for size, noise in zip(sizes, noises, strict=True))
            return self.contract(leaf, {"dense": dense}, base, weight, x, flip)
        # The factors side by side, as one pair of them; what contract divides by is undone.
        count = math.sqrt(len(noises))
        out = [count * size * noise["out"] for size, noise in zip(sizes, noises, strict=True)]
        both = {"out": jnp.concatenate(out, axis=1), "in": jnp.concatenate([noise["in"] for noise in noises], axis=1)}
        return self.contract(leaf, both, base, weight, x, flip)

    def entries(self, leaf: Leaf, noise: Any, base: Any, weight: Any) -> Array:
        if leaf.is_vector:
            return noise["out"][:, 0]
        if self._dense(leaf):
            return noise["dense"].T
        return noise["out"] @ noise["in"].T / jnp.sqrt(jnp.float32(noise["in"].shape[1]))

    def factored(self, leaf: Leaf) -> bool:
        return not leaf.is_vector and not self._dense(leaf)

    def thin(self, leaf: Leaf, noise: Any) -> tuple[Array, Array]:
        return noise["out"] / jnp.sqrt(jnp.float32(noise["in"].shape[-1])), noise["in"]

    def total(self, leaf: Leaf, noise: Any, base: Any, weight: Any, weights: Float[Array, " members"]) -> Array:
        if leaf.is_vector:
            return weights @ noise["out"][..., 0]
        if self._dense(leaf):
            return jnp.tensordot(weights, noise["dense"], 1).T
        # One product of all members' factors side by side (EGGROLL, arXiv 2511.16652, section 4).
        rank = noise["in"].shape[-1]
        out = jnp.einsum("p,por->opr", weights, noise["out"]).reshape(leaf.rows, -1)
        into = jnp.einsum("pir->pri", noise["in"]).reshape(-1, leaf.columns)
        return out @ into / jnp.sqrt(jnp.float32(rank))

    def rows(self, leaf: Leaf, noise: Any, base: Any, weight: Any, ids: Array, of_out: bool) -> Array:
        if self._dense(leaf):
            return super().rows(leaf, noise, base, weight, ids, of_out)
        here, there = (noise["out"], noise["in"]) if of_out else (noise["in"], noise["out"])
        return here[ids] @ there.T / jnp.sqrt(jnp.float32(here.shape[1]))


@STRUCTURES.register("lowrank")
@dataclass(frozen=True)
class LowRank(_Factored):
    """``E = A B^T / sqrt(rank)`` with unit-variance factors; biases dense.

    Source: EGGROLL, arXiv 2511.16652. ``factors``: ``normal``, ``sign`` or ``signed_sqrt``.
    ``dense_head``: matrices with at most 2 rank rows or columns, or at most 4096 entries, get dense noise.
    """

    rank: Annotated[int, Whole(1)] = 1
    """Columns of A and B."""
    factors: Literal["normal", "sign", "signed_sqrt"] = "normal"
    """Law of their entries."""
    dense_head: bool = True
    """Small matrices (an action head) get dense noise."""

    def laws(self) -> tuple[int, str, bool]:
        return self.rank, self.factors, self.dense_head

    @property
    def drifts(self) -> bool:
        return self.factors == "normal"

    def drift(self, leaf: Leaf, old: dict[str, Array], fresh: dict[str, Array], rho: float) -> dict[str, Array]:
        # A matrix is a product of two factors that move at a time: the correlation of E is the product of theirs.
        return super().drift(leaf, old, fresh, math.sqrt(rho) if "in" in old else rho)

    def placed(self, draw: Draw, sizes: dict[str, Array], dtype: Any) -> Draw | None:
        known = draw.spec.by_path
        groups = {tuple(path for path in leaf.beside if self.factored(known[path])) for leaf in known.values()}
        kind = Placed(self, tuple(sorted(groups)))
        noise = {leaf.path: kind.of_draw(leaf, draw.noise, sizes[leaf.path], dtype) for leaf in known.values()}
        return draw.replace(noise=noise, kind=kind)


@dataclass(frozen=True)
class Placed(Structure):
    """Low-rank noise as a loop over tokens reads it: of its size, in the weights' dtype.

    Matrices that read the same activations (:attr:`Leaf.beside`) share their inner products: each has the factors of
    all, so that a compiler finds the same product several times and makes it once.
    """

    sized: ClassVar[bool] = True

    of: LowRank
    """The structure that was drawn."""
    groups: tuple[tuple[str, ...], ...]
    """Paths of those that share products."""

    def of_draw(self, leaf: Leaf, noise: dict[str, Any], size: Array, dtype: Any) -> dict[str, Array]:
        """The state of one leaf, of all members, from those that were drawn."""
        own = noise[leaf.path]
        size = size.reshape(size.shape + (1,) * (own[next(iter(own))].ndim - size.ndim))
        if not self.of.factored(leaf):
            return {name: (size * value).astype(dtype) for name, value in own.items()}
        out, _ = self.of.thin(leaf, own)
        into = [jnp.swapaxes(noise[path]["in"], -1, -2) for path in self._group(leaf)]
        return {"out": (size * out).astype(dtype), "in": jnp.concatenate(into, axis=-2).astype(dtype)}

    def _group(self, leaf: Leaf) -> tuple[str, ...]:
        return next((group for group in self.groups if leaf.path in group), (leaf.path,))

    def _own(self, leaf: Leaf, factors: Array, axis: int) -> Array:
        """Those of the leaf among the factors, or the products with them, of all that lie beside it."""
        rank = self.of.rank
        place = self._group(leaf).index(leaf.path) * rank
        return lax.slice_in_dim(factors, place, place + rank, axis=axis)

    def contract(self, leaf: Leaf, noise: Any, base: Any, weight: Any, x: Array, flip: bool) -> Array:
        if "dense" in noise:
            return self.of.contract(leaf, noise, base, weight, x, flip)
        wide = wider(x.dtype)
        if flip:
            return (x @ noise["out"]) @ self._own(leaf, noise["in"], 0)
        if self.of.rank == 1:
            inner = self._own(leaf, _inner(x.astype(wide), noise["in"].astype(wide)), 1)
            return inner * noise["out"].T.astype(wide)
        return self._own(leaf, x @ noise["in"].T, 1) @ noise["out"].T

    def entries(self, leaf: Leaf, noise: Any, base: Any, weight: Any) -> Array:
        if not self.of.factored(leaf):
            return self.of.entries(leaf, noise, base, weight)
        return noise["out"].astype(jnp.float32) @ self._own(leaf, noise["in"], 0).astype(jnp.float32)

    def rows(self, leaf: Leaf, noise: Any, base: Any, weight: Any, ids: Array, of_out: bool) -> Array:
        if not self.of.factored(leaf):
            return super().rows(leaf, noise, base, weight, ids, of_out)
        out, into = noise["out"].astype(jnp.float32), self._own(leaf, noise["in"], 0).astype(jnp.float32)
        return out[ids] @ into if of_out else into.T[ids] @ out.T


def _inner(x: Float[Array, "f n"], factors: Float[Array, "g n"]) -> Float[Array, "f g"]:
    """``x @ factors.T`` as sums, which a GPU's compiler takes into the kernel that makes x.

    In pieces, as of more numbers XLA makes two sums, both of them kernels; behind the barrier it adds the few pieces,
    in place of all numbers, for every output.
    """
    length = x.shape[-1]
    pieces = next((count for count in range(1, 33) if length % count == 0 and length // count <= _PIECE), 1)
    product = x[:, None, :] * factors[None]
    partial = jnp.sum(product.reshape(*product.shape[:-1], pieces, length // pieces), axis=-1)
    kept = lax.optimization_barrier(partial)
    return sum(kept[..., piece] for piece in range(pieces))


@STRUCTURES.register("factorised")
@dataclass(frozen=True)
class Factorised(_Factored):
    """NoisyNet's ``E = f(a) f(b)^T``, ``e = f(a)``, f(z) = sgn(z) sqrt|z|, scaled to unit variance.

    Source: Fortunato et al. 2018, arXiv 1706.10295, with the factor sqrt(pi/2) that it leaves out,
    so that sigma means what it means for the other structures.
    """

    bias_from_partner: ClassVar[bool] = True

    def laws(self) -> tuple[int, str, bool]:
        return 1, "signed_sqrt", False
