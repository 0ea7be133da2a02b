"""Studies of deep exploration: the seeds of every cell, one program a cell, kept as soon as they are there."""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from benchmarks import tables, timing
from benchmarks.deep_options import Deep
from benchmarks.tables import Row, Table
from jaxpsn.control import program
from jaxpsn.control.exploration import learnt_noise
from jaxpsn.control.exploration.rules import Heads
from jaxpsn.control.state import ProgramState
from jaxpsn.core.components import spec_of
from jaxpsn.run import startup
from jaxpsn.stats import statistics

BLOCK = 25
"""Episodes between two looks at who is finished."""
FAR = 0.5
"""An episode that earns more found the far reward."""
Good = Callable[[Any, ProgramState, Array], Array]
Solved = Callable[[Bool[np.ndarray, " e"]], int | None]


def run(options: Deep, good: Good, solved: Solved) -> None:
    """Run what is not there yet, and write the table after every cell.

    ``good(program, state, return) -> bool``: of an episode, in the compiled program; ``solved(good[E])``: the episode
    at which a run counts as solved, None if it does not yet.
    """
    runs = _kept(options)
    for size, mapping, arm in cells(options):
        cell = {"size": size, "mapping": mapping, "arm": arm}
        there = {one["seed"] for one in runs if cell.items() <= one.items()}
        left = [seed for seed in range(options.seeds) if seed not in there]
        if left:
            startup.speak(f"{options.name} {size} {mapping} {arm}, {len(left)} seeds")
            for found in _cell(options, cell, left, good, solved):
                runs.append(cell | found)
                _write(options, runs)
    _write(options, runs)
    for row in (*rows(options, runs), *pairs(options, runs)):
        print(" ".join(f"{name}={value}" for name, value in row.items()))


def _write(options: Deep, runs: list[Row]) -> None:
    if runs:
        tables.write(options, Table(rows(options, runs), timing.machine(), _details(options, runs)))


def cells(options: Deep) -> Iterator[tuple[int, str, str]]:
    """Size, mapping and arm of every cell, in the order in which they are run."""
    return ((size, mapping, arm) for size in options.sizes for mapping in options.mappings for arm in options.arms)


def _kept(options: Deep) -> list[Row]:
    """The runs of the table that lies there, if they were made with these settings."""
    told = tables.there(options)
    return told["runs"] if told.get("settings") == options.settings() else []


def _details(options: Deep, runs: list[Row]) -> dict[str, Any]:
    configs = {" ".join(map(str, cell)): _told(options.control(*cell)) for cell in _known(options, runs)}
    found = {"configs": configs, "pairs": pairs(options, runs), "runs": runs}
    return {"plan": options.plan, "settings": options.settings()} | found


def _told(config: Any) -> dict[str, str]:
    return {"agent": spec_of(config.agent), "explore": spec_of(config.explore), "task": config.env.name}


def _cell(options: Deep, cell: Row, seeds: list[int], good: Good, solved: Solved) -> Iterator[Row]:
    """Each seed's ``{seed, solved, first, episodes, share, seconds}``, as soon as all of its group are finished.

    Seeds of a small network are faster side by side, those of many heads one after the other.
    """
    made = program.make(options.control(cell["size"], cell["mapping"], cell["arm"]))
    alone = isinstance(learnt_noise(made.config.explore), Heads)
    axes = made.axes(jax.eval_shape(made.init, jax.random.key(0), made.hyper))
    begin = jax.jit(jax.vmap(lambda key: made.init(key, made.hyper), out_axes=axes))
    block = partial(_block, made, good, options.length(cell["size"]))
    step = jax.jit(jax.vmap(block, in_axes=(axes,), out_axes=(axes, 0, 0)), donate_argnums=0)
    for group in [[seed] for seed in seeds] if alone else [seeds]:
        clock = time.perf_counter()
        state = begin(jax.vmap(jax.random.key)(jnp.array(group, jnp.uint32)))
        goods, returns = [], []
        while len(goods) * BLOCK < options.episodes:
            state, fine, earned = step(state)
            goods.append(np.asarray(fine))
            returns.append(np.asarray(earned))
            ends = [solved(one) for one in np.concatenate(goods, axis=1)]
            if None not in ends:
                break
        seconds = round((time.perf_counter() - clock) / len(group), 1)
        for seed, end, earned in zip(group, ends, np.concatenate(returns, axis=1), strict=True):
            found = np.flatnonzero(earned > FAR)
            first = int(found[0]) if len(found) else None
            told = {"seed": seed, "solved": end, "first": first, "episodes": len(earned), "seconds": seconds}
            yield told | {"share": float(np.mean(earned[-100:] > FAR))}


