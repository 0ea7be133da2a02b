"""Evolution of a language model: its weights move towards the perturbations whose answers were worth most.

No derivative of the policy is taken. With ``u_i`` the mean advantage of member i's answers and ``theta + sigma_i E_i``
its weights, ``1/N sum_i u_i E_i / sigma_i`` estimates the gradient of the smoothed objective
``E_eps J(theta + sigma eps)``; of low-rank members it takes one product a matrix (EGGROLL, arXiv 2511.16652).
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxpsn import noise
from jaxpsn.core import compat


def fitness(advantages: Float[Array, "G P"], members: int) -> Float[Array, " members"]:
    """The mean advantage of each member's answers, which stand side by side in a group."""
    return jnp.mean(advantages.reshape(members, -1), axis=1)


def gradient(params: Any, draw: Any, sigmas: Float[Array, " N"], worth: Float[Array, " N"]) -> Any:
    """What descends: ``-1/N sum_i worth_i E_i / sigma_i``, a tree like ``params``; 0 where nothing is perturbed."""
    weights = worth / (worth.shape[0] * sigmas)
    return jax.tree.map(jnp.negative, noise.superpose(params, draw, weights))


def update(learner: Any, params: Any, opt_state: Any, batch: Any) -> tuple[Any, Any, dict[str, Array]]:
    """One step of the optimiser along the estimate; metrics are those of the mismatch, ``fitness_std`` and its norm.

    ``learner``: a :class:`jaxpsn.rlvr.learner.Learner`, ``batch`` one of its batches. The clean policy is only scored.
    """
    draw, sigmas = learner.perturbed(batch)
    worth = fitness(batch.advantages, sigmas.shape[0])
    slope = gradient(params, draw, sigmas, worth)
    answers = batch.answers
    clean = learner.log_probs(params, batch.prompts, answers.tokens, answers.lengths)
    metrics = {"loss": -jnp.mean(worth), "fitness_std": jnp.std(worth)}
    metrics |= learner.mismatch(clean, answers, batch.advantages)
    with compat.foreign():
        metrics["grad_norm"] = optax.tree.norm(slope)
        change, opt_state = learner.optimiser.update(slope, opt_state, params)
        return optax.apply_updates(params, change), opt_state, metrics
