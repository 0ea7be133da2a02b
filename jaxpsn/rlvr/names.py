"""What a reasoning config may name, and which combinations make sense; imports no JAX."""

from jaxpsn import checks, errors

ADVANTAGES = ("group", "batch", "none", "leave_one_out", "pass_at_k")
LOSSES = ("ppo", "gspo", "cispo", "reinforce")
AGGREGATIONS = ("token_mean", "sequence_mean", "constant")
KL_ESTIMATORS = ("k1", "k2", "k3")
CORRECTIONS = ("none", "token", "token_mask", "sequence", "sequence_mask", "geometric", "geometric_mask")
CERTAINTIES = ("uniform_to_policy", "policy_to_uniform")
NORMALISATIONS = ("running", "fixed", "batch")


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


LOWERS_ROLLOUT = "rollout.rows, rollout.prompts, rollout.samples, rollout.max_tokens"
"""Fields that make what sampling holds smaller; ``rollout.rows`` 0 is all at once."""
LOWERS_EVALUATION = "evaluation.rows"


def lowers_weights(read: bool) -> str:
    """What makes the weights smaller: a smaller model where one is read, else fields of the small decoder."""
    return "the size of model" if read else "decoder.hidden_size, decoder.num_layers"
