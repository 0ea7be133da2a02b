"""The gradient at the perturbed weights: that of the smoothed objective, by finite differences; what goes with it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpsn.core import errors
from jaxpsn.lm import policies, scoring, tokenizer
from jaxpsn.rlvr import learner, rollout
from jaxpsn.rlvr.config import AlgorithmConfig
from jaxpsn.rlvr.exploration import perturbation
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.placement import Placement
from jaxpsn.rlvr.presets import PRESETS

SIGMA, KEY, STEP, LENGTH = 0.5, jax.random.key(5), jnp.int32(2), 2
AT_DRAWS = {"estimator": "pooled", "correction": "none", "loss": "reinforce(aggregation=constant)"}


def every_answer(small, members):
    """All texts of two tokens as each member's answers to two problems, [members * V^2, 2, 2], and their worth."""
    size = small.WORDS.vocab_size
    tokens = np.array(list(itertools.product(range(size), repeat=LENGTH)), np.int32)
    tokens = np.broadcast_to(tokens[:, None], (len(tokens), 2, LENGTH))
    worth = np.random.default_rng(1).uniform(size=tokens.shape[:2]).astype(np.float32)
    return np.tile(tokens, (members, 1, 1)), np.tile(worth, (members, 1))


@pytest.mark.parametrize(
    "structure, relative",
    [("lowrank(rank=2)", True), ("dense", False), ("flipout", True), ("lowrank(antithetic=true)", False)],
)  # fmt: skip
def test_it_is_the_gradient_of_the_smoothed_objective(small, structure, relative):
    """J(theta) summed over every answer, at two members' weights, moved along random directions."""
    members, size = 2, small.WORDS.vocab_size
    tokens, worth = every_answer(small, members)
    lengths = np.full(tokens.shape[:2], LENGTH, np.int32)
    prompts = tokenizer.pack([small.WORDS.encode(text) for text in ("1+2=", "7+")], length=small.TASK.max_prompt)
    noise = perturbation.plan(Psn(structure, relative=relative), small.DECODER, small.BASE.params, members, size**2)
    settings = small.config(algorithm=AT_DRAWS)
    made = learner.make(settings, small.DECODER, LENGTH, size, Placement(None), noise)
    held = noise.draw(KEY, STEP)
    # The perturbation itself stands still: its size is no function of the weights that are learnt.
    added = [
        jax.tree.map(lambda a, b: a - b, noise.kind.materialise(small.BASE.params, held, SIGMA, m), small.BASE.params)
        for m in range(members)
    ]

    @jax.jit
    def objective(params):
        """Mean over members and problems of the expected worth."""
        total = 0.0
        for m, eps in enumerate(added):
            policy = policies.Single(jax.tree.map(jnp.add, params, eps))
            mine = slice(m * size**2, (m + 1) * size**2)
            given = rollout.of_members(1, prompts, jnp.asarray(tokens[mine]), jnp.asarray(lengths[mine]))
            found = scoring.score(small.DECODER, policy, *given, 1.0, vocab=size).log_probs.reshape(tokens[mine].shape)
            total += jnp.sum(jnp.exp(jnp.sum(found, axis=-1)) * worth[mine])
        return total / (members * 2)

    perturbed = held, jnp.full((members,), SIGMA)
    score = jax.jit(lambda params, *given: made.scores(params, *given, 1, perturbed).log_probs)
    chances = np.exp(np.sum(score(small.BASE.params, prompts, tokens, lengths), axis=-1))
    np.testing.assert_allclose(chances.reshape(members, size**2, 2).sum(axis=1), 1.0, rtol=1e-4)
    answers = rollout.Answers(
        tokens, np.zeros(tokens.shape, np.float32), lengths, np.ones(lengths.shape, bool),
        np.repeat(np.arange(members), size**2).astype(np.int32), np.full(len(tokens), SIGMA, np.float32),
    )  # fmt: skip
    batch = learner.Batch(prompts, answers, chances * worth, seed=(KEY, STEP))
    update = jax.jit(made._replace(optimiser=optax.sgd(1.0)).update)
    after, _, told = update(small.BASE.params, (optax.EmptyState(), optax.EmptyState()), batch)
    # The loss is minus the sum over answers, over their number times LENGTH.
    scale = tokens.shape[0] * 2 * LENGTH / (members * 2)
    ours = jax.tree.map(lambda new, old: np.asarray(new - old, np.float64) * scale, after, small.BASE.params)
    rng = np.random.default_rng(3)
    for _ in range(3):
        way = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), small.BASE.params)
        slope = sum(float(np.sum(a * b)) for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(way), strict=True))

        def at(step, way=way):
            return float(objective(jax.tree.map(lambda leaf, d: leaf + np.float32(step) * d, small.BASE.params, way)))

        near, far = ((at(h) - at(-h)) / (2 * h) for h in (5e-4, 1e-3))
        assert (4 * near - far) / 3 == pytest.approx(slope, rel=5e-3, abs=2e-3)
        assert abs(slope) > 0.01
    assert np.isfinite(float(told["noise_kl_k1"])) and float(told["weight_ess"]) == pytest.approx(1.0)


