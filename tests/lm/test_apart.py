"""Layers side by side: the same answers as from the stack, the same noise, and nothing copied in the loop."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import noise
from jaxpsn.lm import sampler
from tests.lm import members
from tests.lm.members import KEY, PROMPTS, SAMPLING, rows_of

pytestmark = pytest.mark.usefixtures("quickly_compiled")

APART = replace(members.CONFIG, apart=True)
KINDS = (noise.LowRank(2), noise.Flipout(), noise.Factorised(), noise.Dense())
_sample = jax.jit(sampler.sample, static_argnums=(0, 6))


def _same(found, wanted):
    np.testing.assert_array_equal(found.tokens, wanted.tokens)
    np.testing.assert_array_equal(found.lengths, wanted.lengths)
    for name in ("log_probs", "entropy", "certainty", "confidence", "pooled"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("name", members.NAMES)
def test_answers_are_those_of_the_stack(name):
    policy, _ = members.policy_of(name)
    found = _sample(APART, policy, PROMPTS, rows_of(policy), KEY, jnp.float32(0.9), SAMPLING)
    _same(found, members.sampled(policy))
