"""The host-side sampler: tokens of one call whatever the batches, and no row pays for another's length."""

import jax
import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.lm import sampler as rooms
from jaxpsn.lm.policies import Clean
from jaxpsn.lm.prompts import pack
from jaxpsn.lm.sampler import Prompts, Sampler, Sampling
from tests.lm import members
from tests.lm.members import CONFIG, KEY, PARAMS, PROMPTS, SAMPLING, sampled

FLOATS = ("log_probs", "entropy", "certainty", "confidence", "pooled")


def _equal(found, wanted):
    for name in ("tokens", "lengths", "ended"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)
    for name in FLOATS:
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=2e-5, err_msg=name)


@pytest.mark.parametrize(("name", "max_rows", "segment"), [("clean", 6, 3), ("low rank", 100, 2), ("stacked", 8, 100)])
def test_batches_and_segments_change_nothing(name, max_rows, segment):
    policy, _ = members.policy_of(name)
    wanted = sampled(policy)
    _equal(Sampler(CONFIG, SAMPLING, max_rows, segment)(policy, PROMPTS, KEY, 0.9), wanted)


def test_prompts_of_every_length_come_back_in_their_order():
    prompts = pack([[2 + i % 9] * (1 + 7 * i) for i in range(5)])
    policy, _ = members.policy_of("low rank")
    batched = Sampler(CONFIG, SAMPLING, 8)
    widths = [width for width, _, _ in batched._batches(prompts.lengths, prompts.width, 4, 1)]
    assert widths == [16, 16, 32]
    _equal(batched(policy, prompts, KEY, 0.9), sampled(policy, prompts))
    # A width that is no multiple of the bucket.
    assert {width for width, _, _ in batched._batches(prompts.lengths, 30, 4, 1)} == {16, 30}


def test_more_samples_keep_the_first():
    """Samples beyond the members, cut into uneven rounds; rows of one's own choosing."""
    policy, _ = members.policy_of("low rank")
    few = sampled(policy)
    run = Sampler(CONFIG, SAMPLING, max_rows=16, segment=12)
    many = run(policy, PROMPTS, KEY, 0.9, samples=28)
    assert many.tokens.shape == (28, 3, 12) and many.pooled.shape == (28, 3, 32)
    _equal(jax.tree.map(lambda x: x[:4], many), few)
    rows = np.arange(84, dtype=np.int32).reshape(28, 3)[16:]
    _equal(run(policy, PROMPTS, KEY, 0.9, rows=rows, samples=12), jax.tree.map(lambda x: x[16:], many))


def test_early_finishers_do_not_pay_to_the_end():
    plain = Sampling(64, (1, 5), 0)
    prompts = Prompts(PROMPTS.tokens[:2], PROMPTS.lengths[:2])
    whole, halved = Sampler(CONFIG, plain, segment=64), Sampler(CONFIG, plain, segment=2)
    found = halved(Clean(PARAMS), prompts, KEY, 0.9, samples=64)
    np.testing.assert_array_equal(found.tokens, whole(Clean(PARAMS), prompts, KEY, 0.9, samples=64).tokens)
    longest, needed = int(found.lengths.max()), int(found.lengths.sum() - found.lengths.size)
    assert whole.row_steps == (longest - 1) * 128, "one batch, in step until the last row has ended"
    assert needed <= halved.row_steps < 0.6 * whole.row_steps
    assert needed < 0.4 * whole.row_steps, "lengths vary enough for this to say anything"
    # Each size was compiled once: other weights, another key, another temperature need nothing new. Members that
    # are all clean are one member.
    before = rooms._advance._cache_size()
    other = jax.tree.map(lambda leaf: 1.01 * leaf, PARAMS)
    again = halved(Clean(other, 3), prompts, jax.random.key(8), 0.8, samples=64)
    assert rooms._advance._cache_size() == before
    assert len({again.tokens[s, 0].tobytes() for s in range(64)}) > 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 6}, "samples = 6: a multiple of the policy's 4"),
        ({"samples": 0}, "samples"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"rows": np.zeros((4, 2), np.int32)}, "rows"),
        ({"rows": np.full((4, 3), -1, np.int32)}, "rows"),
    ],
)
def test_calls_that_make_no_sense_are_refused(options, message):
    policy, _ = members.policy_of("low rank")
    with pytest.raises(UserError, match=message):
        Sampler(CONFIG, SAMPLING)(policy, PROMPTS, KEY, **({"temperature": 1.0} | options))


def test_prompts_that_do_not_fit_are_refused_by_index():
    run = Sampler(CONFIG, Sampling(1000, (1,)))
    with pytest.raises(UserError, match=r"prompts\[1\] = '25 tokens': at most 24"):
        run(Clean(PARAMS), pack([[2] * 24, [2] * 25]), KEY, 1.0)
    with pytest.raises(UserError, match=r"prompts\[0\] = 'length 0'"):
        run(Clean(PARAMS), Prompts(np.ones((1, 4), np.int32), np.zeros(1, np.int32)), KEY, 1.0)
    for options in ({"max_rows": 0}, {"segment": 0}):
        with pytest.raises(UserError, match=next(iter(options))):
            Sampler(CONFIG, SAMPLING, **options)
    with pytest.raises(UserError, match="ends"):
        Sampler(CONFIG, Sampling(4, (11,)))
