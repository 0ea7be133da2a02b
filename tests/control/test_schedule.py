import jax.numpy as jnp
import pytest

from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.control.schedule import Schedule


@pytest.mark.parametrize(
    "warmup,learn_every,updates,adapt_every", [(0, 1, 1, 1), (7, 1, 2, 3), (10, 4, 3, 5), (4, 4, 1, 2)]
)
def test_cadences_are_those_of_a_plain_loop(warmup, learn_every, updates, adapt_every):
    schedule = Schedule(warmup, learn_every, updates, adapt_every)
    done = adapted = 0
    for clock in range(1, 40):
        assert bool(schedule.random(jnp.int32(clock - 1))) == (clock <= warmup)
        learns = clock > warmup and clock % learn_every == 0
        assert bool(schedule.learns(jnp.int32(clock))) == learns
        done += updates * learns
        assert int(schedule.updates_done(jnp.int32(clock))) == done
        adapts = clock > warmup and clock % adapt_every == 0
        assert bool(schedule.adapts(jnp.int32(clock))) == adapts
        adapted += adapts
        assert schedule.adaptations(clock) == adapted


def test_the_warm_up_is_in_environment_steps():
    config = ControlConfig(
        env=EnvConfig(num_envs=8, action_repeat=2),
        agent="td3(update_every=3, updates=5, warmup=100)",
        explore="parameter(adapt_every=7)",
    )
    assert Schedule.from_config(config) == Schedule(warmup=7, learn_every=3, updates=5, adapt_every=7)
