"""What processes of one run tell each other, and what they refuse; the store between them is a dictionary."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.run import startup
from jaxpsn.run.cluster import distributed, team
from jaxpsn.run.cluster.team import Team
from jaxpsn.run.config import ClusterConfig, RunConfig


class Service:
    """JAX's key-value store, in this process."""

    def __init__(self):
        self.said, self.changed = {}, threading.Condition()

    def key_value_set(self, key, value, allow_overwrite=False):
        with self.changed:
            assert allow_overwrite or key not in self.said
            self.said[key] = value
            self.changed.notify_all()

    def blocking_key_value_get(self, key, milliseconds):
        with self.changed:
            if not self.changed.wait_for(lambda: key in self.said, milliseconds / 1000):
                raise ValueError("DEADLINE_EXCEEDED")
            return self.said[key]

    def key_value_try_get(self, key):
        with self.changed:
            if key not in self.said:
                raise ValueError("NOT_FOUND")
            return self.said[key]

    def key_value_delete(self, key):
        with self.changed:
            self.said.pop(key, None)


class Gone(Exception):
    """Instead of the end of the process."""


@pytest.fixture
def ended(monkeypatch):
    """What is said when a process ends itself."""
    said = []

    def leave(code):
        raise Gone(code)

    monkeypatch.setattr(startup, "complain", said.append)
    monkeypatch.setattr(team.os, "_exit", leave)
    return said


def together(count, work, timeout=5.0):
    """``work(team)`` in a thread for each of ``count`` processes: what it returned or raised, and the store."""
    service = Service()
    with ThreadPoolExecutor(count) as threads:
        made = [threads.submit(work, Team(process, count, service, timeout)) for process in range(count)]
        return [one.exception() or one.result() for one in made], service


def test_all_hear_all_in_order_and_the_store_does_not_grow():
    def work(own):
        return [own.gather(f"{own.process}{'' if own.process else ' '}{number}") for number in range(20)]

    found, service = together(3, work)
    assert found[0] == found[1] == found[2] == [[f"0 {n}", f"1{n}", f"2{n}"] for n in range(20)]
    assert len(service.said) == 3


def test_a_signal_to_one_is_a_signal_to_all():
    def work(own):
        return own.agree(None), own.agree(15 if own.process == 2 else None), own.tell(f"from {own.process}")

    assert together(3, work)[0] == [(None, 15, "from 0")] * 3
    assert Team().agree(None) is None and Team().agree(2) == 2 and Team().tell("x") == "x"


def test_hosts_that_differ_are_named_by_field():
    def work(own):
        run = RunConfig(seed=own.process // 2, progress="none" if own.process else "plain")
        own.alike(distributed.common(run, {"task": {"size": 3}}, mesh="data=3"))

    found, _ = together(3, work)
    assert all(isinstance(error, UserError) for error in found)
    assert {str(error) for error in found} == {"process 2 of 3 differs from process 0: run.seed = 1 (process 0: 0)"}
    assert together(2, work)[0] == [None, None], "the display is everyone's own"


def test_other_versions_are_refused(monkeypatch):
    found = {"python": "3.12.1", "jax": "0.12.0"}

    def work(own):
        record = distributed.common(RunConfig(), {})
        assert record["versions"].keys() >= {"python", "jax", "jaxlib"}
        own.alike(record | {"versions": found | ({"jax": "0.11.0"} if own.process else {})})

    error = together(2, work)[0][0]
    assert str(error) == "process 1 of 2 differs from process 0: versions.jax = '0.11.0' (process 0: '0.12.0')"


def test_one_that_does_not_answer_ends_the_others(ended):
    own = Team(0, 2, Service(), 0.01, advice=lambda: "go on with --resume runs/a")
    with pytest.raises(Gone, match="4"):
        own.gather("hello")
    assert ended == ["process 1 of 2 did not answer: DEADLINE_EXCEEDED; go on with --resume runs/a"]


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (lambda service, beat: None, "process 1 of 2 has said nothing for"),
        (lambda service, beat: service.key_value_set("jaxpsn/alive/1", f"0 {beat}", True), "process 1 of 2 is stuck"),
        (lambda service, beat: service.key_value_set("jaxpsn/alive/1", "ended: no disk", True), "ended: no disk"),
        (lambda service, beat: setattr(service, "key_value_set", None), "process 0 of 2 does not answer"),
    ],
    ids=["silent", "stuck", "ended", "no service"],
)
def test_the_watch_notices(ended, monkeypatch, says, why):
    monkeypatch.setattr(team, "PATIENCE", 2)
    service = Service()
    own = Team(0, 2, service, 0.4)
    own.begin()
    over, beats = threading.Event(), iter(range(1000))

    def other():
        while not over.wait(0.05):
            says(service, next(beats))

    talk = threading.Thread(target=other)
    talk.start()
    with pytest.raises(Gone, match="4"):
        own._watch()
    over.set()
    talk.join()
    assert len(ended) == 1 and why in ended[0]


