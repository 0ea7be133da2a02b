"""The paper's sparse tasks: where they start, what they reward and when they end.

Rewards and ends of the tasks on Box2D's step are compared with those of the originals in test_box2d.py; here are those
of their light relatives.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import envs
from jaxpsn.envs import brax_door, swimmer, swimmer_gather
from jaxpsn.envs import cartpole_light as cartpole
from jaxpsn.envs import double_pendulum_light as double_pendulum
from jaxpsn.envs import mountain_car_light as mountain_car

SAMPLES = 4000


def starts(name):
    env = envs.make(name)
    states = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(3), SAMPLES))
    return env, states


def observed(name):
    return np.asarray(starts(name)[1].obs)


def near(values, low, high):
    """Uniform on [low, high], roughly."""
    assert values.min() >= low - 1e-6 and values.max() <= high + 1e-6
    width = high - low
    np.testing.assert_allclose([values.mean(), values.std()], [(low + high) / 2, width / 12**0.5], atol=0.03 * width)


@pytest.mark.parametrize("kind", ["", "Light"])
def test_mountain_car_starts_at_the_bottom_with_a_random_push(kind):
    obs = observed("SparseMountainCar" + kind)
    assert np.all(obs[:, 0] == 0)
    near(obs[:, 1], -1, 1)


@pytest.mark.parametrize("kind", ["", "Light"])
def test_cartpole_starts_hanging(kind):
    obs = observed("SparseCartpoleSwingup" + kind)
    for column, (middle, width) in enumerate([(0, 1), (0, 2), (np.pi, 1), (0, 3)]):
        near(obs[:, column], middle - width, middle + width)


@pytest.mark.parametrize("kind", ["", "Light"])
def test_double_pendulum_starts_hanging_almost_at_rest(kind):
    sin_a, cos_a, omega_a, sin_b, cos_b, omega_b = observed("SparseDoublePendulum" + kind).T
    found = np.stack((np.arctan2(sin_a, cos_a), np.arctan2(sin_b, cos_b), omega_a, omega_b))
    np.testing.assert_allclose(found.mean(1), 0, atol=0.01)
    np.testing.assert_allclose(found.std(1), [0.1, 0.1, 0.01, 0.01], rtol=0.06)


def test_swimmer_gather_places_distinct_objects_away_from_the_start():
    states = starts("SwimmerGather")[1]
    objects = np.asarray(states.pipeline_state.objects)
    assert np.isin(objects, [-6, -4, -2, 0, 2, 4]).all()
    assert np.hypot(*np.moveaxis(objects, -1, 0)).min() >= 2
    codes = objects[..., 0] * 100 + objects[..., 1]
    assert all(len(set(row)) == 16 for row in codes)
    counts = np.unique(codes[:, 0], return_counts=True)[1]
    assert len(counts) == 35 and counts.min() > 0.6 * SAMPLES / 35, "every point equally likely"
    np.testing.assert_allclose(states.obs[:, :5].std(0), 0.01, rtol=0.06)
    np.testing.assert_allclose(states.obs[:, 5:10].std(0), 0.1, rtol=0.06)


@pytest.mark.parametrize(
    ("x", "v", "ends"),
    [(0.59, 0.0, False), (0.59, 1.5, True), (-1.9, -1.0, False), (-1.99, -3.0, True), (0.0, 1.0, False)],
)
def test_mountain_car_rewards_exactly_the_end(x, v, ends):
    env = mountain_car.SparseMountainCarLight()
    after = env.step(env.begin(mountain_car.MountainCarState(jnp.float32(x), jnp.float32(v))), jnp.zeros(1))
    position = after.obs[0]
    assert (position >= 0.6 or abs(position) >= 2) == ends
    assert after.done == after.reward == float(ends)


@pytest.mark.parametrize(
    ("x", "angle", "reward", "ends"),
    [
        (0, 0.0, 1, False),
        (0, 0.62, 1, False),  # falls to cos = 0.809
        (0, 0.65, 0, False),  # cos = 0.79
        (0, 2 * np.pi, 1, False),
        (0, np.pi, 0, False),
        (2.99, 0.0, 1, False),
        (3.01, 0.0, 0, True),
        (-3.01, 0.0, 0, True),
    ],
)
def test_cartpole_rewards_a_standing_pole_on_the_rail(x, angle, reward, ends):
    env = cartpole.SparseCartpoleSwingupLight()
    after = env.step(env.begin(cartpole.CartpoleState(jnp.array([x, 0.0, angle, 0.0], jnp.float32))), jnp.zeros(1))
    assert abs(float(after.obs[2]) - angle) < 0.02
    assert (after.reward, after.done) == (reward, float(ends))


@pytest.mark.parametrize(("x", "angle", "reward"), [(0, 0, 1), (0, np.pi, 0), (1, np.pi / 2, 0.5), (3.01, 0, 0)])
def test_the_dense_cartpole_pays_for_height_on_the_rail(x, angle, reward):
    env = envs.make("cartpole_swingup")
    assert env.episode_length == envs.default_episode_length("cartpole_swingup")
    after = env.step(env.begin(cartpole.CartpoleState(jnp.array([x, 0.0, angle, 0.0], jnp.float32))), jnp.zeros(1))
    assert float(after.reward) == pytest.approx(reward, abs=0.02) and bool(after.done) == (x > 3)


@pytest.mark.parametrize(("bend", "reward"), [(0.0, 1), (0.9, 1), (1.1, 0), (np.pi, 0)])
def test_double_pendulum_rewards_a_tip_within_a_metre_of_the_top(bend, reward):
    env = double_pendulum.SparseDoublePendulumLight()
    y = jnp.array([np.pi, np.pi + bend, 0.0, 0.0], jnp.float32)  # the tip is 2 sin(bend / 2) from (0, 2)
    x, z = double_pendulum.tip(y)
    np.testing.assert_allclose(np.hypot(x, z - 2), 2 * np.sin(bend / 2), atol=1e-5)
    after = env.step(env.begin(double_pendulum.DoublePendulumState(y)), jnp.zeros(1))
    assert (after.reward, after.done) == (reward, 0)
    assert after.obs.shape == (6,)


def gather_state(objects, present):
    links = swimmer.to_links(jnp.zeros(5), jnp.zeros(5))
    links = links.at[:2].set(0.0)
    return swimmer_gather.GatherState(links, jnp.asarray(objects, jnp.float32), jnp.asarray(present))


def test_gathering_pays_apples_charges_bombs_and_ends_when_all_are_taken():
    env = swimmer_gather.SwimmerGather()
    step = jax.jit(env.step)
    objects = np.full((16, 2), 5.0)
    objects[[0, 1, 8]] = [(0.5, 0), (0, -0.99), (0, 0.5)]
    after = step(env.begin(gather_state(objects, [True] * 16)), jnp.zeros(2))
    assert (after.reward, after.done) == (1, 0)  # two apples, one bomb
    assert np.flatnonzero(~np.asarray(after.pipeline_state.present)).tolist() == [0, 1, 8]
    assert step(after, jnp.zeros(2)).reward == 0, "an object pays once"
    last = step(env.begin(gather_state(objects, np.arange(16) == 8)), jnp.zeros(2))
    assert (last.reward, last.done) == (-1, 1)
    outside = objects.copy()
    outside[0] = (1.01, 0)
    assert step(env.begin(gather_state(outside, np.arange(16) == 0)), jnp.zeros(2)).reward == 0


def slow_readings(offsets, present, heading):
    """The sensor as rllab words it: from far to near, the nearer object overwrites its sector."""
    bins = np.zeros(10)
    for i in sorted(range(len(offsets)), key=lambda i: -np.hypot(*offsets[i])):
        distance = np.hypot(*offsets[i])
        angle = (np.arctan2(offsets[i][1], offsets[i][0]) - heading) % (2 * np.pi)
        angle -= 2 * np.pi * (angle > np.pi)
        if present[i] and distance <= 6 and abs(angle) <= np.pi / 2:
            bins[min(int((angle + np.pi / 2) / (np.pi / 10)), 9)] = 1 - distance / 6
    return bins


def test_sensors_read_the_nearest_object_of_each_sector():
    rng = np.random.default_rng(0)
    read = jax.jit(swimmer_gather.readings)
    for _ in range(50):
        offsets, present = rng.uniform(-7, 7, (8, 2)), rng.random(8) < 0.8
        heading = rng.uniform(-9, 9)
        got = read(jnp.asarray(offsets, jnp.float32), jnp.asarray(present), jnp.float32(heading))
        np.testing.assert_allclose(got, slow_readings(offsets, present, heading), atol=1e-5)


def test_gather_observes_itself_then_apples_then_bombs():
    env = swimmer_gather.SwimmerGather()
    objects = np.full((16, 2), 50.0)
    objects[0], objects[8] = (3.0, 0.1), (0.0, 3.0)
    obs = env.begin(gather_state(objects, [True] * 16)).obs
    assert obs.shape == (33,)
    np.testing.assert_allclose(obs[13:23], np.eye(10)[5] * 0.5, atol=1e-3)
    np.testing.assert_allclose(obs[23:33], np.eye(10)[9] * 0.5, atol=1e-3)


def test_the_sparse_cheetah_is_paid_beyond_five_metres_only(monkeypatch):
    env = envs.make("SparseHalfCheetah")
    monkeypatch.setattr(env, "pipeline_step", lambda physics, action: physics)
    with brax_door.tracing():
        state = jax.jit(env.reset)(jax.random.key(0))
        np.testing.assert_allclose(state.obs[:17], np.zeros(17), atol=0.5)
        start = float(env.centre_of_mass(state.pipeline_state)[0])
        for x, reward in [(4.99, 0), (5.01, 1)]:
            place = state.pipeline_state.x.replace(pos=state.pipeline_state.x.pos + jnp.array([x - start, 0, 0]))
            after = env.step(state.replace(pipeline_state=state.pipeline_state.replace(x=place)), jnp.zeros(6))
            assert (after.reward, after.done, after.obs.shape) == (reward, 0, (20,))
            np.testing.assert_allclose(after.obs[17], x, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["sparse_mountain_car", "sparse_cartpole_swingup", "sparse_double_pendulum", "swimmer_gather"]
)
@pytest.mark.parametrize("kind", ["", "_light"])
def test_steps_and_time_limits_are_the_papers(name, kind):
    name += "" if name == "swimmer_gather" else kind
    env = envs.make(name)
    assert env.dt == (0.02 if name.startswith("sparse_double_pendulum") else 0.05)
    assert env.episode_length == envs.default_episode_length(name) == 500
