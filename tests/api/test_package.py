"""What ``import jaxpsn`` offers, and what it costs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import jaxpsn

USER = Path(__file__).parent / "user.py"
CHECKER = shutil.which("pyright") or shutil.which("basedpyright")


def test_everything_exported_is_there_and_documented():
    for name in jaxpsn.__all__:
        assert getattr(jaxpsn, name) is not None
        assert name == "__version__" or getattr(jaxpsn, name).__doc__
    assert set(jaxpsn.__all__) <= set(dir(jaxpsn))
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = jaxpsn.trian


def test_what_is_not_asked_for_is_not_imported():
    """Line after line in one process; of ``jaxpsn.noise`` see tests/test_package.py."""
    later = {"import jaxpsn; dir(jaxpsn)": ["jax"], "from jaxpsn import train": ["brax", "mujoco"]}
    code = "\n".join(
        f"{line}\nprint([one for one in {absent} if one in sys.modules])" for line, absent in later.items()
    )
    done = subprocess.run([sys.executable, "-c", f"import sys\n{code}"], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n" * len(later)


@pytest.mark.skipif(CHECKER is None, reason="pyright is not installed")
def test_a_users_script_passes_a_type_checker(tmp_path):
    settings = {"typeCheckingMode": "basic", "include": [str(USER)], "extraPaths": [str(USER.parents[2])]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run([CHECKER, "-p", str(tmp_path), "--pythonpath", sys.executable], capture_output=True)
    assert done.returncode == 0, done.stdout
    wrong = USER.read_text().replace("jaxpsn.train(", "jaxpsn.trian(")
    (tmp_path / "wrong.py").write_text(wrong)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings | {"include": ["wrong.py"]}))
    done = subprocess.run([CHECKER, "-p", str(tmp_path), "--pythonpath", sys.executable], capture_output=True)
    assert done.returncode == 1 and b'"trian" is not a known' in done.stdout
