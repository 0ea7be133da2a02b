"""The paper's tasks beside Box2D itself: stored trajectories, made by tests/envs/original/record.py."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import envs
from jaxpsn.envs import cartpole, double_pendulum, mountain_car
from jaxpsn.envs.box2d import joints
from jaxpsn.envs.box2d.joints import Triple

pytestmark = pytest.mark.usefixtures("optimised")  # what was stored is of such programs, to the last bit

STORED = np.load(pathlib.Path(__file__).parent / "original" / "box2d.npz")
STEPS = 100
# For each task: where an episode begins, centres of mass from the bodies' origins, and the physics' fields.
KINDS = {
    "sparse_cartpole_swingup": (
        cartpole.start, ((0.0, 0.0), (0.0, cartpole.HALF)), ("cart", "pole"), ("cart_speed", "pole_speed")
    ),
    "sparse_double_pendulum": (
        double_pendulum.start, ((0.0, -0.5), (0.0, -0.5)), ("upper", "lower"), ("upper_speed", "lower_speed")
    ),
    "sparse_mountain_car": (lambda y: mountain_car.start(y[0]), ((0.0, 0.0),), ("pose",), ("speed",)),
}  # fmt: skip
# Largest error of a position (m, rad) and of a velocity (m/s, rad/s) after one step from an equal state.
STEP = {
    "sparse_cartpole_swingup": (2e-5, 2e-5),
    "sparse_double_pendulum": (2e-5, 5e-4),
    "sparse_mountain_car": (2e-5, 5e-4),
}
# After 100 steps on one's own: median error over trajectories of positions and of velocities, largest of positions.
OWN = {
    "sparse_cartpole_swingup": (1e-4, 2e-4, 1e-3),
    "sparse_double_pendulum": (1e-3, 1e-2, 2e-2),
    "sparse_mountain_car": (1e-3, 1e-2, 5e-2),
}


def with_bodies(name, physics, bodies):
    """``physics`` with poses and velocities of these bodies ``[bodies, 6]``, as Box2D's interface gives them."""
    _, centres, poses, speeds = KINDS[name]
    for number, centre in enumerate(centres):
        x, y, angle, *velocity = bodies[number]
        dx, dy = joints.turned(centre, angle)
        physics = physics.replace(**{poses[number]: Triple(x + dx, y + dy, angle), speeds[number]: Triple(*velocity)})
    return physics


def bodies_of(name, physics):
    _, centres, poses, speeds = KINDS[name]
    rows = []
    for number, centre in enumerate(centres):
        pose, speed = getattr(physics, poses[number]), getattr(physics, speeds[number])
        dx, dy = joints.turned(centre, pose.angle)
        rows.append(jnp.stack((pose.x - dx, pose.y - dy, pose.angle, speed.x, speed.y, speed.angle)))
    return jnp.stack(rows)


@pytest.fixture(scope="module", params=KINDS)
def runs(request):
    """What our task and the original did with equal actions: from equal states at every step, and from the first."""
    name = request.param
    env = envs.make(name)
    start, action, states = (jnp.asarray(STORED[f"{name}/{field}"]) for field in ("start", "action", "state"))

    def run(start, actions, states, forced):
        def step(state, given):
            action, bodies = given
            physics = with_bodies(name, state.pipeline_state, bodies)
            physics = jax.tree.map(lambda own, told: jnp.where(forced, told, own), state.pipeline_state, physics)
            after = env.step(state.replace(pipeline_state=physics), action[None])
            return after, (bodies_of(name, after.pipeline_state), after.reward, after.done)

        begun = env.begin(KINDS[name][0](start))
        return bodies_of(name, begun.pipeline_state), jax.lax.scan(step, begun, (actions, states[:-1]))[1]

    play = jax.jit(jax.vmap(run, (0, 0, 0, None)))
    return name, play(start, action, states, True), play(start, action, states, False)


def errors(name, made):
    """Largest error of positions and of velocities ``[trajectories, steps]``."""
    difference = np.abs(np.asarray(made) - STORED[f"{name}/state"][:, 1:])
    return difference[..., :3].max((2, 3)), difference[..., 3:].max((2, 3))


def test_episodes_begin_as_in_box2d(runs):
    name, (begun, _), _ = runs
    np.testing.assert_allclose(begun, STORED[f"{name}/state"][:, 0], atol=1e-6)


def test_a_step_from_an_equal_state_is_box2ds(runs):
    name, (_, (made, reward, done)), _ = runs
    position, velocity = errors(name, made)
    np.testing.assert_array_less(position, STEP[name][0])
    np.testing.assert_array_less(velocity, STEP[name][1])
    np.testing.assert_array_equal(reward, STORED[f"{name}/reward"])
    np.testing.assert_array_equal(done, STORED[f"{name}/done"])
    assert STORED[f"{name}/reward"].sum() > 20, "rewards are seen"


def test_a_hundred_steps_on_ones_own_end_where_box2d_ends(runs):
    """A mountain car meets a bend a step earlier or later for a change of 1e-6: most stay together, none goes far."""
    name, _, (_, (made, reward, _)) = runs
    position, velocity = (error.max(1) for error in errors(name, made))
    assert np.median(position) < OWN[name][0] and np.median(velocity) < OWN[name][1]
    assert position.max() < OWN[name][2], position
    stored = STORED[f"{name}/reward"].any(1)
    np.testing.assert_array_equal(np.asarray(reward).any(1), stored)
    assert stored.any() and not stored.all()


LIGHT = np.load(pathlib.Path(__file__).parent / "original" / "light.npz")


@pytest.mark.parametrize("name", [name for name in LIGHT if name != "versions"])
def test_the_light_tasks_are_what_published_studies_ran_on(name):
    """Stored before the tasks stepped as Box2D does: bit for bit with the JAX of then, else to rounding."""
    light = name if name == "cartpole_swingup" else f"{name}_light"
    steps = len(LIGHT[name])
    episodes = envs.Episodes(envs.make(light), 4, 60)

    def run(key):
        actions = jax.random.uniform(jax.random.fold_in(key, 1), (150, 4, 1), minval=-1.3, maxval=1.3)[:steps]

        def step(state, action):
            state, out = episodes.step(state, action)
            return state, (out.final_obs, out.reward, out.terminated, state.obs)

        return jax.lax.scan(step, episodes.reset(key), actions)[1]

    found = jax.jit(run)(jax.random.key(7))
    found = np.concatenate([np.asarray(part, np.float32).reshape(steps, 4, -1) for part in found], -1)
    if str(LIGHT["versions"]) == f"jax {jax.__version__}":
        np.testing.assert_array_equal(found, LIGHT[name])
    np.testing.assert_allclose(found[:20], LIGHT[name][:20], rtol=1e-4, atol=1e-4)
