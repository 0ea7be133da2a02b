"""Where a policy lies that is to be judged: in a run, in a Hugging Face folder, or judged already; imports no JAX."""

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from jaxpsn.core import errors, foreign
from jaxpsn.lm.folders import gguf_file, places
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.run import folder, started
from jaxpsn.run.reasoning import inputs, stages
from jaxpsn.run.reasoning.job import RlvrJob, restore
from jaxpsn.tasks import rewards

BASE = stages.BASE
"""``RUN:base`` is the policy that the training of a run started from."""
_ALLOWED = "a run folder, RUN:base, RUN:STEP, a Hugging Face folder or GGUF file, or an evaluation (.json)"


@dataclass(frozen=True)
class Origin:
    """A policy as the command line names it.

    ``kind``: a checkpoint of a run (``step`` None: the last whole one), the base of a run, a Hugging Face folder, or
    the file of an evaluation made before. ``job``, ``versions``, ``hashes`` (of all that it reads, ``training.inputs``)
    and ``base`` (the digest of the policy it pre-trained) are what the run recorded.
    """

    kind: Literal["run", "base", "folder", "file"]
    path: Path
    step: int | None = None
    job: RlvrJob | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, Any] = field(default_factory=dict)
    base: str | None = None

    @property
    def config(self) -> RlvrConfig | None:
        """The config of the run; None where there is no run."""
        return None if self.job is None else self.job.rlvr

    def label(self, step: int | None = None) -> str:
        """A name for files and tables; ``step`` is that of the checkpoint that was read."""
        path = self.path.resolve()
        run = path.parent.parent if self.kind == "file" else path.parent
        inside = self.kind == "file" or path.name == stages.MODEL
        name = path.stem if self.kind == "file" else places.name(path)
        name = f"{run.name}-{name}" if inside and (run / "config.json").is_file() else name
        name += {"base": f"-{BASE}", "run": f"-step-{step or 0:06}"}.get(self.kind, "")
        return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-")[-80:] or "policy"


def find(name: str, text: str, step: int | None = None) -> Origin:
    """What ``text``, the value of the field ``name``, means; ``step`` chooses a checkpoint as ``RUN:STEP`` does.

    Raises UserError for what is not there, and for what holds no language model.
    """
    path, part = _split(name, os.path.expanduser(text))
    if path.is_file() and not gguf_file.is_one(path):
        if part is not None or step is not None or path.suffix != ".json":
            errors.refuse(name, text, _ALLOWED)
        return Origin("file", path)
    path = places.known(name, path) or path
    if _described(name, path):
        if part is not None or step is not None:
            errors.refuse(name, text, "a run folder, if a step is asked for; this is a Hugging Face folder")
        return Origin("folder", path)
    record = folder.read(path, name)
    if not isinstance(record.get("config"), Mapping) or "rollout" not in record["config"]:
        errors.refuse(name, text, f"a run of {started.command('reason')}; this one trains no language model")
    hashes = record["config"].get(inputs.HASHES, {})
    run = Origin(
        "run",
        path,
        step,
        restore(record, rewards.Verifier()),
        record.get("versions", {}),
        hashes,
        record.get(stages.BASE),
    )
    if part is None:
        return run
    if step is not None:
        errors.refuse("step", step, f"not together with {text}")
    if part == BASE:
        return replace(run, kind="base")
    if not part.isdecimal():
        errors.refuse(name, text, f"{path}:{BASE} or {path}:STEP")
    return replace(run, step=int(part))


def _split(name: str, text: str) -> tuple[Path, str | None]:
    """The path, and what stands behind a colon that is not its own."""
    if text and Path(text).exists():
        return Path(text), None
    head, _, part = text.rpartition(":")
    if head and Path(head).exists():
        return Path(head), part
    cached = places.known(name, text)
    if cached is not None:
        return cached, None
    path, near = Path(head or text), ""
    with contextlib.suppress(OSError):
        names = [one.name for one in path.absolute().parent.iterdir() if (one / "config.json").is_file()]
        near = f"; {errors.nearest(path.name, names)}" if names else ""
    errors.refuse(name, text, f"{_ALLOWED}{near}")


def _described(name: str, path: Path) -> bool:
    """Whether the folder is one of Hugging Face, or a GGUF file, and not a run's."""
    if gguf_file.is_one(path):
        return True
    file = path / "config.json"
    if not foreign.exists(file):
        errors.refuse(name, str(path), f"{_ALLOWED}; there is no config.json in it")
    try:
        content = foreign.read_json(file)
    except errors.UserError as error:
        errors.refuse(name, str(path), f"{_ALLOWED}; its {str(error).removeprefix(f'{path}/')}")
    if not content.keys() & {"format", "model_type", "architectures"}:
        errors.refuse(name, str(path), f"{_ALLOWED}; its config.json is neither a run's nor a model's")
    return "format" not in content
