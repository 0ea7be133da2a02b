"""PSN on google-tunix. Skipped where tunix is missing, as in the environment of the other tests; to run it:

uv venv --python 3.12 tunix-env
uv pip install --python tunix-env/bin/python -e '.[tunix]' pytest pytest-timeout beartype
tunix-env/bin/python -m pytest tests/adapters
"""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType

from jaxpsn import compat, errors, noise
from jaxpsn.rlvr.config import NoiseConfig, SigmaConfig

pytest.importorskip("tunix", reason="google-tunix is missing; it has an environment of its own (see this file's head)")

with warnings.catch_warnings(), compat.foreign():
    warnings.simplefilter("ignore")
    import optax
    from tunix.models.llama3 import model as llama
    from tunix.models.qwen2 import model as qwen2
    from tunix.models.qwen3 import model as qwen3
    from tunix.rl import rl_cluster as clusters
    from tunix.rl.grpo.grpo_learner import GRPOConfig
    from tunix.rl.rollout import base_rollout, vanilla_rollout

    from jaxpsn.adapters import tunix as adapter
    from jaxpsn.adapters.tunix import learner as learners
    from jaxpsn.adapters.tunix import perturbation, rollout

pytestmark = pytest.mark.filterwarnings("ignore")  # tunix and what it brings warn in many ways

PROMPT, ANSWER, GROUP, TEMPERATURE = 6, 7, 4, 1.3
PROMPTS = ["ab", "cde", "fgh", "dacb"]
SIZES = {
    "num_layers": 2, "vocab_size": 10, "embed_dim": 16, "hidden_dim": 24, "num_heads": 4, "head_dim": 4,
    "num_kv_heads": 2, "rope_theta": 10_000, "norm_eps": 1e-6,
}  # fmt: skip


class Words:
    """Letters from 2 on; 0 is padding, 1 the end."""

    def __init__(self, pad=0):
        self._pad = pad

    def encode(self, text):
        return [ord(letter) - ord("a") + 2 for letter in text]

    def decode(self, ids):
        return "".join(chr(ord("a") + one - 2) for one in ids if one > 1)

    def bos_id(self):
        return 0

    def eos_id(self):
        return 1

    def pad_id(self):
        return self._pad


def shaken(model):
    """Every parameter drawn anew: tunix starts MLPs and biases at zero."""
    graph, state = nnx.split(model)
    leaves, tree = jax.tree.flatten(state)
    keys = jax.random.split(jax.random.key(5), len(leaves))
    drawn = [leaf + 0.4 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return nnx.merge(graph, jax.tree.unflatten(tree, drawn))


def a_model(kind=qwen2):
    family = {qwen2: "Qwen2", qwen3: "Qwen3"}[kind]
    with compat.foreign():
        return shaken(getattr(kind, family)(kind.ModelConfig(**SIZES), rngs=nnx.Rngs(0)))


def a_mesh(kind=AxisType.Auto):
    return jax.make_mesh((1, 1), ("fsdp", "tp"), devices=jax.devices()[:1], axis_types=(kind,) * 2)


def rollout_config(**changes):
    usual = {
        "max_tokens_to_generate": ANSWER, "max_prompt_length": PROMPT, "kv_cache_size": PROMPT + ANSWER,
        "temperature": TEMPERATURE,
    }  # fmt: skip
    return base_rollout.RolloutConfig(**{**usual, **changes})


def an_engine(model, words=None):
    return rollout.PSNRollout(model, words or Words(), a_mesh(), rollout_config())


def an_order(model, per="sample", step=3, sigma=0.5, structure="dense", start=0, target="mlp", seed=0):
    """The order of a group of four, and the perturbation in it."""
    psn = adapter.PSNConfig(noise=NoiseConfig(structure=structure, per=per, target=target))
    made = perturbation.plan(model, psn.noise, jax.random.key(seed))
    return rollout.Order(psn.members(GROUP), jax.random.key(9), step, jnp.float32(sigma), made, start)


def rows_of(prompts):
    return [prompt for prompt in prompts for _ in range(GROUP)]


def sampled(engine, order, prompts):
    with engine.sampling(order) as drawn:
        output = engine.generate(prompts, rollout_config())
    return output, drawn[0]


def log_probs(model, params, prompts, tokens):
    """Float64 log-probs of the tokens: one pass without a cache, softmax by NumPy."""
    apply, _ = noise.nnx_policy(model)
    ids = np.concatenate([prompts, tokens], axis=1)
    real = np.concatenate([prompts != 0, np.ones_like(tokens, bool)], axis=1)
    positions = np.maximum(np.cumsum(real, axis=1) - 1, 0)
    mask = np.tril(np.ones((ids.shape[1],) * 2, bool))[None] & real[:, None, :]
    with compat.foreign():
        logits = apply(params, jnp.asarray(ids), jnp.asarray(positions), None, jnp.asarray(mask))[0]
    logits = np.asarray(logits, np.float64)[:, prompts.shape[1] - 1 : -1] / TEMPERATURE
    logits -= logits.max(axis=-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return np.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]


def flat(model):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model))]


