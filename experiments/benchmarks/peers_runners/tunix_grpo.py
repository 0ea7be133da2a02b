"""GRPO steps of tunix, one at a time as they are asked for; run by a Python that has google-tunix and transformers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import protocol
import transformers
from flax import nnx
from jax.sharding import AxisType
from tunix.models.qwen3 import model as qwen3
from tunix.models.qwen3 import params as weights
from tunix.rl import rl_cluster as clusters
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rollout import base_rollout


def shape(folder: Path) -> qwen3.ModelConfig:
    """The model of ``folder`` in tunix's words, which does not read ``config.json``."""
    told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    rope = told.get("rope_parameters") or told
    return qwen3.ModelConfig(
        num_layers=told["num_hidden_layers"],
        vocab_size=told["vocab_size"],
        embed_dim=told["hidden_size"],
        hidden_dim=told["intermediate_size"],
        num_heads=told["num_attention_heads"],
        head_dim=told["head_dim"],
        num_kv_heads=told["num_key_value_heads"],
        rope_theta=rope["rope_theta"],
        norm_eps=told["rms_norm_eps"],
        use_tied_embedding=told["tie_word_embeddings"],
    )


def cluster(task: dict[str, Any]) -> clusters.RLCluster:
    """Actor and rollouts of one model on one device, in float32."""
    folder = Path(task["folder"])
    config, words = shape(folder), transformers.AutoTokenizer.from_pretrained(folder)
    mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), devices=jax.devices()[:1], axis_types=(AxisType.Auto,) * 2)
    longest = max(len(words.encode(prompt)) for prompt in task["prompts"])
    rollout = base_rollout.RolloutConfig(
        max_tokens_to_generate=task["tokens"],
        max_prompt_length=longest,
        kv_cache_size=longest + task["tokens"],
        temperature=1.0,
        eos_tokens=[config.vocab_size],  # none that is ever drawn
    )
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-4))
    training = clusters.RLTrainingConfig(actor_optimizer=optimiser, eval_every_n_steps=1 << 30, max_steps=100_000)
    asked = clusters.ClusterConfig(
        role_to_mesh=dict.fromkeys((clusters.Role.ACTOR, clusters.Role.REFERENCE, clusters.Role.ROLLOUT), mesh),
        rollout_engine="vanilla",
        training_config=training,
        rollout_config=rollout,
    )
    actor = weights.create_model_from_safe_tensors(str(folder), config, mesh)
    return clusters.RLCluster(actor=actor, tokenizer=words, cluster_config=asked)


def in_turns(session: protocol.Answers, made: clusters.RLCluster) -> Iterator[dict[str, Any]]:
    """The problems of a step when it is asked for; the trainer comes for the next ones when it has made it."""
    prompts, size, at = session.task["prompts"], session.task["problems"], 0
    while True:
        session.begin()
        yield {"prompts": np.array([prompts[(at + place) % len(prompts)] for place in range(size)])}
        jax.block_until_ready(nnx.state(made.actor_trainer.model))
        session.end()
        at += size


def main() -> None:
    """Train until nobody asks for more."""
    session = protocol.Answers()
    made = cluster(session.task)
    algorithm = GRPOConfig(num_generations=session.task["samples"], num_iterations=1, beta=0.0)
    GRPOLearner(made, algorithm, protocol.even).train(in_turns(session, made))


if __name__ == "__main__":
    main()
