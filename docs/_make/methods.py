"""Pages of methods: one for each component that is registered, and for each module of methods that are none yet."""

import ast
import functools
import importlib
import re
import sys
from pathlib import Path

from _make.api import ROOT
from _make.markdown import markdown

MODULES = {
    "Structures": ("noise.dense", "noise.flipout", "noise.lowrank"),
    "Scale rules": ("noise.scales", "rlvr.exploration.sigma"),
    "Holds": ("noise.holds",),
    "Distances": ("noise.distances",),
    "Exploration": tuple(
        f"control.exploration.{name}"
        for name in ("gaussian", "ou", "pink", "zeta", "parameter", "population", "gsde", "lattice", "noisynet", "sums")
    ),
    "GRPO family": (
        *(f"rlvr.objective.{name}" for name in ("advantages", "losses", "correction")), "rlvr.exploration.similarity",
    ),
    "Tasks": tuple(f"tasks.{name}" for name in ("countdown", "target", "swaps", "grid", "sums")),
    "Environments": tuple(
        f"envs.{name}"
        for name in (
            "mountain_car", "cartpole", "double_pendulum", "half_cheetah", "swimmer_gather", "mountain_car_light",
            "cartpole_light", "double_pendulum_light", "probes", "discrete.choice_probes",
        )
    ),
}  # fmt: skip
"""Where methods that no component describes are found; a module that is gone, or has become components, has no page."""


@functools.cache
def families():
    """Every family of components by its name; what the package registers is imported."""
    sys.path.insert(0, str(ROOT))
    from jaxpsn.core.families import ALL

    for path in sorted((ROOT / "jaxpsn").rglob("*.py")):
        if path.parent.name != "core" and re.search(r"\bFamily(\[.*\])?\(", path.read_text()):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    return {name: ALL[name] for name in sorted(ALL)}


@functools.cache
def pages() -> dict[str, dict[str, str]]:
    """Group -> page below ``docs/`` -> Markdown; the list of all is the group ``""``."""
    from jaxpsn.core import describe

    made: dict[str, dict[str, str]] = {}
    known = set()
    for family in families().values():
        title = family.name.capitalize()
        for name in family.names():
            told = describe.describe(family, name)
            known.add(told.source)
            text = markdown(describe.as_markdown(told, level=1))
            made.setdefault(title, {})[f"methods/{family.name}/{name}.md"] = text
    for title, modules in MODULES.items():
        for module in modules:
            path = ROOT / "jaxpsn" / f"{module.replace('.', '/')}.py"
            if path.exists() and f"jaxpsn.{module}" not in known:
                uri = f"methods/{title.lower().replace(' ', '-')}/{path.stem}.md"
                made.setdefault(title, {})[uri] = _module(f"jaxpsn.{module}", path)
    return {"": {"methods/index.md": _index(made)}} | made


def _module(name: str, path: Path) -> str:
    """The functions and classes of a module, with what their docstrings say and a link to their signatures."""
    tree = ast.parse(path.read_text())
    lines = [f"# {path.stem.replace('_', ' ').capitalize()}", "", markdown(ast.get_docstring(tree) or "", (name,))]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            text = markdown(ast.get_docstring(node) or "", (f"{name}.{node.name}", name))
            lines += ["", f"## {node.name}", "", text, "", f"[Signature][{name}.{node.name}] in `{name}`"]
    return "\n".join(lines) + "\n"


def _index(made: dict[str, dict[str, str]]) -> str:
    lines = ["# Methods", "", "What there is to choose from, each with its formula and source.", ""]
    for title, content in made.items():
        lines += [f"## {title}", "", "| name | what it is |", "| --- | --- |"]
        for uri, text in content.items():
            head, summary = text.lstrip("# ").split("\n", 2)[0], re.split(r"\n\s*\n", text, maxsplit=2)[1]
            lines.append(f"| [{head}]({uri.removeprefix('methods/')}) | {' '.join(summary.split())} |")
        lines.append("")
    return "\n".join(lines)
