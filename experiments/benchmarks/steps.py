"""The price of whole training steps of the reasoning home with long answers, and of TRL's GRPO step beside them."""

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.answers_options import Steps
from benchmarks.peers_worker import Worker
from benchmarks.reasoning import Step
from benchmarks.tables import Table
from benchmarks.timing import compare, machine
from jaxpsn.core.components import Component
from jaxpsn.lm import config as decoders
from jaxpsn.lm import model
from jaxpsn.lm.tokenizer import CharTokenizer
from jaxpsn.rlvr import base as bases
from jaxpsn.rlvr import data
from jaxpsn.rlvr.base import Base
from jaxpsn.rlvr.config import AlgorithmConfig, RlvrConfig, RolloutConfig
from jaxpsn.rlvr.noises import NoNoise, Psn
from jaxpsn.rlvr.program import Problems, Reasoner
from jaxpsn.tasks.problem import TASKS

TRL = "trl"
RUNNER = Path(__file__).with_name("peers_runners") / "trl_grpo.py"


class Endless(CharTokenizer):
    """Characters of which none ends an answer."""

    ends = ()


def table(options: Steps) -> Table:
    """A row for every arm, and for TRL where it is asked for."""
    task = TASKS.get("chain_sum")(terms=3, digits=2)
    words = CharTokenizer(task.alphabet)
    decoder = decoders.tiny(words.vocab_size, options.hidden_size, options.layers, max(1, options.hidden_size // 32))
    base = Base(decoder, model.init(decoder, jax.random.key(0)), Endless(task.alphabet), None)
    with ExitStack() as stack:
        contenders: dict[str, Callable[[], float]] = {}
        for name in options.arms:
            contenders[name] = _timed(Step(_program(options, name, task, base)))
        if options.trl is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            bases.save(folder / "model", base._replace(words=words), base.params)
            contenders[TRL] = stack.enter_context(_trl(options, folder, task))
        seconds = interleaved(contenders, options.rounds)
    rows = [timing._asdict() for timing in compare(list(contenders), seconds)]
    return Table(rows, machine() | {"clock": "processor seconds of all threads of the process that makes the step"})


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
    """1 for texts whose digits add up to an even number."""
    return [float(sum(map(int, filter(str.isdigit, text))) % 2 == 0) for text in texts]


def _program(options: Steps, name: str, task: Any, base: Base) -> Reasoner:
    rules = {"tis, kl": "kl", "composite": "composite"}
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


class _Trl:
    """TRL's trainer in a process of its own; every call has it make a step, and tells its processor seconds."""

    def __init__(self, worker: Worker):
        self._worker = worker

    def __call__(self) -> float:
        return self._worker.chunk().seconds

    def __enter__(self) -> "_Trl":
        return self

    def __exit__(self, *_: Any) -> None:
        self._worker.close()


def _trl(options: Steps, folder: Path, task: Any) -> _Trl:
    asked = [problem.prompt for problem in task.distinct("train", 0, 64)]
    told = {
        "folder": str(folder / "model"), "out": str(folder), "prompts": asked, "problems": options.prompts,
        "samples": options.samples, "tokens": options.tokens,
    }  # fmt: skip
    return _Trl(Worker(Path(options.trl), RUNNER, told, folder / "cache"))
