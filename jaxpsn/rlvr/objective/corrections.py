"""Corrections for the noise of the sampler, as components: a weight, and a gate beside it. No JAX here.

The weight of a token's loss is made of a ratio clean / noisy; the gate says which tokens and answers are learnt from at
all. Any weight goes with any gate: ``token(cap=2, gate=mean(of=k3))``. Formulas:
:mod:`jaxpsn.rlvr.objective.correction` and :mod:`jaxpsn.rlvr.objective.gating`. Both families are open: a class of
one's own under ``@CORRECTIONS.register("mine")`` or ``@GATES.register("mine")`` goes wherever a name goes.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

from jaxpsn.core import errors
from jaxpsn.core.components import Component, Sum, called, terms_of
from jaxpsn.core.families import Family
from jaxpsn.core.fields import Positive, Real, Traced


class Gate(Component):
    """Which tokens and answers are learnt from, by how far sampler and clean policy are apart."""

    counted: ClassVar[bool] = True
    """Whether dropped tokens still count in the loss's mean; a field of the gates that let it be chosen."""

    def keep(self, seen: Any) -> Any:
        """Tokens that pass, ``[..., T]``; ``seen`` is a :class:`jaxpsn.rlvr.objective.gating.Seen`. Traced by JAX."""
        raise NotImplementedError

    def aimed(self, divergence: float | None) -> "Gate":
        """The gate where noise is driven to this KL, nats a token; None: to none."""
        return self


def _check_sum(gates: Sum) -> None:
    if any(isinstance(term, NoGate) for term in gates.terms):
        errors.refuse("gate", "none + ...", "gates that drop something, as none drops nothing")


GATES: Family[Gate] = Family(
    "gate", Gate, sums=_check_sum, doc="Which tokens of noisy answers are learnt from; of a sum all must let pass."
)


@GATES.register("none")
@dataclass(frozen=True)
class NoGate(Gate):
    """All tokens pass."""

    def keep(self, seen: Any) -> Any:
        return seen.mask


@dataclass(frozen=True)
class _Acting(Gate):
    kl: Traced[Positive | None] = field(default=None, kw_only=True)
    """Nats a token in which bounds that are left out are measured. None: the target of sigma, else 0.005."""
    width: Traced[Positive] = field(default=2.0, kw_only=True)
    """Standard deviations of noise of the divergence `kl` up to which such bounds reach."""
    counted: bool = field(default=True, kw_only=True)  # type: ignore[misc]
    """Count dropped tokens in the loss's mean (IcePop); false: they leave its denominator too (verl)."""

    def open_bounds(self) -> bool:
        """Whether a bound was left out."""
        raise NotImplementedError

    def validate(self) -> None:
        """Refuse a measure that nothing is measured in."""
        if not self.open_bounds():
            for name, default in (("kl", None), ("width", 2.0)):
                if getattr(self, name) != default:
                    errors.refuse(f"{called(type(self))}.{name}", getattr(self, name), "nothing where bounds are given")

    def aimed(self, divergence: float | None) -> "_Acting":
        return replace(self, kl=divergence) if self.kl is None and self.open_bounds() else self


@dataclass(frozen=True)
class Divergence(_Acting):
    """Drops by an estimate of KL(noisy || clean)."""

    of: Literal["k1", "k2", "k3"] = "k1"
    """The estimate of a token: k1 (log noisy / clean), k2 (its half square), k3 (never negative, without bias)."""
    low: Traced[Annotated[float, Real(0.0, 1e6)] | None] = None
    """Least ratio clean / noisy that passes (k1 alone). None: what such noise seldom falls below."""
    high: Traced[Annotated[float, Real(0.0, 1e6, open_low=True)] | None] = None
    """Largest ratio clean / noisy that passes; of k2 and k3 the largest estimate, nats. None: as low."""

    level: ClassVar[str]

    def open_bounds(self) -> bool:
        return self.high is None or (self.of == "k1" and self.low is None)

    def validate(self) -> None:
        super().validate()
        name = called(type(self))
        if self.of != "k1" and self.low is not None:
            errors.refuse(f"{name}.low", self.low, f"none with of = {self.of}, which is least where the policies agree")
        if self.of != "k1":
            return
        if self.low is not None and self.low > (1.0 if self.high is None else self.high):
            errors.refuse(f"{name}.low", self.low, f"at most {1.0 if self.high is None else self.high:g}")
        if self.low is None and self.high is not None and self.high < 1.0:
            errors.refuse(f"{name}.high", self.high, "at least 1, or a low beside it")

    def keep(self, seen: Any) -> Any:
        from jaxpsn.rlvr.objective import gating

        return gating.within(self, seen)


