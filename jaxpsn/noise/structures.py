"""What every perturbation structure offers, and its three public functions."""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt32

from jaxpsn.core.components import Component
from jaxpsn.core.errors import nearest, refuse
from jaxpsn.core.families import Family
from jaxpsn.noise import inputs
from jaxpsn.noise.draws import Draw, draw_all, leaf_key, per_slice, redraw_changed
from jaxpsn.noise.lazy import Lazy, effective_sigma, make_lazy, planned, settle
from jaxpsn.noise.spec import Leaf, Parts, Spec, taken_apart
from jaxpsn.noise.views import View

Sigma = Any  # a number, an array [members], or path -> either


@dataclass(frozen=True)
class Structure(Component):
    """A law of unit-variance noise E for every perturbed leaf; the leaf becomes ``W + sigma * E``.

    A subclass says what one member's state of one leaf slice is (``state``), how E is applied without
    being formed (``contract``, ``rows``), and what it is when formed (``entries``). Seen through
    ``Leaf``, a slice is a matrix ``[out, contract]``, or a vector.
    """

    antithetic: bool = field(default=False, kw_only=True)
    """Perturbations come in pairs of opposite sign."""

    bias_from_partner: ClassVar[bool] = False  # a bias reuses the output factor of its matrix
    reads_weight: ClassVar[bool] = False  # E depends on W
    scalable: ClassVar[bool] = False  # every entry has a number of its own, so that it may have a scale of its own
    sized: ClassVar[bool] = False  # noise has its size already: draws are used with sigma None
    cheap: ClassVar[bool] = False  # so few numbers that drawing all members can cost less than finding who changes

    def init(self, key: Any, spec: Any, members: Any) -> Draw:
        """First perturbations of ``members`` members. ``key`` is typed, and the same at every redraw.

        ``members`` is a count, or the members' global numbers u32[members], which say what noise each has. Inside
        ``shard_map`` or ``pmap`` a count would number the members of every device alike, so that it is refused there
        unless the key is known to differ: ``jax.lax.axis_index(axis) * count + jnp.arange(count)`` are their numbers.
        """
        inputs.typed_key(key)
        inputs.of_type("spec", spec, Spec, "as noise.plan makes it")
        number = inputs.numbers(members, key, self.antithetic)
        self.check(spec)
        counter, drawn = self.first(key, spec, number)
        return Draw(counter, drawn, _draw_shared(self, spec, key), number, spec, self)

    def redraw(self, key: Any, draw: Any, where: Any) -> Draw:
        """New perturbations for the members in ``where``; the others keep theirs bit for bit.

        ``where``: booleans [members] or one for all, or floats of 0 and 1 (a ``done`` of Brax); lists are taken too.
        """
        inputs.typed_key(key)
        self.check_own(draw)
        where = inputs.mask("where", where, draw.counter)
        counter = draw.counter + where.astype(jnp.uint32)
        return draw.replace(counter=counter, noise=redraw_changed(self, key, draw, counter, where))

    def again(self, key: PRNGKeyArray, draw: Draw, counter: UInt32[Array, "members ..."]) -> Draw:
        """The perturbations after so many redraws, counted as ``draw.counter`` is, whatever was drawn meanwhile."""
        return draw.replace(counter=counter, noise=draw_all(self, draw.spec, key, draw.number, counter))

    def materialise(self, params: Any, draw: Any, sigma: Sigma, member: Any) -> Any:
        """The parameters of one member, ``W + sigma * E`` formed in float32 and cast to each leaf's dtype.

        ``member`` is its place in the draw; a traced one is not checked. Weights in float64 are summed in float64
        (E itself is float32).
        """
        self.check_own(draw)
        place = inputs.member(member, draw.members)
        parts = taken_apart(params)
        planned(parts, draw.spec)
        sigmas = leaf_sigmas(draw, sigma)
        return parts.whole(_materialise(parts.paths, parts.arrays, draw, sigmas, place))

    def check_own(self, draw: Any) -> None:
        """Refuse a draw of another structure."""
        inputs.of_type("draw", draw, Draw, "as a structure's init makes it")
        if draw.kind != self:
            refuse("draw", draw.kind, f"made by {self}")

    @property
    def drifts(self) -> bool:
        """Whether its state is of Gaussian numbers, so that a perturbation may move little by little."""
        return False

    def drift(self, leaf: Leaf, old: dict[str, Array], fresh: dict[str, Array], rho: float) -> dict[str, Array]:
        """A state of one leaf whose entries have the correlation ``rho`` with ``old``; ``fresh`` is an independent one.

        Here E is linear in the state: ``rho * old + sqrt(1 - rho^2) * fresh``.
        """
        return {name: mixed(value, fresh[name], rho) for name, value in old.items()}

    def first(self, key: PRNGKeyArray, spec: Spec, number: UInt32[Array, " members"]) -> tuple[Array, dict[str, Any]]:
        """Counter and noise of members that are new."""
        counter = jnp.zeros_like(number)
        return counter, draw_all(self, spec, key, number, counter)

    def has_state(self, leaf: Leaf) -> bool:
        """Whether the leaf draws numbers of its own."""
        return not (self.bias_from_partner and leaf.partner is not None)

    def check(self, spec: Spec) -> None:
        """Refuse a spec that this structure cannot perturb."""

    def shared(self, leaf: Leaf, key: PRNGKeyArray) -> dict[str, Array]:
        """Arrays of one leaf slice that all members share."""
        return {}

    def state(self, leaf: Leaf, key: PRNGKeyArray, negate: Bool[Array, ""] | None) -> dict[str, Array]:
        """One member's state of one leaf slice; ``negate`` turns E into -E."""
        raise NotImplementedError

    def contract(self, leaf: Leaf, noise: Any, base: Any, weight: Any, x: Array, flip: bool) -> Array:
        """``x[F, contract] -> [F, out]`` through E (through its transpose if ``flip``), in float32 or x's dtype."""
        raise NotImplementedError

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
        """``contract`` through ``sum_k sizes[k] E_k``, the components of a :class:`jaxpsn.noise.Multiscale`."""
        parts = (self.contract(leaf, noise, base, weight, x, flip) for noise in noises)
        return sum(size * part for size, part in zip(sizes, parts, strict=True))

    def entries(self, leaf: Leaf, noise: Any, base: Any, weight: Any) -> Array:
        """E of one slice: ``[out, contract]`` of a matrix, ``[out]`` of a vector."""
        raise NotImplementedError

    def rows(self, leaf: Leaf, noise: Any, base: Any, weight: Any, ids: Array, of_out: bool) -> Array:
        """Rows ``ids[K]`` of E along ``out``, else its columns: ``[K, the other side]``."""
        table = self.entries(leaf, noise, base, weight)
        return (table if of_out else table.T)[ids]

    def total(self, leaf: Leaf, noise: Any, base: Any, weight: Any, weights: Float[Array, " members"]) -> Array:
        """``sum_i weights[i] E_i`` of one slice, as ``entries`` is; ``noise`` has a leading axis of members."""

        def add(total, item):
            noise, share = item
            return total + share * self.entries(leaf, noise, base, weight).astype(jnp.float32), None

        shape = (leaf.rows,) if leaf.is_vector else (leaf.rows, leaf.columns)
        return jax.lax.scan(add, jnp.zeros(shape, jnp.float32), (noise, weights))[0]

    def scaled(self, leaf: Leaf, noise: Any, scale: Float[Array, "*lead rows columns"]) -> Any:
        """The states of all members with every entry of E times its own ``scale``, a matrix for each slice."""
        raise NotImplementedError

    def placed(self, draw: Draw, sizes: dict[str, Array], dtype: Any) -> Draw | None:
        """``draw`` for whoever reads it again and again: noise of its size, ``sizes`` by path, in ``dtype``.

        It is used with sigma None. ``sizes``: ``[members or 1, stack...]``. None: nothing is gained.
        """
        return None

    def factored(self, leaf: Leaf) -> bool:
        """Whether E of the leaf is a product of two thin matrices, which ``thin`` gives."""
        return False

    def thin(self, leaf: Leaf, noise: Any) -> tuple[Array, Array]:
        """``E = A B^T``: A ``[..., out, r]`` and B ``[..., contract, r]``, of all slices in ``noise`` at once."""
        raise NotImplementedError

    def state_shapes(self, leaf: Leaf) -> Any:
        """Shapes and dtypes of one member's state of the whole leaf."""
        if not self.has_state(leaf):
            return {}

        def draw(key):
            return per_slice(leaf, key, lambda k: self.state(leaf, k, None))

        return jax.eval_shape(draw, jax.eval_shape(lambda: jax.random.key(0)))

    def state_numbers(self, leaf: Leaf) -> int:
        """Numbers drawn per member."""
        return sum(x.size for x in jax.tree.leaves(self.state_shapes(leaf)))

    def state_bytes(self, leaf: Leaf) -> int:
        """Bytes held per member."""
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(self.state_shapes(leaf)))


