"""The program of a control experiment, put together from its config."""

from typing import Any

import jax

from jaxpsn import envs
from jaxpsn.control import agents, exploration
from jaxpsn.control.config import ControlConfig
from jaxpsn.control.evolution import Evolution
from jaxpsn.control.off_policy import Program, episode_length
from jaxpsn.control.placement import ONE_DEVICE, Placement
from jaxpsn.control.schedule import Schedule
from jaxpsn.control.types import Hyper


def make(
    config: ControlConfig, total_calls: int | None = None, env: Any = None, place: Placement | None = None
) -> Program:
    """Build the program of a config, an :class:`jaxpsn.control.evolution.Evolution` for es; compiles nothing.

    ``total_calls``: vector steps of the run, for annealed noise scales. ``env``: a `brax.envs.Env` of your own
    (``done`` a true termination, actions in [-1, 1], one observation vector, no wrapper that ends episodes by time or
    resets) in place of the one that the config names; the config must then state its time limit. ``place``: the mesh
    to run on, if any. Raises :class:`jaxpsn.core.errors.UserError` for what the task, the noise or the mesh refuses.
    """
    place = (place or ONE_DEVICE).fit(config)
    if env is None:
        options = {"backend": config.env.backend} if config.env.backend else {}
        env = envs.make(config.env.name, **options)
    else:
        envs.check_given(env, config.env.episode_length)
    limit, repeat = episode_length(config), config.env.action_repeat
    evolves = config.agent.algorithm == "es"
    # Mirrored members of an evolution strategy are judged from the same starts.
    twins = exploration.layout(config.exploration, config.env.num_envs).twins if evolves else None
    episodes, trials = (
        envs.Episodes(env, count, limit, action_repeat=repeat, reset=config.env.reset, twins=alike)
        for count, alike in ((config.env.num_envs, twins), (config.eval_envs, None))
    )
    noisy = config.exploration.behaviour == "noisynet"
    agent = agents.make(config.agent, episodes.observation_size, episodes.action_size, noisy)
    hyper = Hyper.from_config(config)
    schedule = Schedule.from_config(config)
    explorer = exploration.make(
        config.exploration,
        agent.policy,
        jax.eval_shape(agent.init, jax.random.key(0), hyper).actor,
        config.env.num_envs,
        episodes.observation_size,
        episodes.action_size,
        -(-limit // repeat),
        total_adaptations=None if total_calls is None else schedule.adaptations(total_calls),
    )
    cells = envs.cells(env, episodes.observation_size)
    kind = Evolution if evolves else Program
    return kind(config, env, episodes, trials, agent, explorer, schedule, hyper, cells, place)
