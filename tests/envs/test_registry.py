"""The door: names, refusals with reasons, and every environment that is let through runs."""

import subprocess
import sys

import brax
import jax
import jax.numpy as jnp
import pytest

from jaxpsn import envs
from jaxpsn.core.errors import UserError
from jaxpsn.envs import brax_door, brax_names, registry


def refusal(*args, **options):
    with pytest.raises(UserError) as caught:
        envs.make(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rollout(name, steps=20, batch=8, **options):
    env = envs.make(name, **options)
    episodes = envs.Episodes(env, batch, 1000, reset="cached")  # compiles one reset, not two

    def step(state, action):
        state, out = episodes.step(state, action)
        return state, (state.obs, out.reward, out.final_obs)

    def play(key):
        actions = jax.random.uniform(key, (steps, batch, episodes.action_size), minval=-1.0)
        return jax.lax.scan(step, episodes.reset(key), actions)[1]

    return jax.jit(play)(jax.random.key(0))


def test_names_are_sorted_and_capitals_and_underscores_do_not_matter():
    assert list(envs.names()) == sorted(set(envs.names()))
    assert {"ant", "playground/BallInCup", "probe/action", "swimmer_gather"} <= set(envs.names())
    for name in ("SparseMountainCar", "sparse_mountain_car", "SPARSEMOUNTAINCAR"):
        assert registry.canonical(name) == "sparse_mountain_car"
    assert registry.canonical("HalfCheetah") == "halfcheetah"
    assert registry.canonical("playground/cartpole_swingup_sparse") == "playground/CartpoleSwingupSparse"


def test_default_time_limits():
    lengths = {"ant": 1000, "playground/BallInCup": 1000, "swimmer_gather": 500, "probe/held_exploration": 50}
    assert {name: envs.default_episode_length(name) for name in lengths} == lengths
    for name in envs.names():
        if name.startswith(("sparse", "probe", "swimmer_")) and name != "sparse_halfcheetah":
            assert envs.make(name).episode_length == envs.default_episode_length(name)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("halfcheeta", {}, "env.name = 'halfcheeta': unknown; nearest: halfcheetah"),
        ("sparse_mountan_car", {}, "sparse_mountain_car"),
        ("playground/Go1Getup", {}, "downloads its models"),
        ("playground/BallInACup", {}, "playground/BallInCup"),
        ("ant", {"backend": "bullet"}, "env.backend = 'bullet'"),
        ("swimmer", {"backend": "spring"}, "swimmer runs on generalized only"),
        ("fast", {"backend": "mjx"}, "fast runs on spring only"),
        ("sparse_halfcheetah", {"backend": "warp"}, "env.backend = 'warp'"),
        ("sparse_mountain_car", {"backend": "mjx"}, "a single physics"),
        ("hopper", {"healty_reward": 2.0}, "nearest: healthy_reward"),
        ("hopper", {"n_frames": 0}, "env.n_frames = 0"),
        ("probe/action", {"gravity": 1.0}, "env.gravity = 1.0"),
        ("playground/PendulumSwingup", {"impl": "warp"}, "always jax"),
        ("playground/PendulumSwingup", {"gravity": 1.0}, "env.gravity"),
    ],
)
def test_refusals_name_the_field_and_the_reason(name, options, says):
    assert says in refusal(name, **options)


def test_pusher_on_mjx_is_refused_where_jax_makes_it_crawl(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.10.2")
    assert "100 times too slow" in refusal("pusher", backend="mjx")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.12.0")
    brax_names.check_backend("pusher", "mjx")


def test_playground_missing_is_said_so(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "jaxpsn[playground]" in refusal("playground/BallInCup")


def test_options_reach_the_environment():
    env = envs.make("hopper", backend="positional", terminate_when_unhealthy=False, n_frames=3)
    assert env.backend == "positional" and env._terminate_when_unhealthy is False and env._n_frames == 3
    assert envs.make("reacher").backend == "spring" and envs.make("swimmer").backend == "generalized"
    task = envs.make("playground/PendulumSwingup", ctrl_dt=0.04)
    assert task.dt == 0.04


def test_the_fluid_shim_is_still_needed():
    assert brax_door.needs_fluid_shim(), f"Brax {brax.__version__} runs its swimmer by itself: remove shim_fluid"
    old = brax_door._OldClip()
    assert old.clip(jnp.array(-1.0), a_min=0.5) == 0.5 and old.clip(jnp.array(3.0), a_max=2.0) == 2.0
    assert old.sqrt is jnp.sqrt


@pytest.mark.parametrize("name", ["fast", "inverted_pendulum", "reacher", "playground/CartpoleSwingupSparse"])
def test_a_few_cheap_ones_run(name):
    for leaf in rollout(name):
        assert jnp.isfinite(leaf).all()


def test_the_swimmer_runs_through_its_shim():
    env = envs.make("swimmer")
    with brax_door.tracing():
        out = jax.eval_shape(lambda key: env.step(env.reset(key), jnp.zeros(2)), jax.random.key(0))
    assert out.obs.shape == (8,)


EVERY = [(name, backend) for name, backends in brax_names.SUPPORTED.items() for backend in backends]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "backend"), EVERY, ids=["-".join(pair) for pair in EVERY])
def test_every_brax_environment_and_backend_runs(name, backend):
    if name == "pusher" and backend == "mjx" and jax.__version_info__ < (0, 11):
        pytest.skip("refused on this JAX")
    for leaf in rollout(name, backend=backend):
        assert jnp.isfinite(leaf).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in envs.names() if name.startswith("playground/")])
def test_every_dm_control_task_runs(name):
    for leaf in rollout(name):
        assert jnp.isfinite(leaf).all()


@pytest.mark.slow
@pytest.mark.parametrize("backend", brax_names.BACKENDS)
def test_the_sparse_cheetah_runs_on_every_backend(backend):
    for leaf in rollout("sparse_halfcheetah", backend=backend):
        assert jnp.isfinite(leaf).all()


def test_importing_and_making_prints_nothing_and_imports_brax_only_when_needed():
    code = """
import sys
from jaxpsn import envs
from jaxpsn.envs import brax_door
assert not {"brax", "mujoco"} & set(sys.modules)
envs.names(), envs.default_episode_length("ant")
brax_door.forgo_warp()  # MJX then prints
envs.make("halfcheetah")
from mujoco.mjx import warp
assert not warp.WARP_INSTALLED and "warp" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
