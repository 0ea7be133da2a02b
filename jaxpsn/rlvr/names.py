"""What a reasoning config may name, and which combinations make sense; imports no JAX."""

from jaxpsn.core import checks, errors

ADVANTAGES = ("group", "batch", "none", "leave_one_out", "pass_at_k")
LOSSES = ("ppo", "gspo", "cispo", "reinforce")
AGGREGATIONS = ("token_mean", "sequence_mean", "constant")
KL_ESTIMATORS = ("k1", "k2", "k3")
CORRECTIONS = ("none", "token", "token_mask", "sequence", "sequence_mask", "geometric", "geometric_mask")
CERTAINTIES = ("uniform_to_policy", "policy_to_uniform")
NORMALISATIONS = ("running", "fixed", "batch")
SIMILARITIES = ("ngram", "hidden", "bert", "equal")


def check_advantage(name: str, group: int, k: int = 1) -> None:
    """Refuse an advantage that is always zero: a group of one answer, or pass@k with k as large as the group.

    Every advantage here compares an answer with the others to the same prompt. With k = group, one correct answer
    makes every subset a success and none makes every subset a failure: nothing is left to learn from.
    """
    checks.choice("advantage", name, ADVANTAGES)
    checks.whole("samples", group, 1)
    if group < 2:
        errors.refuse("samples", group, f"at least 2, as the {name} advantage compares the answers to one prompt")
    if name == "pass_at_k":
        checks.whole("k", k, 1)
        if k >= group:
            errors.refuse("k", k, f"below the group's {group} samples, or every advantage is 0")


def check_bounds(prefix: str, correction: str, cap: float | None, floor: float | None) -> None:
    """Refuse bounds of correction weights that are out of range, cross, or bound nothing.

    ``prefix`` is that of the fields' names. A bound that is left out is the correction's own: at most 1 below and at
    least 1 above for a mask, so that equal policies pass, and 0 and 10 for truncated weights.
    """
    checks.choice(f"{prefix}correction", correction, CORRECTIONS)
    masked = correction.endswith("_mask")
    for name, value in (("cap", cap), ("floor", floor)):
        if value is not None and correction == "none":
            errors.refuse(f"{prefix}{name}", value, f"nothing with {prefix}correction = none, which has no weights")
    if cap is not None:
        lowest = 1.0 if masked and floor is None else 0.0
        checks.real(f"{prefix}cap", cap, lowest, 1e6, open_low=not lowest)
    if floor is not None:
        checks.real(f"{prefix}floor", floor, 0.0, cap if cap is not None else 1.0 if masked else 10.0)


LOWERS_ROLLOUT = "rollout.rows, rollout.prompts, rollout.samples, rollout.max_tokens"
"""Fields that make what sampling holds smaller; ``rollout.rows`` 0 is all at once."""
LOWERS_EVALUATION = "evaluation.rows"


def lowers_weights(read: bool) -> str:
    """What makes the weights smaller: a smaller model where one is read, else fields of the small decoder."""
    return "the size of model" if read else "decoder.hidden_size, decoder.num_layers"
