"""Gates: which tokens and answers are learnt from, by how far sampler and clean policy are apart.

Rows in any layout, tokens on the last axis. With ``d = log clean - log noisy`` of a sampled token, estimates of
KL(noisy || clean) are k1 = -d, k2 = d^2 / 2 and k3 = exp(d) - 1 - d (Schulman 2020). A bound that is left out is
measured in the divergence that the noise is meant to have, as quantities of different scale need different bounds.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxpsn.core import errors
from jaxpsn.rlvr.objective.tokens import divide

KL_TARGET = 0.005
"""Nats a token in which bounds are measured where no rule drives the noise to another divergence."""
LOG_RATIO_BOUND = 20.0
"""Log-ratios are clamped to +- this before exp, sums over an answer too."""

Tokens = Float[Array, "*rows T"]
Mask = Bool[Array, "*rows T"]


class Seen(NamedTuple):
    """What gates look at; the last is None where advantages are not known yet."""

    log_clean_old: Any  # [..., T] float32
    log_noisy: Any  # [..., T] float32
    mask: Any  # [..., T] bool
    advantages: Any = None  # [...] float32


def count(mask: Mask) -> Float[Array, "*rows 1"]:
    """Tokens of each answer."""
    return jnp.sum(mask.astype(jnp.float32), axis=-1, keepdims=True)


def difference(seen: Seen) -> Tokens:
    """``log clean - log noisy`` of each token, 0 beyond the answers."""
    return jnp.where(seen.mask, seen.log_clean_old - seen.log_noisy, 0.0)


def estimate(level: str, of: str, d: Tokens, mask: Mask) -> Float[Array, "*rows _"]:
    """k1, k2 or k3 of each token ``[..., T]``, or over answers ``[..., 1]``; k1's largest is that of its size."""
    bounded = jnp.clip(d, -LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    values = {"k1": -d, "k2": 0.5 * jnp.square(bounded), "k3": jnp.expm1(bounded) - bounded}[of]
    if level == "token":
        return values
    if level == "max":
        size = jnp.where(mask, jnp.abs(values), -1.0)
        return jnp.take_along_axis(values, jnp.argmax(size, axis=-1, keepdims=True), axis=-1)
    total = jnp.sum(values, axis=-1, keepdims=True)
    return total if level == "sum" else divide(total, count(mask))


def reach(level: str, of: str, mask: Mask, kl: Any = None, width: Any = 2.0) -> Any:
    """How far an estimate strays where the noise has a divergence of ``kl`` nats a token (None: KL_TARGET).

    The log-ratio over m tokens then has a mean of about ``m kl`` and a variance of about ``2 m kl`` (of a Gaussian), so
    k1 strays to ``m kl + width sqrt(2 m kl)``; k2 and k3 of a token to half the square of that, their sum over m tokens
    to ``m kl + width sqrt(2 m) kl``. A token has m = 1, a sum the answer's length, a mean the sum's reach over the
    length; the worst of m tokens is ``sqrt(width^2 + 2 log m)`` deviations away. A scalar, or ``[..., 1]``.
    """
    kl = KL_TARGET if kl is None else kl
    length = jnp.maximum(count(mask), 1.0)
    tokens = length if level in ("sum", "mean") else jnp.float32(1.0)
    far = jnp.sqrt(jnp.square(jnp.float32(width)) + 2.0 * jnp.log(length)) if level == "max" else width
    found = tokens * kl + far * jnp.sqrt(2.0 * tokens * kl)
    if of != "k1":
        found = (
            0.5 * jnp.square(found) if level in ("token", "max") else tokens * kl + far * jnp.sqrt(2.0 * tokens) * kl
        )
    return found / length if level == "mean" else found


def within(gate: Any, seen: Seen) -> Mask:
    """Tokens of which the estimate, or that of their answer, lies within the bounds of a ``corrections.Divergence``."""
    values = estimate(gate.level, gate.of, difference(seen), seen.mask)
    far = reach(gate.level, gate.of, seen.mask, gate.kl, gate.width)
    if gate.of != "k1":
        return seen.mask & (values <= (far if gate.high is None else gate.high))
    # In ratios clean / noisy, whose log is -k1.
    ratio = jnp.exp(jnp.clip(-values, -LOG_RATIO_BOUND, LOG_RATIO_BOUND))
    low = jnp.exp(-far) if gate.low is None else gate.low
    high = jnp.exp(far) if gate.high is None else gate.high
    return seen.mask & (ratio >= low) & (ratio <= high)


def binary_kl(log_first: Tokens, log_second: Tokens) -> Tokens:
    """KL of drawing a token or not, of probabilities p against q: ``p log(p / q) + (1 - p) log((1 - p) / (1 - q))``.

    Source: DPPO, arXiv 2602.04879; 1e-8 in the second logarithm, as in verl.
    """
    first, second = jnp.exp(log_first), jnp.exp(log_second)
    rest = jnp.log((1.0 - first + 1e-8) / (1.0 - second + 1e-8))
    return first * (log_first - log_second) + (1.0 - first) * rest


def near(gate: Any, seen: Seen) -> Mask:
    """Tokens whose probabilities under both policies are near each other, for a ``corrections.Gap``.

    Noise of a divergence of kl shifts a logit by about ``s = width sqrt(2 kl)``, which moves a probability by at most
    ``s / 4`` and has a binary KL of at most ``s^2 / 8``: these are the bounds where none is given.
    """
    kl = KL_TARGET if gate.kl is None else gate.kl
    clean, noisy = (jnp.where(seen.mask, side, 0.0) for side in (seen.log_clean_old, seen.log_noisy))
    risen = jnp.exp(clean) - jnp.exp(noisy)
    if gate.of == "tv":
        far, most = jnp.abs(risen), gate.width * jnp.sqrt(2.0 * kl) / 4.0
    else:
        far, most = binary_kl(noisy, clean), jnp.square(gate.width) * kl / 4.0
    dropped = far > (most if gate.most is None else gate.most)
    if gate.directed:
        dropped = dropped & (_advantages(seen, "gap") * risen > 0.0)
    return seen.mask & ~dropped


def on_policy(gate: Any, seen: Seen) -> Mask:
    """Answers of positive advantage, and those that are not too unlikely, for a ``corrections.OffPolicy``."""
    mean = estimate("mean", "k1", difference(seen), seen.mask)
    most = reach("mean", "k1", seen.mask, gate.kl, gate.width) if gate.most is None else gate.most
    return seen.mask & ((_advantages(seen, "off_policy") >= 0.0) | (mean <= most))


def _advantages(seen: Seen, name: str) -> Float[Array, "*rows 1"]:
    if seen.advantages is None:
        errors.refuse("gate", name, "one that needs no advantages, as there are none here")
    return seen.advantages[..., None]
