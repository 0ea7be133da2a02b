import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benchmarks import acting, answers_options, command, contenders, memory, options, startup, tables, timing, updating
from benchmarks.contenders import Contender, Scene

from jaxpsn.control.presets import PRESETS
from jaxpsn.core import spec_of
from jaxpsn.core.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SIZES = (27, 256, 256, 8)


def _run(arguments, folder, stem=None):
    """The table that the command line leaves, and what its JSON says."""
    command.run(command.parse([*arguments.split(), "--out", str(folder)]))
    path = folder / f"{stem or arguments.split()[0]}.csv"
    picture = path.with_suffix(".svg").read_text()
    assert picture.startswith("<svg ") and len(picture) < 150_000
    with open(path, newline="") as file:
        return list(csv.DictReader(file)), json.loads(path.with_suffix(".json").read_text())


@pytest.mark.parametrize(
    "line",
    [
        "actng", "acting --forms flipot", "acting --members 0", "acting --rounds 0", "acting --seconds nan",
        "acting --memory-mib 0", "acting --sizes 4", "acting --steps 0", "acting --groups 0", "acting --nonsense 1",
        "training --calls 0", "training --rules gausian", "training --rules none+gaussian", "training --rules",
        "training --structures lowrak", "training --preset defalt", "training --num-envs 0", "startup --rounds 0",
        "memory --forms dense-bf61", "replay --capacities 3", "replay --rounds 0", "decoding --tokens 0", "",
        "updating --replicas 3", "updating --longest 9", "steps --samples 6", "steps --trl nowhere",
        "steps --tunix nowhere", "steps --arms grop",
    ],
)  # fmt: skip
def test_bad_options_are_refused_in_one_line(line):
    with pytest.raises(UserError) as caught:
        command.parse(line.split())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line, said",
    [
        ("acting --sizes 4 8 1 --env probe/action", "first 1 and last 1"),
        ("acting --env nowhere", "nearest"),
        ("startup --env halfcheetahh", "nearest: halfcheetah"),
        ("memory --env halfcheetahh", "nearest: halfcheetah"),
        ("reasoning --preset defalt", "nearest: default"),
    ],
)
def test_a_task_that_does_not_fit_is_refused_before_anything_is_measured(line, said, tmp_path):
    with pytest.raises(UserError, match=said):
        command.run(command.parse([*line.split(), "--out", str(tmp_path)]))
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="here lies a file"):
        command.run(options.Replay(out=tmp_path / "taken"))


def test_the_script_answers_mistakes_at_once():
    script = str(ROOT / "experiments" / "benchmark.py")
    code = (
        f"import sys, runpy; sys.argv = ['x', 'actng']; sys.path.insert(0, {str(ROOT / 'experiments')!r})\n"
        f"try: runpy.run_path({script!r}, run_name='__main__')\n"
        "except SystemExit as stop: print(stop.code, bool({'brax', 'mujoco', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"] and "nearest: acting" in done.stderr and done.stderr.count("\n") == 1


def test_what_is_recorded_names_no_place_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = {
        "out": tmp_path / "results",
        "trl": "/elsewhere/env/bin/python",
        "arms": ("grpo", "tis, fixed"),
        "rounds": 3,
    }
    assert tables.neutral(told) == {"out": "results", "trl": "python", "arms": ["grpo", "tis, fixed"], "rounds": 3}
    assert tables.neutral([f"{tmp_path}/experiments/benchmark.py", "steps", "--out", "results"]) == [
        "experiments/benchmark.py", "steps", "--out", "results",
    ]  # fmt: skip


@pytest.mark.parametrize("number", [3, 6, 9, 25])
def test_the_interval_of_a_median_holds_it_as_often_as_it_says(number):
    """The k-th least and the k-th largest of n lie around the median but for ``2 P(fewer than k of n below it)``."""
    low, high = timing.median_interval(np.random.default_rng(0).permutation(number) + 1.0)
    skipped = int(low) - 1
    assert low + high == number + 1 and low < high
    outside = 2 * sum(math.comb(number, below) for below in range(skipped + 1)) / 2**number
    wider = outside + 2 * math.comb(number, skipped + 1) / 2**number
    assert (outside <= 0.05 or skipped == 0) and wider > 0.05


def test_all_runs_what_needs_the_device_to_itself_first(tmp_path):
    parts = options.All(out=tmp_path).parts()
    assert [part.name for part in parts] == ["startup", "memory", "acting", "training"]
    assert all(part.out == tmp_path for part in parts)


