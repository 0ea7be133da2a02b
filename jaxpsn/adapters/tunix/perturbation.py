"""Perturbed weights of an NNX model: planned once, drawn one member at a time."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import PRNGKeyArray

from jaxpsn import noise
from jaxpsn.core import compat

# tunix's names of its layers; what LoRA adds to them is trained, not perturbed.
_ATTENTION = noise.matching(r"(^|/)attn/") & ~noise.norms
_MLP = noise.matching(r"(^|/)mlp/")
_TARGETS = {
    "mlp": _MLP, "attention": _ATTENTION, "linear": _MLP | _ATTENTION, "norms": noise.norms, "all": noise.everything,
}  # fmt: skip


class Perturbation(NamedTuple):
    """The noise of a run: a function of (key, step, member, parameter path) and of nothing else."""

    spec: noise.Spec
    kind: noise.Structure
    key: PRNGKeyArray

    def weights(self, params: Any, step: int, member: int, sigma: Any) -> Any:
        """``params + sigma * eps`` of one member in one step; ``params`` as nested dicts, left as they are."""
        # Opposite twins share a draw; the others have one each, so that only one is in memory at a time.
        twins = 2 if self.kind.antithetic else 1
        key = jax.random.fold_in(jax.random.fold_in(self.key, step), member // twins)
        return self.kind.materialise(params, self.kind.init(key, self.spec, twins), sigma, member % twins)


def selection(name: str) -> noise.Selection:
    """The weights of a tunix model that ``psn.select`` names."""
    chosen = noise.matching(name[3:]) if name.startswith("re:") else _TARGETS[name]
    return chosen & ~noise.matching("_lora_")


def plan(model: nnx.Module, asked: Any, key: PRNGKeyArray) -> Perturbation | None:
    """The perturbation that is ``asked`` for, None for none; ``model`` is called as tunix's sampler calls it.

    Raises UserError if ``asked.select`` matches no weight.
    """
    if not asked.members(1):
        return None
    apply, params = noise.nnx_policy(model)

    def logits(params: Any, tokens: Any) -> Any:
        # A single token: tunix's attention kernels, which nothing could look into, start at two.
        with compat.foreign():
            return apply(params, tokens, jnp.zeros((1, 1), jnp.int32), None, jnp.ones((1, 1, 1), bool))[0]

    spec = noise.plan(logits, params, jax.ShapeDtypeStruct((1, 1), jnp.int32), selection(asked.select), asked.relative)
    return Perturbation(spec, asked.structure, key)


def replaced(state: nnx.State, change: Any) -> nnx.State:
    """A copy of a state with ``change(params)`` in place of its parameters; the state itself is not touched."""
    # Variables are references that the trainer holds too, so the copy has its own.
    fresh = jax.tree.map(lambda leaf: leaf, state)
    params = nnx.to_pure_dict(nnx.filter_state(state, nnx.Param))
    place = jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), change(params), params)
    nnx.replace_by_pure_dict(fresh, place)
    return fresh
