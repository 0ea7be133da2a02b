"""Options of the studies of deep exploration, with what was expected of them before they were run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.options import Benchmark, counts, names
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.core import checks

MAPPINGS = ("fixed", "random")


@dataclass(frozen=True)
class Deep(Benchmark):
    """Episodes until a task of one straight path is solved, seed by seed; goes on where it was stopped."""

    plan: ClassVar[dict[str, str]]
    """Hypothesis, metric, margin and stopping rule, as they stood before the first run."""
    rules: ClassVar[dict[str, str]]
    """Arms by name: their exploration."""

    out: Path = field(default=Path("results/deep"), kw_only=True)
    sizes: tuple[int, ...] = field(default=(), kw_only=True)
    """Lengths of the task, N."""
    mappings: tuple[str, ...] = field(default=MAPPINGS, kw_only=True)
    """Which choice leads on: the same everywhere (fixed), or by a coin for each place (random)."""
    arms: tuple[str, ...] = field(default=(), kw_only=True)
    """Ways to explore."""
    seeds: int = field(default=10, kw_only=True)
    """Runs of each arm, from seed 0 on."""
    episodes: int = field(default=2000, kw_only=True)
    """Episodes of a run, at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts("sizes", self.sizes, 200)
        names("mappings", self.mappings, MAPPINGS)
        names("arms", self.arms, tuple(self.rules))
        checks.whole("seeds", self.seeds, 1, 4096)
        checks.whole("episodes", self.episodes, 100, 1 << 20)
        for arm in self.arms:
            for size in self.sizes:
                self.control(size, self.mappings[0], arm)

    def control(self, size: int, mapping: str, arm: str) -> ControlConfig:
        """What is trained in one cell of the study."""
        raise NotImplementedError

    def length(self, size: int) -> int:
        """Steps of an episode."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """What one run depends on beside its cell and seed."""
        return {"episodes": self.episodes}


@dataclass(frozen=True)
class Chain(Deep):
    """The chain: episodes until the clean policy is right in every state, 100 episodes in a row."""

    name: ClassVar[str] = "chain"
    plan: ClassVar[dict[str, str]] = {
        "hypothesis": "With the fixed mapping parameter noise solves N = 10 to 100 in more seeds, or in fewer episodes,"
        " than bootstrapped DQN, and that than epsilon-greedy (Plappert et al. 2018, figure 3); with the random mapping"
        " parameter noise loses this.",
        "metric": "episodes before the first of 100 in a row after each of which the clean policy chooses right in"
        " every state; a seed without is 'not solved'",
        "margin": "two arms differ if the 95 % interval of the probability that a seed of one is sooner leaves out 1/2",
        "stopping": "a seed ends when it is solved or after 2000 episodes; all seeds of a cell are run, cells in the"
        " order of their price, as many as there is time for, and none is left out by its result",
    }
    rules: ClassVar[dict[str, str]] = {
        "parameter": "parameter(structure=dense, distance=kl, target=0.1, adapt_every=50)",
        "epsilon": "epsilon_greedy(0.1, start=1, steps={steps})",
        "noisynet": "noisynet",
        "bootstrap-prior": "bootstrap(heads=10, prior=3, keep=0.5)",
        "bootstrap": "bootstrap(heads=10, prior=0, keep=0.5)",
    }
    sizes: tuple[int, ...] = field(default=(10, 30, 50, 100), kw_only=True)
    arms: tuple[str, ...] = field(default=tuple(rules), kw_only=True)

    def length(self, size: int) -> int:
        return size + 7

    def control(self, size: int, mapping: str, arm: str) -> ControlConfig:
        # The learner of the preset dqn-chain; its first five episodes are random.
        agent = (
            "dqn(hidden=16x16, lr=1e-3, critic=squared, double=false, gamma=0.999, batch_size=32, updates=1, tau=1, "
            f"target_every=100, replay_capacity=100000, warmup={5 * self.length(size)}, normalize_observations=false)"
        )
        explore = self.rules[arm].format(steps=100 * self.length(size))
        task = EnvConfig(f"chain(length={size}, mapping={mapping})", num_envs=1)
        return ControlConfig(task, agent, explore, eval_envs=1)


@dataclass(frozen=True)
class DeepSea(Deep):
    """Deep Sea: episodes until a tenth of all so far found the treasure (bsuite's measure of solving it)."""

    name: ClassVar[str] = "deepsea"
    plan: ClassVar[dict[str, str]] = {
        "hypothesis": "Bootstrapped DQN with priors solves N = 20 within 2500 episodes in every seed; parameter noise"
        " with the random mapping does not.",
        "metric": "episodes until at most 0.9 of all so far missed the treasure (bsuite, Osband et al. 2020)",
        "margin": "none: a count of seeds",
        "stopping": "a seed ends when it is solved or after 2500 episodes",
    }
    rules: ClassVar[dict[str, str]] = {
        "bootstrap-prior": "bootstrap(heads=20, prior=5, keep=1)",
        "parameter": "parameter(structure=dense, target=0.1, adapt_every=50)",
        "bootstrap": "bootstrap(heads=20, prior=0, keep=1)",
        "epsilon": "epsilon_greedy(0.1, start=1, steps={steps})",
    }
    sizes: tuple[int, ...] = field(default=(20,), kw_only=True)
    mappings: tuple[str, ...] = field(default=("random",), kw_only=True)
    arms: tuple[str, ...] = field(default=("bootstrap-prior", "parameter"), kw_only=True)
    seeds: int = field(default=5, kw_only=True)
    episodes: int = field(default=2500, kw_only=True)

    def length(self, size: int) -> int:
        return size

    def control(self, size: int, mapping: str, arm: str) -> ControlConfig:
        # Constants of bsuite's bootstrapped DQN in JAX. Parameter noise wants layer norm, priors do not.
        norm = str(arm == "parameter").lower()
        agent = (
            "dqn(hidden=50x50, lr=1e-3, critic=squared, double=false, gamma=0.99, batch_size=128, updates=1, tau=1, "
            f"target_every=4, replay_capacity=10000, warmup=128, normalize_observations=false, layer_norm={norm})"
        )
        explore = self.rules[arm].format(steps=100 * size)
        return ControlConfig(EnvConfig(f"deep_sea(size={size}, mapping={mapping})", num_envs=1), agent, explore, 1)


@dataclass(frozen=True)
class Untrained(Benchmark):
    """How often perturbed policies that have learnt nothing reach the far end, with either mapping of actions."""

    name: ClassVar[str] = "untrained"

    out: Path = field(default=Path("results/deep"), kw_only=True)
    size: int = 10
    """Length of both tasks, N."""
    nets: int = 10
    """Fresh networks."""
    members: int = 2000
    """Perturbations of each, one episode each."""
    sigmas: tuple[float, ...] = (0.03, 0.1, 0.3)
    """Scales of the noise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts("nets", (self.nets,), 1 << 12)
        counts("members", (self.members,), 1 << 20)
        checks.whole("size", self.size, 3, 200)
        for sigma in self.sigmas:
            checks.real("sigmas", sigma, 0.0, 100.0, open_low=True)


COMMANDS: dict[str, type[Benchmark]] = {kind.name: kind for kind in (Chain, DeepSea, Untrained)}
"""Studies by the names of their commands."""
