"""PSN-GRPO on google-tunix: a rollout engine that samples from perturbed weights, and a learner that corrects for it.

::

    cluster = RLCluster(..., cluster_config=ClusterConfig(rollout_engine=PSNRollout, ...))
    learner = PSNLearner(cluster, GRPOConfig(num_generations=8), reward_fns=reward, psn=PSNConfig())
    learner.train(batches)

``experiments/tunix_psn.py`` is a whole run on a tiny model. Methods that tunix calls private are overridden, so the
version is pinned, and it wants an environment of its own (its safetensors is older than the one we test with)::

    uv venv --python 3.12 tunix-env
    uv pip install --python tunix-env/bin/python -e '.[tunix]'

What differs from tunix's own GRPO, besides the noise: every call of the sampler has a seed of its own, a function of
(seed, step, row), where tunix starts from the same one each time; the end token, which tunix's sampler cuts off,
belongs to the answer and is learnt; an answer counts up to the first padding token that was sampled into it, as tunix's
log-probs of what follows are of another text; old log-probs are taken at the sampling temperature and from the
current weights (tunix's ``get_actor_per_token_logps`` keeps those of the start on one mesh). Refused: Llama
(tunix 0.1.7 leaves out its RoPE settings), top-p, top-k and greedy decoding in training, explicit mesh axes, sequence
packing, actor and rollout on different meshes. Checked with Qwen2 and Qwen3.

tunix's checkpoints do not hold sigma: to go on after a kill, give the last ``psn/sigma`` of the log as ``initial``.
"""

from importlib import metadata

from jaxpsn.core import errors

VERSION = "0.1.7"
"""The one release of google-tunix whose private methods these are."""


def check_version() -> None:
    """Refuse an environment without exactly this google-tunix."""
    try:
        found = metadata.version("google-tunix")
    except metadata.PackageNotFoundError:
        found = None
    if found != VERSION:
        errors.refuse("google-tunix", found, f"version {VERSION}, in an environment of its own: pip install '.[tunix]'")


check_version()

from jaxpsn.adapters.tunix.config import PSNConfig as PSNConfig  # noqa: E402
from jaxpsn.adapters.tunix.learner import PSNLearner as PSNLearner  # noqa: E402
from jaxpsn.adapters.tunix.rollout import PSNRollout as PSNRollout  # noqa: E402
