"""How long prompts and answers may be: what is asked for, what a task needs, and what a model has room for.

Prompt and answer stand in one sequence, so that together they must fit the positions of the model; nothing stretches
them. Everything here is known before any weights are read. Imports no JAX.
"""

from typing import Any

from jaxpsn.core import errors
from jaxpsn.rlvr.config import RlvrConfig, RolloutConfig

LONGEST_PROMPT, LONGEST_ANSWER = 512, 1024
"""Tokens, for files of problems where the config leaves the limits open."""


def limits(config: RlvrConfig, base: Any, task: Any, generated: bool) -> tuple[int, int]:
    """The longest prompt and the longest answer in tokens; refuses what task and model cannot do with.

    ``base``: a ``rlvr.base.Base``, of which only decoder and tokens are looked at.
    """
    rollout, positions, words = config.rollout, base.decoder.max_positions, base.words
    by_character = generated and hasattr(words, "alphabet")
    longest = LONGEST_PROMPT
    if by_character:
        lacking = sorted(set(task.alphabet) - set(words.alphabet))
        if lacking:
            errors.refuse("task", task.name, f"a task that the model can read; it knows no {' '.join(lacking)!r}")
        longest = task.max_prompt
        if rollout.max_prompt is not None and rollout.max_prompt < longest:
            errors.refuse("rollout.max_prompt", rollout.max_prompt, f"at least {longest}, as {task.name} needs")
    elif generated:
        longest = len(words.prompt("0")) + task.max_prompt  # no character of a prompt is more than a token
    longest = rollout.max_prompt or longest
    answer = rollout.max_tokens or (task.max_answer + 1 if by_character else min(LONGEST_ANSWER, positions - longest))
    check(positions, longest, answer)
    return longest, answer


def check_budget(config: RlvrConfig, longest: int) -> None:
    """Refuse a token budget that is too small for a single text of ``longest`` tokens."""
    budget = config.algorithm.token_budget
    each = 1 if config.algorithm.estimator == "clean" else config.members
    if 0 < budget < each * longest:
        of = f"prompt and answer of {longest} tokens" + (f" for each of {each} perturbations" if each > 1 else "")
        errors.refuse("algorithm.token_budget", budget, f"at least {each * longest}, for a {of}")


def check(positions: int, prompt: int, answer: int) -> None:
    """Refuse a prompt and an answer that are longer together than the ``positions`` of a model."""
    if prompt >= positions:
        errors.refuse("rollout.max_prompt", prompt, f"fewer than the model's {positions} positions")
    if prompt + answer > positions:
        allowed = f"at most {positions - prompt}, with a prompt of {prompt} and the model's {positions} positions"
        errors.refuse("rollout.max_tokens", answer, allowed)


def check_asked(rollout: RolloutConfig, positions: int) -> None:
    """Refuse lengths that a config itself asks for, before anything is known of task and tokens."""
    check(positions, rollout.max_prompt or 1, rollout.max_tokens or 1)
