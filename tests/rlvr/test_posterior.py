"""IVON in reasoning: its update in float64, what it draws, that it learns, and what does not go with it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpsn import noise
from jaxpsn.core.errors import UserError
from jaxpsn.noise import posterior
from jaxpsn.rlvr.config import LoraConfig
from jaxpsn.rlvr.exploration import perturbation
from jaxpsn.rlvr.exploration.noise_family import NOISES

AT_DRAWS = {"estimator": "pooled", "correction": "none", "advantage": "none"}
IVON = "ivon(per=replica, replicas=2)"


def planned(small, select):
    return perturbation.plan(NOISES.make(f"ivon(select={select})", "noise"), small.DECODER, small.BASE.params, 2, 1)


def test_a_draw_has_the_scale_of_every_entry_and_its_slope(small):
    """Matrices of scanned layers and vectors; the slope in a scale is ``g e``, as the optimiser takes it."""
    params, made = small.BASE.params, planned(small, "all")
    rng, draw = np.random.default_rng(1), made.draw(jax.random.key(3), jnp.int32(1))
    scale = {leaf.path: jnp.float32(rng.uniform(0.1, 1.0, leaf.shape)) for leaf in made.spec.leaves}
    assert any(leaf.is_vector for leaf in made.spec.leaves) and any(leaf.stack for leaf in made.spec.leaves)
    unit, own = (made.kind.materialise(params, one, 1.0, 1) for one in (draw, posterior.scaled(draw, scale)))
    tree = jax.tree_util.tree_map_with_path(
        lambda path, leaf: scale[jax.tree_util.keystr(path, simple=True, separator="/")], params
    )
    jax.tree.map(
        lambda w, e, found, s: np.testing.assert_allclose(found - w, s * (e - w), atol=2e-6), params, unit, own, tree
    )
    slope = rng.normal(size=params["final_norm"]["scale"].shape).astype(np.float32)

    def value(scale):
        found = made.kind.materialise(params, posterior.scaled(draw, scale), 1.0, 1)
        return jnp.sum(found["final_norm"]["scale"] * slope)

    found = jax.grad(value)(scale)
    eps = unit["final_norm"]["scale"] - params["final_norm"]["scale"]
    np.testing.assert_allclose(found["final_norm/scale"], slope * eps, atol=1e-5)
    assert not any(np.any(leaf) for path, leaf in found.items() if path != "final_norm/scale")


def test_the_update_is_the_algorithm_in_float64(small):
    """Three steps behind a bound on the gradient, which the estimate of the curvature does not know."""
    asked = NOISES.make("ivon(precision=50, hessian=0.5, prior=0.01, hessian_decay=0.9, select='re:down')", "noise")
    spec = perturbation.plan(asked, small.DECODER, small.BASE.params, 2, 1).spec
    (leaf,) = spec.leaves
    rate, bound, rng = 0.3, 1.0, np.random.default_rng(2)
    made = asked.optimizer(optax.constant_schedule(rate), bound, spec)
    params, state, update = small.BASE.params, made.init(small.BASE.params), jax.jit(made.update)
    m, g = (jax.tree.map(np.float64, tree) for tree in (params, state.momentum))
    h, here = np.full(leaf.shape, 0.5), lambda tree: tree["layers"]["mlp"]["down"]["kernel"]
    for count in range(1, 4):
        s = 1 / np.sqrt(50 * (h + 0.01))
        np.testing.assert_allclose(asked.scales(state, spec)[leaf.path], s, rtol=1e-4)
        gradient = jax.tree.map(lambda w: rng.normal(size=w.shape), m)
        slope = here(gradient) * rng.normal(size=leaf.shape)
        given = noise.Posterior(*jax.tree.map(jnp.float32, (gradient, {leaf.path: slope})))
        change, state = update(given, state, params)
        params = optax.apply_updates(params, change)
        norm = np.sqrt(sum(np.sum(one**2) for one in jax.tree.leaves(gradient)))
        assert norm > bound
        g = jax.tree.map(lambda mean, one, norm=norm: 0.9 * mean + 0.1 * one * bound / norm, g, gradient)
        h = 0.9 * h + 0.1 * slope / s + 0.5 * (0.1 * (h - slope / s)) ** 2 / (h + 0.01)
        whole = jax.tree.map(lambda w: np.full(w.shape, 0.5), m)
        whole["layers"]["mlp"]["down"]["kernel"] = h

        def step(w, mean, curve, count=count):
            return w - rate * 0.51 * (mean / (1 - 0.9**count) + 0.01 * w) / (curve + 0.01)

        m = jax.tree.map(step, m, g, whole)
        jax.tree.map(lambda found, wanted: np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6), params, m)
        np.testing.assert_allclose(here(state.hessian), h, rtol=1e-4)
    assert state.hessian["embed"]["embedding"].shape == ()


def test_it_learns_on_policy_at_its_draws(small):
    made = small.reasoner(small.config(noise=IVON, algorithm=AT_DRAWS | {"learning_rate": 0.5}))
    state, rewards = made.init(), []
    spread = 1 / np.sqrt(1e4 * (0.1 + 1e-3))
    for _ in range(24):
        state, told = made.step(state)
        rewards.append(float(told["reward"]))
        assert told["ppo_ratio"] == pytest.approx(1.0, abs=1e-4), "sampled from what is learnt at"
        if len(rewards) == 1:
            assert told["posterior_std"] == pytest.approx(spread) and told["noise_kl_k3"] > 0.0
    assert np.mean(rewards[-6:]) > np.mean(rewards[:6]) + 0.15 and told["posterior_std"] != pytest.approx(spread)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({}, "algorithm.estimator = 'clean': smoothed or pooled with noise = ivon"),
        ({"algorithm": AT_DRAWS | {"estimator": "evolution"}}, "algorithm.estimator = 'evolution': smoothed or pooled"),
        ({"algorithm": AT_DRAWS | {"weight_decay": 0.1}}, "algorithm.weight_decay = 0.1: 0 with noise = ivon"),
        ({"algorithm": AT_DRAWS, "lora": LoraConfig(2)}, "lora.rank = 2: 0 with noise = ivon"),
        ({"noise": "ivon(structure=lowrank)"}, "ivon.structure = 'lowrank': dense"),
        ({"noise": "ivon(hold=tokens)"}, "hold"),
    ],
)  # fmt: skip
def test_refuses_in_one_line(small, sections, said):
    with pytest.raises(UserError) as caught:
        small.config(**{"noise": IVON} | sections)
    assert said in str(caught.value) and "\n" not in str(caught.value)
