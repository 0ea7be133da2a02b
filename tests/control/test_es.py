"""Evolution strategies: the estimate against float64, generations of whole episodes, and learning."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxpsn import noise
from jaxpsn.control import program
from jaxpsn.control.agents import AGENTS, es
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.control.exploration import EXPLORATION
from jaxpsn.control.types import hyper, of_agent, of_explore
from jaxpsn.core import compat, errors, replaced
from jaxpsn.envs.brax_api import Env, State
from jaxpsn.networks.actor import Actor

KEY = jax.random.key(3)
ENVS = 8
AGENT = AGENTS.make("es(actor_hidden=8, actor_lr=0.05)")
NOISE = EXPLORATION.make("parameter(structure=dense(antithetic=true), scale=constant, sigma=0.1, probes=4)")
CONFIG = ControlConfig(
    env=EnvConfig(name="mine", num_envs=ENVS, episode_length=6), agent=AGENT, explore=NOISE, eval_envs=2
)


class Lengths(Env):
    """Episodes of 1 to 5 steps, by their start; the reward is one minus the square of the action's error."""

    observation_size, action_size, backend = 2, 1, "none"

    def reset(self, rng):
        """How many steps there will be, and where the best action lies."""
        length = jax.random.randint(rng, (), 1, 6).astype(jnp.float32)
        return State(length, jnp.stack([length, jnp.float32(1)]), jnp.zeros(()), jnp.zeros(()))

    def step(self, state, action):
        """One step less to go."""
        left = state.pipeline_state - 1
        obs = jnp.stack([left, jnp.float32(1)])
        reward = 1 - jnp.square(action[0] - 0.5)
        return state.replace(pipeline_state=left, obs=obs, reward=reward, done=(left <= 0).astype(jnp.float32))


def test_ranks_are_centred_and_equals_share_theirs():
    for fitness in ([3.0, -1.0, 10.0, 2.0], [1.0, 1.0, 0.0, 5.0, 1.0, 5.0], [2.0, 2.0, 2.0]):
        expected = (stats.rankdata(fitness) - 1) / (len(fitness) - 1) - 0.5
        np.testing.assert_allclose(es.centred_ranks(jnp.array(fitness)), expected, atol=1e-6)
    assert (np.asarray(es.centred_ranks(jnp.zeros(6))) == 0).all(), "no difference is no direction"


def _drawn(structure, members, antithetic=True, hidden=(8,)):
    actor = Actor(2, hidden=hidden)
    params = actor.init(KEY, jnp.zeros(3))
    kind = noise.named(structure, antithetic=antithetic)
    return params, kind, kind.init(KEY, noise.plan(actor.apply, params, jnp.zeros(3)), members)


@pytest.mark.parametrize("structure", ["dense", "lowrank", "flipout"])
def test_the_estimate_is_the_papers_formula(structure):
    params, kind, draw = _drawn(structure, 6)
    fitness, sigma = np.array([0.3, 2.0, -1.0, 0.0, 5.0, 1.0]), np.repeat([0.1, 0.2, 0.4], 2)
    got = jax.jit(es.gradient)(params, draw, jnp.asarray(sigma, jnp.float32), jnp.asarray(fitness, jnp.float32))
    shaped = (stats.rankdata(fitness) - 1) / 5 - 0.5
    thetas = jax.vmap(lambda i: kind.materialise(params, draw, 1.0, i))(jnp.arange(6))
    expected = jax.tree.map(
        lambda noisy, clean: np.tensordot(shaped / sigma / 6, np.float64(noisy) - np.float64(clean)[None], 1),
        thetas,
        params,
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), got, expected)
    assert all(not np.asarray(x).any() for x in jax.tree.leaves(got["params"]["hidden_0"]["norm"])), "norms stay"


