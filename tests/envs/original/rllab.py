"""The paper's three Box2D tasks in Box2D itself, as rllab's models and VIME's rewards put them: an oracle.

Needs the package Box2D (``pip install Box2D==2.3.10``), which the tests do not: they compare with what
what record.py beside this stored. Bodies are created in rllab's order, which decides that of the solver.
"""

import Box2D
import numpy as np


class Task:
    """A world that is reset to chosen numbers and stepped with actions in [-1, 1]."""

    dt, velocity_iterations, position_iterations, frames, limit = 0.05, 8, 3, 1, 1.0

    def __init__(self):
        self.world = Box2D.b2World(allow_sleeping=False)
        self.build()

    def state(self):
        """[bodies, 6]: position of the body's origin, angle, velocity of its centre of mass, angular velocity."""
        moving = [body for body in self.world.bodies if body.type == Box2D.b2_dynamicBody]
        return np.array([[*b.position, b.angle, *b.linearVelocity, b.angularVelocity] for b in moving])

    def step(self, action):
        """Observation, reward and end after one step."""
        control = float(np.clip(action, -1.0, 1.0)) * self.limit
        for _ in range(self.frames):
            self.control(control)
            self.world.Step(self.dt, self.velocity_iterations, self.position_iterations)
        return self.observe(), self.reward(), self.done()

    def push(self, body, force):
        """A force along the body's own x axis at its origin."""
        body.ApplyForce(body.GetWorldVector((force, 0.0)), body.GetWorldPoint((0.0, 0.0)), True)


class Cartpole(Task):
    """cartpole.xml.mako and cartpole_swingup_env_x.py."""

    limit = 10.0

    def build(self):
        width, height = 4 / 12**0.5, 3 / 12**0.5
        self.cart = self.world.CreateDynamicBody(position=(0, height / 2))
        self.cart.CreatePolygonFixture(box=(width / 2, height / 2), density=1.0, friction=5e-4)
        self.pole = self.world.CreateDynamicBody(position=(0, height))
        self.pole.CreatePolygonFixture(vertices=rectangle(1.0), density=1.0, friction=2e-6, groupIndex=-1)
        track = self.world.CreateStaticBody(position=(0, -0.1))
        track.CreatePolygonFixture(box=(100, 0.1), friction=2e-6, groupIndex=-1)
        joint = self.world.CreateJoint
        joint(type=Box2D.b2RevoluteJoint, bodyA=self.cart, bodyB=self.pole, anchor=(0, height))
        joint(type=Box2D.b2PrismaticJoint, bodyA=track, bodyB=self.cart)

    def start(self, x, v, angle, omega):
        self.cart.position, self.cart.linearVelocity = (x, self.cart.position[1]), (v, 0.0)
        self.pole.angle, self.pole.angularVelocity = angle, omega

    @staticmethod
    def draw(rng):
        return np.array([0, 0, np.pi, 0]) + np.array([1, 2, 1, 3]) * rng.uniform(-1, 1, 4)

    def control(self, force):
        self.push(self.cart, force)

    def observe(self):
        return np.array(
            [self.cart.position[0], self.cart.linearVelocity[0], self.pole.angle, self.pole.angularVelocity]
        )

    def done(self):
        return abs(self.cart.position[0]) > 3

    def reward(self):
        return float(not self.done() and np.cos(self.pole.angle) > 0.8)


class DoublePendulum(Task):
    """double_pendulum.xml.mako and double_pendulum_env_x.py."""

    dt, velocity_iterations, position_iterations, frames, limit = 0.01, 20, 20, 2, 50.0

    def build(self):
        self.links = []
        for y in (0, -1):
            link = self.world.CreateDynamicBody(position=(0, y))
            link.CreatePolygonFixture(vertices=rectangle(-1.0), density=5.0, groupIndex=-1)
            self.links.append(link)
        track = self.world.CreateStaticBody(position=(0, -0.1))
        track.CreatePolygonFixture(box=(100, 0.1), groupIndex=-1)
        joint, (first, second) = self.world.CreateJoint, self.links
        joint(type=Box2D.b2RevoluteJoint, bodyA=track, bodyB=first, anchor=(0, 0))
        self.elbow = joint(type=Box2D.b2RevoluteJoint, bodyA=first, bodyB=second, anchor=(0, -1))

    def start(self, a, b, omega_a, omega_b):
        self.links[0].angle, self.links[1].angle = a, b
        self.links[0].angularVelocity, self.links[1].angularVelocity = omega_a, omega_b

    @staticmethod
    def draw(rng):
        return rng.normal(size=4) * [0.1, 0.1, 0.01, 0.01]

    def control(self, torque):
        self.elbow.motorEnabled = True
        self.elbow.motorSpeed = 1e5 if torque > 0 else -1e5
        self.elbow.maxMotorTorque = abs(torque)

    def observe(self):
        return np.array([f for k in self.links for f in (np.sin(k.angle), np.cos(k.angle), k.angularVelocity)])

    def done(self):
        return False

    def reward(self):
        link = self.links[1]
        tip = np.array([link.position[0] - np.sin(link.angle), link.position[1] - np.cos(link.angle)])
        return float(np.linalg.norm(tip - [0, 2]) < 1)


class MountainCar(Task):
    """mountain_car.xml.mako and mountain_car_env_x.py."""

    def build(self):
        self.cart = self.world.CreateDynamicBody(position=(0, 0.05))
        self.cart.CreatePolygonFixture(box=(0.2, 0.1), density=5.0, friction=5e-4)
        points = [(0.02 * i, np.sin((0.01 * i - 0.5) * np.pi)) for i in range(-100, 101)]
        self.world.CreateStaticBody(position=(0, 1)).CreateChainFixture(vertices_chain=points)

    def start(self, v):
        self.cart.linearVelocity = (v, 0.0)

    @staticmethod
    def draw(rng):
        return rng.uniform(-1, 1, 1)

    def control(self, force):
        self.push(self.cart, force)

    def observe(self):
        return np.array([self.cart.position[0], self.cart.linearVelocity[0]])

    def done(self):
        return self.cart.position[0] >= 0.6 or abs(self.cart.position[0]) >= 2

    def reward(self):
        return float(self.done())


TASKS = {
    "sparse_cartpole_swingup": Cartpole,
    "sparse_double_pendulum": DoublePendulum,
    "sparse_mountain_car": MountainCar,
}


def rectangle(length):
    """Corners of a bar of width 0.1 from the origin up (or down) to ``length``."""
    return [(0.05, 0.0), (0.05, length), (-0.05, length), (-0.05, 0.0)]
