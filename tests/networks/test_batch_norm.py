"""Layers that are normalised by the batch against float64 NumPy, and weight noise on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import noise
from jaxpsn.networks.batch_norm import BatchActor, BatchCritic
from jaxpsn.networks.hyperspherical import project

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ACTOR = BatchActor(2, (6, 5), momentum=0.9)
CRITIC = BatchCritic((6, 5), momentum=0.9, outputs=3)


def shaken(params):
    """Projected weights; scales, shifts and running statistics that are not those of the start."""
    return project(jax.tree.map(lambda x: x + RNG.uniform(0.1, 0.6, x.shape).astype(np.float32), project(params)))


def reference(params, x, training, momentum=0.9):
    """What the last layer says in float64, and the running statistics after it."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    weights, seen = params["params"], params["batch_stats"]["layers"]

    def norm(name, x):
        own, running = weights["layers"][name]["norm"], seen[name]["norm"]
        used = {"mean": x.mean(axis=0), "var": x.var(axis=0)} if training else running
        seen[name]["norm"] = {k: momentum * running[k] + (1 - momentum) * used[k] for k in used}
        return (x - used["mean"]) / np.sqrt(used["var"] + 1e-3) * own["scale"] + own.get("bias", 0)

    x = norm("inputs", np.asarray(x, np.float64))
    for i in range(2):
        x = np.maximum(norm(f"hidden_{i}", x @ weights["layers"][f"dense_{i}"]["kernel"]), 0)
    return x @ weights["head"]["kernel"] + weights["head"]["bias"], params["batch_stats"]


@pytest.mark.parametrize("training", [False, True])
def test_a_critic_is_the_papers_layers(training):
    # A batch far from 0 for its spread: what the first norm is for.
    obs, action = 300 * training + RNG.normal(size=(7, 3)), RNG.normal(size=(7, 2))
    given = [jnp.asarray(x, jnp.float32) for x in (obs, action)]
    params = shaken(jax.jit(CRITIC.init)(KEY, *(x[0] for x in given)))
    out, after = jax.jit(lambda params: CRITIC.apply(params, *given, training, mutable=["batch_stats"]))(params)
    expected, seen = reference(params, np.concatenate(given, -1), training)
    seen = seen if training else params["batch_stats"]
    np.testing.assert_allclose(out, expected, atol=1e-3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), after["batch_stats"], seen)


def test_the_actor_acts_by_running_statistics():
    obs = RNG.normal(size=(7, 3))
    given = jnp.asarray(obs, jnp.float32)
    params = shaken(jax.jit(ACTOR.init)(KEY, given[0]))
    expected, _ = reference(params, obs, training=False)
    np.testing.assert_allclose(jax.jit(ACTOR.apply)(params, given), np.tanh(expected), atol=1e-5)


def test_noise_leaves_norms_and_what_they_have_seen_alone():
    params, members = shaken(jax.jit(ACTOR.init)(KEY, jnp.zeros(3))), 2
    spec = noise.plan(ACTOR.apply, params, jnp.zeros(3))
    assert len(spec.left_alone) == 3 * 4 - 1 and all("/norm/" in path for path in spec.left_alone)
    assert [leaf.path for leaf in spec.leaves] == [
        "params/head/bias", "params/head/kernel", "params/layers/dense_0/kernel", "params/layers/dense_1/kernel"
    ]  # fmt: skip
    x, kind = jax.random.normal(KEY, (members, 3)), noise.Flipout()

    @jax.jit
    def both(params):
        draw = kind.init(KEY, spec, members)
        fused = noise.fused(ACTOR.apply, spec, kind, exact_zero=False)(params, draw, 0.3, x)
        return fused[0], ACTOR.apply(kind.materialise(params, draw, 0.3, 0), x[0])

    np.testing.assert_allclose(*both(params), atol=2e-6)
