import csv
import importlib
import json
import os
import types

import numpy as np
import pytest
from benchmarks import command, gpu, gpu_tables, learning, price, scale_options, scaling, tables
from benchmarks.compiler import counts

from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.control.presets import PRESETS
from jaxpsn.control.schedule import Schedule
from jaxpsn.core import spec_of
from jaxpsn.core.errors import UserError

SMALL = "--env probe/action --preset smoke --num-envs 4 --calls 2 --rounds 2"


def _run(line, folder, name):
    command.run(command.parse([*line.split(), "--out", str(folder)]))
    with open(folder / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "line",
    [
        "seeds --seeds 0", "seeds --seeds", "seeds --preset spars", "seeds --calls 0", "seeds --num-envs 0",
        "scaling --devices 3", "scaling --devices 0", "gpu --parts actng", "gpu --parts", "gpu --policies 3",
        "gpu --precisions float16", "gpu --members 0", "gpu --num-envs 0", "gpu --minutes nan", "--preset gpuu",
        "gpu --preset quick", "gpu --seeds-preset spars", "gpu --forms flipot",
        "physics --num-envs 0", "physics --tasks", "physics --backend mjx", "physics --steps 0",
    ],
)  # fmt: skip
def test_bad_options_are_refused_in_one_line(line):
    with pytest.raises(UserError) as caught:
        command.parse(line.split())
    assert "\n" not in str(caught.value)


def test_the_gpu_preset_is_the_benchmark_gpu():
    assert command.parse("--preset gpu --minutes 1".split()) == scale_options.Gpu(minutes=1.0)


def test_the_first_sizes_of_every_part_are_compared_before_the_others():
    found = [(each.name, getattr(each, "members", getattr(each, "num_envs", None))) for each in _gpu().comparisons()]
    assert found == [
        ("acting", (4,)), ("acting", (4,)), ("training", 4), ("seeds", 8), ("learning", 4), ("decoding", 2),
        ("acting", (2,)), ("acting", (2,)), ("training", 8),
    ]  # fmt: skip
    asked = scale_options.Gpu(parts=("training",)).comparisons()
    assert [(each.env, each.num_envs, list(each.arms())) for each in asked[:3]] == [
        ("ant", 4096, ["none", "flipout"]), ("halfcheetah", 4096, ["none", "flipout"]), ("ant", 2048, ["parameter"]),
    ]  # fmt: skip


@pytest.mark.parametrize("counts", [(2,), pytest.param((1, 3), marks=pytest.mark.slow)])
def test_seeds_are_counted_together(counts, tmp_path):
    rows = _run(f"seeds {SMALL} --seeds {' '.join(map(str, counts))}", tmp_path, "seeds")
    assert [int(row["seeds"]) for row in rows] == list(counts) and float(rows[0]["per_seed"]) == 1
    for row in rows:
        count = int(row["seeds"])
        assert row["name"] == f"{count} seed{'s' * (count > 1)}"
        assert float(row["steps_per_second"]) * float(row["seconds"]) == pytest.approx(4 * 2 * count)
        assert float(row["per_seed"]) == pytest.approx(float(row["ratio"]) * counts[0] / count)


def test_physics_is_compared_task_by_task(tmp_path):
    line = "physics --tasks inverted_pendulum --num-envs 2 16 --steps 2 --rounds 2"
    rows = _run(line, tmp_path, "physics")
    assert [row["name"] for row in rows] == [
        f"inverted_pendulum, {n}: {way}" for n in (2, 16) for way in ("Brax", "lanes")
    ]
    assert [float(row["ratio"]) for row in rows[::2]] == [1, 1] and all(float(row["compiling"]) > 0 for row in rows)
    with pytest.raises(UserError, match="backend = 'spring': leave it out"):
        _run("physics --tasks cartpole_swingup", tmp_path, "physics")


def test_the_return_is_followed_until_the_time_is_up():
    asked = scale_options.Learning("probe/action", None, "smoke", 4, 2, seconds=1e-9)
    first, second = learning.table(asked).rows
    assert first["steps"] == first["trained"] == 0 and np.isfinite(first["eval_return"])
    assert second["steps"] == asked.steps == 8 and second["trained"] > 1e-9


