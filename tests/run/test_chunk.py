"""One compiled chunk: its means, its first bad call, one trace, no host transfers, seeds side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.run import chunk, report
from jaxpsn.run.checkpoints.store import digest


def run(program, seeds=1, calls=12, chunks=1, seed=0):
    state = jax.jit(chunk.make_init(program, seeds))(chunk.seed_keys(seed, seeds))
    compiled = jax.jit(chunk.make_chunk(program, seeds, calls), donate_argnums=0).lower(state).compile()
    reports = []
    for _ in range(chunks):
        state, told = compiled(state)
        reports.append(told)
    return state, reports


def test_means_equal_a_loop_in_python(fake):
    program = fake.Fake()
    _, (told,) = run(program, calls=12)
    state, seen = program.init(jax.random.key(0), program.hyper), []
    step = jax.jit(program.step)
    for _ in range(12):
        state, metrics = step(state)
        seen.append(jax.device_get(metrics))
    means = report.means(jax.device_get(told))
    np.testing.assert_allclose(means["loss"], np.mean([m["loss"] for m in seen], dtype=np.float64), rtol=1e-5)
    np.testing.assert_allclose(means["rare"], np.nanmean([m["rare"] for m in seen]), rtol=1e-5)
    total, count = (np.sum([m["return"][i] for m in seen], dtype=np.float64) for i in (0, 1))
    np.testing.assert_allclose(means["return"], total / count, rtol=1e-5)
    assert count == 4 and np.isnan(means["never"])


def test_a_chunk_is_traced_once_and_keeps_to_the_device(fake):
    program = fake.Fake()
    state = jax.jit(chunk.make_init(program, 1))(chunk.seed_keys(0, 1))
    compiled = jax.jit(chunk.make_chunk(program, 1, 5), donate_argnums=0).lower(state).compile()
    assert program.traces == 1
    compilations = []
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: compilations.append(name))
    with jax.transfer_guard("disallow"):
        for _ in range(20):
            state, _ = compiled(state)
    jax.block_until_ready(state)
    assert program.traces == 1 and not [name for name in compilations if "compile" in name]


def test_the_state_is_donated(fake):
    program = fake.Fake()
    state = jax.jit(chunk.make_init(program, 1))(chunk.seed_keys(0, 1))
    compiled = jax.jit(chunk.make_chunk(program, 1, 5), donate_argnums=0).lower(state).compile()
    ring = state.ring
    compiled(state)
    assert ring.is_deleted()


def test_the_length_of_a_chunk_does_not_matter(fake):
    one, _ = run(fake.Fake(), calls=24, chunks=1)
    many, _ = run(fake.Fake(), calls=4, chunks=6)
    assert digest(one) == digest(many)


def test_vmapped_seeds_are_the_single_runs(fake):
    program = fake.Fake()
    together, (told,) = run(program, seeds=3, seed=5)
    assert together.clock.shape == () and together.ring.shape[0] == 3
    for index in range(3):
        alone, (single,) = run(program, seed=5 + index)
        np.testing.assert_allclose(together.params["out"][index], alone.params["out"], rtol=1e-5)
        np.testing.assert_array_equal(
            jax.random.key_data(together.key)[index], jax.random.key_data(alone.key), strict=True
        )
        np.testing.assert_allclose(told.totals["loss"][0][index], single.totals["loss"][0], rtol=1e-5)
    assert together.updates.shape == (3,)


def test_each_call_gets_what_it_would_draw_itself(fake):
    class Ahead(fake.Fake):
        def ahead(self, state, clock):
            return jax.random.key_data(jax.random.fold_in(state.key, clock))

        def step(self, state, drawn):
            differ = jnp.any(drawn != self.ahead(state, state.clock)).astype(jnp.float32)
            after, metrics = super().step(state)
            return after, metrics | {"differ": differ}

    _, reports = run(Ahead(), seeds=2, calls=3, chunks=2)
    for told in reports:
        np.testing.assert_array_equal(told.totals["differ"], [[0, 0], [3, 3]])


@pytest.mark.parametrize("where", ["params", "loss"])
def test_the_first_bad_call_is_named_for_the_bad_seed_only(fake, where):
    _, (_, told) = run(fake.Fake(nan_at=17, nan_seed=6, where=where), seeds=3, calls=10, chunks=2, seed=5)
    (text,) = report.culprits(jax.device_get(told), range(5, 8), 40, 4)
    assert text.startswith("step 72, seed 6: ")
    assert ("params/out" if where == "params" else "loss") in text and "counters" not in text


def test_of_leaves_of_one_shape_the_bad_one_is_named_and_what_recovered_is_not_lost():
    def trees(bad=(), shape=(3,)):
        return {name: jnp.full(shape, jnp.nan if name in bad else 1.0) for name in "abc"} | {"loss": jnp.float32(0)}

    watch = chunk._Watch(jax.eval_shape(trees))
    assert [len(names) for names in watch.groups] == [3, 1]
    np.testing.assert_array_equal(watch.flags(trees("b")), [True, False])
    found = watch.first(jnp.array([4, -1], jnp.int32), trees("b"))
    assert {name: int(call) for name, call in found.items()} == {"a": -1, "b": 4, "c": -1, "loss": -1}
    found = watch.first(jnp.array([4, 2], jnp.int32), trees())
    assert {name: int(call) for name, call in found.items()} == {"a": 4, "b": 4, "c": 4, "loss": 2}


def test_a_step_is_watched_by_a_reduction_for_each_shape_of_its_leaves(fake):
    def reductions(count):
        def watched():
            return {"params": [jnp.ones((4, 5))] * count, "loss": jnp.float32(1)}

        shapes = jax.eval_shape(watched)
        return str(jax.make_jaxpr(lambda given: chunk._Watch(given).flags(given))(shapes)).count("reduce_and")

    assert reductions(9) == reductions(1)


def test_evaluation_depends_on_seed_and_clock_only(fake):
    program = fake.Fake()
    evaluate = jax.jit(chunk.make_evaluate(program, 1))
    keys = chunk.seed_keys(0, 1)
    state, _ = run(program)
    first = evaluate(keys, state)["eval_return"]
    assert first == evaluate(keys, state)["eval_return"]
    assert first != evaluate(keys, state.replace(clock=state.clock + 1))["eval_return"]
    assert first != evaluate(chunk.seed_keys(1, 1), state)["eval_return"]


def test_no_key_is_used_twice(fake):
    with jax.debug_key_reuse(True):
        program = fake.Fake()
        state = jax.jit(chunk.make_init(program, 1))(chunk.seed_keys(0, 1))
        state, _ = jax.jit(chunk.make_chunk(program, 1, 5))(state)
        jax.jit(chunk.make_evaluate(program, 1))(chunk.seed_keys(0, 1), state)


def test_weak_types_are_stripped():
    stripped = jax.eval_shape(lambda: chunk.strip_weak_types({"a": jnp.asarray(1.0), "b": 2, "k": jax.random.key(0)}))
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(stripped))
