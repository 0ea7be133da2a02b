"""Brax's SAC, one of its epochs at a time: the training function of the library, held at its progress callback."""

from typing import Any

import protocol
from brax import envs
from brax.training import distribution, networks
from brax.training.agents.sac import networks as sac_networks
from brax.training.agents.sac import train as sac

_CHUNKS = 100_000  # more than anybody waits for


def make_networks(agent: dict[str, Any], observation_size: int, action_size: int, **options: Any) -> Any:
    """Brax's own networks with the widths, the nonlinearity and the layer norm of ``agent``."""
    actions = distribution.NormalTanhDistribution(event_size=action_size)
    shared = {
        "preprocess_observations_fn": options["preprocess_observations_fn"],
        "activation": networks.ACTIVATION[agent["activation"]],
        "layer_norm": agent["layer_norm"],
    }
    return sac_networks.SACNetworks(
        policy_network=networks.make_policy_network(
            actions.param_size, observation_size, hidden_layer_sizes=agent["actor_hidden"], **shared
        ),
        q_network=networks.make_q_network(
            observation_size, action_size, hidden_layer_sizes=agent["critic_hidden"], **shared
        ),
        parametric_action_distribution=actions,
    )


def main() -> None:
    """Train until nobody asks for more."""
    session = protocol.Session()
    control, agent, environment = session.control, session.agent, session.environment
    count = environment["num_envs"]
    warmup = -(-agent["warmup"] // count) * count
    trained, made = 0.0, 0

    def progress(step: int, metrics: dict[str, Any]) -> None:
        nonlocal trained, made
        now, updates = metrics.get("training/walltime", 0.0), session.task["calls"] * agent["updates"] * bool(step)
        session.report(step - made, updates, now - trained, float(metrics["eval/episode_reward"]))
        trained, made = now, step
        session.wait()

    sac.train(
        environment=envs.get_environment(environment["name"], backend=environment["backend"]),
        num_timesteps=warmup + _CHUNKS * session.steps_per_chunk,
        num_evals=_CHUNKS + 1,
        episode_length=environment["episode_length"],
        num_envs=count,
        num_eval_envs=control["eval_envs"],
        deterministic_eval=True,
        learning_rate=agent["actor_lr"],
        discounting=agent["gamma"],
        tau=agent["tau"],
        batch_size=agent["batch_size"],
        grad_updates_per_step=agent["updates"],
        normalize_observations=agent["normalize_observations"],
        reward_scaling=session.task["reward_scaling"],
        min_replay_size=warmup,
        max_replay_size=agent["replay_capacity"],
        network_factory=lambda *sizes, **options: make_networks(agent, *sizes, **options),
        progress_fn=progress,
        seed=session.task["seed"],
    )


if __name__ == "__main__":
    protocol.end_quietly(main)
