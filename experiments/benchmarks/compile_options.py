"""What is compiled for an accelerator, as a frozen dataclass that checks itself; imports no JAX."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import tyro

from benchmarks.compiler import targets
from benchmarks.options import Benchmark
from benchmarks.shapes import SHAPES
from jaxpsn.control.exploration.family import EXPLORATION
from jaxpsn.core import checks, errors
from jaxpsn.noise.structures import STRUCTURES

HOMES = ("control", "rlvr")
ACTING, STEP, EVALUATION = ("acting", "step", "evaluation")
DECODING, ROLLOUT, UPDATE = ("decoding", "rollout", "update")
PROGRAMS = {"control": (ACTING, STEP, EVALUATION), "rlvr": (DECODING, ROLLOUT, UPDATE)}
"""By home, those that can be compiled."""


@dataclass(frozen=True)
class Compile(Benchmark):
    """What the compiler of an accelerator that is not here makes of a training: launches, bytes, memory.

    ``compile [control|rlvr] --target h200`` takes all flags of ``control.py`` or ``rlvr.py`` besides those below, and
    compiles acting, a vector step, a chunk and an evaluation, or a decoding step and an update. Beside everything
    stands the program without noise: the difference is what noise costs. Nothing is run. The compilers are installed
    on first use into the user's cache folder (GPUs: 4.5 GB, TPUs: 1.3 GB).
    """

    name: ClassVar[str] = "compile"

    target: str = "h200"
    """Whose compiler: h100, h200, h200:8 (eight of them), v5e:2x2, v5p:2x2x1, v6e:2x2 (slices of TPUs)."""
    structures: tuple[str, ...] = ()
    """Forms of weight noise whose acting is compiled besides."""
    against: tuple[str, ...] = ()
    """Explorations of control that are compiled besides, as --explore takes them."""
    programs: tuple[str, ...] = ()
    """Which are compiled, all if left out: acting, step, evaluation of control; decoding, rollout, update of rlvr."""
    shape: str | None = None
    """Of rlvr: a published decoder by its sizes alone, no weights: qwen2.5-0.5b, qwen2.5-1.5b, qwen2.5-7b."""
    calls: int = 10
    """Vector steps of a compiled chunk, tokens of a compiled rollout."""
    clean: bool = True
    """Whether the program without noise is compiled beside what was asked for."""
    largest: bool = False
    """Also look for the largest number of environments that fits, by three more compilations."""
    bound: tyro.conf.Suppress[bool] = False
    """Also say how many environments fit by this compilation alone; the tables of ``fits`` want it."""
    home: tyro.conf.Suppress[Literal["control", "rlvr"]] = "control"
    """What is trained; the word behind compile."""
    flags: tyro.conf.Suppress[tuple[str, ...]] = ()
    """Those of the script, as they were written."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.structures:
            checks.choice("structures", name, STRUCTURES.names())
        checks.choice("home", self.home, HOMES)
        for name in self.programs:
            checks.choice("programs", name, PROGRAMS[self.home])
        if self.shape is not None:
            checks.choice("shape", self.shape, tuple(SHAPES))
            if self.home != "rlvr":
                errors.refuse("shape", self.shape, "nothing for control, as only rlvr has a decoder")
        for text in self.against:
            EXPLORATION.make(text, "against")
        if self.against and self.home != "control":
            errors.refuse("against", self.against, "nothing for rlvr, which has --structures")
        checks.whole("calls", self.calls, 2, 10_000)
        targets.parse(self.target)

    @property
    def stem(self) -> str:
        """One set of files for each target and home, and for some of the programs alone."""
        shape = () if self.shape is None else (self.shape,)
        return "-".join(("compile", self.home, *shape, self.target.replace(":", "-"), *self.programs))

    @property
    def chosen(self) -> tuple[str, ...]:
        """The programs that are compiled."""
        return self.programs or PROGRAMS[self.home]

    @property
    def mesh(self) -> str | None:
        """The mesh that the job names."""
        job = self.job()
        return job.mesh if self.home == "control" else job.rlvr.mesh

    def job(self) -> Any:
        """The job that the script would make of its flags. Raises UserError as it does."""
        from jaxpsn.run import command

        if self.home == "control":
            from jaxpsn.run.jobs import control

            made = command.parse(control.ControlJob, control.PRESETS, self.flags, control.restore, "")
            control.refuse(made)
            return made
        from jaxpsn.run.reasoning import job

        found = command.parse(
            job.RlvrJob, job.PRESETS, self.flags, job.restore, "", resumes="run of reasoning", short=job.SHORT
        )
        if self.shape is not None:
            self._check_shape(found.rlvr)
        return found

    def _check_shape(self, config: Any) -> None:
        if config.model is not None:
            errors.refuse("model", config.model, "left out where shape names the decoder")
        for name in ("max_prompt", "max_tokens"):
            if getattr(config.rollout, name) is None:
                allowed = "a number of tokens, as a shape has no tokenizer that would tell"
                errors.refuse(f"rollout.{name}", None, allowed)


def split(argv: Sequence[str]) -> tuple[str, list[str], list[str]]:
    """Home, flags of this command, flags of the script: ``control --target h200 --preset gpu``."""
    words = list(argv)
    home = words.pop(0) if words and words[0] in HOMES else HOMES[0]
    if words and not words[0].startswith("-"):
        errors.refuse("compile", words[0], f"one of {', '.join(HOMES)}, or a flag")
    own: list[str] = []
    other: list[str] = []
    mine = {
        "--target",
        "--structures",
        "--against",
        "--programs",
        "--shape",
        "--calls",
        "--clean",
        "--no-clean",
        "--largest",
        "--no-largest",
        "--out",
        "--help",
        "-h",
    }
    kept = other
    for word in words:
        if word.startswith("-"):
            kept = own if word.partition("=")[0] in mine else other
        kept.append(word)
    return home, own, other