@pytest.mark.parametrize("structure", ["dense", "lowrank", "flipout"])
def test_the_estimate_points_along_a_linear_fitness(structure):
    members, size = 2048, (96, 80)
    matrix, kind = jnp.zeros(size), noise.named(structure, antithetic=True)
    spec = noise.plan(lambda w, x: x @ w, matrix, jnp.zeros(size[0]), select=noise.everything)
    slope = np.random.default_rng(0).normal(size=size).astype(np.float32)

    def estimate():
        draw = kind.init(KEY, spec, members)
        fitness = jax.lax.map(lambda i: jnp.sum(slope * kind.materialise(matrix, draw, 1.0, i)), jnp.arange(members))
        return es.gradient(matrix, draw, jnp.float32(1.0), fitness)

    got = np.asarray(jax.jit(estimate)())
    cosine = np.sum(got * slope) / np.linalg.norm(got) / np.linalg.norm(slope)
    # M / 2 independent directions in d dimensions give sqrt(M / (M + 2 d)) for a linear function, ranks a little less.
    expected = np.sqrt(members / (members + 2 * slope.size))
    assert cosine == pytest.approx(expected, rel=0.1)


def test_the_update_is_adam_of_a_traced_rate_with_decoupled_decay():
    evolver = replace(AGENT, weight_decay=0.1).build(3, 2)
    given = hyper(ControlConfig(agent=AGENT, explore=NOISE))
    own = of_agent(given)
    learner = jax.jit(evolver.init)(KEY, own, of_explore(given))
    spec = noise.plan(evolver.policy, learner.actor, jnp.zeros(3))
    draw = noise.Dense(antithetic=True).init(KEY, spec, 4)
    fitness = jnp.array([1.0, 2.0, 3.0, 9.0])
    after, metrics = jax.jit(evolver.update)(learner, draw, jnp.float32(0.1), fitness, own)
    rule = optax.adamw(0.05, weight_decay=0.1, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p))
    slope = jax.tree.map(jnp.negative, es.gradient(learner.actor, draw, jnp.float32(0.1), fitness))
    with compat.foreign():
        step, _ = rule.update(slope, rule.init(learner.actor), learner.actor)
    jax.tree.map(lambda a, b, c: np.testing.assert_allclose(a - b, c, atol=1e-5), after.actor, learner.actor, step)
    assert metrics["update_norm"][0] == pytest.approx(float(optax.tree.norm(step)), rel=1e-4)
    assert after.critic is None and after.target_actor is None


@pytest.fixture(scope="module")
def generations():
    """Program, and of two seeds side by side the states before each of 40 steps and the metrics of it."""
    made = program.make(CONFIG, env=Lengths())
    axes = made.axes(jax.eval_shape(made.init, KEY, made.hyper))
    step = jax.vmap(made.step, in_axes=(axes,), out_axes=(axes, 0))

    def run(keys):
        def body(state, _):
            after, metrics = step(state)
            return after, (state, metrics)

        return jax.lax.scan(body, jax.vmap(made.init, (0, None), axes)(keys, made.hyper), None, length=40)[1]

    states, metrics = jax.jit(run)(jax.vmap(jax.random.key)(jnp.arange(2, dtype=jnp.uint32)))
    own = states.explore.behaviour
    seen = {
        "running": states.generation.running, "updates": states.updates, "obs": states.envs.obs,
        "draw": own.draw.noise["params/head/kernel"]["noise"], "mean": states.statistics.mean,
        "actor": states.learner.actor["params"]["head"]["kernel"],
    }  # fmt: skip
    return made, states, jax.tree.map(np.asarray, seen), jax.tree.map(np.asarray, metrics)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_generation_is_one_whole_episode_of_every_member(generations, seed):
    _, _, seen, metrics = generations
    seen, metrics = jax.tree.map(lambda x: x[:, seed], (seen, metrics))
    running, obs = seen["running"], seen["obs"]
    lengths = obs[:, :, 0]
    first = np.flatnonzero(np.diff(seen["updates"], prepend=-1))  # steps at which a generation begins
    assert len(first) > 6 and running[first].all()
    np.testing.assert_array_equal(lengths[first, ::2], lengths[first, 1::2])  # mirrored members start alike
    assert len({tuple(row) for row in lengths[first]}) > 3 and (lengths[first, :1] != lengths[first]).any()
    for begin, end in itertools.pairwise(first.tolist()):
        played = running[begin:end].sum(0)
        np.testing.assert_array_equal(played, lengths[begin])
        assert end - begin == played.max(), "it ends with its longest episode"
        for part in ("draw", "mean", "actor"):
            assert (seen[part][begin:end] == seen[part][begin]).all(), f"{part} is held"
            assert (seen[part][end] != seen[part][begin]).any(), f"{part} changes between generations"
        # Those who wait stand at the start of their next episode, and what they see counts for nothing.
        waiting = ~running[end - 1]
        np.testing.assert_array_equal(obs[end - 1][waiting], obs[end][waiting])
        past = np.concatenate([obs[t][running[t]] for t in range(end)]).astype(np.float64)
        np.testing.assert_allclose(seen["mean"][end], past.mean(0), rtol=1e-4)
        returns, count = (part[begin:end].sum() for part in metrics["return"])
        assert count == ENVS and metrics["length"][0][begin:end].sum() == played.sum()
        assert metrics["fitness"][0][end - 1] == pytest.approx(returns / ENVS, abs=1e-4)
    assert metrics["fitness"][1][:-1].sum() == len(first) - 1
    assert float(metrics["waiting"].max()) > 0.2


