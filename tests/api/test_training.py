"""``jaxpsn.train``, ``load`` and ``evaluate``: one call each, in memory or into a run folder, and the same numbers."""

import json
import os
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpsn
from jaxpsn.core.errors import UserError
from jaxpsn.envs.probes import ActionReward
from jaxpsn.run.checkpoints.store import digest

SHORT = dict(preset="smoke", steps=800, seeds=2, progress="none", chunk=160, eval_every=320, checkpoint_every=320)
TIMING = ("seconds", "steps_per_second")


class Tracker:
    """Remembers what it is told; ``fail`` at a step."""

    def __init__(self, fail=None):
        self.told, self.fail = [], fail

    def start(self, config, name):
        self.told.append(("start", config["config"]["env"]["name"], name))

    def log(self, step, metrics):
        if step == self.fail:
            raise OSError("no network")
        self.told.append((step, metrics))

    def finish(self, status):
        self.told.append(("finish", status))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run in memory, made in a folder in which it leaves nothing."""
    here, before = tmp_path_factory.mktemp("here"), os.getcwd()
    os.chdir(here)
    try:
        made = jaxpsn.train(**SHORT)
        assert not list(here.iterdir()), "nothing on disk"
    finally:
        os.chdir(before)
    return made


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The same run in a folder."""
    return jaxpsn.train(**SHORT, folder=tmp_path_factory.mktemp("runs") / "kept")


def test_metrics_are_arrays_of_points_and_seeds(run):
    assert run.finished and run.status == "finished" and run.folder is None and run.step == 800
    assert run.metrics["step"].tolist() == [0, 160, 320, 480, 640, 800]
    assert run.metrics["eval_return"].shape == (6, 2) and run.seeds == (0, 1)
    steps, values = run.curve("eval_return")
    assert steps.tolist() == [0, 320, 640, 800] and np.isfinite(values).all()
    assert np.isfinite(run.metrics["sigma"][1:]).all() and np.isnan(run.metrics["sigma"][0]).all()
    with pytest.raises(UserError, match="metric = 'eval_retrun': unknown; nearest: eval_return"):
        run.curve("eval_retrun")


def test_a_run_in_memory_equals_the_one_in_a_folder(run, kept):
    assert digest(run.state) == digest(kept.state)
    assert run.metrics.keys() == kept.metrics.keys()
    for name in run.metrics.keys() - set(TIMING):
        np.testing.assert_array_equal(run.metrics[name].astype(np.float32), kept.metrics[name].astype(np.float32))


def test_a_folder_is_that_of_the_script(kept):
    record = json.loads((kept.folder / "config.json").read_text())
    assert record["result"]["status"] == "finished" and record["result"]["step"] == 800
    assert {row["seed"] for row in record["result"]["metrics"]} == {0, 1}
    session = record["sessions"][0]
    assert session["host"] and session["processor"] and isinstance(session["xla_flags"], str)
    assert ("commit" in session) == ("clean" in session)
    assert (kept.folder / "report.html").is_file() and (kept.folder / "checkpoints" / "800").is_dir()


def test_the_policy_is_its_module_on_normalised_observations(run):
    policy = run.policy
    obs = np.linspace(-1, 1, 3 * policy.observation_size).reshape(3, -1)
    actions = policy(obs)
    assert actions.shape == (3, policy.action_size) and actions.dtype == jnp.float32
    plain = policy.module.apply(policy.params, policy.normalise(obs))
    np.testing.assert_allclose(plain, actions, rtol=1e-6)
    assert not np.array_equal(run.policies[1](obs), actions), "each seed has a policy of its own"
    with pytest.raises(UserError, match=r"raw observations \[\.\.\., 1\]"):
        policy(np.zeros(7))


def test_members_differ_from_each_other_and_from_the_clean_policy(run):
    obs = np.zeros(run.policy.observation_size)
    noisy = np.asarray(run.policy.explore(obs))
    assert noisy.shape == (8, 1) and len(np.unique(noisy)) == 8
    np.testing.assert_array_equal(noisy, run.policy.explore(np.tile(obs, (8, 1))))


