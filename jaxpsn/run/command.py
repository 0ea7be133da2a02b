"""Command lines of the scripts: a preset or a run folder gives the defaults, flags override; imports no JAX."""

import argparse
import contextlib
import dataclasses
import io
import re
import textwrap
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import tyro

from jaxpsn.core import errors, plugins
from jaxpsn.run import component_flags, flag_names, folder, near_flags, startup, vacancy
from jaxpsn.run.config import RunConfig

Job = TypeVar("Job")


def from_record(kind: type[Job], record: Mapping[str, Any], where: str = "") -> Job:
    """A nested frozen dataclass back from the dict that JSON made of it; ``where`` it lies in a whole record.

    Raises UserError on a field that it lacks, and on a value of another type.
    """
    hints = typing.get_type_hints(kind)
    values = {}
    for name, value in record.items():
        place = f"{where}.{name}" if where else name
        if name not in hints:
            errors.refuse(place, value, errors.nearest(name, hints))
        values[name] = _restored(place, value, hints[name])
    for field in dataclasses.fields(kind):
        if field.name not in values and field.default is field.default_factory is dataclasses.MISSING:
            errors.refuse(f"{where}.{field.name}" if where else field.name, None, "a value; it is missing")
    with errors.within(where) if where else contextlib.nullcontext():
        return kind(**values)


def _restored(place: str, value: Any, hint: Any) -> Any:
    """``value`` as a field of the type ``hint`` holds it."""
    base = component_flags.base_of(hint)
    if base is not None:
        return base.family.make(_record(place, value), place)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            errors.refuse(place, value, "an object")
        return from_record(hint, value, place)
    if not _fits(value, hint):
        errors.refuse(place, value, _NAMES.get(hint) or str(hint).replace("typing.", ""))
    return tuple(value) if isinstance(value, list) else value


def _record(place: str, value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else errors.refuse(place, value, "a component of today's run folders")


_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value can stand in a field of the type ``hint``: what we use of Python's types."""
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if kind is typing.Literal:
        return isinstance(value, str) and value in parts
    if kind is tuple:
        return isinstance(value, list | tuple) and all(_fits(entry, parts[0]) for entry in value)
    if kind in (dict, Mapping):
        return isinstance(value, Mapping) and all(_fits(entry, parts[1]) for entry in value.values())
    if hint in (int, float):
        number = isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
        return number and abs(value) < 1 << 63
    return hint is Any or (isinstance(hint, type) and isinstance(value, hint))


def going_on(kind: type[Job], record: Mapping[str, Any], section: str) -> Job:
    """How a record says that its run or study is kept, after its plugins are loaded.

    It goes on where it lies, whatever it was first asked to be called or to overwrite.
    """
    plugins.require(record.get("plugins", ()))
    return dataclasses.replace(from_record(kind, record[section]), name=None, resume=None, overwrite=False)


def refuse_other_length(run: RunConfig, why: str) -> None:
    """Refuse to go on with a run to another end than was recorded; ``why`` says what depends on it."""
    if run.resume is not None and run.steps != (recorded := folder.read(run.resume)["run"]["steps"]):
        errors.refuse("steps", run.steps, f"{recorded} as recorded; {why}")


def parse(
    kind: type[Job],
    presets: Mapping[str, Job],
    argv: Sequence[str],
    restore: Callable[[Mapping[str, Any]], Job],
    description: str,
    read: Callable[[str], Mapping[str, Any]] = folder.read,
    resumes: str = "run of control",
    short: Mapping[str, str] | None = None,
    values: Mapping[str, Callable[[str], Any]] | None = None,
) -> Job:
    """The job that ``argv`` asks for.

    ``--preset NAME`` or ``--resume FOLDER`` (through ``restore(read(folder)) -> job``) gives the values that the flags
    then override; ``resumes``: what the script goes on with, of ``vacancy.SCRIPTS``; ``short``: other beginnings of the
    flags of components; ``values``: flag -> what refuses its value before JAX loads. Plugins are loaded first, on
    resume those of the run. ``--help-all`` prints every flag and exits. Raises UserError for anything that cannot be
    understood.
    """
    argv = component_flags.prepare(argv)
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
    if known.resume is None:
        flag_names.check(kind, rest, short or {}, values or {})
        default = presets[known.preset or "default"]
    else:
        vacancy.refuse_other(known.resume, resumes)
        record = read(known.resume)
        with errors.within(known.resume):
            plugins.require(record.get("plugins", []))
        flag_names.check(kind, rest, short or {}, values or {})
        with errors.within(known.resume):
            default = restore(record)
        rest += ["--resume", known.resume]
    listed = f"{description}\n\n--preset gives the defaults below: {', '.join(presets)}."
    return flags(kind, rest, default, listed, short or {})


def flags(
    kind: type[Job], args: Sequence[str], default: Job, description: str, short: Mapping[str, str] | None = None
) -> Job:
    """``default`` with what ``args`` override. Raises UserError as :func:`parse` does."""
    said, shown = io.StringIO(), io.StringIO()
    words, registry = component_flags.gathered(args, default, short or {})
    listed = ["--help" if word == "--help-all" else word for word in words]
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(shown):
            return tyro.cli(kind, args=listed, default=default, description=description, registry=registry)
    except SystemExit as stop:
        if not stop.code:
            startup.result("\n".join(map(_wrapped, shown.getvalue().splitlines())))
            raise
        text = _one_line(said.getvalue())
        raise errors.UserError(_unknown(kind, words, default) if "Unrecognized options: " in text else text) from None


def _wrapped(line: str) -> str:
    """A line of the help; one that is no part of a frame has at most 100 characters."""
    return line if line[:1] in tuple("╭│╰+|") else textwrap.fill(line.rstrip(), 100)


def _unknown(kind: type[Job], args: Sequence[str], default: Job) -> str:
    """What is said of flags that do not exist: the first one, with the nearest ones that do."""
    told = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(told):
        tyro.cli(kind, args=["--help"], default=default, registry=component_flags.gathered([], default, {})[1])
    known = set(re.findall(r"(?<![\w-])--[a-z][\w.-]*\w", re.sub(r"\x1b\[[0-9;]*m", "", told.getvalue())))
    known |= {component_flags.PLUGIN, component_flags.DESCRIBE, *component_flags.dotted(default)}
    given = [word.partition("=")[0] for word in args if word.startswith("--") and not word[2:3].isdigit()]
    unknown = [flag for flag in given if flag.replace("_", "-") not in known]
    if not unknown:
        return f"{' '.join(args)}: not understood; flags begin with --, and --help-all lists them"
    return near_flags.refusal(unknown, known)


def _one_line(box: str) -> str:
    """What a framed, wrapped message says, without the frame."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", box)
    text = re.sub(r"╭[^╮]*╮", " ", text)  # the title repeats the text
    text = re.sub(r"\A[^\n]*\n\s*-{8,}|(?m:^\s*-{8,}\s*$)", " ", text)  # the same where only ASCII can be printed
    words = re.sub(r"[╭╮╰╯│─━┃┏┓┗┛]+", " ", text).split()
    said = re.sub(r" (For full helptext|Argument helptext:).*", "", " ".join(words)).strip()
    return said or "the command line was not understood"
