"""Whole runs of a program that works on the host between compiled phases: saved, left and resumed at any step."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.run import cadence, progress, status
from jaxpsn.run.checkpoints.store import digest
from jaxpsn.run.config import RunConfig
from jaxpsn.run.loggers import sinks
from jaxpsn.run.program import HostProgram, Program

SCRIPT = Path(__file__).with_name("fake_host.py")
ROOT = Path(__file__).resolve().parents[2]
UNTIMED = ("seconds", "steps_per_second")
SHORT = {"steps": 24, "chunk": 4, "eval_every": 8, "checkpoint_every": 12}


def table(folder):
    with (Path(folder) / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in UNTIMED} for row in csv.DictReader(file)]


def lines(folder, name):
    path = Path(folder) / name
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def left(outcome_or_folder):
    """All that a run leaves and that no clock decides."""
    folder = getattr(outcome_or_folder, "folder", outcome_or_folder)
    return table(folder), (Path(folder) / "samples.jsonl").read_bytes()


@pytest.fixture
def go(train, fake_host):
    """``go(program=None, **run)``: a short run of the fake."""
    return lambda program=None, **fields: train(program or fake_host.FakeHost(), **(SHORT | fields))


@pytest.fixture
def at_step(fake_host, monkeypatch):
    """``at_step(step, action)``: do something at the end of that step, from within it."""

    def arrange(step, action, where="_update"):
        init = fake_host.FakeHost.prepare

        def prepare(self, *args):
            init(self, *args)
            inner = getattr(self, where)

            def wrapped(state, *more):
                if where == "_judge" or int(state.clock) == step - 1:
                    action()
                return inner(state, *more)

            setattr(self, where, wrapped)

        monkeypatch.setattr(fake_host.FakeHost, "prepare", prepare)

    return arrange


def send(signum):
    """The signal, and the time that the watching thread takes to see it."""
    os.kill(os.getpid(), signum)
    time.sleep(0.3)


def crash_after(monkeypatch, step):
    """End the run as a crash would, right after the row of ``step`` was written."""
    write = sinks.Sinks.write

    def stop(self, rows):
        write(self, rows)
        if rows[0]["step"] == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(sinks.Sinks, "write", stop)


def test_the_two_kinds_are_told_apart(fake, fake_host):
    assert isinstance(fake_host.FakeHost(), HostProgram) and not isinstance(fake_host.FakeHost(), Program)
    assert isinstance(fake.Fake(), Program) and not isinstance(fake.Fake(), HostProgram)


def test_a_run_leaves_a_complete_folder(go, fake_host):
    program = fake_host.FakeHost()
    outcome = go(program, name="a", steps=22, progress="plain")
    assert outcome.finished and outcome.step == 22 and int(outcome.state.clock) == 22
    rows = table(outcome.folder)
    assert [int(row["step"]) for row in rows] == [0, 4, 8, 12, 16, 20, 22]
    assert [int(row["step"]) for row in rows if row["eval_pass_at_1"]] == [0, 8, 16, 22]
    assert [row["updates"] for row in rows] == ["", "8", "16", "24", "32", "40", "44"]
    assert not any(row["never"] for row in rows) and rows[0]["reward"] == ""
    evaluated = [("evaluate", step) for step in (8, 16, 22)]
    saved = [evaluated[0], "sync", evaluated[1], evaluated[2], "sync", "close"]
    assert program.calls == [("attach", -1), "init", ("evaluate", 0), *saved]
    assert sorted(p.name for p in (outcome.folder / "checkpoints").iterdir()) == ["12", "22"]
    samples = lines(outcome.folder, "samples.jsonl")
    assert [row["step"] for row in samples] == [step for step in range(1, 23) for _ in range(4)]
    assert samples[0].keys() == {"step", "text", "reward"}
    kinds = [event["event"] for event in lines(outcome.folder, "events.jsonl")]
    assert kinds == ["start", "compile", "checkpoint", "checkpoint", "stop"]


def test_a_row_is_the_mean_of_its_steps(go, fake_host, tmp_path):
    program = fake_host.FakeHost()
    program.prepare(program.template(), lambda text: None)
    program.attach(tmp_path, -1)
    state, seen = program.init(), []
    for _ in range(24):
        state, metrics = program.step(state)
        seen.append(metrics)
    program.close()
    outcome = go(name="a")
    assert digest(state) == digest(outcome.state)
    for row in table(outcome.folder)[1:]:
        part = seen[int(row["step"]) - 4 : int(row["step"])]
        assert float(row["reward"]) == pytest.approx(np.mean([m["reward"] for m in part]), rel=1e-6)
        assert float(row["rare"]) == pytest.approx(np.nanmean([m["rare"] for m in part]), rel=1e-6)
        total, count = (sum(m["length"][i] for m in part) for i in (0, 1))
        assert float(row["length"]) == pytest.approx(total / count, rel=1e-6)


def test_the_rhythm_leaves_the_state_alone(go):
    often, rarely = go(name="often", chunk=1, eval_every=1, checkpoint_every=1), go(name="rarely", chunk=100)
    assert digest(often.state) == digest(rarely.state)
    assert "eval_pass_at_1" not in table(go(name="never", eval_every=0).folder)[0]


@pytest.mark.parametrize("crash", [4, 8, 16, 24])
def test_a_crashed_and_resumed_run_is_the_uninterrupted_one(go, fake_host, monkeypatch, crash):
    whole, program = go(name="whole"), fake_host.FakeHost()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        crash_after(patch, crash)
        go(program, name="cut")
    assert program.calls[-1] == "close"
    with (whole.folder.parent / "cut" / "samples.jsonl").open("a") as file:
        file.write('{"step": 1, "te')
    again = go(name=None, resume="cut")
    assert digest(again.state) == digest(whole.state) and left(again) == left(whole)


@pytest.mark.parametrize("step", [1, 6, 12, 16, 24])
def test_a_signal_ends_the_step_and_the_rest_is_as_if_it_had_not_come(go, fake_host, at_step, monkeypatch, step):
    """Within a chunk, at its end, where an evaluation is due, and at the end of the run."""
    whole = go(name="whole")
    at_step(step, lambda: send(signal.SIGTERM))
    outcome = go(name="a")
    monkeypatch.undo()
    assert (outcome.status, outcome.step, outcome.reason) == (status.TERMINATED, step, "SIGTERM")
    assert (outcome.folder / "checkpoints" / str(step)).is_dir()
    program = fake_host.FakeHost()
    again = go(program, name=None, resume="a")
    assert digest(again.state) == digest(whole.state) and left(again) == left(whole)
    assert program.calls[:1] == [("attach", step)] and "init" not in program.calls
    assert (("evaluate", step) in program.calls) == (step in (16, 24))
    assert go(name=None, resume="a").finished and left(again) == left(whole)


def test_a_signal_during_an_evaluation_waits_for_it(go, at_step, monkeypatch, capsys):
    whole, sent = go(name="whole"), []
    at_step(None, lambda: sent.append(1) or (len(sent) == 2 and send(signal.SIGINT)), where="_judge")
    outcome = go(name="a", progress="plain")
    assert (outcome.status, outcome.step) == (status.INTERRUPTED, 8)
    assert "SIGINT: finishing this step, then saving" in capsys.readouterr().err
    monkeypatch.undo()
    assert left(go(name=None, resume="a")) == left(whole)


def test_a_run_left_within_a_chunk_and_killed_later_writes_each_row_once(go, at_step, monkeypatch):
    whole = go(name="whole")
    at_step(16, lambda: send(signal.SIGTERM))
    go(name="a")
    monkeypatch.undo()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        crash_after(patch, 20)
        go(name=None, resume="a", checkpoint_every=0)
    assert [row["step"] for row in table(whole.folder.parent / "a")][-2:] == ["16", "20"]
    again = go(name=None, resume="a")
    assert digest(again.state) == digest(whole.state) and left(again) == left(whole)


@pytest.mark.parametrize("error", [UserError("data = 'x': a file"), OSError(28, "No space left on device")])
@pytest.mark.parametrize("fail_at", [0, 2, 5, 12, 23])
def test_an_error_in_a_step_costs_that_step_only(go, fake_host, tmp_path, fail_at, error):
    program = fake_host.FakeHost(fail_at=fail_at, error=error)
    with pytest.raises(type(error)) as caught:
        go(program, name="a")
    assert caught.value is error and program.calls[-1] == "close"
    if fail_at == 0:  # nothing was trained: the folder goes away
        assert not (tmp_path / "a").exists()
        return
    steps = [int(p.name) for p in (tmp_path / "a" / "checkpoints").iterdir()]
    assert max(steps) == fail_at
    event = lines(tmp_path / "a", "events.jsonl")[-1]
    assert event["event"] == "stop" and event["detail"].startswith(f"{type(error).__name__}: {error}; ")
    assert "saved at step" in event["detail"]
    whole, again = go(name="whole"), go(name=None, resume="a")
    assert digest(again.state) == digest(whole.state) and left(again) == left(whole)


def test_an_error_in_the_evaluation_costs_nothing(go, fake_host, tmp_path):
    with pytest.raises(UserError):
        go(fake_host.FakeHost(fail_at=8, fail_in="evaluate"), name="a")
    assert [row["step"] for row in table(tmp_path / "a")] == ["0", "4"]
    whole, again = go(name="whole"), go(name=None, resume="a")
    assert digest(again.state) == digest(whole.state) and left(again) == left(whole)


@pytest.mark.parametrize("donate", [True, False])
def test_a_state_that_a_failed_step_took_apart_is_not_saved(go, fake_host, tmp_path, donate):
    with pytest.raises(ZeroDivisionError):
        go(fake_host.FakeHost(fail_at=18, fail_in="update", error=ZeroDivisionError("bug"), donate=donate), name="a")
    steps = sorted(int(p.name) for p in (tmp_path / "a" / "checkpoints").iterdir())
    assert steps == ([12] if donate else [12, 18])
    assert left(go(name=None, resume="a")) == left(go(name="whole"))


def test_what_is_not_finite_is_named_and_never_saved(go, fake_host, capsys):
    outcome = go(fake_host.FakeHost(nan_at=13), name="a")
    assert outcome.status == status.NOT_FINITE and outcome.step == 14
    assert outcome.reason == "not finite at step 14, seed 0: params/logits"
    last = outcome.folder / "checkpoints" / "12"
    assert capsys.readouterr().err == f"error: {outcome.reason}; the last good checkpoint is {last}\n"
    assert [p.name for p in last.parent.iterdir()] == ["12"]
    assert left(go(name=None, resume="a")) == left(go(name="whole"))


def test_several_seeds_are_refused(go):
    with pytest.raises(UserError, match="seeds = 2: 1, as this experiment"):
        go(name="a", seeds=2)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda state, metrics: (state, metrics | {"surprise": 1.0}), "did not name beforehand: surprise"),
        (lambda state, metrics: (state.replace(sigma=jnp.float32([0.1])), metrics), r"sigma is float32\(1,\)"),
        (lambda state, metrics: (state.replace(params={}), metrics), "another one"),
    ],
)
def test_a_program_that_breaks_its_word_is_stopped_at_once(go, fake_host, monkeypatch, broken, said):
    step = fake_host.FakeHost.step
    monkeypatch.setattr(fake_host.FakeHost, "step", lambda self, state: broken(*step(self, state)))
    with pytest.raises(ValueError, match=said):
        go(name="a")


@pytest.mark.parametrize("where", ["template", "attach", "prepare", "init"])
def test_a_program_is_closed_however_far_it_came(go, fake_host, monkeypatch, where):
    def fail(*_):
        raise UserError("model = 'x': a folder")

    program = fake_host.FakeHost()
    monkeypatch.setattr(program, where, fail)
    with pytest.raises(UserError):
        go(program, name="a")
    assert program.calls[-1] == "close" and program.calls.count("close") == 1


def test_a_resumed_run_may_be_longer_and_chunked_otherwise(go):
    whole = go(name="whole", steps=40)
    go(name="a", steps=10)
    again = go(name=None, resume="a", steps=40, chunk=7)
    assert digest(again.state) == digest(whole.state)
    assert [row["step"] for row in table(again.folder)] == ["0", "4", "8", "10", "14", "21", "28", "35", "40"]


def test_nothing_compiles_after_the_first_step(go, monkeypatch):
    seen, compiled = [], []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if name.endswith("backend_compile_duration") else None
    )
    write = sinks.Sinks.write
    monkeypatch.setattr(sinks.Sinks, "write", lambda self, rows: (seen.append(len(compiled)), write(self, rows)))
    go(name="a", steps=60)
    assert len(seen) == 16 and len(set(seen[2:])) == 1


@pytest.mark.parametrize("start", range(0, 31))
def test_chunks_end_at_multiples_wherever_the_run_begins(start):
    plan = cadence.plan(RunConfig(steps=30, chunk=8, eval_every=10, checkpoint_every=0), 2, start, stepwise=True)
    assert (plan.chunk, plan.eval_every, plan.end) == (8, 16, 30 + start % 2)
    step, ends = start, []
    while step < plan.end:
        step = plan.next(step, step)
        ends.append(step)
    assert ends == [end for end in (8, 16, 24) if end > start] + ([plan.end] if plan.end > start else [])
    assert plan.next(16, 14) == 16 and plan.next(plan.end, plan.end - 1) == plan.end


def test_slow_steps_have_a_rate_that_says_something():
    assert "0.17 steps/s" in progress.describe(3, 10, 0.1666, 42.0, {})
    assert "25 steps/s" in progress.describe(3, 10, 25.4, 42.0, {})


LONG = {"steps": 120, "chunk": 5, "eval_every": 20, "checkpoint_every": 10}


def start(tmp_path, **fields):
    given = [f"{name}={value}" for name, value in ({"out": tmp_path, "pause": 0.02} | LONG | fields).items()]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, SCRIPT, *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def finish(process, code=0):
    out, err = process.communicate(timeout=120)
    assert process.returncode == code and "Traceback" not in err, err
    return out.splitlines(), err


def wait_for_rows(folder, process, count):
    path, limit = Path(folder) / "samples.jsonl", time.monotonic() + 90
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.005)


def _stop_and_resume(tmp_path, train, fake_host, signals, seed):
    fields, chance, folder = {"name": "a"}, random.Random(seed), tmp_path / "a"
    for number, signum in enumerate(signals):
        process = start(tmp_path, **fields)
        begun = 480 * number // len(signals)
        wait_for_rows(folder, process, chance.randrange(begun + 20, begun + 400 // len(signals)))
        process.send_signal(signum)
        _, err = process.communicate(timeout=120)
        if signum == signal.SIGTERM:
            step = max(int(path.name) for path in (folder / "checkpoints").iterdir())
            assert process.returncode == 143 and f"saved at step {step:,}; go on with --resume {folder}" in err
        fields = {"resume": folder}
    whole = train(fake_host.FakeHost(), task="even", **(LONG | {"name": "whole"}))
    again = train(fake_host.FakeHost(), task="even", **(LONG | {"resume": "a"}))
    assert digest(again.state) == digest(whole.state) and left(again) == left(whole)


def test_killed_and_terminated_at_random_times_it_ends_as_if_nothing_had_happened(tmp_path, train, fake_host):
    _stop_and_resume(tmp_path, train, fake_host, [signal.SIGKILL, signal.SIGTERM], time.time_ns())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_stopped_four_times(tmp_path, train, fake_host, seed):
    _stop_and_resume(tmp_path, train, fake_host, [signal.SIGKILL, signal.SIGTERM] * 2, seed)


def test_an_error_is_one_line_and_status_2(tmp_path):
    _, err = finish(start(tmp_path, name="a", fail_at=7, pause=0), 2)
    said = [line for line in err.splitlines() if not line.startswith("jaxpsn: ")]
    assert said == ["error: data = 'x.jsonl': a file that can be read"]
    assert f"jaxpsn: saved at step 7; go on with --resume {tmp_path / 'a'}" in err.splitlines()