STRUCTURES: Family[Structure] = Family(
    "structure",
    Structure,
    {"dense": "jaxpsn.noise.dense", "flipout": "jaxpsn.noise.flipout", "lowrank": "jaxpsn.noise.lowrank",
     "factorised": "jaxpsn.noise.lowrank", "input_gain": "jaxpsn.noise.dense"},
    doc="Forms of the noise in weights.",
)  # fmt: skip
STRUCTURES.alias("dense-bf16", "dense(store=bfloat16)", "Dense noise that is held in bfloat16.")
STRUCTURES.alias("flipout-sign", "flipout(base=sign)", "Flipout with random signs as its common matrix.")
STRUCTURES.alias("flipout-normal", "flipout(base=normal)", "Flipout with a Gaussian common matrix.")
STRUCTURES.alias("input-gain", "input_gain", "Another spelling of input_gain.")


@partial(jax.jit, static_argnums=(0, 1))
def _draw_shared(kind: Structure, spec: Spec, key: PRNGKeyArray) -> dict[str, Any]:
    """Path -> the arrays that all members share, of the leaves that have any."""
    drawn = {}
    for leaf in spec.leaves:
        stream = leaf_key(key, "base of " + leaf.path)
        drawn[leaf.path] = per_slice(leaf, stream, lambda k, leaf=leaf: kind.shared(leaf, k))
    return {path: arrays for path, arrays in drawn.items() if arrays}