def test_a_loaded_policy_is_the_trained_one(kept):
    obs = np.full(1, 0.5)
    for seed in (0, 1):
        loaded = jaxpsn.load(kept.folder, seed=seed)
        assert loaded.step == 800 and loaded.seed == seed
        np.testing.assert_array_equal(loaded(obs), kept.policies[seed](obs))
        np.testing.assert_array_equal(loaded.explore(obs), kept.policies[seed].explore(obs))
    earlier = jaxpsn.load(f"{kept.folder}:640")
    assert earlier.step == 640 and not np.array_equal(earlier(obs), kept.policy(obs))


def test_what_cannot_be_loaded_is_said_in_one_line(kept, tmp_path):
    with pytest.raises(UserError, match="step = 7: a checkpoint in"):
        jaxpsn.load(f"{kept.folder}:7")
    with pytest.raises(UserError, match="seed = 5: 0 to 1, the seeds of"):
        jaxpsn.load(kept.folder, seed=5)
    with pytest.raises(UserError, match="a run folder; unknown; "):
        jaxpsn.load(kept.folder.parent / "kep")


def test_an_evaluation_is_a_function_of_its_seed(kept):
    loaded = jaxpsn.load(kept.folder)
    one, again, other = (jaxpsn.evaluate(loaded, episodes=6, seed=seed) for seed in (0, 0, 1))
    assert one.returns.shape == one.lengths.shape == (6,)
    np.testing.assert_array_equal(one.returns, again.returns)
    assert one.mean.low <= one.mean.value <= one.mean.high and other.mean.runs == 6
    with pytest.raises(UserError, match="episodes = 0"):
        jaxpsn.evaluate(loaded, episodes=0)


def test_an_evaluation_counts_what_the_training_counted(run):
    """Episodes of this probe start alike, and are over after a step."""
    found = jaxpsn.evaluate(run.policy, episodes=4)
    assert np.all(found.lengths == 1)
    np.testing.assert_allclose(found.mean.value, run.metrics["eval_return"][-1, 0], rtol=1e-4)


def test_a_resumed_folder_goes_on_and_a_new_one_begins(tmp_path):
    short = SHORT | {"seeds": 1, "steps": 480}
    first = jaxpsn.train(**short, folder=tmp_path / "a", resume=True)
    assert first.step == 480
    longer = jaxpsn.train(folder=tmp_path / "a", resume=True, steps=800, progress="none", chunk=160)
    assert longer.step == 800 and longer.metrics["step"].tolist() == [0, 160, 320, 480, 640, 800]
    with pytest.raises(UserError, match=r"made with another config: agent\.actor_lr"):
        jaxpsn.train(folder=tmp_path / "a", resume=True, actor_lr=0.5, progress="none")
    with pytest.raises(UserError, match="exists; --resume"):
        jaxpsn.train(**short, folder=tmp_path / "a")


def test_an_environment_of_ones_own(tmp_path):
    short = SHORT | {"seeds": 1, "steps": 320}
    made = jaxpsn.train(ActionReward(), **short, episode_length=10, folder=tmp_path / "own")
    assert made.config.env.name == "ActionReward"
    again = jaxpsn.load(tmp_path / "own", env=ActionReward())
    np.testing.assert_array_equal(again(np.zeros(1)), made.policy(np.zeros(1)))
    with pytest.raises(UserError, match=r"env\.name = 'ActionReward'"):
        jaxpsn.load(tmp_path / "own")
    with pytest.raises(UserError, match=r"env\.episode_length = None: a time limit"):
        jaxpsn.train(ActionReward(), **short)


