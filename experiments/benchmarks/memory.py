"""Bytes: what a member's perturbation holds, what an acting step and a training step need, with and without noise."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.contenders import Act, Scene, advance, held_shapes, tree_bytes
from benchmarks.first_step import planned_bytes
from benchmarks.options import Memory
from benchmarks.startup import start_process
from benchmarks.tables import Row, Table
from benchmarks.timing import machine
from jaxpsn import noise
from jaxpsn.envs import registry
from jaxpsn.run import startup


def table(options: Memory) -> Table:
    """Rows of an acting step for every number of members, then of a training step; nothing is left to chance.

    ``member_bytes`` is exact, from the arrays: ``noise_bytes`` of signs, factors or entries, a counter and a number;
    ``shared_bytes`` is held once for all members. ``weights`` is the share of one copy of the policy in it. XLA's own
    account of the compiled step follows (``argument``, ``output``, ``temp``; ``alias`` is counted in both of the
    first); ``planned_bytes`` is what it needs at once, and ``ratio`` that to the first row's. ``peak_bytes``: the most
    a fresh process held on its device up to the end of its first training step, where the backend tells.
    """
    registry.canonical(options.env)
    rows = []
    for name, config in options.arms().items():  # first, as a process of its own needs the device to itself
        startup.speak(f"training step: {name}")
        told = start_process(config, None)
        rows.append(_with_plan({"name": name, "part": "training step", "members": config.members}, told["bytes"]))
        rows[-1]["peak_bytes"] = told["peak_bytes"]
    _compare(rows)
    for members in options.members:
        startup.speak(f"acting step: {members:,} members")
        rows += acting_rows(Scene(members, options.sizes, options.groups), options.forms)
    return Table(rows, machine())


def acting_rows(scene: Scene, forms: tuple[str, ...]) -> list[Row]:
    """Rows of one acting step, with a redraw of whoever needs it; nothing is run and nothing held."""
    fitting = tuple(form for form in forms if not scene.refusal(form))
    rows = []
    for name, way in scene.ways(fitting).items():
        row = {"name": name, "part": "acting step", "members": scene.members} | state_row(scene, way)
        rows.append(_with_plan(row, planned_bytes(_compiled(scene, way))))
    _compare(rows)
    left = ((form, scene.refusal(form)) for form in forms if form not in fitting)
    return rows + [{"name": form, "members": scene.members, "left_out": reason} for form, reason in left]


def state_row(scene: Scene, way: Act) -> Row:
    """Exact bytes of what the members hold; empty if they hold nothing."""
    held = held_shapes(scene, way)
    if not tree_bytes(held):
        return {}
    row = _held(held, way.draws) | {"state_bytes": tree_bytes(held)}
    return row | {"weights": row["member_bytes"] / tree_bytes(scene.shapes)}


def _held(held: Any, draws: int) -> Row:
    """Bytes of one perturbation, exact."""
    if not isinstance(held, noise.Draw):
        return {"member_bytes": tree_bytes(held) // draws, "noise_bytes": None, "shared_bytes": 0}
    own = tree_bytes(held.noise) // draws
    kept = tree_bytes((held.counter, held.number)) // draws
    return {"member_bytes": own + kept, "noise_bytes": own, "shared_bytes": tree_bytes(held.base)}


def _compiled(scene: Scene, way: Act) -> Any:
    where = jax.ShapeDtypeStruct((scene.members,), jnp.bool)
    obs = jax.ShapeDtypeStruct((scene.members, scene.sizes[0]), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    run = jax.jit(partial(advance, way, 1, True), donate_argnums=2)
    return run.lower(key, scene.shapes, held_shapes(scene, way), where, obs).compile()


def _with_plan(row: Row, plan: dict[str, int]) -> Row:
    if not plan:
        return row
    needed = plan["argument_bytes"] + plan["output_bytes"] + plan["temp_bytes"] - plan["alias_bytes"]
    return row | plan | {"planned_bytes": needed}


def _compare(rows: list[Row]) -> None:
    """Add ``ratio``, to the first row."""
    for row in rows:
        if "planned_bytes" in row:
            row["ratio"] = row["planned_bytes"] / rows[0]["planned_bytes"]
