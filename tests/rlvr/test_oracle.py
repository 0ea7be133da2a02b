"""Losses, KL estimates, weights, gates and advantages against others' own functions on the same numbers.

``oracle.json`` holds their values and the versions, or commits, that gave them. In float64: verl's ``core_algos`` and
``rollout_corr_helper``, TRL's ``GRPOTrainer.get_off_policy_mask``, ``get_high_entropy_mask`` and ``get_gamma_weights``;
``reinforce`` is verl's ``gpg``, gaps are what its DPPO losses drop (undirected: for either sign of the advantage), and
``constant`` its ``seq-mean-token-sum-norm``. In float32: TRL's advantages of ``scale_rewards``, which a
``GRPOTrainer`` gave for these rewards times 1000, where its 1e-4 beside a deviation is no more than ours.

verl and TRL have no Pass@k training (verl's ``grpo_passk`` is another: arXiv 2503.19595), W-REINFORCE, MaxRL or
unlikeliness. These come from their authors' repositories: ``calc_adv`` of RUCAIBox/Passk_Training,
``compute_psr_nsr_outcome_advantage`` ("weighted") of TianHongZXY/RLVR-Decomposed,
``compute_p_normalization_outcome_advantage`` of tajwarfahim/maxrl, and ``_compute_advantages`` of
AndreHe02/rewarding-unlikely-release. What nobody has is held against float64 twins: :data:`TWINS`.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.core.components import called, fields_of
from jaxpsn.rlvr.objective import correction, losses
from jaxpsn.rlvr.objective.algorithms import ADVANTAGES, LOSSES
from jaxpsn.rlvr.objective.corrections import CORRECTIONS, GATES
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
    assert float(losses.aggregate(WEIGHTS, MASK, mode, MASK.shape[1])) == pytest.approx(
        ORACLE["aggregated"][mode], rel=1e-5
    )


@pytest.mark.parametrize("spec", ORACLE["weights_of"])
def test_weights(spec):
    ours = correction.weights(CORRECTIONS.make(spec), OLD, NOISY, MASK)
    np.testing.assert_allclose(ours, np.where(MASK, ORACLE["weights_of"][spec], 0.0), rtol=2e-5)


@pytest.mark.parametrize("name", ORACLE["advantages_of"])
def test_advantages(name):
    """Of a group whose rewards are all equal too."""
    ours = ADVANTAGES.make(name).compute(jnp.asarray(ORACLE["rewards"], jnp.float32))
    np.testing.assert_allclose(ours, ORACLE["advantages_of"][name], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("spec", ORACLE["advantages_of_judged"])
def test_advantages_of_right_and_wrong_answers(spec):
    """Of groups without a right answer, without a wrong one, and with one of either, too."""
    ours = ADVANTAGES.make(spec).compute(jnp.asarray(ORACLE["judged"], jnp.float32))
    np.testing.assert_allclose(ours, ORACLE["advantages_of_judged"][spec], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("beta", ORACLE["unlikeliness"])
def test_unlikeliness_is_its_authors_but_for_one_rank(beta):
    """The paper takes ``beta (G - rank) / G`` from a right answer, which is here; its code ``beta / G`` less of it.

    That code ranks by the mean log-prob of a token, not by that of the answer; all answers here are of one length.
    """
    made, told = ADVANTAGES.make(f"unlikeliness(beta={beta})"), ORACLE["unlikeliness"][beta]
    judged, likely = (jnp.asarray(ORACLE[name], jnp.float32) for name in ("judged", "answers"))
    shaped = made.shaped(judged, likely)
    shifted = shaped + float(beta) / judged.shape[1] * judged
    np.testing.assert_allclose(shifted, told["rewards"], rtol=2e-5)
    np.testing.assert_allclose(made.compute(shifted), told["advantages"], rtol=1e-4, atol=1e-5)
    assert np.abs(made.compute(shaped) - np.asarray(told["advantages"])).max() < 2 * float(beta) / judged.shape[1]


@pytest.mark.parametrize("share", ORACLE["top_entropy"])
def test_tokens_of_high_entropy(share):
    """Those that learn are those that TRL's ``top_entropy_quantile`` keeps."""
    settings = losses.Settings(LOSSES.make("reinforce"), top_entropy=float(share))
    entropy = jnp.asarray(ORACLE["entropy"], jnp.float32)
    learnt = jax.grad(
        lambda log_probs: losses.policy_loss(log_probs, OLD, GAINED, MASK, WEIGHTS, settings, entropy=entropy)[0]
    )(NEW)
    np.testing.assert_array_equal(learnt != 0, np.asarray(ORACLE["top_entropy"][share], bool))


@pytest.mark.parametrize("gate", ORACLE["kept"])
def test_gates(gate):
    """verl bounds the ratio noisy / clean of k1, here it is clean / noisy: its bounds are symmetric ones."""
    ours = correction.kept(CORRECTIONS.make(f"none(gate={gate})"), Seen(OLD, NOISY, MASK, GAINED))
    np.testing.assert_array_equal(ours, np.asarray(ORACLE["kept"][gate], bool))
    assert 0 < ours.sum() < MASK.sum()


def _geometric_mean(apart, length):
    """In float64: the mean over the answer's tokens, on each of them, capped at 10."""
    return np.full(length, min(np.exp(np.mean(apart[:length])), 10.0))


TWINS = {
    "correction": {"none": lambda apart, length: np.ones(length), "geometric": _geometric_mean},
    "gate": {"none": lambda apart, length: np.ones(length)},
}
"""What no other library has, in float64 (family -> name -> weights, or what passes, of an answer's ``log clean /
noisy`` and length); its other settings are tested in test_correction and test_gating."""


@pytest.mark.parametrize("family, name", [(family, name) for family, twins in TWINS.items() for name in twins])
def test_twins(family, name):
    made = CORRECTIONS.make(name if family == "correction" else f"none(gate={name})")
    ours = correction.weights(made, OLD, NOISY, MASK)
    apart = np.asarray(ORACLE["old"]) - np.asarray(ORACLE["noisy"])
    for row, given, length in zip(np.asarray(ours), apart, ORACLE["lengths"], strict=True):
        np.testing.assert_allclose(row[:length], TWINS[family][name](given, length), rtol=2e-5)
        assert not row[length:].any()


@pytest.mark.parametrize("family", [ADVANTAGES, LOSSES, CORRECTIONS, GATES], ids=lambda family: family.name)
def test_everything_registered_is_held_against_something(family):
    """A component of the package without an oracle, or a twin, fails here; the values of each are compared above."""
    own = {name: kind for name, kind in family.kinds.items() if kind.__module__.startswith("jaxpsn.")}
    compared = set(TWINS.get(family.name, ()))
    stored = {
        "advantage": [*ORACLE["advantages_of"], *ORACLE["advantages_of_judged"],
                      *(f"unlikeliness(beta={beta})" for beta in ORACLE["unlikeliness"])],
        "loss": ORACLE["losses"], "correction": ORACLE["weights_of"], "gate": ORACLE["kept"],
    }[family.name]  # fmt: skip
    compared |= {called(type(family.make(spec))) for spec in stored}
    assert set(own) == compared & set(own), f"nothing to compare with: {sorted(set(own) - compared)}"


def test_every_estimate_and_aggregation_is_held_against_something():
    assert set(losses.KL_ESTIMATORS) == set(ORACLE["kl"])
    kinds = {field.name: field.kind for field in fields_of(LOSSES.get("ppo"))}
    assert set(kinds["aggregation"].names) == set(ORACLE["aggregated"])
