"""The command ``jaxpsn``: one screen of help, near names, and hints that can be typed where it was started."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jaxpsn
from jaxpsn import cli
from jaxpsn.cli import bench, screens
from jaxpsn.core.errors import UserError
from jaxpsn.run import component_flags, started, vacancy
from jaxpsn.run.jobs import control

ROOT = Path(__file__).resolve().parents[2]


def said(capsys, *argv):
    """Exit status, stdout and stderr of ``jaxpsn ARGV`` in this process."""
    code = cli.main(argv)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("name", screens.SCREENS)
def test_help_is_one_screen(name, capsys):
    code, out, err = said(capsys, name, "--help")
    lines = out.splitlines()
    assert code == 0 and not err and len(lines) <= 40 and max(map(len, lines)) <= 105
    assert lines[0].startswith("usage: ") and "examples:" in lines
    assert said(capsys, name, "-h")[1] == out


@pytest.mark.parametrize("name", [name for name in screens.SCREENS if screens.SCREENS[name].flags])
def test_every_flag_of_the_screen_exists(name, capsys):
    screen = screens.SCREENS[name]
    with pytest.raises(SystemExit) as stop:
        cli._run([name, "--help-all"])
    everything = capsys.readouterr().out
    assert stop.value.code == 0 and max(map(len, everything.splitlines())) <= 260
    known = set(re.findall(r"--[a-z][a-z.-]*[a-z]", everything)) | {"--preset", "--resume", "--quick"}
    for flag in component_flags.dotted(control.PRESETS["default"]):  # the end of a path will do: --explore.target
        known |= {flag, f"{flag.partition('.')[0]}.{flag.rpartition('.')[2]}"}
    shown = [flag for flag, _ in screen.flags] + list(screen.examples)
    for flag in re.findall(r"--[a-z][a-z.-]*[a-z]", " ".join(shown)):
        assert flag in known, flag


@pytest.mark.parametrize("name", ["train", "compare", "reason", "reason-compare"])
def test_every_preset_has_its_line(name, capsys):
    _, out, _ = said(capsys, name, "--help")
    presets = importlib.import_module(screens.SCREENS[name].module).PRESETS
    listed = out.partition("presets:")[2].partition("examples:")[0]
    assert [name for name in presets if re.search(rf"(?m)(^ | ) {re.escape(name)} ", listed)] == list(presets)


def test_the_overview_and_the_version(capsys):
    code, out, _ = said(capsys)
    assert code == 0 and all(f"  {name} " in out for name in cli.NAMES) and said(capsys, "--help")[1] == out
    assert set(cli.NAMES) == set(screens.SCREENS)
    assert said(capsys, "--version")[1] == f"jaxpsn {jaxpsn.__version__}\n"


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["trian"], "error: command = 'trian': unknown; nearest: train, reason"),
        (["train", "--learning-rate", "3"], "error: --learning-rate: unknown; nearest: --agent.actor-lr, "),
        (["train", "--num-envs", "3"], "error: --num-envs: unknown; nearest: --env.num-envs"),
        (["train", "--explore.targt", "3"], "error: explore.targt = '3': unknown; nearest: scale.target"),
        (["train", "--exploration.target", "3"], "error: --exploration.target: unknown; nearest: --explore."),
        (["compare", "--total-timesteps", "3"], "error: --total-timesteps: unknown; nearest: --steps"),
        (["train", "--preset", "smok"], "error: preset = 'smok': unknown; nearest: smoke"),
    ],
)
def test_a_slip_is_one_line_and_names_what_was_meant(argv, line, capsys):
    code, out, err = said(capsys, *argv)
    assert code == 2 and not out
    assert err.splitlines()[-1].startswith(line) and "Traceback" not in err


def test_what_was_refused_leaves_no_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for flags in (["--env.name", "halfchetah"], ["--env.backend", "mjxx"], ["--agent.warmup", "9999999"]):
        code, _, err = said(capsys, "train", *flags, "--name", "bad")
        assert code == 2 and err.splitlines()[-1].startswith("error: ")
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("program", "wanted"),
    [
        ("experiments/compare.py", "python experiments/control.py"),
        ("/usr/bin/jaxpsn", "jaxpsn train"),
        ("/lib/jaxpsn/__main__.py", "python -m jaxpsn train"),
        ("my_script.py", "jaxpsn train"),
    ],
)
def test_hints_can_be_typed_where_it_was_started(program, wanted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [program])
    assert started.command("train") == wanted
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text('{"config": {"exploration": {}, "agent": {}}}')
    with pytest.raises(UserError, match=re.escape(f"go on with: {wanted} --resume {run}")):
        vacancy.refuse_other(str(run), "study of control")


def test_the_module_is_the_command_and_modules_of_jobs_train(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for module in ("jaxpsn", "jaxpsn.run.jobs.control"):
        argv = [sys.executable, "-m", module, *(["train"] if module == "jaxpsn" else []), "--preset", "smok"]
        done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 2 and done.stderr.endswith("nearest: smoke\n")


def test_benchmarks_are_those_of_the_checkout_or_said_to_be_there(capsys, monkeypatch, tmp_path):
    with pytest.raises(SystemExit) as stop:
        cli._run(["bench", "--help-all"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and "acting" in out and "physics" in out
    assert said(capsys, "bench", "actin")[2].splitlines()[-1].startswith("error: benchmark = 'actin': unknown; nearest")
    monkeypatch.setattr(bench, "CHECKOUT", tmp_path)
    code, out, err = said(capsys, "bench", "acting")
    assert code == 2 and not out and err.count("\n") == 1 and "experiments/benchmark.py" in err


def test_a_preset_is_described_by_what_it_is():
    described = screens.SCREENS["train"].described(control.PRESETS["smoke"])
    assert described == "probe/action td3, 1.6 k"
