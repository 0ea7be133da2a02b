"""What a step's answers say about exploration: jittable metrics as flat columns of float32 scalars.

Layout ``[P, G]``: G answers to each of P prompts; column g of every prompt comes from one policy, of scale
``sigma[g]`` (0: the clean one). NaN stands for what was not measured. verl's names of the same things (its
``rollout_corr_helper`` and ``metric_utils`` of 2025), and where it measures another thing:

| column | verl |
| --- | --- |
| reward, reward_min, reward_max | critic/rewards/mean, /min, /max |
| advantage_mean, advantage_min, advantage_max | critic/advantages/mean, /min, /max |
| length, length_min, length_max | response_length/mean, /min, /max |
| clipped_length | response_length/clip_ratio |
| entropy | actor/entropy |
| policy_loss, ppo_kl, clip_low + clip_high, clip_dual | actor/pg_loss, ppo_kl, pg_clipfrac, pg_clipfrac_lower |
| reference_kl | actor/kl_loss |
| ratio_min, ratio_mean, ratio_max | rollout_corr/rollout_is_min, _mean, _max at token level; of raw ratios too |
| truncated_share | rollout_corr/rollout_is_ratio_fraction_high, where there is no lower bound |
| weight_ess | none: rollout_is_eff_sample_size is that of ratios moved into [1 / cap, cap] |
| noise_kl_k1, noise_kl_k3 | rollout_corr/kl, k3_kl (noise/noisy_kl in the paper's release) |
| clean_perplexity, noisy_perplexity | rollout_corr/training_ppl, rollout_ppl |
| probability_gap_mean, _max, _std | training/rollout_probs_diff_mean, _max, _std |
| probability_correlation | training/rollout_actor_probs_pearson_corr |

The losses' columns come from :func:`jaxpsn.rlvr.objective.losses.policy_loss`, those of ratios and noise_kl from
:func:`jaxpsn.rlvr.objective.correction.diagnostics`, the others from here; groups, members and clean against noisy have
no counterpart there.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxpsn.rlvr.objective.advantages import all_equal, correct
from jaxpsn.rlvr.objective.tokens import masked_mean, token_mask

Scalar = Float[Array, ""]
Columns = dict[str, Scalar]
Rewards = Float[Array, "P G"]


def answers(
    rewards: Rewards,
    lengths: Int[Array, "P G"],
    ended: Bool[Array, "P G"],
    sigma: Float[Array, " G"],
    advantages: Rewards | None = None,
    entropy: Float[Array, "P G T"] | None = None,
) -> Columns:
    """Everything below in one dict: rewards, groups, clean against noisy, lengths, advantages, entropy.

    ``lengths`` in tokens, end token included; ``clipped_length`` is the share of answers that hit the limit;
    ``entropy`` (nats, of each token, zero or anything beyond the answers) becomes the mean over tokens.
    """
    whole = lengths.astype(jnp.float32)
    columns = reward_columns(rewards, sigma) | group_columns(rewards, sigma)
    columns |= {
        "length": jnp.mean(whole), "length_min": jnp.min(whole), "length_max": jnp.max(whole),
        "clipped_length": jnp.mean((~ended).astype(jnp.float32)),
    }  # fmt: skip
    if advantages is not None:
        columns |= {
            "advantage_mean": jnp.mean(advantages), "advantage_min": jnp.min(advantages),
            "advantage_max": jnp.max(advantages),
        }  # fmt: skip
    if entropy is not None:
        columns["entropy"] = masked_mean(entropy, token_mask(lengths, entropy.shape[-1]))
    return columns


def reward_columns(rewards: Rewards, sigma: Float[Array, " G"]) -> Columns:
    """``reward`` (mean), ``reward_std/min/max`` over all answers, and the means of ``clean_reward``, ``noisy_reward``.

    Clean answers are those of ``sigma`` 0; without any, or without noisy ones, that mean is NaN.
    """
    noisy = jnp.broadcast_to(sigma[None, :] > 0.0, rewards.shape)
    return {
        "reward": jnp.mean(rewards), "reward_std": jnp.std(rewards),
        "reward_min": jnp.min(rewards), "reward_max": jnp.max(rewards),
        "clean_reward": masked_mean(rewards, ~noisy), "noisy_reward": masked_mean(rewards, noisy),
    }  # fmt: skip


def member_rewards(rewards: Rewards, member: Int[Array, " G"], members: int) -> Float[Array, " {members}"]:
    """Mean reward of each perturbation; ``member[g]`` gave column g, negative for the clean policy.

    NaN for a member that gave no answer.
    """
    gave = member[None, :] == lax.broadcasted_iota(member.dtype, (members, 1), 0)
    return masked_mean(jnp.broadcast_to(jnp.mean(rewards, axis=0)[None, :], gave.shape), gave, axis=1)


def group_columns(rewards: Rewards, sigma: Float[Array, " G"]) -> Columns:
    """Shares of groups that teach nothing, and whether noise made more of them teach.

    ``groups_zero_advantage``: all rewards equal; split into ``groups_all_correct`` (0.5 or more) and
    ``groups_all_wrong``.

    ``groups_rescued`` and ``groups_lost`` compare clean and noisy answers to the same prompts *at equal number*: with
    k the smaller of the two counts, e(side) is the chance that k answers of that side, drawn without replacement, have
    equal rewards. Rescued is the mean of ``e(clean) (1 - e(noisy))``: the clean answers alone would have taught
    nothing, as many noisy ones do. Lost is the reverse. Noise that changes nothing rescues as many as it loses, on
    average; comparing a few clean answers with the whole group would call groups rescued merely for being larger.
    NaN with fewer than two clean or two noisy answers, as one answer always equals itself.
    """
    equal = all_equal(rewards)
    right = correct(rewards[:, 0])
    noisy = sigma > 0.0
    number = jnp.minimum(jnp.sum(noisy.astype(jnp.int32)), jnp.sum((~noisy).astype(jnp.int32)))
    clean_same, noisy_same = (_chance_of_equal(rewards, side, number) for side in (~noisy, noisy))
    measured = number >= 2

    def share(values: Array) -> Scalar:
        return jnp.mean(values.astype(jnp.float32))

    return {
        "groups_zero_advantage": share(equal),
        "groups_all_correct": share(equal & right),
        "groups_all_wrong": share(equal & ~right),
        "groups_rescued": jnp.where(measured, share(clean_same * (1.0 - noisy_same)), jnp.nan),
        "groups_lost": jnp.where(measured, share((1.0 - clean_same) * noisy_same), jnp.nan),
    }


def _chance_of_equal(rewards: Rewards, side: Bool[Array, " G"], number: Int[Array, ""]) -> Float[Array, " P"]:
    """Chance that ``number`` answers of a side, drawn without replacement, all have one reward."""
    size = rewards.shape[1]
    total = jnp.sum(side.astype(jnp.int32))
    # C(a, number) / C(total, number) as a product over draws, for every a: numbers of answers are traced.
    draws = lax.broadcasted_iota(jnp.int32, (size + 1, size), 1)
    alike = lax.broadcasted_iota(jnp.int32, (size + 1, size), 0)
    left = jnp.maximum(alike - draws, 0).astype(jnp.float32)
    factors = left / jnp.maximum(total - draws, 1).astype(jnp.float32)
    table = jnp.prod(jnp.where(draws < number, factors, 1.0), axis=1)
    same = (rewards[:, :, None] == rewards[:, None, :]) & side[None, None, :]
    count = jnp.sum(same.astype(jnp.int32), axis=2)
    # Every answer of a value stands for 1 / count of it.
    shares = jnp.where(side[None, :], table[count] / jnp.maximum(count, 1).astype(jnp.float32), 0.0)
    return jnp.sum(shares, axis=1)


def mismatch_columns(
    log_clean_old: Float[Array, "*rows T"], log_noisy: Float[Array, "*rows T"], mask: Bool[Array, "*rows T"]
) -> Columns:
    """How the two policies price the sampled tokens: gaps of probability, their correlation, perplexities.

    ``clean_perplexity`` and ``noisy_perplexity`` are means over answers of ``exp`` of minus the mean log-prob of the
    answer's tokens. ``sampler_entropy`` is minus the mean log-prob that the sampler gave its own tokens: an estimate of
    its entropy in nats a token, to be held against ``entropy``, which is the clean policy's. A gap is
    ``|p_noisy - p_clean|``. The correlation is Pearson's, NaN if either side is constant.
    """
    given, answered = (log_clean_old, log_noisy), jnp.any(mask, axis=-1)
    log_clean_old, log_noisy = (jnp.where(mask, side, 0.0) for side in (log_clean_old, log_noisy))
    clean, noisy = jnp.exp(log_clean_old), jnp.exp(log_noisy)
    gap = jnp.abs(noisy - clean)
    mean = masked_mean(gap, mask)
    a, b = (side - masked_mean(side, mask) for side in (clean, noisy))
    clean_perplexity, noisy_perplexity = (
        masked_mean(jnp.exp(-masked_mean(side, mask, axis=-1)), answered) for side in given
    )
    return {
        "clean_perplexity": clean_perplexity,
        "noisy_perplexity": noisy_perplexity,
        "sampler_entropy": -masked_mean(log_noisy, mask),
        "probability_gap_mean": mean,
        "probability_gap_max": jnp.where(jnp.any(mask), jnp.max(jnp.where(mask, gap, 0.0)), jnp.nan),
        "probability_gap_std": jnp.sqrt(masked_mean(jnp.square(gap - mean), mask)),
        "probability_correlation": masked_mean(a * b, mask)
        / jnp.sqrt(masked_mean(a * a, mask) * masked_mean(b * b, mask)),
    }
