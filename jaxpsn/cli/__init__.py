"""The command ``jaxpsn``, and the scripts under ``experiments/``, which are thin over it."""

import functools
import importlib
import sys
from collections.abc import Sequence

import jaxpsn
from jaxpsn.core import errors
from jaxpsn.run import started, startup

_OWN_HELP = ("export", "report", "bench")  # which know no --help-all
NAMES = (*started.COMMANDS, *_OWN_HELP)
_HELP = ("-h", "--help")
_ANSWERS = {*_HELP, "--help-all", "--describe"}  # flags that print something and start nothing


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``jaxpsn COMMAND [flags]``, of which ``argv`` is all but ``jaxpsn``; returns the exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    quiet = not words or words[0].startswith("-") or words[0] in _OWN_HELP or bool(_ANSWERS & set(words))
    return startup.script(functools.partial(_run, words), greeting=None if quiet else "starting")


def _run(words: list[str]) -> int:
    if not words or words[0] in _HELP:
        startup.result(_overview())
        return 0
    if words[0] == "--version":
        startup.result(f"jaxpsn {jaxpsn.__version__}")
        return 0
    from jaxpsn.cli import screens

    name, rest = words[0], words[1:]
    if name not in screens.SCREENS:
        errors.refuse("command", name, errors.nearest(name, screens.SCREENS))
    if any(word in _HELP for word in rest):
        startup.result(screens.SCREENS[name].text(name))
        return 0
    if name in _OWN_HELP:
        rest = ["--help" if word == "--help-all" else word for word in rest]
    return importlib.import_module(screens.SCREENS[name].module).main(rest)


def _overview() -> str:
    from jaxpsn.cli import screens

    lines = ["usage: jaxpsn COMMAND [flags]", "", "Parameter-space noise in JAX.", "", "commands:"]
    lines += [f"  {name:<16}{screen.about}" for name, screen in screens.SCREENS.items()]
    return "\n".join([*lines, "", "jaxpsn COMMAND --help shows the flags of a command; --version the version."])
