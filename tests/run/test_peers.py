import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks import command, homes, peers, peers_homes, peers_rows, peers_worker
from benchmarks.peers_options import EVOLUTION, LEARNING, OURS, PEERS, Peers
from benchmarks.peers_rows import Run
from benchmarks.peers_worker import Died, Report, Worker

from jaxpsn.control.config import ControlConfig
from jaxpsn.core.errors import UserError
from jaxpsn.run import command as commands

FAKE = Path(__file__).with_name("fake_runner.py")


@pytest.mark.parametrize(
    "line, said",
    [
        ("--peers braxsac", "nearest: brax-sac"), ("--peers", "one or more of brax-sac"),
        ("--peers brax-sac brax-sac", "each once"), ("--calls 3", "multiple of the policy's delay = 2"),
        ("--num-envs 3", "even"), ("--num-envs 0", "at least 2"), ("--seeds 0", "from 1"), ("--seconds nan", "number"),
        ("--preset paper", "TD3"), ("--preset nothing", "unknown"), ("--extra cuda", "nearest: cuda1"),
        ("--capacity 3", "from 256"), ("--reward-scaling 0", "above 0"), ("--episode-length 0", "from 1"),
    ],
)  # fmt: skip
def test_bad_options_are_refused_in_one_line(line, said):
    with pytest.raises(UserError, match=said) as caught:
        command.parse(["peers", *line.split()])
    assert "\n" not in str(caught.value)


def test_a_task_that_peers_do_not_know_is_refused_before_anything_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(peers_homes, "python", lambda *_: pytest.fail("installed"))
    for env in ("sparse_mountain_car", "nowhere"):
        with pytest.raises(UserError, match=r"Brax's own|nearest"):
            peers.table(Peers(env=env, peers=("brax-sac",), out=tmp_path))
    with pytest.raises(UserError, match=r"env\.backend"):
        peers.table(Peers(backend="bullet", peers=("brax-sac",), out=tmp_path))


def test_the_flag_of_the_issue_is_the_command():
    assert command.parse(["--peers", "--seeds", "2"]) == Peers(seeds=2) == command.parse(["peers", "--seeds", "2"])


def test_contenders_are_ours_and_then_the_peers_of_each_part():
    assert list(Peers().contenders()) == ["jaxpsn-td3", "brax-sac", "rejax-td3", "jaxpsn-es", "evosax-es"]
    assert Peers(peers=("evosax-es",)).contenders() == {"jaxpsn-es": EVOLUTION, "evosax-es": EVOLUTION}
    for name in PEERS:
        assert (peers_homes.RUNNERS / f"{name.replace('-', '_')}.py").exists()
        pinned = [line for line in peers_homes.pins(name).read_text().splitlines()]
        assert all("==" in line for line in pinned) and any(line.startswith("jax==") for line in pinned)


def test_all_of_a_part_are_told_the_same_task():
    options = Peers(env="HalfCheetah", num_envs=32, capacity=5000, calls=40, episode_length=70)
    learning, evolution = (peers._task(options, part) for part in (LEARNING, EVOLUTION))
    assert learning["control"]["env"] | {"name": "halfcheetah", "backend": "spring"} == learning["control"]["env"]
    assert (learning["calls"], evolution["calls"]) == (40, 70)  # a generation is an episode of everyone
    config = commands.from_record(ControlConfig, json.loads(json.dumps(learning["control"])))
    assert (config.env.num_envs, config.agent.replay_capacity, config.env.episode_length) == (32, 5000, 70)
    assert config.agent.precision == "float32" and config.agent.weight_decay == 0


def _worker(tmp_path, said="said", **task):
    return Worker(Path(sys.executable), FAKE, task | {"said": str(tmp_path / said)}, tmp_path / "xla")


