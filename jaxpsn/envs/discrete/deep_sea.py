"""Deep Sea: one path of N steps to the treasure among 2^N, and every step of it costs."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from jaxpsn.core.fields import Fraction, Whole
from jaxpsn.envs import own, shapes
from jaxpsn.envs.brax_api import State
from jaxpsn.envs.coverage import Cells
from jaxpsn.envs.discrete.mapping import rightward
from jaxpsn.envs.family import ENVS, Environment


@ENVS.register("deep_sea")
@dataclass(frozen=True)
class DeepSea(Environment):
    """A diver sinks through N rows, at each step to the left or right; a treasure lies in the far corner.

    The observation is the N x N grid with a 1 where the diver is, row after row, all 0 at the end. An episode ends by
    itself after N steps. A step to the right costs ``move_cost / N``, also along the wall; one to the right in the last
    column, which the last row alone allows, earns 1. So the best return is 1 - move_cost, and a random walk
    finds the treasure once in 2^N episodes. Source: Osband et al. 2020 (arXiv 1908.03568), bsuite's deterministic
    Deep Sea, with its action mapping for its seed.
    """

    size: Annotated[int, Whole(2, 200)] = 10
    """Rows, and columns, N."""
    mapping: Literal["fixed", "random"] = "random"
    """Which choice leads to the right: the second everywhere, or by a fair coin for each place (bsuite)."""
    mapping_seed: Annotated[int, Whole(0, (1 << 31) - 1)] = 42
    """Of the coins (bsuite: 42)."""
    move_cost: Fraction = 0.01
    """What N steps to the right cost."""

    @property
    def limit(self) -> int:  # type: ignore[override]
        """N, at which it terminates."""
        return self.size

    def make(self, **options: Any) -> "DeepSeaEnv":
        """The environment; it has no other options."""
        return DeepSeaEnv(self, **options)


@struct.dataclass
class DeepSeaState:
    """Where the diver is."""

    row: Any  # [] int32
    column: Any  # [] int32


class DeepSeaEnv(own.OwnEnv):
    """Deep Sea as a `brax.envs.Env`."""

    name = "deep_sea"
    dt = 0.2
    choices = 2

    def __init__(self, options: DeepSea):
        size = options.size
        self.options, self.observation_dim, self.episode_length = options, size * size, options.limit
        self.right = rightward(options.mapping, (size, size), options.mapping_seed)

    @property
    def optimal_return(self) -> float:
        """That of always going right."""
        return 1.0 - self.options.move_cost

    def reset(self, rng: jax.Array) -> State:
        """In the upper left corner."""
        return self.begin(DeepSeaState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)))

    def step(self, state: State, action: jax.Array) -> State:
        """A row down, and a column to the left or right as far as there are any."""
        row, column = state.pipeline_state.row, state.pipeline_state.column
        size = self.options.size
        # Beyond its end an episode stands still, where nobody looks.
        right = action == jnp.asarray(self.right)[jnp.minimum(row, size - 1), column]
        found = right & (column == size - 1)
        reward = jnp.where(found, 1.0, 0.0) - jnp.where(right, self.options.move_cost / size, 0.0)
        column = jnp.clip(column + jnp.where(right, 1, -1), 0, size - 1)
        after = DeepSeaState(jnp.minimum(row + 1, size), column)
        return self.advance(state, after, reward, after.row == size)

    def observe(self, physics: DeepSeaState) -> Float[Array, "n"]:
        """The grid, row after row."""
        size = self.options.size
        places = jnp.arange(size * size, dtype=jnp.int32)
        here = (places == physics.row * size + physics.column) & (physics.row < size)
        return here.astype(jnp.float32)

    def coverage_cells(self) -> Cells:
        """A cell for each place, and one for the end."""
        size = self.options.size

        def index(obs: Float[Array, "*batch n"]) -> Int[Array, "*batch"]:
            there = jnp.sum(obs, axis=-1) > 0
            return jnp.where(there, jnp.argmax(obs, axis=-1).astype(jnp.int32), size * size)

        return Cells(size * size + 1, index)

    def scene_bodies(self) -> dict[str, Any]:
        """A bead that sinks through a triangle, the treasure green."""
        deep = float(self.options.size)
        corners = ((0.0, 0.0, 0.0), (deep, 0.0, -deep), (0.0, 0.0, -deep), (0.0, 0.0, 0.0))
        path = shapes.geom("polyline", (), shapes.GREY, points=corners)
        treasure = shapes.geom("box", (0.3, 0.3, 0.3), shapes.GREEN, (deep, 0.0, -deep))
        diver = shapes.body("diver", shapes.geom("sphere", (0.3,), shapes.BLUE))
        camera = shapes.camera(1.6 * deep, (deep / 2, 0.0, -deep / 2))
        return {"bodies": [shapes.body("world", path, treasure), diver], "camera": camera}

    def scene_poses(self, physics: DeepSeaState) -> Float[Array, "2 7"]:
        """The diver where it is, rows downwards."""
        zero = jnp.zeros((), jnp.float32)
        x, z = physics.column.astype(jnp.float32), -physics.row.astype(jnp.float32)
        return jnp.stack((shapes.world_pose(), shapes.upright_pose(x, z, zero)))
