"""A checkpoint in shards, as several processes write it, is the state that one process reads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.run.checkpoints import layout, shards, store
from jaxpsn.run.checkpoints.shards import Shard
from jaxpsn.run.checkpoints.store import Store, digest
from jaxpsn.run.cluster.team import Team


def make(step):
    grid = jnp.arange(24, dtype=jnp.float32).reshape(4, 6) + step
    return {
        "clock": jnp.int32(step), "grid": grid, "half": grid[0].astype(jnp.bfloat16), "key": jax.random.key(step),
        "flags": grid > 9, "empty": jnp.zeros((0, 2)),
    }  # fmt: skip


TEMPLATE = jax.eval_shape(lambda: make(0))


def cut(step):
    """What each of two processes answers for: rows of one leaf, columns of others, and whole leaves of process 0."""
    whole = store.snapshot(make(step))
    first = {name: [Shard((0,) * whole[name].ndim, whole[name])] for name in ("clock", "key", "empty")}
    first |= {"grid": [Shard((0, 0), whole["grid"][:1]), Shard((1, 0), whole["grid"][1:2])]}
    first |= {"half": [Shard((0,), whole["half"][:2])], "flags": [Shard((0, 4), whole["flags"][:, 4:].copy())]}
    second = {"grid": [Shard((2, 0), whole["grid"][2:])], "half": [Shard((2,), whole["half"][2:])], "clock": []}
    second |= {"flags": [Shard((0, 0), whole["flags"][:, :4].copy())]}
    return first, second


def save(folder, step, parts):
    folder.mkdir(exist_ok=True)
    arrays = store.snapshot(make(step))
    described = {
        "arrays": {name: {"shape": list(array.shape), "dtype": array.dtype.name} for name, array in arrays.items()},
        "keys": {"key": str(jax.random.key_impl(make(step)["key"]))},
        "info": {"at": step},
    }
    with ThreadPoolExecutor(2) as threads:
        made = [
            threads.submit(shards.save, folder / str(step), Team(process, 2), part, described, threading.Event())
            for process, part in enumerate(parts)
        ]
        for one in made:
            one.result(30)


def test_shards_come_back_as_one_state(tmp_path):
    save(tmp_path / "c", 10, cut(10))
    found = Store(tmp_path / "c", 2).restore(TEMPLATE)
    assert (found.step, found.info, found.broken) == (10, {"at": 10}, ())
    assert digest(found.state) == digest(make(10))
    part = store.read(tmp_path / "c", {"half": TEMPLATE["half"]}).state
    assert digest(part) == digest({"half": make(10)["half"]})
    with pytest.raises(UserError, match="holds another state"):
        Store(tmp_path / "c", 2).restore(TEMPLATE | {"grid": jax.ShapeDtypeStruct((4, 4), jnp.float32)})


def test_a_process_that_comes_late_leaves_the_parts_of_the_others(tmp_path, monkeypatch):
    """Process 1 gets to the folder only when process 0 has written its part, however early it looked for it."""
    written, own = threading.Event(), {"write": shards.write, "rename": layout.rename}

    def rename(path):
        if threading.current_thread().name.endswith("_1"):
            assert written.wait(30)
        own["rename"](path)

    def write(folder, process, parts):
        own["write"](folder, process, parts)
        written.set()

    monkeypatch.setattr(layout, "rename", rename)
    monkeypatch.setattr(shards, "write", write)
    save(tmp_path / "c", 10, cut(10))
    assert Store(tmp_path / "c", 2).restore(TEMPLATE).step == 10


def test_what_is_no_folder_makes_room_for_parts(tmp_path):
    for make in (lambda path: path.write_text("mine"), lambda path: path.symlink_to(tmp_path / "nowhere")):
        path = tmp_path / "c" / f"{layout.PARTIAL}10"
        path.parent.mkdir(exist_ok=True)
        make(path)
        layout.rename(path)
        assert not path.exists() and not path.is_symlink()
    assert len(list((tmp_path / "c").iterdir())) == 2


@pytest.mark.parametrize("name", ["shards-0.json", "shards-1.json", "shards-1.safetensors", "checkpoint.json"])
@pytest.mark.parametrize("how", ["flip", "truncate", "delete"])
def test_damage_to_any_part_is_noticed(tmp_path, name, how):
    for step in (10, 20):
        save(tmp_path / "c", step, cut(step))
    file = tmp_path / "c" / "20" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x10
    if how == "delete":
        file.unlink()
    else:
        file.write_bytes(data if how == "flip" else data[: len(data) // 2])
    found = Store(tmp_path / "c", 2).restore(TEMPLATE)
    assert found.step == 10 and digest(found.state) == digest(make(10))
    assert "checkpoint 20 is broken" in found.broken[0] and name in found.broken[0]


def test_a_shard_that_no_process_had_is_noticed(tmp_path):
    first, second = cut(10)
    save(tmp_path / "c", 10, (first, second | {"grid": []}))
    with pytest.raises(UserError, match="checkpoint 10 is broken: grid is not whole"):
        Store(tmp_path / "c", 2).restore(TEMPLATE)


def test_a_shard_altered_between_memory_and_disk_is_noticed(tmp_path, monkeypatch):
    write = shards.safetensors.save_file
    monkeypatch.setattr(
        shards.safetensors,
        "save_file",
        lambda stored, file: write({name: np.roll(data, 1) for name, data in stored.items()}, file),
    )
    save(tmp_path / "c", 10, cut(10))
    with pytest.raises(UserError, match=r"the content of .* is not what was saved"):
        Store(tmp_path / "c", 2).restore(TEMPLATE)


def test_a_commit_that_will_not_come_is_not_waited_for(tmp_path):
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(OSError, match="process 1 wrote no shards"):
        shards.write(tmp_path / "part", 0, cut(10)[0])
        shards.collect(tmp_path / "part", 2, stop)
    with pytest.raises(OSError, match="never"):
        shards.wait(lambda: False, stop, "never")


def test_a_process_alone_owns_every_entry_once():
    state = {name: leaf for name, leaf in make(3).items() if name != "key"}
    for name, own in shards.snapshot(state).items():
        assert [(shard.start, shard.data.tolist()) for shard in own] == [
            ((0,) * state[name].ndim, np.asarray(state[name]).tolist())
        ]