def _gpu(**changed):
    small = dict(
        members=(4, 2), sizes=(1, 8, 1), forms=("flipout",), precisions=("tf32", "bfloat16"), steps=2,
        preset="smoke", envs=("probe/action",), num_envs=(4, 8), calls=2, learning_seconds=1e-9, seeds=(1, 2),
        seeds_preset="smoke", hidden_sizes=(16,), layers=1, rows=4, policies=(2,), tokens=2, dtype="float32",
        rounds=2, minutes=9.0,
    )  # fmt: skip
    return scale_options.Gpu(**(small | changed))


def _told(told, tmp_path):
    assert json.loads(json.dumps(told)) == json.loads((tmp_path / "gpu.json").read_text())
    assert str(tmp_path) not in json.dumps(told["options"])
    assert told["machine"]["device"] and told["versions"]["jax"]
    assert [each["benchmark"] for each in told["comparisons"]] == [
        "acting", "acting", "training", "seeds", "learning", "decoding",
    ]  # fmt: skip
    assert all(each["rows"] for each in told["comparisons"])
    page = gpu_tables.markdown(told)
    for heading in ("Acting", "Training", "Seeds", "Return", "Decoding"):
        assert f"**{heading}" in page
    assert "| flipout | 4 |" in page and "probe/action" in page and "clean policy step" in page


def _timed(name, **more):
    ratios = {f"{kind}{end}": 1.0 for kind in ("ratio", "none_ratio") for end in ("", "_low", "_high")}
    return {"name": name, "seconds": 1.0, "best": 1.0, **ratios, **more}


ROWS = {
    "training": [_timed("flipout", steps_per_second=4.0, updates_per_second=1.0)],
    "seeds": [_timed("2 seeds", seeds=2, steps_per_second=4.0)],
    "learning": [{"name": "probe/action", "steps": step, "trained": 1.0, "eval_return": 2.0} for step in range(30)],
    "decoding": [_timed("token: clean", tokens_per_second=9.0)],
}


def test_all_of_the_gpu_preset_lands_in_one_file(tmp_path, monkeypatch):
    real = importlib.import_module

    def module(name, *rest):
        part = name.rpartition(".")[2]
        rows = ROWS.get(part)
        return types.SimpleNamespace(table=lambda options: tables.Table(rows, {})) if rows else real(name, *rest)

    monkeypatch.setattr(gpu.importlib, "import_module", module)
    _told(gpu.run(_gpu(out=tmp_path, members=(4,), num_envs=(4,))), tmp_path)


@pytest.mark.parametrize(
    "dear, share, said", [(1.5, 1.04, "no kernel"), (1.6, 1.0, "calls for"), (1.0, 1.06, "calls for")]
)
def test_the_rule_for_kernels_is_applied(dear, share, said):
    parts = {
        "acting": ({"precision": "tf32"}, [_timed("clean", members=4), _timed("flipout", members=4) | {"ratio": dear}]),
        "training": ({"env": "ant", "num_envs": 4}, [ROWS["training"][0] | {"none_ratio": share}]),
    }
    told = {
        "machine": {"device": "none"}, "versions": {"jax": "0", "python": "3"}, "minutes": 1.0,
        "comparisons": [{"benchmark": name, "options": of, "rows": rows} for name, (of, rows) in parts.items()],
    }  # fmt: skip
    assert said in gpu_tables.markdown(told).splitlines()[-1]


@pytest.mark.slow
def test_all_of_the_gpu_preset_is_measured(tmp_path):
    _told(gpu.run(_gpu(out=tmp_path, members=(4,), num_envs=(4,))), tmp_path)


def test_what_fails_or_comes_too_late_is_left_out_by_name(tmp_path):
    told = gpu.run(_gpu(out=tmp_path, parts=("training",), envs=("nowhere",), num_envs=(4,)))
    assert "nearest" in told["comparisons"][0]["left_out"]
    told = gpu.run(_gpu(out=tmp_path, parts=("acting",), minutes=0.0))
    assert {each["left_out"] for each in told["comparisons"]} == {"no time left"}
    assert "no time left" in gpu_tables.markdown(told)


