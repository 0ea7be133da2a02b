"""Dense Gaussian noise, the papers' reference, and noise on the inputs of a layer."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn.core.errors import refuse
from jaxpsn.noise.normals import normal
from jaxpsn.noise.spec import Leaf, Spec
from jaxpsn.noise.structures import STRUCTURES, Structure


@STRUCTURES.register("dense")
@dataclass(frozen=True)
class Dense(Structure):
    """Independent N(0, 1) entries, held per member in ``store`` precision (drawn in float32).

    Source: Plappert et al. 2018, arXiv 1706.01905. State: as many numbers as perturbed parameters, so
    for few members or groups ``x[groups, envs, ...]``.
    """

    scalable: ClassVar[bool] = True

    store: Literal["float32", "bfloat16"] = "float32"
    """Precision in which it is held."""

    @property
    def drifts(self) -> bool:
        return self.store == "float32"  # in fewer bits a small step is lost

    def state(self, leaf: Leaf, key: PRNGKeyArray, negate: Bool[Array, ""] | None) -> dict[str, Array]:
        shape = (leaf.rows,) if leaf.is_vector else (leaf.columns, leaf.rows)
        drawn = normal(key, shape)
        return {"noise": (drawn if negate is None else jnp.where(negate, -drawn, drawn)).astype(self.store)}

    def contract(self, leaf: Leaf, noise: Any, base: Any, weight: Any, x: Array, flip: bool) -> Array:
        matrix = noise["noise"].astype(x.dtype)
        return x @ (matrix.T if flip else matrix)

    def entries(self, leaf: Leaf, noise: Any, base: Any, weight: Any) -> Array:
        return noise["noise"].T

    def scaled(self, leaf: Leaf, noise: Any, scale: Float[Array, "*lead rows columns"]) -> Any:
        own = scale[..., 0] if leaf.is_vector else jnp.swapaxes(scale, -1, -2)
        return {"noise": noise["noise"].astype(jnp.float32) * own[None]}

    def total(self, leaf: Leaf, noise: Any, base: Any, weight: Any, weights: Float[Array, " members"]) -> Array:
        return jnp.tensordot(weights, noise["noise"].astype(jnp.float32), 1).T

    def rows(self, leaf: Leaf, noise: Any, base: Any, weight: Any, ids: Array, of_out: bool) -> Array:
        return (noise["noise"].T if of_out else noise["noise"])[ids]


@STRUCTURES.register("input_gain")
@dataclass(frozen=True)
class InputGain(Structure):
    """``E = W diag(g)``, g ~ N(0, 1): the inputs of each layer are scaled; vectors are left alone.

    Source: QeRL, arXiv 2510.11696, with a gain per member. Unit variance relative to each weight:
    Var(E_ij) = W_ij^2, so sigma is relative by nature.
    """

    reads_weight: ClassVar[bool] = True
    cheap: ClassVar[bool] = False

    @property
    def drifts(self) -> bool:
        return True

    def has_state(self, leaf: Leaf) -> bool:
        return not leaf.is_vector

    def check(self, spec: Spec) -> None:
        if all(leaf.is_vector for leaf in spec.leaves):
            refuse("spec", [leaf.path for leaf in spec.leaves], "InputGain perturbs matrices only, none is selected")

    def state(self, leaf: Leaf, key: PRNGKeyArray, negate: Bool[Array, ""] | None) -> dict[str, Array]:
        drawn = normal(key, (leaf.columns,))
        return {"gain": drawn if negate is None else jnp.where(negate, -drawn, drawn)}

    def contract(self, leaf: Leaf, noise: Any, base: Any, weight: Any, x: Array, flip: bool) -> Array:
        gain, matrix = noise["gain"].astype(x.dtype), weight.astype(x.dtype)
        return (x @ matrix) * gain[None] if flip else (x * gain[None]) @ matrix.T

    def entries(self, leaf: Leaf, noise: Any, base: Any, weight: Any) -> Array:
        if leaf.is_vector:
            return jnp.zeros((leaf.rows,), jnp.float32)
        return weight.astype(jnp.float32) * noise["gain"][None]