@pytest.fixture(scope="module")
def model():
    return a_model()


@pytest.fixture(scope="module")
def engine(model):
    return an_engine(model)


@pytest.mark.parametrize("sigma, structure", [(0.0, "dense"), (0.5, "none")])
def test_without_noise_it_is_tunixs_own_rollout_with_the_ends_put_back(model, engine, sigma, structure):
    order = an_order(model, per="step", sigma=sigma, structure=structure)
    member = order.members[0]
    output, drawn = sampled(engine, order, rows_of(PROMPTS))
    cache = base_rollout.CacheConfig(cache_size=PROMPT + ANSWER, num_layers=2, num_kv_heads=2, head_dim=4)
    own = vanilla_rollout.VanillaRollout(model, Words(), cache)
    seed = jax.random.fold_in(jax.random.fold_in(order.key, 0), member + 1)
    with compat.foreign():
        tunix = own.generate(rows_of(PROMPTS), rollout_config(seed=seed, return_logprobs=True))
    assert output.text == tunix.text
    np.testing.assert_array_equal(output.left_padded_prompt_tokens, tunix.left_padded_prompt_tokens)
    for row, (ours, theirs) in enumerate(zip(output.tokens, tunix.tokens, strict=True)):
        np.testing.assert_array_equal(ours[: len(theirs)], theirs)
        np.testing.assert_array_equal(output.logprobs[row][: len(theirs)], np.float32(tunix.logprobs[row]))
        ended = len(theirs) < ANSWER
        assert list(ours[len(theirs) :]) == [1] * ended and drawn.lengths[row] == len(theirs) + ended
    assert any(len(theirs) < ANSWER for theirs in tunix.tokens) and any(len(one) == ANSWER for one in output.tokens)


@pytest.mark.parametrize("kind", [qwen2, qwen3], ids=["qwen2", "qwen3"])
@pytest.mark.parametrize("rows", [48, 16], ids=["whole", "chunks"])
def test_noise_is_that_of_step_and_member_however_rows_are_cut(kind, rows):
    model = a_model(kind)
    engine, order, prompts = an_engine(model), an_order(model), rows_of(PROMPTS * 3)
    _, params = noise.nnx_policy(model)
    with engine.sampling(order) as drawn:
        outputs = [engine.generate(prompts[at : at + rows], rollout_config()) for at in range(0, 48, rows)]
    asked = np.concatenate([output.left_padded_prompt_tokens for output in outputs])
    answers = rollout.Answers(*(np.concatenate(column) for column in zip(*drawn, strict=True)))
    mask = learners.counted(answers.tokens, answers.lengths, 0)
    # The last token of an answer of full length is there too: tunix decodes one step too many, to no effect.
    assert (mask.sum(axis=1) == ANSWER).any() and (mask.sum(axis=1) < answers.lengths).any()
    for member in range(GROUP):
        mine = np.arange(48) % GROUP == member
        theta = order.perturbation.weights(params, order.step, member, order.sigma)
        expected = log_probs(model, theta, asked[mine], answers.tokens[mine])
        np.testing.assert_allclose(
            np.where(mask[mine], answers.log_probs[mine], 0), np.where(mask[mine], expected, 0), atol=2e-4
        )
        clean = log_probs(model, params, asked[mine], answers.tokens[mine])
        assert np.abs(np.where(mask[mine], expected - clean, 0)).max() > 0.05, "the noise moves something"


