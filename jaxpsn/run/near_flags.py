"""Which flags are nearest to one that does not exist; imports no JAX."""

import re
from collections.abc import Sequence

from jaxpsn.core import errors

_SYNONYMS = {
    "learning-rate": "lr", "timesteps": "steps", "total-timesteps": "steps", "total-steps": "steps",
    "environment": "env.name", "env": "env.name", "env-id": "env.name", "algo": "agent", "n-envs": "num-envs",
    "discount": "gamma", "buffer-size": "replay-capacity", "layers": "hidden", "output": "out", "device": "mesh",
}  # fmt: skip
"""What others call our flags."""


def nearest(flag: str, known: set[str]) -> str:
    """The flags that come nearest to ``flag``: by what its last part is called, else by spelling."""
    plain = flag.lstrip("-")
    last = plain.rpartition(".")[2]
    meant = _SYNONYMS.get(plain) or _SYNONYMS.get(last) or last
    found = (one for one in known if re.search(rf"(?:^--|[.-]){re.escape(meant)}$", one) and "-no-" not in one)
    ends = sorted(found, key=lambda one: (len(one), one))
    if ends and (meant != last or "." not in plain):
        return f"unknown; nearest: {', '.join(ends[:4])}"
    close = errors.nearest(flag, known)
    if "nearest" in close:
        return close
    by_last = {one.lstrip("-").rpartition(".")[2]: one for one in sorted(known)}
    near = errors.nearest(last, by_last)
    if "nearest" not in near:
        return "unknown; --help-all lists the flags"
    return f"unknown; nearest: {', '.join(by_last[one] for one in near.partition(': ')[2].split(', '))}"


def refusal(unknown: Sequence[str], known: set[str]) -> str:
    """What is said of flags that do not exist: the first one, with the nearest ones that do."""
    more = f" (and {len(unknown) - 1} more that are unknown)" if len(unknown) > 1 else ""
    return f"{errors.short(unknown[0], 80)}: {nearest(unknown[0].replace('_', '-'), known)}{more}"
