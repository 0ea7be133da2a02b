"""The program that the run loop drives: its state, its columns, which way sigma goes, and rows that can be replayed."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.lm import tokenizer
from jaxpsn.rlvr import program, rollout
from jaxpsn.rlvr.exploration.rules import Composite
from jaxpsn.run.program import HostProgram

LOGS = {}
TIMING = ("seconds", "tokens_per_second", "sampled_per_second")

CASES = {
    "plain": dict(noise="none"),
    "kl": dict(
        noise={"clean_share": 0.25},
        sigma="kl(initial=0.3, target=10, rate=1.5)",
        algorithm={"mini_batches": 2, "epochs": 2, "kl_coefficient": 0.1, "advantage": "pass_at_k(2)"},
    ),
    "staged": dict(
        noise={"structure": "dense", "per": "step", "select": "norms", "relative": False},
        sigma="staged(initial=0.4, final=0.1, stages=4)",
        algorithm={"correction": "none"},
    ),
    "composite": dict(
        sigma="composite(initial=0.2, rate=1.25, gain=none, drop=none, target=0.5, probe_policy=clean, "
        "normalisation=fixed, certainty=policy_to_uniform, similarity=hidden)",
        rollout={"prompts": 4, "samples": 4, "refills": 1},
        algorithm={"correction": "geometric_mask(gate.low=0.5, gate.high=2)"},
    ),
    "ivon": dict(
        noise="ivon(per=replica, replicas=2, precision=1e3)",
        algorithm={"estimator": "smoothed", "correction": "none", "token_budget": 64, "learning_rate": 0.1},
    ),
}


@pytest.fixture(scope="module")
def cases(small):
    """``cases(name) -> Reasoner``, compiled once; its samples are logged in ``LOGS[name]``."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = small.reasoner(small.config(**CASES[name]), open_log=lambda path, kept: LOGS[name])
            made[name].attach(Path("."), -1)
        return made[name]

    LOGS.update({name: small.Rows() for name in CASES})
    return get


def numbers(metrics):
    """Metrics that a step's clock has no part in."""
    return {name: np.asarray(value) for name, value in metrics.items() if not name.startswith(TIMING)}


def steps(made, count, state=None):
    """States (on the host) and metrics of ``count`` steps."""
    state = made.init() if state is None else state
    found = []
    for _ in range(count):
        state, metrics = made.step(state)
        found.append(metrics)
    return state, found


@pytest.mark.parametrize("name", CASES)
def test_columns_are_named_beforehand_and_filled(cases, small, name):
    made = cases(name)
    assert isinstance(made, HostProgram)
    state, (metrics,) = steps(made, 1)
    named = set(made.metric_names())
    assert set(metrics) <= named
    # What never is reported: the columns of several perturbations where there is one.
    assert named - set(metrics) == ({"target"} if name in ("plain", "staged", "ivon") else set())
    measured = {key for key, value in metrics.items() if np.isfinite(value)}
    wanted = {"reward", "score", "loss", "grad_norm", "sigma", "length", "entropy", "seconds_sample", "seconds_update",
              "seconds_verify", "seconds_step", "tokens_per_second", "groups_zero_advantage", "weight_ess", "ratio_min",
              "ratio_max", "truncated_share", "clip_high", "ppo_kl"}  # fmt: skip
    noisy = {"noise_kl_k1", "noise_kl_k3", "noisy_reward", "probability_gap_mean"}
    assert measured >= wanted | (noisy if name in ("kl", "composite") else set())
    if name == "plain":
        assert not measured & {"noise_kl_k1", "noisy_reward", "seconds_probe", "reward_members_std"}
        assert metrics["sigma"] == 0.0 and metrics["clean_reward"] == metrics["reward"]
        assert metrics["ratio_min"] == pytest.approx(1, abs=1e-4) and metrics["ratio_max"] == pytest.approx(1, abs=1e-4)
    if name == "kl":
        assert measured >= {f"{column}_member_{i:02}" for column in ("reward", "noise_kl") for i in range(3)}
        assert measured >= {"reference_kl", "clean_reward", "target"}
    if name == "composite":
        assert measured >= {"indicator", "similarity", "certainty", "seconds_probe", "groups_refilled", "target"}
    made.base.params["final_norm"]["scale"].block_until_ready()  # the base was not given up
    judged = made.evaluate(state)
    assert set(judged) == set(made.evaluation_names()) and 0 < judged["eval_pass_at_1"] < judged["eval_pass_at_2"]
    assert str(judged) == str(made.evaluate(state))
    assert int(state.clock) == 1 and int(state.updates) == (4 if name == "kl" else 1)


