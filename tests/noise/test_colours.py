"""Colours of weight noise: shares of the power, spectra of what a policy does, and what is the same at every step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import noise
from jaxpsn.core.errors import UserError
from jaxpsn.noise import colours
from jaxpsn.noise.hold_rules import HOLDS, Colored, Drift, Pink
from tests.noise.models import MODELS

KEY = jax.random.key(5)
BETAS = (0.0, 0.5, 1.0, 1.5, 2.0)


def play(rule, kind, spec, members, dones, read):
    """``read(draw)`` before every one of the decisions that ``dones[T, members]`` says the ends of; [T, ...]."""
    form, hold = rule.form(kind), rule.build()

    def step(carry, xs):
        draw, state = carry
        t, done = xs
        state, where = hold.step(jax.random.fold_in(KEY, t), state, done)
        return (hold.move(form, KEY, draw, where), state), read(form, draw)

    def run(dones):
        start = form.init(KEY, spec, members), hold.init(KEY, members)
        return jax.lax.scan(step, start, (jnp.arange(dones.shape[0]), dones))[1]

    return np.asarray(jax.jit(run)(jnp.asarray(dones)), np.float64)


def entries_over_time(rule, kind, members, dones):
    """E of a small layer ``[T, members, entries]``, formed."""
    params = {"kernel": jnp.zeros((3, 5)), "bias": jnp.zeros(5)}
    spec = noise.plan(lambda p, x: x @ p["kernel"] + p["bias"], params, jnp.zeros(3))

    def read(form, draw):
        whole = jax.vmap(lambda member: form.materialise(params, draw, 1.0, member))(jnp.arange(members))
        return jnp.concatenate([leaf.reshape(members, -1) for leaf in jax.tree.leaves(whole)], axis=1)

    return play(rule, kind, spec, members, dones, read)


def action_spectrum(rule, kind, steps=4096, members=48):
    """Frequencies and the spectrum of what noise does to the actions of a small policy that sees the same state."""
    model = MODELS["mlp"]()
    x = model.input_of(jax.random.key(1))
    spec = noise.plan(model.apply, model.params, x)
    clean, seen = model.apply(model.params, x), jnp.broadcast_to(x, (members, *x.shape))

    def read(form, draw):
        act = noise.fused(model.apply, spec, form, exact_zero=False)
        return act(model.params, draw, 0.03, seen) - clean[None]

    moved = play(rule, kind, spec, members, np.zeros((steps, members), bool), read)
    power = np.abs(np.fft.rfft(moved * np.hanning(steps)[:, None, None], axis=0)) ** 2
    return np.fft.rfftfreq(steps)[1:], power.mean(axis=(1, 2))[1:]


def slope_within(rule, frequency, power):
    """Exponent between the corners of the longest and the shortest hold, every octave as weighty as the next."""
    low, high = colours.band((rule.shortest, rule.longest))[[0, -1]]
    edges = np.geomspace(low, high, 17)
    bins = [(edges[i] <= frequency) & (frequency < edges[i + 1]) for i in range(16)]
    means = [(np.log(frequency[one]).mean(), np.log(power[one].mean())) for one in bins if one.any()]
    return np.polyfit(*np.array(means).T, 1)[0]


@pytest.mark.parametrize("beta", BETAS)
def test_shares_give_the_spectrum_its_exponent(beta):
    holds = colours.ladder()
    assert holds == (1.0, 4.0, 16.0, 64.0, 256.0)
    shares = colours.powers(beta, holds)
    assert sum(shares) == pytest.approx(1.0) and min(shares) >= 0.0
    frequency = colours.band(holds)
    density = colours.spectrum(holds, shares, frequency)
    assert colours.slope(frequency, density) == pytest.approx(-beta, abs=0.08)
    # Least squares of the relative error: from a power law it is nowhere far away.
    ratio = density * frequency**beta
    assert np.abs(np.log(ratio / np.exp(np.log(ratio).mean()))).max() < (0.7 if beta == 2.0 else 0.25)
    # All of the variance, over all frequencies: that of one draw.
    whole = colours.spectrum(holds, shares, (np.arange(100_000) + 0.5) / 200_000)
    assert whole.mean() == pytest.approx(1.0, rel=1e-3)


def test_ends_and_middle_of_the_shares():
    holds = colours.ladder()
    assert colours.powers(0.0, holds) == (1.0, 0.0, 0.0, 0.0, 0.0)
    assert colours.powers(2.0, holds) == (0.0, 0.0, 0.0, 0.0, 1.0)
    np.testing.assert_allclose(colours.powers(1.0, holds), 0.2, atol=0.06)  # equal, but for the ends
    # With many components p_k ~ hold_k ** (beta - 1) within, where a least-squares fit leaves room to the ends alone.
    many = np.array(colours.ladder(1.0, 4096.0, 4.0))
    middle = np.polyfit(np.log(many[1:-1]), np.log(colours.powers(0.7, tuple(many))[1:-1]), 1)[0]
    assert middle == pytest.approx(0.7 - 1.0, abs=0.15)
    assert colours.ladder(2.0, 31.0, 2.0) == (2.0, 4.0, 8.0, 16.0)


CASES = [(beta, noise.Flipout()) for beta in (0.0, 1.0, 1.5)] + [(1.0, noise.LowRank(dense_head=False))]


@pytest.mark.parametrize(("beta", "kind"), CASES)
def test_actions_of_a_policy_have_the_colour(beta, kind):
    rule = Colored(beta=beta)
    assert slope_within(rule, *action_spectrum(rule, kind)) == pytest.approx(-beta, abs=0.1)


@pytest.mark.parametrize("kind", [noise.Flipout(), noise.LowRank(rank=1, dense_head=False), noise.Dense()])
def test_variance_is_that_of_one_draw_at_every_decision(kind):
    rng = np.random.default_rng(0)
    dones = rng.random((12, 1500)) < 0.2
    seen = entries_over_time(Pink(), kind, 1500, dones)
    np.testing.assert_allclose((seen**2).mean(axis=1), 1.0, atol=0.2)
    np.testing.assert_allclose((seen**2).mean(axis=(1, 2)), 1.0, atol=0.05)
    np.testing.assert_allclose(seen.mean(axis=1), 0.0, atol=0.1)


def correlation(seen, first, lag):
    return (seen[first] * seen[first + lag]).mean()


def test_a_colour_does_not_break_where_an_episode_starts_and_does_not_outlive_it():
    rule, members = Pink(), 3000
    dones = np.zeros((30, members), bool)
    dones[9] = True
    seen = entries_over_time(rule, noise.Flipout(), members, dones)
    for lag in (1, 3, 12):
        want = sum(share * (1 - 1 / mean) ** lag for mean, share in rule.components.items())
        # From the first decision of an episode on as from a later one.
        for first in (10, 10 + 5):
            assert correlation(seen, first, lag) == pytest.approx(want, abs=0.04)
        assert correlation(seen, 10 - min(lag, 9), lag) == pytest.approx(0.0, abs=0.04)


@pytest.mark.parametrize("base", [noise.Flipout(), noise.LowRank(rank=2, dense_head=False), noise.Dense()])
def test_only_components_whose_hold_has_ended_are_redrawn(base):
    kind = noise.Multiscale(base, (1.0, 4.0, 16.0), (0.2, 0.3, 0.5))
    spec = noise.plan(lambda p, x: x @ p, jnp.zeros((40, 40)), jnp.zeros(40), select=noise.everything)
    draw, members = kind.init(KEY, spec, 70), np.arange(70)
    where = (True, jnp.asarray(members % 3 == 0), jnp.zeros(70, bool))
    new = jax.jit(lambda draw: kind.redraw(KEY, draw, where))(draw)
    np.testing.assert_array_equal(new.counter, np.stack([np.asarray(one) & (members >= 0) for one in where], axis=1))
    for k, chosen in enumerate((members >= 0, members % 3 == 0, members < 0)):
        for old, fresh in zip(jax.tree.leaves(draw.noise[""][k]), jax.tree.leaves(new.noise[""][k]), strict=True):
            changed = np.any(np.asarray(old != fresh).reshape(70, -1), axis=1)
            np.testing.assert_array_equal(changed, chosen)
    # A component draws the same whatever others there are: its stream goes by its hold.
    fewer = noise.Multiscale(base, (4.0, 64.0), (0.3, 0.7)).init(KEY, spec, 70)
    for old, same in zip(jax.tree.leaves(draw.noise[""][1]), jax.tree.leaves(fewer.noise[""][0]), strict=True):
        np.testing.assert_array_equal(old, same)
    with pytest.raises(UserError, match="3, one for each component"):
        kind.redraw(KEY, draw, (True, True))


DRIFTING = [noise.Dense(), noise.LowRank(rank=2, dense_head=False), noise.LowRank(rank=2), noise.InputGain()]


@pytest.mark.parametrize("kind", DRIFTING[:3])
def test_drift_is_an_autoregression_of_unit_variance(kind):
    members, rho = 3000, 0.8
    dones = np.zeros((14, members), bool)
    dones[7, : members // 2] = True
    seen = entries_over_time(Drift(rho=rho), kind, members, dones)
    np.testing.assert_allclose((seen**2).mean(axis=(1, 2)), 1.0, atol=0.08)
    for first, lag in ((0, 1), (2, 4), (8, 5)):
        assert correlation(seen, first, lag) == pytest.approx(rho**lag, abs=0.06)
    whole = seen[:, : members // 2]
    assert correlation(whole, 7, 1) == pytest.approx(0.0, abs=0.06)  # an episode has ended between the two
    assert correlation(seen[:, members // 2 :], 7, 1) == pytest.approx(rho, abs=0.06)


@pytest.mark.parametrize("kind", DRIFTING)
def test_drifting_members_are_functions_of_who_they_are(kind):
    params = jnp.ones((9, 7))
    spec = noise.plan(lambda p, x: x @ p, params, jnp.zeros(9), select=noise.everything)
    ended = jnp.array([False, True, False, False])

    def moved(numbers, ended):
        draw = noise.drifted(kind, KEY, kind.init(KEY, spec, numbers), jnp.zeros(len(numbers), bool), 0.7)
        return noise.drifted(kind, KEY, draw, ended, 0.7)

    together, alone = moved(jnp.arange(4), ended), moved(jnp.array([1, 3]), ended[jnp.array([1, 3])])
    for many, few in zip(jax.tree.leaves(together.noise), jax.tree.leaves(alone.noise), strict=True):
        np.testing.assert_array_equal(np.asarray(many)[[1, 3]], few)
    np.testing.assert_array_equal(together.counter, 2)
    still = noise.drifted(kind, KEY, together, jnp.zeros(4, bool), 1.0)
    for old, new in zip(jax.tree.leaves(together.noise), jax.tree.leaves(still.noise), strict=True):
        np.testing.assert_array_equal(old, new)


def test_holds_without_a_memory_last_as_long_as_they_should():
    hold, still = noise.geometric(8.0), jnp.zeros(300, bool)
    state = hold.init(KEY, 300)
    redraws = jax.vmap(lambda t: hold.step(jax.random.fold_in(KEY, t), state, still)[1])(jnp.arange(50))
    assert np.mean(redraws) == pytest.approx(1 / 8, abs=0.01)
    # What a member of the tenth step does says nothing about the eleventh.
    assert np.mean(redraws[1:][redraws[:-1]]) == pytest.approx(1 / 8, abs=0.02)
    assert np.all(hold.step(KEY, state, jnp.arange(300) < 2)[1][:2])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: Drift().form(noise.Flipout()), "flipout.*dense, input_gain or lowrank"),
        (lambda: Drift().form(noise.LowRank(factors="sign")), r"factors=sign.*lowrank\(factors=normal\)"),
        (lambda: Drift().form(noise.Dense(store="bfloat16")), "bfloat16"),
        (lambda: noise.drifted(noise.Flipout(), KEY, None, True, 0.5), "Gaussian"),
        (lambda: Pink().form(noise.Flipout(antithetic=True)), "antithetic.*hold=pink"),
        (lambda: HOLDS.make("pink(longest=3)"), r"longest.*at least shortest \* ratio = 4"),
        (lambda: HOLDS.make("colored(beta=2.5)"), "beta"),
        (lambda: HOLDS.make("drift(rho=1.5)"), "rho"),
        (lambda: HOLDS.make("pink(beta=1)"), "beta"),
        (lambda: noise.Multiscale(noise.Flipout(), (1.0, 1.0), (0.5, 0.5)), "different"),
        (lambda: noise.Multiscale(noise.Flipout(), (1.0, 2.0), (0.5, 0.4)), "sum is 1"),
    ],
)
def test_refuses_what_cannot_be(call, told):
    with pytest.raises(UserError, match=told) as refused:
        call()
    assert "\n" not in str(refused.value)
