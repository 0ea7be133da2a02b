"""A tiny program with everything a real one has: networks, a replay-like ring, typed keys, sparse metrics, faults."""

import sys
from pathlib import Path
from typing import Any

from jaxpsn.run import startup

if __name__ == "__main__":
    startup.speak("starting")

import flax.struct
import jax
import jax.numpy as jnp

from jaxpsn.run import cache, loop
from jaxpsn.run import folder as folders
from jaxpsn.run.checkpoints.store import digest
from jaxpsn.run.config import RunConfig

SIZE = 8


@flax.struct.dataclass
class State:
    clock: jax.Array
    updates: jax.Array
    key: jax.Array
    params: Any
    target: Any
    ring: jax.Array
    ballast: jax.Array
    nothing: Any = None


class Fake:
    """Regression on data drawn as it goes; four steps a call. ``nan_at``: the call that spoils ``nan_seed``."""

    steps_per_call = 4

    def __init__(self, nan_at: int = -1, nan_seed: int = 0, where: str = "params"):
        self.hyper = {"rate": jnp.float32(0.05)}
        self.nan_at, self.nan_seed, self.where = nan_at, nan_seed, where
        self.traces = 0

    def init(self, key, hyper):
        first, second = jax.random.split(jax.random.fold_in(key, 1))
        params = {
            "hidden": jax.random.normal(first, (3, SIZE)) * 0.5,
            "out": jax.random.normal(second, (SIZE, 1)) * 0.5,
            "rate": hyper["rate"],
        }
        ring = jnp.zeros((16, 4, 4), jnp.float32)
        ballast = jax.random.normal(jax.random.fold_in(key, 2), (1 << 16,))
        zero = jnp.int32(0)
        return State(clock=zero, updates=zero, key=key, params=params, target=params, ring=ring, ballast=ballast)

    def step(self, state):
        self.traces += 1
        key = jax.random.fold_in(state.key, state.clock)
        x = jax.random.normal(key, (4, 3))
        row = jnp.concatenate([x, jnp.sin(x.sum(-1, keepdims=True))], -1)
        ring = jax.lax.dynamic_update_slice(state.ring, row[None], (state.clock % 16, 0, 0))
        loss, grads = jax.value_and_grad(self.loss)(state.params, ring.reshape(-1, 4))
        params = jax.tree.map(lambda p, g: p - 0.05 * g, state.params, grads)
        spoilt = state.clock == self.nan_at
        if self.nan_at >= 0:
            spoilt &= jnp.all(jax.random.key_data(state.key) == jax.random.key_data(jax.random.key(self.nan_seed)))
            if self.where == "params":
                params["out"] = jnp.where(spoilt, jnp.inf, params["out"])
            else:
                loss = jnp.where(spoilt, jnp.nan, loss)
        target = jax.tree.map(lambda t, p: t + 0.1 * (p - t), state.target, params)
        done = jnp.float32(state.clock % 3 == 0)
        metrics = {
            "loss": loss,
            "rare": jnp.where(state.clock % 5 == 0, loss, jnp.nan),
            "never": jnp.float32(jnp.nan),
            "return": (done * x.sum(), done),
        }
        state = state.replace(clock=state.clock + 1, updates=state.updates + 2, params=params, target=target, ring=ring)
        return state, metrics

    @staticmethod
    def loss(params, rows):
        hidden = jnp.tanh(rows[:, :3] @ params["hidden"])
        return jnp.mean((hidden @ params["out"] - rows[:, 3:]) ** 2)

    def evaluate(self, key, state):
        x = jax.random.normal(key, (32, 3))
        rows = jnp.concatenate([x, jnp.sin(x.sum(-1, keepdims=True))], -1)
        return {"eval_return": -self.loss(state.params, rows)}

    def watch(self, state, metrics):
        return {"loss": metrics["loss"], "params": state.params, "counters": state.updates}

    def axes(self, state):
        return jax.tree.map(lambda _: 0, state).replace(clock=None)


@startup.main_guard
def main() -> int:
    """``fake.py [field=value ...] [task=...] [nan_at=...]``: train, print digest and folder."""
    kinds = {"out": str, "name": str, "resume": str, "progress": str, "overwrite": bool, "log": str}
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    task, nan_at = given.pop("task", "a"), int(given.pop("nan_at", -1))
    run = RunConfig(**{name: kinds.get(name, int)(value) for name, value in given.items()})
    cache.enable()
    config = {"task": task}
    with folders.claim(run, config) as folder:
        outcome = loop.train(Fake(nan_at), run, folder)
    startup.result(digest(outcome.state))
    startup.result(Path(outcome.folder))
    return outcome.status


if __name__ == "__main__":
    sys.exit(main())
