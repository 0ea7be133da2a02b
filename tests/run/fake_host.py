"""A tiny program that works on the host between compiled phases: sampling, a verdict in Python, an update; faults."""

import sys
import time
from pathlib import Path
from typing import Any

from jaxpsn.run import startup

if __name__ == "__main__":
    startup.speak("starting")

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxpsn.core import errors
from jaxpsn.run import cache, loop
from jaxpsn.run import folder as folders
from jaxpsn.run.checkpoints.store import digest
from jaxpsn.run.config import RunConfig
from jaxpsn.run.loggers import sinks

SIZE = 6


@flax.struct.dataclass
class State:
    clock: jax.Array
    updates: jax.Array
    sigma: jax.Array
    key: jax.Array
    params: Any


def _sample(state):
    key = jax.random.fold_in(jax.random.fold_in(state.key, 1), state.clock)
    return jax.random.categorical(key, state.params["logits"], shape=(4, SIZE))


def _update(state, answers, rewards, spoil):
    def loss(params):
        chosen = jnp.take_along_axis(jax.nn.log_softmax(params["logits"])[None], answers[..., None], -1)
        return -jnp.mean(chosen[..., 0].sum(-1) * rewards)

    grads = jax.grad(loss)(state.params)
    params = jax.tree.map(lambda p, g: p - 0.3 * g * (1 + spoil), state.params, grads)
    up = jnp.where(rewards.mean() < 0.5, 1.01, 0.99)
    return state.replace(clock=state.clock + 1, updates=state.updates + 2, sigma=state.sigma * up, params=params)


class FakeHost:
    """A table of digits learns to be even. At call ``nan_at`` it breaks, at ``fail_at`` in ``fail_in`` it fails.

    ``pause`` seconds pass in each step; ``calls`` lists what the loop asked for.
    """

    steps_per_call = 1

    def __init__(self, nan_at=-1, fail_at=-1, fail_in="step", error=None, pause=0.0, donate=True):
        self.nan_at, self.fail_at, self.fail_in, self.pause = nan_at, fail_at, fail_in, pause
        self.error = error or errors.UserError("data = 'x.jsonl': a file that can be read")
        self.calls = []
        self._sample = jax.jit(_sample)
        self._update = jax.jit(_update, donate_argnums=0 if donate else ())
        self._judge = jax.jit(lambda params, key: jnp.mean(params["logits"] + jax.random.normal(key, (SIZE, 10))))
        self.samples = None

    def template(self):
        return jax.eval_shape(self._first)

    def _first(self):
        params = {"logits": 0.1 * jax.random.normal(jax.random.key(7), (SIZE, 10))}
        return State(
            clock=jnp.int32(0), updates=jnp.int32(0), sigma=jnp.float32(0.1), key=jax.random.key(8), params=params
        )

    def init(self):
        self.calls.append("init")
        return self._first()

    def attach(self, folder, kept):
        self.calls.append(("attach", kept))
        self.samples = sinks.RowLog(folder / "samples.jsonl", kept)

    def prepare(self, state_template, say):
        say("two phases")
        sample = self._sample.lower(state_template)
        rewards = jax.ShapeDtypeStruct((4,), jnp.float32)
        spoil = jax.ShapeDtypeStruct((), jnp.float32)
        update = self._update.lower(state_template, sample.out_info, rewards, spoil)
        self._sample, self._update = sample.compile(), update.compile()

    def step(self, state):
        clock = int(state.clock)
        answers = np.asarray(self._sample(state))
        rewards = np.array([float(np.mean(row % 2 == 0)) for row in answers], np.float32)  # the verdict
        time.sleep(self.pause)
        self.samples.write([
            {"step": clock + 1, "text": "".join(map(str, row)), "reward": reward, "weight": None}
            for row, reward in zip(answers, rewards, strict=True)
        ])  # fmt: skip
        if clock == self.fail_at and self.fail_in == "step":
            raise self.error
        spoil = np.float32(np.nan if clock == self.nan_at else 0)
        state = self._update(state, jnp.asarray(answers), jnp.asarray(rewards), jnp.asarray(spoil))
        if clock == self.fail_at and self.fail_in == "update":
            raise self.error
        metrics = {
            "reward": rewards.mean(),
            "sigma": state.sigma,
            "rare": float(rewards.mean()) if clock % 3 == 0 else float("nan"),
            "length": (float(rewards.sum()), len(rewards)),
            "never": float("nan"),
        }
        return state, metrics

    def evaluate(self, state):
        if int(state.clock) == self.fail_at and self.fail_in == "evaluate":
            raise self.error
        self.calls.append(("evaluate", int(state.clock)))
        return {"eval_pass_at_1": self._judge(state.params, jax.random.fold_in(state.key, state.clock))}

    def metric_names(self):
        return ("reward", "sigma", "rare", "length", "never")

    def evaluation_names(self):
        return ("eval_pass_at_1",)

    def watch(self, state, metrics):
        return {"params": state.params, "sigma": state.sigma, "reward": metrics["reward"]}

    def sync(self):
        self.calls.append("sync")
        self.samples.sync()

    def close(self):
        self.calls.append("close")
        if self.samples is not None:
            self.samples.close()


@startup.main_guard
def main() -> int:
    """``fake_host.py [field=value ...] [pause=...] [fail_at=...]``: train, print digest and folder."""
    kinds = {"out": str, "name": str, "resume": str, "progress": str}
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    program = FakeHost(pause=float(given.pop("pause", 0)), fail_at=int(given.pop("fail_at", -1)))
    run = RunConfig(**{name: kinds.get(name, int)(value) for name, value in given.items()})
    cache.enable()
    with folders.claim(run, {"task": "even"}) as folder:
        outcome = loop.train(program, run, folder)
    startup.result(digest(outcome.state))
    startup.result(Path(outcome.folder))
    return outcome.status


if __name__ == "__main__":
    sys.exit(main())
