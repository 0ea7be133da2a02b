"""What can be benchmarked, as frozen dataclasses that check themselves.

Every benchmark has a module of its name beside this one, with a function ``table(options)`` that returns its rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from jaxpsn.control.agents import OffPolicy
from jaxpsn.control.config import ControlConfig
from jaxpsn.control.exploration.family import EXPLORATION
from jaxpsn.control.presets import PRESETS
from jaxpsn.core import checks, errors, override, paths_of, replaced, terms_of
from jaxpsn.noise.hold_rules import HOLDS
from jaxpsn.noise.structures import STRUCTURES as CONTROL_STRUCTURES

STRUCTURES = (
    "flipout", "flipout-sign", "flipout-normal", "lowrank", "lowrank-no-head", "lowrank-4", "factorised", "input-gain",
    "dense-groups", "dense", "dense-bf16", "flipout-pink", "lowrank-pink", "lowrank-drift",
)  # fmt: skip
"""Forms of weight noise whose acting is measured; ``dense-groups`` shares few draws among many members."""
PRECISIONS = ("default", "float32", "tf32", "bfloat16")
"""Of matrix products."""


def counts(name: str, values: Any, high: int, least: int = 1) -> None:
    """Refuse anything but ``least`` or more whole numbers from 1 to ``high``."""
    if len(values) < least:
        errors.refuse(name, values, f"{least} or more whole numbers")
    for value in values:
        checks.whole(name, value, 1, high)


def names(name: str, values: Sequence[str], known: Sequence[str]) -> None:
    """Refuse what is not ``known``."""
    for value in values:
        checks.choice(name, value, known)


@dataclass(frozen=True)
class Benchmark:
    """What all benchmarks have; ``name`` is that of the command."""

    name: ClassVar[str]

    out: Path = field(default=Path("results"), kw_only=True)
    """Folder for the table (CSV), the table with its options and machine (JSON), and the plot (SVG)."""

    def __post_init__(self) -> None:
        pass

    @property
    def stem(self) -> str:
        """Name of the files, without their suffix."""
        return self.name


@dataclass(frozen=True)
class Timed(Benchmark):
    """What all have that time their contenders in turns."""

    rounds: int = field(default=50, kw_only=True)
    """Timed rounds; in each every contender runs once, in another order."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole("rounds", self.rounds, 1, 1 << 20)


@dataclass(frozen=True)
class Limited(Timed):
    """The same, with a limit in seconds."""

    seconds: float = field(default=30.0, kw_only=True)
    """Of timing for one comparison, after which its rounds end; five are made in any case."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("seconds", self.seconds, 0.0)


@dataclass(frozen=True)
class _Policies(Benchmark):
    members: tuple[int, ...] = (64, 256, 1024, 4096, 16384)
    """Perturbed policies, one observation each; a comparison for every number."""
    sizes: tuple[int, ...] = (27, 256, 256, 8)
    """Widths of the policy, observation first, action last."""
    forms: tuple[str, ...] = STRUCTURES
    """Forms of the weight noise."""
    groups: int = 128
    """Distinct draws of dense-groups, shared by the members."""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts("members", self.members, 1 << 20)
        counts("sizes", self.sizes, 1 << 16, least=2)
        names("forms", self.forms, STRUCTURES)
        checks.whole("groups", self.groups, 1, 1 << 20)


@dataclass(frozen=True)
class _Control(Benchmark):
    env: str = "halfcheetah"
    """The task."""
    backend: str | None = None
    """Brax physics; the task's own default if left out."""
    num_envs: int = 256
    """Parallel environments."""
    preset: str = "default"
    """Preset of experiments/control.py whose learner, noise and replay are used (on a GPU: gpu)."""
    rules: tuple[str, ...] = ("gaussian", "none")
    """Exploration rules; the first is what all are compared with."""
    structures: tuple[str, ...] = ("flipout",)
    """Forms of the weight noise, each compared under the rule `parameter`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("preset", self.preset, PRESETS)
        names("structures", self.structures, CONTROL_STRUCTURES.names())
        if not self.rules:
            errors.refuse("rules", self.rules, f"one or more of {', '.join(EXPLORATION.names())}")
        self.arms()

    def arms(self) -> dict[str, ControlConfig]:
        """Name -> what is trained, the rules first; without warm-up, so that every step learns."""
        shared = PRESETS[self.preset]
        shared = replace(shared, env=replace(shared.env, name=self.env, backend=self.backend, num_envs=self.num_envs))
        if isinstance(shared.agent, OffPolicy):
            shared = replace(shared, agent=replaced(shared.agent, {"warmup": 0}))
        wanted = {rule: rule for rule in self.rules}
        noisy = [term for term in terms_of(shared.explore) if "structure" in paths_of(term)]
        weights = noisy[0] if noisy else EXPLORATION.make("parameter")
        pairs = str(weights.structure.antithetic).lower()
        wanted |= {
            name: override(weights, {"structure": name, "structure.antithetic": pairs}) for name in self.structures
        }
        return {name: replace(shared, explore=explore) for name, explore in wanted.items()}


@dataclass(frozen=True)
class Acting(_Policies, Limited):
    """Price of acting with distinct perturbations, against the clean batched policy and materialised weights.

    By the policy step, with and without redraws, and by the step of a whole task.
    """

    name: ClassVar[str] = "acting"

    memory_mib: float = 512.0
    """Contenders whose state or weights take more than this are left out, by name."""
    steps: int = 1
    """Policy steps in one compiled call: with many, launching the call no longer counts (on a GPU: 20)."""
    precision: Literal["default", "float32", "tf32", "bfloat16"] = "default"
    """Of matrix products (default: what the device takes for float32); with bfloat16 of activations too."""
    env: str | None = "ant"
    """Task that is stepped with each contender acting; its widths must be those of `sizes`. None: no task."""
    backend: str | None = None
    """Brax physics; the task's own default if left out."""
    env_most: int = 4096
    """The task is stepped for at most so many members (on a GPU: 16384)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole("env_most", self.env_most, 1, 1 << 20)
        checks.real("memory_mib", self.memory_mib, 0.0, open_low=True)
        checks.whole("steps", self.steps, 1, 10_000)
        checks.choice("precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class Training(_Control, Limited):
    """Environment steps and learner updates per second of one agent, with and without noise."""

    name: ClassVar[str] = "training"

    calls: int = 20
    """Vector steps in one timed chunk."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole("calls", self.calls, 1, 100_000)