def test_rewards_of_members_and_sides_are_their_means(cases, small):
    made = cases("kl")
    LOGS["kl"].rows.clear()
    _, (metrics,) = steps(made, 1)
    rows = LOGS["kl"].rows
    mean = lambda members: np.mean([row["reward"] for row in rows if row["member"] in members])  # noqa: E731
    assert metrics["clean_reward"] == pytest.approx(mean([-1]))
    assert metrics["noisy_reward"] == pytest.approx(mean([0, 1, 2]))
    for member in range(3):
        assert metrics[f"reward_member_{member:02}"] == pytest.approx(mean([member]))


def test_what_moves_sigma_is_a_mean_over_all_tokens_however_the_step_is_cut(small):
    """The same first step in one update and in four on two shares of the problems, whose answers differ in length."""
    found = {}
    for shares in (1, 2):
        algorithm = {"mini_batches": shares, "epochs": shares}
        made = small.reasoner(small.config(noise={"clean_share": 0.25}, algorithm=algorithm))
        kept, learn = [], made._learn
        made._learn = lambda state, gathered, gained, kept=kept, learn=learn: (
            kept.append(gathered.experience.answers) or learn(state, gathered, gained)
        )
        _, (found[shares],) = steps(made, 1)
        (answers,) = kept
    halves = answers.lengths[:, :2].sum(), answers.lengths[:, 2:].sum()
    assert halves[0] != halves[1]
    told = ("noise_kl", "ratio_", "sequence_ratio", "weight_", "probab", "clean_perp", "noisy_perp", "sampler_entropy")
    columns = [name for name in found[1] if name.startswith(told) or name.endswith("_share")]
    assert len(columns) > 20 and found[1]["noise_kl_k1"] != 0
    for name in columns:
        assert float(found[2][name]) == pytest.approx(float(found[1][name]), rel=1e-4, abs=1e-6), name
    assert set(found[1]) == set(found[2])


@pytest.mark.parametrize("name", CASES)
def test_state_goes_on_anywhere(cases, small, name):
    """Copied to the host after a step, as a checkpoint does, and taken up by a program of its own."""
    made = cases(name)
    template = made.template()
    state, _ = steps(made, 1)
    described = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), (state, template))
    assert described[0] == described[1]
    held = jax.tree.map(lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.array(leaf), state)
    last, told = steps(made, 2, state)
    again = jax.tree.map(jnp.asarray, held)
    resumed, retold = steps(made, 2, again)
    assert small.same(jax.tree.map(keyless, last), jax.tree.map(keyless, resumed))
    for one, other in zip(map(numbers, told), map(numbers, retold), strict=True):
        assert one.keys() == other.keys() and all(np.array_equal(one[k], other[k], equal_nan=True) for k in one)


def keyless(leaf):
    """The data of a typed key, anything else as it is."""
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def test_compiled_ahead_it_takes_the_same_step(cases, small):
    lazily, said = cases("kl"), []
    ahead = small.reasoner(small.config(**CASES["kl"]))
    ahead.prepare(ahead.template(), said.append)
    assert "3 perturbations a step of" in said[1] and "(mlp)" in said[1]
    (one, told), (other, retold) = steps(lazily, 2), steps(ahead, 2)
    assert small.same(one.params, other.params)
    assert numbers(told[1]).keys() == numbers(retold[1]).keys()


