"""Which presets are compiled for which accelerators, as a frozen dataclass that checks itself."""

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.compile_options import ROLLOUT, STEP, UPDATE, Compile
from benchmarks.compiler import targets
from benchmarks.options import Benchmark, names
from jaxpsn.control.presets import PRESETS as CONTROL
from jaxpsn.rlvr.presets import PRESETS as RLVR

PROGRAMS = {"control": (STEP,), "rlvr": (ROLLOUT, UPDATE)}
"""By home, those that a training holds most of its memory for."""


@dataclass(frozen=True)
class Fits(Benchmark):
    """Does every preset fit an accelerator that is not here, and how many environments would?

    Each is compiled as by ``compile``: a chunk of vector steps, or a rollout and an update, with the noise that the
    preset has. Nothing is run. A preset takes minutes, so the table is written after each, and those that are in it
    are not compiled again: delete the files to count anew.
    """

    name: ClassVar[str] = "fits"

    targets: tuple[str, ...] = ("h200", "v5e:2x2")
    """Whose compilers, as --target of compile takes them; one device of each."""
    control: tuple[str, ...] = tuple(CONTROL)
    """Presets of control.py."""
    rlvr: tuple[str, ...] = tuple(name for name in RLVR if not name.startswith("paper"))
    """Presets of rlvr.py; those of the paper want a downloaded model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for target in self.targets:
            targets.parse(target)
        names("control", self.control, tuple(CONTROL))
        names("rlvr", self.rlvr, tuple(RLVR))

    def asked(self) -> list[Compile]:
        """What is compiled, in order."""
        return [
            Compile(
                target=target,
                home=home,
                flags=("--preset", preset),
                programs=PROGRAMS[home],
                clean=False,
                bound=home == "control",
            )
            for target in self.targets
            for home, presets in (("control", self.control), ("rlvr", self.rlvr))
            for preset in presets
        ]