@pytest.mark.parametrize("mini_batches", [1, 2])
def test_a_step_learns_at_the_draw_of_its_answers(small, mini_batches):
    """On-policy to rounding: ratios of 1 at first, and the clean policy's distance is still told."""
    algorithm = {"estimator": "smoothed", "correction": "none", "mini_batches": mini_batches}
    program = small.reasoner(small.config(noise={"per": "replica", "replicas": 2}, algorithm=algorithm))
    state = program.init()
    before = small.host(state.params)
    state, told = program.step(state)
    assert told["ppo_ratio"] == pytest.approx(1.0, abs=0.05 if mini_batches > 1 else 1e-4)
    assert told["noise_kl_k3"] > 0.0 and told["ratio_ess"] < 1.0 and told["weight_ess"] == pytest.approx(1.0)
    assert not small.same(small.host(state.params), before) and set(told) <= set(program.metric_names())


def test_members_compare_their_own_answers(small):
    config = small.config(noise={"per": "replica", "replicas": 2}, algorithm=AT_DRAWS | {"estimator": "smoothed"})
    assert learner.own_groups(config) == 2
    assert learner.own_groups(small.config(algorithm=AT_DRAWS)) == 1
    assert learner.own_groups(small.config()) == 1


def test_the_forms_of_3po_are_presets():
    b, m, c = (PRESETS[name] for name in ("b3po", "m3po", "c3po"))
    assert (b.members, m.members, c.members) == (1, 4, 4)
    assert [one.algorithm.estimator for one in (b, m, c)] == ["smoothed", "smoothed", "clean"]
    assert (c.algorithm.correction.gate.low, c.algorithm.correction.gate.high) == (0.5, 2.0)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (dict(algorithm={"estimator": "smoothed"}), "algorithm.correction = 'token': none with estimator = smoothed"),
        (dict(algorithm=AT_DRAWS, noise="none"), "algorithm.estimator = 'pooled': clean where noise = none"),
        (dict(algorithm=AT_DRAWS, noise={"clean_share": 0.5}), "noise.clean_share = 0.5: 0 with estimator = pooled"),
        (dict(algorithm=AT_DRAWS | {"estimator": "smoothed"}), "estimator = 'smoothed': pooled where a member"),
        (dict(algorithm=AT_DRAWS, sigma="composite"), "noise.sigma.reuse_probes = True: false with estimator"),
        (
            dict(algorithm=AT_DRAWS | {"estimator": "smoothed", "advantage": "pass_at_k(2)"},
                 noise={"per": "replica", "replicas": 2}),
            "pass_at_k.k = 2: below the group's 2 samples",
        ),
    ],
)  # fmt: skip
def test_refuses_in_one_line(small, sections, said):
    with pytest.raises(errors.UserError) as caught:
        small.config(**sections)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_gate_alone_is_a_correction_too():
    with pytest.raises(errors.UserError, match=r"algorithm.correction = 'none"):
        AlgorithmConfig(estimator="pooled", correction="none(gate=token)")
