"""No plain field of a config is dead: of control each changes the program or is refused; of all each is read."""

import ast
import dataclasses
import typing
from pathlib import Path

import jax
import pytest

import jaxpsn
from jaxpsn.control import program
from jaxpsn.control.config import ControlConfig
from jaxpsn.control.presets import PRESETS
from jaxpsn.core import errors
from jaxpsn.core.components import Component, Sum
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.run.config import ClusterConfig, RunConfig

HOME = Path(jaxpsn.__file__).parent
OTHERS = {
    "env.name": ("probe/observation_action",), "env.backend": ("spring",), "env.num_envs": (4,),
    "env.episode_length": (7,), "env.action_repeat": (2,), "env.reset": ("cached",), "eval_envs": (2,),
    "diagnose": (True,),
}  # fmt: skip


def leaves(kind, prefix=""):
    """Path and owner of every plain field, those of nested configs too."""
    hints = typing.get_type_hints(kind)
    made = kind()
    for one in dataclasses.fields(kind):
        if isinstance(getattr(made, one.name), Component | Sum):
            continue
        inner = hints[one.name]
        if dataclasses.is_dataclass(inner):
            yield from leaves(inner, f"{prefix}{one.name}.")
        else:
            yield f"{prefix}{one.name}", kind


def changed(config, path, value):
    head, _, rest = path.partition(".")
    inner = changed(getattr(config, head), rest, value) if rest else value
    return dataclasses.replace(config, **{head: inner})


def traced(config):
    """What a step and an evaluation compute, as text."""
    made = program.make(config, 20)
    key = jax.random.key(0)
    state = jax.eval_shape(made.init, key, made.hyper)
    return f"{jax.make_jaxpr(made.step)(state)}{jax.make_jaxpr(made.evaluate)(key, state)}"


def test_every_plain_field_of_control_changes_the_program_or_is_refused():
    base = PRESETS["smoke"]
    before = traced(base)
    paths = [path for path, _ in leaves(ControlConfig)]
    assert set(paths) == set(OTHERS)
    for path in paths:
        for value in OTHERS[path]:
            try:
                after = traced(changed(base, path, value))
            except errors.UserError as error:
                assert path in str(error)
                continue
            assert after != before, f"{path} = {value} changes nothing"


def reads():
    """Attribute -> the files that read it, but for where a config checks itself."""
    found: dict[str, set[str]] = {}
    for path in HOME.rglob("*.py"):
        tree = ast.parse(path.read_text())
        checks = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name == "__post_init__"
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and id(node) not in checks:
                found.setdefault(node.attr, set()).add(str(path.relative_to(HOME)))
    return found


READS = reads()


@pytest.mark.parametrize("kind", [ControlConfig, RlvrConfig, RunConfig, ClusterConfig])
def test_every_plain_field_is_read_by_what_makes_the_run(kind):
    for path, owner in leaves(kind):
        name = path.rpartition(".")[2]
        assert READS.get(name), f"{owner.__name__}.{name} is read by nothing but its own checks"


def test_a_field_that_nothing_reads_would_be_seen():
    assert "no_such_field_anywhere" not in READS and READS["sigma"]
