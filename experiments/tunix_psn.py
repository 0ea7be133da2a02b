"""PSN-GRPO on google-tunix: a tiny random Qwen2 on a puzzle, `python experiments/tunix_psn.py [flags]` (a minute).

In an environment of its own: see jaxpsn/adapters/tunix/__init__.py.
"""

import sys
from dataclasses import dataclass

from jaxpsn.core import checks
from jaxpsn.rlvr.exploration.noises import NoNoise, Psn
from jaxpsn.rlvr.exploration.rules import Kl
from jaxpsn.rlvr.objective.corrections import CORRECTIONS
from jaxpsn.run import startup


@dataclass(frozen=True)
class Options:
    """What the example does."""

    steps: int = 12
    """Updates."""
    prompts: int = 16
    """Problems of a step."""
    samples: int = 8
    """Answers to each."""
    per: str = "step"
    """One perturbation for the whole step, or one for each sample of a group."""
    structure: str = "dense"
    """Form of the noise; none for tunix's GRPO without noise."""
    sigma: float = 0.1
    """First scale, in units of each matrix's root mean square; the KL rule moves it."""
    correction: str = "token"
    """Weights against the noisy sampler: token (TIS), none, sequence, geometric, ..."""
    learning_rate: float = 1e-2
    """AdamW's."""
    seed: int = 0
    """Seed of weights, problems, noise and sampler."""

    def __post_init__(self) -> None:
        checks.whole("steps", self.steps, 1)
        checks.whole("prompts", self.prompts, 1)
        checks.whole("samples", self.samples, 2)
        checks.real("learning_rate", self.learning_rate, 0.0)
        CORRECTIONS.make(self.correction, "correction")


class Words:
    """A character tokenizer with the methods that tunix asks for."""

    def __init__(self, alphabet: str):
        from jaxpsn.lm.tokenizer import CharTokenizer

        self._own = CharTokenizer(alphabet)
        self.size, self.encode, self.decode = self._own.vocab_size, self._own.encode, self._own.decode

    def bos_id(self) -> int:
        """No start token."""
        return 0

    def eos_id(self) -> int:
        """End of an answer."""
        return self._own.ends[0]

    def pad_id(self) -> int:
        """Filler."""
        return self._own.pad


def shaken(model, seed: int):
    """``model`` with every matrix drawn anew: tunix's MLPs start at zero, where relative noise would be none."""
    import jax
    from flax import nnx

    graph, state = nnx.split(model)
    leaves, tree = jax.tree.flatten(state)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    drawn = [
        leaf if leaf.ndim < 2 else jax.random.normal(key, leaf.shape, leaf.dtype) * leaf.shape[0] ** -0.5
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return nnx.merge(graph, jax.tree.unflatten(tree, drawn))


def cluster_of(options: Options, task, words: Words):
    """tunix's cluster: actor and rollouts of one tiny Qwen2 on one device."""
    import jax
    import optax
    from flax import nnx
    from jax.sharding import AxisType
    from tunix.models.qwen2 import model as qwen2
    from tunix.rl import rl_cluster as tunix
    from tunix.rl.rollout import base_rollout

    from jaxpsn.adapters.tunix import PSNRollout

    shape = qwen2.ModelConfig(
        num_layers=2, vocab_size=words.size, embed_dim=32, hidden_dim=96, num_heads=4, head_dim=8, num_kv_heads=2,
        rope_theta=10_000, norm_eps=1e-6,
    )  # fmt: skip
    mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), devices=jax.devices()[:1], axis_types=(AxisType.Auto,) * 2)
    training = tunix.RLTrainingConfig(
        actor_optimizer=optax.adamw(options.learning_rate), eval_every_n_steps=1 << 30, max_steps=options.steps
    )
    rollout = base_rollout.RolloutConfig(
        max_tokens_to_generate=task.max_answer + 1, max_prompt_length=task.max_prompt, temperature=1.0,
        kv_cache_size=task.max_prompt + task.max_answer + 1,
    )  # fmt: skip
    config = tunix.ClusterConfig(
        role_to_mesh={role: mesh for role in (tunix.Role.ACTOR, tunix.Role.REFERENCE, tunix.Role.ROLLOUT)},
        rollout_engine=PSNRollout,
        training_config=training,
        rollout_config=rollout,
    )
    actor = shaken(qwen2.Qwen2(shape, rngs=nnx.Rngs(0)), options.seed)
    return tunix.RLCluster(actor=actor, tokenizer=words, cluster_config=config)


def show(buffer) -> None:
    """One line a step, from what tunix logs."""
    import numpy as np

    told = {"reward": "rewards/score/mean", "sigma": "psn/sigma", "KL": "psn/noise_kl_k3",
            "mean weight": "psn/weight_mean", "effective sample size": "psn/weight_ess"}  # fmt: skip
    columns = [f"{name} {np.mean(buffer.metrics[key][0]):.4f}" for name, key in told.items() if key in buffer.metrics]
    if columns:
        print(f"step {buffer.global_steps:3}  " + "  ".join(columns), flush=True)


def main() -> None:
    """Train and report."""
    import numpy as np
    import tyro

    options = tyro.cli(Options, description=__doc__)
    sigma = Kl(estimator="k3", initial=options.sigma, rate=1.1)
    noise = NoNoise() if options.structure == "none" else Psn(options.structure, per=options.per, sigma=sigma)
    startup.speak("starting")
    from jaxpsn.adapters.tunix import PSNConfig, PSNLearner
    from jaxpsn.tasks.sums import Modular

    psn = PSNConfig(seed=options.seed, noise=noise, correction=options.correction)
    from tunix.rl.grpo.grpo_learner import GRPOConfig  # after the line above, which says what is missing

    task = Modular(terms=2, high=2, max_modulus=2)
    problems = [task.problem(options.seed, index) for index in range(options.steps * options.prompts)]
    by_prompt = {problem.prompt: problem for problem in problems}

    def reward(prompts, completions, **_):
        return [float(task.check(by_prompt[asked], text)) for asked, text in zip(prompts, completions, strict=True)]

    cluster = cluster_of(options, task, Words(task.alphabet)).with_external_metrics_logger(show)
    learner = PSNLearner(cluster, GRPOConfig(num_generations=options.samples, beta=0.0), reward, psn=psn)
    size = options.prompts
    asked = np.array([problem.prompt for problem in problems])
    learner.train({"prompts": asked[start : start + size]} for start in range(0, len(asked), size))


if __name__ == "__main__":
    sys.exit(startup.script(main, greeting=None))
