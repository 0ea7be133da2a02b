"""Whole runs of the fake program in this process."""

import csv
import json
import os
import signal

import jax
import numpy as np
import pytest
from safetensors import SafetensorError

from jaxpsn.core.errors import UserError
from jaxpsn.run import loop, status, vacancy
from jaxpsn.run.checkpoints import store
from jaxpsn.run.checkpoints.store import digest
from jaxpsn.run.loggers import sinks

UNTIMED = ("seconds", "steps_per_second")


def table(folder):
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in UNTIMED} for row in csv.DictReader(file)]


def events(folder):
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def stop_after(monkeypatch, step, raises=KeyboardInterrupt):
    """End the process's run as a crash would, right after the rows of ``step`` were written."""
    write = sinks.Sinks.write

    def crash(self, rows):
        write(self, rows)
        if rows[0]["step"] == step:
            raise raises

    monkeypatch.setattr(sinks.Sinks, "write", crash)


def test_a_run_leaves_a_complete_folder(train):
    outcome = train(seeds=2, name="a")
    assert outcome.finished and outcome.status == status.DONE and outcome.step == 160
    rows = table(outcome.folder)
    assert [int(row["step"]) for row in rows[::2]] == [0, 40, 80, 120, 160]
    assert [int(row["step"]) for row in rows if row["eval_return"]] == [0, 0, 80, 80, 160, 160]
    assert [row["updates"] for row in rows[2::2]] == ["20", "40", "60", "80"]
    assert list(rows[0])[:4] == ["step", "seed", "updates", "return"] and not any(row["never"] for row in rows)
    lines = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == len(rows) and lines[-1]["loss"] == pytest.approx(float(rows[-1]["loss"]), rel=1e-8)
    assert [e["event"] for e in events(outcome.folder)] == ["start", *["compile"] * 2, *["checkpoint"] * 4, "stop"]
    session = json.loads((outcome.folder / "config.json").read_text())["sessions"][0]
    assert session["backend"] == "cpu" and session["versions"]["jax"]
    assert sorted(p.name for p in (outcome.folder / "checkpoints").iterdir()) == ["120", "160"]
    first = outcome.first_seed()
    assert first.ring.shape == outcome.state.ring.shape[1:] and first.clock == 40


def test_evaluation_and_checkpoints_leave_the_state_alone(train):
    often = train(name="often", chunk=20, eval_every=20, checkpoint_every=20)
    never = train(name="never", chunk=160, eval_every=0, checkpoint_every=0)
    assert digest(often.state) == digest(never.state)
    assert "eval_return" not in table(never.folder)[0]


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("crash", [40, 80, 120])
def test_a_crashed_and_resumed_run_is_the_uninterrupted_one(train, monkeypatch, crash, seeds):
    whole = train(name="whole", seeds=seeds)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, crash)
        train(name="cut", seeds=seeds, checkpoint_every=80)
    again = train(name=None, resume="cut", seeds=seeds)
    assert digest(again.state) == digest(whole.state)
    assert table(again.folder) == table(whole.folder)
    assert "stale lock" not in json.dumps(events(again.folder))


def test_a_resumed_run_may_be_longer_and_chunked_otherwise(train):
    whole = train(name="whole", steps=320)
    train(name="short", chunk=20)
    longer = train(name=None, resume="short", steps=320, chunk=80)
    assert digest(longer.state) == digest(whole.state)
    assert train(name=None, resume="short", steps=320).finished
    assert events(longer.folder)[-1]["detail"] == "already finished at step 320"


def test_resume_before_the_first_checkpoint_begins_again(train, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, 0)
        patch.setattr(vacancy, "discard", lambda path: None)  # as if killed: nothing tidies up
        train(name="cut")
    assert digest(train(name=None, resume="cut").state) == digest(train(name="whole").state)
    assert table(train(name=None, resume="cut").folder) == table(train(name="again").folder)


def test_resume_with_another_config_or_state_is_refused(train, fake, monkeypatch):
    train(name="a")
    with pytest.raises(UserError, match=r"another config: task = 'b' \(was 'a'\)"):
        train(name=None, resume="a", task="b", steps=320)
    with pytest.raises(UserError, match=r"run.seeds = 2 \(was 1\)"):
        train(name=None, resume="a", seeds=2, steps=320)
    monkeypatch.setattr(fake, "SIZE", 9)
    with pytest.raises(UserError, match=r"holds another state: params\.hidden"):
        train(name=None, resume="a", steps=320)


def test_another_version_is_warned_about(train):
    folder = train(name="a").folder
    record = json.loads((folder / "config.json").read_text())
    record["sessions"][-1]["versions"]["jax"] = "0.1"
    (folder / "config.json").write_text(json.dumps(record))
    train(name=None, resume="a", steps=320)
    (warning,) = [e["detail"] for e in events(folder) if e["event"] == "warning"]
    assert warning == f"not bit for bit from here: versions.jax = {jax.__version__!r} (was '0.1')"
    assert len(json.loads((folder / "config.json").read_text())["sessions"]) == 2


