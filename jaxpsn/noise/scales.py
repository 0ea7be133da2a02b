"""Rules for the noise scale sigma: small pure values in the manner of ``optax.GradientTransformation``.

Every rule is a :class:`Scale`. ``sigma`` is a scalar or a vector ``[members]`` for a population whose members have
scales of their own; the rules work elementwise. A target may be traced, so that a sweep over targets is one ``vmap``.
A distance that is not finite (the policy itself has diverged, or nothing was measured) leaves the state as it is.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from jaxpsn.core import checks, errors
from jaxpsn.noise import inputs

Sigma = Float[Array, "*members"]
Number = float | Float[Array, "*members"]


class Scale(NamedTuple):
    """A rule for sigma: ``init(sigma0) -> state`` and ``update(state, distance) -> state``.

    ``state.sigma`` is float32, ``[]`` or ``[members]`` as ``sigma0`` was; ``distance`` is a scalar or of that shape,
    in the units of the rule's target.
    """

    init: Callable[..., Any]
    update: Callable[..., Any]


@struct.dataclass
class ScaleState:
    """State of a rule that remembers nothing but sigma."""

    sigma: Any  # [] or [members], float32


@struct.dataclass
class ScheduledState:
    """State of a schedule: sigma and the number of updates so far."""

    sigma: Any  # [] or [members], float32
    count: Any  # [] int32


@struct.dataclass
class BisectionState:
    """State of the bisection: sigma, the bracket it lies in, and how long one side has been right."""

    sigma: Any  # [] or [members], float32
    low: Any  # as sigma: log of the bracket's lower end
    high: Any  # as sigma: log of the bracket's upper end
    run: Any  # as sigma, int32: verdicts of one sign in a row, positive while sigma rises


def constant() -> Scale:
    """Sigma stays what it was at the start."""
    return Scale(lambda sigma0: ScaleState(_start(sigma0)), lambda state, distance: state)


def scheduled(schedule: Any) -> Scale:
    """Sigma follows any optax schedule of the number of updates, whatever the distance.

    The schedule says sigma itself: of ``init(sigma0)`` only the shape counts.
    """

    inputs.function("schedule", schedule, "a function of the number of updates, as optax makes them")

    def at(count: Array, shape: tuple[int, ...]) -> ScheduledState:
        sigma = jnp.broadcast_to(jnp.asarray(schedule(count), jnp.float32), shape)
        return ScheduledState(sigma, count)

    return Scale(
        lambda sigma0: at(jnp.zeros((), jnp.int32), jnp.shape(sigma0)),
        lambda state, distance: at(state.count + 1, state.sigma.shape),
    )


def adaptive(
    target: Number, rate: float = 1.01, dead_band: float = 0.0, bounds: tuple[float, float] = (1e-6, 100.0)
) -> Scale:
    """The papers' multiplicative rule: sigma times ``rate`` up to the target distance, divided by it beyond.

    With a dead band, sigma rests while the distance is within ``target * (1 +- dead_band)``. A factor 10 takes 231
    updates at rate 1.01. ``sigma0`` is taken as given; every update ends within ``bounds`` (the papers have none).
    Source: Plappert et al. 2018 (arXiv 1706.01905), section 3, adaptive noise scaling.
    """
    _check(target, bounds)
    checks.real("rate", rate, 1.0, open_low=True)
    checks.real("dead_band", dead_band, 0.0)

    def propose(state: ScaleState, distance: Sigma) -> ScaleState:
        factor = jnp.where(distance <= target * (1.0 - dead_band), rate, 1.0)
        factor = jnp.where(distance > target * (1.0 + dead_band), 1.0 / rate, factor)
        return ScaleState(jnp.clip(state.sigma * factor, *bounds))

    return _looking(ScaleState, propose)


def first_order(
    target: Number, exponent: float = 1.0, max_step: float = 2.0, bounds: tuple[float, float] = (1e-6, 100.0)
) -> Scale:
    """Sigma times ``(target / distance) ** exponent``, a factor within ``[1 / max_step, max_step]`` at each update.

    Exponent 1 fits distances that grow like sigma (RMS action), 1/2 those that grow like its square (KL); one update
    then lands on the target to first order. Smaller exponents average over noisy distances.
    """
    _check(target, bounds)
    checks.real("exponent", exponent, 0.0, open_low=True)
    checks.real("max_step", max_step, 1.0, open_low=True)

    def propose(state: ScaleState, distance: Sigma) -> ScaleState:
        # A distance of 0 is far below any target: the floor keeps 0 / 0 out and leaves the step to the clip.
        factor = (target / jnp.maximum(distance, 1e-30)) ** exponent
        return ScaleState(jnp.clip(state.sigma * jnp.clip(factor, 1.0 / max_step, max_step), *bounds))

    return _looking(ScaleState, propose)


def bisection(
    target: Number, resolution: float = 0.01, patience: int = 4, bounds: tuple[float, float] = (1e-6, 100.0)
) -> Scale:
    """Halve a bracket in log sigma, whatever the shape of the (increasing) response.

    The bracket starts as ``bounds``. A noisy verdict or a drifting policy can leave the answer outside: after
    ``patience`` verdicts of one sign in a row the end that they point at moves out, fourfold each time, so that a lost
    target is caught up with at exponential speed. The step in log sigma never falls below ``resolution``.
    """
    _check(target, bounds)
    checks.real("bounds[0]", bounds[0], 0.0, open_low=True)
    checks.real("resolution", resolution, 0.0, open_low=True)
    checks.whole("patience", patience, 2)
    floor, ceiling = math.log(bounds[0]), math.log(bounds[1])

    def start(sigma: Sigma) -> BisectionState:
        return BisectionState(
            sigma, jnp.full_like(sigma, floor), jnp.full_like(sigma, ceiling), jnp.zeros_like(sigma, jnp.int32)
        )

    def propose(state: BisectionState, distance: Sigma) -> BisectionState:
        here = jnp.log(jnp.clip(state.sigma, *bounds))
        rise = distance <= target
        run = jnp.where(rise, jnp.maximum(state.run, 0) + 1, jnp.minimum(state.run, 0) - 1)
        width = jnp.where(rise, state.high - here, here - state.low)
        width = jnp.maximum(jnp.where(jnp.abs(run) >= patience, 4.0 * width, width), 2.0 * resolution)
        low = jnp.maximum(jnp.where(rise, here, here - width), floor)
        high = jnp.minimum(jnp.where(rise, here + width, here), ceiling)
        return BisectionState(jnp.exp(0.5 * (low + high)), low, high, run)

    return _looking(start, propose)


def _looking(start: Callable[[Any], Any], propose: Callable[[Any, Any], Any]) -> Scale:
    """A rule that follows the distance; every leaf of its state has the shape of sigma."""

    def update(state: Any, distance: Any) -> Any:
        distance = _like(distance, state.sigma)
        usable = jnp.isfinite(distance)
        return jax.tree.map(lambda new, old: jnp.where(usable, new, old), propose(state, distance), state)

    return Scale(lambda sigma0: start(_start(sigma0)), update)


def _start(sigma0: Any) -> Sigma:
    allowed = "a number of at least 0, or one for each member"
    if isinstance(sigma0, int | float):
        checks.real("sigma", sigma0, 0.0)
    return _numbers("sigma", sigma0, allowed)


def _numbers(field: str, value: Any, allowed: str) -> Array:
    made = inputs.array(field, value, allowed)
    if not (jnp.issubdtype(made.dtype, jnp.floating) or jnp.issubdtype(made.dtype, jnp.integer)):
        errors.refuse(field, inputs.said(value), allowed)
    return made.astype(jnp.float32)


def _like(distance: Any, sigma: Sigma) -> Sigma:
    allowed = f"a scalar or of the shape of sigma, {sigma.shape}"
    made = _numbers("distance", distance, allowed)
    if made.shape not in ((), sigma.shape):
        errors.refuse("distance", made.shape, allowed)
    return jnp.broadcast_to(made, sigma.shape)


def _check(target: Any, bounds: Any) -> None:
    if not isinstance(target, jax.Array | np.ndarray | np.generic):
        checks.real("target", target, 0.0, open_low=True)
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        errors.refuse("bounds", inputs.said(bounds), "two numbers, the least and the greatest sigma")
    checks.real("bounds[0]", bounds[0], 0.0)
    checks.real("bounds[1]", bounds[1], bounds[0])


PATIENCE = 30
"""Rows after which a scale that moved one way, or lay on a bound, is told to the user."""
MOSTLY = 0.9
"""Share of them in which it must have: a signal with noise turns back now and then on its way."""


class Unsettled:
    """Says once that a scale does not settle: an alarm on the rows of metrics of a run, for the rules of either home.

    Called with one row after the other (``sigma`` and ``seed`` are read; NaN or None count as absent). It answers
    None, or one line once a seed's sigma has moved the same way in ``MOSTLY`` all of the last ``patience`` rows, or has
    lain on one of its ``bounds`` for as many: its target is out of reach, or farther away than its steps go.
    """

    def __init__(
        self, bounds: tuple[float, float], patience: int = PATIENCE, fields: tuple[str, str] = ("low", "high")
    ):
        """``fields``: what the user calls the bounds."""
        checks.whole("patience", patience, 2)
        self._bounds, self._patience, self._fields = bounds, patience, fields
        self._history: dict[Any, list[float]] = {}
        self._told = False

    def __call__(self, row: Mapping[str, Any]) -> str | None:
        """What there is to say about the run up to ``row``."""
        sigma = row.get("sigma")
        if self._told or sigma is None or not math.isfinite(sigma):
            return None
        seed = row.get("seed")
        recent = [*self._history.get(seed, []), float(sigma)][-self._patience - 1 :]
        self._history[seed] = recent
        said = self._bound(recent[-self._patience :]) or self._ramp(recent)
        self._told = said is not None
        return said if said is None or seed is None else f"{said} (seed {seed})"

    def _bound(self, recent: list[float]) -> str | None:
        if len(recent) < self._patience:
            return None
        for name, bound in zip(self._fields, self._bounds, strict=True):
            if all(math.isclose(one, bound, rel_tol=1e-5, abs_tol=1e-12) for one in recent):
                return (
                    f"sigma has lain on its bound {name} = {bound:g} for {len(recent)} rows: it cannot reach its target"
                )
        return None

    def _ramp(self, recent: list[float]) -> str | None:
        if len(recent) <= self._patience:
            return None
        pairs = list(itertools.pairwise(recent))
        ways = {"risen": sum(new > old for old, new in pairs), "fallen": sum(new < old for old, new in pairs)}
        for way, count in ways.items():
            if count >= MOSTLY * len(pairs):
                ends = f"from {recent[0]:.3g} to {recent[-1]:.3g}"
                return f"sigma has {way} in {count} of the last {len(pairs)} rows, {ends}: it has not found its target"
        return None
