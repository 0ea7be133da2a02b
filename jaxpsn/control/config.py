"""What a control experiment is made of, as frozen dataclasses that check themselves."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from jaxpsn.control.agents.family import AGENTS
from jaxpsn.control.bonus.family import BONUSES
from jaxpsn.control.exploration.family import EXPLORATION
from jaxpsn.core import checks, errors
from jaxpsn.core.components import called, terms_of
from jaxpsn.core.flags import SPEC
from jaxpsn.envs.spaces import ActionSpace


@dataclass(frozen=True)
class EnvConfig:
    """Which task, and how many copies of it run side by side."""

    name: str = "halfcheetah"
    """A Brax environment, `playground/NAME`, a sparse or discrete task of ours, `minatar/NAME` or `probe/NAME`; its
    options in brackets: `deep_sea(size=20)`."""
    backend: str | None = None
    """Brax physics: generalized, positional, spring or mjx; the task's own default if left out."""
    num_envs: int = 64
    """Parallel environments, each with a perturbation of its own."""
    episode_length: int | None = None
    """Time limit in environment steps (a truncation, never a terminal); the task's own if left out."""
    action_repeat: int = 1
    """Environment steps for which one action is held."""
    reset: Literal["random", "cached"] = "random"
    """A fresh start state at every episode, or one from a pool drawn at the start (cheaper)."""

    def __post_init__(self) -> None:
        checks.whole("env.num_envs", self.num_envs, 1, 1 << 20)
        if self.episode_length is not None:
            checks.whole("env.episode_length", self.episode_length, 1, 1 << 24)
        checks.whole("env.action_repeat", self.action_repeat, 1, 1000)
        checks.choice("env.reset", self.reset, ("random", "cached"))


@dataclass(frozen=True)
class ControlConfig:
    """One control experiment: task, learner, exploration, and the data they share."""

    env: EnvConfig = field(default_factory=EnvConfig)
    agent: Annotated[Any, SPEC, AGENTS] = "td3"
    """Who learns: td3, sac, ddpg, dqn, pqn, ppo, es, or a plugin's, with its fields: td3(updates=2). A component, its
    text or JSON."""
    explore: Annotated[Any, SPEC, EXPLORATION] = "parameter"
    """How the behaviour departs from the clean policy: parameter(target=0.6), pink(std=1), sums such as
    parameter + gaussian(std=0.1). A component, a sum, its text or JSON."""
    eval_envs: int = 16
    """Episodes of one evaluation of the clean policy, side by side."""
    diagnose: bool = False
    """Also report the first reward, the states visited, and how far behaviour is from the clean policy's actions."""
    bonus: Annotated[Any, SPEC, BONUSES] = "none"
    """What the agent is paid beside the task's reward: none, rnd(beta=1), drnd, counts, reward_noise(std=0.1), or a
    plugin's. A component, its text or JSON."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "agent", AGENTS.make(self.agent, "agent"))
        object.__setattr__(self, "explore", EXPLORATION.make(self.explore, "explore"))
        object.__setattr__(self, "bonus", BONUSES.make(self.bonus, "bonus"))
        checks.whole("eval_envs", self.eval_envs, 1, 1 << 16)
        for term in terms_of(self.explore):
            term.check(self.env.num_envs)
        self.agent.check(self.explore, self.env.num_envs, self.env.action_repeat)
        self.bonus.check(self.agent, self.explore, self.members)

    def refuse_idle(self, steps: int) -> None:
        """Refuse what never trains the actor in ``steps`` environment steps, or counts further than 32 bits."""
        self.agent.refuse_idle(steps, self.steps_per_call)

    def check_space(self, space: ActionSpace) -> None:
        """Refuse an agent and a rule that such actions are not for. Raises UserError, which names what fits."""
        for family, terms in ((AGENTS, (self.agent,)), (EXPLORATION, terms_of(self.explore))):
            for term in terms:
                if not isinstance(space, term.spaces):
                    names = [name for name in family.names() if name not in family.aliases]
                    fit = [name for name in names if isinstance(space, family.get(name).spaces)]
                    task = f"as env.name = {self.env.name} has {space.kind} actions"
                    errors.refuse(family.name, called(type(term)), f"{', '.join(fit) or 'another task'}, {task}")

    @property
    def members(self) -> int:
        """Perturbations alive at once."""
        return min(term.members(self.env.num_envs) for term in terms_of(self.explore))

    @property
    def annealed(self) -> bool:
        """Whether something follows the length of the run, which then cannot be extended."""
        return any(getattr(term, "annealed", False) for term in terms_of(self.explore))

    @property
    def steps_per_call(self) -> int:
        """Environment steps of one vector step."""
        return self.env.num_envs * self.env.action_repeat