@GATES.register("token")
@dataclass(frozen=True)
class TokenGate(Divergence):
    """Drops each token by its own estimate (IcePop, arXiv 2510.18855; verl: token_k1 to token_k3)."""

    level = "token"


@GATES.register("sum")
@dataclass(frozen=True)
class SumGate(Divergence):
    """Drops whole answers by the sum over their tokens; it is hard on long ones (verl: seq_sum; TRL's masks)."""

    level = "sum"


@GATES.register("mean")
@dataclass(frozen=True)
class MeanGate(Divergence):
    """Drops whole answers by the mean over their tokens (verl: seq_mean, with k1 its geometric rejection)."""

    level = "mean"


@GATES.register("max")
@dataclass(frozen=True)
class MaxGate(Divergence):
    """Drops whole answers by their worst token (verl: seq_max)."""

    level = "max"


@GATES.register("gap")
@dataclass(frozen=True)
class Gap(_Acting):
    """Drops tokens by the gap of their probability under both policies (DPPO, arXiv 2602.04879).

    A ratio is hard on rare tokens, which noise is there to find, and easy on likely ones; a gap is neither.
    """

    of: Literal["tv", "kl"] = "tv"
    """The gap: |p_noisy - p_clean| (tv), or the KL of drawing the token or not (kl)."""
    most: Traced[Annotated[float, Real(0.0, 1e6, open_low=True)] | None] = None
    """Largest gap that passes (verl: 0.15 for tv, 0.05 for kl). None: measured in `kl`."""
    directed: bool = False
    """Drop only where the advantage pulls the clean policy further away (paper)."""

    def open_bounds(self) -> bool:
        return self.most is None

    def keep(self, seen: Any) -> Any:
        from jaxpsn.rlvr.objective import gating

        return gating.near(self, seen)


@GATES.register("off_policy")
@dataclass(frozen=True)
class OffPolicy(_Acting):
    """Drops answers of negative advantage that the clean policy would seldom give (DeepSeek-V3.2, arXiv 2512.02556)."""

    most: Traced[Annotated[float, Real(0.0, 1e6)] | None] = None
    """Largest mean of log noisy / clean over the answer's tokens that passes, nats. None: measured in `kl`."""

    def open_bounds(self) -> bool:
        return self.most is None

    def keep(self, seen: Any) -> Any:
        from jaxpsn.rlvr.objective import gating

        return gating.on_policy(self, seen)


class Correction(Component):
    """Weights that correct a gradient of the clean policy for answers that a perturbed one gave.

    A weight is made of a ratio clean / noisy: :meth:`log_ratio` says of which, :meth:`weigh` what becomes of it.
    """

    by_answer: ClassVar[bool] = False
    """Whether all tokens of an answer have one weight: then answers count where weights are normalised."""
    normalise: ClassVar[bool] = False
    """Whether weights are divided by their mean; a field, where a correction lets it be chosen."""
    gate: ClassVar[Gate | Sum] = NoGate()
    """Which tokens are learnt from; a field, where a correction lets it be chosen."""

    def log_ratio(self, log_clean_old: Any, log_noisy: Any, mask: Any) -> Any:
        """Log of clean / noisy on each position ``[..., T]``, not clamped, 0 beyond the answers; here each token's."""
        from jaxpsn.rlvr.objective import correction

        return correction.log_ratio("token", log_clean_old, log_noisy, mask)

    def weigh(self, ratio: Any, mask: Any) -> Any:
        """The weights ``[..., T]`` of the ratios, of which one that stays as it is was not truncated."""
        return ratio

    def aimed(self, divergence: float | None) -> "Correction":
        """The correction where noise is driven to this KL, nats a token; None: to none."""
        aimed = tuple(term.aimed(divergence) for term in terms_of(self.gate))
        if aimed == terms_of(self.gate):
            return self
        return replace(self, gate=Sum(aimed) if isinstance(self.gate, Sum) else aimed[0])  # type: ignore[type-var]