def test_trackers_hear_of_a_run_from_start_to_end(run):
    good, bad = Tracker(), Tracker(fail=320)
    jaxpsn.train(**SHORT, logger=[good, bad])
    assert good.told[0] == ("start", "probe/action", "probe/action") and good.told[-1] == ("finish", "finished")
    rows = [entry for entry in good.told if isinstance(entry[0], int)]
    assert [step for step, _ in rows] == run.metrics["step"].tolist()
    assert rows[-1][1]["eval_return/seed1"] == run.metrics["eval_return"][-1, 1]
    assert bad.told[-1][0] == 160, "one that fails is left out, the run goes on"
    with pytest.raises(UserError, match="logger = 'object': an object with the methods start, log, finish"):
        jaxpsn.train(**SHORT, logger=object())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (dict(env="halfchetah"), "env.name = 'halfchetah': unknown; nearest: halfcheetah"),
        (dict(preset="smok"), "preset = 'smok': unknown; nearest: smoke"),
        (dict(num_env=3), "num_env = 3: unknown; nearest: num_envs"),
        (dict(num_envs=0), "env.num_envs = 0"),
        (dict(steps=0), "steps = 0"),
        (dict(resume=True), "resume = True: only together with folder"),
        (dict(agent=3), "agent = 3"),
        (dict(log="csv + tensorboard"), "log = 'tensorboard': only together with folder"),
        (dict(log="wandb(grup=a)"), "wandb.grup = 'a': unknown; nearest: group"),
    ],
)
def test_what_cannot_be_is_one_line(fields, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        jaxpsn.train(**{"progress": "none", "preset": "smoke"} | fields)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_gives_back_what_there_is(tmp_path):
    """The first signal ends the chunk under way; the run says so, and its folder goes on."""

    class Stop(Tracker):
        def log(self, step, metrics):
            if step == 320:
                signal.raise_signal(signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    for folder in (None, tmp_path / "cut"):
        cut = jaxpsn.train(**SHORT, folder=folder, logger=Stop())
        assert (cut.status, cut.finished, cut.metrics["step"][-1]) == ("SIGINT", False, cut.step)
        assert cut.step in (320, 480)
        assert signal.getsignal(signal.SIGINT) is before
    on = jaxpsn.train(folder=tmp_path / "cut", resume=True, progress="none")
    assert on.finished and on.step == 800


def test_before_the_first_step_ctrl_c_is_a_keyboard_interrupt():
    class Early(Tracker):
        def start(self, config, name):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        jaxpsn.train(**SHORT, logger=Early())


def test_a_request_to_end_the_process_ends_it():
    class Stop(Tracker):
        def log(self, step, metrics):
            if step == 320:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as caught:
        jaxpsn.train(**SHORT, logger=Stop())
    assert caught.value.code == 128 + signal.SIGTERM


def test_an_episode_can_be_watched(kept, tmp_path):
    loaded = jaxpsn.load(kept.folder)
    page = loaded.render(tmp_path / "pages" / "rollout.html")
    assert page.read_text().startswith("<!") and loaded.rollout().record == kept.policy.rollout().record
    assert jax.tree.leaves(kept.params), "plain Flax variables"


def test_members_are_watched_side_by_side(kept, tmp_path):
    seen = kept.rollout(members=2, steps=8, sigmas=(0.0, 0.3))
    assert [one.label for one in seen.at(1)] == ["member 1", "member 2"] and len(seen.episodes) == 5
    assert seen.scales == pytest.approx((0.0, 0.3)) and seen.distance(0) < 1e-5 < 0.01 < seen.distance(1)
    assert "srcdoc" in seen._repr_html_() and "5 episodes" in repr(seen)
    shown = json.loads(seen.save(tmp_path / "new" / "seen.json").read_text())
    assert shown == json.loads(json.dumps(seen.record)) and shown["levels"] == ["sigma 0", "sigma 0.3"]
    assert seen.save(tmp_path / "seen.gif", panel=(60, 40), level=0).read_bytes().startswith(b"GIF")
    assert 'id="chart-actions"' in seen.save(tmp_path / "seen.html").read_text()
    for asked, says in (({"path": "seen.txt"}, "ends in .html"), ({"path": "seen.html", "rate": 5}, "rate = 5")):
        with pytest.raises(UserError, match=says):
            seen.save(**asked)
    with pytest.raises(UserError, match=r"ends in \.html"):
        kept.policy.render("seen.png")