def test_forms_have_the_names_that_the_command_line_knows():
    assert tuple(contenders.KINDS) == options.STRUCTURES


def test_acting_compares_within_each_number_and_names_what_it_leaves_out(tmp_path):
    rows, told = _run(
        "acting --members 4 18 --sizes 1 8 1 --forms flipout dense --memory-mib 0.001 --env probe/action --env-most 4"
        " --rounds 2",
        tmp_path,
    )
    for members, names in (("4", ["clean", "vmap", "flipout", "dense"]), ("18", ["clean", "flipout"])):
        of = [row for row in rows if row["members"] == members]
        step = [row for row in of if row["part"] == "policy step"]
        task = [row for row in of if row["part"] == "environment step"]
        redraws = [f"{name} + redraw{few}" for name in names[-2 + (members == "18") :] for few in ("", " 1%")]
        assert sorted(row["name"] for row in step) == sorted(names + redraws)
        assert [row["name"] for row in task] == names * (members == "4")
        for row in (*step, *task):
            assert float(row["ratio_low"]) <= float(row["ratio"]) <= float(row["ratio_high"])
            assert float(row["seconds"]) > 0 and row["rounds"] == "2" and bool(row["vmap_ratio"]) == (members == "4")
        assert {float(row["ratio"]) for row in (step[0], *task[:1])} == {1.0}
    left = {row["name"]: row["left_out"] for row in rows if row["left_out"]}
    assert left.keys() == {"vmap", "dense", "environment step"} and "env_most = 4" in left["environment step"]
    assert (
        left["dense"] == "1,944 bytes, more than memory_mib = 0.001"
    )  # 18 members x (25 entries, a counter, a number)
    assert told["machine"]["device"] and told["versions"]["jax"] and told["options"]["members"] == [4, 18]


def test_groups_that_do_not_divide_the_members_are_named():
    shown = options.Acting(groups=4, forms=("dense-groups",), members=(18,))
    ways, left = acting.choose(Scene(18, (1, 8, 1), 4), shown)
    assert list(ways) == ["clean", "vmap"] and left == {"dense-groups": "18 members are no multiple of 4 groups"}


def _scene(members=6, groups=3):
    scene = Scene(members, (3, 8, 2), groups)
    key = jax.random.key(0)
    return scene, key, scene.params(key), scene.observations(key)


