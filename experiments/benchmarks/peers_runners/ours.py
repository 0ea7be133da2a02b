"""This library's own run, a chunk of its training at a time, compiled and scanned as the run loop does."""

import functools
import time

import jax
import protocol

from jaxpsn.control import program as programs
from jaxpsn.control.config import ControlConfig
from jaxpsn.control.placement import Placement
from jaxpsn.run import chunk, command


def main() -> None:
    """Train until nobody asks for more."""
    session = protocol.Session()
    config, calls = command.from_record(ControlConfig, session.control), session.task["calls"]
    program = programs.make(config, place=Placement(ours=True))
    compiled = functools.partial(jax.jit, compiler_options=program.compiler_options)
    keys = chunk.seed_keys(session.task["seed"], 1)
    train = compiled(chunk.make_chunk(program, 1, calls), donate_argnums=0)
    judge = compiled(chunk.make_evaluate(program, 1))
    state = compiled(chunk.make_init(program, 1))(keys)
    session.report(0, 0, 0.0, float(judge(keys, state)["eval_return"]))
    clock, updates = 0, 0
    warm = -(-getattr(config.agent, "warmup", 0) // config.steps_per_call) + calls
    while True:
        session.wait()
        before, learnt, begun = clock, updates, time.perf_counter()
        # The first report is that of a chunk that learns: the warm-up is made before it.
        while clock == before or clock < warm:
            state, _ = jax.block_until_ready(train(state))
            clock += calls
        seconds = time.perf_counter() - begun
        updates = int(state.updates)
        made = (clock - before) * config.steps_per_call
        session.report(made, updates - learnt, seconds, float(judge(keys, state)["eval_return"]))


if __name__ == "__main__":
    protocol.end_quietly(main)
