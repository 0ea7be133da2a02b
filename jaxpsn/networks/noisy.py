"""NoisyNet: networks whose weights have noise scales of their own, learnt as the weights are.

``y = (mu_w + s_w o e_w) x + mu_b + s_b o e_b`` with factorised noise, ``e_w = f(e_out) f(e_in)^T``, ``e_b = f(e_out)``
and ``f(z) = sgn(z) sqrt|z|`` (Fortunato et al. 2018, arXiv 1706.10295, section 3). Applied to activations as
``x mu_w^T + f(e_out) o ((x o f(e_in)) s_w^T)``, so that the weights of a member are never formed.

The scales are a collection ``sigma`` beside Flax's ``params``: the network itself does not read it, so that whoever
applies it as it stands gets the means.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn import noise
from jaxpsn.core import errors
from jaxpsn.noise.normals import normal


@dataclass(frozen=True)
class Learnt(noise.Structure):
    """Factorised noise whose scale is an array per weight, handed over as the ``base`` of a draw.

    As published, an entry of ``e_w`` has variance 2/pi: the standard deviation of a weight is 0.798 of its scale.
    """

    bias_from_partner: ClassVar[bool] = True

    def check(self, spec: noise.Spec) -> None:
        for leaf in spec.leaves:
            dense = leaf.use == "matmul" and len(leaf.shape) == 2 and (leaf.contract, leaf.out) == ((0,), (1,))
            if not (dense or (leaf.is_vector and leaf.partner is not None)):
                errors.refuse(leaf.path, leaf.use, "kernels [in, out] of dense layers and their biases")

    def state(self, leaf: noise.Leaf, key: PRNGKeyArray, negate: Bool[Array, ""] | None) -> dict[str, Array]:
        drawn = normal(key, (leaf.rows + leaf.columns,))
        factors = jnp.sign(drawn) * jnp.sqrt(jnp.abs(drawn))
        out = factors[: leaf.rows]
        return {"out": out if negate is None else jnp.where(negate, -out, out), "in": factors[leaf.rows :]}

    def contract(self, leaf: noise.Leaf, noise: Any, base: Any, weight: Any, x: Array, flip: bool) -> Array:
        out, into, sigma = (part.astype(x.dtype) for part in (noise["out"], noise["in"], base["kernel"]))
        if flip:
            return ((x * out[None]) @ sigma.T) * into[None]
        return ((x * into[None]) @ sigma) * out[None]

    def entries(self, leaf: noise.Leaf, noise: Any, base: Any, weight: Any) -> Array:
        if leaf.is_vector:
            return noise["out"] * base["bias"]
        return noise["out"][:, None] * base["kernel"].T * noise["in"][None]


@dataclass(frozen=True)
class Independent(Learnt):
    """The same with an independent N(0, 1) number for every weight, whose standard deviation is then its scale."""

    bias_from_partner: ClassVar[bool] = False

    def state(self, leaf: noise.Leaf, key: PRNGKeyArray, negate: Bool[Array, ""] | None) -> dict[str, Array]:
        drawn = normal(key, (leaf.rows,) if leaf.is_vector else (leaf.columns, leaf.rows))
        return {"own": drawn if negate is None else jnp.where(negate, -drawn, drawn)}

    def contract(self, leaf: noise.Leaf, noise: Any, base: Any, weight: Any, x: Array, flip: bool) -> Array:
        matrix = (noise["own"] * base["kernel"]).astype(x.dtype)
        return x @ (matrix.T if flip else matrix)

    def entries(self, leaf: noise.Leaf, noise: Any, base: Any, weight: Any) -> Array:
        return (noise["own"] * base["bias" if leaf.is_vector else "kernel"]).T


KIND, INDEPENDENT = Learnt(), Independent()


def widen(params: Any, sigma: float | Float[Array, ""]) -> dict[str, Any]:
    """``params`` with a scale beside every kernel and bias of its dense layers: ``sigma / sqrt(inputs)``."""
    return {**params, "sigma": _scales(params["params"], sigma)}


def plan(apply: Callable[..., Any], params: Any, example: Any) -> noise.Spec:
    """How ``apply(params, example)`` uses its dense layers; ``example`` is one member's input."""
    if "sigma" not in params:
        errors.refuse("params", sorted(params), "a collection sigma, as networks.noisy.widen adds it")
    return noise.plan(apply, {"params": params["params"]}, example)


def fused(apply: Callable[..., Any], spec: noise.Spec, kind: Learnt = KIND) -> Callable[..., Any]:
    """``act(params, draw, x[members, ...])``: the network of every member, with gradients to means and scales."""
    perturbed = noise.fused(apply, spec, kind)

    def act(params: Any, draw: noise.Draw, x: Any) -> Any:
        return perturbed({"params": params["params"]}, draw.replace(base=_by_path(params, kind)), 1.0, x)

    return act


def sample(
    apply: Callable[..., Any], params: Any, x: Float[Array, "*batch i"], key: PRNGKeyArray, kind: Learnt = KIND
) -> Float[Array, "*batch o"]:
    """The network of one fresh draw, shared by the batch."""
    spec = plan(apply, params, jax.ShapeDtypeStruct(x.shape, x.dtype))
    return fused(apply, spec, kind)(params, kind.init(key, spec, 1), x[None])[0]


def materialise(params: Any, draw: noise.Draw, member: int) -> dict[str, Any]:
    """The weights of one member, formed: the reference of :func:`fused`."""
    own = draw.replace(base=_by_path(params, draw.kind))
    return draw.kind.materialise({"params": params["params"]}, own, 1.0, member)


def scale(params: Any) -> Float[Array, ""]:
    """Mean size of the scales, in units of each layer's ``1 / sqrt(inputs)``: at first what :func:`widen` was given."""
    sizes = [
        jnp.abs(leaf) * math.sqrt(layer["kernel"].shape[0])
        for _, layer in _layers(params["sigma"])
        for leaf in layer.values()
    ]
    return sum(jnp.sum(size) for size in sizes) / sum(size.size for size in sizes)


def _scales(tree: Mapping[str, Any], sigma: Any) -> dict[str, Any]:
    if "kernel" in tree:
        value = jnp.asarray(sigma, jnp.float32) / math.sqrt(tree["kernel"].shape[0])
        return {name: jnp.broadcast_to(value, leaf.shape) for name, leaf in tree.items()}
    below = {name: _scales(branch, sigma) for name, branch in tree.items() if isinstance(branch, Mapping)}
    return {name: branch for name, branch in below.items() if branch}


def _layers(tree: Mapping[str, Any], path: str = "params") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Path and entries of every dense layer."""
    if "kernel" in tree:
        yield path, tree
        return
    for name, branch in tree.items():
        yield from _layers(branch, f"{path}/{name}")


def _by_path(params: Any, kind: Learnt) -> dict[str, Any]:
    """The scales by the path of the leaf that draws for them, as a draw's ``base`` holds arrays."""
    if kind.bias_from_partner:
        return {f"{path}/kernel": dict(layer) for path, layer in _layers(params["sigma"])}
    scales = _layers(params["sigma"])
    return {f"{path}/{name}": {name: leaf} for path, layer in scales for name, leaf in layer.items()}