def test_members_of_a_group_act_with_its_draw():
    scene, key, params, obs = _scene()
    way = scene.ways(("dense-groups",))["dense-groups"]
    held = way.hold(key, params)
    found = way.act(params, held, obs)
    for member in range(6):
        weights = contenders.KINDS["dense"].materialise(params, held, contenders.SIGMA, member // 2)
        np.testing.assert_allclose(found[member], scene.policy.apply(weights, obs[member]), atol=1e-5)


def test_formed_weights_act_as_the_noise_they_were_formed_with():
    scene, key, params, obs = _scene()
    ways = scene.ways(("flipout",))
    found = [ways[name].act(params, ways[name].hold(key, params), obs) for name in ("flipout", "vmap", "clean")]
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert np.abs(found[0] - found[2]).min() > 1e-5


def test_a_redraw_renews_those_it_names_and_no_others():
    scene, key, params, obs = _scene()
    contender = Contender(scene.ways(("flipout",))["flipout"], 1, key, params)
    where = jnp.arange(6) == 2
    before = contender.act(where, obs)
    np.testing.assert_array_equal(contender.act(where, obs), before)
    after = contender.renew(where, obs)
    assert (np.abs(after - before).max(axis=1) > 1e-5).tolist() == where.tolist()
    assert np.abs(contender.follow(where, obs) - after)[2].max() > 1e-5


def test_many_steps_redraw_before_each():
    scene, key, params, obs = _scene()
    way = scene.ways(("flipout",))["flipout"]
    held = way.hold(key, params)
    action, after = contenders.advance(way, 3, True, key, params, held, jnp.arange(6) < 2, obs)
    assert action.shape == (6, 2) and after.counter.tolist() == [3, 3, 0, 0, 0, 0]


def test_a_task_goes_on_while_its_episodes_end_at_all_times():
    task = acting.Task("probe/held_exploration", None, (1, 8, 1))
    state = task.start(200)
    ages = np.asarray(state.age)
    assert ages[0] == 0 and (np.diff(ages) >= 0).all() and ages.max() == task.start(1000).age.max() > 0
    scene = Scene(200, (1, 8, 1), 1)
    key = jax.random.key(0)
    params = scene.params(key)
    contender = Contender(scene.ways(("flipout",))["flipout"], 1, key, params)
    stepper = task.stepper(contender, 200, 3)
    stepper()
    assert int(stepper._state.episode.sum()) > 0  # episodes ended
    assert int(contender._held.counter.sum()) > 0  # and their noise was renewed
    assert int(contender._held.counter.sum()) <= int(stepper._state.episode.sum())


def test_rounds_end_at_the_limit_but_not_before_the_fewest():
    assert timing.measure({"a": lambda: jnp.zeros(())}, 50, limit=0.0).shape == (timing.FEWEST, 1)
    assert timing.measure({"a": lambda: jnp.zeros(())}, 3, limit=0.0).shape == (3, 1)


def test_ratios_are_taken_within_a_round():
    seconds = np.array([[1.0, 2.0], [10.0, 30.0], [100.0, 100.0]])
    first, second = timing.compare(["a", "b"], seconds)
    assert (first.ratio, second.ratio, second.seconds, second.best) == (1.0, 2.0, 30.0, 2.0)
    assert second.ratio_low == pytest.approx(1.2) and second.ratio_high == pytest.approx(2.8)
    assert timing.compare(["a", "b"], seconds, "b")[0].ratio == 0.5


def test_bytes_of_a_member_are_exact():
    weights, biases = 27 * 256 + 256 * 256 + 256 * 8, 256 + 256 + 8
    scene = Scene(64, SIZES, 16)
    ways = scene.ways(("flipout", "lowrank", "dense-bf16", "dense-groups"))
    found = {name: memory.state_row(scene, way) for name, way in ways.items()}
    assert found["clean"] == {}
    # Beside the noise, a member has a counter and a number.
    assert found["flipout"]["noise_bytes"] == 136 and found["flipout"]["member_bytes"] == 144
    factors = (27 + 256) + (256 + 256) + 256 * 8 + biases  # the head is dense
    assert found["lowrank"]["noise_bytes"] == 4 * factors and found["lowrank"]["shared_bytes"] == 0
    assert found["dense-bf16"]["noise_bytes"] == 2 * (weights + biases)
    assert found["vmap"]["member_bytes"] == 4 * (weights + biases + 2 * 512) and found["vmap"]["weights"] == 1
    assert found["flipout"]["state_bytes"] == 64 * 144
    assert found["dense-groups"]["state_bytes"] == 16 * 4 * (weights + biases + 2)


def test_planned_bytes_count_what_is_written_in_place_once():
    rows = memory.acting_rows(Scene(4, (3, 8, 2), 1), ("dense",))
    clean, dense = rows[0], rows[2]
    counted = (dense[f"{name}_bytes"] for name in ("argument", "output", "temp"))
    assert dense["planned_bytes"] == sum(counted) - dense["alias_bytes"]
    assert dense["alias_bytes"] == dense["state_bytes"] == 4 * 4 * (24 + 8 + 16 + 2 + 2)  # the draw is donated
    assert clean["ratio"] == 1 and dense["ratio"] == dense["planned_bytes"] / clean["planned_bytes"] > 1


def test_a_random_base_is_held_once_for_all_members():
    scene = Scene(4, (3, 8, 2), 1)
    row = memory.state_row(scene, scene.ways(("flipout-sign",))["flipout-sign"])
    assert row["shared_bytes"] == 4 * (8 * (3 + 1) + 2 * (8 + 1))  # a column more for the bias
    assert row["member_bytes"] == 4 * (1 + 1 + 1 + 1) + 8 and row["state_bytes"] == 4 * 24 + row["shared_bytes"]


def test_training_tells_steps_and_updates_of_every_arm(tmp_path):
    common = "--env probe/action --preset smoke --num-envs 4 --calls 2 --rounds 2"
    rows, _ = _run(f"training {common} --rules none --structures flipout", tmp_path)
    assert [row["name"] for row in rows] == ["none", "flipout"] and float(rows[0]["ratio"]) == 1
    for row in rows:
        assert row["none_ratio"] == row["ratio"]
        assert float(row["steps_per_second"]) * float(row["seconds"]) == pytest.approx(8)
        updates = float(row["updates_per_second"]) * float(row["seconds"])
        assert updates == pytest.approx(2 * PRESETS["smoke"].agent.updates)


def test_arms_are_rules_then_structures_and_differ_in_exploration_alone():
    arms = options.Training(rules=("gaussian", "none", "ou"), structures=("lowrank",), num_envs=8).arms()
    assert list(arms) == ["gaussian", "none", "ou", "lowrank"]
    assert spec_of(arms["lowrank"].explore) == "parameter(structure=lowrank)"
    assert len({(arm.env, arm.agent) for arm in arms.values()}) == 1


def test_starts_are_compared_stage_by_stage():
    def start(factor):
        return {stage: factor * (place + 1) for place, stage in enumerate(startup.STAGES)}

    rounds = [
        {"none": {"cold": start(1.0), "warm": start(0.5)}, "flipout": {"cold": start(2.0), "warm": start(0.25)}}
    ] * 2
    rows = {(row["arm"], row["cache"], row["stage"]): row for row in startup.rows(["none", "flipout"], rounds)}
    assert len(rows) == 2 * 2 * (1 + len(startup.STAGES))
    warm = rows["flipout", "warm", "total"]
    assert warm["seconds"] == 0.25 * 21 and warm["cold_ratio"] == 0.125
    assert warm["base_ratio"] == 0.5 and warm["ratio"] == 0.25
    assert rows["flipout", "cold", "compile"]["ratio"] == 2


def test_a_fresh_process_tells_its_stages_and_its_bytes():
    config = options.Startup(env="probe/action", preset="smoke", num_envs=4).arms()["flipout"]
    told = startup.start_process(config, Path(os.environ["JAX_COMPILATION_CACHE_DIR"]))
    assert list(told["seconds"]) == list(startup.STAGES) and min(told["seconds"].values()) > 0
    assert told["bytes"]["argument_bytes"] > 0 and told["machine"]["platform"] == jax.default_backend()


@pytest.mark.slow
def test_a_fresh_process_says_in_one_line_what_it_cannot_do():
    config = options.Startup(env="probe/action", backend="mjx", preset="smoke", num_envs=4).arms()["none"]
    with pytest.raises(UserError, match=r"^env.backend = 'mjx'"):
        startup.start_process(config, None)


@pytest.mark.slow
def test_startup_and_memory_write_their_tables(tmp_path):
    common = "--env probe/action --preset smoke --num-envs 4 --rules none"
    rows, _ = _run(f"startup {common} --structures flipout --rounds 1", tmp_path)
    assert len(rows) == 4 * (1 + len(startup.STAGES))
    rows, _ = _run(f"memory {common} --members 4 --sizes 1 8 1 --forms flipout", tmp_path)
    assert [row["part"] for row in rows] == ["training step"] * 2 + ["acting step"] * 3


def test_replay_writes_a_row_for_every_capacity(tmp_path):
    rows, _ = _run("replay --capacities 64 512 --num-envs 8 --inserts 3 --rounds 2", tmp_path)
    assert [row["name"] for row in rows] == ["64 transitions", "512 transitions"]
    assert all(float(row["seconds"]) > 0 for row in rows)


def test_decoding_times_every_form_of_noise_against_the_clean_sampler(tmp_path):
    line = "decoding --hidden-size 16 --layers 1 --vocab 11 --members 2 --prompts 3 --tokens 2 --rounds 2"
    rows, _ = _run(line, tmp_path, "decoding-16")
    assert [row["name"] for row in rows][:2] == ["token: clean", "token: low rank 1, per sample"] and len(rows) == 10
    for row in rows:
        drawn = 6 if row["name"].startswith("token") else 12
        assert float(row["tokens_per_second"]) * float(row["seconds"]) == pytest.approx(drawn)


def test_the_update_of_long_answers_tells_the_tokens_that_it_reads():
    """Lengths of 100 to 1000 tokens: by a budget about as many as prompts and answers have; clean prompts once."""
    asked = answers_options.Updating()
    arms, batch = updating.arms(asked), updating.experience(asked)
    found = {name: updating.read(asked, algorithm, batch) for name, algorithm in arms.items()}
    tokens = int(np.sum(batch.answers.lengths + batch.prompts.lengths))
    assert found["tis"] == 4 * 64 + 32 * 1000 and found["pooled"] == 32 * 1064
    assert tokens < found["tis, token budget"] < 1.3 * tokens and tokens < found["pooled, token budget"] < 1.5 * tokens


@pytest.mark.slow
def test_reasoning_times_steps_and_their_phases(tmp_path):
    rows = {row["name"]: row for row in _run("reasoning --preset smoke --rounds 3", tmp_path)[0]}
    assert float(rows["grpo"]["ratio"]) == 1 and float(rows["psn, composite, probes reused"]["share_probe"]) > 0
    for row in rows.values():
        assert sum(float(row[name]) for name in row if name.startswith("share_")) == pytest.approx(1, abs=0.3)
