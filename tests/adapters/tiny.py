"""A tiny tunix model, cluster and learner for the tests here; wants tunix."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType

from jaxpsn import noise
from jaxpsn.core import compat, errors
from jaxpsn.rlvr.exploration.noises import Psn
from jaxpsn.rlvr.exploration.rules import Kl
from jaxpsn.rlvr.objective.corrections import Token

with warnings.catch_warnings(), compat.foreign():
    warnings.simplefilter("ignore")
    import optax
    from tunix.models.llama3 import model as llama  # noqa: F401
    from tunix.models.qwen2 import model as qwen2
    from tunix.models.qwen3 import model as qwen3
    from tunix.rl import rl_cluster as clusters
    from tunix.rl.grpo.grpo_learner import GRPOConfig
    from tunix.rl.rollout import base_rollout, vanilla_rollout  # noqa: F401

    from jaxpsn.adapters import tunix as adapter
    from jaxpsn.adapters.tunix import learner as learners  # noqa: F401
    from jaxpsn.adapters.tunix import perturbation, rollout

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


def a_model(name="qwen2"):
    kind, family = {"qwen2": (qwen2, "Qwen2"), "qwen3": (qwen3, "Qwen3")}[name]
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


def an_order(model, per="sample", step=3, sigma=0.5, start=0, target="mlp", seed=0, noise=None):
    """The order of a group of four, and the perturbation in it."""
    psn = adapter.PSNConfig(noise=noise or Psn("dense", target, per))
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
    noise=Psn(
        "dense", per="replica", replicas=3, clean_share=0.25, sigma=Kl(0.01, initial=0.4, rate=1.25, estimator="k3")
    ),
    correction=Token(cap=1.02),
)


class Told:
    """What tunix logs, by step; the examples that the trainer got, and the answers they were made of."""

    def __init__(self, cluster, psn=PSN, iterations=1):
        self.columns, self.examples, self.answers = {}, [], []
        cluster.with_external_metrics_logger(self.note)
        algorithm = GRPOConfig(num_generations=GROUP, beta=0.0, num_iterations=iterations)
        self.learner = adapter.PSNLearner(cluster, algorithm, rewards, psn=psn)
        corrected, update, self.signals = self.learner._corrected, self.learner._rule.update, []

        def heard(state, signals):
            self.signals.append(signals)
            return update(state, signals)

        self.learner._rule = self.learner._rule._replace(update=heard)

        def kept(example, answers):
            self.answers.append(answers)
            self.examples.append(corrected(example, answers))
            return self.examples[-1]

        self.learner._corrected = kept

    def note(self, buffer):
        self.columns.setdefault(buffer.global_steps, {}).update(
            {name: op(np.array(values)) for name, (values, op) in buffer.metrics.items() if name.startswith("psn/")}
        )


def refused(call, *words):
    with pytest.raises(errors.UserError) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line and all(word in line for word in words), line
