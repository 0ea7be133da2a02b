"""Synthetic folders of reasoning studies, as experiments/rlvr_compare.py leaves them, with effects that are planted."""

import csv
import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxpsn.stats import evaluations

VERSIONS = {"python": "3.12.3", "jaxpsn": "0.1.0", "jax": "0.12.0.1", "numpy": "2.5.5"}
TASKS = {"countdown": -4.6, "target": -4.9, "swaps": -5.6}
"""Label -> the mean log-odds of the base."""


class Effect(NamedTuple):
    """What an arm does to the log-odds of a problem: ``slope`` times it, plus ``shift``; and how it trains."""

    shift: float = 0.0
    slope: float = 1.0
    sigma: float = 0.0
    zero: float = 0.45
    """Share of groups without advantage at the end."""
    seconds: float = 0.5
    probe: float = 0.0


# The paper's pattern: easy problems lose, hard ones gain, where noise is corrected for; noise alone is GRPO.
ARMS = {
    "grpo": Effect(0.9, 1.05), "grpo-tis": Effect(0.9, 1.05), "temperature": Effect(0.8, 1.03, zero=0.4),
    "entropy": Effect(0.8, 1.02, zero=0.42), "psn-no-tis": Effect(0.88, 1.05, 0.2, 0.38, 0.53),
    "psn": Effect(-0.2, 0.9, 0.2, 0.36, 0.53), "psn-half": Effect(0.4, 0.98, 0.1, 0.4, 0.53),
    "psn-double": Effect(-0.6, 0.84, 0.4, 0.3, 0.53), "psn-kl": Effect(-0.3, 0.86, 0.15, 0.35, 0.54),
    "psn-composite": Effect(-0.5, 0.78, 0.25, 0.34, 0.56, 0.11), "psn-step": Effect(0.0, 0.93, 0.2, 0.41, 0.51),
    "qerl": Effect(0.85, 1.02, 0.01, 0.43, 0.51), "pass-at-k": Effect(0.0, 0.92, zero=0.4),
    "psn-pass-at-k": Effect(-0.4, 0.8, 0.2, 0.33, 0.53),
}  # fmt: skip
_FIELDS = {"temperature": "rollout.temperature", "entropy": "algorithm.entropy_coefficient"}


def _rng(*name: Any) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(str(part).encode()) for part in name])


def write_study(
    folder: Path, arms: Iterable[str], tasks: Iterable[str] = TASKS, seeds: int = 5, problems: int = 64, **more: Any
) -> Path:
    """``study.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "format": 1, "kind": "reasoning", "name": folder.name,
        "study": {"seeds": seeds, "seed": 0, "steps": 60, "problems": problems, "samples": 256},
        "shared": {"task": "countdown", "rollout": {"prompts": 32, "samples": 16}},
        "tasks": {label: {"spec": f"{label},numbers=4", "task": label, "task_options": {"numbers": "4"}}
                  for label in tasks},
        "arms": {label: {"spec": label, "changes": changes(label), "scale": scale(label)} for label in arms},
        "versions": VERSIONS, "command": ["experiments/rlvr_compare.py", "--study.seeds", str(seeds)],
        "sessions": [{"started": "2026-01-02T03:04:05+00:00", "versions": VERSIONS}],
    }  # fmt: skip
    (folder / "study.json").write_text(json.dumps(content | more))
    return folder


def changes(label: str) -> dict[str, Any]:
    """What an arm changes."""
    sigma = ARMS.get(label, Effect()).sigma
    correction = "none" if label in ("grpo", "psn-no-tis") else "token"
    return {"noise.structure": "lowrank" if sigma else "none", "algorithm.correction": correction}


def scale(label: str) -> dict[str, Any] | None:
    """The scale of an arm, and whose tuning it uses."""
    if label in _FIELDS:
        return {"field": _FIELDS[label], "like": None, "factor": 1.0}
    if not ARMS.get(label, Effect()).sigma:
        return None
    factor = {"psn-half": 0.5, "psn-double": 2.0}.get(label, 1.0)
    return {"field": "sigma.initial", "like": "psn" if factor != 1 else None, "factor": factor}


def write_evaluation(
    folder: Path, label: str, correct: Sequence[int], *, n: int = 256, task: str = "t", known: bool = True, **more: Any
) -> Path:
    """An evaluation with those right answers to problems 0, 1, 2, ..., each with 40 solutions."""
    found = [
        {"id": f"{task}/{index}", "prompt": f"problem {index}", "n": n, "correct": int(count),
         "distinct": min(int(count), 40, 1 + int(count) // 8) if known and count else 0 if known else None,
         "solutions": 40 if known else None}
        for index, count in enumerate(correct)
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    about = {"step": 60, "n": n, "temperature": 1.0, "noisy": False, "task": task}
    return evaluations.record(folder, label, problems=found, **(about | more))


def write_base(folder: Path, task: str, correct: Sequence[int], **more: Any) -> Path:
    """The evaluation of a task's base."""
    return write_evaluation(folder / "tasks" / task / "base", "base", correct, task=task, **more)


