"""The forms of critics against slow references in float64 NumPy, and critics of each form that learn."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control.agents import AGENTS, learner, losses, rounds
from jaxpsn.control.agents.critics.c51 import C51
from jaxpsn.control.agents.critics.family import CRITICS, Squared
from jaxpsn.control.agents.critics.hl_gauss import HlGauss
from jaxpsn.control.state import Transition
from jaxpsn.core import errors, replaced

RNG = np.random.default_rng(0)
B, K = 12, 11
OUT = RNG.normal(size=(2, B, K))
REWARD, BONUS = 2.0 * RNG.normal(size=B), RNG.normal(size=B)
END = np.arange(B) % 3 == 0
DISCOUNT = np.where(np.arange(B) % 2 == 0, 0.9, 0.81)
GIVEN = [jnp.asarray(x, jnp.float32) for x in (REWARD, DISCOUNT, OUT, BONUS)]
KEY = jax.random.key(0)


def _softmax(x):
    raised = np.exp(x - x.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def _target(form, bonus):
    reward, discount, out, given = GIVEN
    return np.asarray(form.target(reward, jnp.asarray(END), discount, out, given if bonus else None))


@pytest.mark.parametrize("bonus", [False, True])
def test_the_projection_of_c51_atom_by_atom(bonus):
    """Algorithm 1 of the paper: each shifted atom gives its mass to the two beside it."""
    support, gap = np.linspace(-3.0, 5.0, K), 0.8
    chance = _softmax(OUT)
    means = chance @ support
    expected = np.zeros((B, K))
    for i in range(B):
        least = int(np.argmin(means[:, i]))
        for j in range(K):
            after = 0.0 if END[i] else DISCOUNT[i] * (support[j] + (BONUS[i] if bonus else 0.0))
            place = (np.clip(REWARD[i] + after, -3.0, 5.0) + 3.0) / gap
            low, high = math.floor(place + 1e-9), math.ceil(place - 1e-9)
            if low == high:
                expected[i, low] += chance[least, i, j]
            else:
                expected[i, low] += chance[least, i, j] * (high - place)
                expected[i, high] += chance[least, i, j] * (place - low)
    form = C51(atoms=K, low=-3.0, high=5.0)
    np.testing.assert_allclose(_target(form, bonus), expected, atol=1e-5)
    np.testing.assert_allclose(form.value(GIVEN[2]), means, atol=1e-5)


def test_a_projection_keeps_the_mean_within_the_ends():
    form = C51(atoms=51, low=-20.0, high=20.0)
    out = jnp.asarray(RNG.normal(size=(1, B, 51)), jnp.float32)
    target = form.target(GIVEN[0], jnp.zeros(B, bool), 0.5, out)
    np.testing.assert_allclose(target.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(target @ form.support, GIVEN[0] + 0.5 * form.value(out)[0], atol=1e-4)


@pytest.mark.parametrize("bonus", [False, True])
def test_the_histogram_of_hl_gauss_bin_by_bin(bonus):
    low, high = -3.0, 5.0
    width = (high - low) / K
    edges, std = np.linspace(low, high, K + 1), 0.75 * width
    centres = low + width * (np.arange(K) + 0.5)
    means = _softmax(OUT) @ centres

    def below(edge, mean):
        return 0.5 * (1 + math.erf((edge - mean) / (std * math.sqrt(2))))

    expected = np.zeros((B, K))
    for i in range(B):
        after = 0.0 if END[i] else DISCOUNT[i] * (means[:, i].min() + (BONUS[i] if bonus else 0.0))
        mean = np.clip(REWARD[i] + after, low, high)
        mass = [below(edges[j + 1], mean) - below(edges[j], mean) for j in range(K)]
        expected[i] = np.array(mass) / sum(mass)
    form = HlGauss(atoms=K, low=low, high=high)
    np.testing.assert_allclose(_target(form, bonus), expected, atol=1e-5)
    np.testing.assert_allclose(form.value(GIVEN[2]), means, atol=1e-5)


def test_the_cross_entropy():
    target = _softmax(RNG.normal(size=(B, K)))
    logs = np.log(_softmax(OUT))
    expected = sum(np.mean([-(target[i] * logs[c, i]).sum() for i in range(B)]) for c in range(2))
    ours = losses.total(losses.cross_entropy(GIVEN[2], jnp.asarray(target, jnp.float32)))
    assert ours == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("bonus", [False, True])
def test_a_number_bootstraps_the_lesser_of_the_critics(bonus):
    reward, discount, out, given = GIVEN
    ours = Squared().target(reward, jnp.asarray(END), discount, out[..., 0], given if bonus else None)
    least = OUT[..., 0].min(axis=0) + (BONUS if bonus else 0.0)
    np.testing.assert_allclose(ours, REWARD + np.where(END, 0.0, DISCOUNT * least), atol=1e-5)


@pytest.mark.parametrize("form", ["squared", "c51(low=-2, high=2, atoms=21)", "hl_gauss(low=-2, high=2, atoms=21)"])
@pytest.mark.parametrize("algorithm", ["ddpg", "td3", "sac"])
def test_critics_of_every_form_learn_what_terminal_actions_are_worth(algorithm, form):
    small = {"actor_hidden": (8,), "critic_hidden": (16,), "critic": CRITICS.make(form)}
    agent = replaced(AGENTS.make(algorithm), small).build(1, 1)
    hyper = {"actor_lr": 0.0, "critic_lr": 1e-2, "temperature": 0.1, "temperature_lr": 0.0, "target_entropy": -0.5}
    hyper = {name: jnp.float32(value) for name, value in hyper.items()}
    action = jnp.linspace(-1, 1, 32)[:, None]
    zeros, ends = jnp.zeros((32, 1)), jnp.ones(32, bool)
    batch = Transition(zeros, action, action[:, 0], ends, ~ends, zeros)
    batches = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (300, *leaf.shape)), batch)
    state = agent.init(KEY, hyper, {})
    after, told = jax.jit(lambda state: rounds.learn(agent, KEY, state, batches, hyper, jnp.int32(0)))(state)
    config = replaced(AGENTS.make(algorithm), small)
    nets = learner.networks(config, 1, 1, 2, policy=agent.policy)
    values = nets.form.value(nets.critics(after.critic, zeros, action))
    np.testing.assert_allclose(values, jnp.broadcast_to(action[:, 0], values.shape), atol=0.15)
    assert told["critic_loss"][1] == 300 and bool(jnp.isfinite(told["actor_loss"][0]))


@pytest.mark.parametrize("text,said", [("c51(low=1, high=1)", "below high = 1"), ("c51(spread=1)", "spread")])
def test_bad_bins_are_refused(text, said):
    with pytest.raises(errors.UserError, match=said):
        CRITICS.make(text)
