"""What is compared with other libraries, as a frozen dataclass that checks itself."""

from dataclasses import dataclass, replace
from typing import ClassVar

from benchmarks.options import Benchmark
from jaxpsn.control.agents.family import OffPolicy
from jaxpsn.control.agents.td3 import Td3
from jaxpsn.control.config import ControlConfig
from jaxpsn.control.presets import PRESETS
from jaxpsn.core import checks, errors

LEARNING, EVOLUTION = "learning", "evolution"
OURS = {LEARNING: "jaxpsn-td3", EVOLUTION: "jaxpsn-es"}
"""Our own contender of each part, with which the peers of that part are compared."""
PEERS = {"brax-sac": LEARNING, "rejax-td3": LEARNING, "evosax-es": EVOLUTION}
"""Part of every peer: off-policy learning by gradients, or an evolution strategy."""


@dataclass(frozen=True)
class Peers(Benchmark):
    """Training beside Brax SAC, rejax TD3 and evosax OpenAI-ES: speed, compiling, memory, return at equal time.

    Each peer has pinned packages of its own, installed on first use (1.6 GB in all) into the user's cache folder by uv
    or pip from the index that these are set up with. All have the same task, environments, networks, batch, updates,
    replay and normalised observations; they train in turns, one chunk each, every round in another order. An evolution
    strategy's chunk is a generation: an episode of every environment.
    """

    name: ClassVar[str] = "peers"

    peers: tuple[str, ...] = tuple(PEERS)
    """Whom to compare with: brax-sac, rejax-td3, evosax-es."""
    env: str = "halfcheetah"
    """The task, one of Brax's own."""
    backend: str | None = None
    """Brax physics; the task's own default if left out."""
    preset: str = "default"
    """Preset of experiments/control.py whose learner, noise and replay are used; the one for evolution is es."""
    num_envs: int = 64
    """Parallel environments; for evolution the members of a generation."""
    calls: int = 300
    """Vector steps in one chunk of learning."""
    episode_length: int = 1000
    """Time limit in environment steps."""
    seconds: float = 60.0
    """Of training for each contender and seed; compiling and evaluations do not count."""
    seeds: int = 1
    """Runs of every contender, one after the other; the first alone says how long compiling takes."""
    capacity: int = 1 << 17
    """Transitions kept in replay: rejax's own number, as a batch there is drawn by sorting them all."""
    reward_scaling: float = 10.0
    """Factor on the rewards that Brax SAC learns from, which weighs them against its entropy: with 1 it learns late."""
    extra: str = ""
    """Extra of jax that the peers are installed with, for an accelerator: cuda12, cuda13."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for peer in self.peers:
            checks.choice("peers", peer, PEERS)
        if not self.peers or len(set(self.peers)) < len(self.peers):
            errors.refuse("peers", self.peers, f"one or more of {', '.join(PEERS)}, each once")
        checks.choice("preset", self.preset, PRESETS)
        agent = PRESETS[self.preset].agent
        if not isinstance(agent, Td3) or agent.update_every != 1:
            errors.refuse("preset", self.preset, "one of TD3 that learns after every vector step, as the peers do")
        for name, high in (("calls", 100_000), ("episode_length", 1 << 24), ("seeds", 1000)):
            checks.whole(name, getattr(self, name), 1, high)
        if self.calls % agent.policy_delay:
            errors.refuse("calls", self.calls, f"a multiple of the policy's delay = {agent.policy_delay}")
        if EVOLUTION in self.parts:
            checks.whole("num_envs", self.num_envs, 2)
            if self.num_envs % 2:
                errors.refuse("num_envs", self.num_envs, "an even number, as mirrored members come in pairs")
        checks.real("seconds", self.seconds, 0.0)
        checks.real("reward_scaling", self.reward_scaling, 0.0, open_low=True)
        checks.choice("extra", self.extra, ("", "cuda12", "cuda13"))
        for part in self.parts:
            self.control(part)

    @property
    def parts(self) -> tuple[str, ...]:
        """What is compared: learning, evolution, or both."""
        return tuple(part for part in OURS if part in {PEERS[peer] for peer in self.peers})

    def control(self, part: str) -> ControlConfig:
        """What all contenders of ``part`` train; precision and decay are what every peer has."""
        shared = PRESETS["es" if part == EVOLUTION else self.preset]
        env = replace(
            shared.env,
            name=self.env,
            backend=self.backend,
            num_envs=self.num_envs,
            episode_length=self.episode_length,
            action_repeat=1,
        )
        agent = replace(shared.agent, actor_hidden=PRESETS[self.preset].agent.actor_hidden, weight_decay=0.0)
        if isinstance(agent, OffPolicy):
            agent = replace(agent, precision="float32", replay_capacity=self.capacity)
        return replace(
            shared,
            env=env,
            agent=agent,
            explore=replace(shared.explore, probes=min(shared.explore.probes, self.num_envs)),
            eval_envs=min(shared.eval_envs, 16),
        )

    def contenders(self) -> dict[str, str]:
        """Name -> part of everyone, ours first in each part."""
        return {
            name: part
            for part in self.parts
            for name in (OURS[part], *(peer for peer in self.peers if PEERS[peer] == part))
        }
