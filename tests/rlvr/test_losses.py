"""Losses and their gradients against slow float64 references: the three policies stay apart."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jaxpsn.core import errors
from jaxpsn.core.components import fields_of
from jaxpsn.rlvr.objective import losses
from jaxpsn.rlvr.objective.algorithms import LOSSES, Ppo
from jaxpsn.rlvr.objective.tokens import token_mask

NAMES = tuple(LOSSES.kinds)
WITH_REFERENCE = ("ppo", "gspo", "cispo", "reinforce")
"""Those with a slow twin here; the others are held against other libraries in test_oracle."""
B, T = 6, 5
LENGTHS = np.array([5, 1, 3, 0, 4, 2])
MODES = ("token_mean", "sequence_mean", "constant", "sequence_sum")


def asked(loss="ppo", clip_low=None, clip_high=None, dual_clip=None, aggregation="token_mean", **rest):
    """Settings with the fields that this loss has."""
    given = {"clip_low": clip_low, "clip_high": clip_high, "dual_clip": dual_clip}
    known = {one.name for one in fields_of(LOSSES.get(loss))}
    given = {name: value for name, value in given.items() if value is not None and name in known}
    return losses.Settings(LOSSES.get(loss)(**given, aggregation=aggregation), **rest)


def name_of(s):
    return LOSSES.name_of(s.loss)


def batch(seed, spread=0.6):
    """Log-probs of all policies, advantages of both signs, and weights; NaN beyond the answers."""
    rng = np.random.default_rng(seed)
    log_probs = -rng.uniform(0.1, 3.0, (B, T))
    moved = {name: log_probs + rng.normal(size=(B, T)) * spread for name in ("old", "reference")}
    values = {"log_probs": log_probs, **moved, "weights": rng.uniform(0.0, 3.0, (B, T))}
    values["entropy"] = rng.uniform(0.0, 2.0, (B, T))
    inside = np.arange(T) < LENGTHS[:, None]
    values = {name: np.where(inside, x, np.nan) for name, x in values.items()}
    values["advantages"] = np.array([1.3, -0.7, -2.0, np.nan, 0.4, 0.0])
    return values


def per_token(loss, x, b, t, s):
    """Loss of one token before its weight, with scalars only."""
    new, old, a = x["log_probs"], x["old"], x["advantages"][b]
    n = LENGTHS[b]
    r = np.exp(np.clip(new[b, t] - old[b, t], -20, 20))
    if loss == "gspo":
        r = np.exp(np.clip(sum(new[b, u] - old[b, u] for u in range(n)) / n, -20, 20))
    if loss == "reinforce":
        return -a * new[b, t]
    low, high = 1 - s.loss.clip_low, 1 + s.loss.clip_high
    if loss == "cispo":
        return -min(max(r, low), high) * a * new[b, t]
    value = max(-a * r, -a * min(max(r, low), high))
    if s.loss.dual_clip is not None and a < 0:
        value = min(value, -a * s.loss.dual_clip)
    return value


def estimate(kind, d):
    return {"k1": d, "k2": d * d / 2, "k3": np.exp(-d) + d - 1}[kind]


def aggregate(values, s):
    """``values``: {(b, t): number} of the tokens under the mask."""
    if s.loss.aggregation == "token_mean":
        return sum(values.values()) / max(len(values), 1)
    if s.loss.aggregation == "constant":
        return sum(values.values()) / (B * s.length)
    rows = sorted({b for b, _ in values})
    each = np.sum if s.loss.aggregation == "sequence_sum" else np.mean
    return sum(each([v for (b, _), v in values.items() if b == row]) for row in rows) / max(len(rows), 1)


def reference(x, s):
    tokens = [(b, t) for b in range(B) for t in range(LENGTHS[b])]
    total = aggregate({(b, t): per_token(name_of(s), x, b, t, s) * x["weights"][b, t] for b, t in tokens}, s)
    divergence = {at: estimate(s.kl_estimator, x["log_probs"][at] - x["reference"][at]) for at in tokens}
    entropy = {at: x["entropy"][at] for at in tokens}
    return total + s.kl_coefficient * aggregate(divergence, s) - s.entropy_coefficient * aggregate(entropy, s)


def ours(x, s, log_probs=None):
    wide = {name: jnp.asarray(v, jnp.float32) for name, v in x.items()}
    mask = token_mask(jnp.asarray(LENGTHS, jnp.int32), T)
    log_probs = wide["log_probs"] if log_probs is None else log_probs
    return losses.policy_loss(
        log_probs, wide["old"], wide["advantages"], mask, wide["weights"], s, wide["reference"], wide["entropy"]
    )


def _cases():
    for loss in WITH_REFERENCE:
        for mode in MODES:
            yield asked(loss, 0.2, 0.28, 1.7, mode, length=7, kl_coefficient=0.1, entropy_coefficient=0.05)
    for kind in ("k1", "k2", "k3"):
        yield losses.Settings(Ppo(0.1, 0.3, None), kl_estimator=kind, kl_coefficient=0.5)


CASES = list(_cases())


@pytest.mark.parametrize("s", CASES, ids=lambda s: f"{name_of(s)}-{s.loss.aggregation}-{s.kl_estimator}")
def test_loss_and_gradient(s):
    x = batch(5)
    (loss, metrics), gradient = jax.jit(
        jax.value_and_grad(lambda log_probs: ours(x, s, log_probs), has_aux=True)
    )(jnp.asarray(x["log_probs"], jnp.float32))  # fmt: skip
    assert float(loss) == pytest.approx(reference(x, s), rel=2e-5, abs=1e-6)
    assert float(metrics["loss"]) == float(loss)
    if name_of(s) == "gspo":
        # Weights of one value for each answer: the two forms of GSPO then share a gradient.
        x["weights"] = np.where(np.isnan(x["weights"]), np.nan, np.linspace(0.5, 2.0, B)[:, None])
        gradient = jax.grad(lambda log_probs: ours(x, s, log_probs)[0])(jnp.asarray(x["log_probs"], jnp.float32))
    np.testing.assert_allclose(gradient, differences(x, s), rtol=2e-4, atol=1e-5)


def differences(x, s, step=1e-6):
    """Central differences in float64; what a loss holds constant stays at its value."""
    out = np.zeros((B, T))
    tokens = [(b, t) for b in range(B) for t in range(LENGTHS[b])]
    frozen = {at: per_token("cispo", x, *at, s) / x["log_probs"][at] for at in tokens if name_of(s) == "cispo"}
    for at in tokens:
        ends = []
        for sign in (1, -1):
            moved = dict(x, log_probs=x["log_probs"].copy())
            moved["log_probs"][at] += sign * step
            ends.append(reference(moved, s) if name_of(s) != "cispo" else held(moved, s, frozen))
        out[at] = (ends[0] - ends[1]) / (2 * step)
    return out


def held(x, s, factors):
    """CISPO with its clipped ratios as constants."""
    policy = aggregate({at: f * x["log_probs"][at] * x["weights"][at] for at, f in factors.items()}, s)
    rest = {at: estimate(s.kl_estimator, x["log_probs"][at] - x["reference"][at]) for at in factors}
    return policy + s.kl_coefficient * aggregate(rest, s)


@pytest.mark.parametrize("of", ["ratio", "correction", "both"])
def test_the_kl_may_carry_ratios_and_weights(of):
    x, s = batch(5), losses.Settings(Ppo(), kl_coefficient=1.0, kl_weight=of)
    loss, metrics = ours(x, s)
    tokens = [(b, t) for b in range(B) for t in range(LENGTHS[b])]
    factor = {at: np.exp(x["log_probs"][at] - x["old"][at]) if of != "correction" else 1.0 for at in tokens}
    factor = {at: value * (x["weights"][at] if of != "ratio" else 1.0) for at, value in factor.items()}
    expected = np.mean([factor[at] * estimate("k3", x["log_probs"][at] - x["reference"][at]) for at in tokens])
    assert float(loss - metrics["policy_loss"]) == pytest.approx(expected, rel=1e-4)


def test_the_bonus_waits_for_entropy_below_its_target():
    x = batch(5)
    mean = np.nanmean(np.where(np.arange(T) < LENGTHS[:, None], x["entropy"], np.nan))
    for target, bonus in ((mean - 0.1, 0.0), (mean + 0.1, 0.5 * mean)):
        loss, metrics = ours(x, losses.Settings(Ppo(), entropy_coefficient=0.5, entropy_target=target))
        assert float(metrics["policy_loss"] - loss) == pytest.approx(bonus, rel=1e-5, abs=1e-7)


def test_only_the_most_uncertain_tokens_teach():
    x, s = batch(5), losses.Settings(Ppo(), top_entropy=0.4)
    gradient = jax.grad(lambda log_probs: ours(x, s, log_probs)[0])(jnp.asarray(x["log_probs"], jnp.float32))
    inside = (np.arange(T) < LENGTHS[:, None]) & (np.nan_to_num(x["advantages"]) != 0)[:, None]
    least = np.nanquantile(x["entropy"], 0.6)
    assert 0 < (x["entropy"] >= least).sum() < inside.sum()
    assert not np.any(np.asarray(gradient)[~(x["entropy"] >= least)])
    plain = jax.grad(lambda log_probs: ours(x, losses.Settings(Ppo()), log_probs)[0])(
        jnp.asarray(x["log_probs"], jnp.float32)
    )
    np.testing.assert_array_equal(np.where(x["entropy"] >= least, plain, 0.0), gradient)


def test_metrics():
    x, s = batch(5), asked("ppo", 0.2, 0.28, 1.7)
    _, metrics = ours(x, s)
    tokens = [(b, t) for b in range(B) for t in range(LENGTHS[b])]
    ratios = {at: np.exp(x["log_probs"][at] - x["old"][at]) for at in tokens}
    signs = {at: np.sign(x["advantages"][at[0]]) for at in tokens}
    expected = {
        "ratio_mean": np.mean(list(ratios.values())),
        "ppo_kl": np.mean([-np.log(r) for r in ratios.values()]),
        "clip_low": np.mean([signs[at] < 0 and ratios[at] < 0.8 for at in tokens]),
        "clip_high": np.mean([signs[at] > 0 and ratios[at] > 1.28 for at in tokens]),
        "clip_dual": np.mean([signs[at] < 0 and ratios[at] > 1.7 for at in tokens]),
        "reference_kl": np.mean([estimate("k3", x["log_probs"][at] - x["reference"][at]) for at in tokens]),
        "entropy": np.mean([x["entropy"][at] for at in tokens]),
    }
    assert all(expected[name] > 0 for name in ("clip_low", "clip_high", "clip_dual")), "the batch exercises each bound"
    for name, value in expected.items():
        assert float(metrics[name]) == pytest.approx(value, rel=1e-4), name


def test_weights_come_after_clipping_and_dual_clip():
    """A clipped token has no gradient whatever its weight, and weights scale the bound of dual clip."""
    old, mask = jnp.zeros((2, 1)), jnp.ones((2, 1), bool)
    log_probs, advantages = jnp.log(jnp.array([[5.0], [5.0]])), jnp.array([1.0, -1.0])
    s = asked(dual_clip=3.0)
    for weight in (0.01, 10.0):
        weights = jnp.full((2, 1), weight)
        loss, gradient = jax.value_and_grad(
            lambda lp, w=weights: losses.policy_loss(lp, old, advantages, mask, w, s)[0]
        )(log_probs)  # fmt: skip
        assert float(loss) == pytest.approx(weight * (-1.2 + 3.0) / 2, rel=1e-5)
        assert not np.any(gradient)


@pytest.mark.parametrize("loss", NAMES)
def test_only_the_current_policy_gets_a_gradient(loss):
    x, s = batch(5), asked(loss, kl_coefficient=0.1, entropy_coefficient=0.1)
    names_ = ("log_probs", "old", "advantages", "weights", "reference", "entropy")

    def total(values):
        mask = token_mask(jnp.asarray(LENGTHS, jnp.int32), T)
        new, old, advantages, weights, ref, entropy = (values[name] for name in names_)
        return losses.policy_loss(new, old, advantages, mask, weights, s, ref, entropy)[0]

    gradient = jax.grad(total)({name: jnp.asarray(x[name], jnp.float32) for name in names_})
    assert all(np.any(gradient[name]) for name in ("log_probs", "entropy"))
    assert not any(np.any(gradient[name]) for name in ("old", "advantages", "weights", "reference"))
    assert all(np.isfinite(leaf).all() for leaf in gradient.values())


def test_no_loss_can_be_given_the_noisy_policy():
    """The ratio is current over clean old: nothing in a signature takes the sampler's log-probs."""
    for function in (losses.policy_loss, *(kind.tokens for kind in LOSSES.kinds.values())):
        parameters = [name for name in inspect.signature(function).parameters if name != "self"]
        assert parameters[:2] == ["log_probs", "log_clean_old"]
        assert not any("noisy" in name for name in parameters)


