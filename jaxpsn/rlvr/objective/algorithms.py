"""What an update is made of: advantages and losses as components; their formulas live beside. No JAX here.

Each family is open: a class of one's own under ``@LOSSES.register("mine")`` goes wherever a name goes.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from jaxpsn.core import checks, errors
from jaxpsn.core.components import Component, called
from jaxpsn.core.families import Family
from jaxpsn.core.fields import Fraction, Positive, Real, Traced, Whole


class Advantage(Component):
    """How much better an answer is than the others to the same prompt."""

    def check(self, samples: int) -> None:
        """Refuse groups of ``samples`` answers of which every advantage would be 0; here groups of one."""
        checks.whole("samples", samples, 1)
        if samples < 2:
            allowed = f"at least 2, as the {called(type(self))} advantage compares the answers to one prompt"
            errors.refuse("samples", samples, allowed)

    def shaped(self, rewards: Any, log_probs: Any) -> Any:
        """The rewards ``[P, G]`` as they are compared, given the ``log_probs`` ``[P, G]`` of whole answers.

        Those are of the policy that gave the answer, perturbed or clean. Here the rewards as they are.
        """
        return rewards

    def compute(self, rewards: Any) -> Any:
        """Advantages ``[P, G]`` of the rewards ``[P, G]`` of G answers to each of P prompts; traced by JAX."""
        raise NotImplementedError


ADVANTAGES: Family[Advantage] = Family(
    "advantage", Advantage, doc="How much better an answer is than the others to the same prompt."
)


@ADVANTAGES.register("group")
@dataclass(frozen=True)
class Group(Advantage):
    """Distance from the group's mean over the group's standard deviation (GRPO, arXiv 2402.03300)."""

    def compute(self, rewards: Any) -> Any:
        from jaxpsn.rlvr.objective import advantages

        return advantages.group(rewards)


@ADVANTAGES.register("batch")
@dataclass(frozen=True)
class Batch(Advantage):
    """Distance from the group's mean over the batch's standard deviation (arXiv 2508.08221)."""

    def compute(self, rewards: Any) -> Any:
        from jaxpsn.rlvr.objective import advantages

        return advantages.batch(rewards)


@ADVANTAGES.register("none")
@dataclass(frozen=True)
class Centred(Advantage):
    """Distance from the group's mean (Dr. GRPO, arXiv 2503.20783)."""

    def compute(self, rewards: Any) -> Any:
        from jaxpsn.rlvr.objective import advantages

        return advantages.none(rewards)


@ADVANTAGES.register("leave_one_out")
@dataclass(frozen=True)
class LeaveOneOut(Advantage):
    """Distance from the mean of the others (RLOO, arXiv 2402.14740)."""

    def compute(self, rewards: Any) -> Any:
        from jaxpsn.rlvr.objective import advantages

        return advantages.leave_one_out(rewards)


@ADVANTAGES.register("pass_at_k")
@dataclass(frozen=True)
class PassAtK(Advantage):
    """Reward of the subsets of k answers that hold a correct one (pass@k training, arXiv 2508.10751)."""

    k: Annotated[int, Whole(1, 1 << 16)] = 4
    """Answers of a subset; fewer than those of a group."""

    def check(self, samples: int) -> None:
        super().check(samples)
        if self.k >= samples:
            errors.refuse("pass_at_k.k", self.k, f"below the group's {samples} samples, or every advantage is 0")

    def compute(self, rewards: Any) -> Any:
        from jaxpsn.rlvr.objective import advantages

        return advantages.pass_at_k(rewards, self.k)


@ADVANTAGES.register("max_rl")
@dataclass(frozen=True)
class MaxRl(Advantage):
    """Distance from the group's mean over that mean: the less a problem is solved, the more it weighs (2602.02710)."""

    def compute(self, rewards: Any) -> Any:
        from jaxpsn.rlvr.objective import advantages

        return advantages.max_rl(rewards)


