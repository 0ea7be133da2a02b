"""A step over eight devices, and over two processes, is the step of one device."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.rlvr.placement import Placement
from tests.devices import environment

SCRIPT = str(Path(__file__).parent / "spread.py")
CASES = ("members", "ivon")
pytestmark = pytest.mark.timeout(1500)  # several processes that compile, maybe on two cores


def start(devices, *arguments):
    return subprocess.Popen(
        [sys.executable, SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(devices),
        start_new_session=True,
    )


def results(*processes):
    """What each of them printed; none outlives the call."""
    try:
        told = [process.communicate(timeout=1200) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert all(process.returncode == 0 for process in processes), "\n".join(said[-3000:] for _, said in told)
    return [json.loads(out.splitlines()[-1]) for out, _ in told]


@pytest.fixture(scope="module")
def one():
    """One step of each case on one device."""
    return results(start(1, "one"))[0]


def agree(one, other):
    for name in CASES:
        a, b = one[name], other[name]
        assert a["noise"] == b["noise"], "perturbations are the same bit for bit"
        assert a["tokens"] == b["tokens"]
        for column in ("loss", "grad_norm", "reward", "sigma", "ratio_mean"):
            assert a[column] == pytest.approx(b[column], abs=1e-5, rel=1e-5), column
        np.testing.assert_allclose(a["log_probs"], b["log_probs"], atol=1e-4)
        np.testing.assert_allclose(a["moved"], b["moved"], rtol=1e-4)
        assert str(a["judged"]) == str(b["judged"])


def test_eight_devices_agree_with_one(one):
    (found,) = results(start(8, "mesh"))
    assert found["devices"] == [8, 1] and one["devices"] == [1, 1]
    agree(one, found)


def test_two_processes_agree_with_one(one):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    found = results(*(start(2, number, port) for number in ("0", "1")))
    assert found[0]["devices"] == [4, 2]
    assert json.dumps(found[0]) == json.dumps(found[1]), "to the last bit between themselves"
    agree(one, found[0])


def test_problems_that_the_mesh_does_not_divide_are_refused():
    place = Placement("data=1")
    place.check("rollout.prompts", 3)
    assert (place.parts, Placement(None).parts) == (1, 1)
    with pytest.raises(UserError, match="mesh = 'data:2': written like data=2,model=4"):
        Placement("data:2")
