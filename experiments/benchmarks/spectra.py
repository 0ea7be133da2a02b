"""Spectra of what weight noise does to actions: the colour of every hold, on one state and in a task."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from benchmarks import tables, timing
from benchmarks.contenders import Policy
from benchmarks.options import Spectra
from benchmarks.tables import Row, Table
from jaxpsn import noise
from jaxpsn.core import errors
from jaxpsn.envs import Episodes, default_episode_length, registry
from jaxpsn.noise import colours
from jaxpsn.noise.hold_rules import HOLDS, HoldRule
from jaxpsn.run import startup

_BINS = 32
FIXED, TASK = "one state", "task"


def run(options: Spectra) -> None:
    """Measure, print and write."""
    found = table(options)
    width = max(len(row["name"]) for row in found.rows)
    print(f"{'':{width}}  slope on one state   in the task   distance")
    for row in found.rows:
        told = f"{row['slope_task']:14.2f}" if options.env else f"{'':14}"
        print(f"{row['name']:{width}}  {row['slope']:18.2f}{told}{row['distance']:11.3f}")
    tables.write(options, found)


def table(options: Spectra) -> Table:
    """A row for every hold: the slope of its spectrum, and the distance of perturbed from clean actions.

    ``slope`` lies between the corners of holds of 256 decisions and of one, log-spaced bins counting alike. In
    ``slope_task`` policies see states of their own, and episodes that end redraw everything. The JSON has the spectra.
    """
    holds = {text: HOLDS.make(text, "holds") for text in options.holds}
    params = Policy(options.sizes[1:]).init(jax.random.key(0), jnp.zeros(options.sizes[0], jnp.float32))
    rows, details = [], {}
    for text, rule in holds.items():
        startup.speak(f"hold {text}")
        row: Row = {"name": text}
        for part in (FIXED,) + ((TASK,) if options.env else ()):
            moved = recorded(rule, options, params, options.env if part == TASK else None)
            frequency, density = spectrum(moved)
            told = binned(frequency, density)
            suffix = "" if part == FIXED else "_task"
            row |= {f"slope{suffix}": slope(*told), f"distance{suffix}": float(np.sqrt(np.mean(moved**2)))}
            details.setdefault(text, {})[part] = {"frequency": told[0].tolist(), "density": told[1].tolist()}
        rows.append(row)
    return Table(rows, timing.machine(), {"spectra": details})


def recorded(rule: HoldRule, options: Spectra, params: Any, env: str | None) -> Float[np.ndarray, "t n a"]:
    """Noisy minus clean actions of all policies over time, from the states that they see, or from one state."""
    policy, members = Policy(options.sizes[1:]), options.members
    form, hold = _form(rule), rule.build()
    spec = noise.plan(policy.apply, params, jax.ShapeDtypeStruct((options.sizes[0],), jnp.float32))
    act = noise.fused(policy.apply, spec, form, exact_zero=False)
    reset, move = _world(env, options)

    def step(carry: Any, t: Array) -> tuple[Any, Array]:
        draw, held, world = carry
        key = jax.random.fold_in(jax.random.key(2), t)
        action = act(params, draw, jnp.float32(options.sigma), world.obs)
        after, done = move(world, action)
        held, where = hold.step(key, held, done)
        return (hold.move(form, jax.random.key(1), draw, where), held, after), action - policy.apply(params, world.obs)

    def run() -> Array:
        key = jax.random.key(1)
        first = form.init(key, spec, members), hold.init(key, members), reset(jax.random.key(3))
        return jax.lax.scan(step, first, jnp.arange(options.steps))[1]

    return np.asarray(jax.jit(run)(), np.float64)


def _form(rule: HoldRule) -> noise.Structure:
    try:
        return rule.form(noise.Flipout())
    except errors.UserError:
        return rule.form(noise.LowRank())


class _Still(NamedTuple):
    """A world in which nothing happens."""

    obs: Float[Array, "n o"]


def _world(env: str | None, options: Spectra) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """``reset(key)`` and ``move(world, action) -> (world, done[N])`` of the task, or of one state for ever."""
    members, size = options.members, options.sizes[0]
    if env is None:
        x = jax.random.normal(jax.random.key(4), (size,), jnp.float32)
        still = _Still(jnp.broadcast_to(x, (members, size)))
        return lambda key: still, lambda world, action: (world, jnp.zeros((members,), bool))
    episodes = Episodes(registry.make(env), members, default_episode_length(env))

    def move(world: Any, action: Array) -> tuple[Any, Array]:
        after, outcome = episodes.step(world, action)
        return after, outcome.terminated | outcome.truncated

    return episodes.reset, move


def spectrum(moved: Float[np.ndarray, "t n a"]) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies above zero, in cycles a decision, and the mean periodogram of all members in units of their variance.

    Tapered by Hann's window; white noise has 1 everywhere.
    """
    taper = np.hanning(len(moved))[:, None, None]
    power = np.mean(np.abs(np.fft.rfft(moved * taper, axis=0)) ** 2, axis=(1, 2)) / np.sum(taper**2)
    return np.fft.rfftfreq(len(moved))[1:], power[1:] / np.mean(moved**2)


def binned(frequency: np.ndarray, density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of both within log-spaced bins."""
    edges = np.geomspace(frequency[0], 0.5, _BINS + 1)
    place = np.clip(np.searchsorted(edges, frequency, side="right") - 1, 0, _BINS - 1)
    count = np.bincount(place, minlength=_BINS)
    means = [np.bincount(place, of, minlength=_BINS)[count > 0] / count[count > 0] for of in (frequency, density)]
    return means[0], means[1]


def slope(frequency: np.ndarray, density: np.ndarray) -> float:
    """Exponent of the spectrum between the corners of holds of 256 decisions and of one."""
    low, high = colours.band(colours.ladder())[[0, -1]]
    within = (low <= frequency) & (frequency <= high)
    return colours.slope(frequency[within], density[within])
