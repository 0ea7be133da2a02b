"""Timings: ``python experiments/benchmark.py acting --members 1024``; every table also as CSV and JSON."""

import csv
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from jaxpsn.errors import nearest, refuse
from jaxpsn.training import startup


@dataclass(frozen=True)
class Acting:
    """Price of acting with distinct perturbations, against the clean batched policy."""

    members: int = 1024
    """Perturbed policies, one observation each."""
    sizes: tuple[int, ...] = (27, 256, 256, 8)
    """Widths of the policy, observation first, action last."""
    rounds: int = 50
    """Timed rounds; in each every contender runs once."""
    dense_members: int = 256
    """Above this many members, structures that hold whole matrices per member are left out."""
    out: Path = field(default=Path("results"))
    """Folder for acting.csv and acting.json."""

    def run(self) -> None:
        """Time, print and write."""
        for name in ("members", "rounds"):
            if getattr(self, name) < 1:
                refuse(name, getattr(self, name), "at least 1")
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            refuse("sizes", self.sizes, "at least an observation and an action width, each at least 1")
        from jaxpsn.analysis.timing import interleaved, machine
        from jaxpsn.training.benchmarks.acting import acting_contenders

        contenders = acting_contenders(self.members, self.sizes, self.dense_members)
        rows = [timing._asdict() for timing in interleaved(contenders, self.rounds)]
        options = {**asdict(self), "out": str(self.out)}
        write_table(self.out, "acting", rows, {"options": options, "machine": machine()})


@dataclass(frozen=True)
class Training:
    """Environment steps per second with parameter noise, against the same agent with Gaussian action noise."""

    env: str = "halfcheetah"
    """The task."""
    num_envs: int = 256
    """Parallel environments."""
    structures: tuple[str, ...] = ("flipout",)
    """Forms of the weight noise."""
    calls: int = 20
    """Vector steps in one timed chunk."""
    rounds: int = 60
    """Timed rounds; in each every contender runs one chunk."""
    out: Path = field(default=Path("results"))
    """Folder for training.csv and training.json."""

    def run(self) -> None:
        """Time, print and write."""
        for name in ("calls", "rounds"):
            if getattr(self, name) < 1:
                refuse(name, getattr(self, name), "at least 1")
        from jaxpsn.analysis.timing import interleaved, machine
        from jaxpsn.control.config import ControlConfig, EnvConfig
        from jaxpsn.training.benchmarks.training import training_contenders

        config = ControlConfig(env=EnvConfig(name=self.env, num_envs=self.num_envs))
        contenders = training_contenders(config, self.structures, self.calls)
        rows = [timing._asdict() for timing in interleaved(contenders, self.rounds)]
        for row in rows:
            row["steps_per_second"] = self.calls * self.num_envs / row["seconds"]
            print(f"{row['name']}: {row['steps_per_second']:,.0f} environment steps/s")
        options = {**asdict(self), "out": str(self.out)}
        write_table(self.out, "training", rows, {"options": options, "machine": machine()})


@dataclass(frozen=True)
class Replay:
    """Price of inserting one vector step into replay, by capacity."""

    capacities: tuple[int, ...] = (100_000, 400_000, 1_600_000)
    """Transitions that fit; rings smaller than the processor cache look faster than they are."""
    num_envs: int = 256
    """Transitions inserted at once."""
    sizes: tuple[int, int] = (17, 6)
    """Of observation and action."""
    inserts: int = 1000
    """Inserts in one timed call."""
    rounds: int = 50
    """Timed rounds; in each every contender runs once."""
    out: Path = field(default=Path("results"))
    """Folder for replay.csv and replay.json."""

    def run(self) -> None:
        """Time, print and write."""
        for name in ("num_envs", "inserts", "rounds"):
            if getattr(self, name) < 1:
                refuse(name, getattr(self, name), "at least 1")
        if not self.capacities or min(self.capacities) < self.num_envs:
            refuse("capacities", self.capacities, f"one or more, each at least num_envs = {self.num_envs}")
        if min(self.sizes) < 1:
            refuse("sizes", self.sizes, "an observation and an action width, each at least 1")
        from jaxpsn.analysis.timing import interleaved, machine
        from jaxpsn.training.benchmarks.replay import replay_contenders

        contenders = replay_contenders(self.capacities, self.num_envs, self.sizes, self.inserts)
        rows = [timing._asdict() for timing in interleaved(contenders, self.rounds)]
        options = {**asdict(self), "out": str(self.out)}
        write_table(self.out, "replay", rows, {"options": options, "machine": machine()})


