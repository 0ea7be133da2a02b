"""What an update is made of: advantages, losses and corrections as components; their formulas live beside. No JAX here.

Each family is open: a class of one's own under ``@LOSSES.register("mine")`` goes wherever a name goes.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

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
        from jaxpsn.rlvr import advantages

        return advantages.group(rewards)


@ADVANTAGES.register("batch")
@dataclass(frozen=True)
class Batch(Advantage):
    """Distance from the group's mean over the batch's standard deviation (arXiv 2508.08221)."""

    def compute(self, rewards: Any) -> Any:
        from jaxpsn.rlvr import advantages

        return advantages.batch(rewards)


@ADVANTAGES.register("none")
@dataclass(frozen=True)
class Centred(Advantage):
    """Distance from the group's mean (Dr. GRPO, arXiv 2503.20783)."""

    def compute(self, rewards: Any) -> Any:
        from jaxpsn.rlvr import advantages

        return advantages.none(rewards)


@ADVANTAGES.register("leave_one_out")
@dataclass(frozen=True)
class LeaveOneOut(Advantage):
    """Distance from the mean of the others (RLOO, arXiv 2402.14740)."""

    def compute(self, rewards: Any) -> Any:
        from jaxpsn.rlvr import advantages

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
        from jaxpsn.rlvr import advantages

        return advantages.pass_at_k(rewards, self.k)


_Clip = Traced[Annotated[float, Real(0.0, 100.0)]]


@dataclass(frozen=True)
class Loss(Component):
    """The loss of a token, and how those of all tokens become one number."""

    aggregation: Literal["token_mean", "sequence_mean", "constant"] = field(default="token_mean", kw_only=True)
    """Mean over all tokens (DAPO), over sequences of their means (GRPO), or a sum over a constant (Dr. GRPO)."""

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
        from jaxpsn.rlvr import losses

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
        from jaxpsn.rlvr import losses

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
        from jaxpsn.rlvr import losses

        return losses.cispo(log_probs, log_clean_old, advantages, mask, self.clip_low, self.clip_high)


@LOSSES.register("reinforce")
@dataclass(frozen=True)
class Reinforce(Loss):
    """Minus advantage times log-probability, without a ratio; meant for one update on each batch."""

    def tokens(self, log_probs: Any, log_clean_old: Any, advantages: Any, mask: Any) -> tuple[Any, dict[str, Any]]:
        from jaxpsn.rlvr import losses

        return losses.reinforce(log_probs, advantages, mask), {}


LOSSES.alias("grpo", "ppo(aggregation=sequence_mean)", "GRPO as published: the mean over answers (arXiv 2402.03300).")
LOSSES.alias("dapo", "ppo(clip_high=0.28)", "Clip-higher and the mean over tokens (DAPO, arXiv 2503.14476).")
LOSSES.alias("dr_grpo", "ppo(aggregation=constant)", "A sum over the longest answer (Dr. GRPO, arXiv 2503.20783).")


class Correction(Component):
    """Weights that correct a gradient of the clean policy for answers that a perturbed one gave.

    A weight is made of a ratio clean / noisy: :meth:`log_ratio` says of which, :meth:`weigh` what becomes of it.
    """

    by_answer: ClassVar[bool] = False
    """Whether all tokens of an answer have one weight: then answers count where weights are normalised."""
    normalise: ClassVar[bool] = False
    """Whether weights are divided by their mean; a field, where a correction lets it be chosen."""

    def log_ratio(self, log_clean_old: Any, log_noisy: Any, mask: Any) -> Any:
        """Log of clean / noisy on each position ``[..., T]``, not clamped, 0 beyond the answers; here each token's."""
        from jaxpsn.rlvr import correction

        return correction.log_ratio("token", log_clean_old, log_noisy, mask)

    def weigh(self, ratio: Any, mask: Any) -> Any:
        """The weights ``[..., T]`` of the ratios, of which one that stays as it is was not truncated."""
        return ratio

    def aimed(self, divergence: float | None) -> "Correction":
        """The correction where noise is driven to this KL, nats a token; None: to none."""
        return self


CORRECTIONS: Family[Correction] = Family(
    "correction", Correction, doc="Weights of the loss against the noise of the sampler."
)


