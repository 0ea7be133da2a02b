"""The interfaces of exploration: pure functions over one explicit state, with an entry for every environment.

N environments, observations of size O, actions of size A within [-1, 1]. Every ``key`` is used for one call only; what
environment i gets from it depends on i, never on what happens to the other environments. ``hyper``: the traced fields
of the component, path -> float32.
"""

from collections.abc import Callable
from typing import Any, NamedTuple


def unmoved(key: Any, state: Any, reward: Any, done: Any, obs: Any) -> Any:
    """``judge`` of a rule that does not look at what its actions led to."""
    return state


def unlooked(key: Any) -> Any:
    """``look`` of a rule that has its randomness made where it measures."""
    return key


def unadapted(key: Any, params: Any, state: Any, obs: Any) -> Any:
    """``adapt`` of a rule whose scale is what it is."""
    return state


def untold(state: Any) -> dict[str, Any]:
    """``report`` of a rule that has nothing to say."""
    return {}


class Followers(NamedTuple):
    """What an on-policy learner asks of a behaviour: who acted, and what they would have done with other weights."""

    recall: Callable[..., Any]
    """``recall(params, state, obs[G, R, O], groups[G], tags[G, R] or None) -> [G, R, K]``: what ``act`` gives of
    ``params`` for R observations of each of these groups of environments, differentiable in ``params``. ``tags`` say
    which of a group's perturbations was held; None: that of ``state``."""
    tags: Callable[..., Any]
    """``tags(state) -> [N]``: what tells the perturbation that each environment holds from its others; whole numbers
    that change with a redraw."""
    loud: Callable[..., Any] | None = None
    """``loud(state) -> bool``: whether the weights of anybody are perturbed; None where nobody asks."""


class Explorer(NamedTuple):
    """How a policy is acted with: the whole of exploration, as the control loop sees it."""

    init: Callable[..., Any]
    """``init(key, params, hyper) -> state``: every environment is at its episode start."""
    act: Callable[..., tuple[Any, Any]]
    """``act(key, params, state, obs[N, O]) -> (action[N, A], state)``: the action to execute and to store."""
    begin: Callable[..., Any]
    """``begin(key, state, done[N]) -> state``: after every environment step; ``done`` marks ended episodes."""
    look: Callable[..., Any]
    """``look(key) -> look``: what ``adapt`` draws by its key alone, if that is small; else the key itself."""
    adapt: Callable[..., Any]
    """``adapt(key, params, state, obs[B, O]) -> state``: one update of the noise scale, or one measurement of a learnt
    one, on replayed observations. It takes ``look(key)`` for a key, too."""
    report: Callable[..., dict[str, Any]]
    """``report(state) -> dict of scalars``: sigma, distance and target where they exist."""
    judge: Callable[..., Any] = unmoved
    """``judge(key, state, reward[N], done[N], obs[N, O]) -> state``: before ``begin``, what the step brought: its
    rewards, the episodes that ended, and the true next observations."""
    behaviour: Any = None
    """The :class:`BehaviourFunctions` that it is made of."""


class BehaviourFunctions(NamedTuple):
    """The policy that actions start from: the clean one, or one with noise in its weights or features."""

    init: Callable[..., Any]
    """``init(key, params, hyper) -> state``"""
    act: Callable[..., Any]
    """``act(params, state, obs[N, O]) -> action[N, A]``"""
    begin: Callable[..., Any]
    """``begin(key, state, done[N]) -> state``"""
    adapt: Callable[..., Any] = unadapted
    """``adapt(key, params, state, obs[B, O]) -> state``"""
    report: Callable[..., dict[str, Any]] = untold
    """``report(state) -> dict of scalars``"""
    judge: Callable[..., Any] = unmoved
    """``judge(key, state, reward[N], done[N], obs[N, O]) -> state``"""
    followers: Followers | None = None
    """For on-policy learners, of a rule that says ``followed``."""
    look: Callable[..., Any] = unlooked
    """``look(key) -> look``, as of :class:`Explorer`"""


class NoiseFunctions(NamedTuple):
    """Noise added to actions, with state per environment.

    Of a few choices a noise is one of them, which is taken in place of the policy's, or -1 where that is kept.
    """

    init: Callable[..., Any]
    """``init(key, hyper) -> state``"""
    sample: Callable[..., tuple[Any, Any]]
    """``sample(key, state) -> (noise[N, A] or int32 [N], state)``: the noise of the next action."""
    begin: Callable[..., Any]
    """``begin(key, state, done[N]) -> state``: noise of environments that start an episode is reset."""
    report: Callable[..., dict[str, Any]] = untold
    """``report(state) -> dict of scalars``"""


class LearntNoise(NamedTuple):
    """Noise in the actor that the learner learns through."""

    widen: Callable[..., Any]
    """``widen(params, hyper) -> params`` with what the noise learns beside the weights; ``hyper``: the rule's own."""
    sample: Callable[..., Any]
    """``sample(apply, params, obs[B, O], key) -> action[B, A]``: the network of one fresh draw."""
    optimizer: "ActorRule | None" = None
    """What learns them in place of Adam."""


class ActorRule(NamedTuple):
    """What moves an actor's weights in place of Adam."""

    init: Callable[..., Any]
    """``init(key, params, hyper) -> state``; ``hyper``: the rule's own."""
    step: Callable[..., tuple[Any, Any]]
    """``step(params, state, gradient, rate) -> (params, state)``"""


class Heads(NamedTuple):
    """Several value functions that the learner learns side by side."""

    count: int
    prior: float
    """Factor of the fixed random network that is added to each; 0: none."""
    keep: float
    """Probability with which one learns from a transition."""