def test_noise_is_a_function_of_seed_step_member_and_path(model):
    _, params = noise.nnx_policy(model)
    made = an_order(model).perturbation

    def kernel(made, *which):
        return np.asarray(made.weights(params, *which, 0.5)["layers"][0]["mlp"]["up_proj"]["kernel"])

    first = kernel(made, 3, 1)
    np.testing.assert_array_equal(first, kernel(an_order(model, step=8).perturbation, 3, 1))
    for other in (kernel(made, 4, 1), kernel(made, 3, 0), kernel(an_order(model, seed=1).perturbation, 3, 1)):
        assert (other != first).all()
    left_alone = made.weights(params, 3, 1, 0.5)["layers"][0]["attn"]["q_proj"]["w"]
    np.testing.assert_array_equal(left_alone, params["layers"][0]["attn"]["q_proj"]["w"])


def test_opposite_twins(model):
    _, params = noise.nnx_policy(model)
    made = perturbation.plan(model, NoiseConfig(structure="dense", antithetic=True), jax.random.key(0))
    clean, kernels = params["layers"][1]["mlp"]["down_proj"]["kernel"], []
    for member in range(4):
        kernels.append(np.asarray(made.weights(params, 0, member, 0.5)["layers"][1]["mlp"]["down_proj"]["kernel"]))
    np.testing.assert_allclose(kernels[0] - clean, clean - kernels[1], atol=1e-6)
    assert (kernels[0] != kernels[2]).all()


@pytest.mark.parametrize(
    "target, touched", [("mlp", "mlp"), ("attention", "attn"), ("norms", "norm"), ("re:q_bias", "q_bias"), ("all", "")]
)
def test_targets_are_tunixs_layers(model, target, touched):
    leaves = an_order(model, target=target).perturbation.spec.leaves
    assert leaves and all(touched in leaf.path for leaf in leaves)
    assert target == "all" or len(leaves) < 22


def test_each_call_draws_other_tokens_and_an_order_draws_the_same_again(model, engine):
    order, prompts = an_order(model), rows_of(PROMPTS[:1])
    with engine.sampling(order) as drawn:
        for _ in range(2):
            engine.generate(prompts, rollout_config())
    assert (drawn[0].tokens != drawn[1].tokens).any()
    _, again = sampled(engine, order._replace(start=4), prompts)
    np.testing.assert_array_equal(again.tokens, drawn[1].tokens)
    _, later = sampled(engine, order._replace(key=jax.random.key(10)), prompts)
    assert (later.tokens != drawn[0].tokens).any()


class Stop(Exception):
    """Stands for whatever may go wrong."""


