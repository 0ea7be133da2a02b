"""The house keeps its shape: sizes, floors, docstrings, and nothing that names an index host."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(p for room in ("jaxpsn", "experiments") for p in (ROOT / room).rglob("*.py"))
LIBRARY = [p for p in SOURCES if p.is_relative_to(ROOT / "jaxpsn")]
FLOORS = {
    "core": 0, "stats": 1, "noise": 1, "networks": 2, "report": 2, "envs": 3, "lm": 3, "tasks": 3, "control": 4,
    "rlvr": 4, "run": 5, "adapters": 5, "study": 6,
    "api": 7, "cli": 8,
}  # fmt: skip
MOST = 0.2
"""Share of the package that one room may have."""


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _functions(tree: ast.AST):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _depth(node: ast.AST) -> int:
    inner = [_depth(child) for child in ast.iter_child_nodes(node)]
    here = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return here + max(inner, default=0)


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_sizes(path):
    text = path.read_text()
    assert text.count("\n") <= 400, "files up to 400 lines"
    tree = ast.parse(text)
    for function in _functions(tree):
        assert function.end_lineno - function.lineno + 1 <= 60, f"{function.name}: functions up to 60 lines"
        assert _depth(function) <= 3, f"{function.name}: closures at most two deep"


@pytest.mark.parametrize("path", LIBRARY, ids=_name)
def test_public_names_have_docstrings(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree) or not tree.body, "a module says what it is"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def _imports(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "jaxpsn" and len(parts) > 1 and parts[1] in FLOORS else None


@pytest.mark.parametrize("path", LIBRARY, ids=_name)
def test_imports_go_downwards(path):
    room = _room(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if room is None:
        return
    for module in _imports(ast.parse(path.read_text())):
        other = _room(module)
        assert other is None or other == room or FLOORS[other] < FLOORS[room], f"{room} imports {other}"


def _modules() -> dict[str, Path]:
    found = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in LIBRARY}
    assert len(found) > 200
    return found


def _imported(tree: ast.AST, modules: dict[str, Path]) -> set[str]:
    """The modules of ours that a file imports; ``from package import module`` names the module alone."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            inner = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {full if full in modules else node.module for full in inner.values()}
    return found & modules.keys()


def _graph() -> dict[str, set[str]]:
    """Module -> modules of ours that it imports, late imports and those for type checkers counted."""
    modules = _modules()
    return {name: _imported(ast.parse(path.read_text()), modules) - {name} for name, path in modules.items()}


def _folder(module: str) -> str:
    """``jaxpsn.run.loggers.lines`` -> ``jaxpsn.run.loggers``: what stands beside the other parts of its room."""
    return ".".join(module.split(".")[:3])


def _circle(graph: dict[str, set[str]]) -> list[str]:
    """Names that lie on a circle of ``graph``; empty if there is none."""
    left = {name: set(others) for name, others in graph.items()}
    while True:
        ends = {name for name, others in left.items() if not others & left.keys()}
        if not ends:
            return sorted(left)
        left = {name: others for name, others in left.items() if name not in ends}


def test_no_circles_between_modules():
    assert not _circle(_graph())


def test_no_circles_between_the_folders_of_a_room():
    between: dict[str, set[str]] = {}
    for name, others in _graph().items():
        room, own = name.split(".")[:2], _folder(name)
        near = {_folder(other) for other in others if other.split(".")[:2] == room and len(other.split(".")) > 2}
        between.setdefault(own, set()).update(near - {own})
    assert not _circle(between)


def test_no_room_has_more_than_its_share():
    lines: dict[str, int] = {}
    for name, path in _modules().items():
        room = _room(name) or "top"
        lines[room] = lines.get(room, 0) + path.read_text().count("\n")
    total = sum(lines.values())
    large = {room: round(count / total, 3) for room, count in lines.items() if count > MOST * total}
    assert not large and set(lines) <= {*FLOORS, "top"}


def test_no_committed_file_names_a_package_index():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    hosts = re.compile(
        "|".join(("py" + r"pi\.org", "pythonhosted" + r"\.org", "--index" + "-url", "registry" + r"\.npmjs"))
    )
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix not in {".png", ".gif"} and path.exists() and path != Path(__file__):
            found = hosts.search(path.read_text(errors="ignore"))
            assert not found, f"{name} names {found.group()}"
