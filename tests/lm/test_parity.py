"""Against transformers and torch themselves: checkpoints that they write, and folders that we write for them.

Without torch these are skipped (and fail where JAXPSN_REQUIRE_TORCH is 1); test_model.py compares with logits that
torch computed once.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.lm import model
from jaxpsn.lm.folders import hub
from tests.lm import oracle

GAP = 2e-4


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    oracle.needed()
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in oracle.CHECKPOINTS:
        # One of them in many files, with an index.
        oracle.write(folder / name, name, max_shard_size="20KB" if name == "qwen3" else "5GB")
    return folder


def _logits(config, params, ids):
    start = jnp.zeros(ids.shape[0], jnp.int32)
    hidden, _ = model.hidden_states(config, params, jnp.asarray(ids), start)
    return np.asarray(model.logits(config, params, hidden))


@pytest.mark.parametrize("name", oracle.CHECKPOINTS)
def test_logits_equal_those_of_transformers(checkpoints, name):
    ids = oracle.tokens(2)
    config = hub.read_config(checkpoints / name)
    params = hub.load(checkpoints / name, config)
    found, want = _logits(config, params, ids), oracle.logits(checkpoints / name, ids)
    assert want.std() > 0.5
    assert np.abs(found - want).max() < GAP
    assert np.mean(found.argmax(-1) == want.argmax(-1)) > 0.999


@pytest.mark.parametrize("name", oracle.CHECKPOINTS)
def test_what_we_export_transformers_reads_as_the_original(checkpoints, tmp_path, name):
    source = checkpoints / name
    config = hub.read_config(source)
    hub.save(tmp_path / "out", config, hub.load(source), like=source, shard_bytes=50_000)
    assert (tmp_path / "out" / "model.safetensors.index.json").exists()
    assert (tmp_path / "out" / "generation_config.json").read_text() == (source / "generation_config.json").read_text()
    assert hub.read_config(tmp_path / "out") == config
    ids = oracle.tokens(1, 128)
    np.testing.assert_array_equal(oracle.logits(tmp_path / "out", ids), oracle.logits(source, ids))


def test_a_trained_copy_in_bfloat16_is_what_transformers_then_computes(checkpoints, tmp_path):
    source = checkpoints / "qwen2-tied"
    config = hub.read_config(source)
    params = jax.tree.map(lambda leaf: leaf * 1.01, hub.load(source, config))
    hub.save(tmp_path / "out", config, jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params))
    ids = oracle.tokens(1, 256)
    again = hub.load(tmp_path / "out", config, dtype=jnp.float32)
    assert np.abs(_logits(config, again, ids) - oracle.logits(tmp_path / "out", ids)).max() < GAP
