"""Equations of motion against a slow float64 reference, MuJoCo, and conservation of energy.

Of the light tasks: the paper's step as Box2D does, which conserves nothing (test_box2d.py).
"""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from jaxpsn.envs import brax_api, half_cheetah, swimmer
from jaxpsn.envs import cartpole_light as cartpole
from jaxpsn.envs import double_pendulum_light as double_pendulum
from jaxpsn.envs import mountain_car_light as mountain_car


def accelerations(positions, masses, forces, q, qd):
    """Gauss's principle on generalised coordinates, all derivatives by differences: J'MJ q'' = J'(f - M J'q').

    ``positions(q)`` are maximal coordinates with these ``masses`` (inertias for angles) and applied ``forces``.
    """
    h = 1e-5
    columns = [(positions(q + h * e) - positions(q - h * e)) / (2 * h) for e in np.eye(len(q))]
    jacobian = np.stack(columns, axis=1)
    h = 1e-4 / max(1.0, np.abs(qd).max())
    bend = (positions(q + h * qd) - 2 * positions(q) + positions(q - h * qd)) / h**2
    weighted = jacobian.T * masses
    return np.linalg.solve(weighted @ jacobian, jacobian.T @ forces - weighted @ bend)


def cartpole_reference(y, force):
    def positions(q):
        return np.array([q[0], q[0] - 0.5 * np.sin(q[1]), 0.5 * np.cos(q[1]), q[1]])

    masses = np.array([1.0, 0.1, 0.1, 0.1 * (1.0 + 0.01) / 12])
    qdd = accelerations(positions, masses, np.array([force, 0, -0.1 * 10, 0]), y[[0, 2]], y[[1, 3]])
    return np.array([y[1], qdd[0], y[3], qdd[1]])


def pendulum_reference(y, torque):
    def positions(q):
        elbow = np.array([np.sin(q[0]), -np.cos(q[0])])
        return np.array([*elbow / 2, q[0], *(elbow + np.array([np.sin(q[1]), -np.cos(q[1])]) / 2), q[1]])

    inertia = 0.5 * 1.01 / 12
    masses = np.array([0.5, 0.5, inertia] * 2)
    forces = np.array([0, -5.0, -torque, 0, -5.0, torque])
    return np.concatenate((y[2:], accelerations(positions, masses, forces, y[:2], y[2:])))


def mountain_reference(y, force):
    def positions(q):
        return np.array([q[0], 1 - np.cos(np.pi * q[0] / 2)])

    slope = np.pi / 2 * np.sin(np.pi * y[0] / 2)
    tangent = np.array([1, slope]) / np.hypot(1, slope)
    bend = (np.pi / 2) ** 2 * np.cos(np.pi * y[0] / 2)
    speed = y[1] * np.hypot(1, slope)
    normal = 0.4 * (10 / np.hypot(1, slope) + bend / np.hypot(1, slope) ** 3 * speed**2)  # weight and centripetal
    friction = 0.01 * max(normal, 0.0) * np.tanh(y[1] / 1e-3)
    forces = (force - friction) * tangent + np.array([0, -4.0])
    return np.concatenate((y[1:], accelerations(positions, np.array([0.4, 0.4]), forces, y[:1], y[1:])))


TASKS = {
    "cartpole": (cartpole, cartpole.SparseCartpoleSwingupLight, cartpole_reference, 10.0, (2, 3, 4, 5)),
    "pendulum": (double_pendulum, double_pendulum.SparseDoublePendulumLight, pendulum_reference, 50.0, (3, 3, 8, 8)),
    "mountain": (mountain_car, mountain_car.SparseMountainCarLight, mountain_reference, 1.0, (1.9, 3)),
}


