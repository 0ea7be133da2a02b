"""The states of the control loop, one field per part.

Fields are typed Any, with the shape beside: the same trees hold abstract values and vmap axes.
"""

from typing import Any

from flax import struct


@struct.dataclass
class Transition:
    """One step of every environment; any leading axes."""

    obs: Any  # [..., O] float32, what the policy saw, before normalisation
    action: Any  # [..., A] float32, or [...] int32 of several choices, as executed
    reward: Any  # [...] float32
    terminated: Any  # [...] bool, the task ended
    truncated: Any  # [...] bool, the time limit ended the episode
    next_obs: Any  # [..., O] float32, before any reset
    discount: Any = None  # [...] float32, of what follows a return of several steps; None: the agent's gamma
    mask: Any = None  # [...] uint32, which heads learn from it, a bit for each; None: all
    intrinsic: Any = None  # Transition [...] of the same obs and action (None in it), as a bonus pays and goes on


@struct.dataclass
class Tally:
    """What each environment's running episode has gathered so far."""

    returns: Any  # [N] float32, sum of raw rewards
    length: Any  # [N] float32, environment steps


@struct.dataclass
class Look:
    """What a measurement of the noise draws, if that is drawn ahead of it."""

    places: Any  # replay.Places of the states that it is measured on
    drawn: Any  # the explorer's own, as its look gives it


@struct.dataclass
class LearnerState:
    """Clean weights, their targets and their optimisers; perturbed weights never enter.

    What an agent does without is None: an evolution strategy has an actor and its optimiser only.
    """

    actor: Any
    critic: Any  # leading axis: critics
    target_actor: Any
    target_critic: Any
    actor_optimizer: Any
    critic_optimizer: Any
    temperature: Any = None  # [] float32, logarithm of the weight of the entropy
    temperature_optimizer: Any = None
    intrinsic: Any = None  # Intrinsic, if a bonus is learnt from


@struct.dataclass
class Intrinsic:
    """The critics of a bonus: networks as the agent's own, with targets and an optimiser of their own."""

    critic: Any  # leading axis: critics
    target_critic: Any
    critic_optimizer: Any
    beta: Any  # [] float32, weight of its values in what the actor ascends
    floor: Any  # [] float32, least size that values are divided by


@struct.dataclass
class ProgramState:
    """All that a run is: two runs that agree in it continue alike."""

    clock: Any  # int32 scalar, vector steps done; shared by vmapped seeds
    updates: Any  # int32 scalar, critic updates done; a copy for reports, branches use the clock
    key: Any  # typed key, constant; the randomness of a step is a function of (key, clock, purpose)
    hyper: Any  # Hyper
    envs: Any  # EpisodeState
    explore: Any  # state of the Explorer
    learner: LearnerState
    statistics: Any  # Statistics of observations
    replay: Any  # Replay
    tally: Tally
    diagnosis: Any = None  # Diagnosis, if the config asks for one
    bonus: Any = None  # state of the bonus, if there is one
    gauge: Any = None  # Gauge, if the agent scales its rewards
    generation: Any = None  # Generation, of an evolution strategy; it has no replay
