"""What ``import jaxpsn`` offers, and what it costs."""

import subprocess
import sys

import pytest

import jaxpsn


def test_everything_exported_is_there_and_documented():
    for name in jaxpsn.__all__:
        assert getattr(jaxpsn, name) is not None
        assert name == "__version__" or getattr(jaxpsn, name).__doc__
    assert set(jaxpsn.__all__) <= set(dir(jaxpsn))
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = jaxpsn.trian


@pytest.mark.parametrize(
    ("line", "absent"),
    [
        ("import jaxpsn; dir(jaxpsn)", "jax"),
        ("from jaxpsn import noise", "brax"),
        ("from jaxpsn import noise", "mujoco"),
        ("from jaxpsn import noise", "matplotlib"),
        ("from jaxpsn import train", "brax"),
    ],
)
def test_what_is_not_asked_for_is_not_imported(line, absent):
    code = f"import sys\n{line}\nprint({absent!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
