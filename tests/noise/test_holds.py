"""Hold rules: who redraws when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.core import errors
from jaxpsn.noise import holds


def play(hold, dones, seed=0):
    """Redraws ``[steps, members]`` when episodes end where ``dones`` says."""
    base = jax.random.key(seed)

    def step(state, xs):
        t, done = xs
        return hold.step(jax.random.fold_in(base, t), state, done)

    state = hold.init(jax.random.fold_in(base, 1_000_000), dones.shape[1])
    return np.asarray(jax.lax.scan(step, state, (jnp.arange(dones.shape[0]), jnp.asarray(dones)))[1])


def lengths(redraws):
    """Hold lengths that lie wholly inside the recording, over all members."""
    return np.concatenate([np.diff(np.flatnonzero(column)) for column in redraws.T])


def test_per_episode_redraws_at_done_only():
    dones = np.random.default_rng(0).random((50, 6)) < 0.1
    np.testing.assert_array_equal(play(holds.per_episode(), dones), dones)


def test_every_counts_from_the_last_redraw():
    dones = np.zeros((20, 2), bool)
    dones[5, 1] = True
    redraws = play(holds.every(4), dones)
    np.testing.assert_array_equal(np.flatnonzero(redraws[:, 0]), [3, 7, 11, 15, 19])
    np.testing.assert_array_equal(np.flatnonzero(redraws[:, 1]), [3, 5, 9, 13, 17])


@pytest.mark.parametrize("exponent, maximum", [(2.0, 16), (1.2, 5)])
def test_zeta_lengths_follow_the_power_law(exponent, maximum):
    seen = lengths(play(holds.zeta(exponent, maximum), np.zeros((600, 200), bool)))
    # The recording cuts long holds off; at 600 steps that is far below the tolerance.
    share = np.bincount(seen, minlength=maximum + 1)[1:] / seen.size
    mass = np.arange(1, maximum + 1) ** -exponent
    assert seen.min() == 1 and seen.max() == maximum
    np.testing.assert_allclose(share, mass / mass.sum(), atol=6e-3)


def test_zeta_of_maximum_one_redraws_always():
    assert play(holds.zeta(2.0, 1), np.zeros((5, 3), bool)).all()


@pytest.mark.parametrize("hold", [holds.per_episode(), holds.every(3), holds.zeta(1.5, 20)])
def test_done_redraws_and_others_are_untouched(hold):
    quiet = np.zeros((60, 4), bool)
    busy = quiet.copy()
    busy[::7, 2] = True
    a, b = play(hold, quiet), play(hold, busy)
    assert b[::7, 2].all()
    np.testing.assert_array_equal(np.delete(a, 2, 1), np.delete(b, 2, 1))


def test_members_and_holds_differ():
    redraws = play(holds.zeta(1.5, 20), np.zeros((100, 3), bool))
    assert (redraws[:, 0] != redraws[:, 1]).any() and (redraws[:, 1] != redraws[:, 2]).any()


@pytest.mark.parametrize("call", [lambda: holds.every(0), lambda: holds.zeta(0.0), lambda: holds.zeta(2.0, 0)])
def test_refuses_nonsense(call):
    with pytest.raises(errors.UserError):
        call()