@ADVANTAGES.register("w_reinforce")
@dataclass(frozen=True)
class WReinforce(Advantage):
    """Fixed weights of right and wrong answers, most for the wrong (W-REINFORCE, arXiv 2506.01347)."""

    positive: Traced[Annotated[float, Real(0.0, 100.0)]] = 0.1
    """Advantage of a correct answer; 0 learns from wrong ones alone."""
    negative: Traced[Annotated[float, Real(0.0, 100.0)]] = 1.0
    """Minus the advantage of a wrong one."""

    def validate(self) -> None:
        """Refuse weights that teach nothing."""
        if self.positive == self.negative == 0.0:
            errors.refuse("w_reinforce.negative", self.negative, "above 0, or a positive above 0")

    def check(self, samples: int) -> None:
        checks.whole("samples", samples, 1)

    def compute(self, rewards: Any) -> Any:
        from jaxpsn.rlvr.objective import advantages

        return advantages.signed(rewards, self.positive, self.negative)


@ADVANTAGES.register("unlikeliness")
@dataclass(frozen=True)
class Unlikeliness(Advantage):
    """The likelier a correct answer among those of its group, the less it is worth (arXiv 2506.02355)."""

    beta: Traced[Annotated[float, Real(0.0, 1.0, open_low=True)]] = 0.25
    """Share of its reward that the likeliest answer loses; the i-th likeliest loses ``1 - (i - 1) / G`` of that."""
    of: Advantage = field(default_factory=Group)
    """How the rewards are then compared."""

    def validate(self) -> None:
        """Refuse an advantage that only asks whether an answer is correct."""
        if isinstance(self.of, PassAtK | WReinforce | Unlikeliness):
            allowed = "group, batch, none, leave_one_out or max_rl, which compare rewards by size"
            errors.refuse("unlikeliness.of", called(type(self.of)), allowed)

    def check(self, samples: int) -> None:
        self.of.check(samples)

    def shaped(self, rewards: Any, log_probs: Any) -> Any:
        from jaxpsn.rlvr.objective import advantages

        return self.of.shaped(advantages.unlikely(rewards, log_probs, self.beta), log_probs)

    def compute(self, rewards: Any) -> Any:
        return self.of.compute(rewards)


_Clip = Traced[Annotated[float, Real(0.0, 100.0)]]


@dataclass(frozen=True)
class Loss(Component):
    """The loss of a token, and how those of all tokens become one number."""

    aggregation: Literal["token_mean", "sequence_mean", "constant", "sequence_sum"] = field(
        default="token_mean", kw_only=True
    )
    """Mean over all tokens (DAPO), over sequences of their means (GRPO), a sum over a constant (Dr. GRPO), or mean over
    sequences of their sums (LUSPO)."""

    def tokens(self, log_probs: Any, log_clean_old: Any, advantages: Any, mask: Any) -> tuple[Any, dict[str, Any]]:
        """The loss of each token ``[..., T]``, and where a bound took effect: any of ``losses.CLIPS``.

        ``advantages`` are ``[...]``, all others ``[..., T]``. What is left out of the dictionary took effect nowhere.
        Traced by JAX; only ``log_probs`` are differentiated.
        """
        raise NotImplementedError


LOSSES: Family[Loss] = Family("loss", Loss, doc="The loss of a token, from its ratio and advantage.")


@LOSSES.register("ppo")
@dataclass(frozen=True)
class Ppo(Loss):
    """The clipped surrogate of each token's ratio (PPO, arXiv 1707.06347; GRPO)."""

    clip_low: Traced[Fraction] = 0.2
    """Ratios are clipped below at 1 minus this."""
    clip_high: _Clip = 0.2
    """Ratios are clipped above at 1 plus this (DAPO: 0.28)."""
    dual_clip: Traced[Annotated[float, Real(1.0, 1000.0, open_low=True)] | None] = 3.0
    """Bound on the ratio where the advantage is negative (arXiv 1912.09729); none for none."""

    def tokens(self, log_probs: Any, log_clean_old: Any, advantages: Any, mask: Any) -> tuple[Any, dict[str, Any]]:
        from jaxpsn.rlvr.objective import losses

        ratio = losses.log_ratio(log_probs, log_clean_old, mask)
        return losses.clipped(ratio, advantages, self.clip_low, self.clip_high, self.dual_clip)


