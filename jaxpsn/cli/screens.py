"""What ``--help`` of each command shows: one screen of the flags that are used most, presets, and examples."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from jaxpsn.core import text
from jaxpsn.core.components import called
from jaxpsn.run import started

WIDTH = 100
"""Characters of a line."""


@dataclass(frozen=True)
class Screen:
    """One command."""

    about: str
    """What it does, in a line."""
    module: str
    """Where its ``main(argv) -> status`` lies."""
    flags: tuple[tuple[str, str], ...] = ()
    """The flags used most, and what each does."""
    examples: tuple[str, ...] = ()
    """Arguments of two calls or so."""
    described: Callable[[Any], str] | None = None
    """What a line says of a preset of the module's ``PRESETS``."""
    usage: str = "[--preset NAME] [flags]"
    short: str = ""
    """What ``described`` says, if it is so short that two presets stand in a line."""

    def text(self, name: str) -> str:
        """The screen of the command ``name``, at most 40 lines."""
        called = started.command(name)
        lines = [f"usage: {called} {self.usage}", "", self.about, ""]
        lines += _pairs("flags", self.flags)
        lines += [f"  {'--help-all':<26}every flag, with its default"]
        if self.described is not None:
            presets: Mapping[str, Any] = importlib.import_module(self.module).PRESETS
            described = self.described
            lines += ["", *self._presets([(preset, described(job)) for preset, job in presets.items()])]
        lines += ["", "examples:", *(f"  {called} {example}".rstrip() for example in self.examples)]
        return "\n".join(lines)

    def _presets(self, pairs: list[tuple[str, str]]) -> list[str]:
        if not self.short:
            return _pairs("presets", pairs)
        half = -(-len(pairs) // 2)
        rows = zip_longest(pairs[:half], pairs[half:], fillvalue=("", ""))
        cells = ((f"{left:<15}{right:<33}" for left, right in row) for row in rows)
        return [f"presets: {self.short}", *(_cut(f"  {' '.join(row)}".rstrip()) for row in cells)]


def _pairs(title: str, pairs: Any) -> list[str]:
    return [f"{title}:", *(_cut(f"  {left:<26}{right}") for left, right in pairs)]


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ..."


def _of_control(job: Any) -> str:
    config = job.control
    return f"{config.env.name} {called(type(config.agent))}, {text.count(job.run.steps)}"


def _of_study(job: Any) -> str:
    study = job.study
    return f"{job.control.env.name}, {study.seeds} seeds, {study.steps:,} steps: {', '.join(study.arms)}"


def _of_reasoning(job: Any) -> str:
    config = job.rlvr
    noise = f"noise with sigma {called(type(config.sigma))}" if config.members else "no noise"
    return f"{config.task.name}, {noise}, {job.run.steps} steps"


def _of_reasoning_study(job: Any) -> str:
    study = job.study
    tasks = " ".join(task.partition(":")[0].partition(",")[0] for task in study.tasks)
    return f"{tasks}, {study.seeds} seeds, {study.steps} steps: {', '.join(study.arms)}"


_RUN = (
    ("--name NAME", "name of the run folder under --out (default: runs); made up if left out"),
    ("--resume RUN", "go on with a run folder; its own config gives the defaults"),
)
_STUDY = (
    ("--name NAME", "name of the study folder under --out (default: runs); made up if left out"),
    ("--resume STUDY", "go on with a study folder"),
)
SCREENS: dict[str, Screen] = {
    "train": Screen(
        "Off-policy control with parameter-space noise: trains, evaluates, saves, and writes a report.",
        "jaxpsn.run.jobs.control",
        (
            ("--env.name NAME", "halfcheetah, sparse_mountain_car, 'deep_sea(size=20)' ..."),
            ("--env.num-envs N", "parallel environments, each with a perturbation of its own"),
            ("--agent TEXT", "td3, sac, ddpg, ppo, dqn, pqn, es, with fields: td3(updates=2)"),
            ("--explore TEXT", "parameter, gaussian, pink(std=1) ..., and sums: parameter + gaussian"),
            ("--explore.target D", "action distance to which the noise scale is adapted"),
            ("--bonus TEXT", "none, or beside the reward rnd(beta=1), drnd, counts, reward_noise"),
            ("--plugin FILE", "a module or .py file with agents, rules or tasks of your own"),
            ("--describe NAME", "the fields of a component, and what they mean"),
            ("--steps N", "environment steps of each seed"),
            ("--seed N, --seeds N", "first seed, and how many runs side by side"),
            ("--mesh data=N", "cut environments and replay over N devices"),
            *_RUN,
        ),
        (
            "--preset sparse --seeds 4 --name sparse",
            "--env.name hopper --explore gaussian --steps 200000",
            "--resume runs/sparse --steps 800000",
        ),
        _of_control,
        "[--preset NAME | --resume RUN] [flags]",
        "task, agent, environment steps",
    ),
    "compare": Screen(
        "Ways to explore compared on one task: the same learner, seeds and steps for every arm, and a report.",
        "jaxpsn.study.kinds.control",
        (
            ("--arms ARM ...", "rules, as [label:]pink(std=1), sums, or named arms such as es"),
            ("--env.name NAME", "the task"),
            ("--steps N", "environment steps of each seed"),
            ("--seed N, --seeds N", "first seed, and runs of each arm"),
            ("--tune", "choose the scale of each arm first, on seeds that are not reported"),
            *_STUDY,
        ),
        ("--preset mountain-car --name car", "--arms parameter pink none --env.name hopper --seeds 10"),
        _of_study,
        "[--preset NAME | --resume STUDY] [flags]",
    ),
    "reason": Screen(
        "Reinforcement learning with verifiable rewards and parameter-space noise, on language models.",
        "jaxpsn.run.jobs.rlvr",
        (
            ("--task NAME", "'countdown(numbers=4)', grid, target, modular, chain_sum or swaps"),
            ("--model PATH", "a Hugging Face folder or .gguf file; a small decoder is pre-trained if left out"),
            ("--data FILE", "problems with answers (JSON lines, Parquet), instead of a task"),
            ("--noise TEXT", "none for plain GRPO, or 'psn(structure=dense, sigma=kl(target=0.005))'"),
            ("--reward TEXT", "verifier, or with --plugin FILE one of your own: 'verifier + mine'"),
            ("--steps N", "training steps"),
            ("--seed N", "seed of the run"),
            ("--mesh data=N,model=M", "devices"),
            *_RUN,
        ),
        ("--name countdown", "--preset paper-kl --model ~/models/Qwen2.5-Math-7B --data train.jsonl"),
        _of_reasoning,
        "[--preset NAME | --resume RUN] [flags]",
    ),
    "reason-compare": Screen(
        "What parameter-space noise does to pass@k: arms with the same base, prompts, answers and updates.",
        "jaxpsn.study.kinds.reasoning",
        (
            ("--quick", "the preset quick: half an hour instead of a day"),
            ("--arms ARM ...", "variants, as [label:]name[,section.field=value]"),
            ("--seeds N", "runs of each arm"),
            ("--steps N", "training steps of each run"),
            *_STUDY,
        ),
        ("--quick --name quick", "--arms grpo psn psn-kl --seeds 3"),
        _of_reasoning_study,
        "[--preset NAME | --resume STUDY] [flags]",
    ),
    "evaluate": Screen(
        "Unbiased pass@k of a reasoning policy, two compared in pairs, or a sample log verified and scored anew.",
        "jaxpsn.run.jobs.evaluate",
        (
            ("--policy RUN", "a run folder, RUN:STEP, RUN:base, a Hugging Face folder or an evaluation (.json)"),
            ("--against RUN", "a second policy, on the same problems and random numbers"),
            ("--replay RUN", "instead: the run whose samples.jsonl is verified and scored anew"),
            ("--task NAME, --data FILE", "other problems than those of the run"),
            ("--problems N, --samples N", "problems, and answers to each"),
            ("--noisy", "judge perturbed weights, every answer by a perturbation of its own"),
            ("--thickets SIGMA ...", "instead: which share of its perturbations is better, at these scales"),
            ("--out FOLDER", "where the results go (default: results/evaluation)"),
        ),
        ("--policy runs/countdown --against runs/countdown:base", "--replay runs/countdown"),
        usage="--policy RUN [--against RUN:base] [flags] | --replay RUN",
    ),
    "export": Screen(
        "The policy of a reasoning run as a Hugging Face folder, its perturbations as PEFT LoRA folders beside it.",
        "jaxpsn.cli.export",
        (
            ("--members N", "perturbations of the next step that are written (default: those of a step)"),
            ("--sigma X", "their scale (default: the run's at that checkpoint)"),
            ("--out DIR", "where to (default: NAME-export)"),
        ),
        ("runs/countdown --members 8", "runs/countdown:200 --members 1 --sigma 0.02 --out noisy"),
        usage="RUN [flags]",
    ),
    "report": Screen(
        "Reports: one page of HTML for a run or a study, or several folders side by side.",
        "jaxpsn.report.command",
        (
            ("--markdown", "print the final table of studies instead"),
            ("--out DIR", "where a comparison is written (default: report-NAME-NAME...)"),
            ("--overwrite", "replace a comparison that is there"),
            ("--pack", "put the raw rows of studies into one file, raw.tar.gz"),
        ),
        ("runs/NAME", "runs/ONE runs/OTHER"),
        usage="FOLDER... [flags]",
    ),
    "bench": Screen(
        "Timings and bytes, each a ratio within one run; for a checkout: an installed package has no benchmarks.",
        "jaxpsn.cli.bench",
        examples=("all", "acting --seconds 8", "training --help"),
        usage="NAME [flags]",
    ),
}
"""Every command of ``jaxpsn``."""
