"""Benchmarks of scale as frozen dataclasses that check themselves: seeds, devices, and all that a GPU is asked."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from benchmarks.options import STRUCTURES, Acting, Benchmark, Decoding, Limited, Training, counts, names
from jaxpsn.control.config import ControlConfig
from jaxpsn.control.presets import PRESETS
from jaxpsn.core import checks, errors, paths_of, replaced, spec_of, terms_of


@dataclass(frozen=True)
class _Run(Limited):
    env: str = "sparse_cartpole_swingup_light"
    """The task."""
    backend: str | None = None
    """Brax physics; the task's own default if left out."""
    preset: str = "sparse"
    """Preset of experiments/control.py whose learner, noise and replay are used."""
    num_envs: int = 16
    """Parallel environments."""
    calls: int = 100
    """Vector steps in one timed chunk."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("preset", self.preset, PRESETS)
        checks.whole("calls", self.calls, 1, 100_000)
        self.config()

    def config(self) -> ControlConfig:
        """What is trained; without warm-up, so that every step learns."""
        shared = PRESETS[self.preset]
        env = replace(shared.env, name=self.env, backend=self.backend, num_envs=self.num_envs)
        return replace(shared, env=env, agent=replaced(shared.agent, {"warmup": 0}))


@dataclass(frozen=True)
class Seeds(_Run):
    """Price of several seeds side by side in one program, against one."""

    name: ClassVar[str] = "seeds"

    seeds: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Seeds in one program; the first number is what all are compared with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts("seeds", self.seeds, 4096)


@dataclass(frozen=True)
class Scaling(_Run):
    """Price of a training chunk spread over several devices that one CPU is split into; it says little of others.

    Each number of devices has a process of its own, and in it a mesh `data` over all of them.
    """

    name: ClassVar[str] = "scaling"

    num_envs: int = 1024
    """Parallel environments; every number of devices must divide them."""
    devices: tuple[int, ...] = (1, 2, 4, 8)
    """Devices; the first number is what all are compared with."""
    calls: int = 20
    """Vector steps in one timed chunk."""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts("devices", self.devices, 256)
        for count in self.devices:
            if self.num_envs % count:
                errors.refuse("devices", count, f"divisors of num_envs = {self.num_envs}")


@dataclass(frozen=True)
class Physics(Limited):
    """Price of Brax's physics, as Brax lays it out and in lanes (jaxpsn/envs/lanes.py); compilation told apart."""

    name: ClassVar[str] = "physics"

    tasks: tuple[str, ...] = ("halfcheetah", "ant")
    """Brax's environments."""
    backend: Literal["spring", "positional"] = "spring"
    """Their physics."""
    num_envs: tuple[int, ...] = (64, 256, 1024)
    """Parallel environments; a comparison for every number and task."""
    steps: int = 10
    """Environment steps in one timed call."""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts("num_envs", self.num_envs, 1 << 20)
        checks.whole("steps", self.steps, 1, 100_000)
        if not self.tasks:
            errors.refuse("tasks", self.tasks, "one or more")


@dataclass(frozen=True)
class Learning(_Run):
    """Return of the clean policy over seconds, compilation not counted; a part of `gpu`."""

    name: ClassVar[str] = "learning"

    @property
    def steps(self) -> int:
        """Environment steps of a chunk."""
        return self.calls * self.config().steps_per_call


