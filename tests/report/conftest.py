"""Synthetic run folders and rollouts, made as a run would make them."""

import csv
import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxpsn.stats import evaluations


def _about_y(angle: float) -> list[float]:
    return [math.cos(angle / 2), 0.0, math.sin(angle / 2), 0.0]


def _geom(kind: str, size: list[float], color: list[float], **more: Any) -> dict[str, Any]:
    return {"type": kind, "size": size, "pos": [0, 0, 0], "quat": [1, 0, 0, 0], "color": color, **more}


def _limb(hip: np.ndarray, angle: float, length: float) -> tuple[np.ndarray, list[float]]:
    """End point and pose of a limb hanging from ``hip``, swung by ``angle`` in the plane of walking."""
    reach = np.array([math.sin(angle), 0.0, -math.cos(angle)]) * length
    return hip + reach, [*(hip + reach / 2), *_about_y(-angle)]


def walker(frames: int = 120) -> dict[str, Any]:
    """A figure of capsules that walks along x: torso, head, and thigh, shin, upper and lower arm of each side."""
    blue, orange, skin = [0.0, 0.45, 0.7, 1], [0.84, 0.37, 0.0, 1], [0.9, 0.75, 0.6, 1]
    limbs = [("thigh", 0.45, 0.07), ("shin", 0.45, 0.055), ("upper_arm", 0.3, 0.05), ("lower_arm", 0.28, 0.04)]
    bodies = [{"name": "world", "geoms": [_geom("plane", [], [0.6, 0.6, 0.6, 1])]}]
    head = _geom("sphere", [0.13], skin, pos=[0, 0, 0.5])
    bodies.append({"name": "torso", "geoms": [_geom("capsule", [0.13, 0.2], blue), head]})
    for side, color in (("left", orange), ("right", blue)):
        bodies += [{"name": f"{side}_{n}", "geoms": [_geom("capsule", [r, h / 2], color)]} for n, h, r in limbs]
    poses = []
    for frame in range(frames):
        phase = 2 * math.pi * frame * 0.02 * 1.6
        torso = np.array([1.5 * frame * 0.02, 0.0, 1.2 + 0.02 * math.cos(2 * phase)])
        pose = [[0, 0, 0, 1, 0, 0, 0], [*torso, *_about_y(0.08)]]
        for sign in (-1, 1):
            swing, side = sign * math.sin(phase), np.array([0, 0.14 * sign, 0])
            knee, thigh = _limb(torso + side * 0.7 - [0, 0, 0.28], 0.5 * swing, 0.45)
            _, shin = _limb(knee, 0.5 * swing - 0.35 + 0.35 * sign * math.cos(phase), 0.45)
            elbow, upper = _limb(torso + side * 1.5 + [0, 0, 0.2], -0.5 * swing, 0.3)
            _, lower = _limb(elbow, -0.5 * swing + 0.5, 0.28)
            pose += [thigh, shin, upper, lower]
        poses.append(pose)
    camera = {"target_body": 1, "distance": 4.5, "azimuth": 115, "elevation": -12, "lookat": [0, 0, 0.95]}
    rewards = [1.5 + 0.4 * math.sin(0.2 * step) for step in range(frames - 1)]
    return {"name": "walker", "title": "Walker, clean policy", "dt": 0.02, "bodies": bodies, "camera": camera,
            "frames": poses, "rewards": rewards}  # fmt: skip


