"""A control run on eight forced devices is the run of one: noise to the bit, returns to the rounding of sums."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.devices import environment

SCRIPT = Path(__file__).with_name("mesh.py")
# It compiles for eight devices, maybe on two busy cores.
pytestmark = [pytest.mark.timeout(1500), pytest.mark.usefixtures("optimised")]
CASES = [
    "sum",
    "evolution",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("flipout", "ladder", "sac", "xqc", "dqn", "pqn", "ppo")),
]


@pytest.fixture(scope="module", params=CASES)
def found(request, tmp_path_factory):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), request.param, str(tmp_path_factory.mktemp("mesh"))],
        capture_output=True, text=True, env=environment(8) | {"PYTHONPATH": str(SCRIPT.parents[2])}, timeout=1400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_noise_is_the_same_to_the_last_bit(found):
    for one, eight in found["noise"]:
        assert one == eight
    first, last = found["noise"]
    assert first != last, "perturbations were redrawn"


def test_states_and_returns_agree_to_rounding(found):
    assert max(found["first"].values()) < 1e-6, found["first"]
    assert max(found["last"].values()) < 1e-3, found["last"]
    assert found["last"]["clock"] == found["last"]["key"] == 0
    assert found["returns"][0] == pytest.approx(found["returns"][1], rel=1e-4)
    assert found["evaluation"][0] == pytest.approx(found["evaluation"][1], rel=1e-3)


def test_a_checkpoint_is_restored_on_either_layout(found):
    assert found["restored"]
    specs, wanted = found["cut"]
    assert specs and all(spec == wanted for spec in specs)
