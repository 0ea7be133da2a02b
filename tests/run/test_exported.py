"""Kept programs: the same run with and without them, resumed too; what is damaged or foreign is written anew."""

import contextlib
import threading
from concurrent.futures import CancelledError
from dataclasses import replace
from types import SimpleNamespace

import jax
import pytest

from jaxpsn.control import members, program, record
from jaxpsn.control.config import ControlConfig
from jaxpsn.control.exploration import EXPLORATION
from jaxpsn.control.presets import PRESETS
from jaxpsn.core import plugins
from jaxpsn.core.placement import Placement
from jaxpsn.run import compiling, exported, loop
from jaxpsn.run import folder as folders
from jaxpsn.run.checkpoints.store import digest
from jaxpsn.run.config import RunConfig

NAMES = ("step x 10", "init", "evaluation")
pytest.importorskip("flatbuffers", reason="jax.export writes with it")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the module's programs lie."""
    return tmp_path_factory.mktemp("cache") / "programs"


@pytest.fixture
def train(fake, tmp_path):
    """``train(shelf, name, **run) -> (outcome, traces of the step)``."""

    def run(shelf, name, seeds=1, **fields):
        fields = {"steps": 160, "chunk": 40, "eval_every": 80, "out": str(tmp_path), "progress": "none"} | fields
        program, config = fake.Fake(), RunConfig(name=name, seeds=seeds, **fields)
        with folders.claim(config, {"task": "a"}) as folder:
            return loop.train(program, config, folder, engine=loop.ready(program, config, shelf)), program.traces

    return run


def _table(outcome):
    rows = (outcome.folder / "metrics.csv").read_text().splitlines()
    left = [place for place, name in enumerate(rows[0].split(",")) if "second" not in name]
    return [[row.split(",")[place] for place in left] for row in rows]


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_run_is_the_same_traced_kept_and_found_again(train, kept, seeds):
    plain, _ = train(None, "plain", seeds)
    first, traces = train(exported.Shelf(kept, seeds), "first", seeds)
    assert traces > 0
    found = exported.Shelf(kept, seeds)
    found.begin(NAMES)
    again, traces = train(found, "again", seeds)
    assert traces == 0, "a step that was found is not traced"
    assert digest(plain.state) == digest(first.state) == digest(again.state)
    assert _table(plain) == _table(first) == _table(again)
    assert jax.tree.structure(again.state) == jax.tree.structure(plain.state)
    train(exported.Shelf(kept, seeds), "cut", seeds, steps=80)
    resumed, traces = train(exported.Shelf(kept, seeds), None, seeds, resume="cut")
    assert traces == 0 and digest(resumed.state) == digest(plain.state) and _table(resumed) == _table(plain)


