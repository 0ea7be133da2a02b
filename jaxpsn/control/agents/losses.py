"""The formulas of the learners as free functions."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxpsn.control.state import Transition


def terminal(batch: Transition, time_limit_terminal: bool = False) -> Bool[Array, "*batch"]:
    """Where nothing is bootstrapped: true ends, and time limits only if asked (as in the 2017 release)."""
    return batch.terminated | batch.truncated if time_limit_terminal else batch.terminated


def bootstrap(
    reward: Float[Array, "*batch"],
    end: Bool[Array, "*batch"],
    gamma: float | Float[Array, "*batch"],
    value: Float[Array, "*batch"],
) -> Float[Array, "*batch"]:
    """Target ``r + gamma (1 - end) V(s')`` (Lillicrap et al. 2016, arXiv 1509.02971, algorithm 1)."""
    return reward + gamma * jnp.where(end, jnp.zeros_like(value), value)


def smooth(key: PRNGKeyArray, action: Float[Array, "*batch a"], std: float, clip: float) -> Float[Array, "*batch a"]:
    """Target policy smoothing: clipped Gaussian noise on the target's action.

    Fujimoto et al. 2018, arXiv 1802.09477, equation 14.
    """
    noise = jnp.clip(std * jax.random.normal(key, action.shape, action.dtype), -clip, clip)
    return jnp.clip(action + noise, -1.0, 1.0)


def squared(q: Float[Array, "critics batch"], target: Float[Array, " batch"]) -> Float[Array, "critics batch"]:
    """Squared error of every critic against one target."""
    return jnp.square(q - target[None])


def huber(
    q: Float[Array, "critics batch"], target: Float[Array, " batch"], delta: float
) -> Float[Array, "critics batch"]:
    """``e^2 / 2`` for errors ``e`` up to ``delta`` in size, ``delta (|e| - delta / 2)`` beyond."""
    size = jnp.abs(q - target[None])
    near = jnp.minimum(size, delta)
    return near * (size - 0.5 * near)


def total(errors: Float[Array, "critics batch"]) -> Float[Array, ""]:
    """Mean over the batch, summed over critics."""
    return jnp.sum(jnp.mean(errors, axis=-1))


def mean_of(out: Float[Array, "*batch k"], places: Float[Array, " k"]) -> Float[Array, "*batch"]:
    """Mean of the distributions with logits ``out`` over ``places``."""
    return jnp.sum(jax.nn.softmax(out, axis=-1) * jnp.broadcast_to(places, out.shape), axis=-1)


def cross_entropy(
    out: Float[Array, "critics batch k"], target: Float[Array, "batch k"]
) -> Float[Array, "critics batch"]:
    """Cross-entropy of every critic's distribution, of logits ``out``, to one target distribution."""
    return -jnp.sum(target[None] * jax.nn.log_softmax(out, axis=-1), axis=-1)


def actor_loss(q: Float[Array, " batch"]) -> Float[Array, ""]:
    """Minus the mean value of the policy's own actions: its gradient is the deterministic policy gradient."""
    return -jnp.mean(q)


def balance(
    value: Float[Array, "*batch"],
    q: Float[Array, "*batch"],
    paid: Float[Array, "*batch"],
    beta: Float[Array, "..."],
    floor: Float[Array, ""],
) -> Float[Array, "*batch"]:
    """``value / mean|q| + beta paid / mean|paid|``: the value of the task and that of a bonus at equal sizes.

    ``value`` is ``q``, or ``q`` with what is added to it, such as entropy; ``beta`` is a number, or broadcast to them.
    The sizes are at least ``floor``, and no gradient passes through them (as in TD3+BC, Fujimoto and Gu 2021, arXiv
    2106.06860, equation 5).
    """

    def size(of: Float[Array, "*batch"]) -> Float[Array, ""]:
        return lax.stop_gradient(jnp.maximum(jnp.mean(jnp.abs(of)), floor))

    return value / size(q) + beta * paid / size(paid)


def temperature_loss(
    log_alpha: Float[Array, ""], density: Float[Array, " batch"], target: float | Float[Array, ""]
) -> Float[Array, ""]:
    """``alpha E[-log pi - target]``: the temperature falls while the entropy is above ``target`` (nats).

    Haarnoja et al. 2018, arXiv 1812.05905, equation 18.
    """
    return jnp.exp(log_alpha) * jnp.mean(-density - target)


def l2(critic: Any) -> Float[Array, ""]:
    """Half the sum of squares of the hidden kernels: no biases, no norms, not the output layer.

    The half is that of the release's regulariser (baselines 8822518).
    """
    leaves = jax.tree_util.tree_leaves_with_path(critic)
    names = [([getattr(k, "key", None) for k in path], leaf) for path, leaf in leaves]
    kernels = [leaf for path, leaf in names if path[-1] == "kernel" and "head" not in path]
    return 0.5 * sum((jnp.sum(jnp.square(kernel)) for kernel in kernels), jnp.zeros((), jnp.float32))


def polyak(target: Any, online: Any, tau: float) -> Any:
    """Targets move by ``tau`` of the way: ``target + tau (online - target)``; at 1 they are copies, bit for bit."""
    if tau == 1.0:
        return online
    return jax.tree.map(lambda t, o: t + tau * (o - t), target, online)