@LOSSES.register("gspo")
@dataclass(frozen=True)
class Gspo(Loss):
    """The clipped surrogate of the answer's length-normalised ratio (GSPO, arXiv 2507.18071)."""

    clip_low: Traced[Fraction] = 3e-4
    """Ratios are clipped below at 1 minus this."""
    clip_high: _Clip = 4e-4
    """Ratios are clipped above at 1 plus this."""
    dual_clip: Traced[Annotated[float, Real(1.0, 1000.0, open_low=True)] | None] = 3.0
    """Bound on the ratio where the advantage is negative; none for none."""

    def tokens(self, log_probs: Any, log_clean_old: Any, advantages: Any, mask: Any) -> tuple[Any, dict[str, Any]]:
        from jaxpsn.rlvr.objective import losses

        ratio = losses.sequence_log_ratio(log_probs, log_clean_old, mask)
        return losses.clipped(ratio, advantages, self.clip_low, self.clip_high, self.dual_clip)


@LOSSES.register("cispo")
@dataclass(frozen=True)
class Cispo(Loss):
    """The clipped ratio as a weight, so that clipped tokens keep a gradient (CISPO, arXiv 2506.13585)."""

    clip_low: Traced[Fraction] = 0.2
    """Ratios are clipped below at 1 minus this."""
    clip_high: _Clip = 0.2
    """Ratios are clipped above at 1 plus this."""

    def tokens(self, log_probs: Any, log_clean_old: Any, advantages: Any, mask: Any) -> tuple[Any, dict[str, Any]]:
        from jaxpsn.rlvr.objective import losses

        return losses.cispo(log_probs, log_clean_old, advantages, mask, self.clip_low, self.clip_high)


@LOSSES.register("reinforce")
@dataclass(frozen=True)
class Reinforce(Loss):
    """Minus advantage times log-probability, without a ratio; meant for one update on each batch."""

    def tokens(self, log_probs: Any, log_clean_old: Any, advantages: Any, mask: Any) -> tuple[Any, dict[str, Any]]:
        from jaxpsn.rlvr.objective import losses

        return losses.reinforce(log_probs, advantages, mask), {}


@LOSSES.register("dppo")
@dataclass(frozen=True)
class Dppo(Loss):
    """A trust region in probabilities in place of ratios, fair to rare tokens (DPPO, arXiv 2602.04879)."""

    of: Literal["tv", "kl"] = "tv"
    """How the move of a token is measured: the difference of probabilities, or the KL of drawing it or not."""
    low: Traced[Annotated[float, Real(0.0, 100.0)]] = 0.15
    """Largest move down of a token of negative advantage (verl: 0.15 for tv, 0.05 for kl)."""
    high: Traced[Annotated[float, Real(0.0, 100.0)]] = 0.15
    """Largest move up of a token of positive advantage."""
    cap: Traced[Annotated[float, Real(1.0, 1e6)]] = 20.0
    """Bound on the ratio, which is a weight."""

    def tokens(self, log_probs: Any, log_clean_old: Any, advantages: Any, mask: Any) -> tuple[Any, dict[str, Any]]:
        from jaxpsn.rlvr.objective import losses

        return losses.dppo(log_probs, log_clean_old, advantages, mask, self.of, self.low, self.high, self.cap)


@LOSSES.register("sapo")
@dataclass(frozen=True)
class Sapo(Loss):
    """A soft gate on each token's ratio in place of a clip (SAPO, arXiv 2511.20347)."""

    positive: Traced[Positive] = 1.0
    """Temperature of the gate where the advantage is positive."""
    negative: Traced[Positive] = 1.05
    """Temperature where it is not: larger forgets faster what moved."""

    def tokens(self, log_probs: Any, log_clean_old: Any, advantages: Any, mask: Any) -> tuple[Any, dict[str, Any]]:
        from jaxpsn.rlvr.objective import losses

        ratio = losses.log_ratio(log_probs, log_clean_old, mask)
        return losses.sapo(ratio, advantages, self.positive, self.negative), {}


@LOSSES.register("gmpo")
@dataclass(frozen=True)
class Gmpo(Loss):
    """The geometric mean of an answer's ratios, each clipped (GMPO, arXiv 2507.20673)."""

    clip_low: _Clip = 0.4
    """Logs of ratios are clipped below at minus this."""
    clip_high: _Clip = 0.4
    """Logs of ratios are clipped above at this."""

    def tokens(self, log_probs: Any, log_clean_old: Any, advantages: Any, mask: Any) -> tuple[Any, dict[str, Any]]:
        from jaxpsn.rlvr.objective import losses

        ratio = losses.log_ratio(log_probs, log_clean_old, mask)
        return losses.gmpo(ratio, advantages, mask, self.clip_low, self.clip_high)


