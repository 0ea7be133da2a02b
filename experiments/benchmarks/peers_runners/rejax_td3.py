"""rejax's TD3, a chunk of its training at a time, with the networks that ours has."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import layers
import protocol
import rejax
from rejax.evaluate import evaluate

_TRAIN, _JUDGE = range(2)
NOISE = 0.2
"""Standard deviation of its action noise, as that of our own rules."""


def make(session: protocol.Session) -> Any:
    """The algorithm as rejax makes it, its networks exchanged."""
    agent, environment = session.agent, session.environment
    algorithm = rejax.get_algo("td3").create(
        env=f"brax/{environment['name']}",
        env_params={"backend": environment["backend"], "episode_length": environment["episode_length"]},
        num_envs=environment["num_envs"],
        num_epochs=agent["updates"],
        policy_delay=agent["policy_delay"],
        batch_size=agent["batch_size"],
        buffer_size=agent["replay_capacity"],
        fill_buffer=agent["warmup"],
        learning_rate=agent["actor_lr"],
        gamma=agent["gamma"],
        # Targets follow once in `policy_delay` rounds of updates there, after every `policy_delay` updates here.
        polyak=(1 - agent["tau"]) ** agent["updates"],
        exploration_noise=NOISE,
        target_noise=agent["target_noise"],
        target_noise_clip=agent["target_noise_clip"],
        normalize_observations=agent["normalize_observations"],
        total_timesteps=session.steps_per_chunk,
        eval_freq=session.steps_per_chunk,
        skip_initial_evaluation=True,
    )
    actor, critic = layers.actor(agent, algorithm.env.num_actions), layers.critic(agent)
    # Episodes are played between chunks instead, where their time does not count.
    return algorithm.replace(actor=actor, critic=critic, eval_callback=lambda *_: jnp.zeros(()))


def main() -> None:
    """Train until nobody asks for more."""
    session = protocol.Session()
    algorithm, episodes = make(session), session.control["eval_envs"]
    limit, key = session.environment["episode_length"], jax.random.PRNGKey(session.task["seed"])
    train = jax.jit(lambda state: algorithm.train(train_state=state)[0], donate_argnums=0)

    @jax.jit
    def judge(state: Any, key: Any) -> Any:
        act = algorithm.make_act(state)
        return jnp.mean(evaluate(act, key, algorithm.env, algorithm.env_params, episodes, limit)[1])

    # Copies, as targets are the networks themselves at first, and a donated state may not hold one buffer twice.
    state = jax.tree.map(jnp.copy, jax.jit(algorithm.init_state)(jax.random.fold_in(key, _TRAIN)))
    key = jax.random.fold_in(key, _JUDGE)
    session.report(0, 0, 0.0, float(judge(state, jax.random.fold_in(key, 0))))
    steps, learning = 0, session.agent["warmup"] + session.steps_per_chunk
    while True:
        session.wait()
        before, begun = steps, time.perf_counter()
        # The first report is that of a chunk that learns: the warm-up is made before it.
        while steps == before or steps < learning:
            state = jax.block_until_ready(train(state))
            steps = int(state.global_step)
        seconds = time.perf_counter() - begun
        made = steps - before
        updates = made // session.environment["num_envs"] * session.agent["updates"]
        session.report(made, updates, seconds, float(judge(state, jax.random.fold_in(key, steps))))


if __name__ == "__main__":
    protocol.end_quietly(main)
