"""What a config says of the scale of the noise, as a frozen dataclass that checks itself; imports no JAX."""

from dataclasses import dataclass
from typing import Literal

from jaxpsn.core import checks, errors
from jaxpsn.rlvr import names


@dataclass(frozen=True)
class SigmaConfig:
    """The scale of the noise and the rule that moves it."""

    rule: Literal["fixed", "staged", "kl", "composite"] = "kl"
    """fixed; staged decay (QeRL); kl: Variant I; composite: Variant II (similarity and self-certainty of probes)."""
    initial: float = 0.2
    """Sigma of the first step."""
    final: float = 0.001
    """Sigma of the last stage (staged)."""
    stages: int = 10
    """Stages of equal length; the first has no noise (staged)."""
    kl_target: float = 0.005
    """KL(noisy || clean) in nats a token to which sigma is driven (kl; paper's code: 0.003)."""
    indicator_drop: float = 0.03
    """How far below the clean policy's indicator on the same problems the probes' is driven (composite)."""
    indicator_target: float | None = None
    """Indicator to which it is driven instead, whatever the clean policy's is (composite; paper)."""
    rate: float = 1.02
    """Factor of one step (paper's code: 1.01); with a gain the largest."""
    gain: float | None = 4.0
    """Step of log sigma for a distance of 1 between indicator and target; None: always `rate` (composite; paper)."""
    dead_band: float = 1.1
    """Between kl_target / dead_band and kl_target * dead_band sigma rests (kl)."""
    slack: float = 0.0
    """Distance of the indicator from its target within which sigma rests (composite)."""
    low: float = 1e-6
    """Lower bound of sigma."""
    high: float = 0.5
    """Upper bound of sigma."""
    estimator: Literal["k1", "k3"] = "k1"
    """Monte-Carlo estimate of the KL: k1 (paper's code; may be negative) or k3."""
    probes: int = 2
    """Probe answers to each problem, drawn before the rollouts (composite)."""
    probe_policy: Literal["clean", "noisy"] = "noisy"
    """Who answers the probes: the noisy policy at the last sigma, or the clean one, which sigma does not move."""
    reuse_probes: bool = True
    """Count the probes among the group's answers instead of drawing them in addition."""
    similarity: Literal["ngram", "hidden", "bert", "equal"] = "ngram"
    """Likeness of answers: n-gram counts, hidden states of the clean policy, a sentence encoder, or equal texts."""
    centre: bool = True
    """Cosines after the mean over all answers was taken off; no: raw (hidden, bert; paper)."""
    bert: str | None = None
    """Folder of the sentence encoder, a BERT (similarity = bert; no other measure is one)."""
    certainty: Literal["uniform_to_policy", "policy_to_uniform"] = "uniform_to_policy"
    """Self-certainty as KL(U || p) (paper) or KL(p || U) = log V - H(p)."""
    normalisation: Literal["running", "fixed", "batch"] = "running"
    """Range that brings certainty to [0, 1]: a slow average of the batches' ranges, 0 to log V (policy_to_uniform
    alone is bounded by it), or each batch's own (paper)."""
    weight: float = 0.5
    """Share of similarity in the indicator; the rest is certainty."""

    def __post_init__(self) -> None:
        checks.choice("sigma.rule", self.rule, ("fixed", "staged", "kl", "composite"))
        checks.real("sigma.low", self.low, 0.0, 100.0)
        checks.real("sigma.high", self.high, self.low, 100.0, open_low=True)
        for name in ("initial", "final"):
            checks.real(f"sigma.{name}", getattr(self, name), 0.0, 100.0)
        checks.whole("sigma.stages", self.stages, 2, 10_000)
        checks.real("sigma.kl_target", self.kl_target, 0.0, 100.0, open_low=True)
        checks.real("sigma.indicator_drop", self.indicator_drop, 0.0, 2.0, open_low=True)
        if self.indicator_target is not None:
            checks.real("sigma.indicator_target", self.indicator_target, -1.0, 1.0)
        if self.gain is not None:
            checks.real("sigma.gain", self.gain, 0.0, 1000.0, open_low=True)
        checks.real("sigma.slack", self.slack, 0.0, 1.0)
        checks.real("sigma.rate", self.rate, 1.0, 10.0, open_low=True)
        checks.real("sigma.dead_band", self.dead_band, 1.0, 10.0)
        checks.choice("sigma.estimator", self.estimator, ("k1", "k3"))
        checks.whole("sigma.probes", self.probes, 2, 1 << 10)
        checks.choice("sigma.probe_policy", self.probe_policy, ("clean", "noisy"))
        checks.choice("sigma.similarity", self.similarity, names.SIMILARITIES)
        checks.choice("sigma.certainty", self.certainty, names.CERTAINTIES)
        checks.choice("sigma.normalisation", self.normalisation, names.NORMALISATIONS)
        checks.real("sigma.weight", self.weight, 0.0, 1.0)
        if (self.similarity == "bert") != (self.bert is not None):
            errors.refuse("sigma.bert", self.bert, "the folder of an encoder with similarity = bert, else nothing")
        if self.normalisation == "fixed" and self.certainty == "uniform_to_policy":
            allowed = "running or batch, as nothing bounds KL(U || p); 0 to log V is for certainty = policy_to_uniform"
            errors.refuse("sigma.normalisation", "fixed", allowed)
        if self.rule == "composite" and self.relative and self.probe_policy == "clean":
            allowed = "noisy, as sigma moves no answer of the clean policy; or an indicator_target of its own (paper)"
            errors.refuse("sigma.probe_policy", "clean", allowed)

    @property
    def relative(self) -> bool:
        """Whether the target is relative to the clean policy's own indicator (composite)."""
        return self.indicator_target is None
