"""A decoder on eight devices, and in two processes; run by test_sharding.py in processes of their own."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxpsn import noise
from jaxpsn.core import mesh as meshes
from jaxpsn.core.placement import Placement
from jaxpsn.lm import model, sharding
from jaxpsn.lm.folders import hf_tensors, hub
from tests.lm.oracle import GOLDEN, tokens

FOLDER = GOLDEN / "qwen3"


def _gap(one, other) -> float:
    return float(np.abs(np.asarray(one) - np.asarray(other)).max())


def _largest(tree) -> float:
    return max(_gap(leaf, 0.0) for leaf in jax.tree.leaves(tree))


def _equal(one, other) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)


def _loaded(config, places) -> tuple:
    """The parameters, and the largest part of a leaf's bytes that a reading took."""
    parts, plain = [], hf_tensors.Checkpoint.read

    def noted(self, item, index, dtype):
        found = plain(self, item, index, dtype)
        parts.append((item.name, found.size / np.prod(item.shape)))
        return found

    hf_tensors.Checkpoint.read = noted
    params = hub.load(FOLDER, config, jnp.float32, places)
    hf_tensors.Checkpoint.read = plain
    return params, parts


def main(out: str) -> None:
    """Everything that is compared, as one line of JSON."""
    config, place = hub.read_config(FOLDER), Placement("data=4,model=2")
    mesh, rows = place.mesh, place.sharding("data")
    alone = hub.load(FOLDER, config, jnp.float32)
    ids = jnp.asarray(tokens(8, 16))
    start = jnp.arange(8, dtype=jnp.int32) % 3
    found = {"devices": jax.device_count()}

    def logits(params, x):
        hidden, _ = model.hidden_states(config, params, x["ids"], x["start"])
        # Padding is meaningless.
        seen = jnp.arange(16, dtype=jnp.int32)[None] >= x["start"][:, None]
        return jnp.where(seen[:, :, None], model.logits(config, params, hidden), 0.0)

    @jax.jit
    def computed(params, x):
        """Logits, and the derivative of their mean square."""

        def loss(params):
            found = logits(params, x)
            return jnp.mean(found**2), found

        grads, found = jax.grad(loss, has_aux=True)(params)
        return found, grads

    x = {"ids": ids, "start": start}
    want, grads = computed(alone, x)
    for spread in (True, False):
        params, parts = _loaded(config, sharding.shardings(config, mesh, spread))
        up = params["layers"]["mlp"]["up"]["kernel"]
        found[f"spread={spread}"] = {
            "parameters": _equal(params, alone),
            "up": list(up.addressable_shards[0].data.shape),
            "readings": sum("mlp.up" in name for name, _ in parts),
            "largest": max(part for name, part in parts if "mlp" in name or "proj" in name),
        }
    apart, more = computed(params, jax.device_put(x, rows))
    found["logits"] = _gap(apart, want)
    found["gradient"] = max(map(_gap, jax.tree.leaves(more), jax.tree.leaves(grads))) / _largest(grads)
    spec = noise.plan(logits, alone, x, select=noise.matching("/mlp/"))
    kind, key = noise.LowRank(), jax.random.key(3)
    members = jax.tree.map(lambda leaf: leaf.reshape(4, 2, *leaf.shape[1:]), x)
    act = jax.jit(noise.fused(logits, spec, kind, exact_zero=False))
    one = kind.init(key, spec, members=4)
    many = jax.jit(lambda: kind.init(key, spec, members=4), out_shardings=rows)()
    found["draws"] = _equal(one.noise, many.noise)
    noisy = act(alone, one, 0.1, members)
    found["noise"] = _gap(noisy, np.reshape(np.asarray(want), noisy.shape))
    found["noisy logits"] = _gap(act(params, many, 0.1, jax.device_put(members, rows)), noisy)
    hub.save(Path(out) / "whole", config, alone)
    hub.save(Path(out) / "spread", config, params)
    bytes_of = [(Path(out) / name / "model.safetensors").read_bytes() for name in ("whole", "spread")]
    found["exports"] = bytes_of[0] == bytes_of[1]
    print(json.dumps(found))


def exported_by_two(out: str, port: str, index: str) -> None:
    """One of two processes that hold half of every matrix each, and write them together."""
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(index))
    config = hub.read_config(FOLDER)
    places = sharding.shardings(config, meshes.make_mesh("model=2"))
    params = hub.load(FOLDER, config, shardings=places)
    assert not params["head"]["kernel"].is_fully_addressable
    hub.save(Path(out) / "two", config, params, shard_bytes=50_000)


if __name__ == "__main__":
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    exported_by_two(*sys.argv[1:]) if sys.argv[2:] else main(sys.argv[1])