@pytest.mark.parametrize("loss", NAMES)
@pytest.mark.parametrize("mode", MODES)
def test_an_empty_mask_gives_zero(loss, mode):
    x, s = batch(1), asked(loss, aggregation=mode, length=4, kl_coefficient=0.1, entropy_coefficient=0.1)
    wide = {name: jnp.asarray(np.full_like(v, np.nan), jnp.float32) for name, v in x.items()}

    def total(log_probs):
        args = (wide["old"], wide["advantages"], jnp.zeros((B, T), bool), wide["weights"], s)
        return losses.policy_loss(log_probs, *args, wide["reference"], wide["entropy"])

    (loss, metrics), gradient = jax.value_and_grad(total, has_aux=True)(wide["log_probs"])
    assert float(loss) == 0.0 and not np.any(gradient) and not any(map(float, metrics.values()))


def test_layout_does_not_matter():
    x, s = batch(2), asked(aggregation="sequence_mean")
    wide = [jnp.nan_to_num(jnp.asarray(x[name], jnp.float32)) for name in ("log_probs", "old", "advantages", "weights")]
    mask = token_mask(jnp.asarray(LENGTHS, jnp.int32), T)
    flat = losses.policy_loss(*wide[:3], mask, wide[3], s)
    folded = [leaf.reshape(2, 3, *leaf.shape[1:]) for leaf in (*wide, mask)]
    again = losses.policy_loss(*folded[:3], folded[4], folded[3], s)
    for one, other in zip(jax.tree.leaves(flat), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("loss", NAMES)
def test_far_apart_policies_give_finite_numbers(loss):
    @jax.jit
    def total(log_probs, old, advantage):
        args = (jnp.full((1, 1), old), jnp.full((1,), advantage), jnp.ones((1, 1), bool), jnp.ones((1, 1)))
        return losses.policy_loss(log_probs, *args, asked(loss, kl_coefficient=1.0), args[0])[0]

    @given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.sampled_from([-1.0, 1.0]))
    @hypothesis_settings(max_examples=40, deadline=None)
    def check(new, old, advantage):
        value, gradient = jax.value_and_grad(total)(jnp.full((1, 1), new), jnp.float32(old), jnp.float32(advantage))
        assert np.isfinite(value) and np.isfinite(gradient).all()

    check()


