"""tunix's GRPO learner with perturbed rollouts, importance weights against them, and a rule for sigma."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tunix.rl import rl_cluster as clusters
from tunix.rl.grpo import grpo_learner

from jaxpsn.adapters.tunix import perturbation, rollout
from jaxpsn.adapters.tunix.config import PSNConfig
from jaxpsn.core import compat, errors
from jaxpsn.noise.scale_rules import Run
from jaxpsn.rlvr.objective import correction

_NOISE, _SAMPLER, _EVALUATION = 0x4E4F4953, 0x53414D50, 0x4556414C


class PSNLearner(grpo_learner.GRPOLearner):
    """GRPO on the clean weights from answers of perturbed ones.

    Arguments are those of tunix's ``GRPOLearner`` and ``psn``. The cluster's engine must be :class:`PSNRollout`.
    Evaluation samples from the clean weights. ``sigma_state.sigma`` is the current scale; the KL rule moves it when
    the next step begins. Logged beside tunix's metrics, as ``psn/...``: sigma and the columns of
    :func:`jaxpsn.rlvr.objective.correction.diagnostics`. Raises UserError for settings under which the weights would be
    wrong.
    """

    def __init__(self, rl_cluster: Any, algo_config: Any, reward_fns: Any, psn: PSNConfig | None = None, **kwargs: Any):
        self.psn = psn or PSNConfig()
        check_cluster(rl_cluster, algo_config)
        self._members = self.psn.members(algo_config.num_generations)
        self._key = jax.random.key(self.psn.seed)
        start = self.psn.sigma.start
        self._rule = self.psn.sigma.build(start, Run(None))
        self.sigma_state = self._rule.init(start)
        with compat.foreign():
            super().__init__(rl_cluster, algo_config, reward_fns, **kwargs)
            model = rl_cluster.rollout.model()
        self._noise = perturbation.plan(model, self.psn.noise, jax.random.fold_in(self._key, _NOISE))
        self._rows: dict[Any, tuple[int, int]] = {}
        self._step: int | None = None
        self._seen: list[Any] = []

    def train(self, *args: Any, **kwargs: Any) -> None:
        """As tunix's."""
        with compat.foreign():
            super().train(*args, **kwargs)

    def _generate_and_compute_advantage(self, training_input: Any, mode: Any = clusters.Mode.TRAIN) -> Any:
        training, step = mode == clusters.Mode.TRAIN, self.rl_cluster.global_steps
        if training and step != self._step:
            self._begin(step)
        with self.rl_cluster.rollout.sampling(self._order(step, mode)) as drawn, compat.foreign():
            example = super()._generate_and_compute_advantage(training_input, mode)
        answers = rollout.Answers(*(np.concatenate(column) for column in zip(*drawn, strict=True)))
        self._rows[mode] = (step, self._rows[mode][1] + len(answers.lengths))
        return self._corrected(example, answers) if training else example

    def _begin(self, step: int) -> None:
        """A new step: sigma follows what the last one measured."""
        if self._seen:
            clean, noisy, mask = (jnp.concatenate(column) for column in zip(*self._seen, strict=True))
            k1, k3 = correction.noise_kl(clean, noisy, mask)
            self.sigma_state = self._rule.update(self.sigma_state, {"noise_kl_k1": k1, "noise_kl_k3": k3})
        self._step, self._seen = step, []

    def _order(self, step: int, mode: Any) -> rollout.Order:
        before, start = self._rows.get(mode, (step, 0))
        start = start if before == step else 0
        self._rows[mode] = (step, start)
        training = mode == clusters.Mode.TRAIN
        key = jax.random.fold_in(self._key, _SAMPLER if training else _EVALUATION)
        key = jax.random.fold_in(key, step)
        if not training:
            return rollout.Order((-1,), key, start=start)
        return rollout.Order(self._members, key, step, self.sigma_state.sigma, self._noise, start)

    def _corrected(self, example: Any, answers: rollout.Answers) -> Any:
        if not np.array_equal(answers.tokens, example.completion_ids):
            raise RuntimeError("tunix gave other rows to the trainer than the engine had sampled")
        mask = counted(answers.tokens, answers.lengths, self.rl_cluster.rollout.pad_id())
        clean = example.old_per_token_logps
        if clean is None:
            rows = self._compute_logps_micro_batch_size * self.algo_config.num_generations
            clean = self.rl_cluster.get_old_per_token_logps(example.prompt_ids, example.completion_ids, rows)
        clean, noisy = (jnp.asarray(side, jnp.float32) for side in (clean, answers.log_probs))
        weights, columns = _weigh(self.psn, clean, noisy, mask, answers.noisy, example.advantages)
        self._seen.append((clean, noisy, mask & answers.noisy[:, None]))
        self._log(jax.device_get(columns), np.mean(mask.sum(axis=1) < answers.lengths))
        return example.replace(completion_mask=jnp.asarray(mask), sampler_is_weights=weights)

    def _log(self, columns: dict[str, Any], cut: Any) -> None:
        columns = {"sigma": jax.device_get(self.sigma_state.sigma), "cut_at_padding": cut} | columns
        folds = {"_min": np.min, "_max": np.max}
        told = {f"psn/{name}": (float(value), folds.get(name[-4:], np.mean)) for name, value in columns.items()}
        self.rl_cluster.buffer_metrics(told, mode=clusters.Mode.TRAIN)


def counted(tokens: Any, lengths: Any, pad: int) -> Any:
    """Tokens that are learnt from, bool ``[rows, T]``: an answer with its end, but none after a sampled padding token.

    The padding token itself counts, as the policy chose it; what follows it is scored by tunix as if it were not there.
    """
    after = np.cumsum(tokens == pad, axis=1) - (tokens == pad) > 0
    return (np.arange(tokens.shape[1]) < lengths[:, None]) & ~after


def check_cluster(cluster: Any, algorithm: Any) -> None:
    """Refuse a cluster or an algorithm under which noise or weights would be wrong, or would be ignored."""
    engine, roles, config = cluster.rollout, clusters.Role, cluster.cluster_config
    if not isinstance(engine, rollout.PSNRollout):
        errors.refuse("rollout_engine", type(engine).__name__, "PSNRollout, given as ClusterConfig.rollout_engine")
    if config.role_to_mesh[roles.ACTOR] != config.role_to_mesh[roles.ROLLOUT]:
        errors.refuse("role_to_mesh", "actor and rollout on two meshes", "one mesh, as steps would overlap on two")
    if config.training_config.max_seq_token_per_tpu is not None:
        packed = config.training_config.max_seq_token_per_tpu
        errors.refuse("max_seq_token_per_tpu", packed, "None, as packing loses the weights")
    if algorithm.policy_loss_fn != "grpo":
        errors.refuse("policy_loss_fn", algorithm.policy_loss_fn, "grpo, the one that reads the weights")
    rollout.check_sampling(cluster.get_rollout_config(clusters.Mode.TRAIN))


@partial(jax.jit, static_argnums=0)
def _weigh(psn: PSNConfig, clean: Any, noisy: Any, mask: Any, rows: Any, advantages: Any) -> tuple[Any, dict[str, Any]]:
    asked = psn.correction.aimed(psn.sigma.divergence)
    weights = correction.weights(asked, clean, noisy, mask, advantages)
    return weights, correction.diagnostics(asked, clean, noisy, mask, noisy=rows, advantages=advantages)