@pytest.mark.parametrize("name", TASKS)
def test_accelerations_follow_from_first_principles(name):
    module, _, reference, limit, scale = TASKS[name]
    rng = np.random.default_rng(0)
    for _ in range(8):
        y = rng.uniform(-1, 1, len(scale)) * scale
        force = limit * rng.uniform(-1, 1)
        got = module.derivative(jnp.asarray(y, jnp.float32), jnp.float32(force))
        want = reference(y, force)
        np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-4 * max(1.0, np.abs(want).max()))


def physics_of(name, y):
    y = jnp.asarray(y, jnp.float32)
    if name == "cartpole":
        return cartpole.CartpoleState(y)
    if name == "pendulum":
        return double_pendulum.DoublePendulumState(y)
    return mountain_car.MountainCarState(y[0], y[1])


@pytest.mark.parametrize("name", TASKS)
def test_a_step_integrates_the_clipped_action_over_dt(name):
    _, kind, reference, limit, scale = TASKS[name]
    env = kind()
    y = 0.4 * np.array(scale)
    state = env.begin(physics_of(name, y))
    after = jax.jit(env.step)(state, jnp.array([-1.7]))
    for _ in range(40):  # the same time by small steps of the reference; the action is clipped to -1
        h = env.dt / 40
        middle = y + h / 2 * reference(y, -limit)
        y = y + h * reference(middle, -limit)
    np.testing.assert_allclose(
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(after.pipeline_state)]), y, rtol=2e-3
    )


def cartpole_energy(y):
    _, v, angle, omega = y
    centre = v - 0.5 * omega * np.cos(angle), -0.5 * omega * np.sin(angle)
    spin = 0.5 * (0.1 * 1.01 / 12) * omega**2
    return 0.5 * v**2 + 0.05 * (centre[0] ** 2 + centre[1] ** 2) + spin + 0.5 * np.cos(angle)


def pendulum_energy(y):
    a, b, u, w = y
    first = np.array([np.cos(a), np.sin(a)]) * u
    second = first + 0.5 * w * np.array([np.cos(b), np.sin(b)])
    kinetic = 0.25 * ((first / 2) @ (first / 2) + second @ second) + 0.5 * (0.5 * 1.01 / 12) * (u**2 + w**2)
    return kinetic - 5.0 * 0.5 * np.cos(a) - 5.0 * (np.cos(a) + 0.5 * np.cos(b))


@pytest.mark.parametrize(
    ("name", "start", "energy"),
    [("cartpole", (0, 0.5, 2.5, 2), cartpole_energy), ("pendulum", (2.5, 1.0, 0, 0), pendulum_energy)],
)
def test_without_force_energy_is_conserved(name, start, energy):
    env = TASKS[name][1]()

    @jax.jit
    def run(state):
        return jax.lax.scan(lambda s, _: (env.step(s, jnp.zeros(1)), s.pipeline_state.y), state, None, length=200)[1]

    path = np.asarray(run(env.begin(physics_of(name, start))), np.float64)
    energies = np.array([energy(y) for y in path])
    assert np.ptp(path[:, 2]) > 0.5, "it moved"
    np.testing.assert_allclose(energies, energies[0], atol=5e-3 * (1 + abs(energies[0])))


def test_dry_friction_slows_the_mountain_car_and_lets_it_rest():
    env = mountain_car.SparseMountainCarLight()
    state = env.begin(mountain_car.MountainCarState(jnp.float32(0), jnp.float32(0.5)))
    run = jax.jit(lambda s: jax.lax.scan(lambda s, _: (env.step(s, jnp.zeros(1)), s.obs), s, None, length=500)[1])
    path = run(state)
    assert np.abs(path[-1]).max() < 0.01 < np.abs(path[20]).max()


def test_full_force_from_rest_does_not_climb_but_rocking_does():
    env = mountain_car.SparseMountainCarLight()

    @jax.jit
    def run(rock):
        def step(state, _):
            action = jnp.where(rock, jnp.sign(state.pipeline_state.v + 1e-6), 1.0)
            return env.step(state, action[None]), state.done

        start = env.begin(mountain_car.MountainCarState(jnp.float32(0), jnp.float32(0)))
        return jnp.max(jax.lax.scan(step, start, None, length=200)[1])

    assert run(False) == 0 and run(True) == 1


