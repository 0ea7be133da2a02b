"""Checkpoints come back bit for bit, or are noticed, named, moved aside, and the last whole one is used."""

import itertools
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.run.checkpoints import store as checkpoints
from jaxpsn.run.checkpoints.store import CheckpointError, Store, digest
from tests.devices import environment


@flax.struct.dataclass
class State:
    clock: jax.Array
    keys: jax.Array
    tree: dict
    nothing: None = None


def make(step: int) -> State:
    values = jax.random.normal(jax.random.key(step), (5, 7))
    tree = {
        "half": values.astype(jnp.bfloat16), "flags": values > 0, "pair": (values, [values]),
        "empty": jnp.zeros((0, 3)), "special": jnp.array([jnp.nan, jnp.inf, -0.0, 1e-45], jnp.float32),
        "small": values.astype(jnp.int8),
    }  # fmt: skip
    keys = jax.random.split(jax.random.key(step, impl="rbg"), 3)
    return State(clock=jnp.int32(step), keys=keys, tree=tree)


TEMPLATE = jax.eval_shape(lambda: make(0))


def fill(folder, steps=(10, 20, 30), keep=5) -> Store:
    store = Store(folder, keep)
    for step in steps:
        store.save(step, make(step), {"format": 1, "at": step})
    store.wait()
    return store


def test_everything_comes_back_bit_for_bit(tmp_path):
    store = fill(tmp_path / "c")
    found = store.restore(TEMPLATE)
    assert found.step == 30 and found.info == {"format": 1, "at": 30} and found.broken == ()
    assert digest(found.state) == digest(make(30)) != digest(make(20))
    assert jax.tree.structure(found.state) == jax.tree.structure(make(0))
    assert jax.random.key_impl(found.state.keys) == jax.random.key_impl(make(0).keys)
    assert Store(tmp_path / "none", 2).restore(TEMPLATE) is None


def test_a_snapshot_outlives_donation(tmp_path):
    store = Store(tmp_path / "c", 2)
    state = {"x": jnp.arange(100_000, dtype=jnp.float32)}
    expected = digest(state)
    step = jax.jit(lambda s: jax.tree.map(lambda x: x * 2 + 1, s), donate_argnums=0)
    store.save(1, state, {})
    for _ in range(20):
        state = step(state)
    store.wait()
    assert digest(store.restore(jax.eval_shape(lambda: state)).state) == expected