def test_clips_may_be_traced():
    x = batch(4)

    def loss(clip):
        return ours(x, asked(clip_high=clip, entropy_coefficient=clip))[0]

    clips = jnp.array([0.1, 0.5])
    np.testing.assert_allclose(jax.vmap(loss)(clips), [loss(0.1), loss(0.5)], rtol=1e-5)


@pytest.mark.parametrize(
    "bad", [dict(loss="pp"), dict(aggregation="mean"), dict(kl_estimator="k4"), dict(aggregation="constant")]
)
def test_refuses_in_one_line(bad):
    with pytest.raises(errors.UserError) as caught:
        asked(**bad)
    assert "\n" not in str(caught.value)


def test_refuses_narrow_log_probs():
    one = jnp.zeros((1, 1))
    rest = (jnp.ones((1,)), jnp.ones((1, 1), bool), one, asked())
    with pytest.raises(errors.UserError, match="float32"):
        losses.policy_loss(one.astype(jnp.bfloat16), one, *rest)


def test_recipes_are_settings_of_ppo():
    assert LOSSES.make("grpo") == Ppo(aggregation="sequence_mean") and LOSSES.make("dapo") == Ppo(clip_high=0.28)
    assert LOSSES.make("dr_grpo(clip_low=0.1)") == Ppo(clip_low=0.1, aggregation="constant")