CORRECTIONS: Family[Correction] = Family(
    "correction", Correction, doc="Weights of the loss against the noise of the sampler."
)


class _OfLevel(Correction):
    level: ClassVar[str]

    def log_ratio(self, log_clean_old: Any, log_noisy: Any, mask: Any) -> Any:
        from jaxpsn.rlvr.objective import correction

        return correction.log_ratio(self.level, log_clean_old, log_noisy, mask)


@CORRECTIONS.register("none")
@dataclass(frozen=True)
class Uncorrected(_OfLevel):
    """Weights of 1: the gradient takes the noisy answers for the clean policy's."""

    gate: Gate | Sum = NoGate()  # type: ignore[misc]
    """Which tokens and answers are learnt from."""

    level = "none"


@dataclass(frozen=True)
class Truncated(_OfLevel):
    """Ratios moved into ``[floor, cap]``."""

    cap: Traced[Annotated[float, Real(0.0, 1e6, open_low=True)] | None] = 10.0
    """Larger weights are lowered to it (10: the paper's); none: to nothing."""
    floor: Traced[Annotated[float, Real(0.0, 1e6)]] = 0.0
    """Smaller weights are raised to it."""
    normalise: bool = False  # type: ignore[misc]
    """Divide weights by their mean, so that noise does not change the size of a step."""
    gate: Gate | Sum = NoGate()  # type: ignore[misc]
    """Which tokens and answers are learnt from."""

    def validate(self) -> None:
        if self.cap is not None and self.floor > self.cap:
            errors.refuse(f"{called(type(self))}.floor", self.floor, f"at most the cap of {self.cap:g}")

    def weigh(self, ratio: Any, mask: Any) -> Any:
        from jaxpsn.rlvr.objective import correction

        return correction.truncate(ratio, self.floor, self.cap)


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


for _name, _spec, _doc in (
    ("token_mask", "token(cap=none, gate=token)", "The token's ratio; tokens beyond the bounds of the noise drop out."),
    ("sequence_mask", "sequence(cap=none, gate=sum)", "The answer's ratio; answers beyond the bounds drop out."),
    ("geometric_mask", "geometric(cap=none, gate=mean)", "The geometric mean; answers beyond the bounds drop out."),
    ("icepop", "token(cap=none, gate=token(low=0.5, high=5))", "IcePop's settings (arXiv 2510.18855)."),
    ("c3po", "sequence(cap=none, gate=sum(low=0.5, high=2))", "The masked sequence ratio of C3PO (arXiv 2608.09805)."),
    ("trl", "sequence(cap=none, gate=sum(low=0, high=3))", "TRL's default: the answer's ratio, dropped above 3."),
    ("trl_truncate", "token(cap=3)", "TRL's token_truncate at its default cap."),
    ("verl_token_is", "token(cap=2)", "verl's decoupled_token_is."),
    ("verl_seq_is", "sequence(cap=2)", "verl's decoupled_seq_is."),
    ("verl_seq_is_rs", "sequence(cap=2, gate=sum(low=0.5, high=2, counted=false))", "verl's decoupled_seq_is_rs."),
    ("verl_geo_rs", "none(gate=mean(low=0.999, high=1.001, counted=false))", "verl's decoupled_geo_rs."),
    ("verl_geo_rs_token_tis", "token(cap=2, gate=mean(low=0.999, high=1.001, counted=false))",
     "verl's decoupled_geo_rs_token_tis."),
    ("verl_k3_rs", "none(gate=mean(of=k3, high=0.01, counted=false))", "verl's decoupled_k3_rs."),
    ("verl_k3_rs_token_tis", "token(cap=2, gate=mean(of=k3, high=0.01, counted=false))",
     "verl's decoupled_k3_rs_token_tis."),
):  # fmt: skip
    CORRECTIONS.alias(_name, _spec, _doc)