@dataclass(frozen=True)
class Gpu(Benchmark):
    """All that a GPU is asked, in ten minutes and one JSON file: acting, training, seeds, learning, decoding.

    The file is renewed after every comparison. What can no longer begin, or fails, is left out by name.
    """

    name: ClassVar[str] = "gpu"

    parts: tuple[str, ...] = ("acting", "training", "seeds", "learning", "decoding")
    """What is measured: all, or some of them."""
    minutes: float = 8.5
    """After these no further comparison begins; one takes about a minute at most."""
    members: tuple[int, ...] = (4096, 1024, 16384)
    """Perturbed policies that act, the most telling number first."""
    sizes: tuple[int, ...] = (27, 256, 256, 8)
    """Widths of their policy, observation first, action last."""
    forms: tuple[str, ...] = STRUCTURES
    """Forms of their noise."""
    precisions: tuple[Literal["float32", "tf32", "bfloat16"], ...] = ("float32", "tf32", "bfloat16")
    """Of their matrix products; with bfloat16 of activations too."""
    steps: int = 20
    """Policy steps in one compiled call."""
    memory_mib: float = 8192.0
    """Forms whose state takes more than this are left out."""
    preset: str = "gpu"
    """Preset of experiments/control.py that is trained."""
    envs: tuple[str, ...] = ("ant", "halfcheetah")
    """Tasks that are trained on; the return of the first is followed."""
    num_envs: tuple[int, ...] = (4096, 2048, 8192)
    """Parallel environments, the most telling number first."""
    calls: int = 10
    """Vector steps in one timed chunk of training; five times as many between two looks at the return."""
    learning_seconds: float = 90.0
    """For which the return is followed."""
    seeds: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Seeds in one program."""
    seeds_preset: str = "sparse"
    """Preset of experiments/control.py whose seeds are compared: one with cheap physics."""
    hidden_sizes: tuple[int, ...] = (1024, 2048)
    """Widths of the decoder."""
    layers: int = 4
    """Layers of the decoder."""
    rows: int = 256
    """Rows of a decode batch."""
    policies: tuple[int, ...] = (8, 64)
    """Distinct policies in a decode batch."""
    tokens: int = 64
    """Tokens that every row is given."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the decoder's weights and activations."""
    rounds: int = field(default=30, kw_only=True)
    """Timed rounds at most; in each every contender runs once, in another order."""
    seconds: float = field(default=6.0, kw_only=True)
    """Of timing for one comparison, after which its rounds end."""

    def __post_init__(self) -> None:
        super().__post_init__()
        names("parts", self.parts, ("acting", "training", "seeds", "learning", "decoding"))
        checks.real("minutes", self.minutes, 0.0)
        checks.real("learning_seconds", self.learning_seconds, 0.0)
        checks.choice("preset", self.preset, PRESETS)
        checks.choice("seeds_preset", self.seeds_preset, PRESETS)
        counts("policies", self.policies, self.rows)
        for count in self.policies:
            if self.rows % count:
                errors.refuse("policies", count, f"divisors of rows = {self.rows}")
        if not self.comparisons():
            errors.refuse("parts", self.parts, "something to measure")

    def comparisons(self) -> list[Benchmark]:
        """What is compared, in the order in which it matters: the first sizes, the rest of the parts, other sizes."""
        timed = {"rounds": self.rounds, "seconds": self.seconds}
        first = self._acting(self.members[:1], timed) + self._training(
            self.num_envs[:1], ("none",), ("flipout",), timed
        )
        seeded = PRESETS[self.seeds_preset].env
        seeds = Seeds(seeded.name, None, self.seeds_preset, seeded.num_envs, seeds=self.seeds, **timed)
        followed = Learning(
            *(self.envs[0], None, self.preset, self.num_envs[0], 5 * self.calls), seconds=self.learning_seconds
        )
        rest = self._training(self.num_envs[1:], ("parameter",), (), timed)
        found = [*first, seeds, followed, *self._decoding(), *self._acting(self.members[1:], timed), *rest]
        return [each for each in found if each.name in self.parts]

    def _acting(self, members: tuple[int, ...], timed: dict) -> list[Benchmark]:
        shared = {"sizes": self.sizes, "forms": self.forms, "memory_mib": self.memory_mib, "steps": self.steps}
        return [
            Acting((count,), env=None, precision=precision, **shared, **timed)
            for count in members
            for precision in self.precisions
        ]

    def _training(self, counts: tuple[int, ...], rules: tuple, structures: tuple, timed: dict) -> list[Benchmark]:
        shared = {"preset": self.preset, "rules": rules, "structures": structures, "calls": self.calls}
        return [Training(env, num_envs=count, **shared, **timed) for count in counts for env in self.envs]

    def _decoding(self) -> list[Benchmark]:
        shared = {"layers": self.layers, "tokens": self.tokens, "dtype": self.dtype, "rounds": min(self.rounds, 10)}
        return [
            Decoding(size, members=count, prompts=self.rows // count, **shared)
            for size in self.hidden_sizes
            for count in self.policies
        ]


@dataclass(frozen=True)
class Price(Benchmark):
    """What weight noise adds to a training step of every agent: products and bytes, counted, and processor seconds.

    Acting, learning, redraws and scale updates, at the sizes of presets; the program without noise has all else, as an
    epsilon. Counted from what the compiler of this machine's processor makes of it, in which loops count as often as
    they run, and timed on it, chunks with noise and without in turns. ``training`` times steps with their physics,
    ``compile`` counts the kernels of accelerators. Goes on where it was stopped, a preset at a time.
    """

    name: ClassVar[str] = "price"

    presets: tuple[str, ...] = ("default", "sac", "ppo", "dqn", "pqn", "paper")
    """Presets of experiments/control.py, one an agent; of followers both estimators."""
    rounds: int = 15
    """Timed rounds, each a chunk with noise and one without; 0: count only."""
    calls: int = 20
    """Vector steps in one timed chunk, or more, until all that comes once in several steps has come."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole("rounds", self.rounds, 0, 1 << 20)
        checks.whole("calls", self.calls, 1, 100_000)
        names("presets", self.presets, tuple(PRESETS))
        self.pairs()

    def pairs(self) -> dict[str, tuple[ControlConfig, ControlConfig]]:
        """Of each preset what is trained with noise in weights, and without."""
        found = {}
        for name in self.presets:
            config = PRESETS[name]
            if config.agent.program == "evolution":
                errors.refuse("presets", name, "one whose agent also learns without noise in its weights")
            left = [spec_of(term) for term in terms_of(config.explore) if "structure" not in paths_of(term)]
            found[name] = config, replace(config, explore=" + ".join(left) or "none")
            if getattr(config.agent, "estimator", None) == "reparameterised":
                other = replaced(config.agent, {"estimator": "clean"})
                found[f"{name}, clean"] = tuple(replace(one, agent=other) for one in found[name])
        return found


COMMANDS: dict[str, type[Benchmark]] = {kind.name: kind for kind in (Seeds, Scaling, Physics, Gpu, Price)}
"""Benchmarks by the names of their commands."""