def test_a_worker_reports_what_it_is_asked_for_and_ends_when_nobody_asks(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    worker = _worker(tmp_path)
    first, second = worker.report(), worker.chunk()
    worker.close()
    assert (first.steps, first.score, second.steps, second.score, second.peak_bytes) == (0, 0.0, 10, 1.0, 1001)
    assert 0 < first.wall < second.wall
    assert (tmp_path / "said").read_text() == "1 []"  # it ended by itself, and saw none of our packages


def test_only_our_own_runner_sees_this_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    own, other = (peers_worker._environment(tmp_path, own) for own in (True, False))
    here = Path(peers.__file__).resolve()
    assert (
        own["PYTHONPATH"].split(":") == [str(here.parents[2]), str(here.parents[1]), "/elsewhere"]
        and "PYTHONPATH" not in other
    )
    assert other["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path)


@pytest.mark.parametrize("dies", [0, 1])
def test_a_worker_that_dies_leaves_its_last_words(dies, tmp_path):
    worker = _worker(tmp_path, dies=dies)
    with pytest.raises(Died, match=r"^ValueError: nothing goes here$"):
        worker.report()
        worker.chunk()
    worker.close()


def _fake(seconds, steps=100, compiling=100.0):
    """A worker whose chunks take ``seconds`` each, the first ``compiling`` more."""

    class Fake:
        made, closed = 0, False

        def report(self):
            return Report(0, 0, 0.0, 0.0, 1.0, 10, 0.5)

        def chunk(self):
            self.made += 1
            order.append(self)
            taken = seconds + compiling * (self.made == 1)
            return Report(steps, steps // 2, taken, float(self.made), compiling, 10 + self.made, 7.0)

        def close(self):
            self.closed = True

    order = []
    return Fake()


def test_rounds_go_on_until_everyone_has_trained_long_enough():
    fakes = {"ours": _fake(1.0), "slow": _fake(4.0), "quick": _fake(0.5)}
    reports, dead = peers.interleave({name: lambda fake=fake: fake for name, fake in fakes.items()}, 8.0)
    assert {name: len(of) for name, of in reports.items()} == {"ours": 10, "slow": 5, "quick": 18} and not dead
    assert all(fake.closed for fake in fakes.values())  # "slow": three rounds at least, though two would be enough


def test_who_dies_is_left_out_and_the_others_go_on():
    dying = _fake(1.0)
    dying.chunk = lambda: (_ for _ in ()).throw(Died("no more"))
    reports, dead = peers.interleave({"ours": lambda: _fake(1.0), "dying": lambda: dying}, 0.0)
    assert dead == {"dying": "no more"} and list(reports) == ["ours"] and dying.closed


def _run(name, seed, paces, scores, steps=100):
    reports = [Report(0, 0, 0.0, scores[0], 1.0, 5, 0.1), Report(2 * steps, 9, 500.0, scores[1], 33.0, 7, 44.0)]
    for pace, score in zip(paces, scores[2:], strict=True):
        reports.append(Report(steps, 50, pace * steps, score, 33.0, 6, 50.0))
    return Run(name, seed, reports)


def test_rows_pair_rounds_and_compare_returns_at_equal_time():
    ours = [_run("ours", 0, [0.01, 0.02, 0.01, 0.02], [0, 1, 2, 3, 4, 5]), _run("ours", 1, [0.01] * 3, [0, 2, 4, 6, 8])]
    theirs = [_run("other", 0, [0.03, 0.03], [0, 1, 2, 3]), _run("other", 1, [0.01, 0.02], [0, 10, 20, 30])]
    mine, other = peers_rows.rows("learning", {"ours": ours, "other": theirs})
    assert (mine["ratio"], mine["rounds"], other["rounds"], other["seeds"]) == (1.0, 7, 4, 2)
    np.testing.assert_allclose(other["ratio"], np.median([3.0, 1.5, 1.0, 2.0]))  # rounds that both took part in
    np.testing.assert_allclose(other["seconds"], 1000 * np.median([0.03, 0.03, 0.01, 0.02]))
    np.testing.assert_allclose(other["steps_per_second"], 1 / np.median([0.03, 0.03, 0.01, 0.02]))
    np.testing.assert_allclose(other["updates_per_second"], np.median([50 / 3, 50 / 3, 50, 25]))
    # Cumulated, the first chunk charged with the median: ours to 7.5 and 4, theirs to 9 and 4.5.
    assert other["return_seconds"] == mine["return_seconds"] == pytest.approx(4.0)
    np.testing.assert_allclose(mine["return"], np.mean([np.interp(4.0, [0, 1.5, 2.5, 4.5], [0, 1, 2, 3]), 8.0]))
    low, high = np.interp(4.0, [0, 3, 6], [0, 1, 2]), np.interp(4.0, [0, 1.5, 2.5, 4.5], [0, 10, 20, 30])
    np.testing.assert_allclose([other["return_low"], other["return_high"]], [low, high])
    np.testing.assert_allclose(other["return_half"], np.mean([np.interp(2.0, [0, 3], [0, 1]), 15.0]))
    assert (mine["compile_seconds"], mine["first_chunk_seconds"], mine["peak_bytes"]) == (33.0, 44.0, 7)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A cache folder of its own, and an installer that notes what it is told; ``fails`` makes it fail."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tool = tmp_path / "uv"
    tool.write_text(
        f'#!/bin/sh\nif [ -e {tmp_path}/fails ]; then echo "no such\nthing" >&2; exit 1; fi\n'
        f'echo "$@" >> {tmp_path}/told\n[ "$1" = venv ] && mkdir -p "$5"\nexit 0\n'
    )
    tool.chmod(0o755)
    monkeypatch.setattr(homes.shutil, "which", lambda name, path=None: str(tool))
    return tmp_path


def test_an_environment_is_made_once_and_anew_for_other_pins(tools, monkeypatch):
    python = peers_homes.python("brax-sac")
    assert python == peers_homes.python("brax-sac") and python.is_relative_to(tools / "cache" / "jaxpsn" / "peers")
    made, installed = (tools / "told").read_text().splitlines()
    assert made.startswith("venv") and installed.endswith(f"-r {peers_homes.pins('brax-sac')}")
    assert peers_homes.python("brax-sac", "cuda13") != python
    assert (tools / "told").read_text().splitlines()[-1].endswith("brax-sac.txt jax[cuda13]")
    other = tools / "pins.txt"
    other.write_text("jax==0.9.0\n")
    monkeypatch.setattr(peers_homes, "pins", lambda _: other)
    assert peers_homes.python("brax-sac") != python


def test_an_installer_that_fails_is_told_in_one_line_and_tried_again(tools):
    (tools / "fails").touch()
    with pytest.raises(UserError, match="brax-sac could not be installed: no such thing") as caught:
        peers_homes.python("brax-sac")
    assert "\n" not in str(caught.value)
    (tools / "fails").unlink()
    assert peers_homes.python("brax-sac").name == "python"


def test_without_uv_there_is_pip(tools, monkeypatch):
    monkeypatch.setattr(homes.shutil, "which", lambda name, path=None: None)
    commands = homes.commands(tools, tools / "python", ["pins.txt"])
    assert commands[0][1:3] == ["-m", "venv"] and commands[1][1:4] == ["-m", "pip", "install"]


def test_the_table_names_who_is_left_out_and_keeps_the_curves(tmp_path, monkeypatch):
    def python(peer, extra):
        if peer == "rejax-td3":
            raise UserError("rejax-td3 could not be installed: no index")
        return Path(sys.executable)

    def start(python, script, task, compiled):
        said = {"said": str(tmp_path / "said"), "pace": 1.0 if script.stem == "ours" else 2.0}
        assert set(task) == {"control", "calls", "reward_scaling", "seed"}
        return Worker(python, FAKE, said, compiled)

    monkeypatch.setattr(peers_homes, "python", python)
    monkeypatch.setattr(peers, "Worker", start)
    line = f"--peers --peers brax-sac rejax-td3 --seconds 0 --seeds 2 --out {tmp_path}"
    command.main(line.split())
    told = json.loads((tmp_path / "peers.json").read_text())
    ours, brax, rejax = told["rows"]
    assert (ours["name"], ours["rounds"], brax["ratio"]) == (OURS[LEARNING], 6, 2.0)
    assert rejax["left_out"].endswith("no index") and told["versions_of_peers"]["brax-sac"]["jax"]
    assert [each["name"] for each in told["curves"]] == [OURS[LEARNING]] * 2 + ["brax-sac"] * 2
    assert len(told["curves"][0]["score"]) == 2 + peers.FEWEST
    assert (tmp_path / "peers.svg").read_text().startswith("<svg ")
    with open(tmp_path / "peers.csv", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == [OURS[LEARNING], "brax-sac", "rejax-td3"]


def test_our_own_runner_trains_and_judges():
    options = Peers(peers=("brax-sac",), num_envs=4, calls=4, episode_length=10, preset="smoke", capacity=64)
    task = peers._task(options, LEARNING) | {"seed": 0}
    task["control"]["env"] |= {"name": "probe/action", "backend": None}
    task["control"]["agent"]["fields"]["warmup"] = 24
    worker = Worker(
        Path(sys.executable), peers_homes.RUNNERS / "ours.py", task, Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    )
    reports = [worker.report(), worker.chunk(), worker.chunk()]
    worker.close()
    # A warm-up of six vector steps, then a chunk of four that learns, all in chunks of four.
    assert [report.steps for report in reports] == [0, 48, 16] and [report.updates for report in reports] == [0, 6, 4]
    assert all(report.seconds > 0 and np.isfinite(report.score) for report in reports[1:])
    assert 0 < reports[0].compile_seconds < reports[1].compile_seconds <= reports[1].wall
    assert reports[2].peak_bytes > 10**7
