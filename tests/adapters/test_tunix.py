"""Perturbed rollouts on google-tunix. Skipped where tunix is missing, as in the environment of the other tests; to run:

uv venv --python 3.12 tunix-env
uv pip install --python tunix-env/bin/python -e '.[tunix]' pytest pytest-timeout beartype hypothesis
tunix-env/bin/python -m pytest tests/adapters
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType

from jaxpsn import noise
from jaxpsn.core import compat
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.exploration.rules import Composite

pytest.importorskip("tunix", reason="google-tunix is missing; it has an environment of its own (see this file's head)")

pytestmark = pytest.mark.filterwarnings("ignore")  # tunix and what it brings warn in many ways


@pytest.fixture(scope="module")
def model(tiny):
    return tiny.a_model()


@pytest.fixture(scope="module")
def engine(tiny, model):
    return tiny.an_engine(model)


@pytest.mark.parametrize("sigma, noise", [(0.0, None), (0.5, "none")])
def test_without_noise_it_is_tunixs_own_rollout_with_the_ends_put_back(tiny, model, engine, sigma, noise):
    order = tiny.an_order(model, per="step", sigma=sigma, noise=noise)
    member = order.members[0]
    output, drawn = tiny.sampled(engine, order, tiny.rows_of(tiny.PROMPTS))
    cache = tiny.base_rollout.CacheConfig(
        cache_size=tiny.PROMPT + tiny.ANSWER, num_layers=2, num_kv_heads=2, head_dim=4
    )
    own = tiny.vanilla_rollout.VanillaRollout(model, tiny.Words(), cache)
    seed = jax.random.fold_in(jax.random.fold_in(order.key, 0), member + 1)
    with compat.foreign():
        tunix = own.generate(tiny.rows_of(tiny.PROMPTS), tiny.rollout_config(seed=seed, return_logprobs=True))
    assert output.text == tunix.text
    np.testing.assert_array_equal(output.left_padded_prompt_tokens, tunix.left_padded_prompt_tokens)
    for row, (ours, theirs) in enumerate(zip(output.tokens, tunix.tokens, strict=True)):
        np.testing.assert_array_equal(ours[: len(theirs)], theirs)
        np.testing.assert_array_equal(output.logprobs[row][: len(theirs)], np.float32(tunix.logprobs[row]))
        ended = len(theirs) < tiny.ANSWER
        assert list(ours[len(theirs) :]) == [1] * ended and drawn.lengths[row] == len(theirs) + ended
    assert any(len(theirs) < tiny.ANSWER for theirs in tunix.tokens) and any(
        len(one) == tiny.ANSWER for one in output.tokens
    )


@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
@pytest.mark.parametrize("rows", [48, 16], ids=["whole", "chunks"])
def test_noise_is_that_of_step_and_member_however_rows_are_cut(tiny, kind, rows):
    model = tiny.a_model(kind)
    engine, order, prompts = tiny.an_engine(model), tiny.an_order(model), tiny.rows_of(tiny.PROMPTS * 3)
    _, params = noise.nnx_policy(model)
    with engine.sampling(order) as drawn:
        outputs = [engine.generate(prompts[at : at + rows], tiny.rollout_config()) for at in range(0, 48, rows)]
    asked = np.concatenate([output.left_padded_prompt_tokens for output in outputs])
    answers = tiny.rollout.Answers(*(np.concatenate(column) for column in zip(*drawn, strict=True)))
    mask = tiny.learners.counted(answers.tokens, answers.lengths, 0)
    # The last token of an answer of full length is there too: tunix decodes one step too many, to no effect.
    assert (mask.sum(axis=1) == tiny.ANSWER).any() and (mask.sum(axis=1) < answers.lengths).any()
    for member in range(tiny.GROUP):
        mine = np.arange(48) % tiny.GROUP == member
        theta = order.perturbation.weights(params, order.step, member, order.sigma)
        expected = tiny.log_probs(model, theta, asked[mine], answers.tokens[mine])
        np.testing.assert_allclose(
            np.where(mask[mine], answers.log_probs[mine], 0), np.where(mask[mine], expected, 0), atol=2e-4
        )
        clean = tiny.log_probs(model, params, asked[mine], answers.tokens[mine])
        assert np.abs(np.where(mask[mine], expected - clean, 0)).max() > 0.05, "the noise moves something"


def test_noise_is_a_function_of_seed_step_member_and_path(tiny, model):
    _, params = noise.nnx_policy(model)
    made = tiny.an_order(model).perturbation

    def kernel(made, *which):
        return np.asarray(made.weights(params, *which, 0.5)["layers"][0]["mlp"]["up_proj"]["kernel"])

    first = kernel(made, 3, 1)
    np.testing.assert_array_equal(first, kernel(tiny.an_order(model, step=8).perturbation, 3, 1))
    for other in (kernel(made, 4, 1), kernel(made, 3, 0), kernel(tiny.an_order(model, seed=1).perturbation, 3, 1)):
        assert (other != first).all()
    left_alone = made.weights(params, 3, 1, 0.5)["layers"][0]["attn"]["q_proj"]["w"]
    np.testing.assert_array_equal(left_alone, params["layers"][0]["attn"]["q_proj"]["w"])


def test_opposite_twins(tiny, model):
    _, params = noise.nnx_policy(model)
    made = tiny.perturbation.plan(model, Psn("dense(antithetic=true)"), jax.random.key(0))
    clean, kernels = params["layers"][1]["mlp"]["down_proj"]["kernel"], []
    for member in range(4):
        kernels.append(np.asarray(made.weights(params, 0, member, 0.5)["layers"][1]["mlp"]["down_proj"]["kernel"]))
    np.testing.assert_allclose(kernels[0] - clean, clean - kernels[1], atol=1e-6)
    assert (kernels[0] != kernels[2]).all()


@pytest.mark.parametrize(
    "target, touched", [("mlp", "mlp"), ("attention", "attn"), ("norms", "norm"), ("re:q_bias", "q_bias"), ("all", "")]
)
def test_targets_are_tunixs_layers(tiny, model, target, touched):
    leaves = tiny.an_order(model, target=target).perturbation.spec.leaves
    assert leaves and all(touched in leaf.path for leaf in leaves)
    assert target == "all" or len(leaves) < 22


def test_each_call_draws_other_tokens_and_an_order_draws_the_same_again(tiny, model, engine):
    order, prompts = tiny.an_order(model), tiny.rows_of(tiny.PROMPTS[:1])
    with engine.sampling(order) as drawn:
        for _ in range(2):
            engine.generate(prompts, tiny.rollout_config())
    assert (drawn[0].tokens != drawn[1].tokens).any()
    _, again = tiny.sampled(engine, order._replace(start=4), prompts)
    np.testing.assert_array_equal(again.tokens, drawn[1].tokens)
    _, later = tiny.sampled(engine, order._replace(key=jax.random.key(10)), prompts)
    assert (later.tokens != drawn[0].tokens).any()


class Stop(Exception):
    """Stands for whatever may go wrong."""


def test_the_clean_weights_are_never_written_to(tiny, model, engine, monkeypatch):
    before, state = tiny.flat(model), engine._sampler.transformer_state
    used = []

    def spied(*args):
        used.append([np.asarray(leaf) for leaf in jax.tree.leaves(engine._sampler.transformer_state)])
        raise Stop

    tiny.sampled(engine, tiny.an_order(model), tiny.rows_of(tiny.PROMPTS))
    monkeypatch.setattr(engine._sampler, "_compiled_decode_fn", spied)
    with pytest.raises(Stop):
        tiny.sampled(engine, tiny.an_order(model), tiny.rows_of(tiny.PROMPTS))
    assert any((a != b).any() for a, b in zip(used[0], before, strict=True)), "it was perturbed at that moment"
    assert engine._sampler.transformer_state is state
    for now, then in zip(tiny.flat(model), before, strict=True):
        np.testing.assert_array_equal(now, then)
    with pytest.raises(Stop):
        engine.generate(tiny.PROMPTS, tiny.rollout_config())  # no order stands any more
    for now, then in zip(used[1], before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_padding_inside_an_answer_cuts_it_and_an_end_that_is_padding_counts(tiny):
    tokens = np.array([[4, 0, 5, 1], [4, 5, 1, 0], [4, 5, 6, 7], [0, 0, 1, 0]])
    found = tiny.learners.counted(tokens, np.array([4, 3, 4, 3]), 0)
    np.testing.assert_array_equal(found, [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]])
    np.testing.assert_array_equal(tiny.learners.counted(tokens[1:3], np.array([3, 4]), 1), [[1, 1, 1, 0], [1, 1, 1, 1]])


def test_where_end_and_padding_are_one_token_the_end_is_learnt(tiny, model):
    engine = tiny.an_engine(model, tiny.Words(pad=1))
    output, drawn = tiny.sampled(engine, tiny.an_order(model), tiny.rows_of(tiny.PROMPTS))
    mask = tiny.learners.counted(drawn.tokens, drawn.lengths, 1)
    np.testing.assert_array_equal(mask.sum(axis=1), drawn.lengths)
    short = drawn.lengths < tiny.ANSWER
    assert short.any() and (drawn.tokens[short, drawn.lengths[short] - 1] == 1).all()
    scored = engine.get_per_token_logps(jnp.asarray(output.left_padded_prompt_tokens), jnp.asarray(drawn.tokens))
    assert np.isfinite(np.asarray(scored)[mask]).all()


def test_llama_is_refused_by_name(tiny):
    with compat.foreign():
        config = tiny.llama.ModelConfig(**{**tiny.SIZES, "num_layers": 1})
        model = tiny.llama.Llama3(config, rngs=nnx.Rngs(0))
    tiny.refused(lambda: tiny.an_engine(model), "Llama3", "rope_theta")


def test_explicit_axes_are_refused_with_the_remedy(tiny):
    tiny.refused(lambda: tiny.a_cluster(mesh=tiny.a_mesh(AxisType.Explicit)), "role_to_mesh", "AxisType.Auto")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"top_p": 0.9}, ("top_p", "0.9")),
        ({"top_p": None}, ("top_p", "None")),
        ({"top_k": 5}, ("top_k", "5")),
        ({"temperature": 0.0}, ("temperature",)),
    ],
)
def test_what_is_not_the_whole_distribution_is_refused(tiny, changes, words):
    tiny.refused(lambda: tiny.rollout.check_sampling(tiny.rollout_config(**changes)), *words)


def test_a_learner_refuses_a_cluster_that_would_ignore_it(tiny):
    plain, packed = tiny.a_cluster(engine="vanilla"), tiny.a_cluster(max_seq_token_per_tpu=64)
    cut = tiny.a_cluster(config=tiny.rollout_config(top_p=0.5))
    for cluster, word in ((plain, "PSNRollout"), (packed, "max_seq_token_per_tpu"), (cut, "top_p")):
        tiny.refused(lambda cluster=cluster: tiny.Told(cluster), word)


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"noise": Psn(sigma=Composite())}, "noise.sigma = 'composite'"),
        ({"noise": "psn(hold=pink)"}, "noise.hold = 'pink': episode on tunix"),
        ({"noise": "ivon"}, "noise = 'ivon': none or psn on tunix"),
        ({"correction": "tokens"}, "correction"),
        ({"correction": "token(cap=0)"}, "cap"),
        ({"seed": -1}, "seed"),
    ],
)
def test_configs_refuse_what_is_not_offered(tiny, changes, word):
    tiny.refused(lambda: tiny.adapter.PSNConfig(**changes), word)


def test_groups_are_divided_or_refused(tiny):
    def members(**asked):
        return tiny.adapter.PSNConfig(noise=Psn(**asked)).members(6)

    assert members(per="step") == (0,) * 6
    assert members(per="sample") == tuple(range(6))
    assert members(per="replica", replicas=2, clean_share=0.34) == (0, 1, 0, 1, -1, -1)
    assert tiny.adapter.PSNConfig(noise="none").members(6) == (-1,) * 6
    tiny.refused(lambda: members(per="replica", replicas=4), "replicas")
    tiny.refused(lambda: members(per="step", structure="dense(antithetic=true)"), "antithetic")


def test_a_prompt_that_does_not_fit_is_refused(tiny, model, engine):
    tiny.refused(lambda: tiny.sampled(engine, tiny.an_order(model), ["a", "b", "c", "abcdefgh"]), "max_prompt_length")


def test_another_release_is_refused(tiny, monkeypatch):
    monkeypatch.setattr(tiny.adapter.metadata, "version", lambda name: "0.1.8")
    tiny.refused(tiny.adapter.check_version, "0.1.8", "0.1.7")
