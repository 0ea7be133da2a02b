"""How a bonus is asked for: texts, flags, Python, a class of one's own; and what cannot be."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import pytest

from jaxpsn.api import settings
from jaxpsn.control import program
from jaxpsn.control.agents import AGENTS, OffPolicy
from jaxpsn.control.bonus import BONUSES, Novel, Novelty
from jaxpsn.control.config import ControlConfig, EnvConfig
from jaxpsn.core import errors
from jaxpsn.run import command, folder
from jaxpsn.run.jobs import control

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    "agent,bonus,said",
    [
        ("es", "rnd", "bonus = 'rnd': none, as es learns from returns of whole episodes"),
        ("es", "reward_noise", "bonus = 'reward_noise': none, as es learns from returns of whole episodes"),
        ("blind", "counts", "bonus = 'counts': none, as blind has no critics for it; "),
        ("td3", "rnd(ladder=4)", "bonus.ladder = 4.0: 1, as td3 has one policy for every environment; "),
        ("td3", "rnd(targets=3)", "rnd.targets = '3': unknown"),
        ("td3", "rdn", "bonus = 'rdn': unknown; nearest: rnd"),
        ("td3", "rnd(beta=0)", "rnd.beta = 0: a number above 0"),
        ("td3", "counts(gamma=1)", "counts.gamma = 1: a number at least 0 and at most 0.9999"),
    ],
)
def test_refusals_are_one_line(agent, bonus, said):
    before = AGENTS.snapshot()
    try:

        @AGENTS.register("blind")
        @dataclass(frozen=True)
        class Blind(OffPolicy):
            """One that has critics of its own kind."""

        with pytest.raises(errors.UserError) as caught:
            explore = "parameter(scale=constant, probes=4)"
            ControlConfig(EnvConfig(name="probe/action", num_envs=8), agent, explore, bonus=bonus)
    finally:
        AGENTS.restore(before)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_one_of_ones_own_is_one_class():
    @dataclass(frozen=True)
    class Far(Novel):
        """Far from the origin is novel."""

        def novelty(self, space):
            return Novelty(lambda key, hyper: (), lambda key, learnt, obs: (learnt, {}),
                           lambda learnt, obs: jnp.abs(obs[..., 0]))  # fmt: skip

    before = BONUSES.snapshot()
    try:
        BONUSES.register("far")(Far)
        made = program.make(
            ControlConfig(EnvConfig("probe/action", num_envs=8), "td3", "gaussian", bonus="far(beta=2)")
        )
        state = jax.eval_shape(made.init, KEY, made.hyper)
        assert made.bonus.reward is not None and state.learner.intrinsic.beta.shape == () and "bonus_q" in made.learnt
    finally:
        BONUSES.restore(before)


def test_flags_and_python_set_it_and_its_fields():
    words = ["--preset", "smoke", "--bonus", "rnd(hidden=8)", "--bonus.beta", "2"]
    job = command.parse(control.ControlJob, control.PRESETS, words, control.restore, "")
    wanted = BONUSES.make("rnd(hidden=8, beta=2)")
    assert job.control.bonus == wanted
    assert settings.control_config(job.control, None, None, None, {"bonus": "drnd", "targets": 3}).bonus.targets == 3
    assert settings.control_config(job.control, None, None, None, {"beta": 3.0}).bonus == replace(wanted, beta=3.0)
    record = folder.plain(job.control)
    assert command.from_record(ControlConfig, record) == job.control
    del record["bonus"]  # of a run that was made before there were bonuses
    assert command.from_record(ControlConfig, record) == replace(job.control, bonus="none")


def test_a_ladder_wants_groups_to_stand_on_it():
    with pytest.raises(errors.UserError, match=r"bonus\.ladder = 4\.0: 1, as all environments are one group"):
        ControlConfig(EnvConfig(name="probe/action", num_envs=1), "ppo", "none", bonus="rnd(ladder=4)")
