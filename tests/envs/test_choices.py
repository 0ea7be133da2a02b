"""Tasks with discrete actions: their rules against other code bases, optima, options, and what is seen of them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import envs
from jaxpsn.core import describe
from jaxpsn.core.errors import UserError
from jaxpsn.envs import coverage, registry
from jaxpsn.envs.discrete import acrobot, cartpole, choice_probes, mountain_car_discrete
from jaxpsn.envs.family import ENVS

STORED = np.load(Path(__file__).parent / "original/choices.npz")
STATES = {
    "cartpole": cartpole.CartpoleState,
    "mountain_car_discrete": lambda y: mountain_car_discrete.CarState(*y),
    "acrobot": acrobot.AcrobotState,
}
NAMES = ("chain(length=6)", "deep_sea(size=4)", *STATES)


def played(name, choices):
    """Observations (one more than choices), rewards and ends of one episode, step by step without resets."""
    env = envs.make(name)

    def step(state, choice):
        state = env.step(state, choice)
        return state, (state.obs, state.reward, state.done)

    first = env.reset(jax.random.PRNGKey(0))
    _, (obs, rewards, done) = jax.jit(lambda c: jax.lax.scan(step, first, c))(jnp.asarray(choices, jnp.int32))
    return np.concatenate([first.obs[None], obs]), np.asarray(rewards), np.asarray(done)


@pytest.mark.parametrize("name", STATES)
def test_classic_control_steps_as_gymnasium(name):
    env = envs.make(name)
    told = {key: STORED[f"{name}/{key}"] for key in ("before", "choice", "obs", "reward", "done")}

    def step(before, choice):
        after = env.step(env.begin(STATES[name](before)), choice)
        return after.obs, after.reward, after.done

    obs, reward, done = jax.jit(jax.vmap(step))(
        jnp.asarray(told["before"], jnp.float32), jnp.asarray(told["choice"], jnp.int32)
    )
    # Angles of acrobot wrap; what is seen of them, cosines and sines, does not. Its speeds reach 28 rad/s.
    np.testing.assert_allclose(obs, told["obs"], rtol=2e-4, atol=2e-4 if name == "acrobot" else 2e-6)
    np.testing.assert_array_equal(done.astype(bool), told["done"])
    np.testing.assert_array_equal(reward, told["reward"])
    assert told["done"].any() and not told["done"].all() and len(set(told["choice"])) == env.action_size


@pytest.mark.parametrize(("size", "seed"), [(4, 42), (6, 7)])
def test_deep_sea_is_that_of_bsuite(size, seed):
    told = {key: STORED[f"deep_sea/{size}/{seed}/{key}"] for key in ("mapping", "obs", "choice", "reward")}
    env = envs.make(f"deep_sea(size={size}, mapping_seed={seed})")
    np.testing.assert_array_equal(env.right, told["mapping"])
    first = env.reset(jax.random.PRNGKey(0))

    def dive(choices):
        def step(state, choice):
            state = env.step(state, choice)
            return state, (state.obs, state.reward, state.done)

        return jax.lax.scan(step, first, choices)[1]

    obs, reward, done = jax.jit(jax.vmap(dive))(jnp.asarray(told["choice"], jnp.int32))
    np.testing.assert_array_equal(told["obs"][:, 0], np.broadcast_to(first.obs, told["obs"][:, 0].shape))
    np.testing.assert_array_equal(obs, told["obs"][:, 1:])
    np.testing.assert_allclose(reward, told["reward"], atol=1e-6)
    assert (done[:, -1] == 1).all() and not done[:, :-1].any()
    assert reward.sum(1).max() == pytest.approx(env.optimal_return, abs=1e-6)


@pytest.mark.parametrize("mapping", ["fixed", "random"])
@pytest.mark.parametrize("length", [3, 7])
def test_the_chain_by_value_iteration(length, mapping):
    """The best return, computed from the rules as they are played, is 10 for every length."""
    name = f"chain(length={length}, mapping={mapping})"
    env = envs.make(name)
    assert env.observation_size == length and envs.default_episode_length(name) == length + 7
    step = jax.jit(jax.vmap(env.step))
    places = np.repeat(np.arange(length), 2)
    states = jax.vmap(lambda place: env.begin(type(env.reset(jax.random.PRNGKey(0)).pipeline_state)(place)))(
        jnp.asarray(places, jnp.int32)
    )
    after = step(states, jnp.asarray(np.tile([0, 1], length), jnp.int32))
    to, reward = np.asarray(after.pipeline_state.place), np.asarray(after.reward, np.float64)
    value = np.zeros(length)
    for _ in range(env.episode_length):
        value = (reward + value[to]).reshape(length, 2).max(axis=1)
    assert value[1] == pytest.approx(env.optimal_return) == pytest.approx(10.0)
    assert sorted(set(to - places)) == [-1, 0, 1] and not after.done.any()
    right = np.asarray(after.pipeline_state.place).reshape(length, 2).argmax(axis=1)
    assert (right[:-1] == env.right[:-1]).all() and (mapping == "random" or (env.right == 1).all())


def test_codes_of_the_chain():
    obs, rewards, _ = played("chain(length=4)", [1, 1, 1, 0, 0, 0, 0])
    assert obs.sum(1).tolist() == [2, 3, 4, 4, 3, 2, 1, 1] and (obs[0] == [1, 1, 0, 0]).all()
    assert rewards.tolist() == pytest.approx([0, 1, 1, 0, 0, 1e-3, 1e-3])
    obs, _, _ = played("chain(length=4, code=onehot)", [1, 1])
    assert obs.argmax(1).tolist() == [1, 2, 3] and (obs.sum(1) == 1).all()


@pytest.mark.parametrize("name", ["chain(length=5)", "chain(length=5, code=onehot)", "deep_sea(size=3)"])
def test_every_state_has_a_cell_of_its_own(name):
    env = envs.make(name)
    cells = coverage.cells(env, env.observation_size)
    count = 5 if "chain" in name else 10
    moves = [0, *[1] * 5] if "chain" in name else [1, 1, 1]
    seen = cells.index(jnp.asarray(played(name.replace("size=3", "size=3, mapping=fixed"), moves)[0]))
    assert cells.count == count and ((seen >= 0) & (seen < count)).all()
    assert len(set(np.asarray(seen).tolist())) == (5 if "chain" in name else 4)


@pytest.mark.parametrize("name", NAMES)
def test_they_run_in_batches_and_start_as_said(name):
    episodes = envs.Episodes(envs.make(name), 6, envs.default_episode_length(name))
    assert isinstance(episodes.space, envs.Discrete)
    state = episodes.reset(jax.random.key(0))
    after, out = jax.jit(episodes.step)(state, episodes.space.uniform(jax.random.key(1), 6))
    assert after.obs.shape == (6, episodes.observation_size) and out.reward.dtype == jnp.float32
    spread = {"cartpole": (-0.05, 0.05), "acrobot": (-0.1, 1.0), "mountain_car_discrete": (-0.6, 0.0)}
    if name in spread:
        low, high = spread[name]
        assert (state.obs >= low).all() and (state.obs <= high).all() and len(np.unique(state.obs[:, 0])) == 6


GAMMA = 0.9


@pytest.mark.parametrize("kind", choice_probes.PROBES, ids=lambda kind: kind.name)
def test_probes_of_choices(kind):
    env = kind()
    assert envs.space_of(env) == envs.Discrete(3) and envs.space_of(envs.make(kind.name)) == envs.Discrete(3)

    def best(state):
        found = []
        for choice in range(3):
            after = env.step(state, jnp.int32(choice))
            found.append(float(after.reward) + (0.0 if after.done else GAMMA * max(best(after))))
        return found

    seen = {}
    for seed in range(6):
        state = env.reset(jax.random.key(seed))
        seen[float(state.obs[0])] = best(state)
    assert set(seen) == ({-1.0, 1.0} if "observation" in kind.name else {0.0})
    for obs, values in seen.items():
        assert max(values) == pytest.approx(env.optimal_value(obs, GAMMA))
        if env.optimal_action(obs) is not None:
            assert int(np.argmax(values)) == env.optimal_action(obs) and sorted(values)[1] < max(values)


def test_options_are_written_in_brackets():
    assert registry.canonical("DeepSea(size=20)") == "deep_sea(size=20)"
    assert registry.canonical("deep_sea(size=10)") == "deep_sea"
    assert registry.canonical("Hopper(healthy_reward=2, terminate_when_unhealthy=false)") == (
        "hopper(healthy_reward=2, terminate_when_unhealthy=False)"
    )
    assert registry.slug("minatar/breakout(sticky=0.2)") == "minatar-breakout-sticky-0.2"
    assert registry.slug("playground/BallInCup") == "playground-BallInCup"
    env = envs.make("hopper(terminate_when_unhealthy=false, healthy_z_range=(0.5, 2))", backend="positional")
    assert env._terminate_when_unhealthy is False and env._healthy_z_range == (0.5, 2)
    assert envs.make("deep_sea", size=5).observation_size == 25
    assert envs.default_episode_length("deep_sea(size=30)") == 30


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("deep_sea(size=1)", "deep_sea.size = 1: a whole number from 2 to 200"),
        ("deep_sea(sise=3)", "nearest: size"),
        ("chain(mapping=shuffled)", "mapping = 'shuffled'"),
        ("hopper(2)", "options of hopper by their names"),
        ("probe/action(gravity=1)", "env.gravity = 1"),
        ("hopper(backend=spring)", "as env.backend"),
        ("deep_sea(size=3", "is expected"),
        ("deep_se(size=3)", "nearest: deep_sea"),
        ("chain + deep_sea", "a name, or a name(option=value)"),
    ],
)
def test_wrong_options_are_refused_in_one_line(text, says):
    with pytest.raises(UserError) as caught:
        envs.make(text)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_they_are_described_with_their_fields():
    told = describe.describe(ENVS, "deep_sea")
    assert [row.name for row in told.rows] == ["size", "mapping", "mapping_seed", "move_cost"]
    assert "1908.03568" in told.text
