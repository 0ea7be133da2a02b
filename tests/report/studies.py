"""Synthetic study folders, as experiments/compare.py leaves them."""

import csv
import html.parser
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


class Page(html.parser.HTMLParser):
    """A page as text; every element is closed where it was opened."""

    VOID = ("meta", "img", "br")

    def __init__(self, path):
        super().__init__()
        self.open, self.words = [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert not self.open
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


VERSIONS = {"python": "3.12.3", "jaxpsn": "0.1.0", "jax": "0.12.0.1", "numpy": "2.5.5"}
CONTROL = {
    "env": {"name": "sparse_cartpole_swingup", "num_envs": 32},
    "agent": {"algorithm": "td3", "gamma": 0.99},
    "exploration": {"rule": "parameter", "target": 0.2},
    "warmup": 5000,
    "eval_envs": 16,
}


def write_arm(
    folder: Path, curves: Mapping[int, Mapping[str, Sequence[Any]]], steps: Sequence[int], budget: int | None = None
) -> Path:
    """An arm's run folder from seed -> metric -> values, one for each of ``steps``; None is a blank cell."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for metrics in curves.values() for name in metrics))
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "seed", *names])
        for index, step in enumerate(steps):
            for seed, metrics in curves.items():
                cells = [metrics[name][index] if name in metrics else None for name in names]
                writer.writerow([step, seed, *("" if cell is None else cell for cell in cells)])
    sessions = [{"device": "2 cores", "versions": VERSIONS}]
    content = {"format": 1, "run": {"steps": int(budget or steps[-1])}, "versions": VERSIONS, "sessions": sessions}
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def finish(folder: Path, step: int, seconds: float = 90.0, versions: Mapping[str, str] = VERSIONS) -> None:
    """Mark an arm as complete."""
    content = {"step": step, "seconds": seconds, "versions": dict(versions)}
    (folder / "finished.json").write_text(json.dumps(content))


def write_study(folder: Path, arms: Mapping[str, Any], *, threshold: float | None = 100.0, **more: Any) -> Path:
    """``study.json``; ``arms`` are label -> {"spec", "scale", ...} or label -> None for an arm without a scale."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "format": 1, "name": folder.name, "control": CONTROL, "study": {"seeds": 10}, "threshold": threshold,
        "arms": {label: {"spec": label, "exploration": {"rule": label}, "agent": {}, "scale": None, **(about or {})}
                 for label, about in arms.items()},
        "versions": VERSIONS, "command": ["experiments/compare.py", "--study.seeds", "10"],
        "sessions": [{"started": "2026-01-02T03:04:05+00:00", "versions": VERSIONS}],
    }  # fmt: skip
    (folder / "study.json").write_text(json.dumps(content | more))
    return folder


def simple(
    folder: Path, finals: Mapping[str, Sequence[float]], *, threshold: float | None = 100.0, steps: int = 4, **more: Any
) -> Path:
    """A finished study whose seeds stand at their final return from the second evaluation on, at 0 before."""
    write_study(folder, dict.fromkeys(finals), threshold=threshold, **more)
    grid = [1000 * index for index in range(steps)]
    for label, values in finals.items():
        curves = {seed: {"eval_return": [0.0] + [value] * (steps - 1)} for seed, value in enumerate(values)}
        finish(write_arm(folder / "arms" / label, curves, grid), grid[-1])
    return folder


# Of each arm: the chance that a seed finds the reward, when (share of the run), the return it reaches, its distance.
_ARMS = {
    "parameter": (0.9, 0.2, 380.0, 0.55), "gaussian": (0.1, 0.7, 60.0, 0.52), "ou": (0.5, 0.5, 240.0, 0.5),
    "pink": (0.6, 0.45, 300.0, 0.5), "none": (0.0, 1.0, 0.0, 0.0),
}  # fmt: skip
_SCALES = {"parameter": "target", "gaussian": "action_std", "ou": "action_std", "pink": "action_std"}


