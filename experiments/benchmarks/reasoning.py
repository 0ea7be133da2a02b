"""The price of parameter noise in a training step of the reasoning home, and of the probes of Variant II."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.options import Reasoning
from benchmarks.tables import Table
from benchmarks.timing import interleaved, machine
from jaxpsn.core import errors
from jaxpsn.noise.scale_rules import ScaleRule
from jaxpsn.rlvr import setup
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.exploration.noises import NoNoise
from jaxpsn.rlvr.exploration.rules import Composite, Fixed, Kl
from jaxpsn.rlvr.measures import PHASES
from jaxpsn.rlvr.presets import PRESETS
from jaxpsn.rlvr.program import Reasoner
from jaxpsn.run import cache, startup


def table(options: Reasoning) -> Table:
    """A row for every one of :func:`arms`, with the shares of the phases of a step."""
    if options.preset not in PRESETS:
        errors.refuse("preset", options.preset, errors.nearest(options.preset, PRESETS))
    with ExitStack() as stack:
        contenders = reasoning_contenders(options.preset, cache.home() / "bases", stack, startup.speak)
        timings = interleaved(contenders, options.rounds)
        return Table([timing._asdict() | shares(contenders[timing.name]) for timing in timings], machine())


class Step:
    """Training steps of one run; every call makes the next one and keeps its metrics."""

    def __init__(self, program: Reasoner):
        self._program, self._state = program, program.init()
        program.prepare(program.template(), lambda text: None)
        self.metrics: list[dict[str, Any]] = []

    def __call__(self) -> Any:
        """Make one step; what it returns is ready when the step is done."""
        self._state, metrics = self._program.step(self._state)
        self.metrics.append(metrics)
        return jax.block_until_ready(self._state.params)


def arms(config: RlvrConfig) -> dict[str, RlvrConfig]:
    """The steps that are compared, plain GRPO first; probes against the same group without them."""
    start, two = config.sigma.start, 2 / config.rollout.samples

    def of(rule: ScaleRule, **more: Any) -> RlvrConfig:
        return replace(config, noise=replace(config.noise, sigma=rule, **more))

    return {
        "grpo": replace(config, noise=NoNoise()),
        "psn, fixed": of(Fixed(start)),
        "psn, fixed, 2 clean": of(Fixed(start), clean_share=two),
        "psn, kl": of(Kl(initial=start)),
        "psn, composite, probes reused": of(Composite(initial=start)),
        "psn, composite, probes extra": of(Composite(initial=start, reuse_probes=False)),
    }


def shares(step: Step) -> dict[str, float]:
    """Medians over the timed steps: the share of each phase in a step, and seconds of a step by its own clock."""
    timed = step.metrics[1:]
    whole = np.array([float(one["seconds_step"]) for one in timed])
    found = {"step_seconds": float(np.median(whole))}
    for phase in PHASES:
        seconds = np.nan_to_num([float(one[f"seconds_{phase}"]) for one in timed])
        found[f"share_{phase}"] = float(np.median(seconds / whole))
    return found


def reasoning_contenders(preset: str, cache: Path, stack: ExitStack, say: Callable[[str], None]) -> dict[str, Step]:
    """Name -> a training step of each of :func:`arms`; verifiers run until ``stack`` closes."""

    def quiet(done: int, total: int, shown: dict[str, float]) -> None:
        if done % 100 == 0:
            say(f"{done}/{total} {shown}")

    contenders = {}
    for name, config in arms(PRESETS[preset]).items():
        say(f"preparing: {name}")
        program = stack.enter_context(setup.reasoner(config, 0, 1000, cache, say, quiet))
        contenders[name] = Step(program)
    return contenders
