"""Brax's networks act with our perturbations, and are Brax's own without them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.training.acme import running_statistics, specs
from brax.training.agents.ppo import networks as ppo
from brax.training.agents.sac import networks as sac

from jaxpsn import noise
from jaxpsn.adapters import brax_networks
from jaxpsn.core import compat, errors

KEY, OBS = jax.random.key(0), jax.random.normal(jax.random.key(1), (6, 3))


def _made(kind, **fields):
    """Networks, their parameters, and Brax's maker of policies."""
    make, inference = {
        "ppo": (ppo.make_ppo_networks, ppo.make_inference_fn), "sac": (sac.make_sac_networks, sac.make_inference_fn)
    }[kind]  # fmt: skip
    with compat.foreign():
        networks = make(3, 2, preprocess_observations_fn=running_statistics.normalize, **fields)
        stats = running_statistics.init_state(specs.Array((3,), jnp.dtype("float32")))
        stats = running_statistics.update(stats, 2.0 * OBS + 1.0)
        return networks, (stats, networks.policy_network.init(KEY)), inference


def _acted(inference, networks, params, deterministic):
    with compat.foreign():
        return jax.jit(inference(networks)((*params, None), deterministic))(OBS, jax.random.key(3))


@pytest.mark.parametrize(
    ("kind", "fields", "structure"),
    [
        ("ppo", {}, noise.Flipout()),
        ("ppo", {"distribution_type": "normal"}, noise.LowRank(rank=1)),
        ("sac", {"policy_network_layer_norm": True}, noise.Flipout()),
    ],
    ids=["ppo", "ppo-normal", "sac"],
)
def test_each_environment_acts_with_weights_of_its_own(kind, fields, structure):
    networks, params, inference = _made(kind, **fields)
    noisy = brax_networks.perturbed(networks, params, OBS[0], structure)
    assert all(path.startswith("1/") and "std" not in path.lower() for path in noisy.spec.by_path)
    draw = noisy.init(KEY, 3)
    for deterministic in (False, True):
        action, extras = _acted(inference, noisy.networks(draw, 0.3), params, deterministic)
        for member in range(3):
            formed = structure.materialise(params, draw, 0.3, member)
            theirs, told = _acted(inference, networks, formed, deterministic)
            rows = slice(2 * member, 2 * member + 2)
            np.testing.assert_allclose(action[rows], theirs[rows], atol=1e-4)
            if "log_prob" in extras:
                np.testing.assert_allclose(extras["log_prob"][rows], told["log_prob"][rows], rtol=1e-3, atol=1e-3)
    assert ("log_prob" in _acted(inference, networks, params, False)[1]) == (kind == "ppo")


def test_sigma_0_is_brax_and_a_redraw_is_of_those_who_are_done():
    networks, params, inference = _made("ppo")
    noisy = brax_networks.perturbed(networks, params, OBS[0])
    draw = noisy.init(KEY, 6)
    clean = _acted(inference, networks, params, True)[0]
    np.testing.assert_allclose(_acted(inference, noisy.networks(draw, 0.0), params, True)[0], clean, atol=1e-6)
    before = _acted(inference, noisy.networks(draw, 0.3), params, True)[0]
    done = jnp.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    after = _acted(inference, noisy.networks(noisy.redraw(KEY, draw, done), 0.3), params, True)[0]
    changed = np.abs(np.asarray(after - before)).max(axis=1) > 1e-6
    np.testing.assert_array_equal(changed, done == 1)
    small, large = (float(noisy.divergence(params, draw, sigma, OBS)) for sigma in (0.01, 0.02))
    assert 0 < small and large == pytest.approx(4 * small, rel=0.2), "it grows like the square of sigma"


def test_what_does_not_fit_is_refused():
    networks, params, _ = _made("ppo")
    noisy = brax_networks.perturbed(networks, params, OBS[0])
    with pytest.raises(errors.UserError, match="obs = 6: a multiple of the 4 perturbations"):
        noisy.networks(noisy.init(KEY, 4), 0.1).policy_network.apply(*params, OBS)
    with pytest.raises(errors.UserError, match="networks = 'dict': networks with a policy_network"):
        brax_networks.perturbed({}, params, OBS[0])
