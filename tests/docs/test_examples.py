"""What the pages tell a user to type is so: Python examples run, commands are understood."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from jaxpsn.cli import screens
from jaxpsn.core import families
from jaxpsn.run import started

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SCRIPTS = {script.removesuffix(".py"): name for name, script in started.COMMANDS.items()}
"""Script of experiments/ -> the command of ``jaxpsn`` that is the same."""


def _name(path):
    return str(path.relative_to(ROOT))


def _blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


def _commands():
    """Every command line of a page, and of the code within its sentences, without comments."""
    for page in PAGES:
        lines = [line for block in _blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
        lines += re.findall(r"`(python experiments/[^`.]+\.py[^`]*)`", page.read_text().replace("\n", " "))
        yield from ((page, line) for line in lines if shlex.split(line, comments=True))


COMMANDS = sorted({(line, _name(page)) for page, line in _commands()})


@pytest.mark.parametrize("page", [page for page in PAGES[1:] if _blocks(page, "python")], ids=_name)
def test_python_examples_run_one_after_the_other(page):
    names, before = {}, {family: family.snapshot() for family in families.ALL.values()}
    try:
        for block in _blocks(page, "python"):
            exec(compile(block, _name(page), "exec", dont_inherit=True), names)
    finally:  # what an example registers is its own
        for family, known in before.items():
            family.restore(known)
    assert len(names) > 1


def test_the_pages_have_examples_and_commands():
    assert len([page for page in PAGES if _blocks(page, "python")]) >= 4 and len(COMMANDS) > 40


@pytest.mark.parametrize(("line", "page"), COMMANDS, ids=[f"{page}-{at}" for at, (_, page) in enumerate(COMMANDS)])
def test_commands_are_understood(line, page, monkeypatch):
    """Flags and values are read by the script itself; of what reads a run of the user's only the script."""
    words = [word.rstrip(";") for word in shlex.split(line, comments=True)]
    if words[0] in ("for", "srun"):
        words = words[words.index("python") :]
    if words[0] == "make":
        words = ["python", f"experiments/{_made(words[1:])}.py", *shlex.split(_arguments(words))]
    if words[0] == "uv":
        return
    if words[0] == "jaxpsn":
        words = ["python", f"experiments/{started.COMMANDS.get(words[1], words[1])}", *words[2:]]
    assert words[0].endswith("python"), line
    if words[1] == "-m":
        assert importlib.util.find_spec(words[2])
        return
    script = Path(words[1]).stem
    assert script in ("None", "report", "export") or (ROOT / words[1]).is_file()
    if script in SCRIPTS and not {"--resume", "--replay", "--policy", "--help"} & set(words):
        _check(script, ["0" if word.startswith("$") else word for word in words[2:] if word != "done"], monkeypatch)


def _made(words):
    """The script that a target of the Makefile runs, None if it is none of ours."""
    (goal,) = [word for word in words if "=" not in word]
    recipe = re.search(rf"^{goal}:.*?(?=^\S|\Z)", MAKEFILE, re.DOTALL | re.MULTILINE)
    assert recipe and {word.partition("=")[0] for word in words if "=" in word} <= {"ARGS", "EXTRAS"}
    script = re.search(r"experiments/(\w+)\.py", recipe[0])
    return script and script[1]


def _arguments(words):
    return next((word.removeprefix("ARGS=") for word in words if word.startswith("ARGS=")), "")


def _check(script, arguments, monkeypatch):
    job = importlib.import_module(screens.SCREENS[SCRIPTS[script]].module)
    asked = []
    monkeypatch.setattr(job, "run", lambda one: asked.append(one) or 0)
    assert job.main(arguments) == 0 and len(asked) == 1
