"""Networks on the unit sphere against float64 NumPy, and weight noise on their projected weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import noise
from jaxpsn.networks.hyperspherical import SphereActor, SphereCritic, project, unit

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
WIDTH, BLOCKS = 12, 2
ACTOR = SphereActor(3, WIDTH, BLOCKS, expansion=2)


def _shaken(params):
    """Projected, with gains and biases that are not those of the start."""
    leaves, tree = jax.tree.flatten(project(params))
    return project(jax.tree.unflatten(tree, [x + 0.2 * RNG.normal(size=x.shape).astype(np.float32) for x in leaves]))


def _unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _reference(params, x):
    """Equations 6 to 10 of arXiv 2502.15280, layer by layer."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    trunk, root = params["trunk"], np.sqrt
    h = _unit(np.concatenate([x, np.full((*x.shape[:-1], 1), 3.0)], -1))
    h = _unit(h @ trunk["embed"]["dense"]["kernel"] * trunk["embed"]["gain"]["scale"])
    for i in range(BLOCKS):
        block = trunk[f"block_{i}"]
        inner = h @ block["rise"]["dense"]["kernel"] * block["rise"]["gain"]["scale"]
        told = _unit((np.maximum(inner, 0) + 1e-8) @ block["fall"]["dense"]["kernel"])
        # The stored gain starts at 1 / sqrt(width) and stands for 1 / (blocks + 1) there.
        share = block["gain"]["scale"] * root(WIDTH) / (BLOCKS + 1)
        h = _unit(h + share * (told - h))
    last = h @ trunk["last"]["dense"]["kernel"] * trunk["last"]["gain"]["scale"]
    return last @ params["head"]["kernel"] + params["head"]["bias"]


def test_actor_and_critic_are_the_papers_blocks():
    obs, action = RNG.normal(size=(5, 4)), RNG.normal(size=(5, 2))
    given = [jnp.asarray(x, jnp.float32) for x in (obs, action)]
    params = _shaken(jax.jit(ACTOR.init)(KEY, given[0][0]))
    np.testing.assert_allclose(jax.jit(ACTOR.apply)(params, given[0]), np.tanh(_reference(params, obs)), atol=2e-6)
    critic = SphereCritic(WIDTH, BLOCKS, expansion=2, outputs=7)
    params = _shaken(jax.jit(critic.init)(KEY, *(x[0] for x in given)))
    expected = _reference(params, np.concatenate([obs, action], -1))
    np.testing.assert_allclose(jax.jit(critic.apply)(params, *given), expected, atol=5e-6)


def test_gains_start_where_the_paper_has_them():
    trunk = jax.jit(ACTOR.init)(KEY, jnp.zeros(4))["params"]["trunk"]
    assert trunk["embed"]["gain"]["scale"][0] == pytest.approx(np.sqrt(2 / WIDTH))
    assert trunk["block_1"]["rise"]["gain"]["scale"].shape == (2 * WIDTH,)
    assert trunk["block_1"]["rise"]["gain"]["scale"][0] == pytest.approx(np.sqrt(2 / WIDTH / 2))
    assert trunk["last"]["gain"]["scale"][0] == 1


def test_only_kernels_are_projected_over_their_inputs_also_in_a_stack():
    layer = {"kernel": jnp.asarray(RNG.normal(size=(2, 5, 3)), jnp.float32), "bias": jnp.ones((2, 3))}
    params = {
        "params": {"head": layer, "gain": {"scale": jnp.full((2, 3), 2.0)}},
        "sigma": {"kernel": jnp.ones((2, 2))},
    }
    after = project(params)
    expected = np.swapaxes(_unit(np.swapaxes(np.asarray(layer["kernel"], np.float64), 1, 2)), 1, 2)
    np.testing.assert_allclose(after["params"]["head"]["kernel"], expected, rtol=1e-6)
    after["params"]["head"] = params["params"]["head"]
    assert all(map(np.array_equal, jax.tree.leaves(after), jax.tree.leaves(params)))


def test_a_vector_of_zeros_has_no_direction_and_a_gradient():
    assert not np.any(unit(jnp.zeros(3))) and np.all(np.isfinite(jax.jacobian(unit)(jnp.zeros(3))))


def test_noise_is_added_to_the_projected_weights():
    params, members = _shaken(jax.jit(ACTOR.init)(KEY, jnp.zeros(4))), 2
    spec = noise.plan(ACTOR.apply, params, jnp.zeros(4), relative=True)
    assert all(path.endswith("gain/scale") for path in spec.left_alone) and len(spec.left_alone) == 2 * BLOCKS + 2
    assert len(spec.leaves) == 2 * BLOCKS + 4 and not any(leaf.materialised for leaf in spec.leaves)
    x, kind = jax.random.normal(KEY, (members, 4)), noise.Flipout()

    @jax.jit
    def first(params):
        draw = kind.init(KEY, spec, members)
        noisy = kind.materialise(params, draw, 0.3, 0)
        fused = noise.fused(ACTOR.apply, spec, kind, exact_zero=False)(params, draw, 0.3, x)
        return fused[0], ACTOR.apply(noisy, x[0]), noisy

    fused, slow, noisy = first(params)
    np.testing.assert_allclose(fused, slow, atol=2e-6)
    # Relative sigma is the norm of the noise beside weights of norm 1; what acts is not projected again.
    moved, still = (tree["params"]["trunk"]["block_0"]["fall"]["dense"]["kernel"] for tree in (noisy, params))
    size = np.linalg.norm(moved - still, axis=0)
    assert np.sqrt(np.mean(size**2)) == pytest.approx(0.3, rel=0.2)


def test_no_structure_forms_the_weights_of_a_member():
    actor, obs = SphereActor(3, 64, 1), jnp.zeros(4)
    params = jax.eval_shape(actor.init, KEY, obs)
    spec = noise.plan(actor.apply, params, obs)
    for kind in (noise.Flipout(), noise.LowRank(rank=2), noise.Factorised(), noise.InputGain(), noise.Dense()):
        draw = jax.eval_shape(lambda kind=kind: kind.init(KEY, spec, 13))
        text = str(jax.make_jaxpr(noise.fused(actor.apply, spec, kind))(params, draw, 0.3, jnp.zeros((13, 4))))
        formed = any(f"f32[13,{a},{b}]" in text for a, b in ((64, 256), (256, 64)))
        assert formed == isinstance(kind, noise.Dense), "which holds a matrix of noise for every member"
