"""A damaged or hand-edited record is refused in one short line, or is what it says; nothing ends in a traceback."""

import importlib.util
import json
from pathlib import Path

import jax.numpy as jnp
import jaxtyping
import pytest

from jaxpsn.core import errors
from jaxpsn.core.errors import LONGEST, UserError
from jaxpsn.run import command, folder
from jaxpsn.run.checkpoints.store import Store, digest
from jaxpsn.run.jobs import control, rlvr
from jaxpsn.run.lock import LOCK, locked
from jaxpsn.study import kinds
from jaxpsn.study.kinds import control as control_job
from jaxpsn.study.kinds import reasoning as reasoning_job
from jaxpsn.study.kinds.control import ControlStudy
from jaxpsn.study.kinds.reasoning import ReasoningStudy
from jaxpsn.study.units import Unit

_SPEC = importlib.util.spec_from_file_location("damage", Path(__file__).parents[1] / "report" / "damage.py")
damage = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(damage)


def survives(path, read, every=1):
    before = path.read_bytes()
    whole = read()
    taken = 0
    for what, content in damage.damages(before.decode(), every):
        path.write_bytes(content)
        try:
            read()
            taken += 1
        except jaxtyping.TypeCheckError:  # of the tests alone: a whole number where a float is annotated
            taken += 1
        except UserError as error:
            assert len(str(error)) <= LONGEST and "\n" not in str(error), what
            assert str(path.parent) in str(error) or path.name in str(error), (what, str(error))
        except Exception as error:
            raise AssertionError(f"{path.name}: {what}: {type(error).__name__}: {error}") from error
    path.write_bytes(before)
    assert read() == whole
    return taken


@pytest.mark.parametrize("home", [control, rlvr])
def test_the_config_that_a_run_goes_on_with(tmp_path, home):
    job = home.PRESETS["smoke"]
    path = tmp_path / "a"
    path.mkdir()
    content = job.control if home is control else job.rlvr
    folder.write_record(folder.RunFolder(path, folder.plain(content)), job.run, sessions=[{"versions": {"jax": "1"}}])

    def read():
        record = folder.read(path)
        with errors.within(path):
            return home.restore(record)

    assert read() is not None
    taken = survives(path / "config.json", read, every=7)
    assert taken > 0  # what is not looked at, or may be another number


def test_a_wrong_type_names_its_field(tmp_path):
    record = json.loads(json.dumps(folder.plain(rlvr.PRESETS["smoke"].rlvr)))
    record["rollout"]["prompts"] = "few"
    with pytest.raises(UserError, match=r"^rollout.prompts = 'few': a whole number$"):
        command.from_record(type(rlvr.PRESETS["smoke"].rlvr), record)
    record["rollout"]["prompts"] = 8
    record["noise"]["fields"]["sigma"]["fields"]["target"] = "small"
    with pytest.raises(UserError, match=r"^kl.target = 'small': a number"):
        command.from_record(type(rlvr.PRESETS["smoke"].rlvr), record)
    record["noise"]["fields"]["sigma"]["fields"]["target"] = -1.0
    with pytest.raises(UserError, match=r"^kl.target = -1.0: "):
        command.from_record(type(rlvr.PRESETS["smoke"].rlvr), record)


@pytest.mark.parametrize("kind", ["control", "reasoning"])
def test_a_study_that_goes_on(tmp_path, kind):
    if kind == "control":
        made, job = ControlStudy, control_job.PRESETS["default"]
        shared = job.control
    else:
        made, job = ReasoningStudy, reasoning_job.PRESETS["quick"]
        shared = job.rlvr
    made(tmp_path, shared, job.study, *made.plan(shared, job.study)).write()

    def read():
        found = kinds.load(tmp_path)
        return found.shared, found.config, found.arms, found.tasks

    survives(tmp_path / "study.json", read, every=17)


@pytest.mark.parametrize("content", [b"{", b"[]", b"3", b"[" * 100_000, b'{"values": 3}', b'{"chosen": "x"}'])
def test_a_choice_that_cannot_be_is_not_made_again_in_silence(tmp_path, content):
    job = reasoning_job.PRESETS["quick"]
    arms, tasks = ReasoningStudy.plan(job.rlvr, job.study)
    study = ReasoningStudy(tmp_path, job.rlvr, job.study, arms, tasks)
    arm = next(one for one in arms if one.scale is not None)
    path = study.tuning(tasks[0].label, arm.label)
    path.mkdir(parents=True)
    (path / "choice.json").write_bytes(content)
    for look in (study.chosen, lambda task, label: study.is_done(Unit("tune", task, label))):
        with pytest.raises(UserError, match=r"choice\.json"):
            look(tasks[0].label, arm.label)


def test_every_json_file_of_a_checkpoint(tmp_path):
    """A checkpoint one file of which is altered is passed over for the one before it, whatever the file says."""
    state = {"a": jnp.arange(3.0), "b": jnp.int32(7)}
    store = Store(tmp_path / "c", 2)
    for step in (1, 2):
        store.save(step, state, {"format": 1})
    store.wait()
    store.close()
    seen = 0
    for path in sorted(store.path(2).rglob("*")):
        try:
            before = path.read_bytes() if path.is_file() else b""
            json.loads(before)
        except ValueError:
            continue
        contents = [content for _, content in damage.damages(before.decode(), every=40)]
        for content in contents[:: max(1, len(contents) // 12)]:
            path.write_bytes(content)
            found = Store(tmp_path / "c", 2).restore(state)
            whole = content == before or (path.name == "checkpoint.json" and json.loads(before) == _json(content))
            assert (found.step, bool(found.broken)) == ((2, False) if whole else (1, True)), (path.name, content[:40])
            assert digest(found.state) == digest(state)
        path.write_bytes(before)
        seen += 1
    assert seen == 2 and Store(tmp_path / "c", 2).restore(state).step == 2


def _json(content):
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def test_a_lock_may_hold_anything(tmp_path):
    for content in (*damage.FILES, b'{"pid": [1], "host": {}}'):
        (tmp_path / LOCK).write_bytes(content)
        with locked(tmp_path) as stale:
            assert bool(stale) == bool(content)
