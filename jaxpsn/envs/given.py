"""An environment that a user hands over: what cannot work is told in one line, before anything is traced with it."""

from typing import Any

import jax

from jaxpsn.core import errors
from jaxpsn.envs import brax_door, foreign, spaces

_ENDED = {
    "EpisodeWrapper": "which ends episodes by time and calls it done",
    "AutoResetWrapper": "which resets by itself and hides the last observation",
    "BraxAutoResetWrapper": "which resets by itself and hides the last observation",
    "VmapWrapper": "which batches environments",
    "DomainRandomizationVmapWrapper": "which batches environments",
    "BraxDomainRandomizationVmapWrapper": "which batches environments",
    "EvalWrapper": "which sums rewards for Brax's own evaluation",
    "GymWrapper": "which is no pure function",
    "VectorGymWrapper": "which is no pure function",
    "TorchWrapper": "which is no pure function",
}
"""Wrappers of Brax and MuJoCo Playground that do what :class:`jaxpsn.envs.Episodes` does, by the names of classes."""
_MARKS = ("truncation", "first_obs", "first_state", "first_pipeline_state", "AutoResetWrapper_first_obs")
"""Entries of a state's ``info`` that such a wrapper, whatever its name, leaves."""
_ADVICE = "give the environment within it (env.unwrapped), and its time limit as env.episode_length"
_PARTS = ("obs", "reward", "done", "metrics", "info")


def checked(env: Any, episode_length: int | None) -> Any:
    """``env`` behind Brax's interface, also one of gymnax's or pgx's. Raises UserError as :func:`check` does."""
    env = foreign.adapted(env)
    check(env, episode_length)
    return env


def check(env: Any, episode_length: int | None) -> None:
    """Refuse an environment that is no single ``brax.envs.Env`` whose ``done`` is true termination only.

    ``episode_length``: the time limit that the config states, which for an environment of one's own it must. Nothing is
    computed: ``reset`` and ``step`` are traced once. Raises UserError in one line.
    """
    if isinstance(env, type):
        errors.refuse("env", env.__name__, f"an environment, not its class: {env.__name__}(...)")
    name = type(env).__name__
    _refuse_wrapped(env)
    for part in ("reset", "step"):
        if not callable(getattr(env, part, None)):
            errors.refuse("env", name, f"an environment with a method {part}, as brax.envs.Env has")
    size, space = _action_size(env, name), spaces.space_of(env)
    if size != space.size:
        errors.refuse("env", name, f"an action_size of {space.size}, as its action_space is {space}; this is {size}")
    if episode_length is None:
        errors.refuse("env.episode_length", None, f"a time limit in steps, as {name} is an environment of your own")
    start = _traced(name, "reset", env.reset, jax.eval_shape(jax.random.PRNGKey, 0))
    _check_state(name, "reset", start)
    found = sorted(set(_MARKS) & set(start.info or ()))
    if found:
        errors.refuse("env", name, f"one that no wrapper ends by time or resets; its info has {found[0]}: {_ADVICE}")
    after = _traced(name, "step", env.step, start, space.example)
    _check_state(name, "step", after)
    _refuse_other_form(name, start, after)


def _refuse_wrapped(env: Any) -> None:
    inner, seen = env, 0
    while inner is not None and seen < 32:  # wrappers within wrappers; a circle ends here too
        for kind in type(inner).__mro__:
            if kind.__name__ in _ENDED and not kind.__module__.startswith("jaxpsn."):
                errors.refuse(
                    "env", type(env).__name__, f"not within {kind.__name__}, {_ENDED[kind.__name__]}: {_ADVICE}"
                )
        inner, seen = getattr(inner, "__dict__", {}).get("env"), seen + 1


def _action_size(env: Any, name: str) -> int:
    try:
        size = env.action_size
        return int(size) if int(size) == size and size > 0 else errors.refuse("env", name, f"action_size {size!r}: > 0")
    except (AttributeError, TypeError, ValueError, NotImplementedError) as error:
        errors.refuse("env", name, f"an environment with a whole number as action_size ({_line(error)})")


def _traced(name: str, part: str, function: Any, *given: Any) -> Any:
    try:
        with brax_door.tracing():
            return jax.eval_shape(function, *given)
    except Exception as error:  # whatever the user's code raises
        wanted = "a key" if part == "reset" else "a state and an action"
        raise errors.UserError(f"env = {name!r}: its {part} fails on {wanted}: {_line(error)}") from error


def _check_state(name: str, part: str, state: Any) -> None:
    lacking = [field for field in _PARTS if not hasattr(state, field)]
    if lacking:
        allowed = f"a {part} that returns a brax.envs.State; this {type(state).__name__} has no {', '.join(lacking)}"
        errors.refuse("env", name, allowed)
    if getattr(state.obs, "ndim", None) != 1:
        found = getattr(state.obs, "shape", type(state.obs).__name__)
        errors.refuse("env", name, f"an observation that is one vector; that of {part} is {found}")
    for field in ("reward", "done"):
        if getattr(getattr(state, field), "shape", None) != ():
            found = getattr(getattr(state, field), "shape", type(getattr(state, field)).__name__)
            errors.refuse("env", name, f"a single number as {field}; that of {part} is {found}")


def _refuse_other_form(name: str, start: Any, after: Any) -> None:
    """The state after a step must be of the form of that after a reset: both are the carry of one loop."""
    told = [_leaves(state) for state in (start, after)]
    for path in sorted(told[0].keys() ^ told[1].keys()):
        has, lacks = ("reset", "step") if path in told[0] else ("step", "reset")
        errors.refuse("env", name, f"states of one form; that of {has} has {path}, that of {lacks} has not")
    for path, shape in told[0].items():
        if shape != told[1][path]:
            errors.refuse("env", name, f"states of one form; {path} is {shape} after reset, {told[1][path]} after step")


def _leaves(state: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf.shape for path, leaf in leaves}


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
