"""What runs on accelerators: the same steps in fewer kernels, with no branch that all of them take alike."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from jaxpsn import envs
from jaxpsn.control import program
from jaxpsn.control.agents import AGENTS, rounds
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.control.placement import Placement
from jaxpsn.core import platforms, replaced
from jaxpsn.envs import cartpole, double_pendulum
from jaxpsn.envs.box2d import joints
from jaxpsn.run import sweep
from tests.control.test_agents import HYPER, KEY, SMALL, _batch
from tests.envs.test_episodes import Counter, run

pytestmark = pytest.mark.usefixtures("optimised")

ENVS, WARMUP = 4, 3
CONFIG = ControlConfig(
    env=EnvConfig(name="probe/action", num_envs=ENVS, reset="cached"),
    agent=(
        "td3(actor_hidden=8, critic_hidden=8, batch_size=16, updates=4, actor_lr=1e-2, critic_lr=1e-2, "
        f"replay_capacity={ENVS * 50}, warmup={ENVS * WARMUP})"
    ),
    explore="parameter(sigma=0.5, target=0.3, probes=4)",
    eval_envs=3,
)


class Elsewhere(Placement):
    """Programs that are traced for a GPU and run here."""

    @property
    def platform(self) -> str:
        return platforms.CUDA


@functools.cache
def _steps(config=CONFIG, clock=0, place=Elsewhere):
    """A program as it is from ``clock`` on, and its compiled step, with what is drawn ahead of it if anything is."""
    made = program.make(config, place=place()).since(clock)

    def step(state):
        return made.step(state) if made.ahead is None else made.step(state, made.ahead(state, state.clock))

    return made, jax.jit(step)


def _close(ours, theirs):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), ours, theirs)


def _branches(made, state):
    """Branches of a step that is lowered for anything but a CPU."""
    return _count(jax.make_jaxpr(made.step)(state).jaxpr)


def _count(jaxpr):
    found = 0
    for equation in jaxpr.eqns:
        inner = list(core.jaxprs_in_params(equation.params))
        if equation.primitive.name == "cond":
            by_platform = equation.params.get("branches_platforms")
            inner = inner[-1:] if by_platform else inner  # the last one is that of all other platforms
            found += not by_platform
        found += sum(_count(getattr(one, "jaxpr", one)) for one in inner)
    return found


@pytest.mark.parametrize("algorithm", ["td3(policy_delay=3)", "td3(policy_delay=2)", "ddpg", "sac"])
def test_a_lean_round_is_the_round(algorithm):
    config = replaced(AGENTS.make(algorithm), SMALL)
    agent, given = config.build(3, 2), HYPER
    if algorithm == "sac":
        given = HYPER | {name: jnp.float32(getattr(config, name)) for name in
                         ("temperature", "temperature_lr", "target_entropy")}  # fmt: skip
    state, batches = agent.init(KEY, given, {}), _batch(6, 16)
    plain, lean = (
        jax.jit(functools.partial(rounds.learn, agent, lean=which))(KEY, state, batches, given, jnp.int32(12))
        for which in (False, True)
    )
    _close(lean, plain)
    if algorithm.startswith("td3"):
        assert lean[1]["actor_loss"][1] == 6 // agent.period


def test_lean_steps_are_the_steps_of_a_cpu_and_have_no_branches_after_the_warm_up():
    (made, general), (late, settled), (_, plain) = _steps(), _steps(clock=WARMUP), _steps(place=Placement)
    state = jax.jit(made.init)(jax.random.key(0), made.hyper)
    theirs = state
    for clock in range(12):
        state, told = (general if clock < WARMUP else settled)(state)
        theirs, expected = plain(theirs)
        _close(told, expected)
    _close(state.replace(key=None, envs=None, explore=None), theirs.replace(key=None, envs=None, explore=None))
    assert made.since(WARMUP - 1) is made is not late and _steps(place=Placement)[0].since(99).schedule.warm is False
    assert _branches(made, state) > _branches(late, state) == 0
    assert late.ahead and _steps(place=Placement)[0].ahead is None


def test_a_sweep_is_simplified_like_its_program():
    swept = sweep.over(_steps()[0], "actor_lr", (0.1, 0.2), 1)
    assert swept.since(0) is swept and swept.since(WARMUP).program.schedule.warm and swept.ahead


def test_where_noise_may_be_zero_the_clean_policy_has_its_branch():
    made, _ = _steps()
    late, still = made.since(WARMUP), sweep.over(made, "sigma", (0.0, 0.5), 1).since(WARMUP).program
    assert late.explorer is made.loud and still.explorer is made.explorer


def test_starts_of_a_pool_are_looked_up_alike_with_and_without_a_branch():
    actions = np.zeros((7, 3, 1), np.float32)
    actions[2, 1] = 1
    ours, theirs = (
        run(envs.Episodes(Counter(), 3, 5, reset="cached", platform=platform), actions)
        for platform in (platforms.CUDA, platforms.CPU)
    )
    jax.tree.map(np.testing.assert_array_equal, ours[1], theirs[1])


@pytest.mark.parametrize("task", [cartpole.SparseCartpoleSwingup, double_pendulum.SparseDoublePendulum])
def test_passes_of_the_solver_in_a_row_are_the_loop(task, monkeypatch):
    env = task()
    state = jax.vmap(env.reset)(jax.random.split(jax.random.key(1), 5))
    action = jnp.linspace(-1, 1, 5)[:, None]
    loop = jax.vmap(env.step)(state, action)
    monkeypatch.setattr(joints.lax, "platform_dependent", lambda *given, cpu, default: default(*given))
    one = jax.tree.map(lambda leaf: leaf[0], state)
    assert "while" not in str(jax.make_jaxpr(lambda state: env.step(state, action[0]))(one))
    with jax.disable_jit():  # hundreds of passes in one program of a CPU take its compiler minutes and gigabytes
        ours = jax.vmap(env.step)(state, action)
    _close(ours.pipeline_state, loop.pipeline_state)