SWIMMER = """
<mujoco><compiler inertiafromgeom="true" angle="degree"/>
  <option timestep="0.001" density="4000" viscosity="0.1" integrator="Euler"/>
  <default><geom contype="0" conaffinity="0"/></default>
  <worldbody><body name="torso"><geom type="capsule" fromto="1.5 0 0 0.5 0 0" size="0.1" density="1000"/>
    <joint axis="1 0 0" type="slide"/><joint axis="0 1 0" type="slide"/><joint axis="0 0 1" type="hinge"/>
    <body pos="0.5 0 0"><geom type="capsule" fromto="0 0 0 -1 0 0" size="0.1" density="1000"/>
      <joint name="a" type="hinge" axis="0 0 1" range="-100 100" limited="true"/>
      <body pos="-1 0 0"><geom type="capsule" fromto="0 0 0 -1 0 0" size="0.1" density="1000"/>
        <joint name="b" type="hinge" axis="0 0 1" range="-100 100" limited="true"/></body></body></body></worldbody>
  <actuator><motor joint="a" ctrlrange="-50 50"/><motor joint="b" ctrlrange="-50 50"/></actuator>
</mujoco>"""


def test_the_swimmer_accelerates_as_in_mujoco():
    model = mujoco.MjModel.from_xml_string(SWIMMER)
    data = mujoco.MjData(model)
    rng = np.random.default_rng(1)

    @jax.jit
    def acceleration(q, qd, torque):
        state = swimmer.to_links(q, qd)
        rate = swimmer.derivative(state, torque)
        back = swimmer.to_joints(state)
        return back, jax.jvp(lambda s: swimmer.to_joints(s)[1], (state,), (rate,))[1]

    for _ in range(6):
        data.qpos[:], data.qvel[:] = rng.uniform(-1.2, 1.2, 5), rng.uniform(-2, 2, 5)
        data.ctrl[:] = rng.uniform(-50, 50, 2)
        mujoco.mj_forward(model, data)
        given = [jnp.asarray(v, jnp.float32) for v in (data.qpos, data.qvel, data.ctrl)]
        (q, qd), got = acceleration(*given)
        np.testing.assert_allclose(q, data.qpos, atol=1e-5)
        np.testing.assert_allclose(qd, data.qvel, atol=1e-5)
        np.testing.assert_allclose(got, data.qacc, rtol=2e-3, atol=2e-3 * np.abs(data.qacc).max())


def test_the_swimmers_joints_stop_at_a_hundred_degrees():
    torque = jnp.array([50.0, -50.0])
    step = jax.jit(lambda y: jax.lax.fori_loop(0, 600, lambda _, y: y + 0.005 * swimmer.derivative(y, torque), y))
    q, qd = swimmer.to_joints(step(swimmer.to_links(jnp.zeros(5), jnp.zeros(5))))
    np.testing.assert_allclose(np.rad2deg(q[3:]), [100, -100], atol=2.0)
    assert np.abs(qd[3:]).max() < 0.2


def test_the_cheetahs_centre_of_mass_is_mujocos():
    env = half_cheetah.SparseHalfCheetah("mjx")
    model = env.sys.mj_model
    data = mujoco.MjData(model)
    data.qpos[:] = np.linspace(-0.3, 0.4, model.nq)
    mujoco.mj_forward(model, data)

    class Physics:
        x = brax_api.Transform(jnp.asarray(data.xpos[1:], jnp.float32), jnp.asarray(data.xquat[1:], jnp.float32))

    np.testing.assert_allclose(env.centre_of_mass(Physics), data.subtree_com[1], atol=1e-4)
    np.testing.assert_allclose(env.dt, 0.01, rtol=1e-6)
    np.testing.assert_array_equal(env.sys.actuator.gear, [120, 90, 60, 120, 60, 30])
