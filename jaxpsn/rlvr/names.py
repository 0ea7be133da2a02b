"""What is said of fields that make less memory do; imports no JAX."""

LOWERS_ROLLOUT = "rollout.rows, rollout.prompts, rollout.samples, rollout.max_tokens"
"""Fields that make what sampling holds smaller; ``rollout.rows`` 0 is all at once."""
LOWERS_EVALUATION = "evaluation.rows"


def lowers_weights(read: bool) -> str:
    """What makes the weights smaller: a smaller model where one is read, else fields of the small decoder."""
    return "the size of model" if read else "decoder.hidden_size, decoder.num_layers"
