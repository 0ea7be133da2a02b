"""Evolution: its estimate is the formula, points uphill, and what has no use for it is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.lm import policies, scoring, tokenizer
from jaxpsn.rlvr import evolving, rollout
from jaxpsn.rlvr.exploration import perturbation
from jaxpsn.rlvr.exploration.noises import Psn

EVOLUTION = {"estimator": "evolution", "correction": "none", "advantage": "none"}
STRUCTURES = ["lowrank(rank=1)", "dense", "flipout", "lowrank(rank=1, antithetic=true)"]


def drawn(small, structure, members):
    noise = perturbation.plan(Psn(structure, relative=False), small.DECODER, small.BASE.params, members, 1)
    return noise, noise.draw(jax.random.key(5), jnp.int32(2))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_estimate_is_the_sum_of_what_was_drawn(small, structure):
    """Against float64 sums over the members' formed weights."""
    noise, draw = drawn(small, structure, 4)
    sigmas, worth = np.array([0.5, 0.25, 0.5, 1.0]), np.array([0.3, -1.0, 0.2, 0.5])
    ours = evolving.gradient(small.BASE.params, draw, jnp.asarray(sigmas, jnp.float32), jnp.asarray(worth, jnp.float32))
    expected = jax.tree.map(lambda leaf: np.zeros(leaf.shape), small.BASE.params)
    for member in range(4):
        moved = noise.kind.materialise(small.BASE.params, draw, 1.0, member)
        share = worth[member] / (4 * sigmas[member])
        expected = jax.tree.map(
            lambda total, new, old, share=share: total - share * (np.float64(new) - np.float64(old)),
            expected, moved, small.BASE.params,
        )  # fmt: skip
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_it_points_where_the_objective_rises(small):
    """Of one-token answers the expected worth is exact: the estimate's share along its gradient is 1 within noise."""
    members, size = 256, small.WORDS.vocab_size
    worth = np.random.default_rng(1).uniform(size=(size, 2)).astype(np.float32)
    tokens, lengths = np.tile(np.arange(size, dtype=np.int32)[:, None, None], (1, 2, 1)), np.ones((size, 2), np.int32)
    prompts = tokenizer.pack([small.WORDS.encode(text) for text in ("1+2=", "7+")], length=small.TASK.max_prompt)
    given = rollout.of_members(1, prompts, jnp.asarray(tokens), jnp.asarray(lengths))

    def objective(params):
        found = scoring.score(small.DECODER, policies.Single(params), *given, 1.0, vocab=size).log_probs
        return jnp.sum(jnp.exp(found.reshape(size, 2)) * worth) / 2

    noise, draw = drawn(small, "lowrank(rank=1, antithetic=true)", members)
    sigma = 0.02

    @jax.jit
    def estimate(params):
        each = jax.lax.map(lambda m: objective(noise.kind.materialise(params, draw, sigma, m)), jnp.arange(members))
        return evolving.gradient(params, draw, jnp.full((members,), sigma), each - jnp.mean(each))

    true, ours = jax.jit(jax.grad(objective))(small.BASE.params), estimate(small.BASE.params)
    product = square = 0.0
    for one, other in zip(jax.tree.leaves(true), jax.tree.leaves(ours), strict=True):
        if np.any(other):
            product -= float(np.sum(np.float64(one) * other))
            square += float(np.sum(np.float64(one) ** 2))
    assert square > 0.0
    # The share has mean 1 and, over pairs, a deviation of sqrt(2 / 128).
    assert product / square == pytest.approx(1.0, abs=0.5)


def test_a_step_evolves_the_clean_weights(small):
    settings = small.config(noise={"per": "sample", "relative": False, "structure": "lowrank(rank=1)"},
                            algorithm=EVOLUTION, sigma="kl(0.005)")  # fmt: skip
    made = small.reasoner(settings)
    state = made.init()
    before, sigma = small.host(state.params), float(state.sigma.sigma)
    state, told = made.step(state)
    assert not small.same(small.host(state.params), before) and float(state.sigma.sigma) != sigma
    assert set(told) <= set(made.metric_names()) and told["fitness_std"] > 0.0 and told["noise_kl_k3"] > 0.0
    assert told["grad_norm"] > 0.0 and "ppo_ratio" not in told


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"algorithm": EVOLUTION | {"loss": "gspo"}}, "algorithm.loss = 'gspo': ppo with estimator = evolution"),
        ({"algorithm": EVOLUTION | {"epochs": 2}}, "algorithm.epochs = 2: 1 with estimator = evolution"),
        ({"algorithm": EVOLUTION | {"kl_coefficient": 0.1}}, "algorithm.kl_coefficient = 0.1: 0.0 with estimator"),
        ({"algorithm": EVOLUTION | {"overlong": "mask"}}, "algorithm.overlong = 'mask': keep or penalty"),
        ({"algorithm": EVOLUTION}, "noise.relative = True: false with estimator = evolution"),
        ({"algorithm": EVOLUTION, "noise": {"relative": False, "per": "step"}}, "noise.per = 'step': sample or"),
        ({"algorithm": EVOLUTION, "noise": {"relative": False}, "sigma": "fixed(0)"}, "noise.sigma = 'fixed(value=0)'"),
    ],
)  # fmt: skip
def test_what_evolution_has_no_use_for_is_refused(small, sections, said):
    with pytest.raises(UserError) as caught:
        small.config(**sections)
    assert said in str(caught.value)
