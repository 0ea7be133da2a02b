"""The reasoning job in two real processes over loopback: one folder, one view of the scores, and it goes on."""

import json
from pathlib import Path

import pytest

from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.run.cluster.team import Team
from jaxpsn.run.jobs import rlvr
from jaxpsn.run.reasoning import stages
from tests.run.test_distributed import ends, port, rows, start

SCRIPT = Path(__file__).parents[2] / "experiments" / "rlvr.py"


class Wire:
    """A key-value store in memory, as JAX's coordination service has it."""

    def __init__(self):
        self.said = {}

    def key_value_set(self, key, value, *_):
        self.said[key] = value

    def blocking_key_value_get(self, key, _):
        return self.said[key]

    def key_value_delete(self, key):
        self.said.pop(key, None)


@pytest.mark.timeout(1800)
def test_two_processes_make_one_run_and_go_on(tmp_path):
    def pair(*flags):
        where = ("--mesh", "data=2", "--coordinator", f"127.0.0.1:{port()}", "--processes", 2)
        shared = (*flags, *where, "--progress", "plain")
        return ends(*(start(*shared, "--process", index, script=SCRIPT) for index in (0, 1)))

    made = pair("--preset", "smoke", "--steps", 2, "--out", tmp_path, "--name", "run")
    run = tmp_path / "run"
    assert [(code, out.split()) for code, out, _ in made] == [(0, [str(run)]), (0, [])], made
    base = (run / "evaluations" / "base.json").read_bytes()
    made = pair("--resume", run, "--steps", 4)
    assert [code for code, _, _ in made] == [0, 0], "\n".join(said for _, _, said in made)
    assert [int(row["step"]) for row in rows(run)] == [0, 1, 2, 3, 4]
    assert (run / "evaluations" / "base.json").read_bytes() == base
    assert (run / "model" / "model.safetensors").exists() and (run / "report.html").exists()
    steps = [json.loads(line)["step"] for line in (run / "samples.jsonl").read_text().splitlines()]
    assert sorted(set(steps)) == [1, 2, 3, 4] and len({steps.count(step) for step in set(steps)}) == 1


def test_scores_are_those_that_the_first_process_finds():
    wire = Wire()
    first, second = Team(0, 2, wire), Team(1, 2, wire)
    wire.said["jaxpsn/said/1/1"] = "="
    assert stages._agreed(first, lambda problems, texts: [1, 0.5])([], []) == [1.0, 0.5]
    told = stages._agreed(second, lambda problems, texts: pytest.fail("it is not its business"))([], [])
    assert told == [1.0, 0.5]


def test_the_mesh_is_not_part_of_what_a_run_is():
    assert rlvr._content(rlvr.RlvrJob(RlvrConfig(mesh="data=2"))) == rlvr._content(rlvr.RlvrJob(RlvrConfig()))
