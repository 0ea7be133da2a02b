"""How much memory a run needs and how much there is: told in one line before anything is made, or when it ran out."""

import contextlib
import dataclasses
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from jaxpsn.core import errors, placement

Parts = Mapping[str, tuple[int, str]]
"""What holds memory on a device: by name the bytes, and the fields that make them fewer."""
_OUT = re.compile(r"RESOURCE_EXHAUSTED|[Oo]ut of memory|Unable to allocate|Failed to allocate|bad_alloc|too large for")
_UNLIMITED = 1 << 60  # what cgroups call no limit is near 2^63
_NAMED = 0.1  # share of all from which on a part is worth naming


def _number(path: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return _UNLIMITED


def _groups(root: Path, listed: Path) -> int:
    """The least limit of the control groups that this process is in (Linux, versions 1 and 2)."""
    found = [_number(root / "memory.max"), _number(root / "memory" / "memory.limit_in_bytes")]
    with contextlib.suppress(OSError):
        for line in listed.read_text().splitlines():
            _, names, path = line.split(":", 2)
            base, file = (root, "memory.max") if not names else (root / "memory", "memory.limit_in_bytes")
            if not names or "memory" in names.split(","):
                group = base / path.lstrip("/")
                found += [_number(one / file) for one in (group, *group.parents) if one.is_relative_to(root)]
    return min(found)


def _address_space() -> int:
    """Bytes that this process may still map (``ulimit -v``)."""
    with contextlib.suppress(ImportError, OSError, ValueError, IndexError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            return max(limit - mapped, 0)
    return _UNLIMITED


def host() -> int:
    """Bytes of memory that this process may take: the machine's, or a limit of its container or its shell."""
    machine = _UNLIMITED
    with contextlib.suppress(OSError, ValueError):
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(machine, _groups(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")), _address_space())


def room(mesh: Any = None) -> tuple[int, str]:
    """Bytes for one of the devices of ``mesh`` (the default one without), and what kind of memory that is."""
    devices = [jax.devices()[0]] if mesh is None else [one for one in mesh.devices.flat if one in jax.local_devices()]
    if devices[0].platform == "cpu":
        return host() // len(devices), "memory" if len(devices) == 1 else f"memory for each of {len(devices)} devices"
    limit = (devices[0].memory_stats() or {}).get("bytes_limit", _UNLIMITED)
    return limit, f"memory on {devices[0].device_kind}"


def held(tree: Any) -> int:
    """Bytes that the arrays of ``tree`` (shapes do) take on one device."""

    def size(leaf: Any) -> int:
        place = getattr(leaf, "sharding", None)
        shape = leaf.shape if place is None else place.shard_shape(leaf.shape)
        return math.prod(shape) * leaf.dtype.itemsize

    return sum(size(leaf) for leaf in jax.tree.leaves(tree))


def planned(compiled: Any) -> int:
    """Bytes that a compiled program needs at once, by XLA's own account; 0 where the backend does not tell."""
    found = compiled.memory_analysis()
    if found is None:
        return 0
    sizes = (found.argument_size_in_bytes, found.output_size_in_bytes, found.temp_size_in_bytes)
    return sum(sizes) - found.alias_size_in_bytes


def parts(program: Any, template: Any, seeds: int = 1) -> Parts:
    """What the state and a step of a program hold; ``template``: the shapes of the state of all seeds.

    The program may say by which fields: ``lower`` for each field of its state (None for those it does not name), and
    ``passing(template)`` for what comes and goes beside it, of one seed, as shapes with their fields.
    """
    lower: Mapping[str | None, str] = getattr(program, "lower", {})
    found = {}
    for field in dataclasses.fields(template):
        size = held(getattr(template, field.name))
        found[field.name] = (size, lower.get(field.name, lower.get(None, "the sizes of the run")))
    cut = placement.of(program).parts
    for name, (tree, fields) in getattr(program, "passing", lambda _: {})(template).items():
        found[name] = (held(tree) * seeds // cut, fields)
    return found


def fields(program: Any) -> str:
    """The fields that make a program smaller."""
    lower: Mapping[str | None, str] = getattr(program, "lower", {})
    return _listed(list(lower.values())) or "the sizes of the run"


def check(program: Any, template: Any, seeds: int) -> None:
    """Refuse a program of which the state, and what a step holds besides, do not fit. See :func:`require`."""
    require(parts(program, template, seeds), placement.of(program).mesh, "seeds" if seeds > 1 else "")


def check_compiled(program: Any, compiled: Any, what: str) -> None:
    """Refuse a compiled part of a program that by XLA's own account needs more than there is."""
    require({what: (planned(compiled), fields(program))}, placement.of(program).mesh)


def require(parts: Parts, mesh: Any = None, more: str = "") -> None:
    """Refuse, in one line that names the fields to lower, what together does not fit on a device.

    ``more``: a field that multiplies all of them.
    """
    needed = sum(size for size, _ in parts.values())
    there, what = room(mesh)
    if needed <= there:
        return
    large = sorted(((size, name, fields) for name, (size, fields) in parts.items()), reverse=True)
    large = [one for one in large if one[0] >= _NAMED * needed][:3] or large[:1]
    named = ", ".join(f"{name} {_size(size)}" for size, name, _ in large)
    fields = _listed([*(fields for _, _, fields in large), more])
    raise errors.UserError(
        f"not enough {what}: {_size(needed)} needed, {_size(there)} there; most of it {named}; lower {fields}"
    )


def _listed(texts: list[str]) -> str:
    """Fields, each once, in their order."""
    return ", ".join(dict.fromkeys(field.strip() for text in texts for field in text.split(",") if field.strip()))


def _size(count: int) -> str:
    power = min(int(math.log(max(count, 1024), 1024)), 5)
    return f"{count / 1024**power:,.1f} {'KMGTP'[power - 1]}iB"


def exhausted(error: BaseException) -> bool:
    """Whether ``error`` says that memory ran out, of the host or of a device."""
    known = isinstance(error, MemoryError | jax.errors.JaxRuntimeError)
    return isinstance(error, MemoryError) or (known and _OUT.search(str(error)) is not None)


@contextlib.contextmanager
def told(fields: str, saved: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Turn the error of memory that ran out into one line: what to lower (``fields``), and what ``saved()`` says."""
    try:
        yield
    except Exception as error:
        if not exhausted(error):
            raise
        asked = re.search(r"allocat\w* (\d+)(?: bytes|B)?", str(error))
        much = f", {_size(int(asked.group(1)))} more were asked for" if asked else ""
        rest = f"; {text}" if (text := saved()) else ""
        raise errors.UserError(f"out of memory{much}; lower {_listed([fields])}{rest}") from error
