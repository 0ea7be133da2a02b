"""Token masks, answers that hit the limit, and DAPO's fine."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.core import errors
from jaxpsn.rlvr.objective import overlong, tokens


def test_token_mask_counts_from_lengths():
    mask = tokens.token_mask(jnp.array([[0, 1], [3, 4]], jnp.int32), 4)
    np.testing.assert_array_equal(mask, [[[0] * 4, [1, 0, 0, 0]], [[1, 1, 1, 0], [1] * 4]])


def test_masked_mean():
    values = jnp.array([[1.0, jnp.nan], [3.0, 5.0]])
    mask = jnp.array([[True, False], [True, True]])
    assert tokens.masked_mean(values, mask) == 3.0
    np.testing.assert_array_equal(tokens.masked_mean(values, mask, 1), [1.0, 4.0])
    assert np.isnan(tokens.masked_mean(values, jnp.zeros_like(mask)))


def test_truncated_answers_leave_the_mask():
    mask = jnp.array([[True, True], [True, False]])
    np.testing.assert_array_equal(overlong.drop_truncated(mask, jnp.array([False, True])), [[0, 0], [1, 0]])


@pytest.mark.parametrize("limit, buffer, factor", [(20, 5, 1.0), (16, 16, 0.5), (10, 1, 2.0)])
def test_penalty_is_piecewise_linear(limit, buffer, factor):
    lengths = np.arange(0, limit + 1)
    expected = []
    for n in lengths:
        if n <= limit - buffer:
            expected.append(0.0)
        else:
            expected.append(factor * ((limit - buffer) - n) / buffer)
    ours = overlong.penalty(jnp.asarray(lengths, jnp.int32), limit, buffer, factor)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert float(ours[-1]) == -factor


def test_refuses_a_buffer_longer_than_the_limit():
    with pytest.raises(errors.UserError):
        overlong.penalty(jnp.array([1], jnp.int32), 4, 5)
    with pytest.raises(errors.UserError, match="float32"):
        tokens.require_float32(log_probs=jnp.zeros((2,), jnp.bfloat16))
