"""Command lines of the scripts: a preset or a run folder gives the defaults, flags override; imports no JAX."""

import argparse
import contextlib
import dataclasses
import io
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import tyro

from jaxpsn import errors
from jaxpsn.training import folder, vacancy

Job = TypeVar("Job")


def from_record(kind: type[Job], record: Mapping[str, Any]) -> Job:
    """A nested frozen dataclass back from the dict that JSON made of it. Raises UserError on a field it lacks."""
    hints = typing.get_type_hints(kind)
    values = {}
    for name, value in record.items():
        if name not in hints:
            errors.refuse(name, value, errors.nearest(name, hints))
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, Mapping):
            value = from_record(hints[name], value)
        elif isinstance(value, list):
            value = tuple(value)
        values[name] = value
    return kind(**values)


def parse(
    kind: type[Job],
    presets: Mapping[str, Job],
    argv: Sequence[str],
    restore: Callable[[Mapping[str, Any]], Job],
    description: str,
    read: Callable[[str], Mapping[str, Any]] = folder.read,
    resumes: str = "run of control",
) -> Job:
    """The job that ``argv`` asks for.

    ``--preset NAME`` or ``--resume FOLDER`` (through ``restore(read(folder)) -> job``) gives the values that the flags
    then override; ``resumes``: what the script goes on with, of ``vacancy.SCRIPTS``. Raises UserError for anything that
    cannot be understood; ``--help`` prints and exits.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--preset", default=None)
    first.add_argument("--resume", default=None)
    try:
        known, rest = first.parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise errors.UserError(str(error).replace("argument ", "")) from None
    if known.preset is not None and known.preset not in presets:
        errors.refuse("preset", known.preset, errors.nearest(known.preset, presets))
    if known.resume is not None and known.preset is not None:
        errors.refuse("preset", known.preset, "not together with --resume, which has its own config")
    default = presets[known.preset or "default"]
    if known.resume is not None:
        vacancy.refuse_other(known.resume, resumes)
        default = restore(read(known.resume))
        rest += ["--resume", known.resume]
    listed = f"{description}\n\n--preset gives the defaults below: {', '.join(presets)}."
    return flags(kind, rest, default, listed)


def flags(kind: type[Job], args: Sequence[str], default: Job, description: str) -> Job:
    """``default`` with what ``args`` override. Raises UserError as :func:`parse` does."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, args=list(args), default=default, description=description)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise errors.UserError(_one_line(said.getvalue())) from None


def _one_line(box: str) -> str:
    """What a framed, wrapped message says, without the frame."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", box)
    text = re.sub(r"╭[^╮]*╮", " ", text)  # the title repeats the text
    words = re.sub(r"[╭╮╰╯│─━┃┏┓┗┛]+", " ", text).split()
    said = re.sub(r" (For full helptext|Argument helptext:).*", "", " ".join(words)).strip()
    return said or "the command line was not understood"
