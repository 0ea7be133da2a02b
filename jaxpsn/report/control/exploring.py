"""What a control run explores by, in words, as far as its config tells."""

from collections.abc import Mapping
from typing import Any

from jaxpsn.report.runs import named, setting

_DRAWN = ("structure", "hold")
_USUAL = "episode"  # a hold that goes without saying
_CALLED = {
    "gsde": "gSDE", "lattice": "Lattice", "noisynet": "NoisyNet", "none": "no exploration", "ivon": "IVON",
    "adam_sgld": "Adam-SGLD", "bootstrap": "bootstrapped heads", "epsilon_greedy": "epsilon-greedy choices",
    "natural": "natural parameter noise",
}  # fmt: skip


def parts(config: Mapping[str, Any]) -> list[str]:
    """The names of what explores, those of a sum in its order; of runs of old the words of their rule."""
    explore = setting(config, "explore")
    if isinstance(explore, Mapping):
        return [named({"term": term}, "term") for term in _terms(explore)]
    if isinstance(explore, str):
        return [explore]
    return [part.strip() for part in named(config, "exploration", "rule").split("+")]


def told(config: Mapping[str, Any]) -> str:
    """What explores, in words; empty if unknown."""
    found = parts(config)
    if not any(found):
        return ""
    drawn = ", ".join(str(one) for one in (_setting(config, name) for name in _DRAWN) if one and one != _USUAL)
    known = {"parameter": f"parameter noise ({drawn})" if drawn else "parameter noise"} | _CALLED
    return " + ".join(known.get(part, f"{part} action noise") for part in found)


def distance(config: Mapping[str, Any]) -> tuple[str, str]:
    """What the distance of the noise measures: the words for its axis, and for its unit."""
    if named(config, "agent") in ("dqn", "pqn"):
        return "distance (epsilon of an epsilon-greedy policy as far away)", "epsilon"
    if "natural" in parts(config) or _setting(config, "distance") == "kl":
        return "KL of clean and noisy policy (nats)", "nats"
    return "action distance (RMS)", "RMS of actions in [-1, 1]"


def _setting(config: Mapping[str, Any], name: str) -> Any:
    """A setting of what explores, of a sum the first that has it."""
    explore = setting(config, "explore")
    if isinstance(explore, Mapping):
        return next(filter(None, (setting(term, name) for term in _terms(explore))), None)
    return setting(config, f"{'exploration' if explore is None else 'explore'}.{name}")


def _terms(explore: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = explore.get("sum")
    return [term for term in (listed if isinstance(listed, list) else []) if isinstance(term, Mapping)]
