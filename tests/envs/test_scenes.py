"""Scenes for the viewer: every body has a pose, and things are where the physics says."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import envs
from jaxpsn.core.errors import UserError
from jaxpsn.envs import (
    brax_door,
    cartpole,
    cartpole_light,
    double_pendulum,
    double_pendulum_light,
    mountain_car,
    scenes,
)

SIZES = {"sphere": 1, "capsule": 2, "cylinder": 2, "box": 3, "plane": 0, "polyline": 0}
NAMES = [
    "sparse_mountain_car",
    "sparse_cartpole_swingup",
    "sparse_double_pendulum",
    "sparse_mountain_car_light",
    "sparse_cartpole_swingup_light",
    "sparse_double_pendulum_light",
    "swimmer_gather",
    "probe/held_exploration",
    "chain",
    "deep_sea",
    "cartpole",
    "mountain_car_discrete",
    "acrobot",
    "inverted_pendulum",
    "sparse_halfcheetah",
    "playground/CartpoleSwingupSparse",
]


def apply(pose, point):
    """A point of a body's frame, in the world."""
    (w, *axis), axis = pose[3:], np.asarray(pose[4:])
    return pose[:3] + point + 2 * np.cross(axis, np.cross(axis, point) + w * np.asarray(point))


@pytest.mark.parametrize("name", NAMES)
def test_scene_and_poses_fit_and_are_plain_json(name):
    env = envs.make(name)
    scene = json.loads(json.dumps(scenes.scene(env)))
    assert scene["dt"] > 0 and set(scene["camera"]) == {"target_body", "distance", "azimuth", "elevation", "lookat"}
    with brax_door.tracing():
        poses = jax.jit(lambda key: scenes.poses(env, env.reset(key).pipeline_state))(jax.random.key(0))
    assert poses.shape == (len(scene["bodies"]), 7)
    np.testing.assert_array_equal(poses[0], [0, 0, 0, 1, 0, 0, 0])
    np.testing.assert_allclose(np.linalg.norm(poses[:, 3:], axis=1), 1, atol=1e-5)
    geoms = [geom for body in scene["bodies"] for geom in body["geoms"]]
    assert len(geoms) >= 2
    for geom in geoms:
        assert len(geom["size"]) == SIZES[geom["type"]] and len(geom["color"]) == 4
        assert ("points" in geom) == (geom["type"] == "polyline")


def test_the_poles_top_and_the_pendulums_tip_are_drawn_where_they_are():
    pole = cartpole_light.SparseCartpoleSwingupLight()
    poses = np.asarray(scenes.poses(pole, cartpole_light.CartpoleState(jnp.array([0.5, 0.0, 0.7, 0.0]))))
    np.testing.assert_allclose(apply(poses[2], (0, 0, 1)), [0.5 - np.sin(0.7), 0, np.cos(0.7)], atol=1e-6)
    chain = double_pendulum_light.SparseDoublePendulumLight()
    y = jnp.array([0.4, -1.1, 0.0, 0.0])
    poses = np.asarray(scenes.poses(chain, double_pendulum_light.DoublePendulumState(y)))
    x, z = double_pendulum_light.tip(y)
    np.testing.assert_allclose(apply(poses[2], (0, 0, -1)), [x, 0, z], atol=1e-6)


def test_bodies_of_box2d_hang_together_after_some_steps():
    ends = {}
    for name, module, start in (
        ("sparse_cartpole_swingup", cartpole, jnp.array([0.5, 0.0, 0.7, 0.0])),
        ("sparse_double_pendulum", double_pendulum, jnp.array([0.4, -1.1, 0.0, 0.0])),
    ):
        env = envs.make(name)
        step, after = jax.jit(env.step), env.begin(module.start(start))
        for _ in range(5):
            after = step(after, jnp.zeros(1))
        ends[name] = np.asarray(scenes.poses(env, after.pipeline_state))
    _, cart, pole = ends["sparse_cartpole_swingup"]
    top = cart[:3] + np.array((0, 0, cartpole.CART_HEIGHT / 2))
    np.testing.assert_allclose(apply(pole, (0, 0, -0.5)), top, atol=0.006)
    assert abs(cart[2]) < 1e-6, "the cart is on the rail"
    _, upper, lower = ends["sparse_double_pendulum"]
    np.testing.assert_allclose(apply(upper, (0, 0, -0.5)), apply(lower, (0, 0, 0.5)), atol=0.006)
    np.testing.assert_allclose(apply(upper, (0, 0, 0.5)), np.zeros(3), atol=0.006)


def test_the_cart_is_drawn_where_its_box_is():
    env = envs.make("sparse_mountain_car")
    physics = mountain_car.start(jnp.float32(0.0))
    physics = physics.replace(pose=physics.pose.replace(x=jnp.float32(0.4), y=jnp.float32(0.3), angle=jnp.float32(0.5)))
    cart = np.asarray(scenes.poses(env, physics))[1]
    corner = np.array((0.4 + 0.2 * np.cos(0.5), 0, 0.3 + 0.2 * np.sin(0.5)))
    np.testing.assert_allclose(apply(cart, (0.2, 0, 0)), corner, atol=1e-6)


def test_taken_objects_disappear():
    env = envs.make("swimmer_gather")
    physics = env.reset(jax.random.key(0)).pipeline_state
    physics = physics.replace(present=physics.present.at[3].set(False))
    poses = np.asarray(scenes.poses(env, physics))
    assert np.flatnonzero(poses[:, 2] < -10).tolist() == [4 + 3]
    np.testing.assert_array_equal(poses[4, :2], physics.objects[0])


def test_roaming_robots_are_followed():
    assert scenes.scene(envs.make("sparse_halfcheetah"))["camera"]["target_body"] == 1
    assert scenes.scene(envs.make("inverted_pendulum"))["camera"]["target_body"] is None


def test_nothing_to_draw_is_said_so():
    with pytest.raises(UserError, match="no bodies to draw"):
        scenes.scene(envs.make("fast"))
