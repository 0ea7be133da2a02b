"""The price of whole training steps of the reasoning home with long answers, and of others' GRPO steps beside them."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.answers_options import Steps
from benchmarks.peers_runners import protocol
from benchmarks.peers_worker import Worker
from benchmarks.reasoning import Step
from benchmarks.tables import Table
from benchmarks.timing import compare, machine, median_interval
from jaxpsn.core.components import Component
from jaxpsn.lm import config as decoders
from jaxpsn.lm import model
from jaxpsn.lm.tokenizer import CharTokenizer
from jaxpsn.rlvr import base as bases
from jaxpsn.rlvr import data
from jaxpsn.rlvr.base import Base
from jaxpsn.rlvr.config import AlgorithmConfig, RlvrConfig, RolloutConfig
from jaxpsn.rlvr.exploration.noises import NoNoise, Psn
from jaxpsn.rlvr.program import Problems, Reasoner
from jaxpsn.tasks.problem import TASKS

OTHERS = {"trl": ("trl", "torch", "transformers"), "tunix": ("google-tunix", "jax", "flax")}
"""Trainers of others, each with a runner, ``peers_runners/NAME_grpo.py``, and the packages whose versions are told."""


class Endless(CharTokenizer):
    """Characters of which none ends an answer."""

    ends = ()


def table(options: Steps) -> Table:
    """A row for every arm, and for those of :data:`OTHERS` that are asked for."""
    task = TASKS.get("chain_sum")(terms=3, digits=2)
    words = CharTokenizer(task.alphabet)
    decoder = decoders.tiny(words.vocab_size, options.hidden_size, options.layers, max(1, options.hidden_size // 32))
    base = Base(decoder, model.init(decoder, jax.random.key(0)), Endless(task.alphabet), None)
    with ExitStack() as stack:
        contenders: dict[str, Callable[[], float]] = {}
        for name in options.arms:
            contenders[name] = _timed(Step(_program(options, name, task, base)))
        pythons = {name: python for name in OTHERS if (python := getattr(options, name)) is not None}
        if pythons:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            bases.save(folder / "model", base._replace(words=words), base.params)
        for name, python in pythons.items():
            contenders[name] = stack.enter_context(_Other(name, Path(python), _told(options, folder, task), folder))
        seconds = interleaved(contenders, options.rounds)
    bounds = [median_interval(ours / seconds[:, 0]) for ours in seconds.T]
    rows = [
        timing._asdict() | {"median_low": low, "median_high": high, "rounds": options.rounds}
        for timing, (low, high) in zip(compare(list(contenders), seconds), bounds, strict=True)
    ]
    clock = {"clock": "processor seconds of all threads of the process that makes the step"}
    others = {name: _versions(python, OTHERS[name]) for name, python in pythons.items()}
    return Table(rows, machine() | clock, {"others": others} if others else None)


def interleaved(contenders: dict[str, Callable[[], float]], rounds: int) -> np.ndarray:
    """Seconds [rounds, contenders] as each tells them, in ever another order; the first step of each is not counted."""
    for step in contenders.values():
        step()
    found = np.zeros((rounds, len(contenders)))
    for turn in range(rounds):
        for place in np.random.default_rng(turn).permutation(len(contenders)):
            found[turn, place] = list(contenders.values())[place]()
    return found


def _timed(step: Step) -> Callable[[], float]:
    def run() -> float:
        begun = time.process_time()
        step()
        return time.process_time() - begun

    return run


def even(problems: Sequence[Any], texts: Sequence[str]) -> list[float]:
    """The reward of all trainers."""
    return protocol.even(list(texts))


def _program(options: Steps, name: str, task: Any, base: Base) -> Reasoner:
    rules = {
        "tis, kl": "kl", "composite": "composite", "composite, target": "composite(drop=none, target=0.5)",
    }  # fmt: skip
    algorithm: dict[str, Any] = {}
    noise: Component = Psn(sigma=rules.get(name, "fixed(0.2)"))
    if name == "grpo":
        noise = NoNoise()
        algorithm = {"correction": "none"}
    if name in ("smoothed", "pooled"):
        noise = Psn(sigma="fixed(0.2)", per="replica", replicas=options.samples // 4)
        algorithm = {"correction": "none", "estimator": name}
    config = RlvrConfig(
        task="chain_sum",
        rollout=RolloutConfig(prompts=options.prompts, samples=options.samples),
        noise=noise,
        algorithm=AlgorithmConfig(**algorithm),
    )
    source, test = data.Generated(task, "train", 0), task.distinct("test", 0, 8)
    problems = Problems(task, source, test, even, even, task.max_prompt, options.tokens)
    return Reasoner(config, base, problems, 0, 1000)


class _Other:
    """A trainer in a process of its own; every call has it make a step, and tells its processor seconds."""

    def __init__(self, name: str, python: Path, task: dict[str, Any], folder: Path):
        runner = Path(__file__).with_name("peers_runners") / f"{name}_grpo.py"
        self._worker = Worker(python, runner, task, folder / f"{name}-cache")

    def __call__(self) -> float:
        return self._worker.chunk().seconds

    def __enter__(self) -> "_Other":
        return self

    def __exit__(self, *_: Any) -> None:
        self._worker.close()


def _versions(python: str, packages: Sequence[str]) -> dict[str, str]:
    """Versions of packages in the environment of another Python."""
    asked = "import sys; from importlib import metadata; print(*map(metadata.version, sys.argv[1:]))"
    told = subprocess.run([python, "-c", asked, *packages], capture_output=True, text=True, check=True)
    return dict(zip(packages, told.stdout.split(), strict=True))


def _told(options: Steps, folder: Path, task: Any) -> dict[str, Any]:
    """What a trainer is told; see ``peers_runners.protocol.Answers``."""
    asked = [problem.prompt for problem in task.distinct("train", 0, 64)]
    return {
        "folder": str(folder / "model"), "out": str(folder), "prompts": asked, "problems": options.prompts,
        "samples": options.samples, "tokens": options.tokens,
    }  # fmt: skip
