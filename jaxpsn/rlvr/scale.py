"""The signals that Variant II reads off its probes.

What feeds the indicator: how alike the answers to a problem are (by default character trigrams of their text, which
is no sentence encoder; that is ``similarity = bert(FOLDER)``), and the self-certainty of the policy that gave them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxpsn.lm.sampler import Prompts
from jaxpsn.rlvr.exploration.rules import Probed
from jaxpsn.rlvr.learner import Learner
from jaxpsn.rlvr.rollout import Answers


class Probes(NamedTuple):
    """Probe answers to a step's problems, and those of the clean policy to the same ones if they are compared."""

    prompts: Prompts
    answers: Answers
    texts: list[list[str]]  # [problem][sample]
    clean: Answers | None = None
    """With the random numbers of ``answers``: what differs between the two is the noise on the weights."""
    clean_texts: list[list[str]] | None = None


def signals(rule: Probed, learner: Learner) -> Callable[[Any, Probes], dict[str, Any]]:
    """Function ``(params, probes) -> signals`` of Variant II; with an encoder also ``probes_cut``, a share."""
    encode = rule.similarity.encoder()
    alike = rule.similarity.measure(learner, encode)

    def of(params: Any, prompts: Prompts, answers: Answers, texts: list[list[str]], owner: str) -> dict[str, Any]:
        return {
            f"{owner}similarity": alike(params, prompts, answers, texts),
            f"{owner}certainty": answers.certainty,
            f"{owner}confidence": answers.confidence,
        }

    def read(params: Any, probes: Probes) -> dict[str, Any]:
        before = None if encode is None else (encode.cut, encode.read)
        found = of(params, probes.prompts, probes.answers, probes.texts, "")
        if probes.clean is not None:
            found |= of(params, probes.prompts, probes.clean, probes.clean_texts, "clean_")
        if encode is not None:
            found["probes_cut"] = np.float32((encode.cut - before[0]) / max(encode.read - before[1], 1))
        return found

    return read
