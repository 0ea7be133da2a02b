"""Save or restore a state that lies on eight devices: ``placed.py save|restore FOLDER`` prints digests."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxpsn.run.checkpoints.store import Store, digest

SPECS = {
    "clock": P(), "kernel": P("data", "model"), "bias": P(), "moments": P(None, "model"), "keys": P("data"), "key": P(),
}  # fmt: skip


def first():
    """The state on one device."""
    key = jax.random.key(3)
    return {
        "clock": jnp.int32(0),
        "kernel": jax.random.normal(jax.random.fold_in(key, 1), (256, 512)),
        "bias": jax.random.normal(jax.random.fold_in(key, 2), (4096,)).astype(jnp.bfloat16),
        "moments": jax.random.normal(jax.random.fold_in(key, 3), (3, 512)),
        "keys": jax.random.split(key, 8),
        "key": jax.random.fold_in(key, 4),
    }


def step(state):
    """Sums and products that no layout rounds differently."""
    kernel = state["kernel"] * 0.5 + jax.random.bits(state["key"], (256, 512), "uint8").astype(jnp.float32)
    bias, moments = state["bias"] * jnp.bfloat16(2), -state["moments"]
    return state | {"clock": state["clock"] + 1, "kernel": kernel, "bias": bias, "moments": moments}


def shardings():
    """Where each leaf goes, on a mesh of four by two."""
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))
    return {name: NamedSharding(mesh, spec) for name, spec in SPECS.items()}


def main(mode: str, folder: str) -> None:
    """Make a step of the donated state, however it came here."""
    placed, store = shardings(), Store(Path(folder), 5)
    if mode == "save":
        state = jax.device_put(first(), placed)
    else:
        shapes = jax.eval_shape(first)
        template = {n: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=placed[n]) for n, s in shapes.items()}
        state = store.restore(template).state
        assert {name: leaf.sharding for name, leaf in state.items()} == placed
        copies = [shard.data.unsafe_buffer_pointer() for shard in state["bias"].addressable_shards]
        assert len(set(copies)) == 8, "replicas that share memory cannot be donated"
        print(digest(state))
    before = state["kernel"]
    state = jax.jit(step, donate_argnums=0, out_shardings=placed)(state)
    assert before.is_deleted()
    store.save(int(state["clock"]), state, {})
    later = jax.jit(step, donate_argnums=0, out_shardings=placed)(state)  # while the save is under way
    store.wait()
    print(digest(store.restore(jax.eval_shape(first)).state))
    print(digest(later))


if __name__ == "__main__":
    main(*sys.argv[1:])
