"""The columns of a reasoning run: what a step and an evaluation report, and under which names."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpsn.core.components import terms_of
from jaxpsn.rlvr import learner
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.evaluation import Found
from jaxpsn.rlvr.exploration.likeness import Bert
from jaxpsn.rlvr.gathering import Gathered
from jaxpsn.rlvr.objective import algorithms, correction, corrections, diagnostics, losses
from jaxpsn.stats import pass_at_k

PHASES = ("probe", "sample", "verify", "update")
"""Phases of a step; ``seconds_PHASE`` is the time of each."""
OF_PROBES = ("indicator", "similarity", "certainty", "target")


def step_columns(
    config: RlvrConfig, found: Gathered, advantages: np.ndarray, told: Mapping[str, Any], seconds: Mapping[str, float]
) -> dict[str, Any]:
    """All columns of a step: answers, groups, members, ``told`` (loss, correction), sigma, seconds and tokens/s.

    ``advantages`` are [G, P].
    """
    experience, answers = found.experience, found.experience.answers
    columns = jax.device_get(
        _answers(
            experience.rewards,
            answers.lengths.T,
            answers.ended.T,
            answers.sigma,
            np.ascontiguousarray(advantages.T),
            answers.member,
            max(config.members, 1),
        )
    )
    each = columns.pop("members")
    columns |= dict(told) | sigma_columns(found.sigma)
    columns |= {"score": experience.scores.mean(), "groups_refilled": found.replaced / len(experience.problems)}
    if found.solved is not None:
        columns["problems_solved"] = float(np.mean(found.solved))
    if _lists_members(config):
        columns |= {f"reward_member_{index:02}": value for index, value in enumerate(each)}
    total = sum(seconds.values())
    columns |= {f"seconds_{phase}": seconds.get(phase, np.nan) for phase in PHASES} | {"seconds_step": total}
    columns["tokens_per_second"] = answers.lengths.sum() / total
    columns["sampled_per_second"] = answers.lengths.sum() / (seconds["sample"] + seconds.get("probe", 0.0))
    return columns


def _lists_members(config: RlvrConfig) -> bool:
    """Whether each perturbation has columns of its own."""
    return 1 < config.members <= learner.EACH


def _measured(rewards, lengths, ended, sigma, advantages, member, members) -> dict[str, Any]:
    columns = diagnostics.answers(rewards, lengths, ended, sigma, advantages)
    each = diagnostics.member_rewards(rewards, member, members)
    spread = jnp.where(jnp.sum(jnp.isfinite(each)) > 1, jnp.nanstd(each), jnp.nan)
    return columns | {"members": each, "reward_members_std": spread}


_answers = jax.jit(_measured, static_argnums=6)


def sigma_columns(state: Any) -> dict[str, Any]:
    """Sigma of the rollouts, and what the rule remembers of its last signal (Variant II)."""
    return {name: getattr(state, name) for name in ("sigma", *OF_PROBES) if hasattr(state, name)}


def over_updates(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Metrics of a step from those of its updates: the extremes of extremes, the means of all others (of the loss)."""
    folds = {"_min": np.min, "_max": np.max}
    return {name: folds.get(name[-4:], np.mean)([one[name] for one in told], axis=0) for name in told[0]}


def names(config: RlvrConfig) -> list[str]:
    """All columns of a step of ``config``."""
    shape = jax.ShapeDtypeStruct
    rows, tokens = shape((2, 2), jnp.float32), shape((2, 2, 2), jnp.float32)
    mask, whole, ended = shape((2, 2, 2), jnp.bool_), shape((2, 2), jnp.int32), shape((2, 2), jnp.bool_)
    several = shape((2,), jnp.float32)
    found = set(jax.eval_shape(diagnostics.answers, rows, whole, ended, several, rows))
    found |= set(jax.eval_shape(lambda *x: correction.diagnostics(corrections.Token(), *x), tokens, tokens, mask))
    found |= set(jax.eval_shape(diagnostics.mismatch_columns, tokens, tokens, mask))
    settings = losses.Settings(algorithms.Ppo(), length=2)
    reference = tokens if config.algorithm.kl_coefficient else None
    found |= set(
        jax.eval_shape(
            lambda *x: losses.policy_loss(*x[:5], settings, x[5], x[6])[1],
            tokens, tokens, rows, mask, tokens, reference, tokens,
        )
    )  # fmt: skip
    found |= {"ppo_ratio", "grad_norm", "reward_members_std", "sigma", "score", "groups_refilled", "seconds_step"}
    found |= {f"seconds_{phase}" for phase in PHASES} | {"tokens_per_second", "sampled_per_second", "target"}
    if _lists_members(config):
        found |= {f"reward_member_{index:02}" for index in range(config.members)}
        found |= {f"{name}_member_{index:02}" for name in correction.OF_MEMBERS for index in range(config.members)}
    if any(not isinstance(gate, corrections.NoGate) for gate in terms_of(config.algorithm.correction.gate)):
        found.add("skipped")
    if config.algorithm.estimator == "evolution":
        found.add("fitness_std")
    if config.noise.learnt:
        found.add("posterior_std")
    if config.rollout.gate != "none":
        found.add("problems_solved")
    if config.probed is not None:
        found |= {*OF_PROBES, *(["probes_cut"] if isinstance(config.probed.similarity, Bert) else [])}
    return sorted(found)


def silences(config: RlvrConfig) -> dict[str, Callable[[Mapping[str, Any]], bool]]:
    """Conditions on a row of a run in which nothing can be learnt from rewards, by what is said of them."""
    found: dict[str, Callable[[Mapping[str, Any]], bool]] = {
        "no answer was right": lambda row: row.get("score") == 0.0,
        "every answer was right": lambda row: row.get("score") == 1.0,
        "every advantage was 0": lambda row: row.get("advantage_min") == row.get("advantage_max") == 0.0,
        "every answer was cut off at its limit": lambda row: row.get("clipped_length") == 1.0,
    }
    if config.rollout.refills:
        found["no refill found answers that differ"] = lambda row: row.get("groups_zero_advantage") == 1.0
    return found


def target(config: RlvrConfig) -> dict[str, float]:
    """The value to which the KL is driven, if it is; Variant II's is of each step (:func:`sigma_columns`)."""
    return {} if config.sigma.divergence is None else {"target": config.sigma.divergence}


def evaluation_names(samples: int) -> list[str]:
    """All columns of an evaluation with that many answers to a problem."""
    return sorted({"eval_pass_at_1", f"eval_pass_at_{samples}", "eval_distinct"})


def evaluation_columns(found: Sequence[Found], samples: int) -> dict[str, float]:
    """Mean pass@1 and pass@``samples`` over problems, and distinct correct solutions of a problem."""
    correct = np.array([one.correct for one in found])
    passed = {k: float(np.mean(pass_at_k.estimate(samples, correct, k))) for k in (1, samples)}
    distinct = [one.distinct for one in found if one.distinct is not None]
    columns = {f"eval_pass_at_{k}": value for k, value in passed.items()}
    return columns | {"eval_distinct": float(np.mean(distinct)) if distinct else float("nan")}
