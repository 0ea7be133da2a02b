"""The chain: two choices, a small reward near by, and a large one that only a straight walk reaches."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from jaxpsn.core.fields import Whole
from jaxpsn.envs import own, shapes
from jaxpsn.envs.brax_api import State
from jaxpsn.envs.coverage import Cells
from jaxpsn.envs.discrete.mapping import rightward
from jaxpsn.envs.family import ENVS, Environment

NEAR, FAR = 1e-3, 1.0
"""Rewards of the first state and of the last."""


@ENVS.register("chain")
@dataclass(frozen=True)
class Chain(Environment):
    """N states in a line, left or right; it starts in the second, and only a straight walk earns the far reward.

    A step into (or within) the first state is rewarded with 0.001, one into (or within) the last with 1, every other
    with 0. An episode never terminates; its time limit, N + 7 steps, makes the best return 10 for every N. Source:
    Osband et al. 2016 (arXiv 1602.04621), Plappert et al. 2018 (arXiv 1706.01905), whose texts do not settle the
    horizon; theirs is the thermometer code.

    With ``mapping=fixed`` the same choice leads to the right in every state, which suits noise that shifts all states
    alike, as its authors warn; ``mapping=random`` takes that away: compare both.
    """

    length: Annotated[int, Whole(3, 10_000)] = 20
    """Number of states, N."""
    mapping: Literal["fixed", "random"] = "fixed"
    """Which choice leads to the right: the second in every state, or by a fair coin for each state."""
    mapping_seed: Annotated[int, Whole(0, (1 << 31) - 1)] = 42
    """Of the coins."""
    code: Literal["thermometer", "onehot"] = "thermometer"
    """What is observed in state s (from 1): N numbers, 1 where x <= s, or where x = s."""

    @property
    def limit(self) -> int:  # type: ignore[override]
        """N + 7."""
        return self.length + 7

    def make(self, **options: Any) -> "ChainEnv":
        """The environment; it has no other options."""
        return ChainEnv(self, **options)


@struct.dataclass
class ChainState:
    """Where one is."""

    place: Any  # [] int32 from 0


class ChainEnv(own.OwnEnv):
    """The chain as a `brax.envs.Env`."""

    name = "chain"
    dt = 0.2
    choices = 2

    def __init__(self, options: Chain):
        self.options, self.observation_dim, self.episode_length = options, options.length, options.limit
        self.right = rightward(options.mapping, (options.length,), options.mapping_seed)

    @property
    def optimal_return(self) -> float:
        """That of walking right from the start and staying there."""
        return FAR * (self.episode_length - (self.options.length - 2) + 1)

    def reset(self, rng: jax.Array) -> State:
        """In the second state."""
        return self.begin(ChainState(jnp.ones((), jnp.int32)))

    def step(self, state: State, action: jax.Array) -> State:
        """One state to the left or right, as far as there are any."""
        place = state.pipeline_state.place
        move = jnp.where(action == jnp.asarray(self.right)[place], 1, -1)
        place = jnp.clip(place + move, 0, self.options.length - 1)
        reward = jnp.where(place == 0, NEAR, jnp.where(place == self.options.length - 1, FAR, 0.0))
        return self.advance(state, ChainState(place), reward, False)

    def observe(self, physics: ChainState) -> Float[Array, "n"]:
        """The code of the state."""
        states = jnp.arange(self.options.length, dtype=jnp.int32)
        lit = states <= physics.place if self.options.code == "thermometer" else states == physics.place
        return lit.astype(jnp.float32)

    def coverage_cells(self) -> Cells:
        """A cell for each state."""
        last = self.options.length - 1

        def index(obs: Float[Array, "*batch n"]) -> Int[Array, "*batch"]:
            return jnp.int32(last) - jnp.argmax(obs[..., ::-1], axis=-1).astype(jnp.int32)

        return Cells(self.options.length, index)

    def scene_bodies(self) -> dict[str, Any]:
        """A bead on a rail, the end green."""
        end = float(self.options.length - 1)
        rail = shapes.geom("polyline", (), shapes.GREY, points=((0.0, 0.0, 0.0), (end, 0.0, 0.0)))
        goal = shapes.geom("box", (0.1, 0.1, 0.5), shapes.GREEN, (end, 0.0, 0.5))
        bead = shapes.body("bead", shapes.geom("sphere", (0.3,), shapes.BLUE))
        camera = shapes.camera(1.2 * end, (end / 2, 0.0, 0.0))
        return {"bodies": [shapes.body("world", rail, goal), bead], "camera": camera}

    def scene_poses(self, physics: ChainState) -> Float[Array, "2 7"]:
        """The bead lies at its state."""
        zero = jnp.zeros((), jnp.float32)
        return jnp.stack((shapes.world_pose(), shapes.flat_pose(physics.place.astype(jnp.float32), zero, zero)))
