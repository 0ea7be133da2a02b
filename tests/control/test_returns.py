"""Returns of several steps against a walk through the episodes, one row after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.control import replay, returns
from jaxpsn.control.state import Transition

N, ROWS, GAMMA = 3, 20, 0.9


def _filled(clock):
    """A ring after ``clock`` rows, and all rows that were ever put in."""
    rng = np.random.default_rng(1)
    rows = []
    for step in range(clock):
        end = rng.random(N) < 0.15
        late = ~end & (rng.random(N) < 0.15)
        mark = np.stack([np.full(N, step), np.arange(N)], axis=1).astype(np.float32)
        rows.append(Transition(mark, mark[:, :1], rng.normal(size=N).astype(np.float32), end, late, mark + 0.5))
    ring = replay.init(ROWS, jax.tree.map(jnp.asarray, rows[0]))
    for step, row in enumerate(rows):
        ring = replay.insert(ring, jnp.int32(step), jax.tree.map(jnp.asarray, row))
    return ring, rows


@pytest.mark.parametrize("clock", [1, 7, 20, 33])
@pytest.mark.parametrize("steps", [1, 3, 30])
def test_returns_end_with_their_episode_and_with_what_is_stored(clock, steps):
    ring, rows = _filled(clock)
    drawn = replay.places(jax.random.key(2), ring, jnp.int32(clock), (200,))
    found = returns.take(ring, jnp.int32(clock), drawn, steps, GAMMA)
    for i in range(200):
        first, env = int(found.obs[i, 0]), int(found.obs[i, 1])
        assert max(0, clock - ROWS) <= first < clock
        total, at = 0.0, first
        while True:
            total += GAMMA ** (at - first) * float(rows[at].reward[env])
            ended = rows[at].terminated[env] or rows[at].truncated[env]
            if ended or at + 1 == clock or at + 1 - first == steps:
                break
            at += 1
        assert float(found.reward[i]) == pytest.approx(total, abs=1e-5)
        assert float(found.discount[i]) == pytest.approx(GAMMA ** (at + 1 - first), rel=1e-5)
        np.testing.assert_array_equal(found.next_obs[i], rows[at].next_obs[env])
        assert bool(found.terminated[i]) == rows[at].terminated[env]
        assert bool(found.truncated[i]) == rows[at].truncated[env]
        assert found.action[i, 0] == first
    assert len({tuple(pair) for pair in np.asarray(found.obs)}) > min(clock, ROWS) * N * 0.8
