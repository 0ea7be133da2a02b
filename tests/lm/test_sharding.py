"""Meshes, rules, and eight devices that compute what one does."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from jax.sharding import AxisType, PartitionSpec

from jaxpsn.core import mesh as meshes
from jaxpsn.core.errors import UserError
from jaxpsn.lm import model, sharding
from jaxpsn.lm.config import tiny
from jaxpsn.lm.folders import hub
from tests.devices import environment
from tests.lm.oracle import GOLDEN

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    command = [sys.executable, "-W", "error", "-m", "tests.lm.spread", tmp_path_factory.mktemp("exports")]
    done = subprocess.run(command, cwd=ROOT, env=environment(8), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["devices"] == 8
    return found


def test_eight_devices_compute_what_one_does(eight):
    assert eight["logits"] < 1e-5 and eight["gradient"] < 1e-5, eight


@pytest.mark.parametrize(("spread", "shape", "readings"), [(False, [2, 48, 40], 2), (True, [2, 12, 40], 8)])
def test_each_device_gets_its_part_and_no_part_is_read_twice(eight, spread, shape, readings):
    found = eight[f"spread={spread}"]
    assert found["parameters"] and (found["up"], found["readings"]) == (shape, readings)
    assert found["largest"] == 1 / (8 if spread else 2), "never a whole matrix"


def test_noise_is_bit_identical_on_any_layout(eight):
    assert eight["draws"]
    assert eight["noise"] > 0.1 and eight["noisy logits"] < 1e-5, eight


def test_exports_of_one_and_of_many_devices_are_the_same_bytes(eight):
    assert eight["exports"]


def test_two_processes_load_their_halves_and_export_together(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-W", "error", "-m", "tests.lm.spread", tmp_path, port]
    running = [
        subprocess.Popen([*command, index], cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
        for index in ("0", "1")
    ]  # fmt: skip
    said = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said[0][-2000:] + said[1][-2000:]
    hub.save(tmp_path / "one", hub.read_config(GOLDEN / "qwen3"), hub.load(GOLDEN / "qwen3"), shard_bytes=50_000)
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert len(files) > 3
    assert {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()} == files


def test_a_mesh_has_auto_axes():
    for spec in ("data=1,model=1", "model=1", {"data": 1}):
        mesh = meshes.make_mesh(spec)
        assert dict(mesh.shape) == {"data": 1, "model": 1} and set(mesh.axis_types) == {AxisType.Auto}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("data=64,model=2", "data=64,model=2.*at most the 1 devices"),
        ("data=1,pipe=1", "mesh = 'pipe'.*data, model"),
        ("data=0", "mesh data = 0"),
        ("data", "written like data=2,model=4"),
        ("data=1,data=1", "written like"),
        ("data=-1", "written like"),
        ("", "written like"),
        ({"data": True}, "mesh data = True"),
    ],
)
def test_meshes_that_cannot_be_are_refused(spec, says):
    with pytest.raises(UserError, match=says):
        meshes.make_mesh(spec)


def test_rules_cover_the_tree_and_leave_norms_alone():
    config = hub.read_config(GOLDEN / "llama-linear")
    found = sharding.rules(config, spread=True)
    assert found["embed"]["embedding"] == PartitionSpec("model", "data")
    assert found["layers"]["mlp"]["down"]["kernel"] == PartitionSpec(None, "model", "data")
    assert found["layers"]["attention"]["q"]["bias"] == PartitionSpec(None, "model")
    assert found["layers"]["attention"]["o"]["bias"] == found["final_norm"]["scale"] == PartitionSpec()
    plain = sharding.rules(config)
    assert plain["layers"]["mlp"]["up"]["kernel"] == PartitionSpec(None, None, "model")
    leaves = jax.tree.leaves(plain, is_leaf=lambda leaf: isinstance(leaf, PartitionSpec))
    assert len(leaves) == len(jax.tree.leaves(model.init(config, jax.random.key(0))))


@pytest.mark.parametrize(("model_axis", "field"), [(2, "num_heads = 5"), (5, "num_heads = 4"), (4, "num_kv_heads = 2")])
def test_heads_that_the_model_axis_does_not_divide_are_refused(model_axis, field):
    config = hub.read_config(GOLDEN / "qwen3")
    if field == "num_heads = 5":
        config = tiny(20, 40, 1, 5)
    mesh = jax.sharding.AbstractMesh((1, model_axis), meshes.AXES, axis_types=(AxisType.Auto,) * 2)
    with pytest.raises(UserError, match=f"mesh model = {model_axis}: a divisor of the decoder's {field}"):
        sharding.shardings(config, mesh)


def test_a_vocabulary_that_does_not_divide_stays_whole():
    mesh = jax.sharding.AbstractMesh((4, 2), meshes.AXES, axis_types=(AxisType.Auto,) * 2)
    found = sharding.shardings(tiny(23, 64, 1, 4), mesh, spread=True)
    assert found["embed"]["embedding"].spec == PartitionSpec(None, "data")


def test_another_mesh_is_refused():
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(AxisType.Auto,))
    with pytest.raises(UserError, match="data and model"):
        sharding.shardings(tiny(20), mesh)
