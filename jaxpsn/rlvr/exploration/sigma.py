"""Rules that move the scale of the noise, as pure pairs of functions whose state is checkpointed with the run.

``update(state, signals) -> state``: ``signals`` is a flat dict; each rule names the entries it reads and ignores the
others.

Which way they move it, in words:

- ``kl`` (Variant I): the noisy policy is *farther* from the clean one than the target -> less noise; nearer -> more.
- ``composite`` (Variant II): the indicator is high when answers are *alike* and the policy is *sure*, that is when it
  explores too little. Above the target -> more noise; up to the target -> less. The paper's equation 10, as handed
  down, can be read the other way round (arXiv 2602.02555); what its indicator means leaves only this reading.

A signal that is not finite (nothing was measured, or the policy has diverged) leaves sigma and the state as they are.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from jaxpsn.core import checks, errors
from jaxpsn.noise.scales import Scale, ScaleState

CERTAINTIES = ("uniform_to_policy", "policy_to_uniform")
NORMALISATIONS = ("running", "fixed", "batch")
BOUNDS = (1e-6, 0.5)
"""Where the paper's release keeps sigma."""

Signals = dict[str, Array]
Number = float | Float[Array, ""]


@struct.dataclass
class StagedState:
    """State of the staged decay: sigma, where it starts from, and the number of updates so far."""

    sigma: Any  # [] float32
    start: Any  # [] float32
    count: Any  # [] int32


@struct.dataclass
class CompositeState:
    """State of Variant II: sigma, the range of certainty, and the last indicator with its parts for the log."""

    sigma: Any  # [] float32
    low: Any  # [] float32: lower end of the range of certainty; NaN until something was measured
    high: Any  # [] float32: upper end likewise
    indicator: Any  # [] float32, NaN before the first update
    similarity: Any  # [] float32 likewise
    certainty: Any  # [] float32 likewise, normalised
    target: Any  # [] float32: what the indicator was compared with, NaN before the first update


def told(rule: Scale) -> Scale:
    """A rule whose updates are also told a ``distance``: the KL in nats a token, by k3, which is never negative."""

    def update(state: Any, signals: Signals) -> Any:
        distance = {"distance": signals["noise_kl_k3"]} if "noise_kl_k3" in signals else {}
        return rule.update(state, signals | distance)

    return Scale(rule.init, update)


