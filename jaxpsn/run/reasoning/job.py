"""What a reasoning job is asked, its presets, and how a run folder gives it back; imports no JAX."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import tyro

from jaxpsn.core import errors
from jaxpsn.core.lazily import Lazy
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.presets import PRESETS as RLVR_PRESETS
from jaxpsn.run import command, folder
from jaxpsn.run.config import ClusterConfig, RunConfig
from jaxpsn.run.reasoning import inputs
from jaxpsn.tasks import rewards


@dataclass(frozen=True)
class RlvrJob:
    """What to train, and how the run is kept; all lengths are in training steps."""

    rlvr: Annotated[RlvrConfig, tyro.conf.arg(name="")] = field(default_factory=RlvrConfig)
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)
    cluster: Annotated[ClusterConfig, tyro.conf.arg(name="")] = field(default_factory=ClusterConfig)


_LENGTHS = {
    "smoke": RunConfig(steps=40, chunk=1, eval_every=10, checkpoint_every=20),
    "default": RunConfig(steps=200, chunk=1, eval_every=20, checkpoint_every=40),
}
_PAPER_LENGTH = RunConfig(steps=250, chunk=1, eval_every=50, checkpoint_every=50)


def _preset(name: str) -> RlvrJob:
    length = _PAPER_LENGTH if name.startswith("paper") else _LENGTHS.get(name, _LENGTHS["default"])
    return RlvrJob(RLVR_PRESETS[name], length)


PRESETS: Lazy[RlvrJob] = Lazy({name: functools.partial(_preset, name) for name in RLVR_PRESETS})
"""Whole jobs by name."""
SHORT = {"sigma": "noise.sigma"}
"""Other beginnings of flags."""


def restore(record: Mapping[str, Any], reward: Any = None) -> RlvrJob:
    """The job of a run folder's config.json.

    ``reward`` takes the place of one that was a Python function, of which a record holds the name alone. Raises
    UserError where none is given.
    """
    run = command.going_on(RunConfig, record, "run")
    config = {name: value for name, value in record["config"].items() if name != inputs.HASHES}
    told = config.get("reward")
    if isinstance(told, Mapping) and told.get("name") == rewards.FunctionReward.__name__:
        if reward is None:
            allowed = "the same Python function, given to jaxpsn.reason(resume=True)"
            errors.refuse("reward", told.get("fields", {}).get("function"), allowed)
        config["reward"] = folder.plain(rewards.Verifier())
        return RlvrJob(replace(command.from_record(RlvrConfig, config), reward=reward), run)
    return RlvrJob(command.from_record(RlvrConfig, config), run)


def refuse_unused(argv: Sequence[str], config: RlvrConfig) -> None:
    """Refuse flags of which nothing is made: of a small decoder beside a model, of a task beside data.

    Presets hold both, and whoever names a model leaves the decoder aside; whoever sets both means something else.
    """
    for word in argv:
        flag, _, value = word.partition("=")
        if config.model is not None and flag.startswith(("--decoder.", "--pretrain.")):
            errors.refuse(flag, value or "given", f"nothing with --model {config.model}, which is no small decoder")
        if config.data is not None and (flag == "--task" or flag.startswith("--task.")):
            errors.refuse(flag, value or "given", f"nothing with --data {config.data}, whose problems take its place")
