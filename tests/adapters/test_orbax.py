"""Weights that other Flax code reads, and reads back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import StandardCheckpointer

from jaxpsn.adapters import orbax
from jaxpsn.core.errors import UserError
from jaxpsn.networks import Actor


@pytest.fixture
def actor():
    module = Actor(action_size=2, hidden=(8, 8))
    return module, module.init(jax.random.key(0), jnp.zeros((1, 3)))


def test_what_is_written_acts_alike_and_any_flax_code_reads_it(tmp_path, actor):
    module, params = actor
    path = orbax.save(tmp_path / "some" / "weights", params)
    obs = jax.random.normal(jax.random.key(1), (5, 3))
    for found in (orbax.load(path, like=params), StandardCheckpointer().restore(path)):
        assert jax.tree.structure(found) == jax.tree.structure(params)
        assert (np.asarray(module.apply(found, obs)) == np.asarray(module.apply(params, obs))).all()


def test_types_are_kept(tmp_path):
    tree = {"half": jnp.ones(3, jnp.bfloat16), "count": jnp.int32(7)}
    found = orbax.load(orbax.save(tmp_path / "weights", tree))
    assert {name: leaf.dtype for name, leaf in found.items()} == {name: leaf.dtype for name, leaf in tree.items()}
    assert found["count"] == 7


def test_mistakes_are_one_line(tmp_path, actor):
    _, params = actor
    path = orbax.save(tmp_path / "weights", params)
    with pytest.raises(UserError, match="a folder that is not there yet"):
        orbax.save(path, params)
    with pytest.raises(UserError, match="weights that Orbax reads; it is not there"):
        orbax.load(tmp_path / "none")
    with pytest.raises(UserError, match="weights of the same names, shapes and types"):
        orbax.load(path, like=jax.tree.map(lambda leaf: leaf[..., None], params))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="not written"):
        orbax.save(tmp_path / "file" / "weights", params)
