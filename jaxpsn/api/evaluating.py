"""``jaxpsn.evaluate``: how good a policy is, with an interval."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import jax
import numpy as np
from jaxtyping import Float

from jaxpsn import envs
from jaxpsn.api import policies
from jaxpsn.control import evaluation
from jaxpsn.control.off_policy import episode_length
from jaxpsn.core import checks
from jaxpsn.stats import statistics

if TYPE_CHECKING:
    from jaxpsn.api.reasoning import Judged, ReasoningPolicy


@dataclass(frozen=True)
class Evaluation:
    """Episodes of a policy."""

    returns: Float[np.ndarray, "episodes"]
    """Sum of rewards of each episode."""
    lengths: Float[np.ndarray, "episodes"]
    """Environment steps of each."""
    mean: statistics.Estimate
    """Mean return with its 95 % bootstrap interval over episodes: ``value``, ``low``, ``high``."""

    def __repr__(self) -> str:
        return f"Evaluation({len(self.returns)} episodes, mean return {self.mean})"


@overload
def evaluate(policy: policies.Policy, episodes: int = 64, seed: int = 0) -> Evaluation:
    """Of a control policy: whole episodes."""


@overload
def evaluate(
    policy: "ReasoningPolicy", *, seed: int = 0, problems: int = 64, samples: int = 16, temperature: float = 1.0
) -> "Judged":
    """Of a reasoning policy: pass@k."""


def evaluate(policy: Any, episodes: int = 64, seed: int = 0, **asked: Any) -> Any:
    """Judge the clean policy of a control run on whole episodes, or a reasoning policy by pass@k.

    ``policy``: ``run.policy``, or of :func:`jaxpsn.load`. Control: ``episodes`` side by side, their starts a function
    of ``seed``; returns an :class:`Evaluation`. Reasoning: ``problems``, ``samples`` and whatever else
    :meth:`jaxpsn.api.reasoning.ReasoningPolicy.evaluate` takes. Raises :class:`jaxpsn.UserError`.
    """
    if not isinstance(policy, policies.Policy):
        from jaxpsn.api import reasoning

        return reasoning.evaluate(policy, seed=seed, **asked)
    for name, value in asked.items():
        checks.choice(name, value, ())
    checks.whole("episodes", episodes, 1, 1 << 20)
    checks.whole("seed", seed, 0, (1 << 31) - 1)
    config = policy.config
    limit, repeat = episode_length(config), config.env.action_repeat
    trials = envs.Episodes(policy.env, episodes, limit, action_repeat=repeat, reset=config.env.reset, ours=True)

    @partial(jax.jit, compiler_options=trials.compiler_options)
    def play(key: Any, learnt: Any) -> Any:
        return evaluation.play(key, trials, partial(policies.act, policy.program, learnt), repeat, limit)

    returns, lengths = jax.device_get(play(jax.random.key(seed), policy.learnt))
    return Evaluation(returns, lengths, statistics.bootstrap(returns.astype(float), statistics.mean))
