"""Losses, KL estimates, weights, gates and advantages against verl's and TRL's own functions on the same numbers.

``oracle.json`` holds their values in float64 and the versions that gave them: verl's ``core_algos`` and
``rollout_corr_helper``, TRL's ``GRPOTrainer.get_off_policy_mask`` and ``get_gamma_weights``.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.rlvr.objective import correction, losses
from jaxpsn.rlvr.objective.algorithms import ADVANTAGES, LOSSES
from jaxpsn.rlvr.objective.corrections import CORRECTIONS
from jaxpsn.rlvr.objective.gating import Seen
from jaxpsn.rlvr.objective.tokens import token_mask

ORACLE = json.loads((Path(__file__).parent / "oracle.json").read_text())
NEW, OLD, NOISY, REFERENCE, WEIGHTS = (
    jnp.asarray(ORACLE[name], jnp.float32) for name in ("log_probs", "old", "noisy", "reference", "weights")
)
GAINED = jnp.asarray(ORACLE["advantages"], jnp.float32)
MASK = token_mask(jnp.asarray(ORACLE["lengths"]), NEW.shape[1])
UNWEIGHTED = ("gmpo", "gspo")
"""Losses of whole answers: verl makes one weight of an answer's, here each stands on its token."""


@pytest.mark.parametrize("spec", ORACLE["losses"])
def test_loss_and_gradient(spec):
    weights = jnp.ones_like(WEIGHTS) if spec.startswith(UNWEIGHTED) else WEIGHTS
    settings = losses.Settings(LOSSES.make(spec))
    value, gradient = jax.value_and_grad(
        lambda log_probs: losses.policy_loss(log_probs, OLD, GAINED, MASK, weights, settings)[0]
    )(NEW)  # fmt: skip
    expected = ORACLE["losses"][spec]
    assert float(value) == pytest.approx(expected["loss"], rel=2e-5, abs=2e-6)
    # verl's gradient of a clip at its corner is half of each side; none of these numbers lies there.
    np.testing.assert_allclose(gradient, np.where(MASK, expected["gradient"], 0.0), rtol=5e-4, atol=2e-6)


@pytest.mark.parametrize("name", ORACLE["kl"])
def test_kl_and_gradient(name):
    def mean(log_probs):
        found = losses.KL_ESTIMATORS[name](log_probs, REFERENCE, MASK)
        return losses.aggregate(found, MASK, "token_mean")

    value, gradient = jax.value_and_grad(mean)(NEW)
    assert float(value) == pytest.approx(ORACLE["kl"][name]["value"], rel=2e-5)
    np.testing.assert_allclose(gradient, ORACLE["kl"][name]["gradient"], rtol=5e-4, atol=1e-6)


@pytest.mark.parametrize("mode", ORACLE["aggregated"])
def test_aggregation(mode):
    assert float(losses.aggregate(WEIGHTS, MASK, mode)) == pytest.approx(ORACLE["aggregated"][mode], rel=1e-5)


@pytest.mark.parametrize("spec", ORACLE["weights_of"])
def test_weights(spec):
    ours = correction.weights(CORRECTIONS.make(spec), OLD, NOISY, MASK)
    np.testing.assert_allclose(ours, np.where(MASK, ORACLE["weights_of"][spec], 0.0), rtol=2e-5)


@pytest.mark.parametrize("name", ORACLE["advantages_of"])
def test_advantages(name):
    """Of a group whose rewards are all equal too."""
    ours = ADVANTAGES.make(name).compute(jnp.asarray(ORACLE["rewards"], jnp.float32))
    np.testing.assert_allclose(ours, ORACLE["advantages_of"][name], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("gate", ORACLE["kept"])
def test_gates(gate):
    """verl bounds the ratio noisy / clean of k1, here it is clean / noisy: its bounds are symmetric ones."""
    ours = correction.kept(CORRECTIONS.make(f"none(gate={gate})"), Seen(OLD, NOISY, MASK, GAINED))
    np.testing.assert_array_equal(ours, np.asarray(ORACLE["kept"][gate], bool))
    assert 0 < ours.sum() < MASK.sum()
