"""Pages of the API: one for each folder of the package, read from the sources without importing them."""

import ast
import functools
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "jaxpsn"


class Module(NamedTuple):
    """A module of the package and the names that it makes public."""

    name: str
    """``jaxpsn.noise.flipout``"""
    summary: str
    """First line of its docstring."""
    own: dict[str, str]
    """Public names defined in it, and the first line of what they say of themselves."""
    unpacked: tuple[str, ...]
    """Those of them that a tuple is unpacked into (``A, B = 1, 2``), which have no description of their own."""
    given: dict[str, str]
    """Names that it hands on (``from m import X as X``) and where they are defined."""


@functools.cache
def modules() -> list[Module]:
    """Every public module, sorted by name; a package comes before what lies in it."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if not any(part.startswith("_") for part in name.split(".")):
            found.append(_read(name, path))
    return sorted(found)


def _read(name: str, path: Path) -> Module:
    tree = ast.parse(path.read_text())
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    own: dict[str, str] = {}
    unpacked, given = [], {}
    for node in [*tree.body, *_for_type_checkers(tree)]:
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            given |= {one.asname: f"{node.module}.{one.name}" for one in node.names if one.asname == one.name}
        said = ast.get_docstring(node) if isinstance(node, ast.FunctionDef | ast.ClassDef) else None
        defined = {one: (said or "").partition("\n")[0] for one in _defined(node) if not one.startswith("_")}
        own |= defined
        unpacked += defined if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) else []
    return Module(name, summary, own, tuple(unpacked), given)


def _for_type_checkers(tree: ast.Module) -> list[ast.stmt]:
    """What a module that imports late shows to type checkers: ``if TYPE_CHECKING:``."""
    ifs = [node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)]
    return [node for one in ifs if one.test.id == "TYPE_CHECKING" for node in one.body]


def _defined(node: ast.stmt) -> list[str]:
    """Names of a function, a class or a constant."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets if isinstance(node, ast.Assign) else []
    return [one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)]


@functools.cache
def folders() -> dict[str, list[Module]]:
    """The modules of each folder of the package, the folder's own first."""
    found: dict[str, list[Module]] = {}
    for one in modules():
        package = (ROOT.joinpath(*one.name.split("."))).is_dir()
        found.setdefault(one.name if package else one.name.rpartition(".")[0], []).append(one)
    return found


def _said(path: str) -> str:
    """The first line of what a module, or a name in it, says of itself, fit for a table."""
    from _make.markdown import cell  # which looks names up here

    home, _, name = path.rpartition(".")
    of = {one.name: one for one in modules()}
    said = of[path].summary if path in of else of[home].own.get(name, "") if home in of else ""
    return cell(said, (path, home))


def names() -> dict[str, list[str]]:
    """Page -> the paths of all public names that it has to describe."""
    return {
        f"api/{folder}.md": [f"{one.name}.{name}" for one in content for name in one.own]
        for folder, content in folders().items()
    }


def pages() -> dict[str, str]:
    """File below ``docs/`` -> Markdown: the list of folders, and a page for each."""
    rows = [f"| [`{folder}`]({folder}.md) | {content[0].summary} |" for folder, content in folders().items()]
    index = "\n".join(["# API", "", _ABOUT, "", "| folder | what lives there |", "| --- | --- |", *rows, ""])
    return {"api/index.md": index} | {f"api/{folder}.md": _page(folder, of) for folder, of in folders().items()}


_ABOUT = """Every public name of the package, on a page for each of its folders.
Start with [`jaxpsn.noise`](jaxpsn.noise.md), the part that works on any network."""


def _page(folder: str, content: list[Module]) -> str:
    top, *rest = content if content[0].name == folder else [Module(folder, "", {}, (), {}), *content]
    lines = [f"# {folder} {{#{folder}}}", "", top.summary, ""]
    if top.given:
        lines += [f"| `from {folder} import` | what it is |", "| --- | --- |"]
        lines += [f"| [`{name}`][{target}] | {_said(target)} |" for name, target in top.given.items()] + [""]
    for one in ([top] if top.own else []) + rest:
        head = f"{one.name.removeprefix(folder + '.')} {{#{one.name}}}" if one is not top else "In the folder itself"
        lines += [f"## {head}", "", f"::: {one.name}", "    options:"]
        lines += ["      show_root_heading: false", "      show_root_toc_entry: false", ""]
        if one.unpacked:
            told = [f"[](){{#{one.name}.{name}}}`{name}`" for name in one.unpacked]
            lines += ["Constants: " + ", ".join(told), ""]
    return "\n".join(lines)