@dataclass(frozen=True)
class Startup(_Control, Timed):
    """Time from the start of a process to the end of its first training step.

    Cold: with an empty compilation cache. Warm: with the cache that the cold process before it left behind.
    """

    name: ClassVar[str] = "startup"

    num_envs: int = 64
    """Parallel environments."""
    rules: tuple[str, ...] = ("none", "gaussian")
    """Exploration rules; the first is what all are compared with."""
    rounds: int = field(default=5, kw_only=True)
    """Rounds; in each everything compared starts twice, cold and then warm."""


@dataclass(frozen=True)
class Memory(_Control, _Policies):
    """Bytes: a member's state, an acting step and a training step as XLA plans them, and what the device held."""

    name: ClassVar[str] = "memory"

    members: tuple[int, ...] = (64, 1024, 16384)
    """Perturbed policies, one observation each; a comparison for every number."""
    rules: tuple[str, ...] = ("none", "gaussian")
    """Exploration rules; the first is what all are compared with."""


@dataclass(frozen=True)
class Replay(Timed):
    """Price of inserting one vector step into replay, by capacity."""

    name: ClassVar[str] = "replay"

    capacities: tuple[int, ...] = (100_000, 400_000, 1_600_000)
    """Transitions that fit; rings smaller than the processor cache look faster than they are."""
    num_envs: int = 256
    """Transitions inserted at once."""
    sizes: tuple[int, int] = (17, 6)
    """Of observation and action."""
    inserts: int = 1000
    """Inserts in one timed call."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole("num_envs", self.num_envs, 1, 1 << 20)
        checks.whole("inserts", self.inserts, 1, 1 << 20)
        counts("sizes", self.sizes, 1 << 16, least=2)
        if not self.capacities or min(self.capacities) < self.num_envs:
            errors.refuse("capacities", self.capacities, f"one or more, each at least num_envs = {self.num_envs}")


@dataclass(frozen=True)
class Decoding(Timed):
    """Price of one perturbed policy per sample in a decode batch, against the clean sampler."""

    name: ClassVar[str] = "decoding"

    hidden_size: int = 512
    """Width of a decoder with random weights; its MLP is three times as wide."""
    layers: int = 4
    """Layers."""
    vocab: int = 2048
    """Tokens of the vocabulary."""
    members: int = 8
    """Distinct policies: samples of each prompt."""
    prompts: int = 32
    """Prompts of 16 tokens."""
    tokens: int = 32
    """Tokens that every row is given."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of weights and activations."""
    rounds: int = field(default=20, kw_only=True)
    """Timed rounds; in each every contender runs once, in another order."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("layers", "members", "prompts", "tokens"):
            checks.whole(name, getattr(self, name), 1, 1 << 20)

    @property
    def stem(self) -> str:
        """One set of files for each width."""
        return f"decoding-{self.hidden_size}"


@dataclass(frozen=True)
class Reasoning(Timed):
    """Seconds of a training step of the reasoning home: plain GRPO, parameter noise, Variant I, Variant II."""

    name: ClassVar[str] = "reasoning"

    preset: str = "default"
    """Preset of experiments/rlvr.py whose model, task and sizes are used; the small decoder is trained once."""
    rounds: int = field(default=30, kw_only=True)
    """Timed rounds; in each every contender makes one step."""


@dataclass(frozen=True)
class Response(Benchmark):
    """Which measures of Variant II respond to the scale of the noise, and over which range of it; times nothing.

    Probes of the perturbed policy beside the clean policy's answers to the same problems, with the same random numbers.
    """

    name: ClassVar[str] = "response"

    preset: str = "composite"
    """Preset of experiments/rlvr.py whose model, task, sizes and noise are used; the small decoder is trained once."""
    model: str | None = None
    """Hugging Face folder of another policy."""
    data: str | None = None
    """JSONL file of its problems."""
    task: str | None = None
    """Another procedural task."""
    bert: str | None = None
    """Folder of a sentence encoder (a BERT), which is measured as well."""
    sigmas: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.4, 2.0)
    """Scales of the noise."""
    probes: int = 2
    """Answers to each problem."""
    looks: int = 16
    """Steps' problems that are probed, each with perturbations of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole("probes", self.probes, 2, 1 << 10)
        checks.whole("looks", self.looks, 2, 1 << 16)
        if not self.sigmas or len(set(self.sigmas)) < len(self.sigmas):
            errors.refuse("sigmas", self.sigmas, "one or more numbers, all different")
        for sigma in self.sigmas:
            checks.real("sigmas", sigma, 0.0, 100.0)
        if self.bert is not None and not (Path(self.bert) / "config.json").is_file():
            errors.refuse("bert", self.bert, "a Hugging Face folder; there is no config.json in it")

    @property
    def stem(self) -> str:
        """A table with an encoder beside the one without."""
        return self.name if self.bert is None else f"{self.name}-encoder"


