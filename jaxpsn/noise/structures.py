"""What every perturbation structure offers, and its three public functions."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn.errors import nearest, refuse
from jaxpsn.noise.draws import Draw, check_key, draw_all, leaf_key, per_slice, redraw_changed
from jaxpsn.noise.lazy import Lazy, effective_sigma, make_lazy, settle
from jaxpsn.noise.spec import Leaf, Spec
from jaxpsn.noise.views import View

Sigma = float | Float[Array, "*members"] | dict[str, Any]


@dataclass(frozen=True)
class Structure:
    """A law of unit-variance noise E for every perturbed leaf; the leaf becomes ``W + sigma * E``.

    A subclass says what one member's state of one leaf slice is (``state``), how E is applied without
    being formed (``contract``, ``rows``), and what it is when formed (``entries``). Seen through
    ``Leaf``, a slice is a matrix ``[out, contract]``, or a vector.
    """

    antithetic: bool = field(default=False, kw_only=True)

    bias_from_partner: ClassVar[bool] = False  # a bias reuses the output factor of its matrix
    reads_weight: ClassVar[bool] = False  # E depends on W
    cheap: ClassVar[bool] = False  # so few numbers that drawing all members can cost less than finding who changes

    def init(self, key: PRNGKeyArray, spec: Spec, members: int) -> Draw:
        """First perturbations of ``members`` members. ``key`` is typed, and the same at every redraw."""
        check_key(key)
        if members < 1:
            refuse("members", members, "at least 1")
        if self.antithetic and members % 2:
            refuse("members", members, "even, as antithetic members come in pairs")
        self.check(spec)
        counter = jnp.zeros((members,), jnp.uint32)
        return Draw(counter, draw_all(self, spec, key, counter), _draw_shared(self, spec, key), spec, self)

    def redraw(self, key: PRNGKeyArray, draw: Draw, where: Bool[Array, " members"]) -> Draw:
        """New perturbations for the members in ``where``; the others keep theirs bit for bit."""
        check_key(key)
        counter = draw.counter + where.astype(jnp.uint32)
        return draw.replace(counter=counter, noise=redraw_changed(self, key, draw, counter, where))

    def materialise(self, params: Any, draw: Draw, sigma: Sigma, member: Any) -> Any:
        """The parameters of one member, ``W + sigma * E`` formed in float32 and cast to each leaf's dtype."""
        if isinstance(member, int) and not 0 <= member < draw.members:
            refuse("member", member, f"0 to {draw.members - 1}")
        return _materialise(params, draw, leaf_sigmas(draw.spec, sigma, draw.members), member)

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


@partial(jax.jit, static_argnums=(0, 1))
def _draw_shared(kind: Structure, spec: Spec, key: PRNGKeyArray) -> dict[str, Any]:
    """Path -> the arrays that all members share, of the leaves that have any."""
    drawn = {}
    for leaf in spec.leaves:
        stream = leaf_key(key, "base of " + leaf.path)
        drawn[leaf.path] = per_slice(leaf, stream, lambda k, leaf=leaf: kind.shared(leaf, k))
    return {path: arrays for path, arrays in drawn.items() if arrays}


@jax.jit
def _materialise(params: Any, draw: Draw, sigmas: dict[str, Array], member: Any) -> Any:
    noise = jax.tree.map(lambda x: x[member], draw.noise)
    sigmas = {path: x[member] if x.ndim else x for path, x in sigmas.items()}

    def form(leaf, weight):
        return settle(leaf, lazy_leaf(draw.kind, draw.spec, leaf, weight, noise, draw.base, sigmas), draw.kind)

    return make_lazy(params, draw.spec, form)


def leaf_sigmas(spec: Spec, sigma: Sigma, members: int) -> dict[str, Array]:
    """Sigma of every leaf, each a scalar or ``[members]``, in float32."""
    if not isinstance(sigma, dict):
        sigma = {leaf.path: sigma for leaf in spec.leaves}
    for path in sigma:
        if path not in spec.by_path:
            refuse("sigma", path, nearest(path, spec.by_path))
    missing = sorted(set(spec.by_path) - set(sigma))
    if missing:
        refuse("sigma", missing, "every perturbed leaf needs a sigma when they are given by path")
    sigmas = {path: jnp.asarray(value, jnp.float32) for path, value in sigma.items()}
    for path, value in sigmas.items():
        if value.shape not in ((), (members,)):
            refuse("sigma", value.shape, f"a scalar or [{members}] (one per member), at {path}")
    return sigmas


def lazy_leaf(
    kind: Structure, spec: Spec, leaf: Leaf, weight: Array, noise: Any, base: Any, sigmas: dict[str, Array]
) -> Lazy:
    """The leaf of one member, unformed."""
    if tuple(weight.shape) != leaf.shape:
        refuse(leaf.path, tuple(weight.shape), f"the planned shape is {leaf.shape}")
    owner = leaf.path if kind.has_state(leaf) else leaf.partner
    sigma = effective_sigma(leaf, weight, sigmas[leaf.path], spec.relative)
    view = View(leaf.path, tuple(range(len(leaf.shape))))
    return Lazy(weight, noise.get(owner, {}), base.get(owner, {}), sigma, view)