def write_run(
    folder: Path, task: str, arm: str, seed: int, correct: Sequence[int] | None, *, steps: int = 60,
    drop: Sequence[str] = (), versions: Mapping[str, str] = VERSIONS, budget: int | None = None, **more: Any,
) -> Path:  # fmt: skip
    """The run folder of one seed; ``correct`` None is a run that is not finished."""
    run = folder / "tasks" / task / "arms" / arm / str(seed)
    run.mkdir(parents=True)
    rows = list(_rows(task, arm, seed, steps))
    with (run / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in rows[1] if name not in drop], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    sessions = [{"device": "2 cores", "versions": dict(versions)}]
    (run / "config.json").write_text(json.dumps({"run": {"steps": budget or steps}, "sessions": sessions}))
    if correct is not None:
        write_evaluation(run, "trained", correct, task=task, **more)
        about = scale(arm)
        told = None if about is None else {"field": about["field"], "value": 0.2 * about["factor"]}
        done = {"step": steps, "seconds": 40.0 + seed, "versions": dict(versions), "scale": told}
        (run / "finished.json").write_text(json.dumps(done))
    return run


def _rows(task: str, arm: str, seed: int, steps: int) -> Iterable[dict[str, Any]]:
    """Rows of one seed: it learns, its answers narrow, and noise moves as its arm says."""
    effect, rng = ARMS.get(arm, Effect()), _rng("rows", task, seed)
    sigma = effect.sigma
    yield {"step": 0, "seed": seed, "eval_pass_at_1": 0.15 + 0.01 * rng.normal()}
    for step in range(1, steps + 1):
        learnt = 1 - math.exp(-step / (0.4 * steps))
        zero = 0.6 - (0.6 - effect.zero) * learnt + rng.normal(0, 0.04)
        kl = 1.2 * sigma**2 * math.exp(rng.normal(0, 0.2))
        row = {
            "step": step, "seed": seed, "entropy": 0.9 - (0.3 + 0.15 * effect.slope) * learnt + rng.normal(0, 0.02),
            "sigma": sigma, "noise_kl_k1": kl, "noise_kl_k3": kl, "weight_ess": 1 - 1.5 * sigma**2,
            "groups_zero_advantage": min(1.0, max(0.0, zero)), "seconds_probe": effect.probe or None,
            "seconds_sample": 0.4 * effect.seconds, "seconds_verify": 0.004, "seconds_update": 0.6 * effect.seconds,
            "seconds_step": effect.seconds + effect.probe + 0.004, "eval_pass_at_1": None, "seconds": 0.6 * step,
        }  # fmt: skip
        if arm == "psn-composite":
            row["indicator"] = 0.5 + 0.1 * math.exp(-step / 20) + rng.normal(0, 0.01)
        if step % 10 == 0:
            row["eval_pass_at_1"] = 0.15 + 0.05 * effect.shift * learnt + 0.01 * rng.normal()
        yield row
        sigma *= {"psn-kl": 1.01, "psn-composite": 1.015, "qerl": 0.95}.get(arm, 1.0)


def difficulty(task: str, problems: int) -> np.ndarray:
    """Log-odds of the base's answers [problems]."""
    return TASKS.get(task, -2.0) + 3.0 * _rng("difficulty", task).normal(size=problems)


def draw(task: str, effect: Effect, odds: np.ndarray, *name: Any, n: int = 256, seed_spread: float = 0.1) -> np.ndarray:
    """Right answers [problems] of one seed; its luck is its own, and smaller for a single problem."""
    rng = _rng("draw", task, *name)
    moved = effect.shift + effect.slope * odds + seed_spread * rng.normal() + 0.15 * rng.normal(size=odds.shape)
    return rng.binomial(n, 1 / (1 + np.exp(-moved)))


def simulate(
    folder: Path, arms: Mapping[str, Effect] = ARMS, tasks: Iterable[str] = TASKS, *, seeds: int = 5,
    problems: int = 64, n: int = 256, tuned: bool = True, **more: Any,
) -> Path:  # fmt: skip
    """A finished study with the effects of ``arms``; the arm grpo-tis does what grpo does."""
    tasks = tuple(tasks)
    write_study(folder, arms, tasks, seeds, problems)
    for task in tasks:
        odds = difficulty(task, problems)
        write_base(folder, task, draw(task, Effect(), odds, "base", n=n, seed_spread=0.0), n=n)
        for arm, effect in arms.items():
            for seed in range(seeds):
                name = "grpo" if arm == "grpo-tis" else arm
                write_run(folder, task, arm, seed, draw(task, effect, odds, name, seed, n=n), n=n, **more)
            about = scale(arm)
            if tuned and about is not None and about["like"] is None:
                write_choice(folder, task, arm, about["field"])
    return folder


def write_choice(folder: Path, task: str, arm: str, field: str, chosen: float = 0.2, **more: Any) -> None:
    """How the scale of an arm was chosen."""
    rng, values = _rng("choice", task, arm), [0.05, 0.1, 0.2, 0.4]
    scores = [[0.4 - 0.05 * abs(math.log(value / 0.2)) + rng.normal(0, 0.01) for _ in range(2)] for value in values]
    content = {"field": field, "values": values, "seeds": [1000, 1001], "scores": scores, "chosen": chosen,
               "by": "mean pass@k over k = 1, 2, 4, ..., 64"}  # fmt: skip
    path = folder / "tasks" / task / "tuning" / arm
    path.mkdir(parents=True, exist_ok=True)
    (path / "choice.json").write_text(json.dumps(content | more))