def test_what_is_damaged_or_foreign_is_written_anew(train, kept):
    plain, _ = train(exported.Shelf(kept, "damage"), "plain")
    path = exported.Shelf(kept, "damage")._file(NAMES[0])
    whole = path.read_bytes()
    other = exported.Shelf(kept, "damage")._file("init").read_bytes()
    for number, content in enumerate((b"", whole[: len(whole) // 2], b"{}\n" + whole, other)):
        path.write_bytes(content)
        shelf = exported.Shelf(kept, "damage")
        shelf.begin(NAMES)
        outcome, traces = train(shelf, f"damaged{number}")
        assert traces > 0 and digest(outcome.state) == digest(plain.state)
        assert exported.Shelf(kept, "damage")._read(NAMES[0]) is not None, "written anew"
    assert not [one for one in kept.iterdir() if one.name.startswith(".")], "nothing half written is left"


def test_what_jax_does_not_export_is_compiled_all_the_same(train, kept, monkeypatch):
    def refuse(function):
        raise ValueError("Cannot serialize code with custom calls whose targets have no compatibility guarantees")

    monkeypatch.setattr(exported.export, "export", refuse)
    outcome, traces = train(exported.Shelf(kept, "refused"), "refused")
    assert traces > 0 and outcome.finished


def test_what_decides_a_program_decides_its_file(tmp_path, monkeypatch):
    first = exported.Shelf(tmp_path, {"config": 1})._file("init")
    assert exported.Shelf(tmp_path, {"config": 1})._file("init") == first
    found = {first, exported.Shelf(tmp_path, {"config": 2})._file("init"), exported.Shelf(tmp_path, {})._file("init")}
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    found.add(exported.Shelf(tmp_path, {"config": 1})._file("init"))
    monkeypatch.setattr(exported, "_digest", lambda package, ours: package)
    found.add(exported.Shelf(tmp_path, {"config": 1})._file("init"))
    with jax.default_matmul_precision("highest"):
        found.add(exported.Shelf(tmp_path, {"config": 1})._file("init"))
    assert len(found) == 6


def test_none_are_kept_where_that_would_be_wrong_or_is_not_wanted(tmp_path, monkeypatch):
    monkeypatch.delenv(exported.SWITCH, raising=False)
    monkeypatch.setattr(exported, "ALL", {})  # other tests register rules of their own
    config = ControlConfig()
    assert exported.shelf(tmp_path, config) is not None and exported.shelf(None, config) is None
    with monkeypatch.context() as patch:
        patch.setenv(exported.SWITCH, "0")
        assert exported.shelf(tmp_path, config) is None

    class Own(type(config.explore)):
        """A rule of a notebook: no digest of ours sees it change."""

    assert exported.shelf(tmp_path, replace(config, explore=Own())) is None
    monkeypatch.setattr(exported, "ALL", {"explore": SimpleNamespace(kinds={"own": Own})})
    assert exported.shelf(tmp_path, config) is None, "it may be meant by its name alone, as tasks are"
    monkeypatch.setattr(exported, "ALL", {})
    monkeypatch.setitem(plugins._LOADED, "mine", plugins.Plugin("mine", "0"))
    assert exported.shelf(tmp_path, config) is None


def test_all_of_them_stay_below_a_bound(tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.program").write_bytes(bytes(100))
    exported.os.utime(tmp_path / "0.program")
    exported.os.utime(tmp_path / "1.program", (1, 1))
    exported._bound(tmp_path, 400)
    assert {one.name for one in tmp_path.iterdir()} == {f"{number}.program" for number in (0, 2, 3, 4)}


@pytest.mark.parametrize("how", ["not kept", "new", "found", "begun"])
def test_xla_is_told_of_every_program_what_the_run_says(how, tmp_path):
    options = {"xla_no_such_option": "1"}  # so that what heeds it fails
    args = (jax.ShapeDtypeStruct((2,), "float32"),)

    def compiled(shelf, options):
        with compiling.Workshop(Placement(), shelf, options) as shop:
            return shop.add("a", lambda x: x + 1, args, (None, None), lambda made: None, lambda told: 0).wait()

    def shelf():
        return None if how == "not kept" else exported.Shelf(tmp_path / "programs", 0)

    assert compiled(None, {})
    with pytest.raises(Exception, match="xla_no_such_option"):
        compiled(shelf(), options)
    if how in ("found", "begun"):
        kept = shelf()
        assert kept._read("a").options == options
        kept.begin(["a"] if how == "begun" else [])
        with pytest.raises(Exception, match="xla_no_such_option"):
            compiled(kept, {})


@pytest.mark.parametrize("error", [False, True])
def test_what_nobody_waited_for_is_compiled_unless_something_failed(error, monkeypatch):
    shop = compiling.Workshop(Placement(), None, {})
    late, shutdown = threading.Event(), shop._pool.shutdown

    def end(**how):
        shutdown(wait=False, **how)
        late.set()
        shutdown()

    monkeypatch.setattr(shop._pool, "shutdown", end)
    with contextlib.suppress(KeyError), shop:
        for _ in range(2):  # both threads are busy until the end
            shop._pool.submit(late.wait)
        shape = jax.ShapeDtypeStruct((), "float32")
        part = shop.add("a", lambda x: x + 1, (shape,), (None, None), lambda made: None, lambda told: 0)
        if error:
            raise KeyError
    with pytest.raises(CancelledError) if error else contextlib.nullcontext():
        assert part(jax.numpy.ones(())) == 2


def test_the_viewers_rollout_is_kept_too(tmp_path, monkeypatch):
    config = PRESETS["smoke"]
    task = replace(config.env, name="probe/held_exploration", num_envs=2)
    made = program.make(replace(config, env=task, explore=EXPLORATION.make("parameter(sigma=0.3)")), 10)
    state = made.init(jax.random.key(0), made.hyper)

    def rollout(**told):
        return record.rollout(made, state, members=2, steps=9, **told)

    plain, kept = rollout(), []
    for _ in range(2):
        with compiling.Workshop(Placement(), exported.Shelf(tmp_path / "programs", 0), {}) as shop:
            kept.append(rollout(compiled=shop.alone))
        monkeypatch.setattr(members, "_start", None)  # what is found is not traced
    assert plain == kept[0] == kept[1]