def test_the_anchor_is_from_before_the_first_update(cases, small):
    """Two mini-batches, two epochs: all four updates have the log-probs of the weights that the step began with."""
    made = cases("kl")
    state, seen = made.init(), []
    before, update, score = small.host(state.params), made._update, made._score
    made._update = lambda params, memory, part: (seen.append(part), update(params, memory, part))[1]
    scored = []
    made._score = lambda params, *given: (scored.append(small.host(params)), score(params, *given))[1]
    try:
        state, _ = made.step(state)
        assert len(seen) == 4
        for first, second in ((seen[0], seen[2]), (seen[1], seen[3])):
            np.testing.assert_array_equal(first.old, second.old)
            np.testing.assert_array_equal(first.reference, first.old)
        joined = np.concatenate([seen[0].old, seen[1].old], axis=1)
        answers = [np.concatenate([getattr(seen[i].answers, n) for i in (0, 1)], axis=1) for n in ("tokens", "lengths")]
        prompts = jax.tree.map(lambda *leaves: np.concatenate(leaves), seen[0].prompts, seen[1].prompts)
        np.testing.assert_allclose(joined, score(before, prompts, *answers), atol=1e-6)
        scored.clear()
        made.step(state)
        assert small.same(scored[1], before), "the reference stays the policy that training started from"
        assert not small.same(scored[0], before)
    finally:
        made._update, made._score = update, score


def test_without_a_coefficient_there_is_no_reference(cases, small):
    made = cases("composite")
    score, made._score = made._score, None
    try:
        _, (metrics,) = steps(made, 1)
        assert "reference_kl" not in metrics
    finally:
        made._score = score


def test_clean_weights_change_by_the_update_alone(cases, small):
    made = cases("composite")
    state = made.init()
    before = small.host(state.params)
    update, seen = made._update, []
    made._update = lambda params, memory, part: (seen.append(small.host(params)), update(params, memory, part))[1]
    try:
        state, _ = made.step(state)
    finally:
        made._update = update
    assert small.same(seen[0], before), "probes and rollouts left them bit for bit"
    assert not small.same(before, state.params)


def test_kl_rule_moves_for_the_next_step(cases):
    """Far below its target of 10 nats: the step's own rollouts have the old sigma, the state the new one."""
    state, told = steps(cases("kl"), 3)
    np.testing.assert_allclose([one["sigma"] for one in told], [0.3, 0.45, 0.5], rtol=1e-6)
    assert float(state.sigma.sigma) == pytest.approx(0.5), "the upper bound"


def test_staged_rule_follows_the_run(cases):
    state, told = steps(cases("staged"), 8)
    np.testing.assert_allclose([one["sigma"] for one in told], [0, 0, 0.4, 0.4, 0.2, 0.2, 0.1, 0.1], rtol=1e-5)
    assert float(state.sigma.sigma) == pytest.approx(0.1)
    assert np.isnan(told[0]["noisy_reward"]) and np.isfinite(told[2]["noisy_reward"])


def test_composite_rule_moves_before_the_rollouts(cases, small):
    """Too alike and too sure is more noise, in the same step; the opposite is less."""
    made = cases("composite")
    signals = made._signals
    probes = jnp.zeros((2, 4), jnp.float32)
    try:
        for alike, sure, wanted in ((1.0, 9.0, 0.25), (-1.0, 0.0, 0.16)):
            made._signals = lambda *_, a=alike, s=sure: {
                "similarity": np.full((4,), a, np.float32), "certainty": probes + s, "confidence": probes + s
            }  # fmt: skip
            LOGS["composite"].rows.clear()
            state, (metrics,) = steps(made, 1)
            assert metrics["sigma"] == pytest.approx(wanted) and float(state.sigma.sigma) == pytest.approx(wanted)
            assert {round(row["sigma"], 5) for row in LOGS["composite"].rows} == {0.0, wanted}
            assert metrics["similarity"] == pytest.approx(alike)
    finally:
        made._signals = signals


@pytest.mark.parametrize("similarity, policy", [("hidden", "clean"), ("ngram", "noisy"), ("hidden", "noisy")])
def test_an_alike_and_sure_policy_raises_sigma_and_an_undecided_one_lowers_it(small, similarity, policy):
    """Read off real probes: weights so large that every answer is the same, and so small that none is likely."""
    rule = Composite(
        None, 0.5, initial=0.01, rate=2.0, normalisation="fixed", probes=3, certainty="policy_to_uniform", gain=None,
        similarity=similarity, probe_policy=policy,
    )  # fmt: skip
    settings = small.config(sigma=rule)
    made = small.reasoner(settings)
    found = {}
    for scale in (300.0, 0.01):
        state = made.init()
        _, metrics = made.step(state.replace(params=small.weights(scale)))
        found[scale] = metrics["indicator"], metrics["sigma"]
    assert found[300.0][0] > 0.9 and found[300.0][1] == pytest.approx(0.02)
    assert found[0.01][0] < 0.5 and found[0.01][1] == pytest.approx(0.005)


