"""The control experiment of a study: its task and the program of an arm."""

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
    return programs.make(control, -(-steps // control.steps_per_call), env)
