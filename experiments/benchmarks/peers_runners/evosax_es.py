"""evosax's OpenAI-ES on its own Brax problem, a generation at a time, with the policy that ours has."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import layers
import optax
import protocol
from brax import envs
from evosax.algorithms import Open_ES
from evosax.problems import BraxProblem

_INIT, _START, _JUDGE, _GENERATIONS = range(4)


def problem(session: protocol.Session, episodes: int) -> BraxProblem:
    """The task, ``episodes`` of it for each policy."""
    agent, environment = session.agent, session.environment
    actions = envs.get_environment(environment["name"], backend=environment["backend"]).action_size
    return BraxProblem(
        environment["name"],
        layers.actor(agent, actions),
        episode_length=environment["episode_length"],
        num_rollouts=episodes,
        use_normalize_obs=agent["normalize_observations"],
        env_kwargs={"backend": environment["backend"]},
    )


def strategy(session: protocol.Session, solution: Any) -> Open_ES:
    """OpenAI-ES with mirrored members, centred ranks and Adam, as ours is set up."""
    agent = session.agent
    return Open_ES(
        population_size=session.environment["num_envs"],
        solution=solution,
        optimizer=optax.adamw(agent["actor_lr"], weight_decay=agent["weight_decay"]),
        std_schedule=optax.constant_schedule(session.explore["sigma"]),
    )


def _strong(tree: Any) -> Any:
    """Leaves with their dtypes for good: weak ones would have the second generation compiled anew."""
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, jnp.asarray(leaf).dtype), tree)


def main() -> None:
    """Evolve until nobody asks for more."""
    session = protocol.Session()
    task, trial = problem(session, 1), problem(session, session.control["eval_envs"])
    key = jax.random.key(session.task["seed"])
    solution = task.sample(jax.random.fold_in(key, _INIT))
    evolution = strategy(session, solution)
    params = evolution.default_params

    @jax.jit
    def generation(key: Any, state: Any, seen: Any) -> Any:
        ask, play, tell = jax.random.split(key, 3)
        population, state = evolution.ask(ask, state, params)
        returns, seen, _ = task.eval(play, population, seen)
        return _strong((evolution.tell(tell, population, -returns, state, params)[0], seen))

    @jax.jit
    def judge(key: Any, state: Any, seen: Any) -> Any:
        mean = jax.tree.map(lambda leaf: leaf[None], evolution.get_mean(state))
        return trial.eval(key, mean, seen)[0][0]

    start, judging = jax.random.fold_in(key, _START), jax.random.fold_in(key, _JUDGE)
    state, seen = _strong((evolution.init(start, solution, params), task.init(start)))
    session.report(0, 0, 0.0, float(judge(jax.random.fold_in(judging, 0), state, seen)))
    made, key = 0, jax.random.fold_in(key, _GENERATIONS)
    generations = session.task["calls"] // session.environment["episode_length"]
    while True:
        session.wait()
        begun = time.perf_counter()
        for _ in range(generations):
            made += 1
            state, seen = jax.block_until_ready(generation(jax.random.fold_in(key, made), state, seen))
        seconds = time.perf_counter() - begun
        score = float(judge(jax.random.fold_in(judging, made), state, seen))
        session.report(session.steps_per_chunk, generations, seconds, score)


if __name__ == "__main__":
    protocol.end_quietly(main)