def _seed(rng: np.random.Generator, about: Sequence[float], grid: np.ndarray, every: int, weights: bool) -> dict:
    """One seed: nothing until it finds the reward, then it learns; coverage grows as it moves."""
    chance, when, height, distance = about
    end, found = grid[-1], bool(rng.uniform() < chance)
    first = end * float(np.clip(when * rng.lognormal(0, 0.45), 0.06, 0.95)) if found else math.inf
    learnt = 1 / (1 + np.exp(-(grid - first * 1.25 - 0.06 * end) / (0.05 * end))) if found else np.zeros(len(grid))
    height *= rng.uniform(0.8, 1.15)
    clean = np.maximum(0, height * learnt + found * rng.normal(0, 14, len(grid)) * (learnt > 0.05))
    noisy = np.maximum(0, 0.6 * height * learnt + found * rng.normal(0, 10, len(grid)) * (learnt > 0.05))
    spread = 900 + 2600 * distance
    coverage = spread * (1 - np.exp(-grid / (0.35 * end))) * rng.uniform(0.9, 1.1) + 500 * found * learnt
    moved = distance * np.exp(rng.normal(0, 0.04, len(grid)))
    metrics = {
        "eval_return": [value if index % every == 0 else None for index, value in enumerate(clean)],
        "reward": [None, *(noisy[1:] / 500)], "coverage": np.round(coverage),
        "first_reward": [first if step >= first else None for step in grid],
        "action_distance": [None if step <= 5000 else value for step, value in zip(grid, moved, strict=True)],
    }  # fmt: skip
    if weights:
        metrics["sigma"] = 0.3 * np.exp(-grid / end) * np.exp(rng.normal(0, 0.05, len(grid)))
        metrics["distance"], metrics["target"] = moved * 1.02, np.full(len(grid), 0.6)
    return metrics


def realistic(folder: Path, seeds: int = 10, points: int = 101, *, extra: Sequence[str] = ()) -> Path:
    """A finished study of five arms (and copies of the first named in ``extra``) on a sparse task, tuned."""
    labels = {**_ARMS, **dict.fromkeys(extra, _ARMS["parameter"])}
    scales = {label: _SCALES.get(label, "target") for label in labels if label != "none"}
    arms = {label: {"scale": {"field": f"exploration.{scales[label]}", "value": 0.6, "tuned": True}} if label in scales
            else None for label in labels}  # fmt: skip
    write_study(folder, arms)
    grid = np.linspace(0, 200_000, points)
    for number, (label, about) in enumerate(labels.items()):
        rng = np.random.default_rng(number)
        weights = label == "parameter" or label in extra
        curves = {seed: _seed(rng, about, grid, 4, weights) for seed in range(seeds)}
        finish(write_arm(folder / "arms" / label, curves, grid.astype(int)), 200_000, 80 + 7 * number)
        if label in scales:
            _tune(folder / "tuning" / label, rng, f"exploration.{scales[label]}", about)
    return folder


def _tune(folder: Path, rng: np.random.Generator, field: str, about: Sequence[float]) -> None:
    folder.mkdir(parents=True)
    values = [0.05, 0.1, 0.2, 0.3, 0.6, 1.0]
    score = np.array([about[2] * about[0] * (1 - abs(math.log(value / 0.6)) / 3) for value in values])
    final = np.maximum(0, score[:, None] + rng.normal(0, 40, (6, 3)))
    seeds = (1000 + np.arange(18)).reshape(6, 3).tolist()
    first = [[None if cell < 60 else 2e5 - 400 * cell for cell in row] for row in final]
    write_choice(folder, field=field, values=values, seeds=seeds, final=final.tolist(), first_reward=first,
                 coverage=(1000 + 3 * final).tolist(), chosen=0.6, by="final return")  # fmt: skip


def write_choice(folder: Path, **content: Any) -> None:
    """``choice.json`` of an arm's tuning."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "choice.json").write_text(json.dumps(content))
