"""The process of a reward: ``python -m jaxpsn.tasks.reward_worker``, told over its pipes; imports no JAX.

The first line is ``{"plugins": [...], "reward": {...}}``, answered by ``"ready"``; each line after it is
``[problems, texts]``, answered by a list of numbers. ``{"error": "..."}`` is what went wrong.
"""

import json
import os
import traceback
from collections.abc import Mapping
from typing import Any, BinaryIO

from jaxpsn.core import errors, plugins
from jaxpsn.tasks.problem import Problem
from jaxpsn.tasks.rewards import REWARDS


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer lines until the input ends."""
    reward: Any = None
    for line in requests:
        try:
            message = json.loads(line)
            if reward is None:
                reward = _told(message)
                reply: Any = "ready"
            else:
                problems = [Problem(**one) for one in message[0]]
                scores = reward.score([problem.prompt for problem in problems], message[1], problems)
                reply = scores.tolist() if hasattr(scores, "tolist") else list(scores)
            sent = json.dumps(reply, default=float)
        except Exception as error:
            sent = json.dumps({"error": _says(error)})
        replies.write(sent.encode("ascii") + b"\n")


def _told(message: Mapping[str, Any]) -> Any:
    plugins.require(message["plugins"])
    reward = REWARDS.make(message["reward"])
    reward.prepare()
    return reward


def _says(error: Exception) -> str:
    if isinstance(error, errors.UserError):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in line {frame.lineno} of {os.path.basename(frame.filename)}: {error}"


def main() -> None:
    """Keep the pipes to the parent and leave nothing else on standard output or error."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    silent = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silent, descriptor)
    serve(requests, replies)


if __name__ == "__main__":
    main()
