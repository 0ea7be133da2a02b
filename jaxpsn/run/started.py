"""How this process was started, so that hints print commands that exist there; imports nothing heavy."""

import sys
from pathlib import Path

COMMANDS = {
    "train": "control.py", "reason": "rlvr.py", "compare": "compare.py", "reason-compare": "rlvr_compare.py",
    "evaluate": "evaluate.py",
}  # fmt: skip
"""The commands of ``jaxpsn``, and the script under ``experiments/`` that is the same."""


def command(name: str) -> str:
    """What is typed for the command ``name``: a script's path, ``jaxpsn NAME`` or ``python -m jaxpsn NAME``."""
    program = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path("python")
    script = COMMANDS.get(name)
    if script is not None and program.name in COMMANDS.values():
        return f"python {program.parent / script}"
    if program.name == "__main__.py" and program.parent.name == "jaxpsn":
        return f"python -m jaxpsn {name}"
    if program.stem != "jaxpsn" and script is not None and Path("experiments", script).is_file():
        return f"python experiments/{script}"
    return f"jaxpsn {name}"