def test_a_peer_that_keeps_up_is_left_alone():
    service = Service()
    own = [Team(process, 2, service, 0.4) for process in (0, 1)]
    for one in own:
        one.watch()
    assert not own[0]._over.wait(1.5)
    for one in own:
        one.close()


def test_errors_are_told_to_the_others_and_theirs_are_known(ended):
    service = Service()
    with pytest.raises(Gone, match="2"):
        Team(1, 2, service, 0.1).leave(UserError("no space"))
    assert service.said["jaxpsn/alive/1"] == "ended: no space" and ended[0].args == ("no space",)
    with pytest.raises(Gone, match="4"):
        Team(1, 2, service).leave(ValueError("Gloo all-reduce failed: Connection reset by peer"))
    assert ended[1].startswith("another process of the 2 is gone: Gloo all-reduce failed")


SLURM = {
    "SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "n[1-2]", "SLURM_NTASKS": "2", "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}  # fmt: skip
JAX = {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}


def test_where_a_process_finds_its_seat():
    flags = ClusterConfig(coordinator="node1:4321", processes=3, process=2)
    assert distributed.seat(flags, SLURM | JAX) == ("node1:4321", 3, 2)
    assert distributed.seat(ClusterConfig(), SLURM | JAX) == ("a:1", 4, 3)
    assert distributed.seat(ClusterConfig(process=0), JAX) == ("a:1", 4, 0)
    assert distributed.seat(ClusterConfig(), SLURM) == (None, 2, 1)
    assert distributed.seat(ClusterConfig(), SLURM | {"SLURM_NTASKS": "1"}) is None
    assert distributed.seat(ClusterConfig(), {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"}) is None, "a script of sbatch"
    assert distributed.seat(ClusterConfig(coordinator="a:1", processes=1, process=0), {}) is None


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"processes": 2}, "coordinator = None: needed with the other two"),
        ({"coordinator": "a:1", "processes": 2}, "process = None: needed with"),
        ({"coordinator": "a:1", "processes": 2, "process": 2}, "process = 2: below processes = 2"),
        ({"coordinator": "node1"}, "coordinator = 'node1': written like node1:4321"),
        ({"coordinator": "a:1", "processes": 0}, "processes = 0"),
        ({"peer_timeout": 1}, "peer_timeout = 1"),
    ],
)
def test_half_an_answer_is_refused(fields, says):
    with pytest.raises(UserError, match=says):
        distributed.seat(ClusterConfig(**fields), {})


def test_a_task_with_a_node_of_its_own_takes_all_accelerators():
    alone = {"SLURM_STEP_TASKS_PER_NODE": "1(x4)", "SLURM_GPUS_ON_NODE": "8"}
    assert distributed.local_devices(alone) == list(range(8))
    assert distributed.local_devices(alone | {"SLURM_STEP_TASKS_PER_NODE": "8(x2)"}) is None
    assert distributed.local_devices({}) is None


def test_several_processes_need_a_mesh():
    cluster = ClusterConfig(coordinator="a:1", processes=2, process=0)
    with (
        pytest.raises(UserError, match="mesh = None: data=N for a run of 2 processes"),
        distributed.joined(cluster, None),
    ):
        pass
    with distributed.joined(ClusterConfig(), None) as own:
        assert own is distributed.ALONE
