"""The family of exploration rules, and what the control loop asks of one."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

from jaxpsn.control.exploration.rules import BehaviourFunctions, Heads, LearntNoise, NoiseFunctions
from jaxpsn.core import errors
from jaxpsn.core.components import Component, Sum, called, terms_of
from jaxpsn.core.families import Family
from jaxpsn.envs.spaces import ActionSpace, Box


class Space(NamedTuple):
    """What a rule acts in."""

    num_envs: int
    observation_size: int
    action_size: int
    episode_length: int
    """Decisions (environment steps divided by the action repeat): the horizon of coloured noise."""
    adaptations: int | None = None
    """Scale updates of the whole run; None if unknown."""
    given: ActionSpace | None = None
    """Its actions; a box of ``action_size`` numbers if left out."""
    silent: bool = True
    """Whether noise may be of scale zero, which is then the clean policy bit for bit, at the price of a branch."""

    @property
    def actions(self) -> ActionSpace:
        """What actions are."""
        return Box(self.action_size) if self.given is None else self.given


class Exploration(Component):
    """How the behaviour departs from the clean policy."""

    spaces: ClassVar[tuple[type[ActionSpace], ...]] = (Box,)
    """What kinds of actions it is for."""
    judges: ClassVar[bool] = False
    """Whether it looks at what its actions led to."""
    on_policy: ClassVar[bool] = False
    """Whether only on-policy agents can drive it."""
    shown: ClassVar[bool] = True
    """Whether members of it can be drawn apart from a training."""
    scaled_by: ClassVar[str] = ""
    """The traced field that all of its noise is proportional to, also one of its state; empty if there is none."""

    def check(self, num_envs: int) -> None:
        """Refuse what cannot be with so many environments. Raises UserError."""

    def probed_states(self, num_envs: int) -> int:
        """Replayed states that one update of its scale, or one measurement, takes; 0 if it takes none."""
        return 0

    @property
    def every(self) -> int:
        """Vector steps between two updates or measurements."""
        return 1

    @property
    def distributional(self) -> bool:
        """Whether it needs a policy with a distribution."""
        return False

    def members(self, num_envs: int) -> int:
        """Perturbations alive at once."""
        return num_envs

    def silent(self, hyper: Mapping[str, Any]) -> bool:
        """Whether runs with these numbers, its traced fields, may act without its noise at some step."""
        return True

    def alarms(self, where: str) -> Iterable[Any]:
        """What is told once if the rows of metrics show it (:mod:`jaxpsn.run.alarms`); ``where``: its own path."""
        return ()

    def alone(self) -> "Exploration":
        """The rule for environments that share nothing, at given scales: to show members of it."""
        return self

    def present(self, state: Any, members: int) -> dict[str, Any]:
        """The scale that its state has now, for ``members`` that :meth:`alone` makes: traced field -> value."""
        return {self.scaled_by: getattr(state, self.scaled_by)} if self.scaled_by else {}


class Behaviour(Exploration):
    """What acts instead of the clean policy; one at a time."""

    annealed: ClassVar[bool] = False
    """Whether it follows the length of the run, so that no run may be extended."""
    samples: ClassVar[bool] = False
    """Whether its ``act`` gives what actions of a stochastic policy are sampled from, in place of actions."""

    followed: ClassVar[bool] = False
    """Whether an on-policy learner can learn from it: its functions have ``followers``."""

    def check_followers(self, redraw: str, agent: str) -> None:
        """Refuse, of a rule that is ``followed``, what an on-policy learner cannot do with. Raises UserError.

        ``redraw``: its setting of this name.
        """

    def build(self, policy: Any, params: Any, space: Space) -> BehaviourFunctions:
        """The rule as pure functions.

        ``policy(params, obs[..., O]) -> action[..., A]`` is the clean policy (a :class:`jaxpsn.networks.Policy` in
        training, whose features are known); ``params`` may be abstract. What ``samples`` perturbs
        :func:`jaxpsn.control.exploration.acting.raw` of it, and its ``act`` gives that.
        """
        raise NotImplementedError

    def learnt_noise(self) -> LearntNoise | Heads | None:
        """What the rule makes the learner learn beside a plain actor: through noise in it, or several of it."""
        return None


class ActionNoise(Exploration):
    """Noise that is added to actions, or choices that are made in their place."""

    def build(self, space: Space) -> NoiseFunctions:
        """The rule as pure functions."""
        raise NotImplementedError


def _check_sum(total: Sum) -> None:
    names = [called(type(term)) for term in total.terms]
    told = " + ".join(names)
    if "none" in names:
        errors.refuse("explore", told, "none only by itself")
    acting = [name for name, term in zip(names, total.terms, strict=True) if isinstance(term, Behaviour)]
    if len(acting) > 1:
        errors.refuse("explore", told, f"at most one of {', '.join(behaviours())}")


_HOME = "jaxpsn.control.exploration"
EXPLORATION: Family[Exploration] = Family(
    "explore",
    Exploration,
    {
        "none": f"{_HOME}.sums", "gaussian": f"{_HOME}.gaussian", "mixed": f"{_HOME}.gaussian", "ou": f"{_HOME}.ou",
        "pink": f"{_HOME}.pink", "zeta": f"{_HOME}.zeta", "parameter": f"{_HOME}.parameter", "gsde": f"{_HOME}.gsde",
        "lattice": f"{_HOME}.lattice", "noisynet": f"{_HOME}.noisynet", "ivon": f"{_HOME}.ivon",
        "adam_sgld": f"{_HOME}.adam_sgld", "natural": f"{_HOME}.natural",
        "epsilon_greedy": f"{_HOME}.epsilon_greedy", "bootstrap": f"{_HOME}.bootstrap",
    },
    sums=_check_sum,
    doc="How the behaviour departs from the clean policy; rules add up.",
)  # fmt: skip
for _name, _spec in {
    "parameter-dense": "parameter(structure=dense)",
    "parameter-flipout": "parameter(structure=flipout)",
    "parameter-lowrank": "parameter(structure=lowrank)",
    "parameter-factorised": "parameter(structure=factorised)",
    "parameter-hold": "parameter(hold=steps(50))",
    "parameter-zeta": "parameter(hold=zeta(most=200))",
    "parameter-members": "parameter(member_sigma=true)",
    "parameter-ladder": "parameter(member_sigma=true, ladder=16)",
    "parameter-return": "parameter(member_sigma=true, ladder=16, select=return)",
    "parameter-novelty": "parameter(member_sigma=true, ladder=16, select=novelty)",
    "parameter-antithetic": "parameter(structure=flipout(antithetic=true))",
    "followers": "parameter(distance=kl, scale=first_order(target=0.01, exponent=0.5))",
}.items():
    EXPLORATION.alias(_name, _spec)


def behaviours() -> list[str]:
    """The names of the rules that act instead of the clean policy, as far as they are loaded."""
    return [name for name, kind in EXPLORATION.kinds.items() if issubclass(kind, Behaviour) and name != "none"]


def behaviour_of(explore: Any) -> Any:
    """The term that acts instead of the clean policy; None if there is none."""
    return next((term for term in terms_of(explore) if isinstance(term, Behaviour)), None)


def prefix(explore: Any, term: Any) -> str:
    """What stands before the paths of a term's fields: nothing, or in a sum its name and a dot."""
    return f"{called(type(term))}." if isinstance(explore, Sum) else ""