def test_the_clean_weights_are_never_written_to(model, engine, monkeypatch):
    before, state = flat(model), engine._sampler.transformer_state
    used = []

    def spied(*args):
        used.append([np.asarray(leaf) for leaf in jax.tree.leaves(engine._sampler.transformer_state)])
        raise Stop

    sampled(engine, an_order(model), rows_of(PROMPTS))
    monkeypatch.setattr(engine._sampler, "_compiled_decode_fn", spied)
    with pytest.raises(Stop):
        sampled(engine, an_order(model), rows_of(PROMPTS))
    assert any((a != b).any() for a, b in zip(used[0], before, strict=True)), "it was perturbed at that moment"
    assert engine._sampler.transformer_state is state
    for now, then in zip(flat(model), before, strict=True):
        np.testing.assert_array_equal(now, then)
    with pytest.raises(Stop):
        engine.generate(PROMPTS, rollout_config())  # no order stands any more
    for now, then in zip(used[1], before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_padding_inside_an_answer_cuts_it_and_an_end_that_is_padding_counts():
    tokens = np.array([[4, 0, 5, 1], [4, 5, 1, 0], [4, 5, 6, 7], [0, 0, 1, 0]])
    found = learners.counted(tokens, np.array([4, 3, 4, 3]), 0)
    np.testing.assert_array_equal(found, [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]])
    np.testing.assert_array_equal(learners.counted(tokens[1:3], np.array([3, 4]), 1), [[1, 1, 1, 0], [1, 1, 1, 1]])


def test_where_end_and_padding_are_one_token_the_end_is_learnt(model):
    engine = an_engine(model, Words(pad=1))
    output, drawn = sampled(engine, an_order(model), rows_of(PROMPTS))
    mask = learners.counted(drawn.tokens, drawn.lengths, 1)
    np.testing.assert_array_equal(mask.sum(axis=1), drawn.lengths)
    short = drawn.lengths < ANSWER
    assert short.any() and (drawn.tokens[short, drawn.lengths[short] - 1] == 1).all()
    scored = engine.get_per_token_logps(jnp.asarray(output.left_padded_prompt_tokens), jnp.asarray(drawn.tokens))
    assert np.isfinite(np.asarray(scored)[mask]).all()


def a_cluster(rate=0.0, engine=rollout.PSNRollout, mesh=None, config=None, model=None, **training):
    mesh = mesh or a_mesh()
    roles = clusters.Role.ACTOR, clusters.Role.REFERENCE, clusters.Role.ROLLOUT
    asked = clusters.ClusterConfig(
        role_to_mesh=dict.fromkeys(roles, mesh),
        rollout_engine=engine,
        training_config=clusters.RLTrainingConfig(
            actor_optimizer=optax.sgd(rate), eval_every_n_steps=1000, max_steps=100, **training
        ),
        rollout_config=config or rollout_config(),
    )
    with compat.foreign():
        return clusters.RLCluster(actor=model or a_model(), tokenizer=Words(), cluster_config=asked)


def rewards(prompts, completions, **_):
    return [float(len(text)) for text in completions]


def batches(count):
    return ({"prompts": np.array(PROMPTS)} for _ in range(count))


PSN = adapter.PSNConfig(
    noise=NoiseConfig(structure="dense", per="replica", replicas=3, clean_share=0.25),
    sigma=SigmaConfig(rule="kl", initial=0.4, kl_target=0.01, rate=1.25, estimator="k3"),
    cap=1.02,
)


class Told:
    """What tunix logs, by step; the examples that the trainer got, and the answers they were made of."""

    def __init__(self, cluster, psn=PSN, iterations=1):
        self.columns, self.examples, self.answers = {}, [], []
        cluster.with_external_metrics_logger(self.note)
        algorithm = GRPOConfig(num_generations=GROUP, beta=0.0, num_iterations=iterations)
        self.learner = adapter.PSNLearner(cluster, algorithm, rewards, psn=psn)
        corrected, update, self.signals = self.learner._corrected, self.learner._controller.update, []

        def heard(state, signals):
            self.signals.append(signals)
            return update(state, signals)

        self.learner._controller = self.learner._controller._replace(update=heard)

        def kept(example, answers):
            self.answers.append(answers)
            self.examples.append(corrected(example, answers))
            return self.examples[-1]

        self.learner._corrected = kept

    def note(self, buffer):
        self.columns.setdefault(buffer.global_steps, {}).update(
            {name: op(np.array(values)) for name, (values, op) in buffer.metrics.items() if name.startswith("psn/")}
        )


