"""Advantages of the GRPO family: how much better an answer is than the others to the same prompt.

Every function takes rewards ``[P, G]`` (G answers to each of P prompts; any real numbers) and gives advantages of that
shape. A group whose rewards are all equal has nothing to compare: its advantages are exactly 0, not rounding errors
divided by 1e-6. All of them need G >= 2. :mod:`jaxpsn.rlvr.objective.algorithms` gives them their names.
"""

import math
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxpsn.core import checks

EPS = 1e-6
"""Added to every standard deviation (DeepSeekMath, verl)."""

Rewards = Float[Array, "P G"]


def group(rewards: Rewards) -> Rewards:
    """Reward minus the group's mean, over the group's standard deviation plus 1e-6.

    Source: GRPO, Shao et al. 2024 (arXiv 2402.03300), section 4.1.2; the sample deviation (G - 1), as verl and TRL.
    """
    return none(rewards) / (jnp.std(rewards, axis=1, keepdims=True, ddof=1) + EPS)


def batch(rewards: Rewards) -> Rewards:
    """Reward minus the group's mean, over the standard deviation of all P * G rewards plus 1e-6.

    A rare success in one group then weighs no more than one of many. Source: TRL's ``scale_rewards="batch"``;
    Liu et al. 2025 (arXiv 2508.08221), group mean with batch deviation.
    """
    return none(rewards) / (jnp.std(rewards, ddof=1) + EPS)


def none(rewards: Rewards) -> Rewards:
    """Reward minus the group's mean (Dr. GRPO, Liu et al. 2025, arXiv 2503.20783)."""
    return jnp.where(all_equal(rewards)[:, None], 0.0, rewards - jnp.mean(rewards, axis=1, keepdims=True))


def leave_one_out(rewards: Rewards) -> Rewards:
    """Reward minus the mean of the others: ``G / (G - 1)`` times the distance from the group's mean.

    Source: RLOO, Kool et al. 2019; Ahmadian et al. 2024 (arXiv 2402.14740).
    """
    size = rewards.shape[1]
    return none(rewards) * (size / (size - 1))


def max_rl(rewards: Rewards) -> Rewards:
    """Reward minus the group's mean, over the group's mean plus 1e-6: a problem weighs more the less it is solved.

    In expectation the gradient of the log of the success rate, cut off at order G. Means below 0 count as 0; a group
    without a success has advantages of 0. Source: MaxRL, arXiv 2602.02710.
    """
    return none(rewards) / (jnp.maximum(jnp.mean(rewards, axis=1, keepdims=True), 0.0) + EPS)


def signed(rewards: Rewards, positive: Any, negative: Any) -> Rewards:
    """``positive`` for a correct answer, ``-negative`` for a wrong one, whatever the rest of the group did.

    Source: RLVR decomposed, arXiv 2506.01347 (W-REINFORCE: 0.1 and 1; negative samples alone: 0 and 1).
    """
    return jnp.where(correct(rewards), jnp.float32(positive), -jnp.float32(negative))


def unlikely(rewards: Rewards, log_probs: Rewards, beta: Any) -> Rewards:
    """``r (1 - beta (G - rank) / G)`` of a correct answer, whose rank is 0 where none of its group was likelier.

    Equally likely answers are ranked as they stand; wrong ones keep their reward. ``log_probs``: of whole answers, in
    nats. Source: unlikeliness reward, He et al. 2025 (arXiv 2506.02355), beta 0.25; the authors' code ranks by the mean
    of a token and counts ranks from the other end, so that every correct answer keeps ``beta / G`` more.
    """
    size = rewards.shape[1]
    rank = jnp.argsort(jnp.argsort(-log_probs, axis=1, stable=True), axis=1).astype(rewards.dtype)
    worth = 1.0 - jnp.asarray(beta, rewards.dtype) * (size - rank) / size
    return jnp.where(correct(rewards), rewards * worth, rewards)


def pass_at_k(rewards: Rewards, k: int) -> Rewards:
    """Advantage of an answer when a random subset of k answers is rewarded for holding a correct one.

    With c of G correct, ``mean = 1 - C(G - c, k) / C(G, k)`` and ``s = sqrt(mean (1 - mean))``:
    correct ``(1 - mean) / (s + 1e-6)``, wrong ``(1 - mean - C(G - c - 1, k - 1) / C(G - 1, k - 1)) / (s + 1e-6)``.
    Zero for the whole group where no subset, or every subset, succeeds: also with fewer than k wrong answers.
    Binary by nature: a reward of at least 0.5 counts as correct, any other as wrong, and nothing else of it matters.
    Source: Chen et al. 2025 (arXiv 2508.10751), analytical derivation; k = 1 is GRPO with the population deviation.
    """
    right = correct(rewards)
    count = jnp.sum(right.astype(jnp.int32), axis=1)
    table = jnp.asarray(_pass_at_k_table(rewards.shape[1], k), rewards.dtype)
    return jnp.where(right, table[0][count][:, None], table[1][count][:, None])


def _pass_at_k_table(size: int, k: int) -> np.ndarray:
    """Advantages of a correct (row 0) and a wrong answer (row 1) by the number of correct ones."""
    checks.whole("k", k, 1, size)
    table = np.zeros((2, size + 1))
    for count in range(1, size):
        mean = 1 - Fraction(math.comb(size - count, k), math.comb(size, k))
        deviation = math.sqrt(mean * (1 - mean)) + EPS
        failing = Fraction(math.comb(size - count - 1, k - 1), math.comb(size - 1, k - 1))
        table[:, count] = float(1 - mean) / deviation, float(1 - mean - failing) / deviation
    return table


def correct(rewards: Float[Array, "*shape"]) -> Bool[Array, "*shape"]:
    """Which answers count as correct: a reward of at least 0.5."""
    return rewards >= 0.5


def all_equal(rewards: Rewards) -> Bool[Array, " P"]:
    """Groups in which every answer got the same reward: their advantages are 0."""
    return jnp.max(rewards, axis=1) == jnp.min(rewards, axis=1)