@CORRECTIONS.register("none")
@dataclass(frozen=True)
class Uncorrected(Correction):
    """Weights of 1: the gradient takes the noisy answers for the clean policy's."""

    def log_ratio(self, log_clean_old: Any, log_noisy: Any, mask: Any) -> Any:
        from jaxpsn.rlvr import correction

        return correction.log_ratio("none", log_clean_old, log_noisy, mask)


class _OfLevel(Correction):
    level: ClassVar[str]

    def log_ratio(self, log_clean_old: Any, log_noisy: Any, mask: Any) -> Any:
        from jaxpsn.rlvr import correction

        return correction.log_ratio(self.level, log_clean_old, log_noisy, mask)


@dataclass(frozen=True)
class Truncated(_OfLevel):
    """Ratios moved into ``[floor, cap]``."""

    cap: Traced[Annotated[float, Real(0.0, 1e6, open_low=True)]] = 10.0
    """Larger weights are lowered to it (10: the paper's)."""
    floor: Traced[Annotated[float, Real(0.0, 1e6)]] = 0.0
    """Smaller weights are raised to it."""
    normalise: bool = False
    """Divide weights by their mean, so that noise does not change the size of a step."""

    def validate(self) -> None:
        if self.floor > self.cap:
            errors.refuse(f"{called(type(self))}.floor", self.floor, f"at most the cap of {self.cap:g}")

    def weigh(self, ratio: Any, mask: Any) -> Any:
        from jaxpsn.rlvr import correction

        return correction.truncate(ratio, self.floor, self.cap)


@dataclass(frozen=True)
class Masked(_OfLevel):
    """Ratios outside ``[floor, cap]`` become 0: those tokens or answers teach nothing."""

    cap: Traced[Annotated[float, Real(0.0, 1e6, open_low=True)] | None] = None
    """Larger weights become 0. None: what noise of the divergence `kl` seldom exceeds."""
    floor: Traced[Annotated[float, Real(0.0, 1e6)] | None] = None
    """Smaller weights become 0. None: as cap."""
    normalise: bool = False
    """Divide weights by their mean, so that noise does not change the size of a step."""
    kl: Traced[Positive | None] = None
    """Nats a token in which bounds that are left out are measured. None: the target of sigma, else 0.005."""

    def validate(self) -> None:
        name = called(type(self))
        if self.cap is not None:
            lowest = 1.0 if self.floor is None else self.floor
            checks.real(f"{name}.cap", self.cap, lowest, 1e6)
        if self.floor is not None and self.cap is None:
            checks.real(f"{name}.floor", self.floor, 0.0, 1.0)
        if self.kl is not None and self.cap is not None and self.floor is not None:
            errors.refuse(f"{name}.kl", self.kl, "nothing where cap and floor are both given")

    def aimed(self, divergence: float | None) -> "Masked":
        given = self.kl is not None or None not in (self.cap, self.floor)
        return self if given else replace(self, kl=divergence)

    def weigh(self, ratio: Any, mask: Any) -> Any:
        from jaxpsn.rlvr import correction

        return correction.drop(ratio, *correction.mask_bounds(self.level, mask, self.cap, self.floor, self.kl))


@CORRECTIONS.register("token")
@dataclass(frozen=True)
class Token(Truncated):
    """The ratio of each token, truncated (TIS; arXiv 2602.02555)."""

    level = "token"


@CORRECTIONS.register("sequence")
@dataclass(frozen=True)
class Sequence(Truncated):
    """The ratio of the whole answer, truncated."""

    level, by_answer = "sequence", True


@CORRECTIONS.register("geometric")
@dataclass(frozen=True)
class Geometric(Truncated):
    """The geometric mean of an answer's ratios, truncated."""

    level, by_answer = "geometric", True


@CORRECTIONS.register("token_mask")
@dataclass(frozen=True)
class TokenMask(Masked):
    """The ratio of each token; tokens outside the bounds are left out (IcePop, arXiv 2510.18855)."""

    level = "token"


@CORRECTIONS.register("sequence_mask")
@dataclass(frozen=True)
class SequenceMask(Masked):
    """The ratio of the whole answer; answers outside the bounds are left out."""

    level, by_answer = "sequence", True


@CORRECTIONS.register("geometric_mask")
@dataclass(frozen=True)
class GeometricMask(Masked):
    """The geometric mean of an answer's ratios; answers outside the bounds are left out."""

    level, by_answer = "geometric", True
