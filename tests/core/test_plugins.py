"""Plugins: their names, their records, and what is said of those that do not work."""

import hashlib
import sys

import pytest

from jaxpsn.core import errors, families, plugins, spec_of
from jaxpsn.core.plugins import load_plugin
from tests.core import toys
from tests.core.toys import RULES, refused

HEAD = "from dataclasses import dataclass\nfrom tests.core.toys import RULES, Rule\n"
BOTH = RULES.aliases["both"].spec
MINE = HEAD + "@RULES.register({name!r})\n@dataclass(frozen=True)\nclass Mine(Rule):\n    'Mine.'\n    x: float = 1.0\n"


@pytest.fixture(autouse=True)
def own_families(monkeypatch, tmp_path):
    """The toys are the families there are; what a test registers is forgotten."""
    before = {name: family.snapshot() for name, family in toys.OWN.items()}
    modules, path = set(sys.modules), list(sys.path)
    monkeypatch.setattr(plugins, "_LOADED", {})
    monkeypatch.chdir(tmp_path)
    kept = dict(families.ALL)
    families.ALL.clear()
    families.ALL.update(toys.OWN)
    yield
    families.ALL.clear()
    families.ALL.update(kept)
    sys.path[:] = path
    for name, snapshot in before.items():
        toys.OWN[name].restore(snapshot)
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(path, text):
    """The file with this text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_gives_names(tmp_path):
    file = write(tmp_path / "my plugin.py", MINE.format(name="mine"))
    record = load_plugin("my plugin.py")
    assert record == {"path": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert load_plugin(str(file)) == record and plugins.loaded() == [record]
    assert spec_of(RULES.parse("mine(x=2) + gaussian")) == "mine(x=2) + gaussian"
    plugins.require([record])


def test_what_a_failing_file_imports_of_a_familys_own_stays(tmp_path, monkeypatch):
    """A module is imported once in a process: what it registered must not go with what failed after it."""
    write(tmp_path / "own_module.py", MINE.format(name="later"))
    monkeypatch.setitem(RULES.modules, "later", "own_module")
    monkeypatch.syspath_prepend(tmp_path)
    failing = MINE.format(name="mine") + "import own_module\n1 / 0\n"
    with pytest.raises(errors.UserError, match="ZeroDivisionError"):
        load_plugin(str(write(tmp_path / "failing.py", failing)))
    assert "mine" not in RULES.names() and spec_of(RULES.parse("later(x=2)")) == "later(x=2)"


def test_what_comes_with_the_package_is_no_plugin_s_own(tmp_path):
    built_in = MINE.format(name="built-in").replace("'Mine.'", "'Mine.'\n    __module__ = 'jaxpsn.core.plugins'")
    refused(
        "--plugin = 'built_in.py': a plugin that registers something",
        load_plugin,
        write(tmp_path / "built_in.py", built_in).name,
    )
    write(tmp_path / "alias.py", built_in.replace("built-in", "other") + "RULES.alias('narrow', 'gaussian(std=0.1)')\n")
    assert load_plugin("alias.py") and "narrow" in RULES.names()


def test_a_module_gives_names(tmp_path):
    file = write(tmp_path / "my_module.py", MINE.format(name="of-module"))
    record = load_plugin("my_module")
    assert record == {"name": "my_module", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert "of-module" in RULES.names()
    plugins.require([record])


def test_a_package_is_all_of_its_files(tmp_path):
    write(tmp_path / "my_package" / "__init__.py", "from my_package import inner\n")
    write(tmp_path / "my_package" / "inner.py", MINE.format(name="inner"))
    record = load_plugin("my_package")
    write(tmp_path / "my_package" / "more.py", "")
    assert plugins._digest(tmp_path / "my_package" / "__init__.py") != record["sha256"]


def test_what_was_imported_before_counts(tmp_path):
    write(tmp_path / "early.py", MINE.format(name="early"))
    sys.path.append(str(tmp_path))
    __import__("early")
    assert load_plugin("early")["name"] == "early"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (\n", "SyntaxError in line 1: '(' was never closed"),
        (
            "\nimport not_there\n",
            "ModuleNotFoundError in line 2 of bad.py: No module named 'not_there'",
        ),
        (HEAD, "a plugin that registers something"),
        ("import sys\nsys.exit(3)\n", "SystemExit in line 2 of bad.py: 3"),
        ("def f():\n    return 1 / 0\nf()\n", "ZeroDivisionError in line 2 of bad.py: division by zero"),
        (MINE.format(name="gaussian"), "toy-explore = 'gaussian': another name, as tests.core.toys.Gaussian has it"),
        (HEAD + "RULES.alias('both', 'gaussian')\n", f"toy-explore = 'both': another name, as it stands for {BOTH}"),
    ],
)
def test_a_plugin_that_does_not_work_leaves_nothing(tmp_path, text, message):
    write(tmp_path / "bad.py", text)
    names = RULES.names()
    refused(f"--plugin = 'bad.py': {message}", load_plugin, "bad.py")
    assert RULES.names() == names and plugins.loaded() == []
    assert not [name for name in sys.modules if name.startswith("jaxpsn_plugin_bad")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("none.py", "a module's name or an existing .py file"),
        ("none/", "a module's name or an existing .py file"),
        ("a b", "a module's name or an existing .py file"),
        ("", "a module's name or an existing .py file"),
        ("no_such_plugin", "ModuleNotFoundError: No module named 'no_such_plugin'"),
        ("sys", "a module with a source file"),
        ("json", "a plugin that registers something"),
    ],
)
def test_a_plugin_that_is_none(text, message):
    refused(f"--plugin = {text!r}: {message}", load_plugin, text)


def test_two_files_of_one_name_are_refused(tmp_path):
    write(tmp_path / "a.py", MINE.format(name="mine"))
    write(tmp_path / "b.py", MINE.format(name="mine"))
    owner = load_plugin("a.py") and RULES.get("mine").__module__
    refused(f"--plugin = 'b.py': toy-explore = 'mine': another name, as {owner}.Mine has it", load_plugin, "b.py")
    assert RULES.get("mine").__module__ == owner


def test_resume_wants_the_same_plugin(tmp_path, monkeypatch):
    file = write(tmp_path / "mine.py", MINE.format(name="mine"))
    record = load_plugin("mine.py")
    monkeypatch.setattr(plugins, "_LOADED", {})
    write(file, MINE.format(name="mine") + "# changed\n")
    changed = f"--plugin = '{file}': the source that the run was started with; it has changed since"
    refused(changed, plugins.require, [record])
    plugins.require([record], changed=True)
    file.unlink()
    missing = f"--plugin = '{file}': the file that the run was started with, which is missing now"
    refused(missing, plugins.require, [record])
    refused(
        "--plugin = 'gone': ModuleNotFoundError: No module named 'gone'",
        plugins.require,
        [{"name": "gone", "sha256": "0"}],
    )
