"""Low-rank noise as a loop over tokens reads it is the noise that was drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn import noise
from jaxpsn.lm.policies import Fused
from jaxpsn.noise import lowrank
from jaxpsn.noise.lazy import units
from jaxpsn.noise.structures import sizes
from tests.lm import members


def test_what_reads_the_same_activations_lies_side_by_side():
    known = members.planned(noise.everything).by_path
    assert known["layers/mlp/up/kernel"].beside == ("layers/mlp/gate/kernel", "layers/mlp/up/kernel")
    assert [path.split("/")[2] for path in known["layers/attention/k/kernel"].beside] == ["q", "k", "v"]
    for alone in ("layers/mlp/down/kernel", "layers/attention/o/kernel"):
        assert known[alone].beside == (alone,)


@pytest.mark.parametrize(
    "kind",
    [noise.LowRank(1, dense_head=False), noise.LowRank(3, dense_head=False, antithetic=True), noise.LowRank(1)],
    ids=["rank 1", "rank 3", "dense"],
)
def test_placed_noise_is_the_noise_that_was_drawn(kind, monkeypatch):
    monkeypatch.setattr(lowrank, "_PIECE", 8)  # so that sums are cut
    draw = members.drawn(kind, noise.everything)
    sigma = 0.1 * jnp.arange(1.0, 1 + members.MEMBERS)
    tokens = jax.random.randint(jax.random.key(3), (members.MEMBERS, 2, 6), 0, 11, jnp.int32)

    @jax.jit
    def both(params, draw, sigma):
        drawn = Fused(params, draw, sigma).apply(members.full_logits, tokens)
        placed = kind.placed(draw, sizes(draw, sigma, units(params, draw.spec)), jnp.float32)
        return drawn, Fused(params, placed, None).apply(members.full_logits, tokens)

    drawn, placed = both(members.PARAMS, draw, sigma)
    np.testing.assert_allclose(placed, drawn, rtol=1e-4, atol=1e-4)
    assert np.abs(np.asarray(drawn[0] - drawn[1])).max() > 0.1


def test_policies_are_placed_for_answers_where_weights_are_narrow():
    kind = noise.LowRank(1, dense_head=False)
    wide = Fused(members.PARAMS, members.drawn(kind), jnp.float32(members.SIGMA))
    assert wide.over(3) is wide
    narrow = wide.replace(params=jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), members.PARAMS))
    placed = narrow.over(3)
    assert {leaf.dtype for leaf in jax.tree.leaves(placed.draw.noise)} == {jnp.dtype(jnp.bfloat16)}
    assert placed.over(3) is placed
    tokens = jnp.zeros((members.MEMBERS, 1, 4), jnp.int32)
    plain, found = (policy.apply(members.full_logits, tokens) for policy in (narrow, placed))
    np.testing.assert_allclose(found, plain, rtol=0.1, atol=0.1)
    still = Fused(narrow.params, members.drawn(noise.Flipout()), jnp.float32(members.SIGMA))
    assert still.over(3) is still