def cartpole(frames: int = 80) -> dict[str, Any]:
    """A cart on a rail whose pole falls: planar, seen from the side, terminated at its end."""
    rail = _geom("capsule", [0.02, 1.5], [0.6, 0.6, 0.6, 1], quat=[math.sqrt(0.5), 0, math.sqrt(0.5), 0])
    pole = _geom("cylinder", [0.03, 0.3], [0.84, 0.37, 0.0, 1], pos=[0, -0.12, 0.3])
    bodies = [{"name": "world", "geoms": [rail]},
              {"name": "cart", "geoms": [_geom("box", [0.15, 0.1, 0.08], [0.0, 0.45, 0.7, 1])]},
              {"name": "pole", "geoms": [pole]}]  # fmt: skip
    poses = []
    for frame in range(frames):
        x, angle = 0.6 * math.sin(0.05 * frame), 0.03 * math.exp(0.045 * frame)
        poses.append([[0, 0, 0, 1, 0, 0, 0], [x, 0, 0, 1, 0, 0, 0], [x, 0, 0, *_about_y(angle)]])
    camera = {"target_body": None, "distance": 2.6, "azimuth": 90, "elevation": -8, "lookat": [0, 0, 0.2]}
    return {"name": "cartpole", "dt": 0.04, "bodies": bodies, "camera": camera, "frames": poses,
            "rewards": [1.0] * (frames - 1), "terminated_at": frames - 1}  # fmt: skip


def _beside(*levels: str) -> dict[str, Any]:
    """The cart-pole with two members beside it at every level of the noise, 50 and 60 frames of it."""
    clean, others = cartpole(), []
    for level in range(max(1, len(levels))):
        for index in (1, 2):
            count = 40 + 10 * index
            acted = [[math.sin(0.1 * step + index), level / 2] for step in range(count - 1)]
            others.append({"label": f"member {index}", "level": level, "frames": clean["frames"][:count],
                           "rewards": [float(index)] * (count - 1), "actions": acted})  # fmt: skip
    acted = [[math.sin(0.1 * step), 0.0] for step in range(79)]
    return clean | {"actions": acted, "members": others, "levels": list(levels)}


def rows(seed: int, chunks: int = 60, chunk: int = 25_000) -> list[dict[str, Any]]:
    """Metrics of one seed that learns, evaluated every third chunk, with sigma adapting to its target."""
    rng = np.random.default_rng(seed)
    sigma, table = 0.2, []
    for index in range(1, chunks + 1):
        learnt = 1 / (1 + math.exp(-0.13 * (index - 26 - 3 * rng.normal() * (index == 1))))
        clean = -180 + (3600 + 260 * (seed % 5)) * learnt + rng.normal(0, 130)
        distance = min(0.9, 1.9 * sigma * (1 + 1.2 * learnt)) * math.exp(rng.normal(0, 0.05))
        row = {"step": index * chunk, "seed": seed, "updates": index * 1200, "return": 0.8 * clean - 60, "length": 1000,
               "sigma": sigma, "distance": distance, "target": 0.2,
               "critic_loss": 40 * math.exp(-index / 14) + 2 + rng.exponential(0.5), "actor_loss": -2.2 * index**0.8,
               "q": 2.1 * index**0.8 + rng.normal(), "eval_return": clean if index % 3 == 1 or index == chunks else "",
               "eval_length": 1000 if index % 3 == 1 else "", "seconds": 4.2 * index,
               "steps_per_second": 5900 + 200 * rng.normal()}  # fmt: skip
        table.append(row)
        sigma *= 1.09 if distance < 0.2 else 1 / 1.09
    return table


CONFIG = {
    "env": {"name": "halfcheetah", "num_envs": 64, "backend": None},
    "agent": {"algorithm": "td3", "actor_hidden": [128, 128], "gamma": 0.99},
    "exploration": {"rule": "parameter", "structure": "flipout", "target": 0.2, "controller": "multiplicative"},
    "run": {"steps": 1_500_000, "seed": 0, "name": "<b>bold</b> & co"},
    "versions": {"jaxpsn": "0.1.0", "jax": "0.12.0.1", "python": "3.12.1"},
    "sessions": [
        {"device": "an older machine", "versions": {"jax": "0.10.2"}},
        {"device": "TPU v5e", "versions": {"jaxpsn": "0.1.0", "jax": "0.12.0.1", "python": "3.12.1"}},
    ],
}