@pytest.fixture(scope="module")
def trained():
    """Three steps at a rate of zero, in micro-batches; the weights before and after."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = a_cluster(mini_batch_size=4, train_micro_batch_size=2, rollout_micro_batch_size=1)
        told = Told(cluster)
        before = flat(cluster.actor_trainer.model)
        told.learner.train(batches(3))
        return told, before, cluster.actor_trainer.model


def test_the_actor_moves_by_its_optimiser_alone(trained):
    _, before, model = trained
    for now, then in zip(flat(model), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_weights_are_those_of_a_float64_reference(trained):
    told, _, model = trained
    _, params = noise.nnx_policy(model)
    assert len(told.examples) == 6, "two micro-batches a step"
    capped = 0
    for index, (example, answers) in enumerate(zip(told.examples, told.answers, strict=True)):
        step, sigma = index // 2, told.columns[index // 2]["psn/sigma"]
        mask = learners.counted(answers.tokens, answers.lengths, 0)
        clean = log_probs(model, params, np.asarray(example.prompt_ids), answers.tokens)
        noisy = np.array(clean)
        for member in range(3):
            theta = told.learner._noise.weights(params, step, member, sigma)
            mine = np.arange(len(mask)) % GROUP == member
            noisy[mine] = log_probs(model, theta, np.asarray(example.prompt_ids)[mine], answers.tokens[mine])
        expected = np.where(mask, np.minimum(np.exp(clean - noisy), PSN.cap), 0.0)
        np.testing.assert_allclose(example.sampler_is_weights, expected, rtol=2e-3, atol=1e-6)
        np.testing.assert_array_equal(example.completion_mask, mask)
        np.testing.assert_array_equal(answers.noisy, np.arange(len(mask)) % GROUP < 3)
        capped += (expected == PSN.cap).sum()
    assert capped > 10


def test_sigma_follows_the_kl_of_the_whole_step_and_the_log_says_so(trained):
    told, _, _ = trained
    sigma = 0.4
    for step in range(3):
        np.testing.assert_allclose(told.columns[step]["psn/sigma"], sigma, rtol=1e-6)
        difference = []
        for example, answers in list(zip(told.examples, told.answers, strict=True))[2 * step : 2 * step + 2]:
            mask = np.asarray(example.completion_mask) & answers.noisy[:, None]
            scored = told.learner.rl_cluster.rollout.get_per_token_logps(example.prompt_ids, example.completion_ids)
            difference.append((np.float64(scored) - np.float64(answers.log_probs))[mask])
        difference = np.concatenate(difference)
        found = np.mean(np.exp(difference) - 1 - difference)
        if step < 2:
            np.testing.assert_allclose(told.signals[step]["noise_kl_k3"], found, rtol=1e-4)
        sigma = np.clip(sigma * (1 / 1.25 if found > 0.011 else 1.25 if found < 0.01 / 1.1 else 1), 1e-6, 0.5)
        assert {"psn/weight_mean", "psn/weight_ess", "psn/noise_kl_k1", "psn/ratio_max"} <= set(told.columns[step])
    assert sigma != 0.4


def test_evaluation_is_clean(trained):
    told, _, model = trained
    count = len(told.examples)
    with compat.foreign():
        asked = {"prompts": np.array(rows_of(PROMPTS[:2]))}
        example = told.learner._generate_and_compute_advantage(asked, clusters.Mode.EVAL)
    assert example.sampler_is_weights is None and len(told.examples) == count
    answers = rollout.Answers(
        *(np.concatenate(column) for column in zip(*told.learner.rl_cluster.rollout._drawn, strict=True))
    )
    assert not answers.noisy.any()
    _, params = noise.nnx_policy(model)
    mask = learners.counted(answers.tokens, answers.lengths, 0)
    expected = log_probs(model, params, np.asarray(example.prompt_ids), answers.tokens)
    np.testing.assert_allclose(np.where(mask, answers.log_probs, 0), np.where(mask, expected, 0), atol=2e-4)


def test_weights_reach_the_loss_and_old_log_probs_have_the_sampling_temperature():
    """Where every token is dropped, updates at any rate change nothing."""
    cluster = a_cluster(rate=0.1)
    before = flat(cluster.actor_trainer.model)
    told = Told(cluster, dataclasses.replace(PSN, correction="token_mask", cap=1e-6), iterations=2)
    told.learner.train(batches(1))
    model, example = cluster.actor_trainer.model, told.examples[0]
    for now, then in zip(flat(model), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert np.abs(example.advantages).max() > 0.1 and cluster.actor_trainer.train_steps == 2
    _, params = noise.nnx_policy(model)
    mask = np.asarray(example.completion_mask)
    expected = log_probs(model, params, np.asarray(example.prompt_ids), told.answers[0].tokens)
    found = np.asarray(example.old_per_token_logps)
    np.testing.assert_allclose(np.where(mask, found, 0), np.where(mask, expected, 0), atol=2e-4)


def refused(call, *words):
    with pytest.raises(errors.UserError) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line and all(word in line for word in words), line


def test_llama_is_refused_by_name():
    with compat.foreign():
        config = llama.ModelConfig(**{**SIZES, "num_layers": 1})
        model = llama.Llama3(config, rngs=nnx.Rngs(0))
    refused(lambda: an_engine(model), "Llama3", "rope_theta")


def test_explicit_axes_are_refused_with_the_remedy():
    refused(lambda: a_cluster(mesh=a_mesh(AxisType.Explicit)), "role_to_mesh", "AxisType.Auto")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"top_p": 0.9}, ("top_p", "0.9")),
        ({"top_p": None}, ("top_p", "None")),
        ({"top_k": 5}, ("top_k", "5")),
        ({"temperature": 0.0}, ("temperature",)),
    ],
)
def test_what_is_not_the_whole_distribution_is_refused(changes, words):
    refused(lambda: rollout.check_sampling(rollout_config(**changes)), *words)


def test_a_learner_refuses_a_cluster_that_would_ignore_it():
    plain, packed = a_cluster(engine="vanilla"), a_cluster(max_seq_token_per_tpu=64)
    cut = a_cluster(config=rollout_config(top_p=0.5))
    for cluster, word in ((plain, "PSNRollout"), (packed, "max_seq_token_per_tpu"), (cut, "top_p")):
        refused(lambda cluster=cluster: Told(cluster), word)


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"sigma": SigmaConfig(rule="composite")}, "sigma.rule"),
        ({"correction": "tokens"}, "correction"),
        ({"cap": 0.0}, "cap"),
        ({"seed": -1}, "seed"),
    ],
)
def test_configs_refuse_what_is_not_offered(changes, word):
    refused(lambda: adapter.PSNConfig(**changes), word)


def test_groups_are_divided_or_refused():
    def members(**asked):
        return adapter.PSNConfig(noise=NoiseConfig(**asked)).members(6)

    assert members(per="step") == (0,) * 6
    assert members(per="sample") == tuple(range(6))
    assert members(per="replica", replicas=2, clean_share=0.34) == (0, 1, 0, 1, -1, -1)
    assert members(structure="none") == (-1,) * 6
    refused(lambda: members(per="replica", replicas=4), "replicas")
    refused(lambda: members(per="step", antithetic=True), "antithetic")


def test_a_prompt_that_does_not_fit_is_refused(model, engine):
    refused(lambda: sampled(engine, an_order(model), ["a", "b", "c", "abcdefgh"]), "max_prompt_length")


def test_another_release_is_refused(monkeypatch):
    monkeypatch.setattr(adapter.metadata, "version", lambda name: "0.1.8")
    refused(adapter.check_version, "0.1.8", "0.1.7")