def _seen(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_reader_takes_a_part_and_leaves_everything_as_it_is(tmp_path):
    store = fill(tmp_path / "c")
    (store.folder / f"{checkpoints.PARTIAL}40").mkdir()  # the run is saving
    before, part = _seen(store.folder), {"tree": {"pair": TEMPLATE.tree["pair"]}, "keys": TEMPLATE.keys}
    found = checkpoints.read(store.folder, part)
    wanted = make(30)
    assert found.step == 30 and found.info["at"] == 30
    assert digest(found.state) == digest({"tree": {"pair": wanted.tree["pair"]}, "keys": wanted.keys})
    assert checkpoints.read(store.folder, {"clock": TEMPLATE.clock}, step=20).state["clock"] == 20
    with pytest.raises(UserError, match=r"step = 25: a checkpoint in .*; there are: 10, 20, 30"):
        checkpoints.read(store.folder, part, step=25)
    with pytest.raises(UserError, match="holds another state: other is None"):
        checkpoints.read(store.folder, {"other": TEMPLATE.clock})
    with pytest.raises(UserError, match="no whole checkpoint"):
        checkpoints.read(tmp_path / "none", part)
    assert _seen(store.folder) == before


def test_a_reader_passes_over_what_is_broken_or_goes_away(tmp_path, monkeypatch):
    store, part = fill(tmp_path / "c"), {"clock": TEMPLATE.clock}
    max(_files(store.path(30)), key=lambda f: f.stat().st_size).write_bytes(b"")
    found = checkpoints.read(store.folder, part)
    assert found.step == 20 and "checkpoint 30 is broken" in found.broken[0] and store.path(30).is_dir()
    with pytest.raises(UserError, match="no whole checkpoint; checkpoint 30 is broken"):
        checkpoints.read(store.folder, part, step=30)
    whole = checkpoints._whole

    def deleted(path, *rest, **options):
        if path.name == "20":
            shutil.rmtree(path)
        return whole(path, *rest, **options)

    monkeypatch.setattr(checkpoints, "_whole", deleted)
    assert checkpoints.read(store.folder, part).step == 10


def test_only_the_newest_are_kept(tmp_path):
    store = fill(tmp_path / "c", steps=(1, 2, 3, 4), keep=2)
    assert store.steps() == [3, 4] and {p.name for p in store.folder.iterdir()} == {"3", "4"}


def _files(path):
    return sorted(p for p in path.rglob("*") if p.is_file() and p.stat().st_size)


def test_any_damage_to_any_file_is_survived(tmp_path):
    """No damage to any byte of the newest checkpoint gets past: the one before it is used."""
    whole = fill(tmp_path / "whole", steps=(10, 20))
    names = [file.relative_to(whole.folder) for file in _files(whole.path(20))]
    assert len(names) == 3
    for number, (name, how) in enumerate(itertools.product(names, ("flip", "truncate", "delete"))):
        store = Store(shutil.copytree(whole.folder, tmp_path / str(number)), 5)
        file = store.folder / name
        data = bytearray(file.read_bytes())
        if how == "flip":
            data[len(data) // 2] ^= 0x10
            file.write_bytes(data)
        elif how == "truncate":
            file.write_bytes(data[: len(data) // 2])
        else:
            file.unlink()
        found = store.restore(TEMPLATE)
        assert found.step == 10 and digest(found.state) == digest(make(10)), (file, how)
        assert "checkpoint 20 is broken" in found.broken[0] and store.path(20).is_dir()
        store.settle()
        assert (store.folder / "broken-20").is_dir() and store.steps() == [10]


def test_a_broken_checkpoint_is_named_and_saving_goes_on_below(tmp_path):
    store = fill(tmp_path / "c")
    file = max(_files(store.path(30)), key=lambda f: f.stat().st_size)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    found = store.restore(TEMPLATE)
    name = file.relative_to(store.path(30)).as_posix()
    assert found.step == 20
    assert found.broken == (f"checkpoint 30 is broken: {name} was altered; moved to {store.folder / 'broken-30'}",)
    store.save(25, make(25), {})
    store.save(30, make(31), {})
    store.wait()
    assert store.steps() == [10, 20, 25, 30]
    assert digest(store.restore(TEMPLATE).state) == digest(make(31))


def test_all_broken_is_an_error_and_loses_nothing(tmp_path):
    store = fill(tmp_path / "c", steps=(1, 2))
    for step in (1, 2):
        (store.path(step) / "checkpoint.json").write_text("{}")
    with pytest.raises(UserError, match="no whole checkpoint is left"):
        store.restore(TEMPLATE)
    assert store.steps() == [1, 2]
    with pytest.raises(UserError, match="no whole checkpoint is left"):  # and never "there is none yet"
        Store(store.folder, 5).restore(TEMPLATE)


def test_another_state_is_refused_and_left_alone(tmp_path):
    store = fill(tmp_path / "c")
    other = jax.eval_shape(lambda: make(0).replace(clock=jnp.zeros((2,), jnp.int32)))
    with pytest.raises(UserError, match=r"holds another state: clock is \[\[\], 'int32'\]"):
        store.restore(other)
    assert store.steps() == [10, 20, 30]


def test_leftovers_of_killed_saves_and_deletions_are_removed(tmp_path):
    store = fill(tmp_path / "c")
    (store.folder / f"{checkpoints.PARTIAL}40" / "more").mkdir(parents=True)
    (store.folder / f"{checkpoints.TRASH}5").mkdir()
    (store.folder / "notes").mkdir()
    again = Store(store.folder, 5)
    assert len(list(again.folder.iterdir())) == 6  # who only looks, or is refused, changes nothing
    again.settle()
    assert {p.name for p in again.folder.iterdir()} == {"10", "20", "30", "notes"}


def test_a_failed_save_is_reported_for_its_own_step(tmp_path, monkeypatch):
    store = fill(tmp_path / "c")

    def full(*_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: writing\n  No space left on device\n  tail")

    monkeypatch.setattr(checkpoints.shards.safetensors, "save_file", full)
    store.save(40, make(40), {})
    with pytest.raises(CheckpointError, match="step 40 was not written: No space left on device") as caught:
        while True:
            store.poll()
    assert caught.value.step == 40
    monkeypatch.undo()
    assert store.restore(TEMPLATE).step == 30


def test_writing_happens_in_the_background_and_commits_are_told_here(tmp_path, monkeypatch):
    gate, told = threading.Event(), []
    write = checkpoints.shards.safetensors.save_file
    monkeypatch.setattr(checkpoints.shards.safetensors, "save_file", lambda *a, **k: (gate.wait(10), write(*a, **k)))
    store = Store(tmp_path / "c", 2, told.append)
    store.save(1, make(1), {})
    store.poll()
    assert told == [] and store.last() is None
    gate.set()
    store.wait()
    assert told == [1] and store.last() == tmp_path / "c" / "1"


def test_a_save_that_vanishes_is_an_error(tmp_path, monkeypatch):
    store = Store(tmp_path / "c", 2)
    monkeypatch.setattr(checkpoints.shards, "save", lambda *a: None)
    store.save(7, make(7), {})
    with pytest.raises(CheckpointError, match="step 7"):
        store.wait()


def test_digest_sees_every_bit():
    state = {"a": jnp.zeros(3), "b": jnp.ones(3)}
    assert digest(state) != digest({"a": jnp.array([0.0, -0.0, 0.0]), "b": jnp.ones(3)})
    assert digest(state) != digest({"a": jnp.ones(3), "b": jnp.zeros(3)})
    assert digest(state) != digest({"a": jnp.zeros(3, jnp.int32), "b": jnp.ones(3)})
    assert digest(state) == digest({"b": np.ones(3, np.float32) + jnp.zeros(3), "a": jnp.zeros(3)})


def _on_eight_devices(mode, folder):
    env = environment(8) | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    script = Path(__file__).with_name("placed.py")
    done = subprocess.run([sys.executable, script, mode, folder], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_state_moves_from_eight_devices_to_one_and_back(tmp_path, placed):
    once = placed.step(placed.first())
    twice = placed.step(once)
    assert _on_eight_devices("save", tmp_path / "c") == [digest(once), digest(twice)]
    store = Store(tmp_path / "c", 5)
    found = store.restore(jax.eval_shape(placed.first))
    assert found.step == 1 and digest(found.state) == digest(once)
    store.save(2, placed.step(found.state), {})
    store.wait()
    third, fourth = placed.step(twice), placed.step(placed.step(twice))
    assert _on_eight_devices("restore", tmp_path / "c") == [digest(twice), digest(third), digest(fourth)]
