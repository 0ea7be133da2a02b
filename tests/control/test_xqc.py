"""Networks normalised by the batch in the learners: one batch for two states, and statistics that are part of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control import program
from jaxpsn.control.agents import AGENTS, learner, sac
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.control.state import Transition
from jaxpsn.core import errors
from jaxpsn.networks import gaussian
from tests.networks.test_batch_norm import reference, shaken

KEY = jax.random.key(0)
NETS = "network=xqc(momentum=0.9), actor_hidden=6x5, critic_hidden=6x5"
LEARNING = (
    "critic=c51(low=-5, high=5, atoms=51), scale_rewards=true, return_bound=5, actor_lr=3e-3, critic_lr=1e-2, "
    "batch_size=64, updates=2, gamma=0.9, tau=0.05, replay_capacity=20000, warmup=128, normalize_observations=false"
)


@pytest.fixture(scope="module")
def updated():
    """Parts of an update of SAC, from weights and statistics that are not those of the start."""
    config = AGENTS.make(f"sac({NETS}, gamma=0.8)")
    agent, rng = config.build(3, 2), np.random.default_rng(0)
    nets = learner.networks(config, 3, 2, 2, policy=agent.policy)
    parts = learner.Parts(config, nets, learner.optimizer(0.0), False)
    obs, following = (jnp.asarray(rng.normal(size=(8, 3)), jnp.float32) for _ in range(2))
    action, reward = jnp.asarray(rng.uniform(-1, 1, (8, 2)), jnp.float32), jnp.asarray(rng.normal(size=8), jnp.float32)
    batch = Transition(obs, action, reward, jnp.arange(8) < 3, jnp.zeros(8, bool), following)
    state = jax.jit(lambda: agent.init(KEY, {"temperature": jnp.float32(0.3)}, {}))()
    state = state.replace(actor=shaken(state.actor), critic=shaken(state.critic), target_critic=shaken(state.critic))

    @jax.jit
    def update(state):
        goal = sac.critic_target(config, nets, state, batch, KEY)
        judged, told = learner.critic_step(nets, parts.rule, state, batch, goal, jnp.float32(1e-2))
        led, loss, _ = sac.actor_step(parts, state, obs, jnp.float32(1e-2), KEY)
        return goal, judged, told["critic_loss"][0], led, loss

    return batch, state, update(state)


def _moments(said):
    """Of the actor's last layer, in float64: mean and log standard deviation."""
    mean, told = np.split(said, 2, axis=-1)
    return jnp.asarray(np.concatenate([mean, -5 + 3.5 * (1 + np.tanh(told))], axis=-1), jnp.float32)


def _each(critics, x, training=True):
    """What each of two critics says in float64, ``[2, B]``, and what they keep of it."""
    said, seen = zip(
        *(reference(jax.tree.map(lambda leaf, c=c: leaf[c], critics), x, training) for c in range(2)), strict=True
    )
    return np.stack(said)[..., 0], jax.tree.map(lambda *leaves: np.stack(leaves), *seen)


def test_critics_see_both_states_in_one_batch(updated):
    batch, state, (goal, judged, loss, _, _) = updated
    said, _ = reference(state.actor, batch.next_obs, training=False)
    action, density = gaussian.sample(KEY, _moments(said))
    np.testing.assert_allclose(goal.action, action, atol=1e-5)
    both = np.concatenate([np.concatenate([batch.obs, batch.action], -1), np.concatenate([batch.next_obs, action], -1)])
    follows, _ = _each(state.target_critic, both)
    rest = np.where(batch.terminated, 0.0, follows[:, 8:].min(axis=0) - 0.3 * np.asarray(density))
    target = np.asarray(batch.reward) + 0.8 * rest
    np.testing.assert_allclose(goal.target, target, atol=1e-4)
    q, seen = _each(state.critic, both)
    assert loss == pytest.approx(np.square(q[:, :8] - target).mean(axis=1).sum(), rel=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), judged.critic["batch_stats"], seen)
    for path, leaf in jax.tree_util.tree_leaves_with_path(judged.critic):
        if path[-1].key == "kernel":
            np.testing.assert_allclose(jnp.linalg.norm(leaf, axis=-2), 1, rtol=1e-5)


def test_the_actor_learns_by_its_own_batch_from_critics_at_rest(updated):
    batch, state, (_, _, _, led, loss) = updated
    said, seen = reference(state.actor, batch.obs, training=True)
    action, density = gaussian.sample(KEY, _moments(said))
    q, _ = _each(state.critic, np.concatenate([batch.obs, action], -1), training=False)
    assert loss == pytest.approx(np.mean(0.3 * np.asarray(density) - q.min(axis=0)), rel=1e-3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), led.actor["batch_stats"], seen)
    jax.tree.map(np.testing.assert_array_equal, led.critic, state.critic)


def test_it_learns_under_parameter_noise_and_acts_by_running_statistics():
    config = ControlConfig(
        EnvConfig(name="probe/observation_action", num_envs=8),
        f"td3(network=xqc, actor_hidden=16, critic_hidden=16, target_noise=0.05, {LEARNING})",
        "parameter(probes=4)",
        eval_envs=8,
    )
    made = program.make(config)

    @jax.jit
    def run(key):
        start = made.init(key, made.hyper)
        return start, jax.lax.scan(lambda s, _: (made.step(s)[0], None), start, None, length=500)[0]

    start, state = run(KEY)
    obs = jnp.asarray([[-1.0], [1.0]])
    np.testing.assert_allclose(made.agent.policy(state.learner.actor, obs)[:, 0], [0.5, -0.5], atol=0.15)
    alone = made.agent.policy(state.learner.actor, obs[:1])
    np.testing.assert_allclose(alone, made.agent.policy(state.learner.actor, obs)[:1], atol=1e-6)
    for name in ("actor", "critic", "target_actor", "target_critic"):
        old, new = (getattr(one.learner, name)["batch_stats"] for one in (start, state))
        assert all(not np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (old, new)), strict=True)), name
    # Half of the inputs of the actor are -1 and half are 1.
    seen = state.learner.actor["batch_stats"]["layers"]["inputs"]["norm"]
    assert abs(float(seen["mean"][0])) < 0.3 and float(seen["var"][0]) == pytest.approx(1, abs=0.2)
    assert float(state.explore.behaviour.distance) > 0.02


@pytest.mark.parametrize(
    "agent,explore,said",
    [
        ("td3(network=xqc, layer_norm=false)", "gaussian", "true, the default, as network is xqc"),
        ("td3(network=xqc)", "noisynet", "agent.network = 'xqc': mlp or hyperspherical, as noisynet learns through"),
    ],
)
def test_what_it_does_not_go_with_is_refused(agent, explore, said):
    with pytest.raises(errors.UserError, match=said):
        ControlConfig(EnvConfig(name="probe/action", num_envs=8), agent, explore)
