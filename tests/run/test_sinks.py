"""Metrics files survive being cut anywhere; optional sinks never cost the run."""

import json
import math
import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpsn.core import load_plugin, spec_of
from jaxpsn.core.errors import UserError
from jaxpsn.run import command, startup
from jaxpsn.run import folder as folders
from jaxpsn.run.config import RunConfig
from jaxpsn.run.jobs import control
from jaxpsn.run.loggers import family, sinks

COLUMNS = ("step", "seed", "return", "loss")


def row(step, value=0.1, seed=0):
    return {"step": step, "seed": seed, "return": None, "loss": value}


def write(path, step, rows):
    sink = sinks.MetricsFiles(path / "m.csv", step)
    sink.begin(COLUMNS)
    sink.write(rows)
    sink.sync()
    sink.close()
    return sink.notes


def test_rows_read_back(tmp_path):
    write(tmp_path, -1, [row(10, 0.1), row(20, math.inf)])
    assert (tmp_path / "m.csv").read_text() == "step,seed,return,loss\n10,0,,0.1\n20,0,,inf\n"
    strict = [json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert strict == [{"step": 10, "seed": 0, "loss": 0.1}, {"step": 20, "seed": 0, "loss": "inf"}]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 6), st.integers(0, 10_000))
def test_resume_repeats_and_skips_no_row_wherever_the_file_was_cut(tmp_path_factory, kept, cut):
    """Rows up to the checkpoint are durable; what follows it may be cut at any byte."""
    path = tmp_path_factory.mktemp("m")
    rows = [row(10 * i, i / 7, seed) for i in range(1, 9) for seed in (0, 1)]
    write(path, -1, rows[: 2 * kept])
    sizes = {name: (path / name).stat().st_size for name in ("m.csv", "m.jsonl")}
    write(path, 10 * kept, rows[2 * kept :])
    whole = {name: (path / name).read_bytes() for name in sizes}
    for name, size in sizes.items():
        (path / name).write_bytes(whole[name][: size + cut % (len(whole[name]) - size + 1)])
    write(path, 10 * kept, rows[2 * kept :])
    assert {name: (path / name).read_bytes() for name in sizes} == whole


def test_a_row_log_takes_whatever_a_model_says(tmp_path):
    path = tmp_path / "samples.jsonl"
    log = sinks.RowLog(path, -1)
    log.write([{"step": np.int64(1), "text": "\ud800 \0 \n \u2028", "weight": None, "loss": float("nan")}])
    log.write([{"step": 2, "parts": (np.float32(0.5), math.inf), "more": {"a": np.arange(2), "b": math.nan}}])
    log.write([])
    log.close()
    found = [json.loads(line, parse_constant=pytest.fail) for line in path.read_bytes().split(b"\n")[:-1]]
    assert found == [
        {"step": 1, "text": "\ud800 \0 \n \u2028"},
        {"step": 2, "parts": [0.5, "inf"], "more": {"a": [0, 1], "b": None}},
    ]


@pytest.mark.parametrize("kept", [-1, 0, 1, 2, 9])
def test_a_row_log_keeps_the_steps_that_stand(tmp_path, kept):
    path = tmp_path / "samples.jsonl"
    rows = [{"step": step, "text": text} for step in (0, 1, 1, 2, 4) for text in ("a", "b")]
    log = sinks.RowLog(path, -1)
    log.write(rows)
    log.close()
    with path.open("a") as file:
        file.write('{"step": 1, "text": "torn')
    before = path.read_bytes()
    log = sinks.RowLog(path, kept)
    assert path.read_bytes() == before  # who only looks, or is refused, changes nothing
    log.sync()
    log.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [r for r in rows if r["step"] <= kept]


@pytest.mark.parametrize("row", [{"text": "a"}, {"step": None}, {"step": 1.0}])
def test_a_row_without_its_step_is_refused(tmp_path, row):
    log = sinks.RowLog(tmp_path / "samples.jsonl", -1)
    with pytest.raises(ValueError, match="without its step"):
        log.write([{"step": 1}, row])
    log.close()
    assert list(tmp_path.iterdir()) == []  # a file is made with its first row


def test_events_keep_their_history_and_drop_a_cut_line(tmp_path):
    path = tmp_path / "events.jsonl"
    log = sinks.EventLog(path)
    log.write(0, "start")
    log.close()
    path.write_text(path.read_text() + '{"time": "x", "st')
    log = sinks.EventLog(path)
    log.write(5, "resume", "step 5")
    log.close()
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["start", "resume"]


def open_sinks(tmp_path, warnings, **fields):
    run = RunConfig(**fields)
    files = sinks.MetricsFiles(tmp_path / "metrics.csv", -1)
    files.begin(COLUMNS)
    return sinks.Sinks(run.log, family.Opening(tmp_path, run.seeds, 0, {}), files, warnings.append)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("csv + wandb", r"log = 'wandb': needs wandb: pip install 'jaxpsn\[wandb\]'"),
        ("tensorboard", r"log = 'tensorboard': needs tensorboardX: pip install 'jaxpsn\[tensorboard\]'"),
    ],
)
def test_missing_packages_are_refused_in_one_line(monkeypatch, log, said):
    monkeypatch.setattr(family.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=said):
        family.require(RunConfig(log=log).log)
    family.require(RunConfig().log)