@partial(jax.jit, static_argnums=0)
def _materialise(
    paths: tuple[str, ...], arrays: list[Any], draw: Draw, sigmas: dict[str, Array], member: Any
) -> list[Any]:
    noise = jax.tree.map(lambda x: x[member], draw.noise)
    sigmas = {path: x[member] if x.ndim else x for path, x in sigmas.items()}

    def form(leaf, weight):
        return settle(leaf, lazy_leaf(draw.kind, draw.spec, leaf, weight, noise, draw.base, sigmas), draw.kind)

    return make_lazy(Parts(paths, arrays), draw.spec, form)


def mixed(old: Array, fresh: Array, rho: float) -> Array:
    """One step of a Gaussian autoregression of order one, whose variance stays 1: correlation ``rho`` with ``old``."""
    return rho * old + math.sqrt(1.0 - rho * rho) * fresh


def leaf_sigmas(draw: Draw, sigma: Sigma) -> dict[str, Array]:
    """Sigma of every leaf, each a scalar or ``[members]``, in float32; none where noise has its size already."""
    spec = draw.spec
    if draw.kind.sized:
        if sigma is not None:
            refuse("sigma", sigma, "None, as the noise of this draw has its size already")
        return {}
    if not isinstance(sigma, dict):
        sigma = {leaf.path: sigma for leaf in spec.leaves}
    for path in sigma:
        if path not in spec.by_path:
            refuse("sigma", path, nearest(path, spec.by_path))
    missing = sorted(set(spec.by_path) - set(sigma))
    if missing:
        refuse("sigma", inputs.few(missing), "every perturbed leaf needs a sigma when they are given by path")
    return {path: _sigma(path, value, draw.members) for path, value in sigma.items()}


def sizes(draw: Draw, sigma: Sigma, rms: dict[str, Array] | None) -> dict[str, Float[Array, "..."]]:
    """What the noise of every leaf is multiplied by, ``[members or 1, stack...]``; ``rms``: of a relative sigma."""
    found = {}
    for path, own in leaf_sigmas(draw, sigma).items():
        leaf = draw.spec.by_path[path]
        unit = jnp.ones(leaf.sizes(leaf.stack), jnp.float32) if rms is None else rms[path]
        found[path] = own.reshape(-1, *(1 for _ in leaf.stack)) * unit[None]
    return found


def _sigma(path: str, value: Any, members: int) -> Array:
    allowed = f"a scalar or [{members}] (one per member), at {path}"
    made = inputs.array("sigma", value, allowed)
    if not (jnp.issubdtype(made.dtype, jnp.floating) or jnp.issubdtype(made.dtype, jnp.integer)):
        refuse("sigma", inputs.said(value), allowed)
    if made.shape not in ((), (members,)):
        refuse("sigma", made.shape, allowed)
    return jnp.asarray(value, jnp.float32)


def lazy_leaf(
    kind: Structure,
    spec: Spec,
    leaf: Leaf,
    weight: Array,
    noise: Any,
    base: Any,
    sigmas: dict[str, Array],
    rms: dict[str, Array] | None = None,
) -> Lazy:
    """The leaf of one member, unformed; ``rms``: that of :func:`jaxpsn.noise.lazy.units`, if it is known already."""
    if tuple(weight.shape) != leaf.shape:
        refuse(leaf.path, tuple(weight.shape), f"the planned shape is {leaf.shape}")
    owner = leaf.path if kind.has_state(leaf) else leaf.partner
    sigma = sigmas.get(leaf.path)
    if sigma is not None:
        sigma = effective_sigma(leaf, weight, sigma, spec.relative, rms and rms[leaf.path])
    view = View(leaf.path, tuple(range(len(leaf.shape))))
    return Lazy(weight, noise.get(owner, {}), base.get(owner, {}), sigma, view)