def test_the_actor_moves_by_the_rewards_of_those_episodes(generations):
    made, states, seen, metrics = generations
    # Seeds end their generations at different steps, and each moves at its own.
    assert (seen["updates"][:, 0] != seen["updates"][:, 1]).any()
    end = int(np.flatnonzero(metrics["fitness"][1][:, 1])[1])
    at = [jax.tree.map(lambda x, t=t: x[t, 1], states.replace(clock=states.clock[:, None])) for t in (end, end + 1)]
    before, own = at[0], at[0].explore.behaviour
    obs = made.normalise(before.statistics, before.envs.obs)
    action, _ = jax.jit(made.explorer.act)(KEY, before.learner.actor, before.explore, obs)
    last = np.where(before.generation.running, 1 - (np.asarray(action[:, 0]) - 0.5) ** 2, 0.0)
    fitness = jnp.asarray(before.generation.fitness + last)
    expected, _ = jax.jit(made.agent.update)(before.learner, own.draw, own.sigma, fitness, of_agent(before.hyper))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), at[1].learner.actor, expected.actor)


@pytest.mark.parametrize("fields", [{"groups": 0}, {"structure": "flipout(antithetic=true)", "groups": 8}])
def test_evolution_solves_a_probe(fields):
    config = replace(
        CONFIG,
        env=EnvConfig(name="probe/observation_action", num_envs=16),
        explore=replaced(NOISE, fields),
        agent=replace(AGENT, actor_hidden=(16,), actor_lr=0.02),
    )
    made = program.make(config)
    run = jax.jit(lambda key: jax.lax.scan(lambda s, _: made.step(s), made.init(key, made.hyper), None, length=500)[0])
    state = run(jax.random.key(0))
    action = made.agent.policy(state.learner.actor, made.normalise(state.statistics, jnp.array([[-1.0], [1.0]])))
    np.testing.assert_allclose(action[:, 0], [0.5, -0.5], atol=0.2)
    assert int(state.updates) == 500 and state.replay is None


@pytest.mark.parametrize(
    ("explore", "said"),
    [
        ("gaussian", "explore = 'gaussian': parameter(...), as agent is es"),
        ("parameter+ou", "explore = 'parameter + ou': parameter"),
        ("parameter(hold=steps)", "parameter.hold = 'steps': episode"),
        ("parameter(hold=colored(beta=2))", "parameter.hold = 'colored(beta=2)': episode"),
        ("parameter(relative=true)", "parameter.relative = True: False"),
        ("parameter(scale=linear)", "parameter.scale = 'linear'"),
        ("parameter(sigma=0)", "parameter.sigma = 0.0: above 0"),
        ("parameter(groups=1)", "two members or more"),
        ("parameter(probes=9)", "parameter.probes = 9: at most env.num_envs = 8"),
        ("parameter(adapt_every=2)", "parameter.adapt_every = 2: 1, as agent is es"),
        ("parameter(member_sigma=true, ladder=4, select=return)", "parameter.select = 'return': none"),
    ],
)
def test_refusals_are_one_line(explore, said):
    with pytest.raises(errors.UserError) as caught:
        replace(CONFIG, explore=explore)
    assert said in str(caught.value) and "\n" not in str(caught.value)