def _write_run(folder: Path, seeds: int = 1, *, drop: tuple[str, ...] = (), rollout: Any = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    table = sorted((row for seed in range(seeds) for row in rows(seed)), key=lambda row: (row["step"], row["seed"]))
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in table[0] if name not in drop], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(table)
    if rollout is not None:
        (folder / "rollout.json").write_text(json.dumps(rollout))
    return folder


@pytest.fixture
def write_run() -> Callable[..., Path]:
    """``write_run(folder, seeds, drop=columns, rollout=...)`` makes a run folder and returns it."""
    return _write_run


REASONING = {
    "name": "countdown-1",
    "config": {
        "model": None, "data": None, "task": "countdown", "rollout": {"prompts": 32, "samples": 8},
        "noise": {"name": "psn", "fields": {
            "structure": {"name": "lowrank", "fields": {"rank": 1}}, "per": "sample",
            "sigma": {"name": "composite", "fields": {"target": 0.55}},
        }},
        "algorithm": {
            "advantage": {"name": "group", "fields": {}}, "correction": {"name": "token", "fields": {"cap": 10.0}},
        },
    },
    "run": {"steps": 120, "seed": 0},
    "versions": {"jaxpsn": "0.1.0", "jax": "0.12.0.1"},
    "device": "2 cores of an example",
}  # fmt: skip


def reasoning_rows(steps: int, seed: int = 0) -> list[dict[str, Any]]:
    """Metrics of a run that learns, whose sigma is raised as its answers grow alike."""
    rng = np.random.default_rng(seed)
    sigma, table = 0.1, []
    for step in range(1, steps + 1):
        learnt = 0.22 + 0.35 / (1 + math.exp(-0.06 * (step - 45)))
        reward = learnt - 0.03 + rng.normal(0, 0.035)
        similarity, certainty = 0.45 + 0.4 * learnt - 0.5 * sigma, 0.4 + 0.5 * learnt - 0.6 * sigma
        indicator = (similarity + certainty) / 2 + rng.normal(0, 0.012)
        kl = 1.4 * sigma**2 * math.exp(rng.normal(0, 0.15))
        wrong, correct = 0.45 * math.exp(-step / 60) + rng.uniform(0, 0.06), 0.05 + 0.2 * learnt + rng.uniform(0, 0.05)
        row = {
            "step": step, "seed": seed, "updates": step, "reward": reward, "clean_reward": reward + 0.03,
            "noisy_reward": reward - 0.01, "sigma": sigma, "noise_kl_k1": kl * 0.9, "noise_kl_k3": kl,
            "indicator": indicator, "similarity": similarity + rng.normal(0, 0.015),
            "certainty": certainty + rng.normal(0, 0.015),
            "target": 0.55, "ratio_min": math.exp(-9 * sigma - rng.exponential(0.5)),
            "ratio_mean": 1 + rng.normal(0, 0.02), "ratio_max": math.exp(8 * sigma + rng.exponential(0.6)),
            "truncated_share": rng.exponential(4e-5), "weight_ess": 1 - 2 * sigma**2 - rng.exponential(0.01),
            "entropy": 0.9 - 0.6 * learnt + rng.normal(0, 0.02), "length": 14 + 8 * learnt + rng.normal(0, 0.3),
            "clipped_length": 0.1 * math.exp(-step / 40) + rng.uniform(0, 0.01), "groups_all_correct": correct,
            "groups_all_wrong": wrong, "groups_rescued": 0.1 + rng.uniform(0, 0.08),
            "groups_lost": 0.05 + rng.uniform(0, 0.08),
            "seconds_sample": 0.62 + rng.exponential(0.02), "seconds_verify": 0.006,
            "seconds_update": 0.4 + rng.exponential(0.01), "seconds_probe": 0.08, "seconds": 1.15 * step,
            "tokens_per_second": 7800 + rng.normal(0, 150), "eval_pass_at_1": "", "eval_pass_at_8": "",
        }  # fmt: skip
        if step % 20 == 1 or step == steps:
            row |= {"eval_pass_at_1": learnt + rng.normal(0, 0.01), "eval_pass_at_8": 0.5 + 0.55 * learnt}
        table.append(row)
        sigma *= 1.01 if indicator > 0.55 else 1 / 1.01
    return table


