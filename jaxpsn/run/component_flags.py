"""Flags of components: ``--explore TEXT``, ``--explore.PATH VALUE``, ``--plugin FILE``, ``--describe NAME``.

A component is chosen by its text and changed by dotted flags; what is left is one flag with the whole text, which the
command line reads as any other (:data:`jaxpsn.core.flags.SPEC`).
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxpsn.core import describe, errors, plugins
from jaxpsn.core.components import Component, Sum, override, paths_of, spec_of, terms_of

PLUGIN, DESCRIBE = "--plugin", "--describe"


def prepare(args: Sequence[str]) -> list[str]:
    """Load the plugins of ``args`` and answer ``--describe NAME``, which ends the script; returns the other flags.

    To be called before anything else is read: what a plugin registers is a name from then on. Raises UserError.
    """
    kept, asked = [], []
    words = iter(args)
    for word in words:
        flag, sign, text = word.partition("=")
        if flag not in (PLUGIN, DESCRIBE):
            kept.append(word)
            continue
        value = text if sign else next(words, None)
        if not value:
            errors.refuse(flag, value, "a module or .py file" if flag == PLUGIN else "the name of a component")
        if flag == PLUGIN:
            plugins.load_plugin(value)
        else:
            asked.append(value)
    for name in asked:
        print(describe.as_text(describe.find(name)))
    if asked:
        raise SystemExit(0)
    return kept


def merged(args: Sequence[str], default: Any) -> list[str]:
    """``args`` with every component that they choose or change as one flag with its whole text.

    ``default``: the job whose components, at any depth, the flags begin with. Raises UserError.
    """
    parts, kept = dict(_components(default)), []
    texts: dict[str, str] = {}
    changes: dict[str, dict[str, str]] = {name: {} for name in parts}
    words = iter(args)
    for word in words:
        flag, sign, text = word.partition("=")
        name, _, path = flag.removeprefix("--").replace("-", "_").partition(".")
        if not word.startswith("--") or name not in parts or flag.endswith("."):
            kept.append(word)
            continue
        value = text if sign else next(words, None)
        if value is None or (not sign and value.startswith("--")):
            errors.refuse(flag, None if value is None else value, "a value")
        if path:
            changes[name][path] = value
        else:
            texts[name] = value
    for name in (name for name in parts if name in texts or changes[name]):
        kept += [f"--{name}", spec_of(_made(name, parts[name], texts.get(name), changes[name]))]
    return kept


def dotted(default: Any) -> list[str]:
    """The flags that change what the components of a job hold: ``--explore.scale.target``."""
    paths = ((name, path) for name, value in _components(default) for path in paths_of(value))
    return [f"--{name}.{path}".replace("_", "-") for name, path in paths]


def _made(name: str, value: Any, text: str | None, changes: Mapping[str, str]) -> Any:
    if text is not None:
        value = terms_of(value)[0].family.make(text, f"--{name}")
    return override(value, changes, name) if changes else value


def _components(job: Any) -> Iterator[tuple[str, Any]]:
    """The components of a job by the names of their flags."""
    for field in dataclasses.fields(job):
        value = getattr(job, field.name)
        if isinstance(value, Component | Sum):
            yield field.name, value
        elif dataclasses.is_dataclass(value):
            yield from _components(value)