def staged(final: Number, stages: int, steps: int) -> Scale:
    """Stepwise exponential decay from ``sigma0`` to ``final``: ``stages`` of equal length over ``steps`` updates.

    The first stage has no noise; stage i + 1 has ``sigma0 (final / sigma0)^(i / (stages - 2))``; the last one lasts
    beyond ``steps``. With two stages the second has ``sigma0``. Reads no signal.
    Source: QeRL, adaptive quantization noise (arXiv 2510.11696), section 3.3 (1e-2 to 1e-4 in 10 stages).
    """
    checks.whole("stages", stages, 2)
    checks.whole("steps", steps, 1)
    _positive("final", final)
    # Stage j begins with the first whole step that is not before j / stages of the run.
    begins = jnp.asarray([-(-stage * steps // stages) for stage in range(1, stages)], jnp.int32)
    end = jnp.asarray(final, jnp.float32)

    def at(start: Array, count: Array) -> StagedState:
        stage = jnp.sum((count >= begins).astype(jnp.int32))
        share = (stage - 1).astype(jnp.float32) / max(stages - 2, 1)
        # In logarithms, with the ends as they are: a power in float32 would miss the last one.
        sigma = jnp.exp((1.0 - share) * jnp.log(start) + share * jnp.log(end))
        sigma = jnp.where(stage == stages - 1, end if stages > 2 else start, sigma)
        sigma = jnp.where(stage == 1, start, sigma)
        return StagedState(jnp.where(stage == 0, 0.0, sigma), start, count)

    return Scale(
        lambda sigma0: at(_start(sigma0), jnp.zeros((), jnp.int32)),
        lambda state, signals: at(state.start, state.count + 1),
    )


def kl(
    target: Number,
    rate: Number = 1.01,
    dead_band: Number = 1.1,
    bounds: tuple[float, float] = BOUNDS,
    estimator: str = "k1",
) -> Scale:
    """Variant I: sigma is divided by ``rate`` while KL(noisy || clean) is above ``dead_band * target``.

    It is multiplied by ``rate`` below ``target / dead_band``, rests between, and stays within ``bounds``. Reads
    ``noise_kl_k1`` or ``noise_kl_k3`` (nats a token, :func:`jaxpsn.rlvr.objective.correction.noise_kl`). k1 may be
    negative on a small batch, which raises sigma; k3 is not. Source: arXiv 2602.02555, Variant I, defaults of its
    release (target 0.003 to 0.005).
    """
    _positive("target", target)
    _above_one("rate", rate)
    _number("dead_band", dead_band, 1.0)
    _check_bounds(bounds)
    checks.choice("estimator", estimator, ("k1", "k3"))

    def update(state: ScaleState, signals: Signals) -> ScaleState:
        distance = _signal(signals, f"noise_kl_{estimator}")
        factor = jnp.where(distance > dead_band * target, 1.0 / rate, 1.0)
        factor = jnp.where(distance < target / dead_band, rate, factor)
        moved = jnp.clip(state.sigma * factor, *bounds)
        return ScaleState(jnp.where(jnp.isfinite(distance), moved, state.sigma))

    return Scale(lambda sigma0: ScaleState(_start(sigma0)), update)


def composite(
    target: Number,
    rate: Number = 1.01,
    weight: Number = 0.5,
    bounds: tuple[float, float] = BOUNDS,
    dead_band: Number = 0.0,
    certainty: str = "uniform_to_policy",
    normalisation: str = "running",
    span: tuple[float, float] = (0.0, 1.0),
    momentum: Number = 0.99,
    relative: bool = False,
    gain: Number | None = None,
) -> Scale:
    """Variant II: more noise while ``weight * similarity + (1 - weight) * certainty`` is above the target, else less.

    ``relative``: the target lies ``target`` below the indicator of the clean policy on the same problems, read from
    entries of the same names after ``clean_``; otherwise it is ``target`` itself (the paper). Within ``dead_band`` (an
    absolute distance: the indicator may be 0 or negative) of the target sigma rests.

    A step multiplies or divides sigma by ``rate`` (the paper). With a ``gain`` it is as large as the indicator is off:
    log sigma moves by ``gain * (indicator - target)``, by log ``rate`` at most, so that it comes to rest.

    Reads ``similarity`` (any shape, such as one mean cosine for each prompt; in [-1, 1]) and the self-certainty of
    answers: ``certainty``, KL(U || p) (``uniform_to_policy``, the paper), or ``confidence``, KL(p || U) = log V - H(p)
    (``policy_to_uniform``), in nats, any shape. The first is ruled by the tail of the vocabulary, the second by its
    head. Entries that are not finite are left out.

    Certainty is brought to [0, 1] by a range: ``fixed``, the given ``span`` (log V bounds KL(p || U), nothing bounds
    KL(U || p)); ``batch``, smallest and largest of these answers (the paper's min-max: it sees the skew of a batch,
    not whether the policy grows surer over time); ``running`` (default), which starts as the first batch's and moves
    by ``1 - momentum`` of the way to each later one, so that a policy growing surer than it was does raise the
    indicator. With ``relative`` it is that of the clean answers. Source: arXiv 2602.02555, equations 8-10.
    """
    _check_composite(target, rate, weight, dead_band, momentum, gain)
    _check_bounds(bounds)
    checks.choice("certainty", certainty, CERTAINTIES)
    checks.choice("normalisation", normalisation, NORMALISATIONS)
    if normalisation == "fixed" and not (all(map(math.isfinite, span)) and span[0] < span[1]):
        errors.refuse("span", span, "two numbers, the smaller first")
    column = {"uniform_to_policy": "certainty", "policy_to_uniform": "confidence"}[certainty]

    def update(state: CompositeState, signals: Signals) -> CompositeState:
        owner = "clean_" if relative else ""
        low, high = _range(state, jnp.asarray(_signal(signals, owner + column), jnp.float32), normalisation, momentum)
        alike, sure, indicator = _indicator(signals, "", column, low, high, weight)
        wanted = jnp.asarray(target, jnp.float32)
        if relative:
            wanted = _indicator(signals, owner, column, low, high, weight)[2] - wanted
        sigma = jnp.clip(state.sigma * _step(indicator, wanted, rate, dead_band, gain), *bounds)
        new = CompositeState(sigma, low, high, indicator, alike, sure, wanted)
        usable = jnp.isfinite(indicator) & jnp.isfinite(wanted)
        return jax.tree.map(lambda new, old: jnp.where(usable, new, old), new, state)

    def start(sigma0: Any) -> CompositeState:
        nothing = jnp.full((), jnp.nan, jnp.float32)
        low, high = (jnp.asarray(end, jnp.float32) for end in span) if normalisation == "fixed" else (nothing, nothing)
        return CompositeState(_start(sigma0), low, high, nothing, nothing, nothing, nothing)

    return Scale(start, update)


def _check_composite(target: Any, rate: Any, weight: Any, dead_band: Any, momentum: Any, gain: Any) -> None:
    _number("target", target)
    _above_one("rate", rate)
    _number("weight", weight, 0.0, 1.0)
    _number("dead_band", dead_band, 0.0)
    _number("momentum", momentum, 0.0, 1.0)
    if gain is not None:
        _positive("gain", gain)


def _indicator(
    signals: Signals, owner: str, column: str, low: Array, high: Array, weight: Any
) -> tuple[Array, Array, Array]:
    """Mean similarity, mean certainty on its range, and both as one, of the answers of ``owner``."""
    sure = _finite_mean(_normalise(jnp.asarray(_signal(signals, owner + column), jnp.float32), low, high))
    alike = _finite_mean(_signal(signals, f"{owner}similarity"))
    return alike, sure, weight * alike + (1.0 - weight) * sure


def _step(indicator: Array, wanted: Array, rate: Any, dead_band: Any, gain: Any) -> Array:
    """What sigma is multiplied by."""
    above, below = indicator > wanted + dead_band, indicator <= wanted - dead_band
    if gain is None:
        return jnp.where(above, rate, jnp.where(below, 1.0 / rate, 1.0))
    bound = jnp.log(jnp.asarray(rate, jnp.float32))
    return jnp.where(above | below, jnp.exp(jnp.clip(gain * (indicator - wanted), -bound, bound)), 1.0)


def _range(state: CompositeState, values: Array, normalisation: str, momentum: Any) -> tuple[Array, Array]:
    if normalisation == "fixed":
        return state.low, state.high
    usable = jnp.isfinite(values)
    low = jnp.min(jnp.where(usable, values, jnp.inf))
    high = jnp.max(jnp.where(usable, values, -jnp.inf))
    if normalisation == "batch":
        return low, high
    first = jnp.isnan(state.low)
    return (
        jnp.where(first, low, momentum * state.low + (1.0 - momentum) * low),
        jnp.where(first, high, momentum * state.high + (1.0 - momentum) * high),
    )


def _normalise(values: Array, low: Array, high: Array) -> Array:
    """Values on the range as [0, 1]; the middle where the range is a point."""
    width = high - low
    share = (values - low) / jnp.where(width > 0.0, width, 1.0)
    # clip would turn an infinity into an end of the range; what is not finite must stay so.
    share = jnp.where(jnp.isfinite(values), jnp.clip(share, 0.0, 1.0), jnp.nan)
    return jnp.where((width > 0.0) | jnp.isnan(share), share, 0.5)


def _finite_mean(values: Any) -> Array:
    values = jnp.asarray(values, jnp.float32)
    usable = jnp.isfinite(values)
    return jnp.sum(jnp.where(usable, values, 0.0)) / jnp.sum(usable.astype(jnp.float32))


def _signal(signals: Signals, name: str) -> Any:
    if name not in signals:
        errors.refuse("signals", sorted(signals), f"an entry {name}")
    return signals[name]


def _start(sigma0: Any) -> Array:
    _number("sigma", sigma0, 0.0)
    return jnp.asarray(sigma0, jnp.float32)


def _number(field: str, value: Any, low: float = -math.inf, high: float = math.inf, open_low: bool = False) -> None:
    """Check a number; a traced one is taken as it is."""
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        checks.real(field, value, low, high, open_low=open_low)


def _positive(field: str, value: Any) -> None:
    _number(field, value, 0.0, open_low=True)


def _above_one(field: str, value: Any) -> None:
    _number(field, value, 1.0, open_low=True)


def _check_bounds(bounds: tuple[float, float]) -> None:
    checks.real("bounds[0]", bounds[0], 0.0)
    checks.real("bounds[1]", bounds[1], bounds[0])