@LOSSES.register("vespo")
@dataclass(frozen=True)
class Vespo(Loss):
    """A gamma-shaped weight of the whole answer's ratio (VESPO, as in TRL)."""

    power_positive: Traced[Positive] = 2.0
    """Power of the ratio where the advantage is not negative."""
    rate_positive: Traced[Positive] = 3.0
    """Rate at which larger ratios fade there."""
    power_negative: Traced[Positive] = 3.0
    """Power where the advantage is negative."""
    rate_negative: Traced[Positive] = 2.0
    """Rate there."""

    def tokens(self, log_probs: Any, log_clean_old: Any, advantages: Any, mask: Any) -> tuple[Any, dict[str, Any]]:
        from jaxpsn.rlvr.objective import losses

        positive, negative = (self.power_positive, self.rate_positive), (self.power_negative, self.rate_negative)
        return losses.vespo(log_probs, log_clean_old, advantages, mask, positive, negative), {}


@LOSSES.register("clip_cov")
@dataclass(frozen=True)
class ClipCov(Ppo):
    """PPO without the few tokens that lower entropy most, by the covariance of log-prob and advantage (2505.22617).

    Of the tokens within the bounds those of the largest covariance are left out; the paper draws them at random.
    """

    share: Traced[Fraction] = 2e-4
    """Share of all tokens that are left out; at least one, if any lies within the bounds."""
    least: Traced[Annotated[float, Real(-1e6, 1e6)]] = 1.0
    """Covariance above which a token may be left out."""
    most: Traced[Annotated[float, Real(-1e6, 1e6)]] = 5.0
    """Covariance below which it may."""

    def tokens(self, log_probs: Any, log_clean_old: Any, advantages: Any, mask: Any) -> tuple[Any, dict[str, Any]]:
        import jax.numpy as jnp

        from jaxpsn.rlvr.objective import losses

        loss, where = super().tokens(log_probs, log_clean_old, advantages, mask)
        values = losses.covariance(log_probs, advantages, mask)
        open_to = (values > self.least) & (values < self.most) & ~(where["clip_low"] | where["clip_high"])
        dropped = losses.largest(jnp.where(open_to, values, -jnp.inf), mask, self.share)
        return jnp.where(dropped, 0.0, loss), where


@LOSSES.register("kl_cov")
@dataclass(frozen=True)
class KlCov(Loss):
    """Unclipped ratios, with a pull back on the tokens of largest covariance (KL-Cov, arXiv 2505.22617).

    The pull is on the ratio, which is 1 in the first update on a batch: it takes several (epochs, mini_batches).
    """

    share: Traced[Fraction] = 2e-4
    """Share of all tokens that are pulled back; at least one."""
    coefficient: Traced[Positive] = 1.0
    """Weight of the size of their log-ratio."""

    def tokens(self, log_probs: Any, log_clean_old: Any, advantages: Any, mask: Any) -> tuple[Any, dict[str, Any]]:
        import jax.numpy as jnp

        from jaxpsn.rlvr.objective import losses

        ratio = losses.log_ratio(log_probs, log_clean_old, mask)
        chosen = losses.largest(losses.covariance(log_probs, advantages, mask), mask, self.share)
        pull = jnp.where(chosen, self.coefficient * jnp.abs(ratio), 0.0)
        return -advantages[..., None] * jnp.exp(ratio) + pull, {}


LOSSES.alias("grpo", "ppo(aggregation=sequence_mean)", "GRPO as published: the mean over answers (arXiv 2402.03300).")
LOSSES.alias("dapo", "ppo(clip_high=0.28)", "Clip-higher and the mean over tokens (DAPO, arXiv 2503.14476).")
LOSSES.alias("dr_grpo", "ppo(aggregation=constant)", "A sum over the longest answer (Dr. GRPO, arXiv 2503.20783).")
LOSSES.alias("luspo", "gspo(aggregation=sequence_sum)", "GSPO without a bias towards short answers (LUSPO, as in TRL).")
LOSSES.alias("dppo_kl", "dppo(of=kl, low=0.05, high=0.05)", "DPPO by the binary KL, at verl's bounds.")
