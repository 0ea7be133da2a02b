"""The control experiment of a study: its task and the program of an arm."""

from dataclasses import replace
from typing import Any

from jaxpsn import envs
from jaxpsn.control import program as programs
from jaxpsn.control.config import ControlConfig


def environment(control: ControlConfig) -> Any:
    """The task, made once for all arms. Raises UserError for a task that does not exist."""
    options = {"backend": control.env.backend} if control.env.backend else {}
    return envs.make(control.env.name, **options)


def program(control: ControlConfig, steps: int, env: Any) -> Any:
    """The program of one arm; compiles nothing. Raises UserError for what the task or the rule refuses."""
    # Made by name, and handed over once for all arms: the limit that it has by its name is stated.
    limit = programs.episode_length(control)
    stated = replace(control, env=replace(control.env, episode_length=limit))
    return programs.make(stated, -(-steps // control.steps_per_call), env)