@pytest.mark.slow
def test_each_number_of_devices_has_a_process_of_its_own(tmp_path):
    rows = _run(f"scaling {SMALL} --devices 1 2", tmp_path, "scaling")
    assert [row["name"] for row in rows] == ["1 device", "2 devices"] and float(rows[0]["ratio"]) == 1
    assert all(float(row["steps_per_second"]) * float(row["seconds"]) == pytest.approx(8) for row in rows)
    assert "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", "")


def test_a_process_says_in_one_line_what_it_cannot_do():
    asked = scale_options.Scaling(env="nowhere", preset="smoke", num_envs=4, devices=(1,))
    worker = scaling.Worker(asked, 1)
    with pytest.raises(UserError, match="nearest"):
        worker.answer()
    worker.close()


def test_the_price_of_a_step_counts_what_is_rare_by_its_share():
    each = counts.Counts(kernels=4, bytes=16, flops=8)
    phases = dict.fromkeys(("act", "physics", "learn", "begin"), each)
    assert counts.total(price.per_step(phases, {"learn": 1 / 4})) == counts.Counts(kernels=9, bytes=36, flops=18)
    ppo, dqn = (
        types.SimpleNamespace(config=one, schedule=Schedule.from_config(one))
        for one in (PRESETS["ppo"], PRESETS["dqn-chain"])
    )
    assert price.shares(ppo) == {"learn": 1 / 32, "adapt": 1 / 32, "begin": 1 / 32}
    assert price.shares(dqn) == {"learn": 1, "adapt": 1 / 50}
    assert [price.whole(one.schedule, 40) for one in (ppo, dqn)] == [64, 50]


def test_the_price_of_a_step_is_that_of_its_products():
    """A network of 10, 16, 16 and 2: forwards, the targets too; backwards all weights, and all inputs but the first."""
    agent = "dqn(hidden=16x16, double=false, batch_size=32, updates=3, update_every=2, replay_capacity=1000, warmup=0)"
    config = ControlConfig(EnvConfig("chain(length=10)", num_envs=4), agent, "none", 2)
    forward, inputs = 10 * 16 + 16 * 16 + 16 * 2, 16 * 16 + 16 * 2
    found = price.of_step(config)
    assert found["learn"].flops == 2 * 32 * (3 * forward + inputs) * 3 / 2
    assert found["act"].flops == 2 * 4 * forward and "physics" not in found
    told = price.timed(config, config, rounds=2, calls=3)
    assert told["calls"] == 4 and told["rounds"] == 2
    assert 0 < told["seconds_ratio_low"] <= told["seconds_ratio"] <= told["seconds_ratio_high"]


def test_prices_that_are_there_are_not_taken_again(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(price, "of_step", lambda config: {"act": counts.Counts(flops=2, bytes=2)})
    monkeypatch.setattr(price.cache, "enable", lambda: None)

    def timed(noisy, clean, rounds, calls):
        asked.append((spec_of(noisy.agent)[:3], rounds))
        return {"seconds_ratio": 1.0, "seconds_ratio_low": 0.9, "seconds_ratio_high": 1.1, "rounds": rounds}

    monkeypatch.setattr(price, "timed", timed)
    for line in ("dqn --rounds 2", "dqn pqn --rounds 2", "pqn --rounds 1", "pqn --rounds 3"):
        rows = _run(f"price --presets {line}", tmp_path, "price")
    assert asked == [("dqn", 2), ("pqn", 2), ("pqn", 3)]
    assert [(row["name"], row["rounds"]) for row in rows] == [("dqn", "2"), ("pqn", "3")]


def test_what_is_priced_is_compared_with_all_else():
    pairs = command.parse(["price", "--presets", "dqn", "ppo"]).pairs()
    assert spec_of(pairs["dqn"][1].explore) == "epsilon_greedy(epsilon=0.01)"
    assert list(pairs) == ["dqn", "ppo", "ppo, clean"] and pairs["ppo, clean"][1].agent.estimator == "clean"
    with pytest.raises(UserError, match="presets = 'es': one whose agent also learns without"):
        command.parse(["price", "--presets", "es"])
