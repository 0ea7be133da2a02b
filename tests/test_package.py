"""What is built and installed: the wheel's content, its metadata, and what an import of the noise loads."""

import email
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel as the build backend makes it, in a process of its own as it works in the current folder."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    code = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True, timeout=300)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == {"jaxpsn"}
    ours = {str(p.relative_to(ROOT)) for p in (ROOT / "jaxpsn").rglob("*") if p.is_file() and p.suffix != ".pyc"}
    assert set(names) == ours
    assert "jaxpsn/py.typed" in names and not any("benchmark" in name for name in names)


def test_the_metadata_names_licence_and_pythons(wheel):
    (path,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = email.message_from_bytes(wheel.read(path))
    assert metadata["License-Expression"] == "Apache-2.0" and metadata["License-File"] == "LICENSE"
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
    versions = {c.rsplit(" ", 1)[1] for c in metadata.get_all("Classifier") if c.startswith("Programming Language")}
    assert versions >= {"3.11", "3.12", "3.13"}


def test_the_sdist_leaves_results_out(tmp_path):
    pytest.importorskip("hatchling")
    code = "import sys; from hatchling.build import build_sdist; print(build_sdist(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True, timeout=300)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        tops = {name.split("/")[1] for name in archive.getnames()}
    assert {"jaxpsn", "experiments", "LICENSE", "README.md", "pyproject.toml"} <= tops
    assert not {"results", "runs", ".venv", "tests"} & tops


def test_console_commands_are_functions_of_ours():
    for name, target in PROJECT.get("scripts", {}).items():
        assert callable(EntryPoint(name, target, "console_scripts").load())


def test_one_version():
    import jaxpsn

    assert jaxpsn.__version__ == PROJECT["version"]
    assert f"version: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text()


def test_what_only_tests_use_is_no_dependency():
    """Each package that the library needs is imported somewhere in it, or needed by one that does not say so.

    MuJoCo is held to the version Brax runs with; ``jax.export`` writes programs with flatbuffers.
    """
    sources = "\n".join(path.read_text() for path in (ROOT / "jaxpsn").rglob("*.py"))
    needed = {re.split("[<>=]", requirement)[0].split("-")[0] for requirement in PROJECT["dependencies"]}
    assert {"jax", "flax", "brax"} <= needed
    for name in needed - {"mujoco", "flatbuffers"}:
        assert re.search(rf"^ *(import|from) {name}\b", sources, re.MULTILINE), name


def test_an_import_of_the_noise_loads_neither_physics_nor_plots():
    code = "import sys; from jaxpsn import noise; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "jaxpsn.noise" in loaded and "flax.linen" in loaded
    heavy = {"brax", "mujoco", "matplotlib", "flax.nnx", "optax", "orbax", "scipy", "tyro", "jinja2", "transformers"}
    assert not heavy & loaded
