import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxpsn.control import replay
from jaxpsn.control.state import Transition

ENVS, OBS, ACT = 3, 4, 2


def _transition(step: int) -> Transition:
    """Every entry names its step and environment."""
    mark = jnp.asarray(100 * step + np.arange(ENVS), jnp.float32)

    def wide(n):
        return jnp.broadcast_to(mark[:, None], (ENVS, n)) + jnp.arange(n, dtype=jnp.float32)[None] / 16

    flag = jnp.arange(ENVS) == step % ENVS
    return Transition(wide(OBS), wide(ACT), mark, flag, ~flag, wide(OBS) + 1)


def _filled(rows, steps):
    ring = replay.init(rows, _transition(0))
    for step in range(steps):
        ring = replay.insert(ring, jnp.int32(step), _transition(step))
    return ring


@pytest.mark.parametrize("steps", [1, 5, 6, 13])
def test_the_ring_holds_the_last_rows(steps):
    ring = _filled(6, steps)
    for row in range(6):
        kept = [s for s in range(steps) if s % 6 == row]
        expected = _transition(kept[-1]) if kept else jax.tree.map(jnp.zeros_like, _transition(0))
        jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda x, r=row: x[r], ring.data), expected)


@pytest.mark.parametrize("steps", [2, 13])
def test_samples_are_whole_uniform_and_from_filled_rows(steps):
    ring = _filled(6, steps)
    batch = replay.sample(jax.random.key(0), ring, jnp.int32(steps), (40, 50))
    assert batch.obs.shape == (40, 50, OBS) and batch.reward.shape == (40, 50)
    mark = np.asarray(batch.reward).ravel().astype(int)
    flat = jax.tree.map(lambda x: np.asarray(x).reshape(2000, *x.shape[2:]), batch)
    for i in (0, 17, 1999):
        row = jax.tree.map(lambda x, i=i: x[mark[i] % 100], _transition(mark[i] // 100))
        jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda x, i=i: x[i], flat), row)
    stored = [100 * s + e for s in range(max(0, steps - 6), steps) for e in range(ENVS)]
    values, counts = np.unique(mark, return_counts=True)
    np.testing.assert_array_equal(values, stored)
    expected = 2000 / len(stored)
    assert np.all(np.abs(counts - expected) < 6 * np.sqrt(expected))


def test_it_agrees_with_flashbax():
    fbx = pytest.importorskip("flashbax")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        item = fbx.make_item_buffer(max_length=6 * ENVS, min_length=1, sample_batch_size=6 * ENVS, add_batches=True)
        state = item.init(jax.tree.map(lambda x: x[0], _transition(0)))
        for step in range(13):
            state = item.add(state, _transition(step))
        theirs = jax.vmap(lambda key: item.sample(state, key).experience)(jax.random.split(jax.random.key(0), 200))
        theirs = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), theirs)
    ours = replay.sample(jax.random.key(0), _filled(6, 13), jnp.int32(13), (4000,))

    def rows(t):
        return np.unique(np.concatenate([np.asarray(t.obs), np.asarray(t.reward)[:, None]], 1), axis=0)

    np.testing.assert_array_equal(rows(ours), rows(theirs))


def test_a_donated_ring_keeps_its_buffers():
    ring = replay.init(1000, _transition(0))
    before = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(ring)]
    insert = jax.jit(replay.insert, donate_argnums=0)
    ring = insert(ring, jnp.int32(7), _transition(3))
    assert [x.unsafe_buffer_pointer() for x in jax.tree.leaves(ring)] == before
    np.testing.assert_array_equal(ring.data.reward[7], _transition(3).reward)


def _compiled(rows, seeds):
    example = _transition(0)
    ring, insert = replay.init(rows, example), replay.insert
    if seeds:
        ring, example = jax.tree.map(lambda x: jnp.stack([x] * seeds), (ring, example))
        insert = jax.vmap(insert, in_axes=(0, None, 0))
    lowered = jax.jit(insert, donate_argnums=0).lower(ring, jnp.int32(3), example)
    return lowered, lowered.compile()


@pytest.mark.parametrize("seeds", [0, 4])
def test_an_insert_costs_the_same_at_every_capacity(seeds):
    cost = {}
    for rows in (100, 10_000):
        lowered, compiled = _compiled(rows, seeds)
        assert "scatter" not in lowered.as_text() and "scatter" not in compiled.as_text()
        memory = compiled.memory_analysis()
        cost[rows] = compiled.cost_analysis()["bytes accessed"], memory.temp_size_in_bytes
        assert memory.alias_size_in_bytes >= rows * ENVS * max(seeds, 1) * (2 * OBS + ACT + 1) * 4
    assert cost[100] == cost[10_000]
    assert cost[100][0] < 100 * 4 * ENVS * (2 * OBS + ACT + 1) * max(seeds, 1)


def test_seeds_are_single_runs():
    rings = jax.tree.map(lambda x: jnp.stack([x, x + 1 if x.dtype != bool else ~x]), _filled(6, 4))
    row = jax.tree.map(lambda x: jnp.stack([x, x]), _transition(4))
    together = jax.vmap(replay.insert, in_axes=(0, None, 0))(rings, jnp.int32(4), row)
    for i in range(2):
        alone = replay.insert(*jax.tree.map(lambda x, i=i: x[i], (rings,)), jnp.int32(4), _transition(4))
        jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda x, i=i: x[i], together), alone)


def test_a_clock_of_each_seed_is_refused():
    rings = jax.tree.map(lambda x: jnp.stack([x, x]), _filled(6, 1))
    with pytest.raises(ValueError, match="clock must be shared"):
        jax.vmap(replay.insert, in_axes=(0, 0, None))(rings, jnp.arange(2, dtype=jnp.int32), _transition(1))


def test_a_scan_of_inserts_and_samples_copies_no_ring():
    def run(ring):
        def body(ring, clock):
            ring = replay.insert(ring, clock, _transition(1))
            return ring, jnp.sum(replay.sample(jax.random.key(0), ring, clock + 1, (8,)).reward)

        return lax.scan(body, ring, jnp.arange(5, dtype=jnp.int32))

    ring = replay.init(10_000, _transition(0))
    memory = jax.jit(run, donate_argnums=0).lower(ring).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 20_000 < memory.alias_size_in_bytes