@dataclass(frozen=True)
class Decoding:
    """Price of one perturbed policy per sample in a decode batch, against the clean sampler."""

    hidden_size: int = 512
    """Width of a decoder with random weights; its MLP is three times as wide."""
    layers: int = 4
    """Layers."""
    vocab: int = 2048
    """Tokens of the vocabulary."""
    members: int = 8
    """Distinct policies: samples of each prompt."""
    prompts: int = 32
    """Prompts of 16 tokens."""
    tokens: int = 32
    """Tokens that every row is given."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of weights and activations."""
    rounds: int = 20
    """Timed rounds; in each every contender runs once."""
    out: Path = field(default=Path("results"))
    """Folder for decoding-WIDTH.csv and .json."""

    def run(self) -> None:
        """Time, print and write."""
        for name in ("layers", "members", "prompts", "tokens", "rounds"):
            if getattr(self, name) < 1:
                refuse(name, getattr(self, name), "at least 1")
        from jaxpsn.analysis.timing import interleaved, machine
        from jaxpsn.lm.config import tiny
        from jaxpsn.training.benchmarks.decoding import decoding_contenders

        heads = max(4, self.hidden_size // 64)
        decoder = tiny(self.vocab, self.hidden_size, self.layers, heads)
        tables = decoding_contenders(decoder, self.members, self.prompts, 16, self.tokens, self.dtype)
        rows = []
        # The first token of an answer belongs to the reading of its prompt.
        for part, tokens, contenders in zip(("token", "whole"), (self.tokens - 1, self.tokens), tables, strict=True):
            for timing in interleaved(contenders, self.rounds):
                count = self.members * self.prompts * tokens
                row = timing._asdict() | {"tokens_per_second": count / timing.seconds}
                rows.append(row | {"name": f"{part}: {timing.name}"})
        about = {**asdict(self), "out": str(self.out), "parameters": decoder.parameters}
        write_table(self.out, f"decoding-{self.hidden_size}", rows, {"options": about, "machine": machine()})


@dataclass(frozen=True)
class Reasoning:
    """Seconds of a training step of the reasoning home: plain GRPO, parameter noise, Variant I, Variant II."""

    preset: str = "default"
    """Preset of experiments/rlvr.py whose model, task and sizes are used; the small decoder is trained once."""
    rounds: int = 30
    """Timed rounds; in each every contender makes one step."""
    out: Path = field(default=Path("results"))
    """Folder for reasoning.csv and reasoning.json."""

    def run(self) -> None:
        """Time, print and write."""
        if self.rounds < 1:
            refuse("rounds", self.rounds, "at least 1")
        from contextlib import ExitStack

        from jaxpsn.analysis.timing import interleaved, machine
        from jaxpsn.rlvr.presets import PRESETS
        from jaxpsn.training import cache
        from jaxpsn.training.benchmarks.reasoning import reasoning_contenders, shares

        if self.preset not in PRESETS:
            refuse("preset", self.preset, nearest(self.preset, PRESETS))
        with ExitStack() as stack:
            contenders = reasoning_contenders(self.preset, cache.home() / "bases", stack, startup.speak)
            rows = [
                timing._asdict() | shares(contenders[timing.name]) for timing in interleaved(contenders, self.rounds)
            ]
        write_table(
            self.out, "reasoning", rows, {"options": {**asdict(self), "out": str(self.out)}, "machine": machine()}
        )


def write_table(folder: Path, name: str, rows: list[dict], about: dict) -> None:
    """Print ``rows`` and write them as ``name.csv`` and, with ``about``, ``name.json``."""
    width = max(len(row["name"]) for row in rows)
    print(f"{'':{width}}  median ms   ratio    best   (10% .. 90%)")
    for row in rows:
        spread = f"({row['ratio_low']:.2f} .. {row['ratio_high']:.2f})"
        print(f"{row['name']:{width}}  {row['seconds'] * 1e3:9.3f}  {row['ratio']:6.2f}  {row['best']:6.2f}   {spread}")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / f"{name}.json").write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
    print(f"written: {folder / name}.csv and .json")


_COMMANDS = {
    "acting": Acting, "training": Training, "replay": Replay, "decoding": Decoding, "reasoning": Reasoning,
}  # fmt: skip


@startup.main_guard
def main() -> None:
    """Time what the command line names; a mistake of the user's is one line and exit status 2."""
    tyro.extras.subcommand_cli_from_dict(_COMMANDS).run()


if __name__ == "__main__":
    sys.exit(main())