def _block(made: Any, good: Good, length: int, state: ProgramState) -> tuple[ProgramState, Array, Array]:
    """:data:`BLOCK` episodes: the state, which of them were good, and what they earned."""

    def episode(state: ProgramState, _: Any) -> tuple[ProgramState, tuple[Array, Array]]:
        state, reward = jax.lax.scan(lambda state, _: _reward(made, state), state, None, length=length)
        earned = jnp.sum(reward)
        return state, (good(made, state, earned), earned)

    state, (fine, earned) = jax.lax.scan(episode, state, None, length=BLOCK)
    return state, fine, earned


def _reward(made: Any, state: ProgramState) -> tuple[ProgramState, Float[Array, ""]]:
    state, metrics = made.step(state)
    return state, metrics["reward"]


def rows(options: Deep, runs: list[Row]) -> list[Row]:
    """A row for every cell that has runs: seeds, how many solve it, and the median of the episodes that it takes."""
    found = []
    for size, mapping, arm in _known(options, runs):
        cell = {"size": size, "mapping": mapping, "arm": arm}
        of = [one["solved"] for one in runs if cell.items() <= one.items()]
        found.append({"name": f"{arm}, N = {size}, {mapping}"} | cell | summary(of))
    return found


def pairs(options: Deep, runs: list[Row]) -> list[Row]:
    """For every two arms of a size and mapping the probability that a seed of one is sooner, with its 95 % interval.

    A seed that never comes there is later than all that do, and as late as another.
    """
    found = []
    times: dict[tuple[int, str], dict[str, list[float]]] = {}
    for size, mapping, arm in _known(options, runs):
        cell = {"size": size, "mapping": mapping, "arm": arm}
        of = [one["solved"] for one in runs if cell.items() <= one.items()]
        times.setdefault((size, mapping), {})[arm] = [options.episodes if one is None else one for one in of]
    for (size, mapping), arms in times.items():
        for ours, theirs in itertools.combinations(arms, 2):
            told = statistics.probability_of_improvement(-np.array(arms[ours]), -np.array(arms[theirs]))
            place = {"size": size, "mapping": mapping, "ours": ours, "theirs": theirs}
            found.append(place | {"sooner": told.value, "low": told.low, "high": told.high})
    return found


def _known(options: Deep, runs: list[Row]) -> list[tuple[int, str, str]]:
    """The cells that have runs, also of earlier calls, by size, mapping and arm."""
    order = list(options.rules)
    there = {(one["size"], one["mapping"], one["arm"]) for one in runs}
    return sorted(there, key=lambda cell: (*cell[:2], order.index(cell[2])))


def summary(solved: list[int | None]) -> Row:
    """Seeds, the share that solves with Wilson's 95 % interval, and the median time with its bootstrap interval."""
    times = np.array([math.inf if one is None else float(one) for one in solved])
    share, median = statistics.share(np.isfinite(times)), statistics.median_time(times)
    told = [value if value is None or math.isfinite(value) else None for value in median[:3]]
    parts = dict(zip(("median", "median_low", "median_high"), told, strict=True))
    count = int(np.isfinite(times).sum())
    return {"seeds": len(solved), "solved": count, "share_low": share.low, "share_high": share.high} | parts


def streak(good: Bool[np.ndarray, " e"], count: int = 100) -> int | None:
    """Episodes before the first of ``count`` good ones in a row; None if there are none."""
    run = 0
    for place, one in enumerate(good):
        run = run + 1 if one else 0
        if run == count:
            return place - count + 1
    return None


def tenth(good: Bool[np.ndarray, " e"], least: int = 10) -> int | None:
    """Episodes until more than a tenth of them were good, at least ``least`` of them; None if it never came to that."""
    found = np.cumsum(good)
    reached = (found >= least) & (found > 0.1 * np.arange(1, len(good) + 1))
    return int(np.argmax(reached)) + 1 if reached.any() else None
