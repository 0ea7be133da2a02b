"""Presets and structures compiled for accelerators that are not here (make test-compile): bytes, launches, no W + E."""

import json
from functools import cache
from pathlib import Path

import jax
import pytest
from benchmarks import compile
from benchmarks.compile_options import ACTING, DECODING, PROGRAMS, STEP, Compile
from benchmarks.compiler import targets
from benchmarks.fits_options import Fits

from jaxpsn.control.presets import PRESETS
from jaxpsn.noise.structures import STRUCTURES
from jaxpsn.rlvr.presets import PRESETS as RLVR_PRESETS
from jaxpsn.run import exported

pytestmark = [pytest.mark.compile, pytest.mark.timeout(7200), pytest.mark.usefixtures("optimised")]

BUDGETS = json.loads((Path(__file__).parent / "budgets.json").read_text())
"""What was counted when it was last looked at, by version of JAX, target and program."""
GPU, TPU = "h200:4", "v5e:2x2"
_TASK = ("--env.name", "sparse_cartpole_swingup", "--env.num-envs", "4096")
WIDE = ("--preset", "gpu", *_TASK, "--explore", "parameter")


@cache
def rows(target, home, *flags, structures=(), programs=(), clean=True):
    """What the worker makes of these flags."""
    options = Compile(target=target, home=home, flags=flags, structures=structures, programs=programs, clean=clean)
    return compile.compiled(options, targets.parse(target))


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    """What was compiled of these sources before is not compiled again."""
    monkeypatch.delenv(exported.SWITCH, raising=False)


@cache
def asked(target, home, preset):
    """What the worker makes of a preset on one device, as the table of what fits asks it (compiled once for both)."""
    options = Fits(targets=(target,), **{"control": (), "rlvr": (), home: (preset,)}).asked()[0]
    return compile.compiled(options, targets.parse(target))


def programs(found):
    """The whole programs among rows, by (program, arm)."""
    return {(row["program"], row["arm"]): row for row in found if row.get("phase") == "all"}


@pytest.mark.parametrize("target", ["h200", TPU])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_of_control_compiles_and_gives_its_state_away(preset, target):
    if preset == "pqn-minatar":
        pytest.importorskip("pgx_minatar")
    found = programs(asked(target, "control", preset))
    steps = [row for (program, _), row in found.items() if program == "vector step"]
    assert steps and all(row["fits"] for row in found.values())
    for row in steps:
        assert row["aliased_bytes"] >= 0.99 * row["argument_bytes"]


@pytest.mark.parametrize("target", ["h200", TPU])
@pytest.mark.parametrize("preset", [name for name in RLVR_PRESETS if not name.startswith("paper")])
def test_every_preset_of_reasoning_compiles(preset, target):
    found = programs(asked(target, "rlvr", preset))
    found |= programs(rows(target, "rlvr", "--preset", preset, programs=(DECODING,), clean=False))
    assert {name for name, _ in found} == {"decoding step", "rollout", "update"}
    assert all(row["fits"] for row in found.values())
    update = found["update", "none"]
    assert update["aliased_bytes"] >= 0.5 * update["argument_bytes"]  # weights and moments, not the batch


@pytest.mark.parametrize("target", [GPU, TPU])
@pytest.mark.parametrize("home", ["control", "rlvr"])
def test_over_a_mesh_programs_talk_to_each_other(home, target):
    narrow = ("--dtype", "bfloat16") if home == "rlvr" else ()  # so that texts go to cuDNN
    wanted = PROGRAMS[home] if home == "control" else ("rollout", "update")
    found = programs(rows(target, home, "--preset", "smoke", "--mesh", "data=4", *narrow, programs=wanted, clean=False))
    talking = [row for (program, _), row in found.items() if program in ("vector step", "update")]
    assert talking and all(row["collective_bytes"] > 0 for row in talking)
    # Weights are kept in shares and read whole, answers are told to all devices; the texts that they are read from are
    # neither.
    read = [row["collectives"] for (program, _), row in found.items() if program == "rollout"]
    assert target == TPU or all(row.startswith("2 all-gather, ") for row in read), read


@pytest.mark.parametrize("target", [GPU, TPU])
def test_no_structure_but_dense_forms_a_perturbed_matrix(target):
    structures = tuple(STRUCTURES.names())
    found = programs(rows(target, "control", *WIDE, structures=structures, programs=(ACTING,)))
    whole = 4096 * 256 * 256
    for name in structures:
        held = STRUCTURES.make(name)
        row = found["acting", name]
        assert (row["largest_array"] >= whole) == (type(held).__name__ == "Dense"), name


@pytest.mark.parametrize("target", [GPU, TPU])
def test_counts_are_within_their_budgets(target):
    known = BUDGETS.get(jax.__version__, {}).get(target.partition(":")[0])
    if known is None:
        pytest.skip(f"nobody has counted with JAX {jax.__version__}")
    found = programs(rows(target, "control", *WIDE, structures=tuple(STRUCTURES.names()), programs=(ACTING,)))
    if any(name.startswith("vector step") for name in known):
        found |= programs(rows(target, "control", *WIDE, programs=(STEP,)))
    counted = {
        f"{program}, {arm}": {name: row[name] for name in ("kernels", "waits")} | {"megabytes": row["bytes"] / 1e6}
        for (program, arm), row in found.items()
    }
    for name, budget in known.items():
        assert {field: counted[name][field] <= most for field, most in budget.items()} == dict.fromkeys(budget, True), (
            name
        )
