"""What a reasoning job is asked, its presets, and how a run folder gives it back; imports no JAX."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import tyro

from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.presets import PRESETS as RLVR_PRESETS
from jaxpsn.run import command
from jaxpsn.run.config import ClusterConfig, RunConfig
from jaxpsn.run.reasoning import inputs


@dataclass(frozen=True)
class RlvrJob:
    """What to train, and how the run is kept; all lengths are in training steps."""

    rlvr: Annotated[RlvrConfig, tyro.conf.arg(name="")] = field(default_factory=RlvrConfig)
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)
    cluster: Annotated[ClusterConfig, tyro.conf.arg(name="")] = field(default_factory=ClusterConfig)


REWARD = "reward"
"""Entry of a run's config: the name of a reward of the user's own, which the run must be given again to go on."""

_LENGTHS = {
    "smoke": RunConfig(steps=40, chunk=1, eval_every=10, checkpoint_every=20),
    "default": RunConfig(steps=200, chunk=1, eval_every=20, checkpoint_every=40),
}
_PAPER_LENGTH = RunConfig(steps=250, chunk=1, eval_every=50, checkpoint_every=50)

PRESETS: dict[str, RlvrJob] = {
    name: RlvrJob(config, _PAPER_LENGTH if name.startswith("paper") else _LENGTHS.get(name, _LENGTHS["default"]))
    for name, config in RLVR_PRESETS.items()
}
"""Whole jobs by name."""


def restore(record: Mapping[str, Any]) -> RlvrJob:
    """The job of a run folder's config.json."""
    run = replace(command.from_record(RunConfig, record["run"]), name=None, resume=None, overwrite=False)
    config = {name: value for name, value in record["config"].items() if name not in (inputs.HASHES, REWARD)}
    return RlvrJob(command.from_record(RlvrConfig, config), run)
