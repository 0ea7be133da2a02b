"""The process of a reward, which is set up by ``{"plugins": [...], "reward": {...}}``; imports no JAX.

Each message after it is ``[problems, texts]``, answered by a list of numbers.
"""

from collections.abc import Callable, Mapping
from typing import Any

from jaxpsn.core import plugins, processes
from jaxpsn.tasks.problem import Problem
from jaxpsn.tasks.rewards import REWARDS


def setup(message: Mapping[str, Any]) -> Callable[[Any], Any]:
    """What scores answers."""
    plugins.require(message["plugins"])
    reward = REWARDS.make(message["reward"])
    reward.prepare()

    def score(asked: Any) -> Any:
        problems = [Problem(**one) for one in asked[0]]
        scores = reward.score([problem.prompt for problem in problems], asked[1], problems)
        return scores.tolist() if hasattr(scores, "tolist") else list(scores)

    return score


if __name__ == "__main__":
    processes.serve(setup)
