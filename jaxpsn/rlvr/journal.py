"""The sample log: every answer of every step with what was learnt from it, enough to verify and score it again."""

from typing import Any

import numpy as np

from jaxpsn.rlvr import rollout
from jaxpsn.rlvr.gathering import Experience

FILE = "samples.jsonl"


class Journal:
    """Writes rows to a log that drops those of steps made again (``write(rows)``, ``sync()``, ``close()``).

    A row has ``step`` (counted from 1), ``problem`` and ``prompt``, ``text`` and its ``tokens``, the verifier's
    ``score``, ``reward`` (the score less fines), ``advantage``, ``member`` (-1: clean), ``sigma``, ``length`` in
    tokens, ``ended``, and ``log_prob``, the sampler's own for the whole answer. The member's noise is a function of
    (seed, step - 1, member).
    """

    def __init__(self, log: Any):
        self._log = log

    def write(self, step: int, found: Experience, advantages: np.ndarray) -> None:
        """One row for every answer, problem by problem; ``advantages`` are [G, P]."""
        answers = found.answers
        sums = rollout.log_likelihood(answers)
        rows = []
        for place, problem in enumerate(found.problems):
            for sample, text in enumerate(found.texts[place]):
                length = int(answers.lengths[sample, place])
                rows.append({
                    "step": step, "problem": problem.id, "prompt": problem.prompt, "text": text,
                    "tokens": answers.tokens[sample, place, :length].tolist(),
                    "score": float(found.scores[place, sample]), "reward": float(found.rewards[place, sample]),
                    "advantage": round(float(advantages[sample, place]), 6), "member": int(answers.member[sample]),
                    "sigma": float(answers.sigma[sample]), "length": length,
                    "ended": bool(answers.ended[sample, place]), "log_prob": round(float(sums[sample, place]), 5),
                })  # fmt: skip
        self._log.write(rows)

    def sync(self) -> None:
        """Make what was written durable."""
        self._log.sync()

    def close(self) -> None:
        """Close the log."""
        self._log.close()
