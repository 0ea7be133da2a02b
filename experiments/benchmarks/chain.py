"""The chain under parameter noise and its rivals."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from benchmarks import deep
from benchmarks.deep_options import Chain
from jaxpsn.control.state import ProgramState


def run(options: Chain) -> None:
    """Run what is not there yet, and write the table."""
    deep.run(options, right, deep.streak)


def right(made: Any, state: ProgramState, earned: Array) -> Bool[Array, ""]:
    """Whether the clean policy walks right in every state but the first, where nobody starts."""
    size = made.env.options.length
    states = jnp.asarray(np.tril(np.ones((size, size), np.float32))[1:])
    return jnp.all(made.agent.policy(state.learner.actor, states) == jnp.asarray(made.env.right)[1:])
