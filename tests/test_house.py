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
    "errors": -2, "checks": -1, "compat": -1, "files": -1, "foreign": -1,
    "noise": 0, "analysis": 0, "networks": 1, "envs": 2, "lm": 2, "tasks": 2, "control": 3, "rlvr": 3,
    "training": 4, "adapters": 4,
}  # fmt: skip


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
