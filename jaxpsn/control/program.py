"""The program of a control experiment, put together from its config."""

from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from jaxpsn import envs
from jaxpsn.control import exploration, paying
from jaxpsn.control.bonus import BonusSpace
from jaxpsn.control.config import ControlConfig
from jaxpsn.control.evolution import Evolution
from jaxpsn.control.off_policy import Program, episode_length
from jaxpsn.control.on_policy import Rollouts
from jaxpsn.control.placement import ONE_DEVICE, Placement
from jaxpsn.control.q_rollouts import QRollouts
from jaxpsn.control.schedule import Schedule
from jaxpsn.control.state import LearnerState
from jaxpsn.control.types import hyper, of_agent, of_explore
from jaxpsn.core import platforms
from jaxpsn.envs.history import History

PROGRAMS: dict[str, type[Program]] = {
    "off_policy": Program, "on_policy": Rollouts, "q_rollouts": QRollouts, "evolution": Evolution,
}  # fmt: skip
"""What trains an agent, by the name that its kind gives."""


def make(
    config: ControlConfig, total_calls: int | None = None, env: Any = None, place: Placement | None = None
) -> Program:
    """Build the program of a config, the one of :data:`PROGRAMS` that its agent names; compiles nothing.

    ``total_calls``: vector steps of the run, for annealed noise scales. ``env``: a `brax.envs.Env` of your own
    (``done`` a true termination, actions in [-1, 1] or choices, one observation vector, no wrapper that ends episodes
    by time or resets), or one of gymnax's interface or pgx's, in place of the one that the config names; the config
    must then state its time limit. ``place``: the mesh to run on, if any, and whether the program is compiled with its
    ``compiler_options``. Raises :class:`jaxpsn.core.errors.UserError` for what the task, the noise or the mesh refuses.
    """
    place = (place or ONE_DEVICE).fit(config)
    if env is None:
        options = {"backend": config.env.backend} if config.env.backend else {}
        env = envs.make(config.env.name, **options)
    else:
        env = envs.check_given(env, config.env.episode_length)
    if config.agent.history > 1:
        env = History(env, config.agent.history)
    limit, repeat = episode_length(config), config.env.action_repeat
    config.check_space(envs.space_of(env))
    # Mirrored members of a generation are judged from the same starts.
    twins = config.explore.layout(config.env.num_envs).twins if config.agent.program == "evolution" else None
    shared: dict[str, Any] = {
        "action_repeat": repeat, "reset": config.env.reset, "platform": place.platform, "ours": place.ours,
    }  # fmt: skip
    episodes = envs.Episodes(env, config.env.num_envs, limit, twins=twins, **shared)
    trials = envs.Episodes(env, config.eval_envs, limit, like=episodes, **shared)
    sizes = episodes.observation_size, episodes.action_size
    agent = config.agent.build(*sizes, exploration.learnt_noise(config.explore))
    given, schedule = hyper(config), Schedule.from_config(config)
    adaptations = None if total_calls is None else schedule.adaptations(total_calls)
    space = exploration.Space(config.env.num_envs, *sizes, -(-limit // repeat), adaptations, episodes.space)
    cells = envs.cells(env, episodes.observation_size)
    bonus = config.bonus.build(BonusSpace(config.env.num_envs, episodes.observation_size, cells))

    def begin(key: PRNGKeyArray) -> LearnerState:
        learner = agent.init(key, of_agent(given), of_explore(given))
        return paying.begin(agent, config.bonus, bonus, key, given, learner)[0]

    learner = jax.eval_shape(begin, jax.random.key(0))
    explorer = exploration.make(config.explore, agent.policy, learner.actor, space)
    lean = place.platform != platforms.CPU
    loud = exploration.make(config.explore, agent.policy, learner.actor, space._replace(silent=False)) if lean else None
    kind = PROGRAMS[config.agent.program]
    return kind(config, env, episodes, trials, agent, explorer, schedule, given, cells, place, loud, bonus)