def test_position_advances_by_what_was_drawn(small):
    refills = {"prompts": 4, "samples": 4, "refills": 2}
    made = small.reasoner(small.config(noise="none", rollout=refills), lambda p, t: [1.0] * len(t))
    state, told = steps(made, 2)
    assert int(state.position) == 24
    assert told[1]["groups_zero_advantage"] == 1.0 and told[1]["groups_refilled"] == 0.0
    assert small.same(state.params, made.base.params), "equal rewards leave the weights unchanged"


def test_rows_can_be_verified_and_scored_again(cases, small):
    """Step 2 from the weights after step 1: the text scores what it says, and noise drawn anew gives its log-prob."""
    made, log = cases("kl"), LOGS["kl"]
    state, _ = steps(made, 1)
    params = small.host(state.params)
    log.rows.clear()
    state, _ = made.step(state)
    rows = log.rows
    assert len(rows) == 16 and {row["step"] for row in rows} == {2}
    ids = [problem.id for problem in rows_problems(made, 4, 4)]
    assert [row["problem"] for row in rows] == [name for name in ids for _ in range(4)]
    assert [row["member"] for row in rows] == [-1, 0, 1, 2] * 4
    for row in rows:
        assert small.WORDS.decode(row["tokens"]) == row["text"] and len(row["tokens"]) == row["length"]
        assert small.even([None], [row["text"]]) == [row["score"]]
        assert row["reward"] == row["score"] and row["ended"] == (row["tokens"][-1] == 1)
    draw = made.noise.draw(jax.random.key(0), 1)
    noisy = [[row for row in rows if row["member"] == member] for member in range(3)]
    tokens = np.array([[row["tokens"] + [0] * (small.LIMIT - row["length"]) for row in own] for own in noisy], np.int32)
    lengths = np.array([[row["length"] for row in own] for own in noisy], np.int32)
    prompts = tokenizer.pack([small.WORDS.encode(row["prompt"]) for row in noisy[0]])
    answers = rollout.Answers(jnp.asarray(tokens), None, jnp.asarray(lengths), None, None, None)
    sigma = jnp.float32(noisy[0][0]["sigma"])
    assert float(sigma) == pytest.approx(0.45)
    again = jax.jit(
        lambda params, draw: rollout.rescore(
            small.DECODER, made.noise, params, draw, sigma, prompts, answers, jnp.float32(1.0)
        )
    )(params, draw)
    logged = np.array([[row["log_prob"] for row in own] for own in noisy])
    np.testing.assert_allclose(np.asarray(again).sum(-1), logged, atol=1e-3)
    gained = np.array([row["advantage"] for row in rows]).reshape(4, 4)
    rewards = np.array([row["reward"] for row in rows]).reshape(4, 4)
    likely = np.array([row["log_prob"] for row in rows]).reshape(4, 4)
    again = made._advantages(rewards.astype(np.float32), likely.astype(np.float32))
    np.testing.assert_allclose(gained, np.asarray(again), atol=1e-5)


def rows_problems(made, position, count):
    """Problems of the stream from ``position`` on."""
    return [made.problems.train.problem(index) for index in range(position, position + count)]


def test_seeds_differ_in_noise_and_problems(small, cases):
    one, other = cases("kl"), small.reasoner(small.config(**CASES["kl"]), seed=1)
    assert rows_problems(one, 0, 4) != rows_problems(other, 0, 4)
    keys = [np.asarray(jax.random.key_data(made.init().key)).tolist() for made in (one, other)]
    assert keys[0] != keys[1]


def test_evaluations_share_their_random_numbers(cases, small):
    """Whatever the seed: what differs between two policies is the policy."""
    one, other = cases("plain"), small.reasoner(small.config(**CASES["plain"]), seed=1)
    assert str(one.evaluate(one.init())) == str(other.evaluate(other.init()))
    same = [np.asarray(jax.random.key_data(program.evaluation_key())).tolist() for _ in range(2)]
    assert same[0] == same[1]


def test_the_journal_is_durable_when_asked_and_closed(cases):
    made, log = cases("plain"), LOGS["plain"]
    made.sync()
    assert log.calls[-1] == "sync"
