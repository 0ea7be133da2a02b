"""Components on the command line: ``--task TEXT``, ``--task.numbers 4``, ``--plugin``, ``--describe``; imports no JAX.

A field of a job that holds a component is set by its text, and the fields of the component by their paths. Both are
worked out here and handed to tyro as one text, so that a whole config is checked once, with all that was changed.
"""

import dataclasses
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tyro

from jaxpsn.core import describe, errors, plugins
from jaxpsn.core.components import Component, Sum, at, override, path_in, paths_of, spec_of, terms_of
from jaxpsn.core.families import Family

PLUGIN, DESCRIBE = plugins.OPTION, "--describe"


def prepare(argv: Sequence[str]) -> list[str]:
    """``argv`` without ``--plugin NAME``, each of which is loaded; ``--describe NAME`` prints and exits.

    Raises UserError for a plugin that cannot be loaded, and for a name that nothing has.
    """
    rest, asked = [], None
    words = iter(argv)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag not in (PLUGIN, DESCRIBE):
            rest.append(word)
            continue
        text = value if equals else next(words, None)
        if text is None:
            raise errors.UserError(f"{flag}: a name is missing")
        if flag == DESCRIBE:
            asked = text
        else:
            plugins.load_plugin(text)
    if asked is not None:
        print("\n\n".join(describe.as_text(told) for told in describe.find(asked)))
        raise SystemExit(0)
    return rest


def base_of(hint: Any) -> Any | None:
    """The base of the components that a field of the type ``hint`` holds; None for one that holds none."""
    kinds = typing.get_args(hint) or (hint,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Component)), None)


def family_of(hint: Any) -> Family[Any] | None:
    """The family of the components that a field of the type ``hint`` holds; None for one that holds none."""
    marks = getattr(hint, "__metadata__", ())
    base = base_of(typing.get_args(hint)[0] if marks else hint)
    return next((mark for mark in marks if isinstance(mark, Family)), base and base.family)


def roots(job: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Flag and component of every field of a job that holds one."""
    hints = typing.get_type_hints(type(job), include_extras=True)
    for one in dataclasses.fields(job):
        value, marks = getattr(job, one.name), getattr(hints[one.name], "__metadata__", ())
        flat = any(getattr(mark, "name", None) == "" for mark in marks)
        path = prefix if flat else f"{prefix}{one.name}"
        if isinstance(value, Component | Sum):
            yield path, value
        elif dataclasses.is_dataclass(value):
            yield from roots(value, path if flat else f"{path}.")


def gathered(
    args: Sequence[str], job: Any, short: Mapping[str, str]
) -> tuple[list[str], tyro.constructors.ConstructorRegistry]:
    """``args`` with one word for each component that they change, and the registry by which tyro reads these words.

    ``short``: other beginnings of flags, such as sigma for noise.sigma. Raises UserError for what no component has.
    """
    known = dict(roots(job))
    changes: dict[str, dict[str, str]] = {}
    rest, words = [], list(args)
    while words:
        word = words.pop(0)
        flag, equals, value = word.partition("=")
        found = _root(flag, known, short)
        if found is None:
            rest.append(word)
            continue
        root, path = found
        if not equals and (not words or words[0].startswith("--")):
            if not _is_flag(known[root], path):
                errors.refuse(flag, None if not words else words[0], "a value")
            value = "true"
        elif not equals:
            value = words.pop(0)
        changes.setdefault(root, {})[path] = value
    for root, asked in changes.items():
        rest += [f"--{root.replace('_', '-')}", spec_of(_changed(root, known[root], asked))]
    return rest, _registry()


def dotted(job: Any) -> list[str]:
    """The flags that change what the components of a job hold: ``--explore.scale.target``."""
    return [f"--{root}.{path}".replace("_", "-") for root, value in roots(job) for path in paths_of(value)]


def _root(flag: str, known: Mapping[str, Any], short: Mapping[str, str]) -> tuple[str, str] | None:
    """The component that a flag is about, and the path in it."""
    if not flag.startswith("--"):
        return None
    name = flag[2:].replace("-", "_")
    for begin, whole in short.items():
        if name == begin or name.startswith(f"{begin}."):
            name = whole + name[len(begin) :]
    parts = name.split(".")
    for cut in range(1, len(parts) + 1):
        root = ".".join(parts[:cut])
        if root in known:
            return root, ".".join(parts[cut:])
    return None


def _is_flag(value: Any, path: str) -> bool:
    """Whether the field at a path is true or false, so that its flag may stand alone."""
    return bool(path) and isinstance(at(value, path_in(value, path)), bool)


def _changed(root: str, value: Any, asked: dict[str, str]) -> Any:
    family = type(terms_of(value)[0]).family
    base = family.make(asked.pop(""), f"--{root}") if "" in asked else value
    return override(base, asked, root) if asked else base


def _registry() -> tyro.constructors.ConstructorRegistry:
    """What tells tyro that a component is one word."""
    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def rule(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
        base = base_of(info.type)
        if base is None:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar=base.family.name.upper(),
            instance_from_str=lambda words: base.family.make(words[0]),
            is_instance=lambda value: isinstance(value, Component | Sum),
            str_from_instance=lambda value: [spec_of(value)],
        )

    return registry