def _judge(folder: Path, label: str, step: int, gain: float, problems: int, n: int, noisy: bool = False) -> None:
    """An evaluation of problems whose chances, base policy's plus ``gain``, are spread as a small decoder's are."""
    rng, draws, found = np.random.default_rng(7), np.random.default_rng(step), []
    for index in range(problems):
        chance = float(np.clip(rng.beta(0.35, 1.1) + gain * rng.uniform(0.2, 1.8), 0, 1)) * (rng.uniform() > 0.06)
        correct, solutions = int(draws.binomial(n, chance)), int(rng.integers(2, 60))
        distinct = min(correct, solutions, 1 + int(solutions * chance * draws.uniform(0.3, 0.8)))
        prompt = f"{rng.integers(1, 50)} {rng.integers(1, 50)} {rng.integers(1, 50)} = {rng.integers(2, 99)}"
        found.append({"id": f"countdown/{index}", "prompt": prompt, "n": n, "correct": correct, "distinct": distinct,
                      "solutions": solutions})  # fmt: skip
    evaluations.record(folder, label, step=step, n=n, temperature=1.0, noisy=noisy, task="countdown", problems=found)


def _samples(step: int, right: float) -> list[dict[str, Any]]:
    rng, rows = np.random.default_rng(step), []
    for index in range(64):
        a, b, c = (int(x) for x in rng.integers(1, 30, 3))
        correct = rng.uniform() < right
        answer = f"{a}*{b}+{c}" if correct else f"{a}+{b}*{c}"
        rows.append({"step": step, "problem": f"countdown/{index // 8}", "prompt": f"{a} {b} {c} = {a * b + c}",
                     "text": answer, "reward": float(correct), "advantage": 1.32 if correct else -0.76,
                     "member": index % 8 - 1, "sigma": 0.1 if index % 8 else 0.0, "length": len(answer) + 1,
                     "ended": True, "weight": 0.97})  # fmt: skip
    return rows


def _write_reasoning(
    folder: Path, steps: int = 120, *, drop: tuple[str, ...] = (), labels: bool = True, problems: int = 64, n: int = 256
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(REASONING))
    table = reasoning_rows(steps)
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in table[0] if name not in drop], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(table)
    rows = [row for step, right in ((1, 0.2), (2, 0.25), (steps, 0.6)) for row in _samples(step, right)]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if labels:
        for label, step, gain in (("base", 0, 0.0), ("step-000060", 60, 0.1), ("trained", steps, 0.22)):
            _judge(folder, label, step, gain, problems, n)
        _judge(folder, "trained-noisy", steps, 0.16, problems, n, noisy=True)
    return folder


@pytest.fixture
def write_reasoning() -> Callable[..., Path]:
    """``write_reasoning(folder, steps, drop=columns, labels=...)`` makes the folder of a reasoning run."""
    return _write_reasoning


@pytest.fixture
def walker_rollout() -> dict[str, Any]:
    return walker()


@pytest.fixture
def cartpole_rollout() -> dict[str, Any]:
    return cartpole()


@pytest.fixture
def beside() -> Callable[..., dict[str, Any]]:
    """``beside(*levels)`` makes a rollout of three side by side."""
    return _beside


def _module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def studies():
    """The module that writes study folders."""
    return _module("studies")


@pytest.fixture(scope="session")
def reasoning_studies():
    """The module that writes folders of reasoning studies."""
    return _module("reasoning_studies")