@dataclass(frozen=True)
class Spectra(Benchmark):
    """Colours of weight noise: the spectrum of what each hold does to the actions of a policy; times nothing."""

    name: ClassVar[str] = "spectra"

    holds: tuple[str, ...] = (
        "colored(beta=0)", "colored(beta=0.5)", "pink", "colored(beta=1.5)", "colored(beta=2)", "steps(n=25)",
        "drift(rho=0.96)", "steps(n=500)",
    )  # fmt: skip
    """Hold rules of `parameter`; of drift the noise is of low rank, else Flipout."""
    members: int = 32
    """Perturbed policies whose spectra are averaged."""
    steps: int = 4096
    """Decisions of each."""
    sigma: float = 0.05
    """Scale of the noise."""
    env: str | None = "sparse_cartpole_swingup"
    """Task in which every policy also acts on what it sees, episode after episode; None: on one state alone."""
    sizes: tuple[int, ...] = (4, 64, 64, 1)
    """Widths of the policy, observation first, action last."""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts("sizes", self.sizes, 1 << 16, least=2)
        checks.whole("members", self.members, 1, 1 << 20)
        checks.whole("steps", self.steps, 64, 1 << 24)
        checks.real("sigma", self.sigma, 0.0, 100.0, open_low=True)
        for text in self.holds:
            HOLDS.make(text, "holds")


@dataclass(frozen=True)
class All(Benchmark):
    """Startup, memory, acting and training, one after the other, with short settings."""

    name: ClassVar[str] = "all"

    def parts(self) -> tuple[Benchmark, ...]:
        """What is run; processes that must have the device to themselves come first."""
        return (
            Startup(rounds=3, rules=("none",), out=self.out),
            Memory(members=(1024, 16384), out=self.out),
            Acting(seconds=8.0, out=self.out),
            Training(structures=("flipout", "lowrank", "dense"), out=self.out),
        )


COMMANDS: dict[str, type[Benchmark]] = {
    kind.name: kind for kind in (All, Acting, Training, Startup, Memory, Replay, Decoding, Reasoning, Response, Spectra)
}
"""Benchmarks by the names of their commands."""