def test_a_command_line_without_the_package_leaves_no_folder(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(family.importlib.util, "find_spec", lambda name: None)
    argv = ["--preset", "smoke", "--out", str(tmp_path / "runs"), "--log", "csv + wandb", "--log.wandb.project", "x"]
    assert startup.main_guard(lambda: control.main(argv))() == 2
    assert "error: log = 'wandb': needs wandb" in capfd.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("csv + wandbb", "log = 'wandbb': unknown; nearest: wandb"),
        ("wandb(tag=a)", "wandb.tag = 'a': unknown; nearest: tags"),
        ("wandb(project='')", "wandb.project = ''"),
        ("wandb + wandb", "log = 'wandb + wandb': wandb once only"),
        ("tensorboard(project=x)", "tensorboard.project = 'x'"),
        ("3", "log = '3'"),
    ],
)
def test_a_logger_that_there_is_not_is_refused_in_one_line(log, said):
    with pytest.raises(UserError) as caught:
        RunConfig(log=log)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_loggers_are_components_that_json_gives_back():
    run = RunConfig(log="csv + wandb(project=x, group=g, tags=(a, b))")
    assert spec_of(run.log) == "csv + wandb(project=x, group=g, tags=(a, b))"
    assert command.from_record(RunConfig, folders.plain(run)) == run
    assert run.log.terms[1].tags == ("a", "b") and RunConfig(log=run.log.terms[1]).log == run.log.terms[1]


OWN = """
from dataclasses import dataclass
from jaxpsn.run.loggers.family import LOGGERS, Log

@LOGGERS.register("lines")
@dataclass(frozen=True)
class Lines(Log):
    \"\"\"One line for each call.\"\"\"

    path: str

    def tracker(self):
        return self

    def start(self, config, name):
        self.tell(f"start {name}")

    def log(self, step, metrics):
        self.tell(f"{step} {sorted(metrics)}")

    def finish(self, status):
        self.tell(status)

    def tell(self, text):
        with open(self.path, "a") as file:
            file.write(text + "\\n")
"""


def test_a_logger_of_ones_own_comes_by_a_plugin(tmp_path, request):
    (tmp_path / "lines.py").write_text(OWN)
    before, warnings = family.LOGGERS.snapshot(), []
    request.addfinalizer(lambda: family.LOGGERS.restore(before))
    load_plugin(str(tmp_path / "lines.py"))
    opened = open_sinks(tmp_path, warnings, log=f"csv + lines(path='{tmp_path}/told')")
    opened.write([row(10, 0.5)])
    opened.close("finished")
    told = (tmp_path / "told").read_text().splitlines()
    assert told[0].startswith("start") and told[1:] == ["10 ['loss']", "finished"] and not warnings


def test_tensorboard_gets_the_scalars(tmp_path):
    warnings = []
    opened = open_sinks(tmp_path, warnings, log="tensorboard", seeds=2)
    opened.write([row(10, 0.5, 0), row(10, 0.25, 1)])
    opened.sync()
    opened.close("finished")
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert b"loss/seed1" in file.read_bytes() and not warnings


class FakeWandb(types.ModuleType):
    def __init__(self, fail_at):
        super().__init__("wandb")
        self.calls, self.fail_at = [], fail_at

    def init(self, **fields):
        self.calls.append(("init", fields["id"], fields["resume"], fields["project"], fields["tags"]))
        return self

    def log(self, values, step, commit):
        self.calls.append((step, values, commit))
        if len(self.calls) > self.fail_at:
            raise ConnectionError("gone")

    def finish(self):
        self.calls.append("finish")


@pytest.mark.parametrize("fail_at", [1, 100])
def test_wandb_gets_the_scalars_and_may_fail(tmp_path, monkeypatch, fail_at):
    fake, warnings = FakeWandb(fail_at), []
    monkeypatch.setitem(sys.modules, "wandb", fake)
    opened = open_sinks(tmp_path, warnings, log="csv + wandb(project=p, tags=(a, b))")
    for step in (10, 20):
        opened.write([row(step, 0.5)])
    opened.close("finished")
    assert fake.calls[:2] == [("init", tmp_path.name, "allow", "p", ["a", "b"]), (10, {"loss": 0.5}, True)]
    if fail_at == 1:
        assert warnings == ["wandb failed (ConnectionError: gone); going on without"] and len(fake.calls) == 2
    else:
        assert not warnings and fake.calls[2:] == [(20, {"loss": 0.5}, True), "finish"]
    assert (tmp_path / "metrics.csv").read_text().count("\n") == 3


def test_an_extra_that_does_not_start_is_left_out(tmp_path, monkeypatch):
    broken, warnings = types.ModuleType("wandb"), []
    monkeypatch.setitem(sys.modules, "wandb", broken)
    opened = open_sinks(tmp_path, warnings, log="csv + wandb(project=p, tags=(a, b))")
    opened.write([row(10)])
    opened.close("finished")
    assert len(warnings) == 1 and warnings[0].startswith("wandb does not start (AttributeError")