@pytest.mark.parametrize("where", ["params", "loss"])
def test_what_is_not_finite_is_named_and_never_saved(train, fake, capsys, where):
    outcome = train(fake.Fake(nan_at=25, nan_seed=1, where=where), name="a", seeds=2)
    culprit = "params/out" if where == "params" else "loss"
    assert outcome.status == status.NOT_FINITE and not outcome.finished
    assert outcome.reason == f"not finite at step 104, seed 1: {culprit}"
    captured = capsys.readouterr()
    last = outcome.folder / "checkpoints" / "80"
    assert captured.err == f"error: {outcome.reason}; the last good checkpoint is {last}\n" and captured.out == ""
    assert sorted(p.name for p in last.parent.iterdir()) == ["40", "80"]
    good = train(name=None, resume="a", seeds=2)  # without the fault it goes on from there
    assert good.finished and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(good.state.params))


def test_nan_before_any_checkpoint(train, fake, capsys):
    train(fake.Fake(nan_at=0), name="a")
    assert "step 4, seed 0: params/out; there is no checkpoint yet" in capsys.readouterr().err


def _signal_after(monkeypatch, step, signum):
    write = sinks.Sinks.write

    def send(self, rows):
        write(self, rows)
        if rows[0]["step"] == step:
            os.kill(os.getpid(), signum)

    monkeypatch.setattr(sinks.Sinks, "write", send)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_says_so(train, monkeypatch, capsys, signum, code):
    handler = signal.getsignal(signum)
    with monkeypatch.context() as patch:
        _signal_after(patch, 40, signum)
        outcome = train(name="a", eval_every=0, checkpoint_every=0, progress="plain", steps=4000)
    name = signal.Signals(signum).name
    assert (outcome.status, outcome.reason, outcome.finished) == (code, name, False)
    assert (outcome.folder / "checkpoints" / str(outcome.step)).is_dir() and outcome.step < 4000
    captured = capsys.readouterr()
    assert f"{name}: finishing this chunk, then saving" in captured.err
    assert f"saved at step {outcome.step:,}; go on with --resume {outcome.folder}" in captured.err
    assert signal.getsignal(signum) is handler and captured.out == ""
    rest = {"steps": 4000, "eval_every": 0, "checkpoint_every": 0}
    assert digest(train(name=None, resume="a", **rest).state) == digest(train(name="whole", **rest).state)


@pytest.mark.parametrize("look", [1, 2, 3, 4])
def test_whenever_a_signal_is_seen_what_is_said_to_be_saved_is(train, monkeypatch, look):
    looks = []

    def agree(self, signum):
        looks.append(signum)
        return signal.SIGTERM if len(looks) == look else None

    with monkeypatch.context() as patch:
        patch.setattr(loop.Team, "agree", agree)
        outcome = train(name="a", eval_every=0, checkpoint_every=0, steps=400)
    assert outcome.status == status.TERMINATED and 0 < outcome.step < 400
    assert (outcome.folder / "checkpoints" / str(outcome.step)).is_dir()


def test_a_checkpoint_that_cannot_be_written_stops_the_run(train, monkeypatch):
    save = store.shards.safetensors.save_file

    def full(data, file):
        if "80" in file.parent.name:
            raise SafetensorError("UNKNOWN: \nNo space left on device [os error]")
        save(data, file)

    with monkeypatch.context() as patch, pytest.raises(UserError) as caught:
        patch.setattr(store.shards.safetensors, "save_file", full)
        train(name="a")
    assert str(caught.value).startswith("checkpoint at step 80 was not written: No space left on device")
    assert str(caught.value).endswith("a/checkpoints/40")
    again = train(name=None, resume="a")
    assert digest(again.state) == digest(train(name="whole").state)
    assert table(again.folder) == table(train(name="other").folder)


def test_a_broken_checkpoint_is_said_and_the_run_goes_on(train):
    folder = train(name="a").folder
    (folder / "checkpoints" / "160" / "checkpoint.json").unlink()
    again = train(name=None, resume="a")
    assert digest(again.state) == digest(train(name="whole").state)
    (fallback,) = [e["detail"] for e in events(folder) if e["event"] == "fallback"]
    assert "checkpoint 160 is broken: checkpoint.json is missing" in fallback and "from step 120" in fallback
    assert (folder / "checkpoints" / "broken-160").is_dir() and (folder / "checkpoints" / "160").is_dir()


def test_a_metrics_file_that_cannot_be_written_stops_the_run(train, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        stop_after(patch, 80, OSError(28, "No space left on device"))
        train(name="a")
    assert digest(train(name=None, resume="a").state) == digest(train(name="whole").state)


def test_rounding_reaches_the_user(train, capsys):
    outcome = train(name="a", steps=150, chunk=41, eval_every=0, progress="plain")
    assert outcome.step == 176
    assert "rounded: chunk 41 -> 44" in capsys.readouterr().err
    assert [e["detail"][:5] for e in events(outcome.folder) if e["event"] == "rounded"] == ["chunk", "steps", "check"]


def test_nothing_compiles_after_the_first_chunk(train, monkeypatch):
    seen, compiled = [], []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if name.endswith("backend_compile_duration") else None
    )
    write = sinks.Sinks.write
    monkeypatch.setattr(sinks.Sinks, "write", lambda self, rows: (seen.append(len(compiled)), write(self, rows)))
    train(name="a", steps=2000, checkpoint_every=200)
    assert len(set(seen[2:])) == 1


def test_the_interface_is_a_protocol(fake):
    assert isinstance(fake.Fake(), loop.Program)
